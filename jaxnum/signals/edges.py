"""What a kernel sees beyond the two ends of a signal.

A convolution needs samples that were never taken. Each record below says where they come from, as a linear rule

    e_k = s_k y[i_k] + a_k y[0] + b_k y[-1] + c

whose integers depend on the number of samples alone; so the same record serves the smoothed values, their standard
errors and the derivatives of both. Zero is deliberately not a default: it takes a constant to half its height at
the ends, and its slope there is the height divided by the width of the kernel.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float


class Fold(NamedTuple):
    """Where the samples of the extended signal come from: four NumPy rows of length `n + 2 * reach`."""

    index: np.ndarray
    sign: np.ndarray
    first: np.ndarray
    last: np.ndarray


@jax.tree_util.register_static
@dataclass(frozen=True)
class OddReflection:
    """Continue the signal point-symmetrically about its end samples: e(-s) = 2 y(0) - y(s).

    Values and slopes continue smoothly, so that a straight line is kept up to the ends. The smoothed curve passes
    through the two end samples exactly, noise included: that is the price.
    """

    def fold(self, n: int, reach: int) -> Fold:
        """Return the rule for `n` samples and `reach` more on each side."""
        if n == 1:
            return Nearest().fold(n, reach)
        turns, place = np.divmod(np.arange(-reach, n + reach), 2 * (n - 1))
        beyond = place >= n  # on the way back: seen from the last sample
        index = np.where(beyond, 2 * (n - 1) - place, place)
        return Fold(index, np.where(beyond, -1.0, 1.0), -2.0 * turns, 2.0 * turns + 2.0 * beyond)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Reflect:
    """Mirror the signal in the faces of its end cells: (c b a | a b c); SciPy's "reflect". Slopes become zero."""

    def fold(self, n: int, reach: int) -> Fold:
        """Return the rule for `n` samples and `reach` more on each side."""
        place = np.mod(np.arange(-reach, n + reach), 2 * n)
        return _copies(np.where(place >= n, 2 * n - 1 - place, place))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Nearest:
    """Repeat the end samples: (a a a | a b c)."""

    def fold(self, n: int, reach: int) -> Fold:
        """Return the rule for `n` samples and `reach` more on each side."""
        return _copies(np.clip(np.arange(-reach, n + reach), 0, n - 1))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Wrap:
    """Take the signal as one period of a periodic one; the sample after the last is the first."""

    def fold(self, n: int, reach: int) -> Fold:
        """Return the rule for `n` samples and `reach` more on each side."""
        return _copies(np.mod(np.arange(-reach, n + reach), n))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConstantEdge:
    """Put a constant beyond the ends; right only when the signal is known to have that value there.

    Attributes:
        value: The constant, in units of y.
    """

    value: ArrayLike

    def fold(self, n: int, reach: int) -> Fold:
        """Return the rule for `n` samples and `reach` more on each side."""
        place = np.arange(-reach, n + reach)
        inside = (place >= 0) & (place < n)
        return _copies(np.where(inside, place, 0))._replace(sign=inside.astype(float))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Renormalized:
    """Use the samples there are, and divide by the weight they carry; takes irregular samples and weights."""


def extend(y: Float[Array, " n"], edge, reach: int) -> Float[Array, " m"]:
    """Return `y` with `reach` samples more on each side, by the rule of `edge`."""
    index, sign, first, last = (
        jnp.asarray(a, None if a.dtype.kind == "i" else y.dtype) for a in edge.fold(len(y), reach)
    )
    beyond = jnp.asarray(getattr(edge, "value", 0.0), y.dtype)
    copies = jnp.abs(sign) + jnp.abs(first) + jnp.abs(last)
    return sign * y[index] + first * y[0] + last * y[-1] + jnp.where(copies == 0, beyond, 0)


def _copies(index: np.ndarray) -> Fold:
    zeros = np.zeros(len(index))
    return Fold(index, np.ones(len(index)), zeros, zeros)
