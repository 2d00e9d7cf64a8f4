"""The ground state of a condensate: the lowest state of the Gross-Pitaevskii equation.

    -(ħ²/2m) φ'' + V φ + g φ³ = µ φ,    ∫ φ² dx = 1,    E = µ - (g/2) ∫ φ⁴ dx

First a normalized gradient flow, by implicit Euler steps that lower the energy however long they are,

    φ ← (H + gφ² + 1/δ)⁻¹ φ / ‖...‖,

then Newton's method for φ and µ together, whose matrix is bordered by φ and stays regular for g = 0 too. Derivatives
come from the same bordered matrix at the solution, not from the iteration.

The second derivative is spectral unless an order is asked for: sines between walls, Fourier's waves on a ring. A smooth
state is then right to rounding on some two hundred points.

References:
    Bao & Du (2004), https://doi.org/10.1137/S1064827503422956
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, check_finite, check_positive, refuse
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum.schrodinger.boundaries import WALLS, Periodic, Walls, all_points, free_points, is_cyclic
from jaxnum.schrodinger.cayley import as_potential, check_space_order
from jaxnum.schrodinger.grid import Grid, check_grid
from jaxnum.schrodinger.stationary import check_closed, eigenpairs, hamiltonian


def ground_state(
    potential: ArrayLike | None,
    grid: Grid,
    *,
    nonlinearity: ArrayLike = 0.0,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
    space_order: int | None = None,
    boundary: Walls | Periodic = WALLS,
    num_flow_steps: int = 40,
    num_newton_steps: int = 8,
) -> Solution:
    """Return the state of lowest energy, with a term g|ψ|²ψ if asked for.

    Dense matrices throughout: quick at some hundred points, seconds at two thousand. Differentiable in potential,
    nonlinearity, mass and ħ, forward and reverse.

    Args:
        potential: V at the grid points, (num_points,), or None.
        grid: Grid.
        nonlinearity: Factor g; negative attracts, and then the state narrows with the grid to resolve it.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        space_order: None for a spectral derivative; 2 or 4 as in `Cayley`, so that a propagation of that order turns
            the state by a phase only.
        boundary: `Walls()` or `Periodic()`.
        num_flow_steps: Steps of the flow; more where g is large and Newton's method is lost.
        num_newton_steps: Steps of Newton's method, which doubles the digits each time.

    Returns:
        Solution with `value` = φ, real, positive and of norm one, (num_points,). `history` holds energy,
        chemical_potential and residual after every step. `residual` is ‖Hφ + gφ³ - µφ‖ relative to the kinetic energy,
        the depth of V under φ and the interaction; the status is `not_converged` above ε^(2/3).

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> from jaxnum.schrodinger import Grid, ground_state
        >>> grid = Grid(-8.0, 8.0, 129)
        >>> solution = ground_state(grid.x**2 / 2, grid, nonlinearity=3.1371)
        >>> print(f"{solution.history.chemical_potential[-1]:.7f}", solution.ok)
        1.5265945 True
    """
    check_grid(grid)
    potential = as_potential(potential, grid, None)
    check_finite("nonlinearity", nonlinearity)
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    if space_order is not None:
        check_space_order(space_order)
    check_closed(boundary)
    counts = tuple(
        as_count(name, n, at_least=1)
        for name, n in {"num_flow_steps": num_flow_steps, "num_newton_steps": num_newton_steps}.items()
    )
    if grid.num_points > 4000:
        refuse("grid", "have at most 4000 points here, whose matrices are dense", f"has {grid.num_points}")
    dx, g, mass, hbar = (jnp.asarray(v, potential.dtype) for v in (grid.dx, nonlinearity, mass, hbar))
    return _solve(potential, dx, g, hbar**2 / (2 * mass * dx**2), space_order, boundary, counts)


@partial(jax.jit, static_argnames=("space_order", "boundary", "counts"))
def _solve(potential, dx, g, kinetic, space_order, boundary, counts):
    cyclic = is_cyclic(boundary)
    inner = free_points(potential, boundary)
    phi, mu, rows = _lowest(space_order, cyclic, counts, inner, kinetic, g / dx)
    matrix = _matrix(inner, kinetic, space_order, cyclic)
    # Measured afresh, so that residual and energy belong to the returned state and carry its derivatives.
    energy, mu, residual = _measure(phi, matrix, inner, g / dx)
    last = {"energy": energy, "chemical_potential": mu, "residual": residual}
    rows = {name: rows[name].at[-1].set(value) for name, value in last.items()}
    eps = float(jnp.finfo(phi.dtype).eps)
    finite = jnp.all(jnp.isfinite(phi)) & jnp.isfinite(residual)
    status = Status.first((~finite, Status.nonfinite), (~(residual <= eps ** (2 / 3)), Status.not_converged))
    value = all_points(phi / jnp.sqrt(dx), boundary)
    return Solution(value, History(**rows), residual, jnp.int32(sum(counts)), status)


def _measure(phi, matrix, potential, g) -> tuple[Array, Array, Array]:
    """Return energy, chemical potential and relative residual of a state of norm one in the plain sum."""
    image = matrix @ phi
    cubic = g * phi**3
    mu = phi @ (image + cubic)
    depth = potential - jnp.min(potential)
    size = phi @ (image - potential * phi) + phi @ (depth * phi) + jnp.abs(phi @ cubic)
    return mu - phi @ cubic / 2, mu, jnp.linalg.norm(image + cubic - mu * phi) / size


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _lowest(space_order, cyclic, counts, potential, kinetic, g):
    """Return φ with φᵀφ = 1, µ, and the rows of the history."""
    matrix = _matrix(potential, kinetic, space_order, cyclic)
    energies, vectors = eigenpairs(2, 2, cyclic, potential, kinetic)
    lowest, gap = energies[0], jnp.maximum(energies[1] - energies[0], 1e-3 * kinetic / potential.shape[0] ** 2)
    one = jnp.eye(potential.shape[0], dtype=potential.dtype)

    def flow(phi, _):
        # An attractive term must not outweigh the rest, or the matrix would lose its sign.
        hold = gap + 2 * jnp.maximum(-g, 0) * jnp.max(phi**2)
        phi = jax.scipy.linalg.solve(matrix + jnp.diag(g * phi**2) + (hold - lowest) * one, phi)
        phi = phi / jnp.linalg.norm(phi)
        return phi, _measure(phi, matrix, potential, g)

    def newton(carry, _):
        phi, mu = carry
        right = jnp.append(-(matrix @ phi + g * phi**3 - mu * phi), (1 - phi @ phi) / 2)
        change = jnp.linalg.solve(_bordered(matrix, phi, mu, g), right)
        phi, mu = phi + change[:-1], mu + change[-1]
        return (phi, mu), _measure(phi / jnp.linalg.norm(phi), matrix, potential, g)

    phi, early = jax.lax.scan(flow, jnp.abs(vectors[0]), length=counts[0])
    (phi, _), late = jax.lax.scan(newton, (phi, early[1][-1]), length=counts[1])
    phi = phi / jnp.linalg.norm(phi) * jnp.sign(jnp.sum(phi))
    names = ("energy", "chemical_potential", "residual")
    rows = {name: jnp.concatenate([a, b]) for name, a, b in zip(names, early, late, strict=True)}
    return phi, rows["chemical_potential"][-1], rows


@_lowest.defjvp
def _(space_order, cyclic, counts, primals, tangents):
    potential, kinetic, g = primals
    phi, mu, rows = _lowest(space_order, cyclic, counts, potential, kinetic, g)
    d_potential, d_kinetic, d_g = tangents
    matrix = _matrix(potential, kinetic, space_order, cyclic)
    moved = d_potential * phi + d_kinetic / kinetic * (matrix @ phi - potential * phi) + d_g * phi**3
    change = jnp.linalg.solve(_bordered(matrix, phi, mu, g), jnp.append(-moved, jnp.zeros((), phi.dtype)))
    # The way there has no derivative; the last row is measured again where this is used.
    return (phi, mu, rows), (change[:-1], change[-1], jax.tree.map(jnp.zeros_like, rows))


def _bordered(matrix, phi, mu, g) -> Array:
    """Return the derivative of (Hφ + gφ³ - µφ, (φᵀφ - 1)/2) in (φ, µ)."""
    inner = matrix + jnp.diag(3 * g * phi**2 - mu)
    upper = jnp.concatenate([inner, -phi[:, None]], axis=1)
    lower = jnp.append(phi, jnp.zeros((), phi.dtype))
    return jnp.concatenate([upper, lower[None, :]], axis=0)


def _matrix(potential, kinetic, space_order, cyclic) -> Array:
    """Return H, (n, n)."""
    if space_order is not None:
        return hamiltonian(potential, kinetic, space_order, cyclic)
    shape = _second_derivative(potential.shape[0], cyclic)
    return kinetic * jnp.asarray(shape, potential.dtype) + jnp.diag(potential)


def _second_derivative(n: int, cyclic: bool) -> np.ndarray:
    """Return -Δx² ∂²/∂x² on the waves that the grid holds: sines between walls, Fourier's waves on a ring."""
    j = np.arange(n)
    if cyclic:
        k = 2 * np.pi * np.fft.fftfreq(n)
        column = np.fft.ifft(k**2).real
        return column[(j[:, None] - j[None, :]) % n]
    k = np.pi * (j + 1) / (n + 1)
    modes = np.sqrt(2 / (n + 1)) * np.sin(np.outer(j + 1, k))
    return (modes * k**2) @ modes.T
