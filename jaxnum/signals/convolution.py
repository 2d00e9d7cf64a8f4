"""Correlation of a long signal with a short kernel, as products of matrices.

    value_i = Σ_m k_m e_{i+m}

The signal is cut into blocks as long as the kernel. What one block of values sees is a block of the signal and the
next one, through two triangular matrices that hold the kernel along their diagonals: matrix products twice as many
as the sum needs, and done at the speed of the processor, where a convolution of doubles is not.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def correlate(e: Float[Array, " m"], kernel: Float[Array, " k"]) -> Float[Array, " n"]:
    """Return the n = m - k + 1 sums of `kernel` times the samples it covers.

    Args:
        e: Signal, (m,), at least as long as the kernel.
        kernel: Weights, (k,).
    """
    size, count = len(kernel), len(e) - len(kernel) + 1
    block = max(size - 1, min(16, count))
    blocks = -(-count // block)
    padded = jnp.concatenate([e, jnp.zeros((blocks + 1) * block - len(e), e.dtype)])
    padded = padded.reshape(blocks + 1, block)
    # Column b of the two matrices holds kernel[row - b]; the second continues the first.
    place = jnp.arange(2 * block)[:, None] - jnp.arange(block)[None]
    band = jnp.where((place >= 0) & (place < size), kernel[jnp.clip(place, 0, size - 1)], 0)
    product = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    value = product(padded[:-1], band[:block]) + product(padded[1:], band[block:])
    return value.reshape(-1)[:count]
