"""Smooth noisy samples, with an honest standard error.

Every method but total variation is linear, value = S y, so that independent noise of variance σ²/w_j gives

    standard error_i = σ √(Σ_j S_ij²/w_j),    degrees of freedom = tr S

and σ, where it is not known, follows from the residuals: σ² = Σ w (y - S y)² / (n - 2 tr S + Σ_ij w_i S_ij²/w_j),
unbiased where the curve itself is (a bias makes σ too large, never too small). The error is that of the noise:
what a kernel wider than the signal's features rounds off is not in it. For total variation S is the derivative of
the curve in the samples.
"""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_array, as_count, check_increasing, check_positive, refuse
from jaxnum._precision import PrecisionWarning
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.numerics.march import in_turn


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Smoothed:
    """A smoothed signal or its derivative, and how far to trust it.

    Attributes:
        value: Smoothed samples, or their derivative, (n,).
        standard_error: Standard deviation of `value` that the noise causes, (n,); bias is not in it.
        degrees_of_freedom: Trace of the smoother: how many parameters the curve has in effect.
        noise: Standard deviation of a sample of weight one, as given or as estimated from the misfit; NaN when
            nothing is left to estimate it from.
        misfit: Samples less the curve, (n,); zero where a sample is missing.
        residual: How badly the equation behind the curve is missed, relative to its right side; zero for kernels,
            which solve none.
        status: How that ended: `ok`, `nonfinite`, or `not_converged` when the residual is above half the digits.
    """

    value: Float[Array, " n"]
    standard_error: Float[Array, " n"]
    degrees_of_freedom: Float[Array, ""]
    noise: Float[Array, ""]
    misfit: Float[Array, " n"]
    residual: Float[Array, ""]
    status: Status

    @property
    def ok(self) -> bool:
        """Whether the curve, or every curve of a batch, meets its own equation."""
        return self.status == Status.ok

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

    Differentiable in the samples and in the bandwidth or strength. A traced `x` is trusted to increase (and to be
    uniform where the method needs that); a traced bandwidth takes all samples unless `method.window` is given.

    Args:
        y: Samples, (n,). A missing one may be NaN where its weight is zero.
        x: Positions, (n,), increasing; None for 0, 1, 2, ...
        method: `LocalPolynomial(bandwidth, degree)`, `Whittaker(strength, order)`, `SmoothingSpline(strength)` or
            `TotalVariation(strength, order)` for any samples; `GaussianKernel(bandwidth, edge)` or
            `ModifiedSinc(bandwidth, degree)` for uniform ones; `SavitzkyGolay(window)`.
        derivative: Order of the derivative of the smooth curve; 0 for its value.
        weights: One over the variance of each sample, up to a common factor, (n,); zero for a missing sample.
        noise: Standard deviation of a sample of weight one; None estimates it from the residuals.

    Returns:
        Smoothed with value, standard error, degrees of freedom, noise, misfit, residual and status.

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
    y, x, method, weights, noise, derivative, plan = checked(y, x, method, derivative, weights, noise)
    result, gain = _smooth(y, x, method, weights, noise, derivative=derivative, plan=plan)
    if derivative and y.dtype == np.float32 and not is_traced((result, gain)):
        _warn_of_rounding(y, result, gain)
    return result


def checked(y: Any, x: Any, method: Any, derivative: Any, weights: Any, noise: Any) -> tuple:
    """Return the arguments of `smooth` as arrays of one dtype, with what the method knows beforehand."""
    y = as_array("y", y, ndim=1, finite=False)
    # What is known stays NumPy's, so that it is known inside `jit` as well.
    x = np.arange(len(y), dtype=y.dtype) if x is None else known("x", x, y.shape)
    check_increasing("x", x)
    dtype = jnp.promote_types(y.dtype, x.dtype)
    weights = np.ones(len(y), dtype) if weights is None else known("weights", weights, y.shape)
    weights = weights.astype(dtype)
    if not is_traced(weights):
        if np.min(weights) < 0:
            refuse("weights", "not be negative", f"holds {np.min(weights):g}")
        if not np.any(weights > 0):
            refuse("weights", "hold a positive number", "all are zero")
    if not is_traced((y, weights)):
        bad = ~np.isfinite(np.asarray(y)) & (weights > 0)
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
    method, plan = method.prepare(x, weights, derivative)
    return y.astype(dtype), x, method, weights, noise, derivative, plan


