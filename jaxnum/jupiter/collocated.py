"""The coupled problem on a mesh: one equation for w at the Gauss points, and its derivative.

    u (1 + α'/2) + e^η - 1 = 0,    η = η₀ + ∫ w ds,    α = ln(y/(f Σ(j))),    j = c₀ y (w - d ln b/ds)/(x² b)

with η = ln(K b y/2), so that y follows from it, and an equation more for each edge: the slope of α on the slow manifold
at the inner one, what is known at the outer one. `coupled` says where this comes from and moves the mesh.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum.jupiter.corotation import slow_manifold
from jaxnum.jupiter.fields import derivative, strength
from jaxnum.numerics import collocation

UNIT = 1e-8  # A/m²; current densities of order one in Newton's vector
DEGREE = 12  # Gauss points in an element


class Edge(NamedTuple):
    """An outer condition as numbers, so that one compilation serves all kinds."""

    kind: Array
    """Place in (CurrentDensity, RadialCurrent, PoleRegular)."""
    z: Array
    """j at the outer edge, or at the pole, in units of 1e-8 A/m²."""
    y: Array
    """I_ρ/I₀ at the outer edge."""


class Nodes(NamedTuple):
    """The elements, and the field at their Gauss points and at both ends of the range."""

    mesh: Array
    """Ends of the elements as fractions of the range in s."""
    edges: Array
    """The same in s."""
    integral: Array
    """w at the points -> η - η₀ at them and at the outer edge."""
    slope: Array
    """α at the inner edge and at the points -> dα/ds at the points."""
    s: Array
    f: Array
    b: Array
    slope_b: Array
    """d ln b/ds."""
    slope_fb: Array
    """d ln(f b)/ds at the inner edge."""


class Profiles(NamedTuple):
    """What follows from η and w by algebra; z is j in units of 1e-8 A/m²."""

    alpha: Array
    log_y: Array
    z: Array
    log_sigma: Array


class Problem(NamedTuple):
    """All numbers of the equations: what derivatives are taken in."""

    system: Any
    law: Any
    edge: Edge
    nodes: Nodes
    tilt: Array


def log_strength(field, s):
    """Return ln b at s."""
    return jnp.log(strength(field, jnp.exp(s)))


def nodes_of(given, mesh):
    """Return the elements of a mesh; the field comes in rows: Gauss points element by element, then both ends."""
    start, stop = jnp.log(given.x0), jnp.log(given.end)
    edges = start + mesh * (stop - start)
    half = (edges[1:] - edges[:-1]) / 2
    rule = jax.tree.map(lambda a: jnp.asarray(a, edges.dtype), collocation.gauss(DEGREE))
    s = (edges[:-1, None] + half[:, None] * (rule.points[None, :] + 1)).ravel()
    s = jnp.concatenate([s, edges[:1], edges[-1:]])
    x = jnp.exp(s)
    f, b, slope_b = given.field.flux(x), strength(given.field, x), derivative(partial(log_strength, given.field), s)
    slope_fb = slope_b[-2] - x[-2] ** 2 * b[-2] / f[-2]  # f' = -x b
    matrices = collocation.integral_matrix(rule, half), collocation.slope_matrix(rule, half)
    return Nodes(mesh, edges, *matrices, s, f, b, slope_b, slope_fb)


def profiles_of(eta, w, problem, s, f, b, slope_b):
    """Return what follows from η and w where the field is f, b and d ln b/ds."""
    system = problem.system
    log_y = eta + jnp.log(2 / (system.coupling * b))
    z = jnp.exp(log_y - 2 * s) * (w - slope_b) / b * (system.current_density_scale / UNIT)
    log_sigma = _log_sigma(problem, z)
    return Profiles(log_y - jnp.log(f) - log_sigma, log_y, z, log_sigma)


def _log_sigma(problem, z):
    return jnp.log(problem.law.value(z * UNIT)) + problem.tilt * jnp.arcsinh(z / 10)


def at_points(q, problem):
    """Return η at the Gauss points and the outer edge, and the profiles at the points."""
    nodes = problem.nodes
    eta = q[0] + nodes.integral @ q[2:]
    inner = (a[:-2] for a in (nodes.s, nodes.f, nodes.b, nodes.slope_b))
    return eta, profiles_of(eta[:-1], q[2:], problem, *inner)


def _first(eta, alpha, slope_sigma, slope_fb):
    """Return the residual at the inner edge: there the slope of α is that of the slow manifold.

    That leaves out the mode that decays within 1/g, g = K Σ f b.
    """
    g = 2 * jnp.exp(eta - alpha)
    return jnp.exp(alpha) * (1 + slow_manifold(g, g * (slope_fb + slope_sigma)) / 2) + jnp.expm1(eta)


def _last(eta, alpha, problem):
    """Return the residual at the outer edge."""
    nodes, system, edge = problem.nodes, problem.system, problem.edge
    s, f, b = nodes.s[-1], nodes.f[-1], nodes.b[-1]
    log_y = eta + jnp.log(2 / (system.coupling * b))
    # Near the pole j = j_pole + a/x², so that y = -(j_pole + a/(x² (1 + 2/k))) f/c₀ where f falls like x⁻ᵏ.
    bend = 1 + 2 * f / (jnp.exp(2 * s) * b)
    pole = edge.z + bend * (-jnp.exp(log_y) / f * (system.current_density_scale / UNIT) - edge.z)
    log_sigma = _log_sigma(problem, jnp.where(edge.kind == 2, pole, edge.z))
    return jnp.where(edge.kind == 1, log_y - jnp.log(edge.y), log_y - jnp.log(f) - alpha - log_sigma)


def _inner_row(problem):
    """Return the row that makes of ln Σ at the points of the first element its slope at the inner edge."""
    rule, edges = collocation.gauss(DEGREE), problem.nodes.edges
    return jnp.asarray(rule.start_slope, edges.dtype) * (2 / (edges[1] - edges[0]))


def outer_alpha(alpha, first):
    """Return α at the outer edge from its values at the points and at the inner edge."""
    end = jnp.asarray(collocation.gauss(DEGREE).end[1:], alpha.dtype)
    return first + jnp.sum(alpha.reshape(-1, DEGREE) @ end)  # m is even: an element adds the same wherever it starts


def equations(q, problem):
    """Return the residual of q = (η and α at the inner edge, w at the points): inner edge, points, outer edge."""
    eta, it = at_points(q, problem)
    slope = problem.nodes.slope @ jnp.append(q[1], it.alpha)
    inside = jnp.exp(it.alpha) * (1 + slope / 2) + jnp.expm1(eta[:-1])
    slope_sigma = _inner_row(problem) @ it.log_sigma[:DEGREE]
    first = _first(q[0], q[1], slope_sigma, problem.nodes.slope_fb)
    last = _last(eta[-1], outer_alpha(it.alpha, q[1]), problem)
    return jnp.concatenate([first[None], inside, last[None]])


def jacobian(q, problem):
    """Return the residual and its derivative: a few diagonals between two matrices that the mesh determines.

    Autodiff would drag every operation of the law through as many directions as there are unknowns.
    """
    nodes, n = problem.nodes, q.shape[0] - 2
    eta, w = q[0] + nodes.integral @ q[2:], q[2:]
    inner = [a[:-2] for a in (nodes.s, nodes.f, nodes.b, nodes.slope_b)]
    one, zero = jnp.ones_like(w), jnp.zeros_like(w)

    def along(d_eta, d_w):
        return jax.jvp(lambda e, w: profiles_of(e, w, problem, *inner), (eta[:-1], w), (d_eta, d_w))

    both, d = jax.vmap(along)(jnp.stack([one, zero]), jnp.stack([zero, one]))
    it = jax.tree.map(lambda a: a[0], both)
    d_eta = jnp.concatenate([jnp.ones((n + 1, 1), w.dtype), jnp.zeros((n + 1, 1), w.dtype), nodes.integral], axis=1)
    unit = jnp.pad(jnp.eye(n, dtype=w.dtype), ((0, 0), (2, 0)))
    d_alpha = d.alpha[0][:, None] * d_eta[:-1] + d.alpha[1][:, None] * unit
    start = jnp.zeros((1, n + 2), w.dtype).at[0, 1].set(1.0)
    slope = nodes.slope @ jnp.append(q[1], it.alpha)
    d_slope = nodes.slope @ jnp.concatenate([start, d_alpha])
    u, e = jnp.exp(it.alpha), jnp.exp(eta[:-1])
    inside = u * (1 + slope / 2) + jnp.expm1(eta[:-1])
    d_inside = (u * (1 + slope / 2))[:, None] * d_alpha + (u / 2)[:, None] * d_slope + e[:, None] * d_eta[:-1]

    row = _inner_row(problem)
    parts = q[0], q[1], row @ it.log_sigma[:DEGREE]
    d_sigma = row @ (d_eta[:DEGREE] - d_alpha[:DEGREE])
    first, (by_eta, by_alpha, by_slope) = jax.value_and_grad(_first, (0, 1, 2))(*parts, nodes.slope_fb)
    d_first = (by_slope * d_sigma).at[:2].add(jnp.stack([by_eta, by_alpha]))
    last, (by_eta, by_alpha) = jax.value_and_grad(_last, (0, 1))(eta[-1], outer_alpha(it.alpha, q[1]), problem)
    ends = jnp.asarray(np.tile(collocation.gauss(DEGREE).end[1:], n // DEGREE), w.dtype)
    d_last = by_eta * d_eta[-1] + by_alpha * (ends @ d_alpha + start[0])
    value = jnp.concatenate([first[None], inside, last[None]])
    return value, jnp.concatenate([d_first[None], d_inside, d_last[None]])


def first_guess(problem):
    """Return the q of the conductance of zero current throughout, with p as on the inner slow manifold."""
    nodes, system = problem.nodes, problem.system
    g = system.coupling * nodes.f * nodes.b * problem.law.value(jnp.zeros_like(nodes.s))
    keep = 2 - nodes.slope_fb
    slope_fb = nodes.slope_b - jnp.exp(2 * nodes.s) * nodes.b / nodes.f
    first = jnp.stack([-jnp.log1p(keep / g[-2]), jnp.log(2 / (g[-2] + keep))])
    return jnp.concatenate([first, (slope_fb * keep / (g + keep))[:-2]])


def between(q, problem, s):
    """Return η, w and α at any s."""
    nodes, rule = problem.nodes, jax.tree.map(lambda a: jnp.asarray(a, q.dtype), collocation.gauss(DEGREE))
    eta, it = at_points(q, problem)
    w, alpha = q[2:].reshape(-1, DEGREE), it.alpha.reshape(-1, DEGREE)
    half = (nodes.edges[1:] - nodes.edges[:-1]) / 2
    starts = collocation.before(half * (w @ rule.weights)) + q[0], collocation.before(alpha @ rule.end[1:]) + q[1]
    values = eta[:-1].reshape(-1, DEGREE), alpha
    both = [jnp.concatenate([a[:, None], v], axis=1) @ rule.with_start.T for a, v in zip(starts, values, strict=True)]
    pieces = jnp.stack([both[0], jnp.pad(w @ rule.coefficients.T, ((0, 0), (0, 1))), both[1]], axis=2)
    return collocation.evaluate(pieces, nodes.edges, s).T
