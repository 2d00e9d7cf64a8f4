"""Smoothing and differentiating noisy samples, with edges, standard errors and derivatives that are right."""

from jaxnum.signals.bandwidth import choose_bandwidth
from jaxnum.signals.differentiate import differentiate
from jaxnum.signals.edges import ConstantEdge, Nearest, OddReflection, Reflect, Renormalized, Wrap
from jaxnum.signals.kernel import GaussianKernel
from jaxnum.signals.local import LocalPolynomial, SavitzkyGolay
from jaxnum.signals.smooth import Smoothed, smooth

__all__ = [
    "ConstantEdge",
    "GaussianKernel",
    "LocalPolynomial",
    "Nearest",
    "OddReflection",
    "Reflect",
    "Renormalized",
    "SavitzkyGolay",
    "Smoothed",
    "Wrap",
    "choose_bandwidth",
    "differentiate",
    "smooth",
]
