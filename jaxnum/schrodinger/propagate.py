"""Propagation of a wave packet.

    i ħ ∂ψ/∂t = [-(ħ²/2m) ∂²/∂x² + V(x, t) + g |ψ|²] ψ

by the Cayley steps of `cayley.py` or the Fourier steps of `split_operator.py`, all of them in one compiled loop. With
a potential that does not depend on time the matrices are eliminated once, outside the loop.

What is linear is one flow, in which the potential is part of the matrices. With a nonlinearity, and in the split
operator, a step is composed of that flow and of exact kicks (`splitting.py`); a potential that depends on time is then
part of the kicks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

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
from jaxnum.numerics.march import Interrupted, march
from jaxnum.schrodinger.adjoint import (
    REVERSIBLE,
    Checkpointed,
    Course,
    Direct,
    Reversible,
    check_adjoint,
    walk_checkpointed,
    walk_home,
    walk_reversibly,
)
from jaxnum.schrodinger.boundaries import (
    WALLS,
    Absorber,
    Periodic,
    Transparent,
    Walls,
    all_points,
    check_boundary,
    free_points,
    is_cyclic,
    is_open,
)
from jaxnum.schrodinger.cayley import CAYLEY, Cayley, as_potential
from jaxnum.schrodinger.cayley_flow import CayleyFlow, Pieces, bands_of
from jaxnum.schrodinger.driven import MovingPhases, MovingPieces, as_law, with_absorber
from jaxnum.schrodinger.grid import Grid, check_grid
from jaxnum.schrodinger.observables import mean_energy
from jaxnum.schrodinger.split_operator import FourierFlow, SplitOperator, wave_numbers
from jaxnum.schrodinger.splitting import GENERAL, GRADIENT, QUADRATIC, Kick, Splitting, angles, phase
from jaxnum.schrodinger.steps import Leave, Step
from jaxnum.schrodinger.transparent import OpenStep, kernel, walk_between, walk_home_between


class _Inputs(NamedTuple):
    """What a run can be differentiated in."""

    psi0: Array
    potential: Array | None
    args: Any
    x: Array
    dx: Array
    t0: Array
    t1: Array
    mass: Array
    hbar: Array
    nonlinearity: Array

    def dt(self, course: Course) -> Array:
        return (self.t1 - self.t0) / jnp.asarray(course.last, self.t0.dtype)

    def kinetic(self) -> Array:
        """Return ħ²/(2mΔx²), an energy."""
        return self.hbar**2 / (2 * self.mass * self.dx**2)


@dataclass(frozen=True)
class _Run:
    """What a run is compiled for; not the number of its steps, where nothing has the shape of it."""

    law: Callable | None
    method: Cayley | SplitOperator
    boundary: Walls | Periodic | Absorber | Transparent
    nonlinear: bool
    points: int
    intervals: int
    fixed: Course | None = None

    @property
    def order(self) -> int:
        return self.method.order if isinstance(self.method, SplitOperator) else self.method.time_order

    @property
    def free(self) -> int:
        """Number of points at which the wave function is free."""
        return self.points if isinstance(self.boundary, Periodic | Transparent) else self.points - 2

    @property
    def open(self) -> bool:
        return isinstance(self.boundary, Transparent)


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
    method: Cayley | SplitOperator = CAYLEY,
    boundary: Walls | Periodic | Absorber | Transparent = WALLS,
    nonlinearity: ArrayLike = 0.0,
    save_every: int | None = None,
    first_step: int = 0,
    adjoint: Reversible | Checkpointed | Direct = REVERSIBLE,
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
        method: Scheme; `Cayley(2, 2)` is Crank-Nicolson, `SplitOperator(order)` is for a ring and a smooth potential.
        boundary: `Walls()`, `Periodic()`, `Absorber(width, strength)` or `Transparent()`.
        nonlinearity: g of the term g|ψ|²ψ, an energy times a length. The norm is kept to rounding, the energy to the
            order of the scheme and without drift. A step of `Cayley(time_order=2, 4, 6)` then costs 1, 6 or 10 of the
            linear ones.
        save_every: Steps between two rows of the history; None records the start and the end.
        first_step: Steps that lie behind `psi0` already, to take up a run that was interrupted: with the `value` and
            the `num_steps` of what it returned and all else unchanged, no bit of the end will differ.
        adjoint: How reverse mode remembers the path: `Reversible()` does not, `Checkpointed()` remembers some steps,
            and both block forward mode; `Direct()` serves both.
        progress: True for a bar, or a function `progress(done, total)`. A run with progress that is interrupted from
            the keyboard returns what it has reached, with the status `interrupted`. Ignored while differentiating.

    Returns:
        Solution with `value` = ψ at t1, (num_points,). `history` holds t, psi, norm, position, width and energy at the
        recorded steps; the energy includes g/2 ∫|ψ|⁴, and not the absorber. `residual` is the largest relative drift
        of the norm over them; where the wave can leave, the largest growth, and with `Transparent()` also the share of
        ψ0 at the ends. The status is `not_converged` when it is more than rounding explains.

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
    if psi0.dtype.kind != "c":
        psi0 = psi0.astype(np.result_type(psi0.dtype, np.complex64))
    real = jnp.finfo(psi0.dtype).dtype
    num_steps = as_count("num_steps", num_steps)
    first_step = as_count("first_step", first_step, at_least=0)
    if first_step >= num_steps:
        refuse("first_step", f"be less than `num_steps`, {num_steps}", f"is {first_step}")
    if save_every is not None:
        save_every = min(as_count("save_every", save_every), num_steps)
    for name, value in {"t0": t0, "t1": t1, "nonlinearity": nonlinearity}.items():
        check_finite(name, value)
    if not is_traced((t0, t1)) and not float(t0) < float(t1):
        refuse("t1", f"be later than `t0`, {float(t0):g}", f"is {float(t1):g}")
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    nonlinear = is_traced(nonlinearity) or float(nonlinearity) != 0
    check_boundary(boundary, open_ok=True)
    _check_method(method, boundary, nonlinear)
    check_adjoint(adjoint)
    args = None if args is None else as_tree("args", args, complex_ok=True)
    x = grid.x
    if x.dtype != real:
        x = x.astype(real)
    law = None
    if callable(potential):
        law, potential = as_law(potential, x, t0, args), None
    else:
        potential = as_potential(potential, grid, real)
    # A small run takes no longer than to put its numbers on a device one by one: the compiled call takes them along.
    numbers = [
        jnp.asarray(v, real) if is_traced(v) else np.asarray(v, real)
        for v in (grid.dx, t0, t1, mass, hbar, nonlinearity)
    ]
    inputs = _Inputs(psi0, potential, args, x, *numbers)
    if isinstance(boundary, Transparent):
        _check_transparent(inputs, law, method, nonlinear, first_step)
    every = save_every or num_steps
    course, intervals = Course(first_step, num_steps, every), -((first_step - num_steps) // every)
    run = _Run(law, method, boundary, nonlinear, grid.num_points, intervals)
    stored = isinstance(adjoint, Direct | Checkpointed) or isinstance(boundary, Absorber)
    if run.open or (stored and is_traced(inputs)):
        # Something has as many entries as there are steps.
        run = replace(run, fixed=course)
    elif not isinstance(adjoint, Reversible):
        adjoint = REVERSIBLE  # there is nothing to differentiate
    if not progress or is_traced(inputs):
        return _solve(inputs, course, run, adjoint)
    return _watched(inputs, course, run, progress)


def _watched(inputs: _Inputs, course: Course, run: _Run, progress: Progress) -> Solution:
    """Propagate in chunks, from which progress is shown and which an interruption comes between."""
    step = _step(run)
    state, prepared = _ready(inputs, course, run)
    options = {"num_steps": course.last - course.first, "first_step": course.first, "save_every": course.every}
    try:
        _, rows = march(step, Leave(step), state, prepared, **options, progress=progress)
    except Interrupted as stop:
        return _report(stop.rows, inputs, course, run, stop.done)
    return _report(rows, inputs, course, run, options["num_steps"])


def _check_method(method: Any, boundary: Any, nonlinear: bool) -> None:
    """Refuse what is not a method, or not one for this problem."""
    if not isinstance(method, Cayley | SplitOperator):
        what = f"the class {method.__name__}" if isinstance(method, type) else type(method).__name__
        refuse("method", "be a `Cayley(time_order, space_order)` or a `SplitOperator(order)`", f"is {what}")
    if isinstance(method, SplitOperator) and not isinstance(boundary, Periodic):
        refuse("boundary", "be `Periodic()` with `SplitOperator`", f"is {type(boundary).__name__}; take `Cayley`")
    if isinstance(method, Cayley) and nonlinear and method.time_order == 8:
        refuse("method", "have a time order of at most 6 with a nonlinearity", "has 8")


def _check_transparent(inputs: _Inputs, law: Any, method: Cayley, nonlinear: bool, first_step: int) -> None:
    """Refuse what the exact solution outside the grid does not cover."""
    if nonlinear:
        refuse("nonlinearity", "be zero with `Transparent()`", "is not; take `Absorber(width, strength)`")
    if method.time_order > 4:
        refuse("method", "have a time order of 2 or 4 with `Transparent()`", f"has {method.time_order}")
    if first_step:
        refuse("first_step", "be 0 with `Transparent()`, which needs the past of its ends", f"is {first_step}")
    if law is None:
        rows = inputs.potential[None]
    else:
        rows = jnp.stack([law(inputs.x, inputs.t0 + s * (inputs.t1 - inputs.t0), inputs.args) for s in (0, 0.37, 1)])
    kinetic = inputs.kinetic()
    if is_traced((rows, kinetic)):
        return
    rows = np.asarray(rows)
    # A slope at an end reflects about its height over four kinetic energies of the grid.
    slack = np.sqrt(np.finfo(rows.dtype).eps) * (float(kinetic) + np.abs(rows).max())
    for place, near, end in (("first", 1, 0), ("last", -2, -1)):
        if np.max(np.abs(rows[:, near] - rows[0, end])) > slack or np.max(np.abs(rows[:, end] - rows[0, end])) > slack:
            refuse("potential", f"be constant from the {place} two points outwards with `Transparent()`", "is not")


@dataclass(frozen=True)
class _Frozen:
    """What was made once."""

    def __call__(self, made: Any, _n: Any) -> Any:
        return made


@dataclass(frozen=True)
class _OpenBands:
    """Left matrices between transparent ends, (flows, 3, points) for each root."""

    pieces: Callable
    method: Cayley

    def __call__(self, parameters: Any, n: Any) -> list[Array]:
        bands = bands_of(self.pieces(parameters, n), self.method, cyclic=False)
        return list(jnp.moveaxis(bands, 1, 0))


def _step(run: _Run) -> Step | OpenStep:
    """Return the step that a run repeats."""
    if isinstance(run.method, SplitOperator):
        scheme = _fourier(run)
        return Step(FourierFlow(scheme.sequence), _kick(run, scheme, by_potential=True))
    pieces, constant, sequence, kick = _Frozen(), True, (0,), None
    if run.nonlinear:
        scheme = GENERAL[run.order]
        sequence, kick = scheme.sequence, _kick(run, scheme, by_potential=run.law is not None)
    elif run.law is not None:
        pieces, constant = MovingPieces(run.law, run.order, run.boundary), False
        sequence = (0,) if run.order == 2 else (0, 1)
    if run.open:
        return OpenStep(_OpenBands(pieces, run.method), constant, run.method.space_order == 4, len(sequence))
    return Step(CayleyFlow(pieces, constant, run.method, is_cyclic(run.boundary), run.free, sequence), kick)


def _fourier(run: _Run) -> Splitting:
    """Return the scheme of a split operator; the slope of |ψ|² is no potential's."""
    return (QUADRATIC if run.nonlinear else GRADIENT)[run.order]


