"""Figures and animations; the only place that imports matplotlib."""

from jaxnum.plot.diagnosis import diagnosis
from jaxnum.plot.ensemble import sweep
from jaxnum.plot.jupiter import magnetosphere
from jaxnum.plot.networks import decision_surface, fan, layers, loss_landscape, outcomes, training
from jaxnum.plot.optimize import learning_rate_map, paths, race, sensitivity
from jaxnum.plot.regression import polynomial
from jaxnum.plot.schrodinger import animate_packet, packet, phase_packet, phase_strip, save_animation
from jaxnum.plot.signals import smoothed

__all__ = [
    "animate_packet",
    "decision_surface",
    "diagnosis",
    "fan",
    "layers",
    "learning_rate_map",
    "loss_landscape",
    "magnetosphere",
    "outcomes",
    "packet",
    "paths",
    "phase_packet",
    "phase_strip",
    "polynomial",
    "race",
    "save_animation",
    "sensitivity",
    "smoothed",
    "sweep",
    "training",
]
