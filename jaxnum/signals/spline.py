"""The natural cubic smoothing spline, in O(n).

    minimize  Σ_j w_j (y_j - f(x_j))² + λ ∫ f''(x)² dx    over all functions f

The minimizer is a cubic between neighboring samples and a straight line beyond them. Its unknowns here are value and
slope at every sample: on an interval of length h the integral is the sum of two squares,

    (s₁ - s₀)²/h + 3 (s₀ + s₁ - 2 (f₁ - f₀)/h)²/h

so that missing samples cost nothing, and slopes come with the curve. Continuous second derivatives need no equation:
they are what minimizes.

References:
    Reinsch (1967), https://doi.org/10.1007/BF02162161
    Hutchinson & de Hoog (1985), https://doi.org/10.1007/BF01389878
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import refuse
from jaxnum._typing import is_traced
from jaxnum.signals import penalized
from jaxnum.signals.local import Fit, is_alike, is_uniform
from jaxnum.signals.penalized import Plan


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=[])
@dataclass(frozen=True)
class SmoothingSpline:
    """Natural cubic smoothing spline; any samples; value, slope and second derivative.

    A missing sample is exactly a deleted one. The second derivative is zero at both ends by construction, whatever the
    signal does there.

    Attributes:
        strength: λ, in units of x cubed (and of one over the weights); on samples of spacing h the wavelength that
            keeps half of its height is 2π (λh)^{1/4}.
    """

    strength: ArrayLike

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["SmoothingSpline", Plan]:
        """Check the settings against the samples; return them in the dtype of `x`, and what is known beforehand."""
        strength = penalized.as_strength(self.strength, x)
        if derivative > 2:
            refuse("derivative", "be at most 2 for a cubic spline, whose third derivative jumps", f"is {derivative}")
        penalized.check_samples(weights, len(x), 2)
        refinements = penalized.check_precision(self.strength, weights, penalized.known_rows(self._rows, x))
        short = None
        if is_uniform(x) and is_alike(weights) and not is_traced(self.strength):
            spacing = float(x[-1] - x[0]) / (len(x) - 1)
            length = (float(self.strength) * spacing / float(np.asarray(weights)[0])) ** 0.25 / spacing
            short = 1 << int(np.ceil(np.log2(2 * (37 * max(length, 0.5) * np.sqrt(2) + 12))))
        return replace(self, strength=strength), Plan(short if short and short < len(x) else None, refinements)

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, plan: Plan) -> Fit:
        """Fit all samples; traced."""
        readout = self._readout(x, derivative) if derivative else None
        rows = self._rows(x) if plan.short is None else self._uniform_rows(x)
        return penalized.fit(y, weights, rows, self.strength, readout, plan)

    def restricted_likelihood(self, y: Array, x: Array, weights: Array) -> Array:
        """Return minus twice the logarithm of the marginal likelihood of the strength, up to a constant."""
        return penalized.restricted_likelihood(y, weights, self._rows(x), self.strength, 2)

    def search(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[str, float, float]:
        """Return the parameter that sets the smoothness, and the range of it that makes sense for these samples."""
        del y  # the strength has no unit of y
        w = float(np.median(weights[weights > 0]))
        spacing, top = float(x[-1] - x[0]) / (len(x) - 1), float(x[-1] - x[0]) / 3
        limit = penalized.precision_limit(
            np.asarray(penalized.known_rows(self._rows, x).entries, float), weights, x.dtype
        )
        return "strength", w * 0.2**4 * spacing**3, min(w * top**4 / spacing, limit)

    @staticmethod
    def _rows(x) -> penalized.Rows:
        # Slopes are held times the mean spacing: then all unknowns have one unit, and the matrix one scale.
        x = jnp.asarray(x)
        h = jnp.diff(x)
        unit = (x[-1] - x[0]) / (len(x) - 1)
        root, zero = jnp.sqrt(h), jnp.zeros_like(h)
        bend = jnp.stack([zero, -1 / (unit * root), zero, 1 / (unit * root)], axis=1)
        scale = float(np.sqrt(3.0)) / root
        twist = jnp.stack([2 * scale / h, scale / unit, -2 * scale / h, scale / unit], axis=1)
        return penalized.Rows(jnp.stack([bend, twist]), 2)

    def _uniform_rows(self, x) -> penalized.Rows:
        # Uniform positions may carry the rounding of a large offset; their mean spacing does not.
        spacing = (x[-1] - x[0]) / (len(x) - 1)
        return self._rows(spacing * jnp.arange(2, dtype=x.dtype))._replace(count=len(x) - 1)

    @staticmethod
    def _readout(x, derivative: int) -> penalized.Readout:
        n = len(x)
        unit = (x[-1] - x[0]) / (n - 1)
        if derivative == 1:
            return penalized.Readout(2 * jnp.arange(n) + 1, jnp.full((n, 1), 1 / unit, x.dtype))
        # The second derivative is continuous: of the two intervals that meet at a sample the one on the right says it,
        # unless the other is more than twice as long. Short intervals amplify rounding by 1/h².
        h = jnp.diff(x)
        left = jnp.stack([-6 / h**2, -4 / (h * unit), 6 / h**2, -2 / (h * unit)], axis=1)
        right = jnp.stack([6 / h**2, 2 / (h * unit), -6 / h**2, 4 / (h * unit)], axis=1)
        use_right = jnp.concatenate([jnp.ones(1, bool), 2 * h[1:] > h[:-1], jnp.zeros(1, bool)])
        interval = jnp.arange(n) - jnp.where(use_right, 0, 1)
        return penalized.Readout(2 * interval, jnp.where(use_right[:, None], left[interval], right[interval]))
