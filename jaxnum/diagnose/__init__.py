"""Compare somebody's numerics with the truth, and say what is wrong.

Every function takes the user's own objects (plain NumPy is fine) and returns a `Diagnosis`.
"""

from jaxnum.diagnose.boundary_conditions import boundary_conditions
from jaxnum.diagnose.fixed_point import fixed_point
from jaxnum.diagnose.order import order
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.scheme import scheme
from jaxnum.diagnose.smoothing import smoothing
from jaxnum.diagnose.training import training
from jaxnum.diagnose.update_rule import update_rule
from jaxnum.diagnose.wavefunction import wavefunction

__all__ = [
    "Diagnosis",
    "Finding",
    "Table",
    "boundary_conditions",
    "fixed_point",
    "order",
    "scheme",
    "smoothing",
    "training",
    "update_rule",
    "wavefunction",
]
