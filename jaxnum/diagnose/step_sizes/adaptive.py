"""Rules that divide by the size of their gradients: how long a step may be while that size is what it is.

    x ← x − η P⁻¹ m,   P = diag(√v̂ + ε)      stable near a minimum   ⟺   λ_max(P⁻¹H) < (2 + 2β₁)/((1 − β₁) η)

With P frozen the rule is averaged momentum in the coordinates P^½ x. Near a minimum gradients shrink and P with them,
so that the limit comes down to meet the rate: steps stay about as long as the rate, and what is left of the loss too.

References:
    Cohen et al. (2022), Adaptive gradient methods at the edge of stability, https://arxiv.org/abs/2207.14484
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optax

from jaxnum.diagnose.step_sizes.follow import Path
from jaxnum.diagnose.step_sizes.surface import DENSE, Surface
from jaxnum.diagnose.step_sizes.understanding import Rule

_AVERAGING = ("adam", "adam-eps-hat", "no-bias-correction", "amsgrad", "amsgrad-uncorrected", "amsgrad-eps-hat")
_DIVIDING = (*_AVERAGING, "rmsprop", "rmsprop-eps-inside")


@dataclass(frozen=True)
class Frozen:
    """The limit along a run, at the points that were kept.

    Attributes:
        steps: Step numbers, (k,).
        sharpness: λ_max(P⁻¹H) there, (k,).
        limits: Largest stable rate there, (k,).
        factor: (2 + 2β₁)/(1 − β₁).
    """

    steps: np.ndarray
    sharpness: np.ndarray
    limits: np.ndarray
    factor: float


def frozen(seen: Surface, rule: Rule, path: Path) -> Frozen | None:
    """Return the limit along a run; None for a rule that is not of this kind, or too many parameters."""
    match = rule.match
    if match is None or match.rule.code not in _DIVIDING or path.points.shape[1] > DENSE:
        return None
    factor = 2 * (1 + match.b1) / (1 - match.b1) if match.rule.code in _AVERAGING else 2.0
    rows = [i for i in np.flatnonzero(path.finite) if i and np.isfinite(path.seconds[i]).all()]
    sharp = []
    for i in rows:
        scale = 1 / np.sqrt(np.sqrt(np.maximum(path.seconds[i], 0)) + match.eps)
        sharp.append(float(np.linalg.eigvalsh(seen.hessian(path.points[i]) * np.outer(scale, scale))[-1]))
    if not rows:
        return None
    sharpness = np.array(sharp)
    limits = np.where(sharpness > 0, factor / np.where(sharpness > 0, sharpness, 1.0), np.inf)
    return Frozen(path.steps[rows], sharpness, limits, factor)


def restless(path: Path, floor: float) -> bool:
    """Tell whether the loss, above its `floor`, has stopped falling: its last quarter is as high as the one before."""
    values = path.values[np.isfinite(path.values)] - floor
    quarter = max(1, len(values) // 4)
    late, before = (float(np.median(values[part])) for part in (slice(-quarter, None), slice(-2 * quarter, -quarter)))
    return len(values) >= 8 and late > 0.7 * before


def shorter(rule: Rule, factor: float) -> Rule | None:
    """Return the same rule with its steps multiplied by a factor."""
    if rule.optimizer is not None:
        return replace(rule, optimizer=optax.chain(rule.optimizer, optax.scale(factor)))
    if rule.update is None:
        return None

    def update(gradient: Any, state: Any) -> Any:
        step, state = rule.update(gradient, state)
        return factor * np.asarray(step), state

    return replace(rule, update=update)
