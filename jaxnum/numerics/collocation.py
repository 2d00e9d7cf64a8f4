"""Chebyshev collocation: smooth functions on an interval as their values at n + 1 nodes, and Newton on what they obey.

    t_k = -cos(πk/n),   Df = derivative,   Sf = integral from -1,   f(t) = Σ c_m T_m(t),   c = Cf

For analytic functions the error falls geometrically with n. A second derivative by D² multiplies rounding by n⁴; so
where a problem wants one, take the first derivative as the unknown and get the function by S, which costs no digits.

References:
    Trefethen, Spectral Methods in MATLAB (2000), https://doi.org/10.1137/1.9780898719598
    Greengard (1991), SIAM Journal on Numerical Analysis 28, 1071, https://doi.org/10.1137/0728057
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_LENGTHS = 12  # step lengths tried by the line search: 1, 1/2, ... 1/2048


class Chebyshev(NamedTuple):
    """Nodes on [-1, 1] in increasing order, and matrices that act on values at them; host arrays."""

    nodes: np.ndarray
    derivative: np.ndarray
    integral: np.ndarray
    """Exact for the interpolating polynomial; its first row is zero."""
    coefficients: np.ndarray
    """Values -> coefficients of T_0 ... T_n."""


@lru_cache(maxsize=16)
def chebyshev(num_nodes: int) -> Chebyshev:
    """Return the nodes and matrices of a polynomial of degree `num_nodes` - 1."""
    n = num_nodes - 1
    k = np.arange(num_nodes)
    values = np.cos(np.pi * np.outer(n - k, k) / n)  # T_m at t_k
    halved = np.where((k == 0) | (k == n), 0.5, 1.0)
    coefficients = 2 / n * np.outer(halved, halved) * values.T
    # t_i - t_j as a product of sines: the difference of two cosines loses digits near the ends.
    gaps = 2 * np.sin(np.pi * np.add.outer(k, k) / (2 * n)) * np.sin(np.pi * np.subtract.outer(k, k) / (2 * n))
    signs = (-1.0) ** np.add.outer(k, k)
    derivative = np.outer(1 / halved, halved) * signs / (gaps + np.eye(num_nodes))
    np.fill_diagonal(derivative, 0.0)
    np.fill_diagonal(derivative, -derivative.sum(axis=1))  # so that constants have no derivative, to the last bit
    # ∫T_m = T_{m+1}/(2(m+1)) - T_{m-1}/(2(m-1)), with T_0 -> T_1 and T_1 -> T_2/4.
    integrated = np.zeros((num_nodes + 1, num_nodes))
    for m in k:
        integrated[m + 1, m] += (1.0 if m == 0 else 0.5) / (m + 1)
        if m > 1:
            integrated[m - 1, m] -= 0.5 / (m - 1)
    higher = np.cos(np.pi * np.outer(n - k, np.arange(num_nodes + 1)) / n)
    integral = (higher - higher[0]) @ integrated @ coefficients
    arrays = Chebyshev(-np.cos(np.pi * k / n), derivative, integral, coefficients)
    for array in arrays:
        array.flags.writeable = False  # they are shared by everybody who asks for this size
    return arrays


def evaluate(coefficients: Float[Array, "m k"], t: Float[Array, " p"]) -> Float[Array, "p k"]:
    """Return Σ c_m T_m(t) of several functions by Clenshaw's recurrence; differentiable in `t` up to the ends."""
    t, rows = t[:, None], coefficients[:, None, :]
    zero = jnp.zeros((t.shape[0], coefficients.shape[1]), coefficients.dtype)

    def body(carry, row):
        first, second = carry
        return (2 * t * first - second + row, first), None

    (first, second), _ = jax.lax.scan(body, (zero, zero), rows[1:], reverse=True)
    return t * first - second + rows[0]


@lru_cache(maxsize=16)
def interpolation(num_nodes: int, finer: int) -> np.ndarray:
    """Return the matrix from values at `num_nodes` nodes to values at `finer` nodes."""
    t = np.arange(finer) / (finer - 1)
    matrix = np.cos(np.pi * np.outer(1 - t, np.arange(num_nodes))) @ chebyshev(num_nodes).coefficients
    matrix.flags.writeable = False
    return matrix


