"""Magnetosphere-ionosphere coupling: corotation, currents and feedback."""

from jaxnum.jupiter import exact
from jaxnum.jupiter.conductance import (
    Constant,
    NicholsCowley2004,
    SmoothRamp,
    pole_current_density,
    smallest_slope,
)
from jaxnum.jupiter.corotation import corotation
from jaxnum.jupiter.fields import CurrentSheet, Dipole, FluxFunction
from jaxnum.jupiter.naive import GaussianWindow, feedback_length, naive_iteration, naive_pass
from jaxnum.jupiter.sweeps import CurrentDensity, RadialCurrent, coupled_slopes, sweeps
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
    "RadialCurrent",
    "SmoothRamp",
    "System",
    "corotation",
    "coupled_slopes",
    "exact",
    "feedback_length",
    "naive_iteration",
    "naive_pass",
    "pole_current_density",
    "smallest_slope",
    "sweeps",
]
