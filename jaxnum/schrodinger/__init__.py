"""The time-dependent Schrödinger equation in one dimension."""

from jaxnum.schrodinger import exact
from jaxnum.schrodinger.adjoint import Direct, Reversible
from jaxnum.schrodinger.boundaries import Periodic, Walls
from jaxnum.schrodinger.cayley import Cayley, cayley_matrices
from jaxnum.schrodinger.grid import Grid
from jaxnum.schrodinger.observables import current, energy, momentum, norm, overlap, position, probability, width
from jaxnum.schrodinger.propagate import propagate
from jaxnum.schrodinger.states import gaussian_packet
from jaxnum.schrodinger.stationary import stationary_states

__all__ = [
    "Cayley",
    "Direct",
    "Grid",
    "Periodic",
    "Reversible",
    "Walls",
    "cayley_matrices",
    "current",
    "energy",
    "exact",
    "gaussian_packet",
    "momentum",
    "norm",
    "overlap",
    "position",
    "probability",
    "propagate",
    "stationary_states",
    "width",
]
