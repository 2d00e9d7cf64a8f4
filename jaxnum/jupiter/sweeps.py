"""Conductance that answers to the current: the alternating iteration that converges.

    x u' = 2(1 - u) - K b y,    y' = x b j/c₀,    y = Σ(j) f u        (u = 1 - ω/Ω, y = I_ρ/I₀)

Two conditions are needed, and they belong at opposite ends: with Σ given, u is stable *outward* and forgets where it
started; with u given, j is stable *inward*, so j (or the radial current) has to be given at the **outer** edge. A
sweep integrates each in its own direction: outward for ω, inward for j, and Σ(j) for the next sweep. Nothing is ever
differenced and nothing is relaxed. For the dipole a sweep reduces the error to about 0.74 of what it was; in a current
sheet, where the feedback is stronger, to 0.93 and more: there it takes hundreds of sweeps.

Outward, p = d ln u/d ln x is integrated as in `corotation`. Inward,

    dj/ds = [x² b j/c₀ + Σ(j) u (x² b - f p)] / (Σ'(j) f u),    s = ln x

The profiles travel between the legs as cubic splines in s whose end slopes come from the equations: of fourth order in
the distance of the nodes, all that is discretized beside the tolerances of the integrations.

References:
    Nichols & Cowley (2004), Annales Geophysicae 22, 1799, https://doi.org/10.5194/angeo-22-1799-2004
"""

import sys
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnum._checks import as_count, refuse
from jaxnum._precision import check_tolerance
from jaxnum._progress import Progress, track
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.jupiter.conductance import check_law, inverse, smallest_slope
from jaxnum.jupiter.corotation import check_progress, check_range, slow_manifold
from jaxnum.jupiter.fields import derivative, strength
from jaxnum.jupiter.outer import CurrentDensity, RadialCurrent, check_outer
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype
from jaxnum.numerics.fixed_point import Anderson, anderson_start, anderson_step

_MAX_STEPS = 1 << 15
_UNIT = 1e-8  # A/m²: j is integrated in this unit so that one absolute tolerance serves both legs


