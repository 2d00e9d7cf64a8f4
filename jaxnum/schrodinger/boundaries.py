"""What happens at the ends of the grid.

The solvers work on the points where the wave function is free: with walls these are the inner points, because it
vanishes at the two end points; on a ring they are all points.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxnum._checks import refuse


@dataclass(frozen=True)
class Walls:
    """Hard walls at the first and the last grid point: the wave function is zero there."""


@dataclass(frozen=True)
class Periodic:
    """A ring: the point after the last one is the first one."""


WALLS = Walls()


def check_boundary(boundary: Any) -> None:
    """Refuse what is not a boundary."""
    if not isinstance(boundary, Walls | Periodic):
        what = f"the class {boundary.__name__}" if isinstance(boundary, type) else type(boundary).__name__
        refuse("boundary", "be `Walls()` or `Periodic()`", f"is {what}")


def is_cyclic(boundary: Walls | Periodic) -> bool:
    """Tell whether the last point has the first one as its neighbor."""
    return isinstance(boundary, Periodic)


def free_points(x: Array, boundary: Walls | Periodic) -> Array:
    """Return the values (..., n) at the points where the wave function is free."""
    return x if is_cyclic(boundary) else x[..., 1:-1]


def all_points(x: Array, boundary: Walls | Periodic) -> Array:
    """Return values at the free points as values at all points: zero on the walls."""
    if is_cyclic(boundary):
        return x
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 1)])
