"""Symmetric positive definite banded systems: factor, solve, determinant, and the band of the inverse, in O(n).

    A = L D Lᵀ,    L unit lower triangular with p bands below its diagonal

A matrix is the lower half of its bands, one array of shape (p + 1, n) with `bands[k, i]` = A[i, i - k]; the entries
that lie outside, `bands[k, :k]`, are ignored. Everything is one loop over the rows with a few numbers in hand, which
compiles to a plain loop on a CPU; on a GPU a loop over rows is slow, and many systems should be solved in one `vmap`.

`solve` is differentiated through the equation, never through the loop. The entries of the inverse inside the band
need no other entries (Takahashi's recurrence); the band of A⁻¹ W A⁻¹ is the derivative of that recurrence along W.

References:
    Golub & Van Loan, Matrix Computations, 4th edition, section 4.3.
    Takahashi's recurrence as in Hutchinson & de Hoog (1985), https://doi.org/10.1007/BF01389878
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnum.numerics.march import in_turn


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Factors:
    """A matrix after elimination.

    Attributes:
        lower: Bands of L below its diagonal, (p, n): `lower[k - 1, i]` = L[i, i - k].
        pivots: Diagonal of D, (n,); NaN from the row on in which the matrix is seen not to be positive definite.
    """

    lower: Array
    pivots: Array


def matvec(bands: Array, x: Array) -> Array:
    """Return the product of a symmetric banded matrix (p + 1, n) with a vector (n,)."""
    n = bands.shape[1]
    result = bands[0] * x
    for k in range(1, min(bands.shape[0], n)):
        inside = bands[k, k:]
        zero = jnp.zeros(k, x.dtype)
        result = result + jnp.concatenate([zero, inside * x[: n - k]]) + jnp.concatenate([inside * x[k:], zero])
    return result


def to_dense(bands: Array) -> Array:
    """Return the matrix (n, n)."""
    n = bands.shape[1]
    full = jnp.diag(bands[0])
    for k in range(1, min(bands.shape[0], n)):
        full = full + jnp.diag(bands[k, k:], -k) + jnp.diag(bands[k, k:], k)
    return full


def factor(bands: Array) -> Factors:
    """Return the factors of a symmetric positive definite banded matrix.

    Args:
        bands: Lower half of its bands, (p + 1, n).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.numerics import banded
        >>> print(banded.factor(jnp.array([[4.0, 5.0, 5.0], [0.0, 2.0, 2.0]])).pivots)
        [4. 4. 4.]
    """
    p = bands.shape[0] - 1
    zero = jnp.zeros((), bands.dtype)

    def eliminate(carry, row):
        # Of the p rows before: entries of L, and reciprocal pivots; index 0 is the row just above.
        rows, reciprocals = carry
        low, scaled = [zero] * p, [zero] * p
        for k in range(p, 0, -1):
            c = row[k]
            for m in range(k + 1, p + 1):
                c = c - scaled[m - 1] * rows[k - 1][m - k - 1]
            scaled[k - 1] = c
            low[k - 1] = c * reciprocals[k - 1]
        pivot = row[0]
        for a, b in zip(low, scaled, strict=True):
            pivot = pivot - a * b
        pivot = jnp.where(pivot > 0, pivot, jnp.nan)
        return ((tuple(low), *rows[:-1]), (1 / pivot, *reciprocals[:-1])), (tuple(low), pivot)

    start = (((zero,) * p,) * p, (zero + 1,) * p)
    columns = tuple(band if k == 0 else _cut(band, k) for k, band in enumerate(bands))
    _, (lower, pivots) = jax.lax.scan(eliminate, start, columns) if p else (None, ((), bands[0]))
    return Factors(jnp.stack(lower) if p else bands[1:], pivots)


def substitute(factors: Factors, b: Array) -> Array:
    """Solve with a factored matrix by plain substitution; `solve` is the one to differentiate."""
    if factors.lower.shape[0] == 0:
        return b / factors.pivots
    return in_turn(_down_and_up, factors, b)


def _down_and_up(factors: Factors, b: Array) -> Array:
    p = factors.lower.shape[0]
    zero = jnp.zeros((), b.dtype)

    def down(before, row):
        low, value = row
        for a, v in zip(low, before, strict=True):
            value = value - a * v
        return (value, *before[:-1]), value

    def up(pending, row):
        # What the unknowns below ask of the rows above is carried along, so that L is read as it lies.
        low, value = row
        x = value - pending[0]
        return tuple(p + a * x for p, a in zip((*pending[1:], zero), low, strict=True)), x

    start = (zero,) * p
    lower = tuple(factors.lower)
    # Two rows a turn: half of the loop's own work, and no longer to compile.
    _, y = jax.lax.scan(down, start, (lower, b), unroll=2)
    return jax.lax.scan(up, start, (lower, y / factors.pivots), reverse=True, unroll=2)[1]


def solve(
    bands: Array,
    b: Array,
    *,
    factors: Factors | None = None,
    product: Callable[[Array], Array] | None = None,
    careful: Callable[[Array], Array] | None = None,
    num_refinements: int = 0,
    has_change: bool = False,
) -> Any:
    """Solve a symmetric positive definite banded system; differentiable in both arguments, forward and reverse.

    Args:
        bands: Lower half of the bands, (p + 1, n).
        b: Right-hand side, (n,).
        factors: The matrix after elimination, where it is known already; not differentiated.
        product: The same matrix as a function x -> A x, if derivatives should go through that and not through `bands`.
        careful: The same product with less rounding, such as Dᵀ(D x); not differentiated.
        num_refinements: How often the error that `careful` sees is solved for and subtracted.
        has_change: Whether to return how much the last refinement changed as well.

    Returns:
        Solution, (n,); NaN where the matrix is not positive definite. With `has_change`, also the largest change of
        the last refinement relative to the solution: an estimate of the error before it, so never below what is left.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.numerics import banded
        >>> print(banded.solve(jnp.array([[4.0, 5.0, 5.0], [0.0, 2.0, 2.0]]), jnp.array([8.0, 18.0, 19.0])))
        [1. 2. 3.]
    """
    factors = factor(jax.lax.stop_gradient(bands)) if factors is None else jax.lax.stop_gradient(factors)
    product = product or (lambda x: matvec(bands, x))

    def inverse(product, b):
        x = substitute(factors, b)
        change = jnp.zeros_like(x)
        for _ in range(num_refinements):
            change = substitute(factors, b - (careful or product)(x))
            x = x + change
        size = jnp.max(jnp.abs(x))
        return x, jax.lax.stop_gradient(jnp.max(jnp.abs(change)) / jnp.where(size > 0, size, 1))

    x, change = jax.lax.custom_linear_solve(product, b, inverse, symmetric=True, has_aux=True)
    return (x, jax.lax.stop_gradient(change)) if has_change else x


def log_determinant(bands: Array) -> Array:
    """Return the logarithm of the determinant."""
    return jnp.sum(jnp.log(factor(bands).pivots))


def inverse_bands(bands: Array, num_bands: int | None = None) -> Array:
    """Return the entries of the inverse near its diagonal, in O(n).

    Args:
        bands: Lower half of the bands, (p + 1, n).
        num_bands: How many bands below the diagonal are wanted, at least p; None for p.

    Returns:
        Lower half of the bands of the inverse, (num_bands + 1, n), laid out as `bands` are.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.numerics import banded
        >>> print(banded.inverse_bands(jnp.array([[2.0, 2.0], [0.0, 1.0]])) * 3)
        [[ 2.  2.]
         [ 0. -1.]]
    """
    factors = factor(bands)
    p = factors.lower.shape[0]
    q = max(p, num_bands or 0)
    zero = jnp.zeros((), bands.dtype)

    def climb(known, row):
        # known[a][b - a] is the entry (i + 1 + a, i + 1 + b) of the inverse.
        low, pivot = row
        at = lambda a, b: known[min(a, b)][abs(a - b)]  # noqa: E731
        beside = [-sum((low[m] * at(m, k) for m in range(p)), zero) for k in range(q)]
        here = 1 / pivot - sum((low[m] * beside[m] for m in range(p)), zero)
        new = ((here, *beside[: q - 1]), *(row[: q - 1 - a] for a, row in enumerate(known[:-1]))) if q else ()
        return new, (here, *beside)

    start = tuple((zero,) * (q - a) for a in range(q))
    _, entries = jax.lax.scan(climb, start, (_columns(factors.lower), factors.pivots), reverse=True)
    # Entry (i, i + k) belongs to row i + k of the lower half.
    return jnp.stack([_cut(jnp.roll(e, k), k) for k, e in enumerate(entries)])


def inverse_diagonal_of(bands: Array, weights: Array, num_bands: int) -> tuple[Array, Array]:
    """Return the bands of A⁻¹, and those of A⁻¹ W A⁻¹ with a diagonal W: minus the derivative of the first along W."""
    along = jnp.zeros_like(bands).at[0].set(weights)
    inverse, slope = jax.jvp(lambda a: inverse_bands(a, num_bands), (bands,), (along,))
    return inverse, -slope


def _cut(band: Array, k: int) -> Array:
    return jnp.where(jnp.arange(band.shape[0]) < k, 0, band)


def _columns(lower: Array) -> tuple[Array, ...]:
    """Return L[i + k, i] for k = 1 ... p, zero beyond the last row."""
    n = lower.shape[1]
    shifted = (jnp.roll(row, -k) for k, row in enumerate(lower, 1))
    return tuple(jnp.where(jnp.arange(n) < n - k, row, 0) for k, row in enumerate(shifted, 1))
