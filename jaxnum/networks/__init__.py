"""Small multilayer perceptrons and their training."""

from jaxnum.networks.outcomes import Outcomes, outcomes
from jaxnum.networks.perceptron import Perceptron, perceptron
from jaxnum.networks.train import binary_cross_entropy, mean_squared_error, train, train_many
from jaxnum.networks.units import unit_slopes

__all__ = [
    "Outcomes",
    "Perceptron",
    "binary_cross_entropy",
    "mean_squared_error",
    "outcomes",
    "perceptron",
    "train",
    "train_many",
    "unit_slopes",
]
