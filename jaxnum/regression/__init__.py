"""Polynomial features, conditioning, gradient descent and least squares."""

from jaxnum.regression.features import (
    Chebyshev,
    Legendre,
    Monomials,
    Scaling,
    chebyshev,
    legendre,
    monomials,
    standardize,
)
from jaxnum.regression.fit import (
    Curvature,
    curvature,
    descend,
    least_squares,
    mean_squared_error,
)
from jaxnum.regression.polynomial import Polynomial, fit_polynomial

__all__ = [
    "Chebyshev",
    "Curvature",
    "Legendre",
    "Monomials",
    "Polynomial",
    "Scaling",
    "chebyshev",
    "curvature",
    "descend",
    "fit_polynomial",
    "least_squares",
    "legendre",
    "mean_squared_error",
    "monomials",
    "standardize",
]
