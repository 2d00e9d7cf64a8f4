"""Tridiagonal systems, plain and cyclic: product, solve, and solve many times with one matrix.

    lower_j x_{j-1} + diagonal_j x_j + upper_j x_{j+1} = b_j,    j = 0 ... n - 1

A matrix is its three bands, one array of shape (3, n) whose column j is row j of the matrix. The two entries that lie
outside, `bands[0, 0]` and `bands[2, -1]`, are ignored by the plain functions and are the corners of a cyclic matrix,
where x_{-1} is x_{n-1} and x_n is x_0.

`solve` pivots and serves every regular matrix. `factor` and `solve_factored` do the elimination once and do not
pivot: right for matrices whose pivots cannot vanish, such as 1 + icH with a real symmetric H, whose pivots all have
a real part of at least one.

References:
    Thomas's elimination and the cyclic correction of Sherman and Morrison: Golub & Van Loan, Matrix Computations,
    4th edition, sections 4.3 and 2.1.4.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Factors:
    """A tridiagonal matrix after elimination, ready to solve.

    Attributes:
        bands: The matrix, (3, n).
        multipliers: What each row subtracts of the row before it, (n,).
        pivots: Reciprocals of the pivots, (n,).
        uppers: Upper band of the matrix that was eliminated, (n,).
        column: For a cyclic matrix, the solution for the rank-one part's column, (n,); otherwise None.
        weight: For a cyclic matrix, the last entry of the rank-one part's row; otherwise None.
    """

    bands: Array
    multipliers: Array
    pivots: Array
    uppers: Array
    column: Array | None
    weight: Array | None


def matvec(bands: Array, x: Array, *, cyclic: bool = False) -> Array:
    """Return the product of a tridiagonal matrix (3, n) with a vector (n,).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.numerics import tridiagonal
        >>> bands = jnp.array([[1.0], [-2.0], [1.0]]) * jnp.ones((3, 4))
        >>> print(tridiagonal.matvec(bands, jnp.array([1.0, 4.0, 9.0, 16.0])))
        [  2.   2.   2. -23.]
    """
    before, after = _neighbors(x, cyclic)
    return bands[0] * before + bands[1] * x + bands[2] * after


def transpose(bands: Array) -> Array:
    """Return the bands of the transposed matrix; the corners of a cyclic one go along."""
    return jnp.stack([jnp.roll(bands[2], 1), bands[1], jnp.roll(bands[0], -1)])


def outer(left: Array, right: Array, *, cyclic: bool = False) -> Array:
    """Return the three bands of the rank-one matrix left rightᵀ: the gradient of leftᵀ A right in the bands of A."""
    before, after = _neighbors(right, cyclic)
    return jnp.stack([left * before, left * right, left * after])


def to_dense(bands: Array, *, cyclic: bool = False) -> Array:
    """Return the matrix (n, n)."""
    return jax.vmap(lambda x: matvec(bands, x, cyclic=cyclic), out_axes=1)(jnp.eye(bands.shape[1], dtype=bands.dtype))


def solve(bands: Array, b: Array, *, cyclic: bool = False) -> Array:
    """Solve a tridiagonal system with pivoting.

    Differentiable in both arguments, forward and reverse. A singular matrix gives values that are not finite. A
    cyclic matrix needs at least three rows, and its diagonal must not begin with zero.

    Args:
        bands: Matrix, (3, n).
        b: Right-hand side, (n,), of the same dtype.
        cyclic: Whether the entries outside are corners.

    Returns:
        Solution, (n,).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.numerics import tridiagonal
        >>> bands = jnp.array([[1.0], [-2.0], [1.0]]) * jnp.ones((3, 4))
        >>> print(tridiagonal.solve(bands, jnp.array([2.0, 2.0, 2.0, -23.0])))
        [ 1.  4.  9. 16.]
    """
    if not cyclic:
        return _pivoted(bands, b)
    inner, column, weight = _rank_one(bands)
    # Two columns, one elimination.
    both = jax.lax.linalg.tridiagonal_solve(*inner, jnp.stack([b, column], axis=1))
    return _corrected(both[:, 0], both[:, 1], weight)


def factor(bands: Array, *, cyclic: bool = False) -> Factors:
    """Eliminate once, without pivoting, for many right-hand sides.

    Args:
        bands: Matrix, (3, n); its leading minors must not vanish.
        cyclic: Whether the entries outside are corners.
    """
    # Derivatives go through the bands themselves, in `solve_factored`; differentiating the elimination is not needed.
    fixed = jax.lax.stop_gradient(bands)
    inner, column, weight = _rank_one(fixed) if cyclic else (fixed, None, None)
    lower = inner[0].at[0].set(0)
    upper = inner[2].at[-1].set(0)

    def eliminate(carry, row):
        reciprocal, above = carry
        low, diagonal, up = row
        multiplier = low * reciprocal
        reciprocal = 1 / (diagonal - multiplier * above)
        return (reciprocal, up), (multiplier, reciprocal)

    zero = jnp.zeros((), bands.dtype)
    _, (multipliers, pivots) = jax.lax.scan(eliminate, (zero, zero), (lower, inner[1], upper))
    factors = Factors(bands, multipliers, pivots, upper, None, None)
    if not cyclic:
        return factors
    return Factors(bands, multipliers, pivots, upper, _substitute(factors, column), weight)


def solve_factored(factors: Factors, b: Array) -> Array:
    """Solve with a matrix that was eliminated before; differentiable in its bands and in b by one more solve.

    Args:
        factors: What `factor` returned.
        b: Right-hand side, (n,).
    """
    cyclic = factors.column is not None
    fixed = jax.lax.stop_gradient(factors)

    def product(x):
        return matvec(factors.bands, x, cyclic=cyclic)

    def inverse(_, b):
        y = _substitute(fixed, b)
        return _corrected(y, fixed.column, fixed.weight) if cyclic else y

    def inverse_transposed(_, b):
        # The transposed matrix is only asked for in reverse mode, and there it is eliminated afresh.
        return solve(transpose(fixed.bands), b, cyclic=cyclic)

    return jax.lax.custom_linear_solve(product, b, inverse, inverse_transposed)


def _neighbors(x: Array, cyclic: bool) -> tuple[Array, Array]:
    """Return x_{j-1} and x_{j+1} for every j."""
    if cyclic:
        return jnp.roll(x, 1), jnp.roll(x, -1)
    zero = jnp.zeros((1,), x.dtype)
    return jnp.concatenate([zero, x[:-1]]), jnp.concatenate([x[1:], zero])


def _pivoted(bands: Array, b: Array) -> Array:
    lower, diagonal, upper = bands
    return jax.lax.linalg.tridiagonal_solve(lower, diagonal, upper, b[:, None])[:, 0]


def _substitute(factors: Factors, b: Array) -> Array:
    """Forward, then backward substitution."""
    # A loop over the rows is the fastest there is on a CPU, and the slowest on a GPU, which has its own solver.
    return jax.lax.platform_dependent(
        factors.multipliers, factors.pivots, factors.uppers, b, cpu=_loop, default=_library
    )


def _loop(multipliers: Array, pivots: Array, uppers: Array, b: Array) -> Array:
    def down(y, row):
        multiplier, value = row
        y = value - multiplier * y
        return y, y

    def up(x, row):
        y, pivot, upper = row
        x = (y - upper * x) * pivot
        return x, x

    zero = jnp.zeros((), b.dtype)
    _, y = jax.lax.scan(down, zero, (multipliers, b))
    return jax.lax.scan(up, zero, (y, pivots, uppers), reverse=True)[1]


def _library(multipliers: Array, pivots: Array, uppers: Array, b: Array) -> Array:
    zero = jnp.zeros((1,), b.dtype)
    lowers = jnp.concatenate([zero, multipliers[1:] / pivots[:-1]])
    above = jnp.concatenate([zero, uppers[:-1]])
    return _pivoted(jnp.stack([lowers, 1 / pivots + multipliers * above, uppers]), b)


def _rank_one(bands: Array) -> tuple[Array, Array, Array]:
    """Split a cyclic matrix into a tridiagonal one and column (1, 0 ... 0, weight): Sherman and Morrison."""
    # The first diagonal entry sets the scale; taken with this sign it doubles there and cancels nothing.
    scale = -bands[1, 0]
    weight = bands[0, 0] / scale
    column = jnp.zeros_like(bands[1]).at[0].set(scale).at[-1].add(bands[2, -1])
    inner = bands.at[1, 0].add(-scale).at[1, -1].add(-weight * bands[2, -1])
    return inner.at[0, 0].set(0).at[2, -1].set(0), column, weight


def _corrected(y: Array, column: Array, weight: Array) -> Array:
    return y - column * ((y[0] + weight * y[-1]) / (1 + column[0] + weight * column[-1]))
