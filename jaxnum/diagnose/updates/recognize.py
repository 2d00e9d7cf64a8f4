"""Recognize a rule from its steps: numbers only, the words are put together by `update_rule`.

Each rule of the library predicts the steps for the probe sequences; its hyperparameters are tried at their usual
values first and fitted by Levenberg–Marquardt when none of those explains what was seen.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from jaxnum.diagnose.updates import probes
from jaxnum.diagnose.updates.catalogue import RIGHT, WRONG, Rule

# Steps of a rule written in double precision differ from ours by rounding, amplified to 1e-13 where 1 − 0.999ᵗ
# cancels; in single precision the same cancellation costs 3e-5. The closest two rules are 1e-2 apart.
TOLERANCE = {True: 1e-9, False: 1e-3}

_SINGLE = 1e-6

USUAL = ((0.9, 0.999, 1e-8), (0.9, 0.99, 1e-8), (0.9, 0.9, 1e-8), (0.9, 0.999, 1e-7))
_STARTS = tuple(itertools.product((0.9, 0.5, 0.99), (0.999, 0.99, 0.9, 0.5), (1e-8, 1e-6, 1e-4, 1e-10)))


@dataclass(frozen=True)
class Match:
    """A rule with the hyperparameters under which it comes closest to the steps seen."""

    rule: Rule
    values: tuple[float, float, float, float]
    distance: float

    def __getattr__(self, name: str) -> float:
        if name in ("rate", "b1", "b2", "eps"):
            return self.values[("rate", "b1", "b2", "eps").index(name)]
        raise AttributeError(name)

    def known(self) -> dict[str, float]:
        """Those hyperparameters that the rule has."""
        return {
            p: v for p, v in zip(("rate", "b1", "b2", "eps"), self.values, strict=True) if p in self.rule.parameters
        }

    def __str__(self) -> str:
        words = {"rate": "learning rate", "b1": "β₁", "b2": "β₂", "eps": "ε"}
        if "b2" not in self.rule.parameters:
            words["b1"] = "β"
        blind = unseen(self, TOLERANCE[True])
        seen = [f"{words[p]} " + ("that shows nowhere" if p in blind else f"{v:.6g}") for p, v in self.known().items()]
        return f"{self.rule.title}, with " + ", ".join(seen)


def identify(steps: np.ndarray, tolerance: float) -> list[Match]:
    """Return the rules that explain the steps, best first; when none does, the nearest alone."""
    # A memory kept in single precision shows at 1e-7 in steps of double precision.
    for slack in (tolerance, max(tolerance, _SINGLE)):
        usual = [_scaled(rule, steps, USUAL) for rule in (*RIGHT, *WRONG)]
        if matches := [m for m in usual if m.distance <= slack]:
            return matches
    fitted = [_fitted(rule, steps) for rule in RIGHT]
    if first := next((m for m in fitted if m.distance <= slack), None):
        # A richer rule fits whatever a simpler one does; what is worth telling is who takes the same steps besides
        # with the same decays.
        same = [_scaled(rule, steps, (first.values[1:],)) for rule in (*RIGHT, *WRONG) if rule is not first.rule]
        return [first, *[m for m in same if m.distance <= slack]]
    fitted += [_fitted(rule, steps) for rule in WRONG]
    return [m for m in fitted if m.distance <= slack] or [min(fitted, key=lambda m: m.distance)]


def unseen(match: Match, tolerance: float) -> tuple[str, ...]:
    """Return the hyperparameters that the probes do not determine: another value, one of two, leaves the steps alone.

    Both matter: the sign of an average is that of many other averages, though not of all.
    """
    rate, b1, b2, eps = match.values
    changed = {
        "b1": ((rate, b1 / 2, b2, eps), (rate, (1 + b1) / 2, b2, eps)),
        "b2": ((rate, b1, b2 / 2, eps), (rate, b1, (1 + b2) / 2, eps)),
        "eps": ((rate, b1, b2, 2 * eps), (rate, b1, b2, eps / 2)),
    }
    steps = predict(match.rule, np.array([match.values]))[0]
    return tuple(
        name
        for name, others in changed.items()
        if name in match.rule.parameters and np.min(distance(steps, predict(match.rule, np.array(others)))) <= tolerance
    )


def distance(steps: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Largest difference relative to the largest step of each sequence; infinite where NaNs do not coincide."""
    with np.errstate(all="ignore"):
        return np.max(np.abs(difference(steps, model)), axis=(-2, -1))