def _kick(run: _Run, scheme: Splitting, *, by_potential: bool) -> Kick:
    if by_potential and run.law is not None:
        return Kick(MovingPhases(run.law, run.boundary, scheme), False, run.nonlinear)
    return Kick(_Frozen(), True, run.nonlinear)


def _parameters(inputs: _Inputs, course: Course, run: _Run) -> tuple[Any, Any]:
    """Return the parameters of the step: those of its flow, those of its kicks."""
    dt, kinetic, hbar = inputs.dt(course), inputs.kinetic(), inputs.hbar
    if isinstance(run.method, SplitOperator):
        scheme = _fourier(run)
        rates = wave_numbers(inputs.x.shape[0], dt.dtype) ** 2 * (kinetic / hbar)
        turns = jnp.asarray(scheme.distinct, dt.dtype) * dt
        return phase(turns[:, None] * rates[None]), _kick_parameters(inputs, dt, run, scheme, inputs.potential)
    if run.nonlinear:
        scheme = GENERAL[run.order]
        still = jnp.zeros_like(inputs.x)
        turns = jnp.asarray(scheme.distinct, dt.dtype) * (dt / hbar)
        felt = with_absorber(still if run.law is not None else inputs.potential, inputs.x, run.boundary)
        flow = Pieces(jnp.broadcast_to(felt[None], (len(scheme.distinct), *felt.shape)), kinetic, turns)
        return flow, _kick_parameters(inputs, dt, run, scheme, still)
    if run.law is None:
        flow = Pieces(with_absorber(inputs.potential[None], inputs.x, run.boundary), kinetic, (dt / hbar)[None])
    else:
        flow = (inputs.x, inputs.args, inputs.t0, dt, kinetic, hbar)
    if not run.open:
        return flow, None
    outside = inputs.potential if run.law is None else run.law(inputs.x, inputs.t0, inputs.args)
    flows = 1 if run.law is None or run.order == 2 else 2
    orders = run.method.time_order, run.method.space_order
    ends = jax.vmap(lambda v: kernel(v, kinetic, dt / hbar / flows, *orders, course.last * flows))
    return flow, ends(jnp.stack([outside[0], outside[-1]]))


