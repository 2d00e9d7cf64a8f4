"""Which known mistakes reproduce a claimed gradient?

A set of mistakes explains a claim u when, with the broken pass b it makes and at most one factor c,

    u(p) = c b(p)    at all points p,

held-out ones that c was not fitted to included, to rounding. Everything that survives is returned: what the claim
does not tell apart must be told by a person.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from jaxnum.diagnose.backprop import passes
from jaxnum.diagnose.backprop.catalogue import Mistake, catalogue, compose
from jaxnum.diagnose.backprop.network import Network, join, split
from jaxnum.diagnose.backprop.recognize import Recognized

_MOST_WORK = 1e9  # products that trying pairs of mistakes may cost; deep and wide networks have no end of them
_TRIES = 64  # points tried at a time for a witness
_APART = 1e-4  # relative difference from which two explanations count as told apart
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


@dataclass(frozen=True)
class Witness:
    """Where two explanations differ most.

    Attributes:
        distance: ‖a − b‖/(‖a‖ + ‖b‖) there.
        leaves: Parameters.
        network: Other samples that it takes; None where the user's own do.
    """

    distance: float
    leaves: list[np.ndarray]
    network: Network | None


class Explainer:
    """Tries mistakes on one claim; remembers the gradients of the broken passes."""

    def __init__(
        self, known: Recognized, leaves: list[np.ndarray], claimed: np.ndarray, tolerance: float, free: bool = False
    ):
        self.free = free  # a factor common to everything is the unknown rate of a step, and nothing to explain
        self.known, self.leaves, self.tolerance = known, leaves, tolerance
        # A penalty in the loss is taken to be in the claim as well; where it is not, a rule of its own says so.
        claimed = self.claimed = claimed - known.penalty_slope(leaves)
        self.weights, self.biases = split(known.layout, leaves)
        self.size = np.maximum(np.max(np.abs(claimed), axis=1), np.finfo(float).tiny)
        self.num_fit = max(1, len(claimed) - len(claimed) // 3)
        self.right = self.predict(())
        self.touched: dict[Mistake, frozenset[int]] = {}
        self.singles = [m for m in catalogue(known) if self._matters(m)]

    def predict(self, mistakes: tuple[Mistake, ...], rate: float = 0.0) -> np.ndarray:
        """Return the gradient with these mistakes, (points, parameters)."""
        return self._predict(self.known, self.weights, self.biases, mistakes, rate)

    def _predict(self, known, weights, biases, mistakes, rate=0.0) -> np.ndarray:
        how = compose(mistakes, len(weights))
        with np.errstate(all="ignore"):
            grads = passes.run(known, how, weights, biases, rate)
        return join(known.layout, len(self.leaves), *grads)

    def witness(self, one: Explanation, other: Explanation) -> "Witness":
        """Look for weights, and then for samples, at which two explanations give different gradients."""
        rng = np.random.default_rng(4)
        net = self.known.network
        best = Witness(0.0, [leaf[0] for leaf in self.leaves], None)
        for samples in (None, 6):
            known = self.known
            if samples is not None:
                x = rng.normal(size=(samples, net.x.shape[1]))
                y = rng.uniform(0.1, 0.9, size=(samples, net.y.shape[1]))
                if net.final_activation.name == "softmax":
                    y = np.eye(net.y.shape[1])[rng.integers(net.y.shape[1], size=samples)]
                known = replace(known, network=replace(net, x=x, y=y))
            for width in (0.3, 1.0, 3.0, None, None, None):
                # Wide at first, then around the best so far, ever closer.
                near = 0.3 * max(float(np.std(np.concatenate([v.ravel() for v in best.leaves]))), 0.1)
                leaves = [
                    width * rng.normal(size=(_TRIES, *v.shape))
                    if width
                    else v + near * rng.normal(size=(_TRIES, *v.shape))
                    for v in best.leaves
                ]
                gap = self._apart(known, leaves, one, other)
                k = int(np.argmax(gap))
                if gap[k] > best.distance:
                    best = Witness(float(gap[k]), [leaf[k] for leaf in leaves], known.network if samples else None)
            if best.distance > _APART:
                return best
        return best

    def _apart(self, known, leaves, one, other) -> np.ndarray:
        weights, biases = split(known.layout, leaves)
        a, b = (e.scale * self._predict(known, weights, biases, e.mistakes, e.rate or 0.0) for e in (one, other))
        gap = np.linalg.norm(a - b, axis=1) / np.maximum(np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1), 1e-300)
        return np.where(np.isfinite(gap), gap, 0.0)

    def one(self) -> list[Explanation]:
        """Return every single mistake that explains the claim, with a factor at most."""
        return self._simplest([e for m in self.singles for e in self._try((m,))])

    def two(self) -> list[Explanation]:
        """Return every pair of mistakes that explains the claim, with a factor at most."""
        wrong = self._leaves_off(self.claimed, 1e3 * self.tolerance)
        every = frozenset(range(len(self.leaves)))
        found, left = [], max(100, int(_MOST_WORK / (self.right.size * len(self.known.network.x))))
        for a, b in itertools.combinations(self.singles, 2):
            reach = self.touched[a] | self.touched[b]
            # Leaves that neither mistake reaches stay right, up to the factor; what both leave right is right.
            if a.places & b.places or (wrong != every and reach != wrong) or (wrong == every and not reach):
                continue
            left -= 1
            if left < 0:
                break
            found += self._try((a, b))
        return self._simplest(found)

    def _leaves_off(self, told: np.ndarray, slack: float) -> frozenset[int]:
        """Leaves in which a gradient differs from the right one."""
        ends = np.cumsum([0, *(leaf[0].size for leaf in self.leaves)])
        off = []
        for i, (a, b) in enumerate(itertools.pairwise(ends)):
            gap = np.max(np.abs(told[:, a:b] - self.right[:, a:b]), initial=0.0)
            if gap > slack * max(np.max(np.abs(self.right[:, a:b]), initial=0.0), np.finfo(float).tiny):
                off.append(i)
        return frozenset(off)

    def _matters(self, mistake: Mistake) -> bool:
        told = self.predict((mistake,), 1.0)
        if not np.all(np.isfinite(told)):
            return False
        # What multiplies everything by one number is a factor, and no mistake of its own.
        factor = np.sum(told * self.right) / max(np.sum(self.right**2), np.finfo(float).tiny)
        self.touched[mistake] = self._leaves_off(told, 1e-9)
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
