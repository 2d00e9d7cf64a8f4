"""Smooth noisy samples, with an honest standard error.

Every method here is linear, value = S y, so that independent noise of variance σ²/w_j in the samples gives

    standard error_i = σ √(Σ_j S_ij²/w_j),    degrees of freedom = tr S

and σ, where it is not known, follows from the residuals: σ² = Σ w (y - S y)² / (n - 2 tr S + Σ_ij w_i S_ij²/w_j),
unbiased where the curve itself is (a bias makes σ too large, never too small). The error is that of the noise:
what a kernel wider than the signal's features rounds off is not in it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_array, as_count, check_increasing, check_positive, refuse
from jaxnum._typing import is_traced


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Smoothed:
    """A smoothed signal or its derivative, and how far to trust it.

    Attributes:
        value: Smoothed samples, or their derivative, (n,).
        standard_error: Standard deviation of `value` that the noise causes, (n,); bias is not in it.
        degrees_of_freedom: Trace of the smoother: how many parameters the curve has in effect.
        noise: Standard deviation of a sample of weight one, as given or as estimated from the residuals; NaN when
            nothing is left to estimate it from.
    """

    value: Float[Array, " n"]
    standard_error: Float[Array, " n"]
    degrees_of_freedom: Float[Array, ""]
    noise: Float[Array, ""]

    def __repr__(self) -> str:
        if is_traced((self.value, self.noise)) or np.ndim(self.noise):
            return f"Smoothed(value={self.value.dtype}{list(np.shape(self.value))})"
        return (
            f"Smoothed(value={self.value.dtype}[{len(self.value)}], degrees_of_freedom="
            f"{float(self.degrees_of_freedom):.4g}, noise={float(self.noise):.3g})"
        )


def smooth(
    y: ArrayLike,
    x: ArrayLike | None = None,
    *,
    method: Any,
    derivative: int = 0,
    weights: ArrayLike | None = None,
    noise: ArrayLike | None = None,
) -> Smoothed:
    """Smooth noisy samples, or give a derivative of the smooth curve.

    Differentiable in the samples and in the bandwidth. A traced `x` is trusted to increase (and to be uniform where
    the method needs that); a traced bandwidth takes all samples unless `method.window` is given.

    Args:
        y: Samples, (n,). A missing one may be NaN where its weight is zero.
        x: Positions, (n,), increasing; None for 0, 1, 2, ...
        method: `LocalPolynomial(bandwidth, degree)`, `GaussianKernel(bandwidth, edge)`, `SavitzkyGolay(window)`.
        derivative: Order of the derivative of the smooth curve; 0 for its value.
        weights: One over the variance of each sample, up to a common factor, (n,); zero for a missing sample.
        noise: Standard deviation of a sample of weight one; None estimates it from the residuals.

    Returns:
        Smoothed with value, standard error, degrees of freedom and noise.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum import signals
        >>> x = jnp.linspace(0.0, 1.0, 50)
        >>> result = signals.smooth(x**2, x, method=signals.LocalPolynomial(0.1))
        >>> bool(jnp.max(jnp.abs(result.value - x**2)) < 1e-12)
        True
    """
    y, x, method, weights, noise, derivative, window = checked(y, x, method, derivative, weights, noise)
    return _smooth(y, x, method, weights, noise, derivative=derivative, window=window)


def checked(y: Any, x: Any, method: Any, derivative: Any, weights: Any, noise: Any) -> tuple:
    """Return the arguments of `smooth` as arrays of one dtype, with the window the method asks for."""
    y = as_array("y", y, ndim=1, finite=False)
    x = jnp.arange(len(y), dtype=y.dtype) if x is None else as_array("x", x, shape=y.shape)
    check_increasing("x", x)
    dtype = jnp.promote_types(y.dtype, x.dtype)
    weights = jnp.ones(len(y), dtype) if weights is None else as_array("weights", weights, shape=y.shape).astype(dtype)
    if not is_traced(weights):
        if np.min(np.asarray(weights)) < 0:
            refuse("weights", "not be negative", f"holds {np.min(np.asarray(weights)):g}")
        if not np.any(np.asarray(weights) > 0):
            refuse("weights", "hold a positive number", "all are zero")
    if not is_traced((y, weights)):
        bad = ~np.isfinite(np.asarray(y)) & (np.asarray(weights) > 0)
        if bad.any():
            at = int(np.argmax(bad))
            refuse("y", "be finite", f"holds {y[at]} at index {at}; pass `weights` that are zero where y is missing")
    derivative = as_count("derivative", derivative, at_least=0)
    if noise is not None:
        check_positive("noise", noise, zero_ok=True)
        noise = jnp.asarray(noise, dtype)
    if isinstance(method, type) or not callable(getattr(method, "prepare", None)):
        refuse("method", "be a method such as LocalPolynomial(bandwidth)", f"is {method!r}")
    x = x.astype(dtype)
    method, window = method.prepare(x, weights, derivative)
    return y.astype(dtype), x, method, weights, noise, derivative, window


@partial(jax.jit, static_argnames=("derivative", "window"))
def _smooth(y, x, method, weights, noise, *, derivative, window) -> Smoothed:
    fit, residual, freedom = measure(y, x, method, weights, derivative, window)
    if noise is None:
        # A smoother that returns its samples leaves nothing to estimate the noise from; rounding is not noise.
        left = freedom > 10 * len(y) * jnp.finfo(y.dtype).eps
        variance = jnp.where(left, residual / jnp.where(left, freedom, 1), jnp.nan)
        # The root has no slope at zero: noise-free samples would give NaN gradients.
        noise = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), variance)
    return Smoothed(fit.value, noise * jnp.sqrt(fit.variance), fit.trace, noise)


def measure(y, x, method, weights, derivative: int, window: int) -> tuple:
    """Return the fit, its weighted sum of squared residuals, and what that sum is for unit noise without bias."""
    y = jnp.where(weights > 0, y, 0)  # a missing sample may be NaN, and NaN times zero is NaN
    fit = method.fit(y, x, weights, derivative, window)
    residual = jnp.sum(weights * (y - fit.fitted) ** 2)
    count = jnp.sum(weights > 0).astype(y.dtype)
    return fit, residual, count - 2 * fit.trace + jnp.sum(weights * fit.fitted_variance)