def _kick_parameters(inputs: _Inputs, dt: Array, run: _Run, scheme: Splitting, potential: Array | None) -> tuple:
    turn = dt / inputs.hbar
    gamma = jnp.asarray(scheme.kicks, dt.dtype) * (turn * inputs.nonlinearity)
    if run.law is not None:
        return inputs.x, inputs.args, inputs.t0, dt, inputs.kinetic(), inputs.hbar, gamma
    return angles(scheme, free_points(potential, run.boundary)[None], turn, inputs.kinetic()), gamma


@partial(jax.jit, static_argnames="run")
def _ready(inputs: _Inputs, course: Course, run: _Run) -> tuple[Any, Any]:
    """Return the state before the first step, and what every step needs."""
    step = _step(run)
    prepared = step.prepare(_parameters(inputs, run.fixed or course, run))
    return step.enter(free_points(inputs.psi0, run.boundary), prepared), prepared


@partial(jax.jit, static_argnames=("run", "adjoint"))
def _solve(inputs: _Inputs, course: Course, run: _Run, adjoint: Any) -> Solution:
    course = run.fixed or course
    step, parameters = _step(run), _parameters(inputs, course, run)
    start, missed = free_points(inputs.psi0, run.boundary), 0.0
    check = isinstance(adjoint, Reversible) and adjoint.check
    if run.fixed and not (run.open and isinstance(adjoint, Reversible)):
        # Walking back through an absorber would amplify rounding without bound.
        every = 0 if isinstance(adjoint, Direct) else getattr(adjoint, "every", None)
        rows = walk_checkpointed(step, course, every, parameters, start)
    elif run.open:
        state, rows = walk_between(step, course.last, course.every, parameters, start)
        if check:
            home = walk_home_between(step, course.last, *jax.lax.stop_gradient((parameters, state)))
            missed = _missed(home, start)
    else:
        rows = walk_reversibly(step, run.intervals, course, parameters, start)
        if check and not isinstance(run.boundary, Absorber):
            home = walk_home(step, course, *jax.lax.stop_gradient((parameters, rows[-1])))
            missed = _missed(home, start)
    return _report(rows, inputs, course, run, jnp.int32(course.last - course.first), missed)


