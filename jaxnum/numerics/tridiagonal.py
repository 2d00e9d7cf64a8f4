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

Who solves again and again keeps his vectors as such blocks (`blocks.py`): `solve_rows`, with matrices of a stack.

References:
    Thomas's elimination and the formula of Sherman, Morrison and Woodbury: Golub & Van Loan, Matrix Computations,
    4th edition, sections 4.3 and 2.1.4; blocks side by side: Polizzi & Sameh (2006),
    https://doi.org/10.1016/j.parco.2005.07.005
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum.numerics import blocks


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
    lower, diagonal, upper = blocks.to_rows(jax.lax.stop_gradient(bands))
    rows, width = diagonal.shape
    first, last, beyond = blocks.places(bands.shape[1])
    zero = jnp.zeros((), bands.dtype)
    # The last block is filled up with rows of the unit matrix.
    diagonal = jnp.where(beyond, zero + 1, diagonal)
    # What couples a block to the one before and to the one after; a matrix that is not cyclic has no corners.
    block = np.arange(width)[None]
    to_before = jnp.where(first & (cyclic | (block > 0)), lower, zero)
    to_after = jnp.where(last & (cyclic | (block < width - 1)), upper, zero)
    lower, upper = jnp.where(first, zero, lower), jnp.where(last, zero, upper)

    def eliminate(reciprocal, row):
        middle, product = row
        reciprocal = _reciprocal(middle - product * reciprocal)
        return reciprocal, reciprocal

    # Loops that carry little stay inside the processor, so what can be done outside is done outside.
    none = jnp.zeros((1, width), bands.dtype)
    products = lower * jnp.concatenate([none, upper[:-1]])
    _, rough = jax.lax.scan(eliminate, none[0], (diagonal, products))
    multipliers = lower * jnp.concatenate([none, rough[:-1]])
    # Divided once more, as well as can be: whatever is wrong with a pivot is wrong in the same sense at every solve.
    pivots = 1 / (diagonal - multipliers * jnp.concatenate([none, upper[:-1]]))
    uppers = upper * pivots
    if width == 1 and not cyclic:
        return Factors(bands, multipliers, pivots, uppers, None, None, None, cyclic)
    before, after = jax.lax.map(partial(_chains, multipliers, pivots, uppers), jnp.stack([to_before, to_after]))
    # First and last rows of each block answer to the last of the block before it and the first of the block after it.
    one = np.eye(width)
    to_first, to_last = (jnp.asarray(np.roll(one, turn, axis=1), bands.dtype) for turn in (1, -1))
    spare = rows * width - bands.shape[1]
    parts = [
        jnp.concatenate([a[:, None] * to_first, b[:, None] * to_last], axis=1)
        for a, b in ((after[0], before[0]), (blocks.last_row(after, spare), blocks.last_row(before, spare)))
    ]
    ends = _inverse(jnp.asarray(np.eye(2 * width), bands.dtype) + jnp.concatenate(parts))
    return Factors(bands, multipliers, pivots, uppers, before, after, ends, cyclic)


def factor_all(bands: Array, *, cyclic: bool = False) -> Factors:
    """Eliminate a stack of matrices (matrices, 3, n), one after the other: a loop of short rows is the fastest."""
    if bands.shape[0] == 1:
        return jax.tree.map(lambda x: x[None], factor(bands[0], cyclic=cyclic))
    return jax.lax.map(partial(factor, cyclic=cyclic), bands)


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


