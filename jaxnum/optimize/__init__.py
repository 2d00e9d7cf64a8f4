"""Test landscapes, first-order minimization, races and stability limits."""

from jaxnum.optimize import landscapes
from jaxnum.optimize.adam import AdamState, adam
from jaxnum.optimize.landscapes import Landscape
from jaxnum.optimize.minimize import minimize
from jaxnum.optimize.race import Race, learning_rate_map, race
from jaxnum.optimize.stability import (
    Adam,
    AveragedMomentum,
    Momentum,
    Nesterov,
    Sgd,
    growth_factor,
    optimal_momentum,
    optimal_rate,
    predicted_steps,
    stability_limit,
)

__all__ = [
    "Adam",
    "AdamState",
    "AveragedMomentum",
    "Landscape",
    "Momentum",
    "Nesterov",
    "Race",
    "Sgd",
    "adam",
    "growth_factor",
    "landscapes",
    "learning_rate_map",
    "minimize",
    "optimal_momentum",
    "optimal_rate",
    "predicted_steps",
    "race",
    "stability_limit",
]
