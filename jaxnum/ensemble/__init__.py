"""Many runs of one function: in chunks, on every device and host there is, resumable. Knows no physics."""

from jaxnum.ensemble.members import Draws, Grid, draws, grid
from jaxnum.ensemble.outcomes import outcomes
from jaxnum.ensemble.sweep import sweep

__all__ = ["Draws", "Grid", "draws", "grid", "outcomes", "sweep"]
