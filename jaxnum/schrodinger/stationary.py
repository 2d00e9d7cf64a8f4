"""Stationary states: the eigenvectors of the Hamiltonian on the grid."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum.numerics import tridiagonal
from jaxnum.schrodinger.boundaries import WALLS, Periodic, Walls, all_points, check_boundary, free_points, is_cyclic
from jaxnum.schrodinger.cayley import as_potential, averaging_bands, check_space_order, energy_bands
from jaxnum.schrodinger.grid import Grid, check_grid


def stationary_states(
    potential: ArrayLike | None,
    grid: Grid,
    *,
    num_states: int,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
    space_order: int = 2,
    boundary: Walls | Periodic = WALLS,
) -> tuple[Array, Array]:
    """Return the lowest energies and states of H = -(ħ²/2m) ∂²/∂x² + V, in the order of their energies.

    A dense eigenvalue problem, whose cost grows with the cube of the number of points: seconds at 2000 points.
    Differentiable in the potential; the states only where the energies differ.

    Args:
        potential: V at the grid points, (num_points,), or None.
        grid: Grid.
        num_states: How many.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        space_order: 2 or 4, as in `Cayley`: a propagation of that order turns the states by a phase only.
        boundary: `Walls()` or `Periodic()`.

    Returns:
        Energies (num_states,), and real states (num_states, num_points) of norm one whose largest lobe is positive.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> from jaxnum.schrodinger import Grid, stationary_states
        >>> grid = Grid(-8.0, 8.0, 101)
        >>> energies, states = stationary_states(grid.x**2 / 2, grid, num_states=3, space_order=4)
        >>> print(energies.round(4))
        [0.5    1.5    2.4999]
    """
    check_grid(grid)
    potential = as_potential(potential, grid, None)
    check_boundary(boundary)
    free = grid.num_points - (0 if is_cyclic(boundary) else 2)
    num_states = as_count("num_states", num_states)
    if num_states > free:
        refuse("num_states", f"be at most {free}, the number of points where the states are free", f"is {num_states}")
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    check_space_order(space_order)
    dx, mass, hbar = (jnp.asarray(v, potential.dtype) for v in (grid.dx, mass, hbar))
    return _solve(potential, dx, hbar**2 / (2 * mass * dx**2), num_states, space_order, boundary)


@partial(jax.jit, static_argnames=("num_states", "space_order", "boundary"))
def _solve(potential, dx, kinetic, num_states, space_order, boundary):
    inner = free_points(potential, boundary)
    n, cyclic = len(inner), is_cyclic(boundary)
    bands = energy_bands(jnp.zeros_like(inner), kinetic, 2)
    matrix = tridiagonal.to_dense(bands if cyclic else bands.at[0, 0].set(0).at[2, -1].set(0), cyclic=cyclic)
    if space_order == 4:
        averaging = averaging_bands(n, space_order, inner.dtype)
        matrix = jax.vmap(lambda row: tridiagonal.solve(averaging, row, cyclic=cyclic))(matrix)
        matrix = (matrix + matrix.T) / 2
    energies, vectors = jnp.linalg.eigh(matrix + jnp.diag(inner))
    states = vectors.T[:num_states] / jnp.sqrt(dx)
    largest = jnp.take_along_axis(states, jnp.argmax(jnp.abs(states), axis=1)[:, None], axis=1)
    return energies[:num_states], all_points(states * jnp.sign(largest), boundary)
