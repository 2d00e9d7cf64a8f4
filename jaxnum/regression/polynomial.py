"""Polynomials fitted to data: in a well conditioned basis, told in powers of x.

    p(x) = Σ c_k P_k(u(x)) = Σ a_k x^k

The curve is computed from c, whatever the basis. The coefficients a are what people ask for; far from x = 0 they are
huge, cancel each other and carry few digits, however well the curve is known. Both are given, with an estimate of
what rounding leaves of a.

References:
    Björck, Numerical Methods for Least Squares Problems (1996), https://doi.org/10.1137/1.9781611971484
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum._status import Status
from jaxnum.regression.features import Basis, Legendre, check_basis, evaluate_terms, interval_of, power_matrix
from jaxnum.regression.fit import same_dtype, solve_least_squares
from jaxnum.regression.linear import uncertainty
from jaxnum.regression.student import check_level, two_sided_quantile

_LEGENDRE = Legendre()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Polynomial:
    """A fitted polynomial; call it at any positions.

    Attributes:
        coefficients: Coefficients of 1, x, x², ..., (degree + 1,).
        basis_coefficients: Coefficients in the basis it was fitted in; calling it uses these.
        interval: Ends of the range that the basis maps to [−1, 1].
        residual: Root mean square misfit, in units of y.
        condition: Condition number κ of the mean squared error in the basis.
        rounding: Estimated rounding error of `coefficients`, relative to their length. It can be large while calling
            the polynomial is still accurate: monomials far from zero cancel each other.
        status: `nonfinite`, or `ill_conditioned` when `rounding` leaves less than a quarter of the digits.
        basis: Basis it was fitted in.
        standard_errors: Standard error of each of `coefficients`, (degree + 1,).
        basis_covariance: Covariance of `basis_coefficients`, (degree + 1, degree + 1).
        noise: Estimated standard deviation of the noise, in units of y; NaN when no degree of freedom is left.
        freedom: Degrees of freedom left for it.
    """

    coefficients: Float[Array, " degree+1"]
    basis_coefficients: Float[Array, " degree+1"]
    interval: tuple[Array, Array]
    residual: Array
    condition: Array
    rounding: Array
    status: Status
    standard_errors: Float[Array, " degree+1"]
    basis_covariance: Float[Array, "degree+1 degree+1"]
    noise: Array
    freedom: Array
    basis: Basis = field(metadata={"static": True})

    def __call__(self, x: ArrayLike) -> Array:
        """Return the polynomial at x, of any shape."""
        x = as_array("x", x).astype(self.basis_coefficients.dtype)
        degree = self.basis_coefficients.shape[0] - 1
        return evaluate_terms(self.basis, x, self.interval, degree) @ self.basis_coefficients

    def standard_error(self, x: ArrayLike) -> Array:
        """Return the standard error of the curve at x, of any shape: how far off its mean may be."""
        x = as_array("x", x).astype(self.basis_coefficients.dtype)
        terms = evaluate_terms(self.basis, x, self.interval, self.basis_coefficients.shape[0] - 1)
        return jnp.sqrt(jnp.sum((terms @ self.basis_covariance) * terms, axis=-1))

    def band(self, x: ArrayLike, *, level: ArrayLike = 0.95, of_data: bool = True) -> tuple[Array, Array]:
        """Return a band that holds new data, or the true curve, with a given probability at each position.

        It speaks of noise alone: a curve of the wrong degree is off by more.

        Args:
            x: Positions, of any shape.
            level: Probability.
            of_data: True for new data, noise included; False for the curve alone.

        Returns:
            Lower and upper end, in the shape of x.

        Raises:
            ValueError: If `x` is not finite and real, or the level is no probability.
        """
        check_level(level)
        middle, error = self(x), self.standard_error(x)
        if of_data:
            error = jnp.sqrt(error**2 + self.noise**2)
        half = two_sided_quantile(jnp.asarray(level, error.dtype), self.freedom) * error
        return middle - half, middle + half

    @property
    def ok(self) -> bool:
        """Whether the coefficients can be trusted."""
        return self.status == Status.ok


def fit_polynomial(
    x: ArrayLike, y: ArrayLike, degree: int, *, basis: Basis = _LEGENDRE, ridge: ArrayLike = 0.0
) -> Polynomial:
    """Fit a polynomial to data by least squares in a well conditioned basis.

    Args:
        x: Positions, (n,), in any order.
        y: Data, (n,).
        degree: Degree, below the number of samples.
        basis: `Legendre()`, `Chebyshev()` or `Monomials()`.
        ridge: Weight of the squared coefficients in that basis, as in `least_squares`.

    Returns:
        Polynomial: `coefficients` of 1, x, x², ..., callable, with `residual`, `condition` and an honest `status`.

    Raises:
        ValueError: If shapes do not fit, something is not finite and real, all x are equal, or `degree` is not
            below the number of samples.

    Example:
        >>> import numpy as np
        >>> from jaxnum.regression import fit_polynomial
        >>> x = np.linspace(0.0, 10.0, 50)
        >>> fit = fit_polynomial(x, 1 - 2 * x + 3 * x**2 + x**3, 3)
        >>> np.round(fit.coefficients, 9).tolist(), round(float(fit(2.0)), 9)
        ([1.0, -2.0, 3.0, 1.0], 17.0)
    """
    basis, x = check_basis(basis), as_array("x", x, ndim=1)
    x, y = same_dtype(x, as_array("y", y, shape=x.shape))
    degree = as_count("degree", degree, at_least=0)
    if degree >= x.shape[0]:
        refuse("degree", f"be below the number of samples, {x.shape[0]}", f"is {degree}")
    check_positive("ridge", ridge, zero_ok=True)
    interval = interval_of(basis, x, None) if degree else (-jnp.ones((), x.dtype), jnp.ones((), x.dtype))
    return _fit_polynomial(basis, x, y, interval, degree, jnp.asarray(ridge, x.dtype))


@partial(jax.jit, static_argnames=("basis", "degree"))
def _fit_polynomial(basis: Basis, x: Array, y: Array, interval: Any, degree: int, ridge: Array) -> Polynomial:
    features = evaluate_terms(basis, x, interval, degree)
    inside = solve_least_squares(features, y, ridge)
    to_powers = power_matrix(basis, interval, degree)
    coefficients = to_powers @ inside
    misfit = features @ inside - y
    residual = jnp.sqrt(jnp.mean(misfit**2))
    rounding, condition = _rounding(*jax.lax.stop_gradient((features, inside, misfit, to_powers, coefficients, ridge)))
    finite = jnp.all(jnp.isfinite(coefficients)) & jnp.isfinite(residual)
    eps = jnp.finfo(x.dtype).eps
    status = Status.first((~finite, Status.nonfinite), (~(rounding <= eps**0.25), Status.ill_conditioned))
    covariance, noise, freedom, *_ = uncertainty(*jax.lax.stop_gradient((features, inside, misfit, ridge)), 0)
    errors = jnp.sqrt(jnp.sum((to_powers @ covariance) * to_powers, axis=1))
    numbers = residual, condition, rounding, status, errors, covariance, noise, freedom
    return Polynomial(coefficients, inside, interval, *numbers, basis)


def _rounding(features, inside, misfit, to_powers, coefficients, ridge) -> tuple[Array, Array]:
    """Estimate the relative rounding error of the monomial coefficients, and κ in the basis."""
    s = jnp.linalg.svd(features, compute_uv=False)
    low, high = s[-1] ** 2 + ridge, s[0] ** 2 + ridge
    kappa, size = high / low, jnp.linalg.norm(inside)
    # Björck (1996), 1.4: relative error of least squares ≤ eps √κ (1 + √κ ‖r‖/(‖X‖ ‖c‖)).
    amplified = jnp.sqrt(kappa) * size + kappa * jnp.linalg.norm(misfit) / jnp.sqrt(high)
    # On the way to monomials the errors add up without the cancellation that made the coefficients small.
    error = jnp.finfo(s.dtype).eps * jnp.linalg.norm(jnp.abs(to_powers) @ jnp.full_like(inside, 1.0)) * amplified
    total = jnp.linalg.norm(coefficients)
    return error / jnp.where(total > 0, total, jnp.ones_like(total)), kappa
