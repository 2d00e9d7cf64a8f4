"""Which degree? The one that predicts data it has not seen.

    CV(d) = mean over folds of the mean squared error on the fold, fitted to the others

More degree always fits better and, from some degree on, predicts worse. The curve of CV is flat and noisy near its
minimum, so the lowest degree within one standard error of the best is chosen, and the error bars are given.

Reference:
    Hastie, Tibshirani & Friedman, The Elements of Statistical Learning (2009), 7.10,
    https://doi.org/10.1007/978-0-387-84858-7
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum.regression.features import Basis, Legendre, check_basis, evaluate_terms, interval_of
from jaxnum.regression.fit import same_dtype, solve_least_squares

_LEGENDRE = Legendre()


@dataclass(frozen=True)
class DegreeChoice:
    """What cross-validation says about the degree.

    Attributes:
        degree: Lowest degree whose error is within one standard error of the lowest.
        best: Degree of the lowest error.
        degrees: Degrees tried, (degrees,).
        errors: Mean squared error on data not seen, (degrees,).
        standard_errors: Standard error of it over the folds, (degrees,).
        training_errors: Mean squared error on the data that was fitted, (degrees,).
        num_folds: Number of parts that the data was divided into.
    """

    degree: int
    best: int
    degrees: np.ndarray
    errors: np.ndarray
    standard_errors: np.ndarray
    training_errors: np.ndarray
    num_folds: int

    def __str__(self) -> str:
        lines = ["degree  error on unseen data   on seen data"]
        for d, e, s, t in zip(self.degrees, self.errors, self.standard_errors, self.training_errors, strict=True):
            mark = "  <- chosen" if d == self.degree else "  <- lowest" if d == self.best else ""
            lines.append(f"{d:>6}  {e:.4g} ± {s:.2g}".ljust(31) + f"{t:.4g}{mark}")
        return "\n".join(lines)


def choose_degree(
    x: ArrayLike,
    y: ArrayLike,
    max_degree: int,
    *,
    basis: Basis = _LEGENDRE,
    ridge: ArrayLike = 0.0,
    num_folds: int = 10,
    key: Array | None = None,
) -> DegreeChoice:
    """Choose the degree of a polynomial by cross-validation, with error bars.

    All degrees and folds are fitted in one compiled call.

    Args:
        x: Positions, (n,).
        y: Data, (n,).
        max_degree: Highest degree tried; the data that is left must exceed it when a fold is taken away.
        basis: `Legendre()`, `Chebyshev()` or `Monomials()`, over the range of all x.
        ridge: Weight of the squared coefficients in that basis.
        num_folds: Number of parts, at least 2. Sample i of x in increasing order belongs to part i mod `num_folds`.
        key: Random key that deals out the samples at random instead.

    Returns:
        DegreeChoice: `degree`, the errors with their standard errors, and `str` of it as a table.

    Raises:
        ValueError: If shapes do not fit, something is not finite and real, or a count makes no sense.

    Example:
        >>> import numpy as np
        >>> from jaxnum.regression import choose_degree
        >>> x = np.linspace(-1.0, 1.0, 60)
        >>> noise = 0.05 * np.random.default_rng(0).normal(size=60)
        >>> choose_degree(x, x**3 - x / 2 + noise, 8).degree
        3
    """
    basis, x = check_basis(basis), as_array("x", x, ndim=1)
    x, y = same_dtype(x, as_array("y", y, shape=x.shape))
    max_degree, num_folds = as_count("max_degree", max_degree), as_count("num_folds", num_folds, at_least=2)
    check_positive("ridge", ridge, zero_ok=True)
    n = x.shape[0]
    if num_folds > n:
        refuse("num_folds", f"not exceed the number of samples, {n}", f"is {num_folds}")
    if max_degree >= n - -(-n // num_folds):
        refuse("max_degree", "be below the number of samples outside of a fold", f"is {max_degree}")
    order = jnp.argsort(x) if key is None else jax.random.permutation(key, n)
    fold = jnp.zeros(n, jnp.int32).at[order].set(jnp.arange(n, dtype=jnp.int32) % num_folds)
    interval = interval_of(basis, x, None)
    unseen, seen = _validate(basis, x, y, interval, jnp.asarray(ridge, x.dtype), fold, max_degree, num_folds)
    unseen, seen = np.asarray(unseen), np.asarray(seen)
    errors, spread = unseen.mean(1), unseen.std(1, ddof=1) / np.sqrt(num_folds)
    best = int(np.argmin(errors))
    degree = int(np.argmax(errors <= errors[best] + spread[best]))
    degrees = np.arange(max_degree + 1)
    return DegreeChoice(degree, best, degrees, errors, spread, seen.mean(1), num_folds)


@partial(jax.jit, static_argnames=("basis", "max_degree", "num_folds"))
def _validate(basis, x, y, interval, ridge, fold, max_degree, num_folds):
    features = evaluate_terms(basis, x, interval, max_degree)

    def one(degree, part):
        # Rows of the fold and columns beyond the degree are set to zero: nothing depends on them, and every fit has
        # the same shape.
        columns = features * (jnp.arange(max_degree + 1) <= degree).astype(x.dtype)[None, :]
        inside = (fold != part).astype(x.dtype)
        c = solve_least_squares(columns * inside[:, None], y * inside, ridge)
        square = (columns @ c - y) ** 2
        outside = 1 - inside
        return jnp.sum(square * outside) / jnp.sum(outside), jnp.sum(square * inside) / jnp.sum(inside)

    degrees, parts = jnp.arange(max_degree + 1), jnp.arange(num_folds, dtype=fold.dtype)
    return jax.vmap(lambda d: jax.vmap(lambda p: one(d, p))(parts))(degrees)
