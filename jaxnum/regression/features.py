"""Features: the columns that a linear fit combines, and the scale on which descent sees them.

    monomials   1, x, x², ...
    Legendre    P₀(u), P₁(u), ...    (k+1) P_{k+1} = (2k+1) u P_k − k P_{k−1}
    Chebyshev   T₀(u), T₁(u), ...    T_{k+1} = 2 u T_k − T_{k−1}

with u = (2x − a − b)/(b − a) running over [−1, 1] while x runs over its own range [a, b]. All span the same
polynomials; what differs is the condition number of the features, and with it the steps that descent needs.

References:
    Trefethen, Approximation Theory and Approximation Practice (2019), https://doi.org/10.1137/1.9781611975949
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_array, as_count, check_finite, refuse
from jaxnum._typing import is_traced


@dataclass(frozen=True)
class Monomials:
    """1, x, x², ...: easy to read, and ill conditioned as soon as x leaves [−1, 1]."""

    def interval(self, x: Array) -> tuple[Any, Any]:
        """Ends of the interval that is mapped to [−1, 1]: itself, so that u = x."""
        return -jnp.ones((), x.dtype), jnp.ones((), x.dtype)

    def terms(self, one: Array, times_u: Callable[[Array], Array], degree: int) -> list[Array]:
        """Members 0 to `degree`, from the member 1 and multiplication by u."""
        members = [one]
        for _ in range(degree):
            members.append(times_u(members[-1]))
        return members


@dataclass(frozen=True)
class Legendre:
    """Legendre polynomials over the range of x: nearly orthogonal on evenly spread samples."""

    def interval(self, x: Array) -> tuple[Any, Any]:
        """Ends of the interval that is mapped to [−1, 1]: the range of x."""
        return jnp.min(x), jnp.max(x)

    def terms(self, one: Array, times_u: Callable[[Array], Array], degree: int) -> list[Array]:
        """Members 0 to `degree`, from the member 1 and multiplication by u."""
        members = [one, times_u(one)]
        for k in range(1, degree):
            members.append(((2 * k + 1) * times_u(members[k]) - k * members[k - 1]) / (k + 1))
        return members[: degree + 1]


@dataclass(frozen=True)
class Chebyshev:
    """Chebyshev polynomials over the range of x: the choice where samples crowd towards the ends."""

    def interval(self, x: Array) -> tuple[Any, Any]:
        """Ends of the interval that is mapped to [−1, 1]: the range of x."""
        return jnp.min(x), jnp.max(x)

    def terms(self, one: Array, times_u: Callable[[Array], Array], degree: int) -> list[Array]:
        """Members 0 to `degree`, from the member 1 and multiplication by u."""
        members = [one, times_u(one)]
        for k in range(1, degree):
            members.append(2 * times_u(members[k]) - members[k - 1])
        return members[: degree + 1]


Basis = Monomials | Legendre | Chebyshev


def monomials(x: ArrayLike, degree: int) -> Float[Array, "n degree+1"]:
    """Return the columns 1, x, x², ... up to x to the `degree`.

    Args:
        x: Positions, (n,).
        degree: Highest power, 0 or more.

    Raises:
        ValueError: If `x` is not a finite real vector or `degree` is no integer of at least 0.

    Example:
        >>> from jaxnum.regression import monomials
        >>> print(monomials([1.0, 2.0, 3.0], 2))
        [[1. 1. 1.]
         [1. 2. 4.]
         [1. 3. 9.]]
    """
    return _features(Monomials(), x, degree, None)


def legendre(x: ArrayLike, degree: int, *, domain: tuple[float, float] | None = None) -> Float[Array, "n degree+1"]:
    """Return the Legendre polynomials P₀ to P_degree of x over a range.

    Args:
        x: Positions, (n,).
        degree: Highest degree, 0 or more.
        domain: Range of x that is mapped to [−1, 1]; None takes the smallest and largest x. Give the range of the
            data that was fitted when the features are for other positions.

    Raises:
        ValueError: If `x` is not a finite real vector, all x are equal and no `domain` is given, `degree` is no
            integer of at least 0, or the ends of `domain` are not finite and increasing.

    Example:
        >>> from jaxnum.regression import legendre
        >>> print(legendre([0.0, 5.0, 10.0], 2))
        [[ 1.  -1.   1. ]
         [ 1.   0.  -0.5]
         [ 1.   1.   1. ]]
    """
    return _features(Legendre(), x, degree, domain)


def chebyshev(x: ArrayLike, degree: int, *, domain: tuple[float, float] | None = None) -> Float[Array, "n degree+1"]:
    """Return the Chebyshev polynomials T₀ to T_degree of x over a range.

    Args:
        x: Positions, (n,).
        degree: Highest degree, 0 or more.
        domain: Range of x that is mapped to [−1, 1]; None takes the smallest and largest x.

    Raises:
        ValueError: As for `legendre`.

    Example:
        >>> from jaxnum.regression import chebyshev
        >>> print(chebyshev([0.0, 5.0, 10.0], 2))
        [[ 1. -1.  1.]
         [ 1.  0. -1.]
         [ 1.  1.  1.]]
    """
    return _features(Chebyshev(), x, degree, domain)


def check_basis(basis: Any) -> Basis:
    """Return a basis, or refuse what is none."""
    if not isinstance(basis, Basis):
        refuse("basis", "be Monomials(), Legendre() or Chebyshev()", f"is {basis!r}")
    return basis


def interval_of(basis: Basis, x: Array, domain: Any) -> tuple[Array, Array]:
    """Return the ends of the interval that `basis` maps to [−1, 1], checked."""
    if domain is None:
        low, high = basis.interval(x)
        if not is_traced((low, high)) and not low < high:
            refuse("x", "hold at least two different positions", f"all of them are {float(low):g}")
        return low, high
    try:
        low, high = domain
    except (TypeError, ValueError):
        refuse("domain", "be a pair of numbers (low, high)", f"is {domain!r}")
    check_finite("domain", low)
    check_finite("domain", high)
    if not is_traced((low, high)) and not low < high:
        refuse("domain", "increase", f"is ({float(low):g}, {float(high):g})")
    return jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype)


@partial(jax.jit, static_argnames=("basis", "degree"))
def evaluate_terms(basis: Basis, x: Array, interval: tuple[Array, Array], degree: int) -> Array:
    """Return the members of `basis` at x, of any shape, along a new last axis."""
    low, high = interval
    u = (2 * x - (low + high)) / (high - low)
    return jnp.stack(basis.terms(jnp.ones_like(x), lambda member: u * member, degree), axis=-1)


@partial(jax.jit, static_argnames=("basis", "degree"))
def power_matrix(basis: Basis, interval: tuple[Array, Array], degree: int) -> Array:
    """Return the matrix that turns coefficients in `basis` into those of 1, x, x², ...

    The same recurrence, with a polynomial held by its coefficients: u times it is slope·x + offset times it.
    """
    low, high = interval
    slope, offset = 2 / (high - low), -(low + high) / (high - low)
    one = jnp.zeros(degree + 1, slope.dtype).at[0].set(1)

    def times_u(member):
        return slope * jnp.roll(member, 1).at[0].set(0) + offset * member

    return jnp.stack(basis.terms(one, times_u, degree), axis=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scaling:
    """How features were standardized, and the way back.

    Attributes:
        mean: Mean of each column, zero for constant ones, (p,).
        scale: Standard deviation of each column, one for constant ones, (p,).
        constant: Value of each constant column, zero for those that vary, (p,).
    """

    mean: Float[Array, " p"]
    scale: Float[Array, " p"]
    constant: Float[Array, " p"]

    def transform(self, features: ArrayLike) -> Float[Array, "n p"]:
        """Return other features, those of new positions, on the same scale."""
        features = as_array("features", features, shape=(None, self.mean.shape[0]))
        return (features - self.mean[None, :]) / self.scale[None, :]

    def unscale(self, coefficients: ArrayLike) -> Float[Array, " q"]:
        """Return the coefficients of the raw features that predict what `coefficients` predict.

        Args:
            coefficients: Coefficients of the standardized features, (p,); where the raw features have no constant
                column, also (p + 1,) with the intercept first.

        Returns:
            Coefficients of the raw features. What centering took away goes to the constant column; where there is
            none, an intercept is put in front, and the answer has p + 1 entries.

        Raises:
            ValueError: If `coefficients` has another length.
        """
        p = self.mean.shape[0]
        coefficients = as_array("coefficients", coefficients, ndim=1)
        has_constant = self.constant != 0
        separate = not is_traced(has_constant) and not np.asarray(has_constant).any()
        if coefficients.shape[0] not in ((p, p + 1) if separate or is_traced(has_constant) else (p,)):
            wanted = f"({p},) or ({p + 1},)" if separate else f"({p},)"
            refuse("coefficients", f"have shape {wanted}", f"has shape {coefficients.shape}")
        given = coefficients.shape[0] == p + 1
        intercept, slopes = (coefficients[0], coefficients[1:]) if given else (0.0, coefficients)
        raw = slopes / self.scale
        intercept = intercept - jnp.sum(raw * self.mean)
        if separate or given:
            return jnp.concatenate([jnp.reshape(intercept, 1), raw])
        # Traced features without a constant column have nowhere to put the intercept: the division says NaN.
        column = jnp.argmax(jnp.abs(self.constant))
        return raw.at[column].add(intercept / self.constant[column])


def standardize(features: ArrayLike) -> tuple[Float[Array, "n p"], Scaling]:
    """Bring every column that varies to mean 0 and standard deviation 1 (over n, not n − 1); leave constant ones.

    Standardizing takes away differences of scale and nothing else: columns that look alike, such as x⁴ and x⁵ on
    [0, 10], still look alike, and descent is stable but slow. Only an orthogonal basis cures that too.

    Args:
        features: Columns, (n, p).

    Returns:
        The standardized columns, and the `Scaling` whose `unscale` turns their coefficients into those of the raw
        columns.

    Raises:
        ValueError: If `features` is not a finite real matrix.

    Example:
        >>> from jaxnum.regression import monomials, standardize
        >>> columns, scaling = standardize(monomials([0.0, 1.0, 2.0, 3.0], 1))
        >>> print(columns[:, 1].mean(), columns[:, 1].std(), scaling.mean)
        0.0 1.0 [0.  1.5]
    """
    features = as_array("features", features, ndim=2)
    return _standardize(features)


@jax.jit
def _standardize(features: Array) -> tuple[Array, Scaling]:
    largest = jnp.max(jnp.abs(features), axis=0)
    # A column of equal numbers computed in different ways differs by rounding; dividing by that would be noise.
    steady = jnp.max(features, axis=0) - jnp.min(features, axis=0) <= 8 * jnp.finfo(features.dtype).eps * largest
    mean = jnp.where(steady, jnp.zeros_like(largest), jnp.mean(features, axis=0))
    centered = features - mean[None, :]
    variance = jnp.mean(centered**2, axis=0)
    # The square root of a variance that is not used must not see zero either: its derivative would be infinite.
    scale = jnp.sqrt(jnp.where(steady, jnp.ones_like(variance), variance))
    constant = jnp.where(steady, jnp.mean(features, axis=0), jnp.zeros_like(largest))
    return centered / scale[None, :], Scaling(mean, scale, constant)


def _features(basis: Basis, x: Any, degree: int, domain: Any) -> Array:
    x, degree = as_array("x", x, ndim=1), as_count("degree", degree, at_least=0)
    return evaluate_terms(basis, x, interval_of(basis, x, domain), degree)
