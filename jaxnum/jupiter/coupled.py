"""Conductance that answers to the current, solved as what it is: a two-point boundary-value problem.

    x u' = 2(1 - u) - K b y,    y' = x b j/c₀,    y = Σ(j) f u        (u = 1 - ω/Ω, y = I_ρ/I₀)

u is held on its slow manifold at the inner edge, where the plasma nearly corotates; j or I_ρ is given at the outer
edge. With s = ln x, η = ln(K b y/2) and its slope w = dη/ds everything else is algebra,

    j = c₀ y (w - d ln b/ds)/(x² b),    α = ln u = ln(y/(f Σ(j)))

and what is left is one equation for w, u (1 + α'/2) + e^η - 1 = 0. It is collocated at the Gauss points of elements in
s. There w is unknown and may jump between elements; η is its integral and α the continuous piecewise polynomial through
its values, so that the law is never differentiated and may be flat, and the logarithms keep the digits of 1 - ω/Ω near
the planet. Newton's method needs about six steps from a constant conductance. Then the ends of the elements move to
where they are needed (a strong current bends within a thousandth of a radius), and Newton is repeated, until the mesh
leaves less than 1e-8 or has moved twelve times.

Written in (u, y) the equations are cooperative where Σ increases with j (each right-hand side grows with the other
unknown), so solutions that are ordered at one edge are ordered at the other: **at most one** solution belongs to an
outer condition. `history.unique` says whether the law increases everywhere it would have to.

References:
    Nichols & Cowley (2004), Annales Geophysicae 22, 1799, https://doi.org/10.5194/angeo-22-1799-2004
    Ascher & Spiteri (1994), SIAM Journal on Scientific Computing 15, 938, https://doi.org/10.1137/0915056
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, refuse
from jaxnum._precision import check_tolerance
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.jupiter.collocated import (
    DEGREE,
    UNIT,
    Edge,
    Nodes,
    Problem,
    at_points,
    between,
    equations,
    first_guess,
    jacobian,
    log_strength,
    nodes_of,
    outer_alpha,
    profiles_of,
)
from jaxnum.jupiter.conductance import check_law, infimum, pole_current_density, smallest_slope, supremum
from jaxnum.jupiter.corotation import check_places, check_range
from jaxnum.jupiter.fields import derivative, strength
from jaxnum.jupiter.outer import CurrentDensity, Outer, PoleRegular, RadialCurrent, check_outer
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype
from jaxnum.numerics import collocation
from jaxnum.numerics.march import in_turn

_FLAT = 1e-6  # of c₀ Σ', which is of order one where the feedback matters: below it a law is flat
_SIZES = 96, 192  # points that are tried by default

# Laws tilted by these exponents are solved one after the other when Newton fails on the law itself: a slope everywhere
# makes the equations regular, and the last law is the true one.
_TILTS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_MAX_STEPS = 40  # per law; strong outer currents have needed 31
_MESHES = 12  # at most; a layer just above the least current has needed 9
_SAFETY = 2.0  # the error of a mesh over what the next one, with its points between, changes
_FINE_ENOUGH = 4e-9  # change between two meshes that is small enough; in single precision rounding decides


def coupled(
    system: Any,
    field: Any,
    law: Any,
    *,
    outer: Outer,
    x0: float = 5.0,
    x1: float = 100.0,
    num_nodes: int | None = None,
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
        num_nodes: Collocation points, rounded up to a multiple of 12, at least 24. They move to where they are needed.
            By default 96, and 192 where those leave more than 1e-8; where numbers are traced it stays at 96, which
            gives eight digits for a dipole under moderate currents, seven to three for a current sheet.
        num_points: Number of evenly spaced points in `history`.
        at: Distances in planetary radii for `history` instead of these, (n,), between `x0` and `x1`.
        tol: Largest `residual` that is called a success.

    Returns:
        Solution with `value` = ω/Ω at the points; `history` holds x (planetary radii), omega (ω/Ω), current (A),
        current_density (A/m²) and conductance (mho), each (num_points,); unique, whether at most one solution belongs
        to the outer condition because the law increases strictly; and least_current, what the law can carry to the
        outer edge at least (A), 0 where no current is prescribed. `residual` estimates the largest error of
        ω/Ω, of ln Σ and, relative to their largest magnitudes, of both currents: twice what changed when
        the points were moved between those before. `num_steps` counts Newton steps.

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
    sizes = _SIZES if num_nodes is None else (as_count("num_nodes", num_nodes, at_least=8),)
    num_points = as_count("num_points", num_points, at_least=2)
    system, field, law, outer, x0, x1, at = in_one_dtype(system, field, law, outer, x0, x1, at)
    check_tolerance("tol", tol, x0.dtype)
    at = check_places(at, x0, x1)
    if not is_traced((system, field, law, outer, x0, x1)):
        _check_outer_condition(system, field, law, outer, x1)
    for size in sizes:
        given = _given(system, field, law, outer, x0, x1, max(2, -(-size // DEGREE)))
        solution = _history(given, _solve(given), at, tol, num_points)
        if is_traced(solution) or solution.residual <= 1e-8 or solution.status == Status.infeasible:
            break
    if not is_traced(solution.status.code) and solution.status == Status.infeasible:
        least = f"{float(solution.history.least_current):.4g} A, the least that this law can carry to the outer edge"
        refuse("outer.current", f"be above {least}", f"is {float(outer.current):.4g}")
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


class _Given(NamedTuple):
    """What is solved; a number of elements is the length of `mesh` less one."""

    system: Any
    field: Any
    law: Any
    edge: Edge
    x0: Array
    x1: Array
    end: Array
    """Outer edge of the mesh: beyond x1 where the field is to reach the pole."""
    mesh: Array
    """Ends of the elements as fractions of the range in s."""


class _Search(NamedTuple):
    """Where the search is: q on a mesh, meshes and Newton steps so far, and how much the last mesh changed things."""

    q: Array
    nodes: Nodes
    mesh: Array
    """The next one."""
    count: Array
    num_steps: Array
    converged: Array
    change: Array
    done: Array


class _Found(NamedTuple):
    """Where the search ended: w at the points after η and α at the inner edge, on which mesh, and how well."""

    q: Array
    mesh: Array
    num_steps: Array
    converged: Array
    least: Array
    """The least radial current possible at the outer edge, in A."""
    residual: Array


def _given(system, field, law, outer, x0, x1, num_elements):
    return _put(system, field, law, outer, x0, x1, np.linspace(0, 1, num_elements + 1).astype(x0.dtype))


@jax.jit
def _put(system, field, law, outer, x0, x1, mesh):
    one = jnp.ones_like(x0)
    pole = pole_current_density(system, law) / UNIT
    if isinstance(outer, CurrentDensity):
        edge, end = Edge(jnp.int32(0), outer.density / UNIT, one), x1
    elif isinstance(outer, RadialCurrent):
        edge, end = Edge(jnp.int32(1), 0 * one, outer.current / system.current_scale), x1
    else:
        # So far out that w is a percent: what the condition neglects is w² and fades inward from there.
        hill = (system.coupling * law.value(jnp.zeros_like(x0)) / 4) ** 0.25
        edge, end = Edge(jnp.int32(2), pole, one), jax.lax.stop_gradient(jnp.maximum(8 * x1, 64 * hill))
    return _Given(system, field, law, edge, x0, x1, end, mesh)


def _is_flat(system, law, j):
    return derivative(law.value, j) * system.current_density_scale < _FLAT


def _problem(given, mesh):
    return Problem(given.system, given.law, given.edge, nodes_of(given, mesh), jnp.zeros_like(given.x0))


def _moved(q, old, nodes):
    """Return q on another mesh of the same range."""
    return jnp.concatenate([q[:2], between(q, old, nodes.s[:-2])[1]])


def _roughness(it):
    """Return how large the two last Chebyshev coefficients of j and ln Σ are in each element."""
    last = jnp.asarray(collocation.gauss(DEGREE).coefficients[-2:].T, it.z.dtype)
    rows = jnp.stack([it.z / jnp.max(jnp.abs(it.z)), it.log_sigma]).reshape(2, -1, DEGREE)
    return jnp.max(jnp.abs(rows @ last), axis=(0, 2))


def _change(old, new, s, x1):
    """Return the largest change of u, ln Σ and, relative to their largest magnitudes, of j and y."""
    # Beyond x1 neither changes nor peaks count. A little more, because the largest error may lie between points.
    counted = s <= jnp.log(1.05 * x1)
    y, z = jnp.exp(new.log_y), jnp.abs(new.z)
    peaks = (jnp.max(jnp.where(counted, a, jnp.zeros_like(a))) for a in (y, z))
    rows = (
        jnp.exp(old.alpha) - jnp.exp(new.alpha),
        old.log_sigma - new.log_sigma,
        *(a / peak for a, peak in zip((jnp.exp(old.log_y) - y, old.z - new.z), peaks, strict=True)),
    )
    return jnp.max(jnp.where(counted, jnp.max(jnp.abs(jnp.stack(rows)), axis=0), jnp.zeros_like(s)))


def _search(given, active):
    """Return q on the last of the meshes, that mesh, how it went, and the current that the least Σ would carry."""
    fine = max(_FINE_ENOUGH, 100 * float(jnp.finfo(given.x0.dtype).eps))

    def problem_on(nodes):
        return Problem(given.system, given.law, given.edge, nodes, jnp.zeros_like(given.x0))

    def unfinished(state):
        return active & ~state.done & (state.count < _MESHES)

    def body(state):
        nodes = nodes_of(given, state.mesh)
        problem = problem_on(nodes)
        q = jnp.where(state.count == 0, first_guess(problem), _moved(state.q, problem_on(state.nodes), nodes))
        found = collocation.newton(
            equations,
            jacobian,
            q,
            lambda tilt: problem._replace(tilt=tilt),
            path=(0.0, *_TILTS, 0.0),
            max_steps=_MAX_STEPS,
        )
        # The mesh before had its points elsewhere, so what has changed since is its error, and this one's is less.
        it = at_points(found.value, problem)[1]
        change = _change(at_points(q, problem)[1], it, nodes.s[:-2], given.x1)
        good = found.converged & (state.count > 0) & (change < fine)
        mesh = collocation.regrade(state.mesh, _roughness(it), DEGREE - 1, least=fine / 40, shift=(state.count + 1) % 2)
        total = state.num_steps + found.num_steps
        return _Search(
            found.value, nodes, mesh, state.count + 1, total, found.converged, change, good | ~jnp.isfinite(change)
        )

    none, no = jnp.int32(0), jnp.array(False)
    # What the first turn of the loop replaces, in the right shapes.
    shapes = jax.eval_shape(nodes_of, given, given.mesh)
    nodes = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), shapes)._replace(edges=given.mesh)
    q = jnp.zeros(nodes.s.shape, nodes.s.dtype)
    start = _Search(q, nodes, given.mesh, none, none, no, jnp.full_like(given.x0, jnp.inf), no)
    last = jax.lax.while_loop(unfinished, body, start)
    alpha = outer_alpha(at_points(last.q, problem_on(last.nodes))[1].alpha, last.q[1])
    return last, given.system.current_scale * infimum(given.law) * last.nodes.f[-1] * jnp.exp(alpha)


def _both(fixed):
    """Search the solution and, where a current is given, what the law can carry at least, by one loop for both."""
    # Solutions are ordered, so w at the edge is at most that of one with more current, such as one with a strong
    # downward j there.
    least = Edge(jnp.int32(0), -10 * jnp.ones_like(fixed.x0), jnp.ones_like(fixed.x0))
    radial = fixed.edge.kind == 1

    def turn(_, which):
        chosen = jax.tree.map(lambda a, b: jnp.where(which == 0, a, b), least, fixed.edge)
        last, current = _search(fixed._replace(edge=chosen), (which == 1) | radial)
        return None, (last.q, last.nodes.mesh, last.num_steps, last.converged, last.change, current)

    _, (*found, currents) = jax.lax.scan(turn, None, jnp.arange(2))
    return *(a[1] for a in found), jnp.where(radial, currents[0], jnp.zeros_like(fixed.x0))


@jax.jit
def _solve(given):
    # A batch in lockstep would take as many steps as the slowest for all.
    q, mesh, num_steps, converged, change, current = in_turn(_both, jax.lax.stop_gradient(given))
    problem = _problem(given, mesh)
    matrix = jax.lax.stop_gradient(jacobian(q, problem)[1])
    q = collocation.implicit(lambda q: equations(q, problem), q, matrix)
    # Rounding of 1e-16 in η is m² times that, over the half length, in the slope of an element.
    residual = _SAFETY * change + float(jnp.finfo(q.dtype).eps) * DEGREE**2
    return _Found(q, mesh, num_steps, converged, current, residual)


@partial(jax.jit, static_argnames="num_points")
def _history(given, found, at, tol, num_points):
    system = given.system
    problem = _problem(given, found.mesh)
    x = jnp.linspace(given.x0, given.x1, num_points) if at is None else at
    s, field = jnp.log(x), given.field
    eta, w, alpha = between(found.q, problem, s)
    f, b = field.flux(x), strength(field, x)
    it = profiles_of(eta, w, problem, s, f, b, derivative(partial(log_strength, field), s))
    j = it.z * UNIT
    history = History(
        x=x,
        omega=-jnp.expm1(alpha),
        current=system.current_scale * jnp.exp(it.log_y),
        current_density=j,
        conductance=jnp.exp(it.log_y - alpha) / f,
        unique=_increases(given.law, j),
        least_current=found.least,
    )
    possible = ~((given.edge.kind == 1) & (given.edge.y * system.current_scale <= found.least))
    status = Status.first(
        (~possible, Status.infeasible),
        (~jnp.all(jnp.isfinite(j)) | ~jnp.isfinite(found.residual), Status.nonfinite),
        (~found.converged | (found.residual > tol), Status.not_converged),
    )
    return Solution(history.omega, history, found.residual, found.num_steps, status)


def _increases(law, j):
    """Tell whether the law increases strictly from -1 to 2 µA/m² and to twice what occurs beyond."""
    j = jax.lax.stop_gradient(j)
    return smallest_slope(law, jnp.minimum(2 * jnp.min(j), -1e-6), jnp.maximum(2 * jnp.max(j), 2e-6)) > 0
