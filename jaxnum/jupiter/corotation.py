"""Corotation breakdown with a given conductance: how far out the planet can keep its plasma turning.

    x w' = K Σ f b (1 - w) - 2w      (Hill-Pontius; w = ω/Ω, f flux, b field, K of the `System`)

Two digits traps lie in it. Near the planet 1 - w is 1e-3, so integrating w loses three digits of the current; and the
equation relaxes fast there, so a derivative taken from its right-hand side multiplies the error of w by up to 2000.
Both vanish in the variable

    p = d ln(1 - w) / d ln x,    dp/ds = -(p + 2 + g) p - dg/ds,    g = K Σ f b,  s = ln x

from which 1 - w = 2/(p + 2 + g) follows without a difference of nearly equal numbers, and with it the radial current
I = I₀ Σ f (1 - w) and its derivative, the current density j = c₀ Σ (1 - w) (f p/x² - b)/b. The solution wanted is the
one that is bounded toward the planet; the integration starts a little inside the inner edge and forgets where.

Steps are chosen from g and its slope, h = η/(c + 4 |d ln g/ds| + g), before they are taken, and not from an estimate of
their error: such an estimate is a difference of nearly equal numbers, so rounding changes every step, and with it the
answer by all that the tolerance allows. Here the same numbers come out to rounding, alone or in a batch.

References:
    Hill (1979), https://doi.org/10.1029/JA084iA11p06554; Pontius (1997), https://doi.org/10.1029/97JA00289
"""

from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum._precision import check_tolerance
from jaxnum._progress import Progress, track
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.jupiter.conductance import Constant
from jaxnum.jupiter.fields import log_product, strength
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype

_MAX_STEPS = 1 << 14
_GAUSS = np.polynomial.legendre.leggauss(4)
_INTERVALS = 128  # in ln x, over which the balance of angular momentum is checked
_LEGS = 20  # updates of a progress bar

# Steps of 1.7/(24 + 4·4 + g), in a dipole, leave 2e-11 of ω/Ω. The error was seen to fall as the 6.5th to 7th power of
# the step (the interpolant of Dopri8 is of order 7); beyond 3.5/g the method would not be stable.
_STEP, _AT, _ORDER, _STABLE = 1.7, 1e-10, 7, 3.5


class _StepsFromTheRate(diffrax.AbstractStepSizeController):
    """Steps that depend on where they begin and on nothing else."""

    tolerance: Any

    def wrap(self, direction):
        """Nothing here depends on the direction."""
        del direction
        return self

    def step(self, s, args):
        """Return h."""
        g, dg = jax.lax.stop_gradient(jax.jvp(partial(grip, *args), (s,), (jnp.ones_like(s),)))
        wanted = _STEP * (self.tolerance / _AT) ** (1 / _ORDER)
        # A longer step than is stable near the planet is granted further out.
        length = jnp.minimum(wanted, _STABLE)
        h = length / ((24 + 4 * jnp.abs(dg / g)) * length / wanted + jnp.abs(g))
        return jnp.where(jnp.isfinite(h), h, 1.0).astype(s.dtype)  # where the field is not a number, get over with it

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        """Return the end of the first step."""
        del terms, t1, y0, dt0, func, error_order
        return t0 + self.step(t0, args), None

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        """Accept the step; return the end of the next."""
        del t0, y0, y1_candidate, y_error, error_order, controller_state
        return jnp.array(True), t1, t1 + self.step(t1, args), jnp.array(False), None, diffrax.RESULTS.successful