def sweeps(
    system: Any,
    field: Any,
    law: Any,
    *,
    outer: CurrentDensity | RadialCurrent,
    x0: float = 5.0,
    x1: float = 100.0,
    tol: float = 1e-8,
    rtol: float = 1e-10,
    atol: float = 1e-10,
    max_sweeps: int = 1000,
    acceleration: Anderson | None = None,
    num_nodes: int = 601,
    num_points: int = 381,
    progress: Progress = False,
) -> Solution:
    """Return angular velocity, currents and conductance of a magnetosphere with precipitation feedback.

    Differentiable in forward mode (`jax.jvp`, `jax.jacfwd`) in every physical number. The flatter the law, the stiffer
    the inward leg (its rate is 1/ℓ, and ℓ is proportional to the slope): for a nearly constant law use `corotation`.

    Args:
        system: Planet.
        field: Magnetic field: `Dipole()`, `CurrentSheet()`, or anything with `flux(x)`.
        law: Conductance law, strictly increasing: `SmoothRamp()` or a record with `value(j)`.
        outer: What is known at the outer edge, `CurrentDensity(j)` or `RadialCurrent(i)`. No default: it is physics.
        x0: Inner edge in planetary radii, where the plasma nearly corotates.
        x1: Outer edge in planetary radii.
        tol: Stop when no conductance changes by more than this, relatively, in a sweep.
        rtol: Relative tolerance of each integration.
        atol: Absolute tolerance of each integration (current densities count in units of 1e-8 A/m²).
        max_sweeps: Sweeps allowed.
        acceleration: `Anderson(memory=5)` combines the last sweeps and needs about half as many; None takes each as it
            comes, so that `contraction` is the factor of the sweep itself.
        num_nodes: Spline nodes, evenly spaced in ln x.
        num_points: Number of evenly spaced points in `history`.
        progress: False, True for a bar that ends with a line about the contraction, or a function
            `progress(done, total)` that is told how many of `max_sweeps` are done. Not under `jit`.

    Returns:
        Solution with `value` = ω/Ω at the points; `history` holds x (planetary radii), omega (ω/Ω), current (A),
        current_density (A/m²) and conductance (mho), each (num_points,); change (max_sweeps,), the largest relative
        change of Σ in each sweep, NaN beyond the last; and contraction, by how much a sweep multiplied it at the end.
        `residual` is the last change: how far Σ still is from Σ(j). `num_steps` counts sweeps.

    Raises:
        ValueError: If an argument is not what it should be.
        jaxnum.PrecisionError: If a tolerance is below what the dtype can hold.

    Example:
        >>> from jaxnum.jupiter import JUPITER, CurrentDensity, Dipole, SmoothRamp, sweeps
        >>> solution = sweeps(JUPITER, Dipole(), SmoothRamp(), outer=CurrentDensity(-1.8669232e-8), tol=1e-4)
        >>> print(f"{solution.history.contraction:.1f}")
        0.7
    """
    check_system(system)
    check_record("field", field, "flux")
    check_law("law", law)
    check_outer(outer, (CurrentDensity, RadialCurrent))
    check_range(x0, x1)
    if acceleration is not None and not isinstance(acceleration, Anderson):
        refuse("acceleration", "be Anderson(memory) or None", f"is {type(acceleration).__name__}")
    max_sweeps = as_count("max_sweeps", max_sweeps, at_least=2)
    num_nodes = as_count("num_nodes", num_nodes, at_least=16)
    num_points = as_count("num_points", num_points, at_least=2)
    system, field, law, outer, x0, x1 = in_one_dtype(system, field, law, outer, x0, x1)
    for name, value in (("tol", tol), ("rtol", rtol), ("atol", atol)):
        check_tolerance(name, value, x0.dtype)
    if not is_traced((tol, rtol, atol)) and tol < 10 * max(rtol, atol):
        refuse("tol", f"be at least ten times `rtol` and `atol`, {10 * max(rtol, atol):.1e}", f"is {float(tol):g}")
    if not is_traced(law):
        slope = float(smallest_slope(law))
        if not slope > 0:
            refuse("law", "increase strictly between -1 and 2 µA/m²", f"its smallest slope there is {slope:.3g}")
    check_progress(progress)
    problem = (system, field, law, outer, x0, x1, tol, rtol, atol)
    state = _begin(*problem, max_sweeps, acceleration, num_nodes)
    if progress and not is_traced(problem):
        with track(progress, max_sweeps, "sweeps") as show:
            show(0)
            while not _ended(state, max_sweeps, tol):
                state = _advance(state, *problem, int(state.count) + 1, acceleration)
                show(int(state.count))
    else:
        state = _advance(state, *problem, max_sweeps, acceleration)
    solution = _finish(state, *problem, num_points)
    if progress is True and not is_traced(problem):
        factor, residual = float(solution.history.contraction), float(solution.residual)
        left = f"a change of {residual:.1e} is left; each sweep multiplied it by {factor:.3f}"
        print(f"{int(state.count)} sweeps: {left}", file=sys.stderr)
    return solution


def coupled_slopes(x: Array, y: Array, args: Any) -> Array:
    """Return d(w, j)/dx of the coupled problem: what one would hand to a solver that marches both together.

    That march fails in either direction; `jaxnum.diagnose.boundary_conditions` counts why.

    Args:
        x: Distance in planetary radii, a scalar.
        y: ω/Ω and j/(1e-8 A/m²), shape (2,).
        args: Planet, field and conductance law.

    Returns:
        Derivatives, shape (2,).
    """
    system, field, law = args
    w, j = y[0], y[1] * _UNIT
    f, b, sigma = field.flux(x), strength(field, x), law.value(j)
    dw = system.coupling * sigma * f * b * (1 - w) / x - 2 * w / x
    dy = x * b * j / system.current_density_scale
    dj = (dy + sigma * (x * b * (1 - w) + f * dw)) / (derivative(law.value, j) * f * (1 - w))
    return jnp.stack([dw, dj / _UNIT])


def _spline(y: Array, step: Array, first: Array, last: Array) -> Array:
    """Return values and slopes (n, 2, k) of the cubic splines through the columns of `y` (n, k), end slopes given."""
    inner = 3 * (y[2:] - y[:-2]) / step
    inner = inner.at[0].add(-first).at[-1].add(-last)
    ones = jnp.ones_like(inner[:, 0])
    slopes = jax.lax.linalg.tridiagonal_solve(ones.at[0].set(0.0), 4 * ones, ones.at[-1].set(0.0), inner)
    return jnp.stack([y, jnp.concatenate([first[None], slopes, last[None]])], axis=1)


