"""Compare somebody's numerics with the truth, and say what is wrong.

Every function takes the user's own objects (plain NumPy is fine) and returns a `Diagnosis`.
"""

from jaxnum.diagnose.backprop.network import Network
from jaxnum.diagnose.backprop.shapes import shapes
from jaxnum.diagnose.gradients.gradient import gradient, training_step
from jaxnum.diagnose.gradients.published import published_number
from jaxnum.diagnose.iterations.boundary_conditions import boundary_conditions
from jaxnum.diagnose.iterations.fixed_point import fixed_point
from jaxnum.diagnose.iterations.smoothing import smoothing
from jaxnum.diagnose.order import order
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.step_sizes.step_size import step_size
from jaxnum.diagnose.training import training
from jaxnum.diagnose.updates.convention import Card, convention_card
from jaxnum.diagnose.updates.update_rule import update_rule
from jaxnum.diagnose.waves.scheme import scheme
from jaxnum.diagnose.waves.wavefunction import wavefunction

__all__ = [
    "Card",
    "Diagnosis",
    "Finding",
    "Network",
    "Table",
    "boundary_conditions",
    "convention_card",
    "fixed_point",
    "gradient",
    "order",
    "published_number",
    "scheme",
    "shapes",
    "smoothing",
    "step_size",
    "training",
    "training_step",
    "update_rule",
    "wavefunction",
]