def corotation(
    system: Any,
    field: Any,
    sigma: ArrayLike | Constant,
    *,
    x0: float = 5.0,
    x1: float = 100.0,
    rtol: float = 1e-10,
    atol: float = 1e-10,
    num_points: int = 381,
    at: ArrayLike | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    progress: Progress = False,
) -> Solution:
    """Return angular velocity and currents of a magnetosphere with constant conductance.

    Integrated outward with Diffrax (Dopri8). Differentiable in every physical number, forward and reverse. Not meant
    for a conductance that answers to the current: that is a two-point problem, see `coupled`.

    Args:
        system: Planet.
        field: Magnetic field: `Dipole()`, `CurrentSheet()`, or anything with `flux(x)`.
        sigma: Effective Pedersen conductance of one hemisphere in mho, or `Constant(sigma)`.
        x0: Inner edge in planetary radii; the field is also asked for a little inside of it.
        x1: Outer edge in planetary radii.
        rtol: Relative tolerance of d ln(1 - w)/d ln x, a number between 0 and 4.
        atol: Absolute tolerance of it; the larger of the two sets the steps.
        num_points: Number of evenly spaced points in `history`.
        at: Distances in planetary radii for `history` instead of these, (n,), in any order between `x0` and `x1`; the
            steps do not depend on them.
        adjoint: How Diffrax differentiates; by default `diffrax.DirectAdjoint()`, which serves both modes.
        progress: False, True for a bar, or a function `progress(done, total)` that is told how many legs of the way
            out are done. Not under `jit`.

    Returns:
        Solution with `value` = ω/Ω at the points; `history` holds x (planetary radii), omega (ω/Ω), current (A, both
        hemispheres), current_density (A/m², just above the ionosphere, upward positive) and conductance (mho), each
        (num_points,). `residual` is the largest imbalance of angular momentum over one of 128 intervals in ln x,
        relative to the largest w x².

    Raises:
        ValueError: If an argument is not what it should be.
        jaxnum.PrecisionError: If a tolerance is below what the dtype can hold.

    Example:
        >>> from jaxnum.jupiter import JUPITER, Dipole, corotation
        >>> solution = corotation(JUPITER, Dipole(), 0.05)
        >>> print(f"{solution.history.current.max() / 1e6:.3f} MA")
        6.928 MA
    """
    check_system(system)
    check_record("field", field, "flux")
    if not isinstance(sigma, Constant):
        check_positive("sigma", sigma)
        sigma = Constant(sigma)
    check_record("sigma", sigma, "value")
    check_positive("sigma.sigma", sigma.sigma)
    check_range(x0, x1)
    num_points = as_count("num_points", num_points, at_least=2)
    if adjoint is None:
        adjoint = diffrax.DirectAdjoint()
    elif not isinstance(adjoint, diffrax.AbstractAdjoint):
        refuse("adjoint", "be one of Diffrax's adjoints", f"is {type(adjoint).__name__}")
    check_progress(progress)
    system, field, sigma, x0, x1, at = in_one_dtype(system, field, sigma, x0, x1, at)
    at = check_places(at, x0, x1)
    check_tolerance("rtol", rtol, x0.dtype)
    check_tolerance("atol", atol, x0.dtype)
    problem = (system, field, sigma.sigma)
    if not progress or is_traced((problem, x0, x1, at)):
        return _solve(problem, x0, x1, at, rtol, atol, num_points, adjoint)
    times, order, start, p = _plan(problem, x0, x1, at, num_points)
    # Legs of one length, so that one compilation serves them all; the last is filled up with its end.
    length = -(-times.size // _LEGS)
    parts, steps = [], []
    with track(progress, _LEGS, "corotation") as show:
        show(0)
        for leg in range(_LEGS):
            places = np.minimum(np.arange(leg * length, (leg + 1) * length), times.size - 1)
            ys, taken = _march(problem, start, p, times[places], rtol, atol, adjoint)
            start, p = times[places[-1]], ys[-1]
            parts.append(ys)
            steps.append(taken)
            show(leg + 1)
    ys = jnp.concatenate(parts)[: times.size]
    ended = jnp.sum(jnp.stack(steps), axis=0)
    return _finish(problem, x0, x1, at, ys, order, ended, rtol, atol, num_points)


def check_progress(progress: Any) -> None:
    """Refuse what cannot show progress."""
    if not (isinstance(progress, bool) or callable(progress)):
        refuse("progress", "be True, False or a function `progress(done, total)`", f"is {progress!r:.60}")


def check_places(at: Any, x0: Array, x1: Array) -> Array | None:
    """Return distances asked for as an array, or refuse those outside the range."""
    if at is None:
        return None
    at = as_array("at", at, ndim=1)
    if not is_traced((at, x0, x1)) and bool(jnp.any((at < x0) | (at > x1))):
        refuse("at", f"lie between {float(x0):g} and {float(x1):g}", f"runs from {at.min():g} to {at.max():g}")
    return at


def check_range(x0: Any, x1: Any) -> None:
    """Refuse an empty or backward range of distances."""
    check_positive("x0", x0)
    check_positive("x1", x1)
    if not is_traced((x0, x1)) and not x0 < x1:
        refuse("x1", f"lie outside `x0`, {float(x0):g}", f"is {float(x1):g}")


def grip(system: Any, field: Any, sigma: Array, s: Array) -> Array:
    """Return g = K Σ f b at s = ln x."""
    return system.coupling * sigma * jnp.exp(log_product(field, s))


def lag_slope(s: Array, p: Array, args: Any) -> Array:
    """Return dp/ds for p = d ln(1 - w)/d ln x, with constant conductance."""
    system, field, sigma = args
    g, dg = jax.jvp(partial(grip, system, field, sigma), (s,), (jnp.ones_like(s),))
    return -(p + 2 + g) * p - dg


def slow_manifold(g: Array, dg: Array) -> Array:
    """Return the p that would not change: the stable root of (p + 2 + g) p + dg/ds = 0."""
    return -2 * dg / (2 + g + jnp.sqrt((2 + g) ** 2 - 4 * dg))


def _places(x0, x1, at, num_points):
    """Return the points of the history, and the ends and Gauss nodes of the intervals that are checked, as ln x."""
    x = jnp.linspace(x0, x1, num_points) if at is None else at
    s = jnp.linspace(jnp.log(x0), jnp.log(x1), _INTERVALS + 1)
    half = (s[1:] - s[:-1]) / 2
    inner = (s[:-1] + half)[:, None] + half[:, None] * jnp.asarray(_GAUSS[0], x0.dtype)[None, :]
    return x, jnp.clip(jnp.log(x), s[0], s[-1]), s, half, inner


@partial(jax.jit, static_argnames="num_points")
def _plan(problem, x0, x1, at, num_points):
    """Return all s where the solution is wanted, in order, that order, and where and how the integration starts."""
    _, history, s, _, inner = _places(x0, x1, at, num_points)
    times = jnp.concatenate([history, s, inner.ravel()])
    order = jnp.argsort(jax.lax.stop_gradient(times))
    # An error of the start fades as exp(-∫g ds) and g falls like x⁻⁴, so this far inside 40 e-foldings are left for it.
    # What is forgotten has no derivative either.
    start = jax.lax.stop_gradient(s[0] - jnp.log1p(160 / grip(*problem, s[0])) / 4)
    g, dg = jax.jvp(partial(grip, *problem), (start,), (jnp.ones_like(start),))
    return times[order], order, start, slow_manifold(g, dg)


@partial(jax.jit, static_argnames="adjoint")
def _march(problem, start, p, times, rtol, atol, adjoint):
    """Integrate from `start` to the last of the times; return p at all of them, and how that ended."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lag_slope),
        diffrax.Dopri8(),
        start,
        times[-1],
        None,
        p,
        args=problem,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=_StepsFromTheRate(jnp.maximum(rtol, atol)),
        max_steps=_MAX_STEPS,
        adjoint=adjoint,
        throw=False,
    )
    full = (solution.result == diffrax.RESULTS.max_steps_reached).astype(jnp.int32)
    return solution.ys, jnp.stack([full, jnp.asarray(solution.stats["num_steps"], jnp.int32)])


@partial(jax.jit, static_argnames="num_points")
def _finish(problem, x0, x1, at, ys, order, ended, rtol, atol, num_points):
    system, field, sigma = problem
    x, history, s, half, inner = _places(x0, x1, at, num_points)
    ys = jnp.zeros_like(ys).at[order].set(ys)
    p, checked = ys[: x.size], ys[x.size :]

    def lag(p, s):
        g = jax.vmap(partial(grip, *problem))(s)
        return 2 / (p + 2 + g), g

    u, g = lag(p, history)
    omega = (p + g) * u / 2
    # x² w grows by the integral of x² g (1 - w) d ln x: Jupiter's torque against the outflow.
    at_ends, between = checked[: s.size], checked[s.size :]
    end_lag, end_g = lag(at_ends, s)
    carried = jnp.exp(2 * s) * (at_ends + end_g) * end_lag / 2
    inner_lag, inner_g = lag(between, inner.ravel())
    torque = (jnp.exp(2 * inner.ravel()) * inner_g * inner_lag).reshape(inner.shape)
    gained = half * (torque @ jnp.asarray(_GAUSS[1], x.dtype))
    residual = jnp.max(jnp.abs(carried[1:] - carried[:-1] - gained)) / jnp.max(jnp.abs(carried))
    f, b = field.flux(x), strength(field, x)
    rows = History(
        x=x,
        omega=omega,
        current=system.current_scale * sigma * f * u,
        current_density=system.current_density_scale * sigma * u * (f * p / (x**2 * b) - 1),
        conductance=jnp.broadcast_to(sigma, x.shape),
    )
    status = Status.first(
        (ended[0] > 0, Status.max_steps),
        (~jnp.all(jnp.isfinite(ys)), Status.nonfinite),
        (residual > 1e4 * jnp.maximum(rtol, atol), Status.not_converged),
    )
    return Solution(omega, rows, residual, ended[1], status)


@partial(jax.jit, static_argnames=("num_points", "adjoint"))
def _solve(problem, x0, x1, at, rtol, atol, num_points, adjoint):
    times, order, start, p = _plan(problem, x0, x1, at, num_points)
    ys, ended = _march(problem, start, p, times, rtol, atol, adjoint)
    return _finish(problem, x0, x1, at, ys, order, ended, rtol, atol, num_points)
