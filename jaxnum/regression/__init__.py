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
from jaxnum.regression.linear import LinearFit, fit_linear
from jaxnum.regression.polynomial import Polynomial, fit_polynomial
from jaxnum.regression.validate import DegreeChoice, choose_degree

__all__ = [
    "Chebyshev",
    "Curvature",
    "DegreeChoice",
    "Legendre",
    "LinearFit",
    "Monomials",
    "Polynomial",
    "Scaling",
    "chebyshev",
    "choose_degree",
    "curvature",
    "descend",
    "fit_linear",
    "fit_polynomial",
    "least_squares",
    "legendre",
    "mean_squared_error",
    "monomials",
    "standardize",
]
