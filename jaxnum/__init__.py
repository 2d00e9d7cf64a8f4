"""jaxnum: differentiable scientific numerics on JAX, and a diagnosis for numerics that will not behave."""

from jaxnum import diagnose, ensemble, jupiter, networks, optimize, regression, schrodinger, signals
from jaxnum._precision import PrecisionError, PrecisionWarning, enable_x64
from jaxnum._solution import History, Solution, SolveError, load, load_metadata
from jaxnum._status import Status
from jaxnum._store import StoreError
from jaxnum.diagnose.report import Diagnosis, Finding
from jaxnum.numerics.lift import LiftError, lift

__version__ = "0.1.0"

__all__ = [
    "Diagnosis",
    "Finding",
    "History",
    "LiftError",
    "PrecisionError",
    "PrecisionWarning",
    "Solution",
    "SolveError",
    "Status",
    "StoreError",
    "diagnose",
    "enable_x64",
    "ensemble",
    "jupiter",
    "lift",
    "load",
    "load_metadata",
    "networks",
    "optimize",
    "plot",
    "regression",
    "schrodinger",
    "signals",
]


def __getattr__(name: str):
    # The one module that imports matplotlib waits until somebody wants a picture.
    if name == "plot":
        import importlib

        return importlib.import_module("jaxnum.plot")
    raise AttributeError(f"module 'jaxnum' has no attribute '{name}'")