def solve_rows(factors: Factors, k: tuple[Any, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    """Solve with matrices of a stack, those of `factor_all`, all in one loop; without derivatives.

    Args:
        factors: What `factor_all` returned.
        k: Matrix for each right-hand side; may be traced.
        b: Right-hand sides as blocks, zero where there is nothing of the vector. One or two of them are fast.

    Returns:
        Solutions as blocks.
    """
    return tuple(x for (x,) in _solve_rows(factors, k, b, ())[0])


def solve_rows_in(
    room: tuple[Array, ...], factors: Factors, k: tuple[Any, ...], b: tuple[Array, ...]
) -> tuple[tuple[tuple[Array, ...], ...], tuple[Array, ...]]:
    """Solve like `solve_rows`, with as many matrices k, k + 1 for each right-hand side as there is room for.

    Args:
        room: For each right-hand side an array of its length, or of twice its length for two matrices, to work in. Who
            hands it on from solve to solve saves a copy of b.
        factors: What `factor_all` returned.
        k: For each right-hand side the first of its matrices; may be traced.
        b: Right-hand sides.

    Returns:
        The solutions for each right-hand side, and the room.
    """
    return _solve_rows(factors, k, b, room)


def _solve_rows(factors, k, b, room):
    # One member of a batch after the other, on a CPU; see `_substitute`.
    loop = jax.custom_batching.sequential_vmap(_in_rows)
    k = tuple(jnp.asarray(one, jnp.uint32) for one in k)
    return jax.lax.platform_dependent(factors, k, b, room, cpu=loop, default=_library_rows)


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


def _library_rows(factors: Factors, ks: tuple, bs: tuple, room: tuple) -> tuple[tuple, tuple]:
    # All of them in one call, as a batch: several right-hand sides of one matrix would go through the host.
    count, n = _count(room, bs), factors.bands.shape[-1]
    which = jnp.stack([k + np.uint32(i) for k in ks for i in range(count)])
    right = jnp.stack([blocks.from_rows(b, n) for b in bs for _ in range(count)])
    x = jax.vmap(partial(solve, cyclic=factors.cyclic))(factors.bands[which], right).reshape(len(bs), count, n)
    return tuple(tuple(map(blocks.to_rows, part)) for part in x), room


def _in_rows(factors: Factors, ks: tuple, bs: tuple, room: tuple) -> tuple[tuple, tuple]:
    # The matrices are not cut out of the stack: the loops read their rows where they are.
    multipliers, pivots, uppers = (
        x.reshape(-1, x.shape[-1]) for x in (factors.multipliers, factors.pivots, factors.uppers)
    )
    # XLA makes one piece of machine code of a loop whose turn touches less than 1024 bytes; a longer one is three times
    # slower. Two vectors fit by a hair with short counters, and without signs these need no care for x[-1].
    rows, count = bs[0].shape[0], _count(room, bs)
    end = jnp.uint32(count * rows)
    firsts = tuple(k * np.uint32(rows) for k in ks)

    def down(i, carry):
        ys, both = carry
        # The second matrix begins with the right-hand side again.
        j = i if count == 1 else jnp.where(i < rows, i, i - rows)
        right = [_row(b, j) for b in (bs if room else both)]
        ys = tuple(b - _row(multipliers, first + i) * y for b, y, first in zip(right, ys, firsts, strict=True))
        return ys, _with_rows(both, i, ys)

    def up(i, carry):
        xs, both = carry
        i = end - 1 - i
        xs = tuple(
            _row(b, i) * _row(pivots, first + i) - _row(uppers, first + i) * x
            for x, b, first in zip(xs, both, firsts, strict=True)
        )
        return xs, _with_rows(both, i, xs)

    # Each pass writes where it reads; an array of its own would be filled with zeros first. From one matrix to the next
    # nothing is carried over: the first multiplier and the last entry above are zero.
    zeros = tuple(jnp.zeros_like(b[0]) for b in bs)
    ys = jax.lax.fori_loop(jnp.uint32(0), end, down, (zeros, room or bs))[1]
    ys = jax.lax.fori_loop(jnp.uint32(0), end, up, (zeros, ys))[1]

    def mended(k, y):
        if factors.ends is None:
            return y
        parts = (
            jax.lax.dynamic_index_in_dim(x, k, keepdims=False) for x in (factors.before, factors.after, factors.ends)
        )
        return _mended(y, *parts, factors.bands.shape[-1])

    found = tuple(
        tuple(mended(k + np.uint32(i), part) for i, part in enumerate(jnp.split(y, count)))
        for k, y in zip(ks, ys, strict=True)
    )
    return found, ys if room else room


def _count(room: tuple, bs: tuple) -> int:
    return room[0].shape[0] // bs[0].shape[0] if room else 1


def _mended(y: Array, before: Array, after: Array, ends: Array, n: int) -> Array:
    """Return the answer of all blocks together from those that each block gives alone."""
    both = jnp.concatenate([y[0], blocks.last_row(y, y.size - n)])
    first, final = jnp.split(jnp.sum(ends * both[None], axis=1), 2)
    return y - before * jnp.roll(final, 1)[None] - after * jnp.roll(first, -1)[None]


def _row(x: Array, i: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(x, i, keepdims=False)


def _with_rows(xs: tuple[Array, ...], i: Array, rows: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(jax.lax.dynamic_update_index_in_dim(x, row, i, 0) for x, row in zip(xs, rows, strict=True))


def _in_blocks(factors: Factors, b: Array) -> Array:
    n = b.shape[0]
    y = _chains(factors.multipliers, factors.pivots, factors.uppers, blocks.to_rows(b))
    return blocks.from_rows(
        y if factors.ends is None else _mended(y, factors.before, factors.after, factors.ends, n), n
    )


def _in_blocks_transposed(factors: Factors, b: Array) -> Array:
    n, rows = b.shape[0], blocks.to_rows(b)
    if factors.ends is not None:
        first = jnp.roll(jnp.sum(factors.after * rows, axis=0), 1)
        final = jnp.roll(jnp.sum(factors.before * rows, axis=0), -1)
        first, final = jnp.split(jnp.sum(factors.ends * jnp.concatenate([first, final])[:, None], axis=0), 2)
        at_first, at_last, _ = blocks.places(n)
        zero = jnp.zeros((), b.dtype)
        rows = rows - jnp.where(at_first, first[None], zero) - jnp.where(at_last, final[None], zero)
    # The two triangles, transposed, are the same bands in exchanged parts.
    none = jnp.zeros((1, rows.shape[1]), rows.dtype)
    down = jnp.concatenate([none, factors.uppers[:-1]])
    up = jnp.concatenate([factors.multipliers[1:], none])
    return blocks.from_rows(_chains(down, factors.pivots, up, rows), n)


def _inverse(matrix: Array) -> Array:
    """Return the inverse of a small matrix by elimination without pivoting, like the rest of it."""
    n = matrix.shape[0]
    place = np.arange(n)

    def clear(k, both):
        row = _row(both, k)
        row = row / _row(row, k)
        column = jax.lax.dynamic_slice_in_dim(both, k, 1, axis=1)
        return jnp.where((place == k)[:, None], row[None], both - column * row[None])

    both = jnp.concatenate([matrix, jnp.asarray(np.eye(n), matrix.dtype)], axis=1)
    return jax.lax.fori_loop(0, n, clear, both)[:, n:]


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


def _reciprocal(z: Array) -> Array:
    """Return 1/z; a complex division that guards against overflow would take longest of all in a recurrence."""
    if not jnp.iscomplexobj(z):
        return 1 / z
    return z.conj() * (1 / (z.real**2 + z.imag**2)).astype(z.dtype)


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
