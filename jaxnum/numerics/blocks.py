"""A vector cut into four blocks side by side, for recurrences: row i holds the i-th entry of every block.

    (n,)  →  (rows of a block, blocks),    entry j in row j mod rows of block j div rows

A recurrence waits at every entry for the one before; four of them side by side keep a core busy. The last block is
filled up with zeros, at most three of them; a short vector is one block.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

# Four chains keep a core's arithmetic busy while each waits for its own last row; a short matrix gains nothing.
_BLOCKS, _LONG = 4, 64


def to_rows(x: Array) -> Array:
    """Return a vector (..., n) as its blocks side by side, (..., rows of a block, blocks), filled up with zeros."""
    blocks = _num_blocks(x.shape[-1])
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % blocks)])
    return jnp.swapaxes(x.reshape(*x.shape[:-1], blocks, -1), -1, -2)


def from_rows(x: Array, n: int) -> Array:
    """Return the vector (..., n) of its blocks."""
    return jnp.swapaxes(x, -1, -2).reshape(*x.shape[:-2], -1)[..., :n]


def toeplitz(center: float, side: float, x: Array, n: int, *, cyclic: bool = False) -> Array:
    """Return side x_{j-1} + center x_j + side x_{j+1} for every j as blocks; n is the length of the vector."""
    rows, spare = x.shape[0], x.size - n
    ends, starts = jnp.roll(last_row(x, spare), 1), jnp.roll(x[0], -1)
    if not cyclic:
        ends, starts = ends.at[0].set(0), starts.at[-1].set(0)
    around = jnp.concatenate([ends[None], x, starts[None]])
    y = _scaled(center, x) + _scaled(side, around[:-2] + around[2:])
    if not spare:
        return y
    # The last block: its last row and the spare ones after it saw each other, and the first row of all.
    behind = jnp.zeros((spare, 1), x.dtype)
    y = jax.lax.dynamic_update_slice(y, behind, (rows - spare, x.shape[1] - 1))
    return y.at[rows - 1 - spare, -1].add(_scaled(side, x[0, 0])) if cyclic else y


def places(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return masks (rows, blocks): the first row of a block, its last, and what lies beyond the end of the vector."""
    blocks = _num_blocks(n)
    rows = -(-n // blocks)
    row, block = np.arange(rows)[:, None], np.arange(blocks)[None]
    end = np.where(block == blocks - 1, n - (blocks - 1) * rows - 1, rows - 1)
    return (row == 0) & (block >= 0), row == end, row > end


def last_row(x: Array, spare: int) -> Array:
    """Return the last row of every block that is not a spare one."""
    return jnp.concatenate([x[-1, :-1], x[-1 - spare, -1:]]) if spare else x[-1]


def _num_blocks(n: int) -> int:
    return _BLOCKS if n >= _LONG else 1


def _scaled(factor: float, x: Array) -> Array:
    """Return factor x; of complex numbers by real products, of which there are half as many."""
    return jax.lax.complex(factor * x.real, factor * x.imag) if jnp.iscomplexobj(x) else factor * x
