"""Magnetosphere-ionosphere coupling: corotation, currents and feedback.

Axisymmetric, aligned, steady, and with field lines that are equipotentials, so that both ends of one turn together.
Left out is the voltage that drives strong upward currents along them (Knight's relation): it makes a third-order
equation of the problem, and nothing here could verify its answers beyond zero voltage, where they are `coupled`'s.

References:
    Nichols & Cowley (2005), Annales Geophysicae 23, 799, https://doi.org/10.5194/angeo-23-799-2005
    Ray et al. (2010), Journal of Geophysical Research 115, A09211, https://doi.org/10.1029/2010JA015423
"""

from jaxnum.jupiter import exact
from jaxnum.jupiter.conductance import (
    Constant,
    NicholsCowley2004,
    SmoothRamp,
    Tabulated,
    infimum,
    inverse,
    pole_current_density,
    smallest_slope,
    supremum,
)
from jaxnum.jupiter.corotation import corotation
from jaxnum.jupiter.coupled import coupled
from jaxnum.jupiter.fields import CurrentSheet, Dipole, FluxFunction, colatitude
from jaxnum.jupiter.naive import GaussianWindow, feedback_length, naive_iteration, naive_pass
from jaxnum.jupiter.outer import CurrentDensity, PoleRegular, RadialCurrent
from jaxnum.jupiter.roots import Edge, roots
from jaxnum.jupiter.sweeps import coupled_slopes, sweeps
from jaxnum.jupiter.system import JUPITER, JUPITER_AT_ONE_BAR, SATURN, System
from jaxnum.numerics.fixed_point import Anderson

__all__ = [
    "JUPITER",
    "JUPITER_AT_ONE_BAR",
    "SATURN",
    "Anderson",
    "Constant",
    "CurrentDensity",
    "CurrentSheet",
    "Dipole",
    "Edge",
    "FluxFunction",
    "GaussianWindow",
    "NicholsCowley2004",
    "PoleRegular",
    "RadialCurrent",
    "SmoothRamp",
    "System",
    "Tabulated",
    "colatitude",
    "corotation",
    "coupled",
    "coupled_slopes",
    "exact",
    "feedback_length",
    "infimum",
    "inverse",
    "naive_iteration",
    "naive_pass",
    "pole_current_density",
    "roots",
    "smallest_slope",
    "supremum",
    "sweeps",
]
