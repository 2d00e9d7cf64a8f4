"""Which known mistakes reproduce a claimed gradient?

A set of mistakes explains a claim u when, with the broken pass b it makes and at most one factor c,

    u(p) = c b(p)    at all points p,

held-out ones that c was not fitted to included, to rounding. Everything that survives is returned: what the claim
does not tell apart must be told by a person.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from jaxnum.diagnose.faults import backprop
from jaxnum.diagnose.faults.backprop import Mistake, catalogue, compose
from jaxnum.diagnose.faults.network import Recognized, join, split

_MOST_PAIRS = 4000  # pairs of mistakes that are tried; deep networks would have many more
_TINY_RATE = 1e-9  # learning rate below which an early update shows in nothing


@dataclass(frozen=True)
class Explanation:
    """A set of mistakes that reproduces the claimed gradient.

    Attributes:
        mistakes: The mistakes.
        scale: Factor besides, 1 if there is none.
        rate: Learning rate of an update that came too early, else None.
        residual: Largest relative difference at all points, held-out ones included.
    """

    mistakes: tuple[Mistake, ...]
    scale: float
    rate: float | None
    residual: float

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the mistakes."""
        return tuple(dict.fromkeys(m.code for m in self.mistakes))


class Explainer:
    """Tries mistakes on one claim; remembers the gradients of the broken passes."""

    def __init__(
        self, known: Recognized, leaves: list[np.ndarray], claimed: np.ndarray, tolerance: float, free: bool = False
    ):
        self.free = free  # a factor common to everything is the unknown rate of a step, and nothing to explain
        self.known, self.leaves, self.claimed, self.tolerance = known, leaves, claimed, tolerance
        self.weights, self.biases = split(known.layout, leaves)
        self.size = np.maximum(np.max(np.abs(claimed), axis=1), np.finfo(float).tiny)
        self.num_fit = max(1, len(claimed) - len(claimed) // 3)
        self.right = self.predict(())
        self.singles = [m for m in catalogue(known) if self._matters(m)]

    def predict(self, mistakes: tuple[Mistake, ...], rate: float = 0.0) -> np.ndarray:
        """Return the gradient with these mistakes, (points, parameters)."""
        how = compose(mistakes, len(self.weights))
        with np.errstate(all="ignore"):
            grads = backprop.run(self.known, how, self.weights, self.biases, rate)
        return join(self.known.layout, len(self.leaves), *grads)

    def one(self) -> list[Explanation]:
        """Return every single mistake that explains the claim, with a factor at most."""
        return self._simplest([e for m in self.singles for e in self._try((m,))])

    def two(self) -> list[Explanation]:
        """Return every pair of mistakes that explains the claim, with a factor at most."""
        pairs = (p for p in itertools.combinations(self.singles, 2) if not p[0].places & p[1].places)
        found = [e for pair in itertools.islice(pairs, _MOST_PAIRS) for e in self._try(pair)]
        return self._simplest(found)

    def _matters(self, mistake: Mistake) -> bool:
        told = self.predict((mistake,), 1.0)
        if not np.all(np.isfinite(told)):
            return False
        # What multiplies everything by one number is a factor, and no mistake of its own.
        factor = np.sum(told * self.right) / max(np.sum(self.right**2), np.finfo(float).tiny)
        return not np.allclose(told, factor * self.right, rtol=1e-9, atol=1e-12 * np.max(np.abs(self.right)))

    def _try(self, mistakes: tuple[Mistake, ...]) -> list[Explanation]:
        late = any(m.part == "late" for m in mistakes)
        rate = self._rate(mistakes) if late else None
        if late and (rate is None or abs(rate) < _TINY_RATE):
            return []
        told = self.predict(mistakes, rate or 0.0)
        if not np.all(np.isfinite(told)):
            return []
        scale, residual = self._fit(told)
        if abs(scale - 1) < max(1e-8, 10 * self.tolerance):
            scale = 1.0
        if not residual <= self.tolerance or abs(scale) < 1e-8:
            return []
        return [Explanation(mistakes, scale, rate, residual)]

    def _fit(self, told: np.ndarray) -> tuple[float, float]:
        """Fit one factor at some points; return it with the largest relative difference at all."""
        unit = self.size[:, None]
        a, b = (told / unit)[: self.num_fit].ravel(), (self.claimed / unit)[: self.num_fit].ravel()
        scale = float(a @ b / (a @ a)) if a @ a > 0 else 0.0
        gaps = np.abs(scale * told - self.claimed) / unit
        return scale, float(np.max(gaps))

    def _rate(self, mistakes: tuple[Mistake, ...]) -> float | None:
        """Fit the learning rate of an early update by Gauss-Newton; one step is enough for two layers."""
        others = tuple(m for m in mistakes if m.part != "late")
        base = self.predict(others)
        rate, step = 0.0, 1e-3
        unit = self.size[:, None]
        for _ in range(8):
            here = self.predict(mistakes, rate) if rate else base
            slope = (self.predict(mistakes, rate + step) - here) / step
            columns = np.stack([(here / unit)[: self.num_fit].ravel(), (slope / unit)[: self.num_fit].ravel()], 1)
            if not np.all(np.isfinite(columns)):
                return None
            fit, *_ = np.linalg.lstsq(columns, (self.claimed / unit)[: self.num_fit].ravel(), rcond=None)
            change = float(fit[1] / fit[0]) if fit[0] else 0.0
            rate += change
            step = max(abs(rate), 1e-3) * 1e-4
            if abs(change) <= 1e-12 * abs(rate):
                break
        return rate

    def _simplest(self, found: list[Explanation]) -> list[Explanation]:
        """Put explanations without a factor first, and drop those with one where there are any."""
        plain = [e for e in found if self._natural(e)]
        chosen = plain or found

        def strangeness(e):
            # A sign lost in every layer at once is one flipped sign, not many.
            signs = sum(m.code == "slope-sign" and len(m.layers) > 1 for m in e.mistakes)
            return signs, len(e.mistakes), len(e.codes), -sum(len(m.layers) for m in e.mistakes)

        return sorted(chosen, key=strangeness)

    def _natural(self, e: Explanation) -> bool:
        if self.free and e.rate is not None:
            return abs(e.rate / e.scale - 1) < 1e-3  # the rate that is too early is the rate of the step
        return e.scale > 0 if self.free else e.scale == 1.0
