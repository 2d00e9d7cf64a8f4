"""Test landscapes, first-order minimization, races and stability limits."""

from jaxnum.optimize import landscapes
from jaxnum.optimize.adam import AdamState, adam
from jaxnum.optimize.box import keep_within
from jaxnum.optimize.curvature import Curvature, curvature, measured_limit
from jaxnum.optimize.landscape import Landscape
from jaxnum.optimize.minimize import BFGS, Dogleg, LevenbergMarquardt, least_squares, minimize
from jaxnum.optimize.race import Race, Tuning, learning_rate_map, race
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
from jaxnum.optimize.tunable import tunable

__all__ = [
    "BFGS",
    "Adam",
    "AdamState",
    "AveragedMomentum",
    "Curvature",
    "Dogleg",
    "Landscape",
    "LevenbergMarquardt",
    "Momentum",
    "Nesterov",
    "Race",
    "Sgd",
    "Tuning",
    "adam",
    "curvature",
    "growth_factor",
    "keep_within",
    "landscapes",
    "learning_rate_map",
    "least_squares",
    "measured_limit",
    "minimize",
    "optimal_momentum",
    "optimal_rate",
    "predicted_steps",
    "race",
    "stability_limit",
    "tunable",
]