def difference(steps: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Differences relative to the largest step of each sequence."""
    finite, known = np.isfinite(steps), np.isfinite(model)
    size = np.max(np.abs(np.where(finite, steps, 0.0)), axis=0)
    size = np.where(size > 0, size, 1.0)
    apart = (np.where(known, model, 0.0) - np.where(finite, steps, 0.0)) / size
    return np.where(finite == known, np.where(finite, apart, 0.0), np.inf)


def predict(rule: Rule, values: np.ndarray) -> np.ndarray:
    """Steps of a rule for rows (rate, b1, b2, eps), shape (rows, time, sequences)."""
    columns = [values[:, i : i + 1] for i in range(4)]
    steps = rule.steps(probes.sequences(), *columns)
    return np.moveaxis(np.broadcast_to(steps, (steps.shape[0], len(values), steps.shape[-1])), 1, 0)


def _scaled(rule: Rule, steps: np.ndarray, others: tuple) -> Match:
    """Return the rule at the best of the given (b1, b2, eps), with the rate fitted."""
    values = np.array([(1.0, *other) for other in others])
    values[:, 0] = _rates(steps, predict(rule, values))
    distances = distance(steps, predict(rule, values))
    best = int(np.argmin(distances))
    return Match(rule, tuple(float(v) for v in values[best]), float(distances[best]))


def _rates(steps: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Least-squares rate for steps of rate one, each sequence weighing the same."""
    usable = np.isfinite(steps) & np.isfinite(unit)
    size = np.max(np.abs(np.where(np.isfinite(steps), steps, 0.0)), axis=0)
    size = np.where(size > 0, size, 1.0)
    a, b = np.where(usable, unit, 0.0) / size, np.where(usable, steps, 0.0) / size
    square = np.sum(a * a, axis=(-2, -1))
    return np.where(square > 0, np.sum(a * b, axis=(-2, -1)) / np.where(square > 0, square, 1.0), 1.0)


def _fitted(rule: Rule, steps: np.ndarray) -> Match:
    """Return the rule with all its hyperparameters fitted, from the two best of many starts."""
    free = [i for i, p in enumerate(("rate", "b1", "b2", "eps")) if p in rule.parameters]
    starts = np.array([(1.0, *other) for other in _STARTS])
    starts[:, 0] = _rates(steps, predict(rule, starts))
    best = None
    for start in starts[np.argsort(_squares(rule, steps, starts), kind="stable")[:2]]:
        values = _levenberg_marquardt(rule, steps, start, free)
        apart = float(distance(steps, predict(rule, values[None]))[0])
        if "b2" in rule.parameters and values[2] < 0.05:  # a mean square without memory is not that rule any more
            apart = np.inf
        match = Match(rule, tuple(float(v) for v in values), apart)
        best = match if best is None or match.distance < best.distance else best
        if best.distance <= TOLERANCE[True]:
            break
    return best


def _squares(rule: Rule, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        total = np.sum(difference(steps, predict(rule, values)) ** 2, axis=(-2, -1))
    return np.where(np.isfinite(total), total, np.inf)


def _levenberg_marquardt(rule: Rule, steps: np.ndarray, start: np.ndarray, free: list[int]) -> np.ndarray:
    """Minimize the squared differences over the rate, ln(b/(1−b)) and ln ε: nothing can leave its range."""
    sign = math.copysign(1.0, start[0])

    def inside(z):
        values = np.tile(start, (len(z), 1))
        for column, i in enumerate(free):
            x = np.clip(z[:, column], -60, 30)
            values[:, i] = (sign * np.exp(x), 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(-x)), np.exp(x))[i]
        return values

    with np.errstate(divide="ignore"):
        outside = (np.log(np.abs(start[0]) + 1e-300), *(np.log(b / (1 - b)) for b in start[1:3]), np.log(start[3]))
    z, damping = np.array([outside[i] for i in free]), 1e-3
    h = 1e-5  # central differences in logarithms: truncation 1e-10, rounding 1e-11
    now = _squares(rule, steps, inside(z[None]))[0]
    for _ in range(25):
        shifted = np.concatenate([z[None], z[None] + h * np.eye(len(z)), z[None] - h * np.eye(len(z))])
        all_of_them = difference(steps, predict(rule, inside(shifted))).reshape(len(shifted), -1)
        if not np.all(np.isfinite(all_of_them)):
            break
        residual, plus, minus = all_of_them[0], all_of_them[1 : len(z) + 1], all_of_them[len(z) + 1 :]
        jacobian = (plus - minus).T / (2 * h)
        normal, slope = jacobian.T @ jacobian, jacobian.T @ residual
        for _ in range(8):
            scale = np.maximum(np.diag(normal), 1e-30)
            move = np.linalg.lstsq(normal + damping * np.diag(scale), -slope, rcond=None)[0]
            then = _squares(rule, steps, inside((z + np.clip(move, -3, 3))[None]))[0]
            if then < now:
                z, damping = z + np.clip(move, -3, 3), damping / 10
                break
            damping *= 10
        else:
            break
        # A rule that fits is approached ever faster; one that hardly comes nearer while it is far away does not.
        if then < 1e-26 or (now - then) < (1e-3 if then > 1e-6 else 1e-12) * now:
            break
        now = then
    return inside(z[None])[0]
