"""The time-dependent Schrödinger equation in one dimension."""

from jaxnum.schrodinger import exact
from jaxnum.schrodinger.adjoint import Checkpointed, Direct, Reversible
from jaxnum.schrodinger.boundaries import Absorber, Periodic, Transparent, Walls
from jaxnum.schrodinger.cayley import Cayley, cayley_matrices
from jaxnum.schrodinger.grid import Grid
from jaxnum.schrodinger.ground_state import ground_state
from jaxnum.schrodinger.observables import current, energy, momentum, norm, overlap, position, probability, width
from jaxnum.schrodinger.propagate import propagate
from jaxnum.schrodinger.resolution import choose_resolution
from jaxnum.schrodinger.split_operator import SplitOperator
from jaxnum.schrodinger.states import gaussian_packet
from jaxnum.schrodinger.stationary import stationary_states

__all__ = [
    "Absorber",
    "Cayley",
    "Checkpointed",
    "Direct",
    "Grid",
    "Periodic",
    "Reversible",
    "SplitOperator",
    "Transparent",
    "Walls",
    "cayley_matrices",
    "choose_resolution",
    "current",
    "energy",
    "exact",
    "gaussian_packet",
    "ground_state",
    "momentum",
    "norm",
    "overlap",
    "position",
    "probability",
    "propagate",
    "stationary_states",
    "width",
]
