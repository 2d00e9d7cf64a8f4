"""What a kernel sees beyond the two ends of a signal.

A convolution needs samples that were never taken. Each record below says where they come from, as a linear rule

    e_k = s_k y[i_k] + a_k y[0] + b_k y[-1] + c

whose integers depend on the number of samples alone; so the same record serves the smoothed values, their standard
errors and the derivatives of both. Zero is deliberately not a default: it takes a constant to half its height at
the ends, and its slope there is the height divided by the width of the kernel.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float


class Fold(NamedTuple):
    """Where the samples of the extended signal come from: four NumPy rows of length `n + 2 * reach`.

    `line` is there where the ends are continued by fitted lines: what each sample before the first takes from the
    first ones, (reach, samples that are fitted); the other end is its mirror image.
    """

    index: np.ndarray
    sign: np.ndarray
    first: np.ndarray
    last: np.ndarray
    line: Any = None


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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearFit:
    """Continue the signal by a straight line fitted to the samples near its ends, with weights that fade as cos².

    Straight lines are kept up to the ends, and no single sample decides how it goes on.

    Attributes:
        length: Distance from the end at which the weights reach zero, in units of x; None for what the kernel
            recommends.
    """

    length: ArrayLike | None = None

    def in_samples(self, spacing: Any, recommended: Any) -> "LinearFit":
        """Return the edge with its length counted in samples, at least one and a half: a line needs two."""
        length = recommended if self.length is None else self.length / spacing
        return LinearFit(jnp.maximum(length, 1.5).astype(spacing.dtype))

    def fold(self, n: int, reach: int) -> Fold:
        """Return the rule for `n` samples and `reach` more on each side; the length is one in samples."""
        rule = ConstantEdge(0.0).fold(n, reach)
        if n == 1:
            return Nearest().fold(n, reach)
        near = jnp.arange(min(n, reach + 1), dtype=self.length.dtype)
        share = near / self.length
        weight = jnp.where(share < 1, jnp.cos(jnp.pi / 2 * share) ** 2, 0)
        mean = jnp.sum(weight * near) / jnp.sum(weight)
        slope = weight * (near - mean) / jnp.sum(weight * (near - mean) ** 2)
        before = jnp.arange(-reach, 0, dtype=near.dtype)
        return rule._replace(line=(weight / jnp.sum(weight))[None] + (before - mean)[:, None] * slope[None])


@jax.tree_util.register_static
@dataclass(frozen=True)
class Renormalized:
    """Use the samples there are, and divide by the weight they carry; takes irregular samples and weights."""


def extend(y: Float[Array, " n"], edge, reach: int) -> Float[Array, " m"]:
    """Return `y` with `reach` samples more on each side, by the rule of `edge`."""
    n = len(y)
    fold = edge.fold(n, reach)
    if fold.line is not None:
        few = fold.line.shape[1]
        return jnp.concatenate([fold.line @ y[:few], y, (fold.line @ y[::-1][:few])[::-1]])
    beyond = jnp.asarray(getattr(edge, "value", 0.0), y.dtype)

    def part(where):
        index, sign, first, last = (a[where] for a in fold[:4])
        copies = np.abs(sign) + np.abs(first) + np.abs(last)
        sign, first, last = (jnp.asarray(a, y.dtype) for a in (sign, first, last))
        # NumPy's indices are constants: only the ends are gathered, whatever the length of the signal.
        return sign * y[index] + first * y[0] + last * y[-1] + jnp.where(copies == 0, beyond, 0)

    return jnp.concatenate([part(slice(None, reach)), y, part(slice(n + reach, None))])


def _copies(index: np.ndarray) -> Fold:
    zeros = np.zeros(len(index))
    return Fold(index, np.ones(len(index)), zeros, zeros)
