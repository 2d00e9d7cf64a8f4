"""Linear fits with everything one should know about them: errors, a band, and whether the digits are real.

    y = b + Xc + noise,    minimize ‖y − b − Xc‖² + ρ‖c‖²
    c = (ZᵀZ + ρ)⁻¹ Zᵀ(y − ȳ),    Z = X − X̄            cov c = σ² (ZᵀZ + ρ)⁻¹ ZᵀZ (ZᵀZ + ρ)⁻¹

By singular values of the centered columns, which without a ridge are first brought to one length: that changes nothing
in exact arithmetic and a lot in ours. The noise σ² is estimated from the misfit and the degrees of freedom left.

References:
    Björck, Numerical Methods for Least Squares Problems (1996), https://doi.org/10.1137/1.9781611971484
    Hastie, Tibshirani & Friedman, The Elements of Statistical Learning (2009), https://doi.org/10.1007/978-0-387-84858-7
"""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_array, check_positive, refuse
from jaxnum._status import Status
from jaxnum.regression.fit import same_dtype, solve_least_squares
from jaxnum.regression.student import check_level, two_sided_quantile


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearFit:
    """A fitted linear model; call it with the features of any positions.

    Attributes:
        coefficients: One for each column, (p,).
        intercept: Constant term; zero when none was fitted.
        standard_errors: Standard error of each coefficient, (p,).
        covariance: Covariance of the coefficients, (p, p).
        noise: Estimated standard deviation of the noise, in units of y; NaN when no degree of freedom is left.
        freedom: Degrees of freedom left for it.
        residual: Root mean square misfit, in units of y.
        condition: Condition number κ of the mean squared error, for columns centered and brought to one length (the
            former only with an intercept, the latter only without a ridge), ridge included.
        rounding: Estimated relative rounding error of the coefficients.
        status: `nonfinite`; `ill_conditioned` when `rounding` leaves less than a quarter of the digits.
        mean: Means that were taken from the columns, (p,).
        samples: Number of samples.
    """

    coefficients: Float[Array, " p"]
    intercept: Array
    standard_errors: Float[Array, " p"]
    covariance: Float[Array, "p p"]
    noise: Array
    freedom: Array
    residual: Array
    condition: Array
    rounding: Array
    status: Status
    mean: Float[Array, " p"]
    samples: int = field(metadata={"static": True})
    has_intercept: bool = field(metadata={"static": True})

    @property
    def ok(self) -> bool:
        """Whether the coefficients can be trusted."""
        return self.status == Status.ok

    def __call__(self, features: ArrayLike) -> Array:
        """Return the predictions for features of shape (n, p)."""
        features = as_array("features", features, shape=(None, self.mean.shape[0]))
        return self.intercept + features.astype(self.mean.dtype) @ self.coefficients

    def band(self, features: ArrayLike, *, level: ArrayLike = 0.95, of_data: bool = True) -> tuple[Array, Array]:
        """Return a band that holds new data, or the true mean, with a given probability at each position.

        Args:
            features: Features of the positions, (n, p).
            level: Probability.
            of_data: True for new data, noise included; False for the mean alone.

        Returns:
            Lower and upper end, (n,).

        Raises:
            ValueError: If the features have another width, or the level is no probability.
        """
        check_level(level)
        features = as_array("features", features, shape=(None, self.mean.shape[0])).astype(self.mean.dtype)
        shifted = features - self.mean[None, :]
        variance = jnp.sum((shifted @ self.covariance) * shifted, axis=1)
        if self.has_intercept:
            variance = variance + self.noise**2 / self.samples
        if of_data:
            variance = variance + self.noise**2
        level = jnp.asarray(level, self.mean.dtype)
        half = two_sided_quantile(level, self.freedom) * jnp.sqrt(variance)
        middle = self.intercept + features @ self.coefficients
        return middle - half, middle + half


