"""Whittaker's smoother: a penalty on differences, for any samples, with gaps, in O(n).

    minimize  Σ_j w_j (y_j - z_j)² + λ Σ_i ((z_{i+m} - ... )/h^m)²,    the bracket: the m-th derivative by differences

On uniform samples a wave of wavenumber k keeps 1/(1 + λ (2 sin(kh/2)/h)^{2m}) of its height: half of it where
k = λ^{-1/2m}. Differences are divided differences, and each counts as much as the length it spans, so that the
strength means the same on irregular samples. Polynomials of degree below m are kept, up to the ends.

References:
    Whittaker (1922), https://doi.org/10.1017/S0013091500077853
    Eilers (2003), https://doi.org/10.1021/ac034173t
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, refuse
from jaxnum._typing import is_traced
from jaxnum.signals import penalized
from jaxnum.signals.local import Fit, is_alike, is_uniform
from jaxnum.signals.penalized import Plan


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["order"])
@dataclass(frozen=True)
class Whittaker:
    """Least squares with a penalty on the m-th derivative, by differences; any samples; the fastest for long signals.

    Where samples are missing (weight zero) the curve goes on as a polynomial of degree 2m - 1. Derivatives are those
    of the polynomial through the nearest points of the curve, up to order 2m - 2; noise in them stays as small at the
    ends as the curve is stiff.

    Attributes:
        strength: λ, in units of x to the power 2m (and of one over the weights): the wavelength that keeps half of
            its height is 2π λ^{1/2m}.
        order: m, order of the derivative that is penalized.
    """

    strength: ArrayLike
    order: int = 2

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["Whittaker", Plan]:
        """Check the settings against the samples; return them in the dtype of `x`, and what is known beforehand."""
        order = as_count("method.order", self.order)
        strength = penalized.as_strength(self.strength, x)
        most = max(2 * order - 2, 0)
        if derivative > most:
            refuse("derivative", f"be at most {most} for a penalty of order {order}", f"is {derivative}")
        penalized.check_samples(weights, len(x), max(order, derivative) + 1)
        refinements = penalized.check_precision(self.strength, weights, penalized.known_rows(self._rows, x))
        short = None
        if is_uniform(x) and is_alike(weights) and not is_traced(self.strength):
            # An end is felt as exp(-s sin(π/2m)) at s lengths λ^{1/2m}: rounding after 37 of them. Powers of two, so
            # that few strengths compile anew.
            w = float(np.asarray(weights)[0])
            length = (float(self.strength) / w) ** (0.5 / order) / (float(x[-1] - x[0]) / max(len(x) - 1, 1))
            samples = 2 * (37 * max(length, 0.3) / np.sin(np.pi / (2 * order)) + 4 * order + 4)
            short = 1 << int(np.ceil(np.log2(samples)))
        return replace(self, strength=strength), Plan(short if short and short < len(x) else None, refinements)

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, plan: Plan) -> Fit:
        """Fit all samples; traced."""
        readout = penalized.stencil(x, derivative) if derivative else None
        rows = self._rows(x) if plan.short is None else self._uniform_rows(x)
        return penalized.fit(y, weights, rows, self.strength, readout, plan)

    def restricted_likelihood(self, y: Array, x: Array, weights: Array) -> Array:
        """Return minus twice the logarithm of the marginal likelihood of the strength, up to a constant."""
        return penalized.restricted_likelihood(y, weights, self._rows(x), self.strength, self.order)

    def search(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[str, float, float]:
        """Return the parameter that sets the smoothness, and the range of it that makes sense for these samples."""
        del y  # the strength has no unit of y
        w = float(np.median(weights[weights > 0]))
        spacing = float(x[-1] - x[0]) / (len(x) - 1)
        top = float(x[-1] - x[0]) / 3
        rows = np.asarray(penalized.known_rows(self._rows, x).entries, float)
        limit = penalized.precision_limit(rows, weights, x.dtype)
        return "strength", w * (0.2 * spacing) ** (2 * self.order), min(w * top ** (2 * self.order), limit)

    def _rows(self, x) -> penalized.Rows:
        x = jnp.asarray(x)
        m = self.order
        rows = penalized.divided_differences(x, m)
        mean = (x[-1] - x[0]) / (len(x) - 1)
        length = (x[m:] - x[:-m]) / (m * mean)
        return penalized.Rows((rows * jnp.sqrt(length)[:, None])[None], 1)

    def _uniform_rows(self, x) -> penalized.Rows:
        # Uniform positions may carry the rounding of a large offset; their mean spacing does not.
        spacing = (x[-1] - x[0]) / (len(x) - 1)
        few = spacing * jnp.arange(self.order + 1, dtype=x.dtype)
        return self._rows(few)._replace(count=len(x) - self.order)
