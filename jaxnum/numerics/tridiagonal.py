"""Tridiagonal systems, plain and cyclic: product, solve, and solve many times with one matrix.

    lower_j x_{j-1} + diagonal_j x_j + upper_j x_{j+1} = b_j,    j = 0 ... n - 1

A matrix is its three bands, one array of shape (3, n) whose column j is row j of the matrix. The two entries that lie
outside, `bands[0, 0]` and `bands[2, -1]`, are ignored by the plain functions and are the corners of a cyclic matrix,
where x_{-1} is x_{n-1} and x_n is x_0.

`solve` pivots and serves every regular matrix. `factor` and `solve_factored` do the elimination once and do not
pivot: right for matrices whose pivots cannot vanish, such as 1 + icH with a real symmetric H, whose pivots all have
a real part of at least one.

A substitution is a recurrence, in which every row waits for the one before. So the rows are cut into four blocks that
go side by side, A = D + E F with the blocks D and the couplings E F between their ends, and the ends are put right:

    A⁻¹ b = y - S R F y,    y = D⁻¹ b,  S = D⁻¹ E,  R = (1 + F S)⁻¹

S holds two columns for each block, and R is 8 x 8. The corners of a cyclic matrix are one coupling more. The transposed
matrix is solved with the same factors, A⁻ᵀ b = D⁻ᵀ (b - Fᵀ Rᵀ Sᵀ b).

References:
    Thomas's elimination and the formula of Sherman, Morrison and Woodbury: Golub & Van Loan, Matrix Computations,
    4th edition, sections 4.3 and 2.1.4; blocks side by side: Polizzi & Sameh (2006),
    https://doi.org/10.1016/j.parco.2005.07.005
"""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

# Four chains keep a core's arithmetic busy while each waits for its own last row; a short matrix gains nothing.
_BLOCKS, _LONG = 4, 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Factors:
    """A tridiagonal matrix after elimination, ready to solve; rows are cut into blocks, (rows of a block, blocks).

    Attributes:
        bands: The matrix, (3, n).
        multipliers: What each row subtracts of the row before it in its block.
        pivots: Reciprocals of the pivots.
        uppers: Upper band times the reciprocal pivot, zero at the end of a block.
        before: Answer of each block to the last row of the block before it, or None where one block is all.
        after: Answer of each block to the first row of the block after it, or None.
        ends: R, the matrix that puts the first and the last rows of all blocks right, (2 blocks, 2 blocks), or None.
        cyclic: Whether the matrix is.
    """

    bands: Array
    multipliers: Array
    pivots: Array
    uppers: Array
    before: Array | None
    after: Array | None
    ends: Array | None
    cyclic: bool = field(metadata={"static": True})


def matvec(bands: Array, x: Array, *, cyclic: bool = False) -> Array:
    """Return the product of a tridiagonal matrix (3, n) with a vector (n,).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.numerics import tridiagonal
        >>> bands = jnp.array([[1.0], [-2.0], [1.0]]) * jnp.ones((3, 4))
        >>> print(tridiagonal.matvec(bands, jnp.array([1.0, 4.0, 9.0, 16.0])))
        [  2.   2.   2. -23.]
    """
    before, after = neighbors(x, cyclic=cyclic)
    return bands[0] * before + bands[1] * x + bands[2] * after


def transpose(bands: Array) -> Array:
    """Return the bands of the transposed matrix; the corners of a cyclic one go along."""
    return jnp.stack([jnp.roll(bands[2], 1), bands[1], jnp.roll(bands[0], -1)])