def _missed(home: Array, start: Array) -> Array:
    """Return by how much the walk back missed ψ0."""
    start = jax.lax.stop_gradient(start)
    return jnp.linalg.norm(home - start) / jnp.linalg.norm(start)


@partial(jax.jit, static_argnames="run")
def _report(rows: Array, inputs: _Inputs, course: Course, run: _Run, taken: Any, missed: Any = 0.0) -> Solution:
    """Return the solution with everything that is measured along the way."""
    real = inputs.dx.dtype
    psi = all_points(rows, run.boundary)
    steps = course.first + jnp.minimum(course.every * jnp.arange(psi.shape[0], dtype=jnp.int32), taken)
    t = inputs.t0 + (inputs.t1 - inputs.t0) * (steps.astype(real) / jnp.asarray(course.last, real))
    density = psi.real**2 + psi.imag**2
    total = jnp.sum(density, axis=1)
    norms = jnp.sqrt(inputs.dx * total)
    center = density @ inputs.x / total
    spread = jnp.sqrt(jnp.sum(density * (inputs.x[None, :] - center[:, None]) ** 2, axis=1) / total)
    energy = _energies(psi, t, inputs, run)
    history = History(t=t, psi=psi, norm=norms, position=center, width=spread, energy=energy)
    # Where probability may leave, it may still not appear.
    drift = norms[1:] / norms[:-1] - 1 if is_open(run.boundary) else jnp.abs(norms / norms[0] - 1)
    residual = jnp.maximum(jnp.max(drift, initial=0), missed)
    # A solve rounds every number a few times, and roundings of a unitary map add up at worst linearly.
    explained = 30 * float(jnp.finfo(real).eps) * (jnp.asarray(taken, real) * _solves(run) + 10)
    if isinstance(run.boundary, Transparent):
        first = jax.lax.stop_gradient(density[0])
        outer = jnp.max(first[np.array([0, 1, -2, -1])]) / jnp.max(first)
        residual = jnp.maximum(residual, jnp.sqrt(outer))
        # The tail of a packet is no error of the scheme, until it can be seen.
        explained = jnp.maximum(explained, float(jnp.finfo(real).eps) ** 0.5)
    status = Status.first(
        (~jnp.all(jnp.isfinite(density)), Status.nonfinite),
        (~(residual <= explained), Status.not_converged),
        (taken < course.last - course.first, Status.interrupted),
    )
    return Solution(psi[-1], history, residual, jnp.asarray(course.first + taken, jnp.int32), status)