@partial(jax.jit, static_argnames=("derivative", "plan"))
def _smooth(y, x, method, weights, noise, *, derivative, plan) -> tuple[Smoothed, Array]:
    fit, squares, freedom = _measure_in_turn(y, x, method, weights, derivative, plan)
    if noise is None:
        # A smoother that returns its samples leaves nothing to estimate the noise from; rounding is not noise.
        left = freedom > 10 * len(y) * jnp.finfo(y.dtype).eps
        variance = jnp.where(left, squares / jnp.where(left, freedom, 1), jnp.nan)
        # The root has no slope at zero: noise-free samples would give NaN gradients.
        noise = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), variance)
    # Where the curve is fixed (a natural spline's second derivative at its ends) rounding may leave less than zero.
    fixed = fit.variance <= 0
    gain = jnp.where(fixed, 0, jnp.sqrt(jnp.where(fixed, 1, fit.variance)))
    residual = jnp.asarray(fit.residual, y.dtype)
    finite = jnp.all(jnp.isfinite(fit.value)) & jnp.all(jnp.isfinite(gain))
    converged = residual <= float(jnp.finfo(y.dtype).eps) ** 0.5
    status = Status.first((~finite, Status.nonfinite), (~converged, Status.not_converged))
    misfit = jnp.where(weights > 0, jnp.where(weights > 0, y, 0) - fit.fitted, 0)
    return Smoothed(fit.value, noise * gain, fit.trace, noise, misfit, residual, status), jnp.max(gain)


def measure(y, x, method, weights, derivative: int, plan: Any) -> tuple:
    """Return the fit, its weighted sum of squared residuals, and what that sum is for unit noise without bias."""
    y = jnp.where(weights > 0, y, 0)  # a missing sample may be NaN, and NaN times zero is NaN
    fit = method.fit(y, x, weights, derivative, plan)
    squares = jnp.sum(weights * (y - fit.fitted) ** 2)
    count = jnp.sum(weights > 0).astype(y.dtype)
    return fit, squares, count - 2 * fit.trace + jnp.sum(weights * fit.fitted_variance)


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _measure_in_turn(y, x, method, weights, derivative: int, plan: Any) -> tuple:
    """Return what `measure` does; of a batch, one signal after the other on a CPU, unless there is a derivative."""
    return in_turn(partial(measure, derivative=derivative, plan=plan), y, x, method, weights)


@_measure_in_turn.defjvp
def _measure_jvp(derivative, plan, primals, tangents):
    return jax.jvp(partial(measure, derivative=derivative, plan=plan), primals, tangents)


def known(name: str, array: Any, shape: tuple[int, ...]) -> Any:
    """Return an array that was checked, as NumPy's where its values are known."""
    approved = as_array(name, array, shape=shape)
    return approved if is_traced(array) else np.asarray(array, approved.dtype)


def _warn_of_rounding(y, result: Smoothed, gain: Any) -> None:
    """Say when the rounding of the samples alone makes a derivative worthless: it counts as noise, times the gain."""
    y = np.nan_to_num(np.asarray(y))
    rounding = float(np.finfo(y.dtype).eps) / np.sqrt(12) * np.max(np.abs(y)) * float(gain)
    size = float(np.max(np.abs(result.value)))
    if rounding > 0.01 * size > 0:
        warnings.warn(
            f"Argument `y` is {y.dtype}, whose rounding alone makes this derivative uncertain by {rounding:.2g}, "
            f"while it is at most {size:.2g}; subtract a constant, or call jaxnum.enable_x64() before creating arrays.",
            PrecisionWarning,
            stacklevel=3,
        )
