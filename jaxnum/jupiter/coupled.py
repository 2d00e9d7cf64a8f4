"""Conductance that answers to the current, solved as what it is: a two-point boundary-value problem.

    x u' = 2(1 - u) - K b y,    y' = x b j/c₀,    y = Σ(j) f u        (u = 1 - ω/Ω, y = I_ρ/I₀)

u is held on its slow manifold at the inner edge, where the plasma nearly corotates; j or I_ρ is given at the outer
edge. With s = ln x, η = ln(K b y/2) and its slope w = dη/ds everything else is algebra,

    j = c₀ y (w - d ln b/ds)/(x² b),    u = y/(f Σ(j)),    p = d ln u/ds = w - d ln(f b)/ds - d ln Σ/ds

and what is left is one equation for w, u (1 + p/2) + e^η - 1 = 0. It is collocated at Chebyshev nodes in s, with η the
integral of w, so that nothing is differentiated twice, and the logarithm, so that 1 - ω/Ω keeps its digits near the
planet. Newton's method needs about six steps from a constant conductance.

Written in (u, y) the equations are cooperative where Σ increases with j (each right-hand side grows with the other
unknown), so solutions that are ordered at one edge are ordered at the other: **at most one** solution belongs to an
outer condition. `history.unique` says whether the law increases everywhere it would have to.

References:
    Nichols & Cowley (2004), Annales Geophysicae 22, 1799, https://doi.org/10.5194/angeo-22-1799-2004
    Trefethen, Spectral Methods in MATLAB (2000), https://doi.org/10.1137/1.9780898719598
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, refuse
from jaxnum._precision import check_tolerance
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.jupiter.conductance import check_law, infimum, pole_current_density, smallest_slope, supremum
from jaxnum.jupiter.corotation import check_range, slow_manifold
from jaxnum.jupiter.fields import derivative, log_product, strength
from jaxnum.jupiter.outer import CurrentDensity, Outer, PoleRegular, RadialCurrent, check_outer
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype
from jaxnum.numerics import collocation

_UNIT = 1e-8  # A/m²; current densities of order one in Newton's vector


_FLAT = 1e-6  # of c₀ Σ', which is of order one where the feedback matters: below it a law is flat

# Laws tilted by these exponents are solved one after the other when Newton fails on the law itself: a slope everywhere
# makes the equations regular, and the last law is the true one.
_TILTS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_MAX_STEPS = 40  # per law; strong outer currents have needed 31
_COARSE = 32  # nodes that are enough to know the least current to a percent


def coupled(
    system: Any,
    field: Any,
    law: Any,
    *,
    outer: Outer,
    x0: float = 5.0,
    x1: float = 100.0,
    num_nodes: int = 96,
    num_points: int = 381,
    at: ArrayLike | None = None,
    tol: float = 1e-6,
) -> Solution:
    """Return angular velocity, currents and conductance of a magnetosphere with precipitation feedback.

    Differentiable in every physical number, in both modes and to any order, by the implicit function theorem; a batch
    of magnetospheres is `jax.vmap` of a function that calls it. In single precision no more than two or three digits of
    the current density can be had, and a `tol` below 1.2e-5 is refused.

    Args:
        system: Planet.
        field: Magnetic field: `Dipole()`, `CurrentSheet()`, or anything with `flux(x)`.
        law: Conductance law: `SmoothRamp()` or a record with `value(j)`. It may be flat, but not where the outer
            condition needs its slope.
        outer: What is known at the outer edge: `CurrentDensity(j)`, `RadialCurrent(i)` or, where the field reaches the
            pole, `PoleRegular()`. No default: it is physics.
        x0: Inner edge in planetary radii, where the plasma nearly corotates.
        x1: Outer edge in planetary radii.
        num_nodes: Chebyshev nodes in ln x. 96 give nine digits for a dipole; a current sheet wants about 300, and half
            as many more are used inside for `PoleRegular()`, which is solved far beyond `x1`.
        num_points: Number of evenly spaced points in `history`.
        at: Distances in planetary radii for `history` instead of these, (n,), between `x0` and `x1`.
        tol: Largest `residual` that is called a success.

    Returns:
        Solution with `value` = ω/Ω at the points; `history` holds x (planetary radii), omega (ω/Ω), current (A),
        current_density (A/m²) and conductance (mho), each (num_points,); and unique, whether at most one solution
        belongs to the outer condition because the law increases strictly. `residual` estimates the largest error of
        ω/Ω, of ln Σ and, relative to their largest magnitudes, of both currents: twice what one Newton step on twice as
        many nodes would change. `num_steps` counts Newton steps.

    Raises:
        ValueError: If an argument is not what it should be, or no solution can carry so small an outer current.
        jaxnum.PrecisionError: If `tol` is below what the dtype can hold.

    Example:
        >>> from jaxnum.jupiter import JUPITER, Dipole, PoleRegular, SmoothRamp, coupled
        >>> solution = coupled(JUPITER, Dipole(), SmoothRamp(), outer=PoleRegular())
        >>> print(f"{solution.history.current_density.max() * 1e6:.5f} uA/m^2", bool(solution.history.unique))
        0.00889 uA/m^2 True
    """
    check_system(system)
    check_record("field", field, "flux")
    check_law("law", law)
    check_outer(outer, (CurrentDensity, RadialCurrent, PoleRegular))
    check_range(x0, x1)
    num_nodes = as_count("num_nodes", num_nodes, at_least=8)
    num_points = as_count("num_points", num_points, at_least=2)
    system, field, law, outer, x0, x1, at = in_one_dtype(system, field, law, outer, x0, x1, at)
    check_tolerance("tol", tol, x0.dtype)
    if at is not None:
        at = as_array("at", at, ndim=1)
        if not is_traced((at, x0, x1)) and bool(jnp.any((at < x0) | (at > x1))):
            refuse("at", f"lie between {float(x0):g} and {float(x1):g}", f"runs from {at.min():g} to {at.max():g}")
    if not is_traced((system, field, law, outer, x0, x1)):
        _check_outer_condition(system, field, law, outer, x1)
    bases = _bases(num_nodes * 3 // 2 if isinstance(outer, PoleRegular) else num_nodes, x0.dtype)
    solution = _solve(system, field, law, outer, x0, x1, at, tol, bases, num_points)
    if not is_traced(solution.status.code) and solution.status == Status.infeasible:
        least = float(_least_current(system, field, law, x0, x1, bases[2]))
        refuse(
            "outer.current",
            f"be above {least:.4g} A, the least that this law can carry to the outer edge",
            f"is {float(outer.current):.4g}",
        )
    return solution


def _check_outer_condition(system, field, law, outer, x1):
    """Refuse outer conditions that cannot be one: where the law is flat, or the field does not reach the pole."""
    name, (flat, spread, left) = type(law).__name__, _outer_facts(system, field, law, outer, x1)
    if isinstance(outer, CurrentDensity) and bool(flat):
        refuse(
            "law",
            "have a slope at the outer current density",
            f"{name} is flat there, so j follows from the rest; give RadialCurrent(i) or PoleRegular()",
        )
    if isinstance(outer, RadialCurrent) and not float(spread) > 0:
        refuse("law", "depend on j where a radial current is prescribed", f"{name} does not; use `corotation`")
    if isinstance(outer, PoleRegular) and not float(left) < 1e-3:
        refuse(
            "field",
            "carry its flux to the pole (f → 0 far out) for PoleRegular()",
            f"a million times beyond the outer edge {100 * float(left):.3g} % of it are left; give another condition",
        )


@jax.jit
def _outer_facts(system, field, law, outer, x1):
    """Return whether the law is flat at the outer j, by how much it can change, and which flux is left far out."""
    j = outer.density if isinstance(outer, CurrentDensity) else jnp.zeros_like(x1)
    left = jnp.abs(field.flux(1e6 * x1) / field.flux(x1)) if isinstance(outer, PoleRegular) else jnp.zeros_like(x1)
    return _is_flat(system, law, j), supremum(law) - infimum(law), left


class _Nodes(NamedTuple):
    """The field at the nodes, and half the range of s."""

    basis: Any
    half: Array
    x: Array
    f: Array
    b: Array
    slope_b: Array
    """d ln b/ds."""
    slope_fb: Array


class _Profiles(NamedTuple):
    """What follows from η and w by algebra; z is j in units of 1e-8 A/m²."""

    eta: Array
    w: Array
    lag: Array
    y: Array
    z: Array
    log_sigma: Array


class _Problem(NamedTuple):
    """All numbers of the equations at the nodes: what derivatives are taken in."""

    system: Any
    law: Any
    outer: Any
    pole: Array
    nodes: _Nodes
    tilt: Array


def _nodes(field, x0, x1, basis):
    half = jnp.log(x1 / x0) / 2
    return _Nodes(basis, half, *_field(field, jnp.log(x0) + half * (basis.nodes + 1)))


def _field(field, s):
    x = jnp.exp(s)

    def log_b(s):
        return jnp.log(strength(field, jnp.exp(s)))

    slope_fb = derivative(partial(log_product, field), s)
    return x, field.flux(x), strength(field, x), derivative(log_b, s), slope_fb


def _profiles(eta, w, problem, x, f, b, slope_b):
    system = problem.system
    y = 2 * jnp.exp(eta) / (system.coupling * b)
    z = y * (system.current_density_scale / _UNIT) * (w - slope_b) / (x**2 * b)
    log_sigma = jnp.log(problem.law.value(z * _UNIT)) + problem.tilt * jnp.arcsinh(z / 10)
    return _Profiles(eta, w, y / (f * jnp.exp(log_sigma)), y, z, log_sigma)


def _at_nodes(q, problem):
    nodes = problem.nodes
    eta = q[0] + nodes.half * (nodes.basis.integral @ q[1:])
    return _profiles(eta, q[1:], problem, nodes.x, nodes.f, nodes.b, nodes.slope_b)


def _equations(q, problem):
    """Return the residual of q = (η at the inner edge, w at the nodes)."""
    nodes, slopes = problem.nodes, problem.nodes.basis.derivative
    it = _at_nodes(q, problem)
    slope_sigma = slopes @ it.log_sigma / nodes.half
    p = it.w - nodes.slope_fb - slope_sigma
    g = problem.system.coupling * nodes.f[0] * nodes.b[0] * jnp.exp(it.log_sigma[0])
    # At the inner edge p is that of the slow manifold: the solution without the mode that decays within 1/g.
    p = p.at[0].set(slow_manifold(g, g * (nodes.slope_fb[0] + slope_sigma[0])))
    inside = it.lag * (1 + p / 2) + jnp.expm1(it.eta)
    if isinstance(problem.outer, CurrentDensity):
        edge = it.z[-1] - problem.outer.density / _UNIT
    elif isinstance(problem.outer, RadialCurrent):
        edge = jnp.log(it.y[-1] * problem.system.current_scale / problem.outer.current)
    else:
        # j tends to its value at the pole as w does, which falls as x⁻² once nothing drives it any more.
        drift = slopes[-1] @ it.z / nodes.half + 2 * (it.z[-1] - problem.pole / _UNIT)
        # Where the law is flat the equation is of first order and wants nothing at the outer edge: there the
        # polynomial is taken one degree lower instead.
        highest = nodes.basis.coefficients[-1] @ it.w
        edge = jnp.where(_is_flat(problem.system, problem.law, problem.pole), highest, drift)
    return jnp.append(inside, edge)


def _is_flat(system, law, j):
    return derivative(law.value, j) * system.current_density_scale < _FLAT


def _newton(problem, possible):
    """Return where Newton ends: on the law itself, or else after a sequence of tilted laws."""
    # Start with the conductance of zero current throughout, on the slow manifold of the inner edge.
    nodes = problem.nodes
    g = problem.system.coupling * nodes.f * nodes.b * problem.law.value(jnp.zeros_like(nodes.x))
    eta = jnp.log(g / (g - nodes.slope_fb[0] + 2))
    return collocation.newton(
        _equations,
        jnp.append(eta[0], nodes.basis.derivative @ eta / nodes.half),
        lambda tilt: problem._replace(tilt=tilt),
        path=(0.0, *_TILTS, 0.0),
        max_steps=_MAX_STEPS,
        active=possible,
    )


def _problem(system, field, law, outer, x0, x1, basis):
    zero = jnp.zeros_like(x0)
    pole = pole_current_density(system, law) if isinstance(outer, PoleRegular) else zero
    return _Problem(system, law, outer, pole, _nodes(field, x0, x1, basis), zero)


@jax.jit
def _least_current(system, field, law, x0, x1, basis):
    """Return I₀ Σ f (1 - w) at the outer edge with the least Σ, in A.

    Solutions are ordered, so w is at most that of a solution with more current: one with a strong downward j there.
    """
    problem = _problem(system, field, law, CurrentDensity(jnp.full_like(x0, -1e-7)), x0, x1, basis)
    it = _at_nodes(_newton(problem, True).value, problem)
    return system.current_scale * infimum(law) * problem.nodes.f[-1] * it.lag[-1]


def _bases(num_nodes, dtype):
    """Return the matrices for a solve, for its error and for the least current.

    They are arguments of the compiled function: as constants in it they would take the compiler seconds.
    """
    n = num_nodes
    bases = collocation.chebyshev(n), collocation.chebyshev(2 * n - 1), collocation.chebyshev(_COARSE)
    return jax.tree.map(lambda a: np.asarray(a, dtype), (*bases, collocation.interpolation(n, 2 * n - 1)))


@partial(jax.jit, static_argnames="num_points")
def _solve(system, field, law, outer, x0, x1, at, tol, bases, num_points):
    basis, finer, coarse, refine = bases
    end, least = x1, jnp.zeros_like(x0)
    if isinstance(outer, PoleRegular):
        # So far out that w is a percent: what the condition neglects is w² and fades inward from there.
        hill = (system.coupling * law.value(jnp.zeros_like(x0)) / 4) ** 0.25
        end = jax.lax.stop_gradient(jnp.maximum(4 * x1, 16 * hill))
    elif isinstance(outer, RadialCurrent):
        least = jax.lax.stop_gradient(_least_current(system, field, law, x0, x1, coarse))
    possible = ~(jnp.asarray(getattr(outer, "current", jnp.inf)) <= least)
    problem = _problem(system, field, law, outer, x0, end, basis)
    found = _newton(problem, possible)
    q = found.value

    x = jnp.linspace(x0, x1, num_points) if at is None else at
    s, half = jnp.log(x), problem.nodes.half
    eta_w = jnp.stack([q[0] + half * (basis.integral @ q[1:]), q[1:]], axis=1)
    eta_w = collocation.evaluate(basis.coefficients @ eta_w, (s - jnp.log(x0)) / half - 1)
    it = _profiles(eta_w[:, 0], eta_w[:, 1], problem, *_field(field, s)[:-1])
    j = it.z * _UNIT
    history = History(
        x=x,
        omega=1 - it.lag,
        current=system.current_scale * it.y,
        current_density=j,
        conductance=jnp.exp(it.log_sigma),
        unique=_increases(law, j),
    )
    fine = _problem(*jax.lax.stop_gradient((system, field, law, outer, x0, end, finer)))
    residual = _error(fine, jax.lax.stop_gradient(jnp.append(q[0], refine @ q[1:])), jax.lax.stop_gradient(x1))
    status = Status.first(
        (~possible, Status.infeasible),
        (~jnp.all(jnp.isfinite(j)) | ~jnp.isfinite(residual), Status.nonfinite),
        (~found.converged | (residual > tol), Status.not_converged),
    )
    return Solution(history.omega, history, residual, found.num_steps, status)


def _increases(law, j):
    """Tell whether the law increases strictly from -1 to 2 µA/m² and to twice what occurs beyond."""
    j = jax.lax.stop_gradient(j)
    return smallest_slope(law, jnp.minimum(2 * jnp.min(j), -1e-6), jnp.maximum(2 * jnp.max(j), 2e-6)) > 0


def _error(problem, q, x1):
    """Return twice the largest relative change that Newton wants to make on nodes twice as dense."""
    it = _at_nodes(q, problem)
    neglected = jnp.zeros_like(q)
    if isinstance(problem.outer, PoleRegular):
        size = jnp.abs(it.z[-1] - problem.pole / _UNIT) * (1 - it.lag[-1])
        size = jnp.where(_is_flat(problem.system, problem.law, problem.pole), jnp.zeros_like(size), size)
        neglected = neglected.at[-1].set(size)
    moves = collocation.correction(_equations, q, problem, neglected)
    # Beyond x1 neither errors nor peaks count. Half a cell more, because the largest error may lie between nodes.
    counted = jnp.where(problem.nodes.x <= 1.05 * x1, jnp.ones_like(it.w), jnp.zeros_like(it.w))

    def change(move):
        d = jax.jvp(lambda q: _at_nodes(q, problem), (q,), (move,))[1]
        peaks = jnp.max(counted * jnp.abs(it.z)), jnp.max(counted * it.y)
        return jnp.max(
            counted * jnp.max(jnp.abs(jnp.stack([d.lag, d.log_sigma, d.z / peaks[0], d.y / peaks[1]])), axis=0)
        )

    # Rounding of 1e-16 in η is n² times that in its derivative.
    floor = float(jnp.finfo(q.dtype).eps) * q.shape[0] ** 2 / 4
    return 2 * jnp.sum(jax.vmap(change)(moves)) + floor
