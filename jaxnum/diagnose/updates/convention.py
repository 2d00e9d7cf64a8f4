"""The convention card of an optimizer: which of the formulas that share its name it follows, found by probing.

Two programs called Adam differ by 1e-4 in their first step, two called momentum by a factor of 10 in what a learning
rate means, two called weight decay in whether the decay is divided by the root of the second moment. Nothing of that
is written on the box. It shows in the steps: a rule is fed sequences of gradients, once with the parameters at zero
and once with all of them at one, and what explains the steps is put on a card.

    decoupled    Δ(y) − Δ(0) = −ηλy      at every step, whatever the gradients
    L2 term      Δ(y; g) = Δ(0; g + λy)  the decay goes through the memory and the root like a gradient

References:
    Kingma & Ba (2015), https://arxiv.org/abs/1412.6980
    Loshchilov & Hutter (2019), https://arxiv.org/abs/1711.05101
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum._checks import check_positive
from jaxnum.diagnose.report import Table
from jaxnum.diagnose.updates import probes
from jaxnum.diagnose.updates.recognize import TOLERANCE, Match, distance, identify, unseen

_NONE = "none"
_OUTSIDE = "beside the corrected root: √(v/c₂) + ε"
_HAT = "beside the uncorrected root: √v + ε, the correction folded into the rate (ε-hat)"
_PLAIN = "beside the root: √v + ε"
_INSIDE = "inside the root: √(v + ε)"
_ADDS, _AVERAGES = "adds gradients: v ← βv + g", "averages gradients: m ← β₁m + (1 − β₁)g"
_BOTH, _FIRST, _SECOND = "of both moments", "of the first moment only", "of the second moment only"

# Code of a rule -> where ε stands, how momentum is scaled, what is corrected, what the maximum is of.
_CONVENTIONS: dict[str, tuple[str, str, str, str]] = {
    "gradient-descent": (_NONE, _NONE, _NONE, _NONE),
    "momentum": (_NONE, _ADDS, _NONE, _NONE),
    "averaged-momentum": (_NONE, _AVERAGES, _NONE, _NONE),
    "averaged-momentum-corrected": (_NONE, _AVERAGES, _FIRST, _NONE),
    "nesterov": (_NONE, _ADDS + ", and looks ahead: g + βv", _NONE, _NONE),
    "sign-descent": (_NONE, _NONE, _NONE, _NONE),
    "lion": (_NONE, "averages gradients, and takes the sign of another average", _NONE, _NONE),
    "adagrad": (_PLAIN, _NONE, _NONE, _NONE),
    "adagrad-optax": (_INSIDE + ", v starting from 0.1", _NONE, _NONE, _NONE),
    "rmsprop": (_PLAIN, _NONE, _NONE, _NONE),
    "rmsprop-eps-inside": (_INSIDE, _NONE, _NONE, _NONE),
    "adam": (_OUTSIDE, _AVERAGES, _BOTH, _NONE),
    "adam-eps-hat": (_HAT, _AVERAGES, _BOTH, _NONE),
    "nadam": (_OUTSIDE, _AVERAGES + ", and looks ahead", _BOTH, _NONE),
    "amsgrad": (_OUTSIDE, _AVERAGES, _BOTH, "of the corrected v/c₂"),
    "amsgrad-uncorrected": (_OUTSIDE, _AVERAGES, _BOTH, "of v, corrected afterwards"),
    "amsgrad-eps-hat": (_HAT, _AVERAGES, _BOTH, "of v, corrected afterwards"),
    "amsgrad-without-correction": (_PLAIN, _AVERAGES, _NONE, "of v"),
    "no-bias-correction": (_PLAIN, _AVERAGES, _NONE, _NONE),
    "first-moment-not-corrected": (_OUTSIDE, _AVERAGES, _SECOND, _NONE),
    "second-moment-not-corrected": (_PLAIN, _AVERAGES, _FIRST, _NONE),
    "eps-inside-root": ("inside the corrected root: √(v/c₂ + ε)", _AVERAGES, _BOTH, _NONE),
    "first-moment-not-averaged": (_OUTSIDE, _ADDS, _BOTH, _NONE),
}
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Card:
    """Conventions of an optimizer, as found by probing.

    Attributes:
        rule: What it is, in a few words; starts with "unknown" when nothing known takes these steps.
        code: Stable name of the rule.
        epsilon: Where ε stands.
        momentum: How past gradients are weighed.
        correction: What is divided by the weight 1 − βᵗ that it has gathered.
        maximum: What a maximum over the past is taken of.
        decay: How weight decay couples.
        constants: Hyperparameters that show in the steps, fitted: `learning_rate`, `b1`, `b2`, `eps`, `weight_decay`.
        alike: Other rules, with their hyperparameters, that take the same steps.
        distance: Largest difference from the rule's steps, relative to the largest step of each sequence.
        way: How the code was called.
    """

    rule: str
    code: str
    epsilon: str
    momentum: str
    correction: str
    maximum: str
    decay: str
    constants: dict[str, float]
    alike: tuple[str, ...]
    distance: float
    way: str

    def table(self) -> Table:
        """Return the card as a table of conventions and constants."""
        rows = [
            ("rule", self.rule),
            ("ε", self.epsilon),
            ("momentum", self.momentum),
            ("bias correction", self.correction),
            ("maximum", self.maximum),
            ("weight decay", self.decay),
            *((name.replace("_", " "), value) for name, value in self.constants.items()),
        ]
        return Table("Conventions", ("what", "found"), tuple(rows))

    def __str__(self) -> str:
        lines = [str(self.table()), f"called as {self.way}; steps agree to {self.distance:.1e} of the largest"]
        if self.alike:
            lines.append("No sequence of gradients can tell it from " + "; or from ".join(self.alike) + ".")
        return "\n".join(lines)


def convention_card(update: Any, *, learning_rate: float | None = None, state: Any = None) -> Card:
    """Return the conventions that an optimizer follows, found from its steps and not from its source.

    Args:
        update: Optax transformation, function, object with a method that takes steps, or class of such objects, in any
            of the forms that `update_rule` understands.
        learning_rate: Rate that the code was given: some conventions differ by nothing but what a rate means, and only
            this tells them apart.
        state: State before the first step of a function; by default the usual ones are tried.

    Returns:
        Card; `str` of it is the table.

    Raises:
        ValueError: If `update` is no rule, or no way was found to call it.

    Example:
        >>> import optax
        >>> from jaxnum import diagnose
        >>> card = diagnose.convention_card(optax.adamw(0.01, weight_decay=0.1))
        >>> print(card.epsilon, "|", card.decay, "|", round(card.constants["weight_decay"], 9))
        beside the corrected root: √(v/c₂) + ε | decoupled: −ηλy joins the step | 0.1
    """
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    seen = probes.watch("update", update, state)
    if seen.failure is not None or not np.isfinite(seen.steps).all():
        blank = (_UNKNOWN,) * 5
        why = f"unknown: it takes no finite steps ({seen.failure})" if seen.failure else "unknown: steps are not finite"
        return Card(why, _UNKNOWN, *blank, {}, (), math.inf, seen.way)
    tolerance = TOLERANCE[seen.double]
    matches = identify(seen.steps, tolerance)
    if learning_rate is not None:
        matches = sorted(matches, key=lambda m: abs(abs(m.rate) / learning_rate - 1) > 1e-3)
    best = matches[0]
    return make_card(seen, best, matches[1:], max(tolerance, 1e-6), told=learning_rate is not None)


def make_card(seen: probes.Watched, best: Match, others: list[Match], tolerance: float, *, told: bool = False) -> Card:
    """Put together what was found."""
    known = best.distance <= tolerance
    kind, decay = decay_coupling(seen, best if known else None, tolerance)
    if not known:
        traits = (_UNKNOWN,) * 4
        return Card(f"unknown, nearest is {best.rule.title}", _UNKNOWN, *traits, kind, {}, (), best.distance, seen.way)
    blind = unseen(best, TOLERANCE[True])
    constants = {p if p != "rate" else "learning_rate": v for p, v in best.known().items() if p not in blind}
    if decay is not None:
        constants["weight_decay"] = decay
    traits = _CONVENTIONS.get(best.rule.code, (_UNKNOWN,) * 4)
    alike = () if told else tuple(str(m) for m in others)
    return Card(best.rule.title, best.rule.code, *traits, kind, constants, alike, best.distance, seen.way)


def decay_coupling(seen: probes.Watched, match: Match | None, tolerance: float) -> tuple[str, float | None]:
    """Return how the parameters enter the step, in words, and λ where it can be told.

    Args:
        seen: Steps with the parameters at zero and at one.
        match: Rule that explains the steps at zero; None if none does.
        tolerance: Relative difference that counts as equal.
    """
    if seen.held is None:
        return "not seen: the rule is not given the parameters", None
    size = np.max(np.abs(seen.steps), axis=0)
    apart = seen.held - seen.steps
    if np.all(np.abs(apart) <= tolerance * size):
        return _NONE, None
    rate = None if match is None else abs(match.rate)
    steady = float(np.median(apart))
    # The difference of two steps is known to the rounding of the larger; in single precision to 1e-7 of it.
    rounding = (1e-12 if seen.double else 1e-6) * np.maximum(np.abs(seen.held), np.abs(seen.steps))
    if np.all(np.abs(apart - steady) <= 1e-6 * abs(steady) + rounding):
        value = None if rate is None else -steady / rate
        if match is not None and match.rule.code == "gradient-descent":
            return "−ηλy joins the step; without memory that is an L2 term as well", value
        return "decoupled: −ηλy joins the step", value
    if match is not None and (value := _as_gradient(seen, match, tolerance)) is not None:
        return "an L2 term: λy joins the gradient, and goes through memory and root with it", value
    return "the step depends on the parameters in a way of its own", None


def _as_gradient(seen: probes.Watched, match: Match, tolerance: float) -> float | None:
    """Fit the λ for which g + λ explains the steps at parameters of one; None if none does."""

    def misfit(value):
        return float(distance(seen.held, match.rule.steps(probes.sequences() + value, *match.values)))

    trials = np.concatenate([np.geomspace(1e-7, 10, 161), -np.geomspace(1e-7, 10, 161)])
    best = trials[np.argmin([misfit(v) for v in trials])]
    low, high = best / 1.13, best * 1.13
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(80):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if misfit(left) < misfit(right) else (left, high)
    best = (low + high) / 2
    return float(best) if misfit(best) <= 10 * tolerance else None
