"""Small multilayer perceptrons and their training."""

from jaxnum.networks.perceptron import Perceptron, perceptron
from jaxnum.networks.train import binary_cross_entropy, mean_squared_error, train, train_many

__all__ = ["Perceptron", "binary_cross_entropy", "mean_squared_error", "perceptron", "train", "train_many"]