def _solves(run: _Run) -> int:
    """Return the number of solves, or pairs of transforms, in a step."""
    if isinstance(run.method, SplitOperator):
        return len(_fourier(run).flows)
    flows = len(GENERAL[run.order].flows) if run.nonlinear else 1 + (run.law is not None and run.order > 2)
    return flows * run.order // 2


def _energies(psi: Array, t: Array, inputs: _Inputs, run: _Run) -> Array:
    """Return the mean energy of every row."""
    if isinstance(run.method, SplitOperator):

        def linear(psi, potential):
            waves = jnp.fft.fft(psi)
            heights = waves.real**2 + waves.imag**2
            moving = heights @ wave_numbers(psi.shape[-1], potential.dtype) ** 2 * inputs.kinetic()
            density = psi.real**2 + psi.imag**2
            return moving / jnp.sum(heights, axis=-1) + density @ potential / jnp.sum(density, axis=-1)
    elif isinstance(run.boundary, Transparent):

        def linear(psi, potential):
            # Only what is on the grid: K = -δ² + δ⁴/12 as squares, which ask nothing of the points outside.
            slope, bend = jnp.diff(psi), jnp.diff(psi, n=2)
            moving = jnp.sum(slope.real**2 + slope.imag**2, axis=-1)
            if run.method.space_order == 4:
                moving += jnp.sum(bend.real**2 + bend.imag**2, axis=-1) / 12
            density = psi.real**2 + psi.imag**2
            return (inputs.kinetic() * moving + density @ potential) / jnp.sum(density, axis=-1)
    else:
        linear = partial(
            mean_energy, kinetic=inputs.kinetic(), space_order=run.method.space_order, boundary=run.boundary
        )
    if run.law is None:
        energy = linear(psi, inputs.potential)
    else:
        energy = jax.vmap(lambda row, t: linear(row, run.law(inputs.x, t, inputs.args)))(psi, t)
    if not run.nonlinear:
        return energy
    density = psi.real**2 + psi.imag**2
    return energy + inputs.nonlinearity / 2 * jnp.sum(density**2, axis=1) / jnp.sum(density, axis=1)
