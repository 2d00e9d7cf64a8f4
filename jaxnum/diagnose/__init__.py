"""Compare somebody's numerics with the truth, and say what is wrong.

Every function takes the user's own objects (plain NumPy is fine) and returns a `Diagnosis`.
"""

from jaxnum.diagnose.boundary_conditions import boundary_conditions
from jaxnum.diagnose.convention import Card, convention_card
from jaxnum.diagnose.faults.network import Network
from jaxnum.diagnose.fixed_point import fixed_point
from jaxnum.diagnose.gradient import gradient, training_step
from jaxnum.diagnose.order import order
from jaxnum.diagnose.published import published_number
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.scheme import scheme
from jaxnum.diagnose.shapes import shapes
from jaxnum.diagnose.smoothing import smoothing
from jaxnum.diagnose.step_size import step_size
from jaxnum.diagnose.training import training
from jaxnum.diagnose.update_rule import update_rule
from jaxnum.diagnose.wavefunction import wavefunction

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
