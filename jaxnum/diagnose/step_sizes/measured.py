"""Everything that is measured about a step size before it is judged."""

from dataclasses import dataclass

import numpy as np

from jaxnum.diagnose.step_sizes.adaptive import Frozen
from jaxnum.diagnose.step_sizes.cures import Bowl, Cure
from jaxnum.diagnose.step_sizes.follow import Path
from jaxnum.diagnose.step_sizes.response import Response
from jaxnum.diagnose.step_sizes.surface import Ends, Surface
from jaxnum.diagnose.step_sizes.understanding import Rule

_SURE = 1e-9  # relative excess over a limit that is not rounding: curvatures are right to 1e-12


@dataclass(frozen=True)
class Measured:
    """Everything that was measured; rules turn it into findings.

    Attributes:
        surface: The loss.
        rule: The optimizer.
        x0: Start.
        start: Curvature there.
        path: The run.
        way: Curvature at the points of the path that are finite, with their step numbers.
        bowl: The quadratic around the minimum that the run leads to; None when none was found.
        quadratic: Whether the loss is quadratic everywhere.
        cures: What was given, and what would be better.
        names: Name of each parameter, or of its feature.
        budget: Number of steps planned; None when none was given.
        scale: Factor by which the user's gradient is longer than the true one.
        frozen: Limits along the run for a rule that divides by the size of its gradients; else None.
    """

    surface: Surface
    rule: Rule
    x0: np.ndarray
    start: Ends
    path: Path
    way: tuple[tuple[int, Ends], ...]
    bowl: Bowl | None
    quadratic: bool
    cures: tuple[Cure, ...]
    names: tuple[str, ...]
    budget: int | None
    scale: float
    frozen: Frozen | None = None

    @property
    def response(self) -> Response | None:
        """Linear response of the rule to the true gradient."""
        found = self.rule.response
        return None if found is None else found.scaled(self.scale)

    def limit(self, curvature: float) -> float:
        """Largest stable rate, in the convention of the rule, on a curvature."""
        found = self.response
        return found.rate / self.scale * found.critical / curvature if curvature > 0 else float("inf")

    def over(self, ends: Ends) -> bool:
        """Whether a curvature is above what the rule can bear."""
        return ends.largest * (1 - _SURE) > self.response.critical

    @property
    def blown(self) -> bool:
        """Whether the run ended above its start, or not at all."""
        return self.path.nonfinite is not None or self.path.losses[-1] > self.path.losses[0]

    @property
    def single(self) -> bool:
        """Whether all parameters are in single precision."""
        return all(d == np.float32 for d in self.surface.parameters.dtypes)
