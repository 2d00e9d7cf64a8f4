"""Smoothing and differentiating noisy samples, with edges, standard errors and derivatives that are right."""

from jaxnum.signals.bandwidth import CrossValidation, MarginalLikelihood, choose_bandwidth
from jaxnum.signals.differentiate import differentiate
from jaxnum.signals.edges import ConstantEdge, LinearFit, Nearest, OddReflection, Reflect, Renormalized, Wrap
from jaxnum.signals.kernel import GaussianKernel
from jaxnum.signals.local import LocalPolynomial, SavitzkyGolay
from jaxnum.signals.response import transfer_function
from jaxnum.signals.sinc import ModifiedSinc
from jaxnum.signals.smooth import Smoothed, smooth
from jaxnum.signals.spline import SmoothingSpline
from jaxnum.signals.total_variation import TotalVariation
from jaxnum.signals.whittaker import Whittaker

__all__ = [
    "ConstantEdge",
    "CrossValidation",
    "GaussianKernel",
    "LinearFit",
    "LocalPolynomial",
    "MarginalLikelihood",
    "ModifiedSinc",
    "Nearest",
    "OddReflection",
    "Reflect",
    "Renormalized",
    "SavitzkyGolay",
    "Smoothed",
    "SmoothingSpline",
    "TotalVariation",
    "Whittaker",
    "Wrap",
    "choose_bandwidth",
    "differentiate",
    "smooth",
    "transfer_function",
]
