"""Propagation of a wave packet.

    i ħ ∂ψ/∂t = [-(ħ²/2m) ∂²/∂x² + V(x, t)] ψ

by the Cayley steps of `cayley.py`, all of them in one compiled loop. With a potential that does not depend on time
the matrices are eliminated once, outside the loop.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, as_tree, check_finite, check_positive, refuse
from jaxnum._progress import Progress
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.numerics.march import saved_steps
from jaxnum.schrodinger.adjoint import REVERSIBLE, Direct, Reversible, Step, check_adjoint, walk, walk_reversibly
from jaxnum.schrodinger.boundaries import WALLS, Periodic, Walls, all_points, check_boundary, free_points, is_cyclic
from jaxnum.schrodinger.cayley import CAYLEY, Cayley, as_potential, averaging_bands, energy_bands, shifted_bands
from jaxnum.schrodinger.grid import Grid, check_grid
from jaxnum.schrodinger.observables import mean_energy

# Gauss's two points in a step, and how strongly each half step feels the potentials there.
_EARLY, _LATE = 0.5 - np.sqrt(3) / 6, 0.5 + np.sqrt(3) / 6
_NEAR, _FAR = 0.5 + np.sqrt(3) / 3, 0.5 - np.sqrt(3) / 3


def propagate(
    psi0: ArrayLike,
    potential: ArrayLike | Callable | None,
    grid: Grid,
    *,
    t1: ArrayLike,
    num_steps: int,
    t0: ArrayLike = 0.0,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
    args: Any = None,
    method: Cayley = CAYLEY,
    boundary: Walls | Periodic = WALLS,
    save_every: int | None = None,
    adjoint: Reversible | Direct = REVERSIBLE,
    progress: Progress = False,
) -> Solution:
    """Propagate a wave packet from t0 to t1.

    Unitary for every time step, which is no proof of accuracy: the residual certifies that no probability was lost,
    not that the packet is where it should be. Refine the grid and the step to see that.

    Args:
        psi0: Wave function at t0, (num_points,); a real one is taken as complex. With walls its values at the two end
            points are replaced by zero.
        potential: V at the grid points, (num_points,); or a function `V(x, t, args)` (or `V(x, t)` while `args` is
            None) returning them, which is compared by equality: a new lambda in every call compiles again; or None.
        grid: Grid.
        t1: Time to stop at.
        num_steps: Number of time steps; resolve the fastest phase that matters, energy times step below ħ.
        t0: Time to start from.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        args: Pytree handed to the potential; differentiable.
        method: Scheme; `Cayley(2, 2)` is Crank-Nicolson.
        boundary: `Walls()` or `Periodic()`.
        save_every: Steps between two rows of the history; None records the start and the end.
        adjoint: How reverse mode remembers the path: `Reversible()` does not, and blocks forward mode; `Direct()`
            serves both.
        progress: True for a bar, or a function `progress(done, total)`. Ignored while differentiating.

    Returns:
        Solution with `value` = ψ at t1, (num_points,). `history` holds t, psi, norm, position, width and energy at the
        recorded steps. `residual` is the largest relative drift of the norm over them; the status is `not_converged`
        when it is more than rounding explains.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Reference:
        Goldberg, Schey & Schwartz (1967), https://doi.org/10.1119/1.1973991

    Example:
        >>> from jaxnum.schrodinger import Grid, gaussian_packet, propagate
        >>> grid = Grid(-20.0, 20.0, 401)
        >>> psi0 = gaussian_packet(grid.x, center=-5.0, momentum=2.0)
        >>> solution = propagate(psi0, None, grid, t1=4.0, num_steps=100)
        >>> print(f"{solution.history.position[-1]:.3f}", solution.ok)
        3.000 True
    """
    check_grid(grid)
    psi0 = as_array("psi0", psi0, shape=(grid.num_points,), complex_ok=True)
    psi0 = psi0.astype(np.result_type(psi0.dtype, np.complex64))
    real = psi0.real.dtype
    num_steps = as_count("num_steps", num_steps)
    if save_every is not None:
        save_every = min(as_count("save_every", save_every), num_steps)
    for name, value in {"t0": t0, "t1": t1}.items():
        check_finite(name, value)
    if not is_traced((t0, t1)) and not float(t0) < float(t1):
        refuse("t1", f"be later than `t0`, {float(t0):g}", f"is {float(t1):g}")
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    if not isinstance(method, Cayley):
        what = f"the class {method.__name__}" if isinstance(method, type) else type(method).__name__
        refuse("method", "be a `Cayley(time_order, space_order)`", f"is {what}")
    check_boundary(boundary)
    check_adjoint(adjoint)
    args = None if args is None else as_tree("args", args, complex_ok=True)
    x = grid.x.astype(real)
    law = None
    if callable(potential):
        law, potential = _law(potential, x, t0, args), None
    else:
        potential = as_potential(potential, grid, real)
    numbers = [jnp.asarray(v, real) for v in (grid.dx, t0, t1, mass, hbar)]
    if progress and is_traced((psi0, potential, args, numbers)):
        progress = False
    inputs = (psi0, potential, args, x, *numbers)
    settings = {"law": law, "method": method, "boundary": boundary, "num_steps": num_steps, "save_every": save_every}
    if not progress:
        return _solve(*inputs, **settings, adjoint=adjoint)
    step, parameters, start = _setup(*inputs, **settings)
    walked = walk(step, parameters, start, num_steps=num_steps, save_every=save_every, progress=progress)
    return _report(*walked, *inputs, **settings)


@dataclass(frozen=True)
class _Frozen:
    """Matrices that were made once."""

    def __call__(self, bands: Array, _n: Any) -> Array:
        return bands


@dataclass(frozen=True)
class _Moving:
    """Matrices of a potential that depends on time."""

    law: Callable
    method: Cayley
    boundary: Walls | Periodic
    dtype: Any

    def __call__(self, parameters: tuple, n: Any) -> Array:
        x, args, t0, dt, kinetic, hbar = parameters
        start = t0 + dt * jnp.asarray(n, dt.dtype)

        def bands(potential, dt):
            return _bands(potential, kinetic, dt / hbar, self.method, self.boundary, self.dtype)

        if self.method.time_order == 2:
            return bands(self.law(x, start + dt / 2, args), dt)[None]
        early = self.law(x, start + float(_EARLY) * dt, args)
        late = self.law(x, start + float(_LATE) * dt, args)
        first = float(_NEAR) * early + float(_FAR) * late
        second = float(_FAR) * early + float(_NEAR) * late
        return jnp.stack([bands(first, dt / 2), bands(second, dt / 2)])


@dataclass(frozen=True)
class _Averaging:
    def __call__(self, num_points: int, dtype: Any) -> Array:
        return averaging_bands(num_points, 4, dtype)


@dataclass(frozen=True)
class _Law:
    """A potential as `V(x, t, args)` whose values have the right shape and dtype."""

    fn: Callable
    takes_args: bool

    def __call__(self, x: Array, t: Array, args: Any) -> Array:
        values = jnp.asarray(self.fn(x, t, args) if self.takes_args else self.fn(x, t))
        return jnp.broadcast_to(values, x.shape).astype(x.dtype)


def _law(fn: Callable, x: Array, t: Any, args: Any) -> _Law:
    """Dress a potential, and look at what it returns before anything is compiled."""
    try:
        kinds = [p.kind for p in inspect.signature(fn).parameters.values()]
        takes_args = len(kinds) >= 3 or inspect.Parameter.VAR_POSITIONAL in kinds
    except (TypeError, ValueError):
        takes_args = True
    if not takes_args and args is not None:
        refuse("potential", "take `(x, t, args)` because `args` was given", "takes two arguments")
    t = jnp.asarray(t, x.dtype)
    found = jax.eval_shape(lambda x, t, args: jnp.asarray(fn(x, t, args) if takes_args else fn(x, t)), x, t, args)
    if found.shape not in (x.shape, ()):
        refuse("potential", f"return shape {x.shape}", f"returns shape {found.shape}")
    if not jnp.issubdtype(found.dtype, jnp.floating):
        refuse("potential", "return real floating-point values", f"returns {found.dtype}")
    if not is_traced((t, args)):
        values = np.asarray(fn(x, t, args) if takes_args else fn(x, t))
        if not np.isfinite(values).all():
            refuse("potential", "return finite values", f"returns {values[~np.isfinite(values)].flat[0]} at t0")
    return _Law(fn, takes_args)


def _bands(potential, kinetic, dt_over_hbar, method, boundary, dtype):
    # kinetic is ħ/(2mΔx²)·ħ: energies throughout, divided by ħ with the step.
    energy = energy_bands(free_points(potential, boundary), kinetic, method.space_order)
    averaging = averaging_bands(energy.shape[1], method.space_order, energy.dtype)
    bands = shifted_bands(energy, averaging, dt_over_hbar, method.time_order, dtype)
    return bands if is_cyclic(boundary) else bands.at[:, 0, 0].set(0).at[:, 2, -1].set(0)


def _setup(psi0, potential, args, x, dx, t0, t1, mass, hbar, *, law, method, boundary, num_steps, save_every):
    """Return the step, its parameters and the state it starts from."""
    del save_every
    dt = (t1 - t0) / num_steps
    kinetic = hbar**2 / (2 * mass * dx**2)
    if law is None:
        matrices = _Frozen()
        parameters = _bands(potential, kinetic, dt / hbar, method, boundary, psi0.dtype)[None]
    else:
        matrices = _Moving(law, method, boundary, jnp.dtype(psi0.dtype))
        parameters = (x, args, t0, dt, kinetic, hbar)
    averaging = None if method.space_order == 2 else _Averaging()
    step = Step(matrices, law is None, averaging, is_cyclic(boundary))
    return step, parameters, free_points(psi0, boundary)


@partial(jax.jit, static_argnames=("law", "method", "boundary", "num_steps", "save_every", "adjoint"))
def _solve(*inputs, adjoint, num_steps, save_every, **settings):
    settings = {"num_steps": num_steps, "save_every": save_every, **settings}
    step, parameters, start = _setup(*inputs, **settings)
    if isinstance(adjoint, Reversible):
        walked = walk_reversibly(step, num_steps, save_every, parameters, start)
    else:
        walked = walk(step, parameters, start, num_steps=num_steps, save_every=save_every)
    return _report(*walked, *inputs, **settings)


def _report(
    last, rows, _psi0, potential, args, x, dx, t0, t1, mass, hbar, *, law, method, boundary, num_steps, save_every
):
    """Return the solution with everything that is measured along the way."""
    real = dx.dtype
    psi = all_points(rows, boundary)
    t = t0 + (t1 - t0) * jnp.asarray(saved_steps(num_steps, save_every) / num_steps, real)
    kinetic = hbar**2 / (2 * mass * dx**2)
    if law is None:
        energy = mean_energy(psi, potential, kinetic, method.space_order, boundary)
    else:
        energies = partial(mean_energy, kinetic=kinetic, space_order=method.space_order, boundary=boundary)
        energy = jax.vmap(lambda row, t: energies(row, law(x, t, args)))(psi, t)
    density = psi.real**2 + psi.imag**2
    total = jnp.sum(density, axis=1)
    norms = jnp.sqrt(dx * total)
    center = density @ x / total
    spread = jnp.sqrt(jnp.sum(density * (x[None, :] - center[:, None]) ** 2, axis=1) / total)
    history = History(t=t, psi=psi, norm=norms, position=center, width=spread, energy=energy)
    residual = jnp.max(jnp.abs(norms / norms[0] - 1))
    # A solve rounds every number a few times, and roundings of a unitary map add up at worst linearly.
    solves = num_steps * method.time_order // 2 * (2 if law is not None and method.time_order > 2 else 1)
    explained = 30 * float(jnp.finfo(real).eps) * (solves + 10)
    status = Status.first(
        (~jnp.all(jnp.isfinite(density)), Status.nonfinite), (~(residual <= explained), Status.not_converged)
    )
    return Solution(all_points(last, boundary), history, residual, jnp.int32(num_steps), status)
