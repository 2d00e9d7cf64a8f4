"""The grid: uniform points from one end to the other, both included. It owns the spacing."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, check_finite, refuse
from jaxnum._typing import is_traced


@dataclass(frozen=True)
class Grid:
    """Uniform points, end points included.

    With `Walls()` the wave function vanishes at both end points; with `Periodic()` the point after the last one is
    the first one again, so that the period is `num_points * dx`.

    Attributes:
        x_min: Position of the first point.
        x_max: Position of the last point.
        num_points: Number of points, at least 5.

    Example:
        >>> from jaxnum.schrodinger import Grid
        >>> grid = Grid(-1.0, 1.0, 5)
        >>> print(grid.dx, grid.x)
        0.5 [-1.  -0.5  0.   0.5  1. ]
    """

    x_min: ArrayLike
    x_max: ArrayLike
    num_points: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_points", as_count("num_points", self.num_points, at_least=5))
        check_finite("x_min", self.x_min)
        check_finite("x_max", self.x_max)
        if not is_traced((self.x_min, self.x_max)) and not float(self.x_min) < float(self.x_max):
            refuse("x_max", f"be greater than `x_min`, {float(self.x_min):g}", f"is {float(self.x_max):g}")

    @property
    def x(self) -> Array:
        """Positions, (num_points,)."""
        return jnp.linspace(self.x_min, self.x_max, self.num_points)

    @property
    def dx(self) -> Any:
        """Spacing."""
        return (self.x_max - self.x_min) / (self.num_points - 1)


def check_grid(grid: Any) -> None:
    """Refuse what is not a `Grid`."""
    if not isinstance(grid, Grid):
        refuse("grid", "be a `Grid(x_min, x_max, num_points)`", f"is {type(grid).__name__}")
