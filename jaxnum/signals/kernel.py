"""Gaussian convolution of uniform samples.

    value_i = Σ_m k_m e_{i+m},    k_m ∝ exp(-(m h)²/2b²),  Σ k_m = 1

with e the signal continued beyond its ends (`edges`). The bias away from the ends is b² y''/2. The d-th derivative
uses the kernel that is exact for polynomials of degree d: in the limit of small h, the d-th derivative of the
Gaussian.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import check_finite, check_uniform, refuse
from jaxnum._typing import is_traced
from jaxnum.signals.edges import ConstantEdge, OddReflection, Renormalized, extend
from jaxnum.signals.local import Fit, as_bandwidth, check_support, choose_window, local_fit, map_rows, polynomial_row


@partial(jax.tree_util.register_dataclass, data_fields=["bandwidth", "edge"], meta_fields=["window"])
@dataclass(frozen=True)
class GaussianKernel:
    """Convolution with a Gaussian; uniform samples, unless the edge is `Renormalized()`.

    Attributes:
        bandwidth: Standard deviation of the kernel, in units of x.
        edge: What stands beyond the ends: `OddReflection()`, `Reflect()`, `Nearest()`, `Wrap()`,
            `ConstantEdge(value)`, or `Renormalized()`, which takes irregular samples and weights as well.
        window: Samples on each side that take part; None for all whose weight is above rounding.
    """

    bandwidth: ArrayLike
    edge: Any = field(default_factory=OddReflection)
    window: int | None = field(default=None, kw_only=True)

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["GaussianKernel", int]:
        """Check the settings against the samples; return them in the dtype of `x`, and the window to use."""
        bandwidth = as_bandwidth(self.bandwidth, x)
        if isinstance(self.edge, Renormalized):
            window = choose_window(self.bandwidth, self.window, x, uniform=False)
            check_support(self.bandwidth, window, x, weights, derivative)
            return replace(self, bandwidth=bandwidth, window=None), window
        if isinstance(self.edge, type) or not callable(getattr(self.edge, "fold", None)):
            refuse("method.edge", "be an edge such as OddReflection() or Nearest()", f"is {self.edge!r}")
        edge = self.edge
        if isinstance(edge, ConstantEdge):
            check_finite("method.edge.value", edge.value)
            edge = ConstantEdge(jnp.asarray(edge.value, x.dtype))
        name = type(edge).__name__
        cure = "pass edge=Renormalized() or use LocalPolynomial"
        try:
            check_uniform("x", x)
        except ValueError as error:
            raise ValueError(f"{str(error).removesuffix('.')}; {name} needs uniform samples: {cure}.") from None
        if not is_traced(weights) and np.ptp(np.asarray(weights)) > 0:
            refuse("weights", f"be equal for the edge {name}", f"they are not; {cure}")
        window = choose_window(self.bandwidth, self.window, x, uniform=True)
        if window < derivative:
            refuse("method.window", f"be at least the order of the derivative, {derivative}", f"is {window}")
        if derivative and not is_traced((self.bandwidth, x)):
            # A kernel between two samples has no slope: its neighbours weigh nothing.
            spacing = float(x[-1] - x[0]) / max(len(x) - 1, 1)
            if 6 * float(self.bandwidth) < derivative * spacing:
                refuse("method.bandwidth", f"be at least {derivative * spacing / 6:.3g}", f"is {float(bandwidth):g}")
        return replace(self, bandwidth=bandwidth, edge=edge, window=None), window

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, window: int) -> Fit:
        """Convolve; traced."""
        if isinstance(self.edge, Renormalized):
            return local_fit(y, x, weights, self.bandwidth, derivative, derivative, window)
        spacing = (x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else jnp.ones((), x.dtype)
        offset = spacing * jnp.arange(-window, window + 1, dtype=x.dtype)
        t, w = offset / offset[-1], jnp.exp(-0.5 * (offset / self.bandwidth) ** 2)
        fitted, fitted_variance, trace = self._convolve(y, polynomial_row(t, w, 0, 0))
        value, variance = fitted, fitted_variance
        if derivative:
            row = polynomial_row(t, w, derivative, derivative) / offset[-1] ** derivative
            value, variance, _ = self._convolve(y, row)
        one = weights[0]  # all alike
        return Fit(value, variance / one, fitted, fitted_variance / one, trace)

    def _convolve(self, y: Array, kernel: Array) -> tuple[Array, Array, Array]:
        """Return the filtered signal, the sum of squares of every row of the filter, and its trace."""
        n, reach = len(y), len(kernel) // 2
        value = jnp.convolve(extend(y, self.edge, reach), kernel[::-1], mode="valid", precision="highest")
        # Rows differ near the ends only: the shortest signal that has both ends and one row between says it all.
        m = min(n, 4 * reach + 2)
        fold = self.edge.fold(m, reach)
        index = jnp.asarray(fold.index)
        sign, first, last = (jnp.asarray(a, y.dtype) for a in fold[1:])

        @jax.checkpoint
        def row(i):
            near = partial(jax.lax.dynamic_slice_in_dim, start_index=i, slice_size=len(kernel))
            full = jnp.zeros(m, y.dtype).at[near(index)].add(kernel * near(sign))
            full = full.at[0].add(jnp.sum(kernel * near(first))).at[-1].add(jnp.sum(kernel * near(last)))
            return jnp.sum(full**2), full[i]

        variance, diagonal = (self._stretch(a, n) for a in map_rows(row, m, max(m, len(kernel))))
        return value, variance, jnp.sum(diagonal)

    @staticmethod
    def _stretch(short: Array, n: int) -> Array:
        half = len(short) // 2
        return jnp.concatenate([short[:half], jnp.full(n - len(short), short[half], short.dtype), short[half:]])