def _evaluate(spline: Array, start: Array, step: Array, s: Array) -> tuple[Array, Array]:
    """Return values and slopes (k,) of the splines at one s."""
    cell = jnp.clip(jnp.floor((s - start) / step).astype(jnp.int32), 0, spline.shape[0] - 2)
    t = (s - start) / step - cell.astype(s.dtype)
    y0, m0, y1, m1 = spline[cell, 0], spline[cell, 1] * step, spline[cell + 1, 0], spline[cell + 1, 1] * step
    rise = y1 - y0
    quadratic, cubic = 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise
    return y0 + t * (m0 + t * (quadratic + t * cubic)), (m0 + t * (2 * quadratic + 3 * t * cubic)) / step


def _field_spline(field, s, step):
    """Return splines of ln f and ln b: a field may be costly, and both legs ask for it at every stage."""

    def logs(s):
        return jnp.log(jnp.stack([field.flux(jnp.exp(s)), strength(field, jnp.exp(s))]))

    first, last = (jax.jvp(logs, (end,), (jnp.ones_like(end),))[1] for end in (s[0], s[-1]))
    return _spline(jax.vmap(logs)(s), step, first, last)


def _grip(coupling, splines, start, step, s):
    """Return g = K Σ f b and its slope from splines of ln f, ln b and ln Σ."""
    logs, slopes = _evaluate(splines, start, step, s)
    g = coupling * jnp.exp(jnp.sum(logs))
    return g, g * jnp.sum(slopes)


def _outward(s, p, args):
    """Return dp/ds with the conductance given."""
    g, dg = _grip(*args, s)
    return -(p + 2 + g) * p - dg


def _inward(s, z, args):
    """Return dz/ds, z = j in units of 1e-8 A/m², with splines of ln f, ln b and ln u given."""
    scale, law, splines, start, step = args
    (log_f, log_b, log_u), (_, _, p) = _evaluate(splines, start, step, s)
    f, xxb, u, j = jnp.exp(log_f), jnp.exp(2 * s + log_b), jnp.exp(log_u), z * _UNIT
    gain = xxb * j / scale + law.value(j) * u * (xxb - f * p)
    return gain / (derivative(law.value, j) * f * u) / _UNIT


def _leg(vector_field, y0, times, args, rtol, atol):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field),
        diffrax.Dopri8(),
        times[0],
        times[-1],
        None,
        y0,
        args=args,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=_MAX_STEPS,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    ).ys


def _edge_current(outer, system, law, f, u):
    """Return j in units of 1e-8 A/m² at the outer edge, and whether there is one."""
    if isinstance(outer, CurrentDensity):
        return outer.density / _UNIT, jnp.array(True)
    j, reachable = inverse(law, outer.current / (system.current_scale * f * u))
    return j / _UNIT, reachable


def _sweep(system, law, outer, s, field_spline, sigma_spline, rtol, atol):
    """Return splines of ln u, of j and of the new ln Σ, and whether the outer condition can be met."""
    start, step = s[0], s[1] - s[0]
    splines = jnp.concatenate([field_spline, sigma_spline], axis=2)
    args = (system.coupling, splines, start, step)
    g, dg = jax.vmap(partial(_grip, *args))(s)
    p = _leg(_outward, slow_manifold(g[0], dg[0]), s, args, rtol, atol)
    u_spline = _spline(jnp.log(2 / (p + 2 + g))[:, None], step, p[:1], p[-1:])

    edge, feasible = _edge_current(
        outer, system, law, *jnp.exp(jnp.stack([field_spline[-1, 0, 0], u_spline[-1, 0, 0]]))
    )
    splines = jnp.concatenate([field_spline, u_spline], axis=2)
    args = (system.current_density_scale, law, splines, start, step)
    z = _leg(_inward, edge, s[::-1], args, rtol, atol)[::-1]
    ends = jnp.stack([_inward(s[0], z[0], args), _inward(s[-1], z[-1], args)])

    def log_sigma(z):
        return jnp.log(law.value(z * _UNIT))

    slopes = derivative(log_sigma, z[jnp.array([0, -1])]) * ends
    new = _spline(log_sigma(z)[:, None], step, slopes[:1], slopes[1:])
    return u_spline, _spline(z[:, None], step, ends[:1], ends[1:]), new, feasible


