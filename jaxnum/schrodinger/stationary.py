"""Stationary states: the lowest eigenvectors of the Hamiltonian on the grid, and their derivatives.

    (M⁻¹K + V) v = E v,    K = -ħ²δ²/2mΔx²,    M = 1 (order 2) or 1 + δ²/12 (order 4, Numerov)

Between walls everything stays tridiagonal. The energies below a trial energy E are counted by the signs of pivots, of
T = K + V - E, or of Numerov's C with diagonal 12/s_j - 10 and -1 beside it, where T = K + M(V - E) = (ħ²/2mΔx²) C s and
s_j = 1 + (E - V_j)/12(ħ²/2mΔx²). Bisection finds them, two inverse iterations their states, and a small dense problem
in the space of these states turns them into orthogonal ones however close the energies are. Perturbation theory gives
the derivatives,

    dE = vᵀ dH v,    dv = -(H - E)⁺ dH v,

again by one tridiagonal solve, with the row where v is largest replaced by dv_j = 0 and v projected out afterwards.

References:
    Barth, Martin & Wilkinson (1967), https://doi.org/10.1007/BF02162154 (bisection);
    Magnus (1985), https://doi.org/10.1017/S0266466600011129 (derivatives)
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum.numerics import tridiagonal
from jaxnum.schrodinger.boundaries import WALLS, Periodic, Walls, all_points, free_points, is_cyclic
from jaxnum.schrodinger.cayley import as_potential, averaging_bands, check_space_order, energy_bands
from jaxnum.schrodinger.grid import Grid, check_grid

_DENSE = 128  # points up to which the dense problem is as fast, and always right


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

    Between walls the cost grows with `num_points` times `num_states`; on a ring, and where more than a quarter of all
    states is asked for, with the cube of the points. Differentiable in potential, mass and ħ, forward and reverse; a
    state only where its energy differs from the others.

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
    check_closed(boundary)
    free = grid.num_points - (0 if is_cyclic(boundary) else 2)
    num_states = as_count("num_states", num_states)
    if num_states > free:
        refuse("num_states", f"be at most {free}, the number of points where the states are free", f"is {num_states}")
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    check_space_order(space_order)
    dx, mass, hbar = (jnp.asarray(v, potential.dtype) for v in (grid.dx, mass, hbar))
    return _solve(potential, dx, hbar**2 / (2 * mass * dx**2), num_states, space_order, boundary)


def check_closed(boundary: Any) -> None:
    """Refuse a boundary through which probability can leave: such states decay and are not stationary."""
    if not isinstance(boundary, Walls | Periodic):
        what = f"the class {boundary.__name__}" if isinstance(boundary, type) else f"{boundary!r}"
        refuse("boundary", "be `Walls()` or `Periodic()`", f"is {what}")


@partial(jax.jit, static_argnames=("num_states", "space_order", "boundary"))
def _solve(potential, dx, kinetic, num_states, space_order, boundary):
    inner = free_points(potential, boundary)
    energies, vectors = eigenpairs(num_states, space_order, is_cyclic(boundary), inner, kinetic)
    largest = jnp.take_along_axis(vectors, jnp.argmax(jnp.abs(vectors), axis=1)[:, None], axis=1)
    # The sign is a choice, not a function to be differentiated.
    states = vectors * jax.lax.stop_gradient(jnp.sign(largest)) / jnp.sqrt(dx)
    return energies, all_points(states, boundary)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def eigenpairs(num_states: int, space_order: int, cyclic: bool, potential: Array, kinetic: Array):
    """Return the lowest energies (k,) and orthonormal vectors (k, n) on the free points; `kinetic` is ħ²/(2mΔx²)."""
    n = potential.shape[0]
    if cyclic or n <= _DENSE or 4 * num_states > n:
        energies, vectors = jnp.linalg.eigh(hamiltonian(potential, kinetic, space_order, cyclic))
        return energies[:num_states], vectors.T[:num_states]
    energies = _bisect(num_states, space_order, potential, kinetic)
    vectors = _inverse_iteration(energies, space_order, potential, kinetic)
    basis = jnp.linalg.qr(vectors.T)[0].T
    image = jax.vmap(lambda v: _kinetic_part(v, kinetic, space_order, cyclic) + potential * v)(basis)
    small = basis @ image.T
    energies, turn = jnp.linalg.eigh((small + small.T) / 2)
    return energies, turn.T @ basis


@eigenpairs.defjvp
def _(num_states, space_order, cyclic, primals, tangents):
    potential, kinetic = primals
    d_potential, d_kinetic = tangents
    energies, vectors = eigenpairs(num_states, space_order, cyclic, potential, kinetic)

    def push(energy, v):
        """Return dE and the part of dH v that turns v."""
        change = d_potential * v + d_kinetic / kinetic * _kinetic_part(v, kinetic, space_order, cyclic)
        slope = v @ change
        if cyclic:
            return slope, change
        return slope, _resolvent(energy, v, change - slope * v, space_order, potential, kinetic)

    slopes, turns = jax.vmap(push)(energies, vectors)
    if cyclic:
        turns = _dense_resolvent(energies, turns, space_order, potential, kinetic)
    return (energies, vectors), (slopes, turns)


def hamiltonian(potential: Array, kinetic: Array, space_order: int, cyclic: bool) -> Array:
    """Return the symmetric matrix M⁻¹K + V, (n, n)."""
    parts = jax.vmap(lambda row: _kinetic_part(row, kinetic, space_order, cyclic))(
        jnp.eye(potential.shape[0], dtype=potential.dtype)
    )
    return (parts + parts.T) / 2 + jnp.diag(potential)


def _kinetic_part(v: Array, kinetic: Array, space_order: int, cyclic: bool) -> Array:
    """Return M⁻¹K v."""
    bands = energy_bands(jnp.zeros_like(v), kinetic, 2)
    v = tridiagonal.matvec(bands, v, cyclic=cyclic)
    averaging = averaging_bands(v.shape[0], space_order, v.dtype)
    return v if averaging is None else tridiagonal.solve(averaging, v, cyclic=cyclic)


def _shifted(energy: Array, space_order: int, potential: Array, kinetic: Array) -> Array:
    """Return the bands of T = K + M(V - E)."""
    return energy_bands(potential - energy, kinetic, space_order)


def _averaged(v: Array, space_order: int) -> Array:
    averaging = averaging_bands(v.shape[0], space_order, v.dtype)
    return v if averaging is None else tridiagonal.matvec(averaging, v)


def _bisect(num_states: int, space_order: int, potential: Array, kinetic: Array) -> Array:
    """Return the lowest energies to about the rounding of the largest one."""
    wanted = jnp.arange(num_states)
    tiny = jnp.finfo(potential.dtype).tiny ** 0.5

    def below(energy):
        """Count the energies below each trial one."""

        def pivot(last, v):
            if space_order == 2:
                now = (2 * kinetic + v - energy) / kinetic - 1 / last
            else:
                # Where V - E exceeds 12 kinetic the wave is zero after one point; a large pivot says so.
                scale = jnp.maximum(1 + (energy - v) / (12 * kinetic), 1e-3)
                now = 12 / scale - 10 - 1 / last
            now = jnp.where(jnp.abs(now) < tiny, -tiny, now)
            return now, now < 0

        _, negative = jax.lax.scan(pivot, jnp.full_like(energy, jnp.inf), potential)
        return jnp.sum(negative, axis=0)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        too_high = below(middle) > wanted
        return jnp.where(too_high, low, middle), jnp.where(too_high, middle, high)

    low = jnp.full((num_states,), 1.0, potential.dtype) * jnp.min(potential)
    high = jnp.full((num_states,), 1.0, potential.dtype) * jnp.max(potential) + 6 * kinetic
    # Every halving gains a bit; a few more than the mantissa holds are wasted on none but the smallest energies.
    steps = jnp.finfo(potential.dtype).nmant + 8
    low, high = jax.lax.fori_loop(0, steps, halve, (low, high))
    return (low + high) / 2


def _inverse_iteration(energies: Array, space_order: int, potential: Array, kinetic: Array) -> Array:
    """Return vectors (k, n) from starts that no eigenvector is orthogonal to."""
    n, dtype = potential.shape[0], potential.dtype
    starts = jax.random.normal(jax.random.key(0), (energies.shape[0], n), dtype)
    # Off the energy by some roundings, so that no pivot vanishes.
    energies = energies + 4 * jnp.finfo(dtype).eps * (6 * kinetic + jnp.abs(energies))

    def improve(_, vectors):
        def one(energy, v):
            v = tridiagonal.solve(_shifted(energy, space_order, potential, kinetic), _averaged(v, space_order))
            v = v / jnp.max(jnp.abs(v))
            return v / jnp.sqrt(jnp.sum(v**2))

        return jax.vmap(one)(energies, vectors)

    return jax.lax.fori_loop(0, 3, improve, starts)


def _resolvent(energy: Array, v: Array, change: Array, space_order: int, potential: Array, kinetic: Array) -> Array:
    """Return -(H - E)⁺ of a vector orthogonal to v."""
    bands = _shifted(energy, space_order, potential, kinetic)
    right = -_averaged(change, space_order)
    # One row too many: the one where v is largest is implied by the others, and makes room for a condition.
    pinned = jnp.arange(v.shape[0]) == jnp.argmax(jnp.abs(v))
    bands = jnp.where(pinned[None, :], jnp.array([[0.0], [1.0], [0.0]], v.dtype), bands)
    turn = tridiagonal.solve(bands, jnp.where(pinned, 0.0, right))
    return turn - v * (v @ turn)


def _dense_resolvent(energies, changes, space_order, potential, kinetic) -> Array:
    """Return -(H - E)⁺ of the rows of `changes` on a ring, leaving out states of the same energy."""
    matrix = jax.lax.stop_gradient(hamiltonian(potential, kinetic, space_order, True))
    every, basis = jnp.linalg.eigh(matrix)
    gaps = energies[:, None] - every[None, :]
    close = jnp.abs(gaps) < jnp.sqrt(jnp.finfo(gaps.dtype).eps) * (jnp.abs(energies[:, None]) + kinetic)
    weights = jnp.where(close, 0.0, 1 / jnp.where(close, 1.0, gaps))
    return (weights * (changes @ basis)) @ basis.T
