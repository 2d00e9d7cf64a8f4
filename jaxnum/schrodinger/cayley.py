"""Cayley steps: unitary, of order 2 to 8 in time, 2 or 4 in space, and tridiagonal all through.

    i ħ ∂ψ/∂t = H ψ,    H = -(ħ²/2m) ∂²/∂x² + V(x)

Time: exp(w) with w = -iτH/ħ is replaced by its diagonal Padé approximation, a product over its roots w_s

    Π_s (1 - w/w_s) / (1 + w/w_s) = Π_s [2 (1 + c_s H/ħ)⁻¹ - 1],    c_s = -iτ/w_s

of order twice the number of roots. Each factor is one tridiagonal solve; there is no matrix on the right-hand side to
get wrong. One root, -2, is Crank and Nicolson's scheme.

Space: the second difference δ² divided by Δx² (order 2), or Numerov's M⁻¹δ²/Δx² with M = 1 + δ²/12 (order 4), for
which a factor reads 2 (M + c_s (K + MV)/ħ)⁻¹ M - 1. M commutes with K, so the scheme stays unitary.

References:
    Goldberg, Schey & Schwartz (1967), https://doi.org/10.1119/1.1973991;
    van Dijk & Toyama (2007), https://doi.org/10.1103/PhysRevE.75.036707;
    Moyer (2004), https://doi.org/10.1119/1.1619141
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, check_positive, refuse
from jaxnum.schrodinger.boundaries import WALLS, Periodic, Walls, check_boundary, is_cyclic
from jaxnum.schrodinger.grid import Grid, check_grid


@dataclass(frozen=True)
class Cayley:
    """Which Cayley scheme: `Cayley(2, 2)` is Crank-Nicolson, `Cayley(4, 4)` the better bargain.

    The cost of a step is `time_order / 2` tridiagonal solves, whatever the order in space. A potential that depends on
    time is taken at the middle of the step for `time_order=2`; above, a step is split into two halves with weighted
    potentials (commutator-free Magnus), and the order is four.

    Attributes:
        time_order: 2, 4, 6 or 8.
        space_order: 2, or 4 (Numerov). Order 4 needs a potential that is smooth on the grid.
    """

    time_order: int = 4
    space_order: int = 4

    def __post_init__(self) -> None:
        if self.time_order not in (2, 4, 6, 8):
            refuse("time_order", "be 2, 4, 6 or 8", f"is {self.time_order!r}")
        check_space_order(self.space_order)


def check_space_order(space_order: Any) -> None:
    """Refuse an order in space that there is not."""
    if space_order not in (2, 4):
        refuse("space_order", "be 2 or 4", f"is {space_order!r}")


CAYLEY = Cayley()


@cache
def pade_roots(time_order: int) -> np.ndarray:
    """Return the roots of the numerator of the diagonal Padé approximation of exp, conjugates in places s, -1 - s."""
    m = time_order // 2
    numerator = [math.factorial(2 * m - k) * math.comb(m, k) for k in range(m, -1, -1)]
    roots = np.roots(numerator)
    roots = roots[np.argsort(roots.imag)]
    # Conjugate pairs share a real part; rounding in the root finder must not part them.
    return (roots + roots[::-1].conj()) / 2


def averaging_bands(num_points: int, space_order: int, dtype: Any) -> Array | None:
    """Return the bands of Numerov's M = 1 + δ²/12, or None for order 2, where M is one."""
    if space_order == 2:
        return None
    return jnp.asarray(np.array([[1.0], [10.0], [1.0]]) / 12, dtype) * jnp.ones((1, num_points), dtype)


