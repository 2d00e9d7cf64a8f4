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

from jaxnum._checks import check_finite, check_positive, check_uniform, refuse
from jaxnum._typing import is_traced
from jaxnum.signals.convolution import correlate
from jaxnum.signals.edges import ConstantEdge, LinearFit, OddReflection, Renormalized, extend
from jaxnum.signals.local import (
    Fit,
    Plan,
    as_bandwidth,
    bandwidth_range,
    check_support,
    choose_window,
    is_alike,
    is_uniform,
    local_fit,
    map_rows,
    polynomial_row,
    stretch,
)


@partial(jax.tree_util.register_dataclass, data_fields=["bandwidth", "edge"], meta_fields=["window"])
@dataclass(frozen=True)
class GaussianKernel:
    """Convolution with a Gaussian; uniform samples, unless the edge is `Renormalized()`.

    Attributes:
        bandwidth: Standard deviation of the kernel, in units of x.
        edge: What stands beyond the ends: `OddReflection()`, `Reflect()`, `Nearest()`, `Wrap()`,
            `ConstantEdge(value)`, `LinearFit(length)`, or `Renormalized()`, which takes irregular samples and weights
            as well.
        window: Samples on each side that take part; None for all whose weight is above rounding.
    """

    bandwidth: ArrayLike
    edge: Any = field(default_factory=OddReflection)
    window: int | None = field(default=None, kw_only=True)

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["GaussianKernel", Plan]:
        """Check the settings against the samples; return them in the dtype of `x`, and the window to use."""
        bandwidth = as_bandwidth(self.bandwidth, x)
        if isinstance(self.edge, Renormalized):
            window = choose_window(self.bandwidth, self.window, x, uniform=False)
            check_support(self.bandwidth, window, x, weights, derivative)
            return replace(self, bandwidth=bandwidth, window=None), Plan(window, is_uniform(x) and is_alike(weights))
        edge = checked_edge(self.edge, x, weights)
        window = choose_window(self.bandwidth, self.window, x, uniform=True)
        if window < derivative:
            refuse("method.window", f"be at least the order of the derivative, {derivative}", f"is {window}")
        if derivative and not is_traced((self.bandwidth, x)):
            # A kernel between two samples has no slope: its neighbours weigh nothing.
            spacing = float(x[-1] - x[0]) / max(len(x) - 1, 1)
            if 6 * float(self.bandwidth) < derivative * spacing:
                refuse("method.bandwidth", f"be at least {derivative * spacing / 6:.3g}", f"is {float(bandwidth):g}")
        return replace(self, bandwidth=bandwidth, edge=edge, window=None), Plan(window, True)

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, plan: Plan) -> Fit:
        """Convolve; traced."""
        if isinstance(self.edge, Renormalized):
            return local_fit(y, x, weights, self.bandwidth, derivative, derivative, plan)
        spacing, edge = uniform_spacing(x), self.edge
        if isinstance(edge, LinearFit):
            edge = edge.in_samples(spacing, 3 * self.bandwidth / spacing)
        offset = spacing * jnp.arange(-plan.window, plan.window + 1, dtype=x.dtype)
        t, w = offset / offset[-1], jnp.exp(-0.5 * (offset / self.bandwidth) ** 2)
        fitted, fitted_variance, trace = convolve(y, edge, polynomial_row(t, w, 0, 0))
        value, variance = fitted, fitted_variance
        if derivative:
            row = polynomial_row(t, w, derivative, derivative) / offset[-1] ** derivative
            value, variance, _ = convolve(y, edge, row)
        one = weights[0]  # all alike
        return Fit(value, variance / one, fitted, fitted_variance / one, trace)

    def search(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[str, float, float]:
        """Return the parameter that sets the smoothness, and the range of it that makes sense for these samples."""
        return bandwidth_range(x, y, weights)


def checked_edge(edge: Any, x: Any, weights: Any) -> Any:
    """Return an edge whose numbers have the dtype of `x`, or refuse it, or samples that no convolution can take."""
    if isinstance(edge, type) or not callable(getattr(edge, "fold", None)):
        refuse("method.edge", "be an edge such as OddReflection() or Nearest()", f"is {edge!r}")
    if isinstance(edge, ConstantEdge):
        check_finite("method.edge.value", edge.value)
        edge = ConstantEdge(jnp.asarray(edge.value, x.dtype))
    if isinstance(edge, LinearFit) and edge.length is not None:
        check_positive("method.edge.length", edge.length)
        edge = LinearFit(jnp.asarray(edge.length, x.dtype))
    name = type(edge).__name__
    cure = "pass GaussianKernel(bandwidth, Renormalized()), or use LocalPolynomial or Whittaker"
    try:
        check_uniform("x", x)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.')}; {name} needs uniform samples: {cure}.") from None
    if not is_traced(weights) and np.ptp(np.asarray(weights)) > 0:
        refuse("weights", f"be equal for the edge {name}", f"they are not; {cure}")
    return edge


def uniform_spacing(x: Array) -> Array:
    """Return the distance between neighboring samples; one where there is a single sample."""
    return (x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else jnp.ones((), x.dtype)


def convolve(y: Array, edge: Any, kernel: Array) -> tuple[Array, Array, Array]:
    """Return the filtered signal, the sum of squares of every row of the filter, and its trace."""
    n, reach = len(y), len(kernel) // 2
    value = correlate(extend(y, edge, reach), kernel)
    # Rows differ near the ends only: the shortest signal that has both ends and one row between says it all.
    m = min(n, 4 * reach + 2)
    fold = edge.fold(m, reach)
    index = jnp.asarray(fold.index)
    sign, first, last = (jnp.asarray(a, y.dtype) for a in fold[1:4])
    few = 0 if fold.line is None else fold.line.shape[1]
    line = None if fold.line is None else jnp.zeros((m + 2 * reach, few), y.dtype).at[:reach].set(fold.line)

    @jax.checkpoint
    def row(i):
        near = partial(jax.lax.dynamic_slice_in_dim, start_index=i, slice_size=len(kernel))
        full = jnp.zeros(m, y.dtype).at[near(index)].add(kernel * near(sign))
        full = full.at[0].add(jnp.sum(kernel * near(first))).at[-1].add(jnp.sum(kernel * near(last)))
        if line is not None:
            full = full.at[:few].add(kernel @ near(line)).at[m - few :].add((kernel @ near(line[::-1]))[::-1])
        return jnp.sum(full**2), full[i]

    variance, diagonal = (stretch(a, n) for a in map_rows(row, np.arange(m), max(m, len(kernel) * max(few, 1))))
    return value, variance, jnp.sum(diagonal)
