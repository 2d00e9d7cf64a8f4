"""Piecewise collocation: smooth functions as polynomials on the elements of a mesh, and Newton on what they obey.

    on each element, t from -1 to 1:   ∫v = S v,   dy/dt = D (y(-1), y),   y(1) = e · (y(-1), y)

with v the values of a polynomial at m Gauss points, and (y(-1), y) the values of one at the left end and those.

Collocation at Gauss points treats what decays outward and what decays inward alike, however fast, and wants an unknown
that an equation holds only algebraically (a derivative of something else, say) at the Gauss points and nowhere else.
For analytic functions the error falls geometrically with m, and at fixed m as the m-th power of an element's length;
`regrade` moves the ends of the elements to where the length is needed.

References:
    Ascher, Mattheij & Russell, Numerical Solution of Boundary Value Problems for Ordinary Differential Equations
    (1995), https://doi.org/10.1137/1.9781611971231
    Ascher & Spiteri (1994), SIAM Journal on Scientific Computing 15, 938, https://doi.org/10.1137/0915056
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_SHORTEST = 2.0**-11  # of the step lengths tried by the line search, 1, 1/2, ...


class Gauss(NamedTuple):
    """The m Gauss points of [-1, 1] and matrices that act on values at them, or on y(-1) and those; host arrays."""

    points: np.ndarray
    weights: np.ndarray
    integral: np.ndarray
    """Values -> integrals from -1 to each point, (m, m)."""
    slope: np.ndarray
    """y(-1) and values -> derivatives of the polynomial through all m + 1 at the points, (m, m + 1)."""
    end: np.ndarray
    """y(-1) and values -> y(1), (m + 1,); its first entry is (-1)^m."""
    start_slope: np.ndarray
    """Values -> derivative of the polynomial through the m of them at -1, (m,)."""
    coefficients: np.ndarray
    """Values -> Chebyshev coefficients, (m, m)."""
    with_start: np.ndarray
    """y(-1) and values -> Chebyshev coefficients, (m + 1, m + 1)."""


@lru_cache(maxsize=16)
def gauss(num_points: int) -> Gauss:
    """Return the points and matrices of elements with `num_points` Gauss points each."""
    m = num_points
    points, weights = np.polynomial.legendre.leggauss(m)
    chebyshev = np.polynomial.chebyshev
    coefficients = np.linalg.inv(chebyshev.chebvander(points, m - 1))
    every = np.append(-1.0, points)
    with_start = np.linalg.inv(chebyshev.chebvander(every, m))
    integrated = np.stack([chebyshev.chebint(c, lbnd=-1) for c in np.eye(m)], axis=1)  # (m + 1, m)
    differentiated = np.stack([chebyshev.chebder(c) for c in np.eye(m + 1)], axis=1)  # (m, m + 1)
    arrays = Gauss(
        points,
        weights,
        chebyshev.chebvander(points, m) @ integrated @ coefficients,
        chebyshev.chebvander(points, m - 1) @ differentiated @ with_start,
        chebyshev.chebvander(np.ones(1), m)[0] @ with_start,
        chebyshev.chebvander(-np.ones(1), m - 1)[0] @ differentiated[:, :m] @ coefficients,
        coefficients,
        with_start,
    )
    for array in arrays:
        array.flags.writeable = False  # they are shared by everybody who asks for this size
    return arrays


def evaluate(
    coefficients: Float[Array, "elements m k"], edges: Float[Array, " edges"], s: Float[Array, " p"]
) -> Float[Array, "p k"]:
    """Return several piecewise polynomials at any places, by Clenshaw's recurrence; differentiable in `s` too.

    Args:
        coefficients: Chebyshev coefficients on each element.
        edges: Ends of the elements, increasing.
        s: Places; those outside belong to the first or last element.
    """
    cell = jnp.clip(jnp.searchsorted(edges, s, side="right") - 1, 0, edges.shape[0] - 2)
    t = (2 * (s - edges[cell]) / (edges[cell + 1] - edges[cell]) - 1)[:, None]
    rows = jnp.moveaxis(coefficients[cell], 1, 0)

    def body(carry, row):
        first, second = carry
        return (2 * t * first - second + row, first), None

    zero = jnp.zeros_like(rows[0])
    (first, second), _ = jax.lax.scan(body, (zero, zero), rows[1:], reverse=True)
    return t * first - second + rows[0]


def before(parts: Float[Array, " elements"]) -> Float[Array, " elements"]:
    """Return for each element the sum of the parts before it."""
    n = parts.shape[0]
    return jnp.asarray(np.tri(n, n, -1), parts.dtype) @ parts


def integral_matrix(rule: Gauss, half: Float[Array, " elements"]) -> Float[Array, "rows points"]:
    """Return values at all points -> integrals up to each of them and, in the last row, to the end."""
    n, m = half.shape[0], rule.points.shape[0]
    earlier, same = (jnp.asarray(a, half.dtype) for a in (np.tri(n, n, -1), np.eye(n)))
    weights = half[:, None] * rule.weights[None, :]
    whole = weights[None, None] * earlier[:, None, :, None]
    own = (half[:, None, None] * rule.integral[None])[:, :, None, :] * same[:, None, :, None]
    return jnp.concatenate([(whole + own).reshape(n * m, n * m), weights.reshape(1, n * m)])


def slope_matrix(rule: Gauss, half: Float[Array, " elements"]) -> Float[Array, "points columns"]:
    """Return y(start) and y at all points -> dy/ds at all points, y continuous; m must be even."""
    n, m = half.shape[0], rule.points.shape[0]
    earlier, same = (jnp.asarray(a, half.dtype) for a in (np.tri(n, n, -1), np.eye(n)))
    first = rule.slope[None, :, :1] / half[:, None, None]  # by the value at the left end, which sums up what was before
    carried = first[:, :, :, None] * rule.end[None, None, None, 1:] * earlier[:, None, :, None]
    own = (rule.slope[None, :, 1:] / half[:, None, None])[:, :, None, :] * same[:, None, :, None]
    return jnp.concatenate([first.reshape(n * m, 1), (carried + own).reshape(n * m, n * m)], axis=1)


def regrade(
    mesh: Float[Array, " edges"], error: Float[Array, " elements"], order: int, *, least: float, shift: Any
) -> Float[Array, " edges"]:
    """Return a mesh of as many elements whose errors would be alike, given the errors on this one.

    An error falls as the power `order` of the length. Neighbors differ by no more than about 3 in length, and a tenth
    of the elements is spread evenly: what was not seen yet should not fall through.

    Args:
        mesh: Ends of the elements from 0 to 1.
        error: Error of each.
        order: Power.
        least: Errors below count as this one, and all are counted in powers of 2: rounding, which differs from one
            batch to another, is to move no mesh.
        shift: 1 moves the ends in the middle by half an element, so that two meshes have no points in common.
    """
    n = error.shape[0]
    length = mesh[1:] - mesh[:-1]
    density = 2.0 ** (jnp.round(jnp.log2(jnp.maximum(error, least))) / order) / length
    padded = jnp.pad(density, 1)
    density = jnp.maximum(density, jnp.maximum(padded[2:], padded[:-2]) / 3)
    filled = jnp.maximum(density, jnp.sum(density * length) / 10) * length
    filled = jnp.append(before(filled), jnp.sum(filled))
    bump = np.arange(n + 1) / n, np.sin(np.pi * np.arange(n + 1) / n) / (2 * n)
    parts = jnp.asarray(bump[0], mesh.dtype) + jnp.asarray(bump[1], mesh.dtype) * jnp.asarray(shift, mesh.dtype)
    return jnp.interp(parts * filled[-1], filled, mesh).at[0].set(0.0).at[-1].set(1.0)


class Root(NamedTuple):
    """Where Newton ended."""

    value: Any
    num_steps: Any
    converged: Any


def newton(
    residual: Callable[[Array, Any], Array],
    jacobian: Callable[[Array, Any], tuple[Array, Array]],
    start: Array,
    args: Callable[[Any], Any],
    *,
    path: tuple[float, ...] = (0.0,),
    max_steps: int,
) -> Root:
    """Return a zero of `residual(y, args(0))` by Newton's method with a line search on the norm of the residual.

    It has no derivatives: `implicit` gives them. It has converged when a full step changes `y` by less than eps^(2/5)
    of its largest entry or of 1: the error left is of the order of the square of that.

    Args:
        residual: Function of a vector and arguments, to a vector of the same length.
        jacobian: Function of the same, to the residual and its derivative.
        start: Where to start.
        args: The arguments as a function of a parameter, of which 0 stands for the problem wanted.
        path: Parameters to go through. The first, 0, is the direct attempt; when it fails the others follow, each
            from where the one before ended, and the last is 0 again.
        max_steps: Steps allowed for each parameter.
    """
    dtype = start.dtype
    small = float(jnp.finfo(dtype).eps) ** 0.4
    stops = jnp.asarray(path, dtype)

    def unfinished(state):
        _, stage, _, _, converged = state
        return ~converged & (stage < len(path))

    def body(state):
        y, stage, count, total, _ = state
        here = args(stops[stage])
        value, matrix = jacobian(y, here)
        step = -jnp.linalg.solve(matrix, value)
        norm = jnp.sum(value**2)
        tiny = jnp.max(jnp.abs(step)) <= small * jnp.maximum(jnp.max(jnp.abs(y)), 1.0)

        def too_long(trial):
            length, new = trial
            # A NaN compares false, so a length that leaves the domain is never taken.
            return ~tiny & ~(new < (1 - 1e-4 * length) * norm) & (length > _SHORTEST)

        def halve(trial):
            length = trial[0] / 2
            return length, jnp.sum(residual(y + length * step, here) ** 2)

        length, new = jax.lax.while_loop(too_long, halve, (jnp.full_like(norm, 2.0), jnp.full_like(norm, jnp.inf)))
        length = jnp.where(tiny, jnp.ones_like(length), length)
        taken = tiny | (new < (1 - 1e-4 * length) * norm)
        y = jnp.where(taken, y + length * step, y)
        left = tiny | ~taken | (count + 1 >= max_steps)
        y = jnp.where(left & ~tiny & (stage == 0), start, y)  # a failed first attempt is no place to go on from
        at_end = stops[stage] == 0
        return y, jnp.where(left, stage + 1, stage), jnp.where(left, 0, count + 1), total + 1, tiny & at_end

    none = jnp.int32(0)
    y, _, _, total, converged = jax.lax.while_loop(unfinished, body, (start, none, none, none, jnp.array(False)))
    return Root(y, total, converged)


def implicit(residual: Callable[[Array], Array], zero: Array, matrix: Array) -> Array:
    """Return a zero with its derivatives of any order, forward and reverse, from the equation that it satisfies.

    Args:
        residual: Function of a vector, to a vector of the same length; it closes over what derivatives are taken in.
        zero: Where it vanishes.
        matrix: Its derivative there.
    """
    zero, matrix = jax.lax.stop_gradient((zero, matrix))

    def tangent_solve(product, y):
        # The matrix is known at the zero alone; that the solve has derivatives too, `product` says.
        return jax.lax.custom_linear_solve(
            product,
            y,
            solve=lambda _, y: jnp.linalg.solve(matrix, y),
            transpose_solve=lambda _, y: jnp.linalg.solve(matrix.T, y),
        )

    return jax.lax.custom_root(residual, zero, lambda _, zero: zero, tangent_solve)
