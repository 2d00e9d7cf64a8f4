"""Magnetosphere-ionosphere coupling: corotation, currents and feedback."""

from jaxnum.jupiter import exact
from jaxnum.jupiter.conductance import (
    Constant,
    NicholsCowley2004,
    SmoothRamp,
    infimum,
    inverse,
    pole_current_density,
    smallest_slope,
    supremum,
)
from jaxnum.jupiter.corotation import corotation
from jaxnum.jupiter.coupled import coupled
from jaxnum.jupiter.fields import CurrentSheet, Dipole, FluxFunction
from jaxnum.jupiter.naive import GaussianWindow, feedback_length, naive_iteration, naive_pass
from jaxnum.jupiter.outer import CurrentDensity, PoleRegular, RadialCurrent
from jaxnum.jupiter.sweeps import coupled_slopes, sweeps
from jaxnum.jupiter.system import JUPITER, SATURN, System

__all__ = [
    "JUPITER",
    "SATURN",
    "Constant",
    "CurrentDensity",
    "CurrentSheet",
    "Dipole",
    "FluxFunction",
    "GaussianWindow",
    "NicholsCowley2004",
    "PoleRegular",
    "RadialCurrent",
    "SmoothRamp",
    "System",
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
    "smallest_slope",
    "supremum",
    "sweeps",
]