def outer(left: Array, right: Array, *, cyclic: bool = False) -> Array:
    """Return the three bands of the rank-one matrix left rightᵀ: the gradient of leftᵀ A right in the bands of A."""
    before, after = neighbors(right, cyclic=cyclic)
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
        bands: Matrix, (3, n); the leading minors of its blocks must not vanish.
        cyclic: Whether the entries outside are corners.
    """
    # Derivatives go through the bands themselves, in `solve_factored`; differentiating the elimination is not needed.
    fixed = jax.lax.stop_gradient(bands)
    if not cyclic:
        fixed = fixed.at[0, 0].set(0).at[2, -1].set(0)
    blocks = _BLOCKS if bands.shape[1] >= _LONG else 1
    spare = -bands.shape[1] % blocks
    # The last block is filled up with rows of the unit matrix.
    lower, upper = (_cut(jnp.pad(band, (0, spare)), blocks) for band in (fixed[0], fixed[2]))
    diagonal = _cut(jnp.pad(fixed[1], (0, spare), constant_values=1), blocks)
    last = _last_rows(spare, blocks)
    inner_upper = upper.at[last].set(0)

    def eliminate(carry, row):
        reciprocal, above = carry
        low, middle, up = row
        multiplier = low * reciprocal
        reciprocal = 1 / (middle - multiplier * above)
        return (reciprocal, up), (multiplier, reciprocal)

    zero = jnp.zeros((blocks,), bands.dtype)
    rows = (lower.at[0].set(0), diagonal, inner_upper)
    _, (multipliers, pivots) = jax.lax.scan(eliminate, (zero, zero), rows)
    uppers = inner_upper * pivots
    if blocks == 1 and not cyclic:
        return Factors(bands, multipliers, pivots, uppers, None, None, None, cyclic)
    couplings = jnp.zeros((diagonal.shape[0], 2, blocks), bands.dtype)
    couplings = couplings.at[0, 0].set(lower[0]).at[last[0], 1, last[1]].set(upper[last])
    answers = _chains(multipliers[:, None], pivots[:, None], uppers[:, None], couplings)
    before, after = answers[:, 0], answers[:, 1]
    # First and last rows of each block answer to the last of the block before it and the first of the block after it.
    one = jnp.eye(blocks, dtype=bands.dtype)
    to_first, to_last = jnp.roll(one, 1, axis=1), jnp.roll(one, -1, axis=1)
    rows = [jnp.concatenate([after[at][:, None] * to_first, before[at][:, None] * to_last], axis=1) for at in (0, last)]
    ends = _inverse(jnp.eye(2 * blocks, dtype=bands.dtype) + jnp.concatenate(rows))
    return Factors(bands, multipliers, pivots, uppers, before, after, ends, cyclic)


def solve_factored(factors: Factors, b: Array, *, transposed: bool = False) -> Array:
    """Solve with a matrix that was eliminated before; differentiable in its bands and in b by one more solve.

    Args:
        factors: What `factor` returned.
        b: Right-hand side, (n,).
        transposed: Whether to solve with the transposed matrix.
    """
    fixed = jax.lax.stop_gradient(factors)
    bands = transpose(factors.bands) if transposed else factors.bands

    def product(x):
        return matvec(bands, x, cyclic=factors.cyclic)

    def inverse(_, b):
        return _substitute(fixed, b, transposed)

    def inverse_transposed(_, b):
        return _substitute(fixed, b, not transposed)

    return jax.lax.custom_linear_solve(product, b, inverse, inverse_transposed)


def neighbors(x: Array, *, cyclic: bool = False) -> tuple[Array, Array]:
    """Return x_{j-1} and x_{j+1} for every j, zero outside."""
    if cyclic:
        return jnp.roll(x, 1), jnp.roll(x, -1)
    zero = jnp.zeros((1,), x.dtype)
    return jnp.concatenate([zero, x[:-1]]), jnp.concatenate([x[1:], zero])


def _pivoted(bands: Array, b: Array) -> Array:
    lower, diagonal, upper = bands
    return jax.lax.linalg.tridiagonal_solve(lower, diagonal, upper, b[:, None])[:, 0]


def _substitute(factors: Factors, b: Array, transposed: bool) -> Array:
    """Forward, then backward substitution."""
    # One member of a batch after the other: a loop whose rows are short stays inside the processor.
    loop = jax.custom_batching.sequential_vmap(_in_blocks_transposed if transposed else _in_blocks)
    # A loop over the rows is the fastest there is on a CPU, and the slowest on a GPU, which has its own solver.
    return jax.lax.platform_dependent(factors, b, cpu=loop, default=partial(_library, transposed=transposed))


def _library(factors: Factors, b: Array, transposed: bool) -> Array:
    return solve(transpose(factors.bands) if transposed else factors.bands, b, cyclic=factors.cyclic)


def _in_blocks(factors: Factors, b: Array) -> Array:
    rows, last = _rows(factors, b)
    y = _chains(factors.multipliers, factors.pivots, factors.uppers, rows)
    if factors.ends is not None:
        first, final = jnp.split(factors.ends @ jnp.concatenate([y[0], y[last]]), 2)
        y = y - factors.before * jnp.roll(final, 1)[None] - factors.after * jnp.roll(first, -1)[None]
    return _joined(y, b.shape[0])


def _in_blocks_transposed(factors: Factors, b: Array) -> Array:
    rows, last = _rows(factors, b)
    if factors.ends is not None:
        first = jnp.roll(jnp.sum(factors.after * rows, axis=0), 1)
        final = jnp.roll(jnp.sum(factors.before * rows, axis=0), -1)
        first, final = jnp.split(factors.ends.T @ jnp.concatenate([first, final]), 2)
        rows = rows.at[0].add(-first).at[last].add(-final)
    # The two triangles, transposed, are the same bands in exchanged parts.
    zero = jnp.zeros((1, rows.shape[1]), rows.dtype)
    down = jnp.concatenate([zero, factors.uppers[:-1]])
    up = jnp.concatenate([factors.multipliers[1:], zero])
    return _joined(_chains(down, factors.pivots, up, rows), b.shape[0])


def _inverse(matrix: Array) -> Array:
    """Return the inverse of a small matrix by elimination without pivoting, like the rest of it."""
    n = matrix.shape[0]

    def clear(k, both):
        row = both[k] / both[k, k]
        return (both - both[:, k][:, None] * row[None]).at[k].set(row)

    return jax.lax.fori_loop(0, n, clear, jnp.concatenate([matrix, jnp.eye(n, dtype=matrix.dtype)], axis=1))[:, n:]


def _chains(multipliers: Array, pivots: Array, uppers: Array, b: Array) -> Array:
    """Solve all blocks; rows first, blocks last."""

    def down(y, row):
        multiplier, value = row
        y = value - multiplier * y
        return y, y

    def up(x, row):
        y, pivot, upper = row
        x = y * pivot - upper * x
        return x, x

    zero = jnp.zeros_like(b[0])
    _, y = jax.lax.scan(down, zero, (multipliers, b))
    return jax.lax.scan(up, zero, (y, pivots, uppers), reverse=True)[1]


def _cut(x: Array, blocks: int) -> Array:
    return x.reshape(blocks, -1).T


def _rows(factors: Factors, b: Array) -> tuple[Array, tuple]:
    """Return b cut into blocks, and where the last row of each block is."""
    rows, blocks = factors.pivots.shape
    spare = rows * blocks - b.shape[0]
    return _cut(jnp.pad(b, (0, spare)), blocks), _last_rows(spare, blocks)


def _last_rows(spare: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the last row of every block that is not a spare one."""
    rows = np.full(blocks, -1)
    rows[-1] -= spare
    return rows, np.arange(blocks)


def _joined(x: Array, n: int) -> Array:
    return x.T.reshape(-1)[:n]


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