def _packed(spline):
    """Return what determines a spline of one column: its values and its end slopes."""
    return jnp.concatenate([spline[:, 0, 0], spline[jnp.array([0, -1]), 1, 0]])


class _State(NamedTuple):
    """The splines of ln Σ, ln u and j; largest change of each sweep; how many there were."""

    sigma: Array
    u: Array
    z: Array
    change: Array
    count: Array
    feasible: Array
    memory: Any


def _grid(x0, x1, num_nodes):
    return jnp.linspace(jnp.log(x0), jnp.log(x1), num_nodes)


@partial(jax.jit, static_argnames=("max_sweeps", "acceleration", "num_nodes"))
def _begin(system, field, law, outer, x0, x1, tol, rtol, atol, max_sweeps, acceleration, num_nodes):
    del system, field, outer, tol, rtol, atol
    s = _grid(x0, x1, num_nodes)
    nothing = jnp.zeros((num_nodes, 2, 1), x0.dtype)
    sigma = nothing.at[:, 0, 0].set(jnp.log(law.value(jnp.zeros_like(s))))
    memory = None if acceleration is None else anderson_start(acceleration, _packed(sigma))
    change = jnp.full(max_sweeps, jnp.nan, x0.dtype)
    return _State(sigma, nothing, nothing, change, jnp.int32(0), jnp.array(True), memory)


def _ended(state, stop, tol):
    last = jnp.where(state.count > 0, state.change[state.count - 1], jnp.inf)
    # The first sweep is always taken; a NaN compares false and ends the loop.
    return ~((state.count < stop) & ((state.count == 0) | (last > tol)))


@partial(jax.jit, static_argnames="acceleration")
def _advance(state, system, field, law, outer, x0, x1, tol, rtol, atol, stop, acceleration):
    """Sweep until `stop` sweeps are done or the tolerance is met."""
    s = _grid(x0, x1, state.sigma.shape[0])
    step = s[1] - s[0]
    field_spline = _field_spline(field, s, step)

    def body(state):
        old, memory = state.sigma, state.memory
        u, z, new, feasible = _sweep(system, law, outer, s, field_spline, old, rtol, atol)
        moved = jnp.max(jnp.abs(jnp.expm1(new[:, 0] - old[:, 0])))
        if acceleration is not None:
            packed, memory = anderson_step(acceleration, memory, _packed(old), _packed(new), state.count)
            new = _spline(packed[:-2, None], step, packed[-2:-1], packed[-1:])
        return _State(new, u, z, state.change.at[state.count].set(moved), state.count + 1, feasible, memory)

    return jax.lax.while_loop(lambda state: ~_ended(state, stop, tol), body, state)


@partial(jax.jit, static_argnames="num_points")
def _finish(state, system, field, law, outer, x0, x1, tol, rtol, atol, num_points):
    del outer, rtol, atol
    s = _grid(x0, x1, state.sigma.shape[0])
    start, step = s[0], s[1] - s[0]
    x = jnp.linspace(x0, x1, num_points)
    u = jnp.exp(jax.vmap(lambda s: _evaluate(state.u, start, step, s)[0][0])(jnp.log(x)))
    j = _UNIT * jax.vmap(lambda s: _evaluate(state.z, start, step, s)[0][0])(jnp.log(x))
    sigma = law.value(j)
    residual = state.change[state.count - 1]
    back = jnp.minimum(state.count - 1, 6)  # a few sweeps together: single ratios vary by a few percent
    ratio = residual / state.change[state.count - 1 - back]
    history = History(
        x=x,
        omega=1 - u,
        current=system.current_scale * sigma * field.flux(x) * u,
        current_density=j,
        conductance=sigma,
        change=state.change,
        contraction=ratio ** (1 / jnp.maximum(back, 1).astype(x0.dtype)),
    )
    status = Status.first(
        (~state.feasible, Status.infeasible),
        (~jnp.all(jnp.isfinite(j)) | ~jnp.isfinite(residual), Status.nonfinite),
        (residual > tol, Status.max_steps),
    )
    return Solution(history.omega, history, residual, state.count, status)