class Root(NamedTuple):
    """Where Newton ended."""

    value: Any
    num_steps: Any
    converged: Any


def newton(
    residual: Callable[[Array, Any], Array],
    start: Array,
    args: Callable[[Any], Any],
    *,
    path: tuple[float, ...] = (0.0,),
    max_steps: int,
    active: Any = True,
) -> Root:
    """Return a zero of `residual(y, args(0))` by Newton's method with a line search on the norm of the residual.

    Derivatives of any order, forward and reverse, come from the equation at the zero, never from the iterations. It has
    converged when a full step changes `y` by less than eps^(2/5) of its largest entry or of 1: the error left is of the
    order of the square of that.

    Args:
        residual: Function of a vector and arguments, to a vector of the same length.
        start: Where to start.
        args: The arguments as a function of a parameter, of which 0 stands for the problem wanted.
        path: Parameters to go through. The first, 0, is the direct attempt; when it fails the others follow, each
            from where the one before ended, and the last is 0 again.
        max_steps: Steps allowed for each parameter.
        active: Whether to do anything at all.
    """
    start = jax.lax.stop_gradient(start)
    dtype = start.dtype
    small = float(jnp.finfo(dtype).eps) ** 0.4
    lengths, stops = jnp.asarray(0.5 ** np.arange(_LENGTHS), dtype), jnp.asarray(path, dtype)

    def unfinished(state):
        _, stage, _, _, converged = state
        return active & ~converged & (stage < len(path))

    def body(state):
        y, stage, count, total, _ = state
        here = args(stops[stage])

        def twice(y):
            value = residual(y, here)
            return value, value

        matrix, value = jax.jacfwd(twice, has_aux=True)(y)
        step = -jnp.linalg.solve(matrix, value)
        norms = jax.vmap(lambda length: jnp.sum(residual(y + length * step, here) ** 2))(lengths)
        # A NaN compares false, so a length that leaves the domain is never taken.
        better = norms < (1 - 1e-4 * lengths) * jnp.sum(value**2)
        tiny = jnp.max(jnp.abs(step)) <= small * jnp.maximum(jnp.max(jnp.abs(y)), 1.0)
        length = jnp.where(tiny, jnp.ones((), dtype), lengths[jnp.argmax(better)])  # the longest that is better
        taken = tiny | jnp.any(better)
        y = jnp.where(taken, y + length * step, y)
        left = tiny | ~taken | (count + 1 >= max_steps)
        y = jnp.where(left & ~tiny & (stage == 0), start, y)  # a failed first attempt is no place to go on from
        at_end = stops[stage] == 0
        return y, jnp.where(left, stage + 1, stage), jnp.where(left, 0, count + 1), total + 1, tiny & at_end

    def solve(_, start):
        none = jnp.int32(0)
        state = (start, none, none, none, jnp.array(False))
        y, _, _, total, converged = jax.lax.while_loop(unfinished, body, state)
        return y, (total.astype(dtype), converged.astype(dtype))  # integers have no tangents that custom_root takes

    def tangent_solve(product, y):
        return jnp.linalg.solve(jax.jacfwd(product)(jnp.zeros_like(y)), y)

    wanted = args(jnp.zeros((), dtype))
    y, (total, converged) = jax.lax.custom_root(
        lambda y: residual(y, wanted), start, solve, tangent_solve, has_aux=True
    )
    total, converged = jax.lax.stop_gradient((total, converged))
    return Root(y, total.astype(jnp.int32), converged > 0)


def correction(residual: Callable[[Array, Any], Array], y: Array, args: Any, *others: Array) -> Array:
    """Return by how much Newton would move `y`, as a row, and how other residuals would move it, as further rows."""
    columns = jnp.stack([residual(y, args), *others], axis=1)
    return -jnp.linalg.solve(jax.jacfwd(residual)(y, args), columns).T