def fit_linear(features: ArrayLike, y: ArrayLike, *, ridge: ArrayLike = 0.0, intercept: bool = True) -> LinearFit:
    """Fit a linear model by least squares, with or without a ridge and an intercept.

    The same as scikit-learn's `LinearRegression` and `Ridge(alpha=ridge)`: the intercept is free, the ridge holds the
    other coefficients against the SUM of squared misfits. What is added: standard errors, a prediction band, and a
    status that says `ill_conditioned`, with the condition number, where the digits of the coefficients are not real.

    Args:
        features: Columns, (n, p), without a constant one when an intercept is fitted.
        y: Data, (n,).
        ridge: Weight of the squared coefficients.
        intercept: Whether a constant is fitted too.

    Returns:
        LinearFit.

    Raises:
        ValueError: If shapes do not fit, something is not finite and real, or `ridge` is negative.

    Example:
        >>> import numpy as np
        >>> from jaxnum.regression import fit_linear
        >>> x = np.linspace(0.0, 1.0, 20)
        >>> fit = fit_linear(np.stack([x, x**2], axis=1), 1 + 2 * x - x**2)
        >>> np.round(fit.coefficients, 9).tolist(), round(float(fit.intercept), 9), fit.ok
        ([2.0, -1.0], 1.0, True)
    """
    features = as_array("features", features, ndim=2)
    features, y = same_dtype(features, as_array("y", y, shape=(features.shape[0],)))
    check_positive("ridge", ridge, zero_ok=True)
    if not isinstance(intercept, bool):
        refuse("intercept", "be True or False", f"is {intercept!r:.40}")
    return _fit_linear(features, y, jnp.asarray(ridge, features.dtype), intercept)


@partial(jax.jit, static_argnames="intercept")
def _fit_linear(features: Array, y: Array, ridge: Array, intercept: bool) -> LinearFit:
    n = features.shape[0]
    zeros = jnp.zeros_like(features[0])
    mean, level = (jnp.mean(features, axis=0), jnp.mean(y)) if intercept else (zeros, jnp.zeros_like(y[0]))
    columns, target = features - mean[None, :], y - level
    square = jnp.sum(columns**2, axis=0)
    plain = (square == 0) | (ridge > 0)
    length = jnp.where(plain, jnp.ones_like(square), jnp.sqrt(jnp.where(plain, jnp.ones_like(square), square)))
    scaled = columns / length[None, :]
    inside = solve_least_squares(scaled, target, ridge)
    coefficients = inside / length
    misfit = columns @ coefficients - target
    numbers = uncertainty(*jax.lax.stop_gradient((scaled, inside, misfit, ridge)), int(intercept))
    covariance, noise, freedom, kappa, rounding = numbers
    covariance = covariance / (length[:, None] * length[None, :])
    finite = jnp.all(jnp.isfinite(coefficients))
    eps = jnp.finfo(features.dtype).eps
    status = Status.first((~finite, Status.nonfinite), (~(rounding <= eps**0.25), Status.ill_conditioned))
    return LinearFit(
        coefficients,
        level - mean @ coefficients,
        jnp.sqrt(jnp.diagonal(covariance)),
        covariance,
        noise,
        freedom,
        jnp.sqrt(jnp.mean(misfit**2)),
        kappa,
        rounding,
        status,
        mean,
        n,
        intercept,
    )


def uncertainty(
    features: Array, coefficients: Array, misfit: Array, ridge: Array, extra: int
) -> tuple[Array, Array, Array, Array, Array]:
    """Return covariance of the coefficients, noise, degrees of freedom, condition and relative rounding error.

    Args:
        features: Columns that were solved with, (n, p).
        coefficients: Solution, (p,).
        misfit: Xc − y, (n,).
        ridge: Weight of the squared coefficients.
        extra: Parameters fitted besides, such as an intercept.
    """
    n, p = features.shape
    eps = jnp.finfo(features.dtype).eps
    _, s, vt = jnp.linalg.svd(features, full_matrices=False)
    low, high = (s[-1] if n >= p else jnp.zeros_like(s[0])) ** 2 + ridge, s[0] ** 2 + ridge
    kappa = high / low
    seen = (s > eps * max(n, p) * s[0]) | (ridge > 0)
    weight = jnp.where(seen, s / jnp.where(seen, s**2 + ridge, jnp.ones_like(s)), jnp.zeros_like(s))
    freedom = n - extra - jnp.sum(s * weight)
    some = freedom > 0.5
    total = jnp.sum(misfit**2) / jnp.where(some, freedom, jnp.ones_like(freedom))
    noise = jnp.where(some, jnp.sqrt(total), jnp.full_like(total, jnp.nan))
    half = vt.T * weight[None, :]
    # Björck (1996), 1.4: relative error of least squares ≤ eps √κ (1 + √κ ‖r‖/(‖X‖ ‖c‖)).
    size = jnp.linalg.norm(coefficients)
    size = jnp.where(size > 0, size, jnp.ones_like(size))
    rounding = eps * (jnp.sqrt(kappa) + kappa * jnp.linalg.norm(misfit) / (jnp.sqrt(high) * size))
    return noise**2 * (half @ half.T), noise, freedom, kappa, rounding
