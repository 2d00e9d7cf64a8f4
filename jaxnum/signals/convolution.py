"""Correlation of a long signal with a short kernel.

    value_i = Σ_m k_m e_{i+m}

A library's convolution of doubles is slow on a CPU, and products of matrices that hold the kernel along their diagonals
do half of their work on zeros. So the sum is written out: shifted copies of the signal, sixteen at a time, which a
compiler turns into one loop over the samples that reads each from the cache and keeps the sums in registers.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_AT_ONCE = 16  # weights in one pass: few passes over the signal, and still quick to compile
_CHAINS = 4  # sums that grow side by side: an addition need not wait for the one before it


def correlate(e: Float[Array, " m"], kernel: Float[Array, " k"]) -> Float[Array, " n"]:
    """Return the n = m - k + 1 sums of `kernel` times the samples it covers.

    Args:
        e: Signal, (m,), at least as long as the kernel.
        kernel: Weights, (k,).
    """
    count = len(e) - len(kernel) + 1
    spare = -len(kernel) % _AT_ONCE
    e, kernel = (jnp.concatenate([a, jnp.zeros(spare, a.dtype)]) for a in (e, kernel))

    # The shifted copies are cheap to make again, and too many to keep for reverse mode.
    @partial(jax.checkpoint, prevent_cse=False)
    def add(total, group):
        start, weights = group
        chains = [jnp.zeros_like(total)] * _CHAINS
        for j in range(_AT_ONCE):
            shifted = jax.lax.dynamic_slice_in_dim(e, start + j, count)
            chains[j % _CHAINS] = chains[j % _CHAINS] + weights[j] * shifted
        return total + sum(chains[1:], chains[0]), None

    groups = jnp.arange(0, len(kernel), _AT_ONCE), kernel.reshape(-1, _AT_ONCE)
    return jax.lax.scan(add, jnp.zeros(count, e.dtype), groups)[0]