def energy_bands(potential: Array, kinetic: Array, space_order: int) -> Array:
    """Return the bands of K + MV on the free points, cyclic corners included.

    Args:
        potential: V at the free points.
        kinetic: ħ²/(2mΔx²).
        space_order: 2 or 4.
    """
    ones = jnp.ones_like(potential)
    if space_order == 2:
        return jnp.stack([-kinetic * ones, 2 * kinetic + potential, -kinetic * ones])
    # Numerov averages Vψ, so a neighbor brings its own potential.
    lower = -kinetic + jnp.roll(potential, 1) / 12
    upper = -kinetic + jnp.roll(potential, -1) / 12
    return jnp.stack([lower, 2 * kinetic + potential * (10 / 12), upper])


def shifts(dt_over_hbar: Array, time_order: int, dtype: Any) -> Array:
    """Return c_s/ħ for every root, (roots,)."""
    return jnp.asarray(-1j / pade_roots(time_order), dtype) * dt_over_hbar.astype(dtype)


def shifted_bands(energy: Array, averaging: Array | None, dt_over_hbar: Array, time_order: int, dtype: Any) -> Array:
    """Return M + c_s (K + MV)/ħ for every root, (roots, 3, n)."""
    bands = shifts(dt_over_hbar, time_order, dtype)[:, None, None] * energy.astype(dtype)[None]
    if averaging is None:
        return bands.at[:, 1].add(1)
    return bands + averaging.astype(dtype)[None]


def cayley_matrices(
    potential: ArrayLike | None,
    grid: Grid,
    dt: ArrayLike,
    *,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
    space_order: int = 2,
    boundary: Walls | Periodic = WALLS,
) -> tuple[Array, Array]:
    """Return the two matrices of one Crank-Nicolson step, left ψ(t + dt) = right ψ(t).

    They are for looking at: `propagate` needs only the left one.

    Args:
        potential: V at the grid points, (num_points,), or None for free space.
        grid: Grid.
        dt: Time step.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        space_order: 2, or 4 (Numerov).
        boundary: `Walls()`: the rows of the two end points hold a one and nothing couples to them, so that a value of
            zero stays zero and left⁻¹ right is unitary. `Periodic()`: `bands[0, 0]` and `bands[2, -1]` are the corners.

    Returns:
        Left and right matrix as bands (3, num_points): column j of an array is row j of the matrix, in the order
        lower, diagonal, upper.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> from jaxnum.schrodinger import Grid, cayley_matrices
        >>> left, right = cayley_matrices(None, Grid(0.0, 1.0, 5), 0.125)
        >>> print(left[:, 2], right[:, 2])
        [0.-0.5j 1.+1.j  0.-0.5j] [0.+0.5j 1.-1.j  0.+0.5j]
    """
    check_grid(grid)
    potential = as_potential(potential, grid, None)
    check_positive("dt", dt)
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    check_space_order(space_order)
    check_boundary(boundary)
    real = potential.dtype
    dtype = np.result_type(real, np.complex64)
    dx, dt, mass, hbar = (jnp.asarray(v, real) for v in (grid.dx, dt, mass, hbar))
    energy = energy_bands(potential, hbar**2 / (2 * mass * dx**2), space_order)
    averaging = averaging_bands(grid.num_points, space_order, real)
    (left,) = shifted_bands(energy, averaging, dt / hbar, 2, dtype)
    if not is_cyclic(boundary):
        left = left.at[0, :2].set(0).at[2, -2:].set(0).at[2, 0].set(0).at[0, -1].set(0)
        left = left.at[1, 0].set(1).at[1, -1].set(1)
    # The parts without i belong to M, and the shift is purely imaginary: the right matrix is the conjugate.
    return left, left.conj()


def as_potential(potential: Any, grid: Grid, dtype: Any) -> Array:
    """Return the potential at the grid points as a real array of `dtype`; None is free space."""
    if potential is None:
        return jnp.zeros(grid.num_points, dtype or float)
    if callable(potential):
        refuse("potential", "be an array here", "is a function; pass its values `V(grid.x)`")
    potential = as_array("potential", potential, shape=(grid.num_points,))
    return potential if dtype is None or potential.dtype == dtype else potential.astype(dtype)
