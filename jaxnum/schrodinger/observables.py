"""What can be measured on a wave function: every function takes psi of shape (..., num_points).

Sums over the grid stand for integrals: for a smooth packet that vanishes at the ends, and on a ring, they converge
faster than any power of the spacing. Mean values are divided by the norm.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, check_finite, check_positive, refuse
from jaxnum._typing import is_traced
from jaxnum.numerics import tridiagonal
from jaxnum.schrodinger.boundaries import WALLS, Periodic, Walls, check_boundary, free_points, is_cyclic
from jaxnum.schrodinger.cayley import as_potential, averaging_bands, check_space_order, energy_bands
from jaxnum.schrodinger.grid import Grid, check_grid


def norm(psi: ArrayLike, grid: Grid) -> Array:
    """Return (∫ |ψ|² dx)^½.

    Example:
        >>> from jaxnum.schrodinger import Grid, gaussian_packet, norm
        >>> grid = Grid(-10.0, 10.0, 101)
        >>> print(f"{norm(2 * gaussian_packet(grid.x), grid):.6f}")
        2.000000
    """
    psi, dx = _checked(psi, grid)
    return jnp.sqrt(dx * jnp.sum(_density(psi), axis=-1))


def position(psi: ArrayLike, grid: Grid) -> Array:
    """Return ⟨x⟩."""
    psi, _ = _checked(psi, grid)
    return _mean(grid.x.astype(psi.real.dtype), psi)


def width(psi: ArrayLike, grid: Grid) -> Array:
    """Return the standard deviation of the position, (⟨x²⟩ - ⟨x⟩²)^½."""
    psi, _ = _checked(psi, grid)
    x = grid.x.astype(psi.real.dtype)
    center = _mean(x, psi)[..., None]
    return jnp.sqrt(_mean((x.reshape((1,) * (psi.ndim - 1) + x.shape) - center) ** 2, psi))


def momentum(psi: ArrayLike, grid: Grid, *, hbar: ArrayLike = 1.0, boundary: Walls | Periodic = WALLS) -> Array:
    """Return ⟨p⟩, with a derivative of fourth order."""
    psi, _ = _checked(psi, grid)
    check_positive("hbar", hbar)
    slope = _derivative(psi, grid, boundary)
    flow = jnp.sum(psi.real * slope.imag - psi.imag * slope.real, axis=-1)
    return jnp.asarray(hbar, flow.dtype) * flow / jnp.sum(_density(psi), axis=-1)


def current(
    psi: ArrayLike,
    grid: Grid,
    *,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
    boundary: Walls | Periodic = WALLS,
) -> Array:
    """Return the probability current (ħ/m) Im(ψ* ∂ψ/∂x) at the grid points, (..., num_points)."""
    psi, _ = _checked(psi, grid)
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    slope = _derivative(psi, grid, boundary)
    return jnp.asarray(hbar / mass, slope.real.dtype) * (psi.real * slope.imag - psi.imag * slope.real)


def energy(
    psi: ArrayLike,
    grid: Grid,
    potential: ArrayLike | None = None,
    *,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
    space_order: int = 4,
    boundary: Walls | Periodic = WALLS,
) -> Array:
    """Return ⟨H⟩ of the Hamiltonian on the grid: what a propagation of that `space_order` keeps exactly.

    Args:
        psi: Wave function, (..., num_points).
        grid: Grid.
        potential: V at the grid points, or None for free space.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        space_order: 2 or 4, as in `Cayley`.
        boundary: `Walls()` or `Periodic()`.
    """
    psi, dx = _checked(psi, grid)
    potential = as_potential(potential, grid, dx.dtype)
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    check_space_order(space_order)
    check_boundary(boundary)
    hbar, mass = jnp.asarray(hbar, dx.dtype), jnp.asarray(mass, dx.dtype)
    return _energy(psi, potential, hbar**2 / (2 * mass * dx**2), space_order, boundary)


def mean_energy(psi: Array, potential: Array, kinetic: Array, space_order: int, boundary: Walls | Periodic) -> Array:
    """Return ⟨H⟩ from checked arrays; `kinetic` is ħ²/(2mΔx²)."""
    cyclic = is_cyclic(boundary)
    inner = free_points(psi, boundary)
    bands = energy_bands(jnp.zeros(inner.shape[-1], kinetic.dtype), kinetic, 2).astype(psi.dtype)
    averaging = averaging_bands(inner.shape[-1], space_order, psi.dtype)
    # Ten twelfths on the diagonal: no pivoting, and one elimination for all rows.
    factors = None if averaging is None else tridiagonal.factor(averaging, cyclic=cyclic)

    def kinetic_part(row):
        row = tridiagonal.matvec(bands, row, cyclic=cyclic)
        return row if factors is None else tridiagonal.solve_factored(factors, row)

    rows = inner.reshape(-1, inner.shape[-1])
    bent = jax.vmap(kinetic_part)(rows).reshape(inner.shape)
    curved = jnp.sum(inner.real * bent.real + inner.imag * bent.imag, axis=-1)
    density = _density(psi)
    return (curved + density @ potential) / jnp.sum(density, axis=-1)


_energy = jax.jit(mean_energy, static_argnames=("space_order", "boundary"))


def overlap(a: ArrayLike, b: ArrayLike, grid: Grid) -> Array:
    """Return ⟨a|b⟩ = ∫ a* b dx, a complex number."""
    a, dx = _checked(a, grid, "a")
    b, _ = _checked(b, grid, "b")
    dtype = np.result_type(np.result_type(a.dtype, b.dtype), np.complex64)
    return dx.astype(dtype) * jnp.sum(a.conj().astype(dtype) * b.astype(dtype), axis=-1)


def probability(psi: ArrayLike, grid: Grid, x_min: ArrayLike, x_max: ArrayLike) -> Array:
    """Return the probability to find the particle between `x_min` and `x_max`, ∫ |ψ|² dx.

    Every grid point stands for the cell around it, and a cell that is cut counts in part: the result is continuous and
    differentiable in both limits, and the probabilities of neighboring intervals add up.

    Example:
        >>> from jaxnum.schrodinger import Grid, gaussian_packet, probability
        >>> grid = Grid(-10.0, 10.0, 401)
        >>> print(f"{probability(gaussian_packet(grid.x), grid, -1.0, 1.0):.3f}")
        0.683
    """
    psi, dx = _checked(psi, grid)
    check_finite("x_min", x_min)
    check_finite("x_max", x_max)
    if not is_traced((x_min, x_max)) and not float(x_min) < float(x_max):
        refuse("x_max", f"be greater than `x_min`, {float(x_min):g}", f"is {float(x_max):g}")
    x = grid.x.astype(dx.dtype)
    low = jnp.clip((jnp.asarray(x_min, dx.dtype) - x) / dx, -0.5, 0.5)
    high = jnp.clip((jnp.asarray(x_max, dx.dtype) - x) / dx, -0.5, 0.5)
    return dx * jnp.sum(_density(psi) * (high - low).reshape((1,) * (psi.ndim - 1) + (-1,)), axis=-1)


def _checked(psi: Any, grid: Any, name: str = "psi") -> tuple[Array, Array]:
    check_grid(grid)
    psi = as_array(name, psi, complex_ok=True)
    if psi.ndim == 0 or psi.shape[-1] != grid.num_points:
        refuse(name, f"have {grid.num_points} points along its last axis, as `grid`", f"has shape {psi.shape}")
    return psi, jnp.asarray(grid.dx, psi.real.dtype)


def _density(psi: Array) -> Array:
    return psi.real**2 + psi.imag**2


def _mean(values: Array, psi: Array) -> Array:
    density = _density(psi)
    if values.ndim < density.ndim:
        values = values.reshape((1,) * (density.ndim - values.ndim) + values.shape)
    return jnp.sum(density * values, axis=-1) / jnp.sum(density, axis=-1)


def _derivative(psi: Array, grid: Grid, boundary: Walls | Periodic) -> Array:
    """Return ∂ψ/∂x of fourth order; a wall continues ψ as an odd function, which is what it does to it."""
    check_boundary(boundary)
    return _difference(psi, jnp.asarray(grid.dx, psi.real.dtype), is_cyclic(boundary))


@partial(jax.jit, static_argnames="cyclic")
def _difference(psi: Array, dx: Array, cyclic: bool) -> Array:
    if cyclic:
        wide = jnp.concatenate([psi[..., -2:], psi, psi[..., :2]], axis=-1)
    else:
        wide = jnp.concatenate([-psi[..., 2:0:-1], psi, -psi[..., -2:-4:-1]], axis=-1)
    near, far = wide[..., 3:-1] - wide[..., 1:-3], wide[..., 4:] - wide[..., :-4]
    return (8 * near - far) / (12 * dx).astype(psi.dtype)
