"""One examination of a claimed gradient, from its first call to its findings.

    u(p): the claim,   g(p) = ∇L(p): the truth, by autodiff of the loss or by differences, doubted before it is used

In this order: does the claim run, have the right shapes and give the same twice; is the loss that of the network;
is u = g at several points; is u = c g, or so leaf by leaf; does a known mistake in backpropagation reproduce u, or do
two; is u the gradient of anything (∂u/∂p symmetric); which components are wrong, and by which factor. What no rule
explains is located and called unknown.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from jaxnum._checks import refuse
from jaxnum.diagnose.backprop.discover import arrays_in_sight, discover
from jaxnum.diagnose.backprop.network import Network, layouts
from jaxnum.diagnose.backprop.recognize import Recognized, recognize
from jaxnum.diagnose.gradients.causes import causes_of, first_wrong_layer
from jaxnum.diagnose.gradients.claim import Claim, Step, Unusable, claim
from jaxnum.diagnose.gradients.comparison import Comparison
from jaxnum.diagnose.gradients.reproduce import Writer, aside_of
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import with_lines
from jaxnum.diagnose.truth import (
    Parameters,
    Truth,
    caller,
    doubt,
    spread,
)
from jaxnum.diagnose.updates import probes

# Right code differs from autodiff by rounding, 1e-12 or so; claims that are differences themselves by 1e-8 or so. The
# smallest mistake on record, weights updated early at a rate of 0.01, is 1e-4. In single precision rounding is 1e-6.
_TOLERANCE = {"double": 1e-6, "single": 3e-4}
_ROUNDING = {"double": 1e-10, "single": 2e-4}  # what a reproduced mistake may differ by
_NETWORK_POINTS = 4


class Examination:
    """One examination: what is known so far, filled step by step."""

    def __init__(
        self,
        loss: Callable,
        claimed: Callable,
        where: Parameters,
        own: list[np.ndarray],
        found: Truth,
        network: Network | None = None,
        step: Step | None = None,
        deltas: Callable | None = None,
    ):
        self.deltas = deltas
        self.step, self.rate = step, None if step is None else step.rate
        self.untouched = None if step is None else probes.fresh(claimed)
        self.loss, self.function, self.where, self.own, self.truth = loss, claimed, where, own, found
        self.network, self.subject = network, _subject(claimed)
        self.writer = Writer(loss, claimed, where, found, step is not None)
        self.notes: list[str] = []
        self.tables: list[Table] = []
        self.findings: list[Finding] = []

    def diagnose(self) -> Diagnosis:
        """Go through the battery in its order."""
        points = self._points()
        why = doubt(self.truth, points[1:], self.steps)
        if why:
            cure = "Make the loss a smooth function of its parameters where it is looked at; then ask again."
            message = f"Two ways to the true gradient disagree, so nothing can be said about yours. {why}"
            return self._done([Finding("inconclusive", message, {"method": self.truth.method}, cure)])
        self._say_truth(len(points))
        try:
            self.claim = claim(self.function, self.loss, self.where, self.step)
            field = self._repeat(points[0])
            if field is None:
                return self._done(self.findings)
            known = self._forward(points)
            if known is not None:
                points = np.concatenate([points, self._network_points()])
            compared = self._compare(points, field, known)
        except Unusable as stop:
            if stop.table is not None:
                self.tables.append(stop.table)
            return self._done([*self.findings, stop.finding])
        shapes = list(self.claim.findings.values())
        self.notes += self.claim.notes.values()
        if shapes:
            self.tables.append(self.claim.table())
        if self.claim.changes and self.step is None:
            message = "The claimed gradient writes into the parameters it is given, so that they change unseen."
            cure = "Write w = w − step · g outside, or copy first; `-=` on an array changes the caller's."
            self.findings.append(Finding("changes-parameters", message, {"change": self.claim.changed}, cure))
        if not compared.wrong:
            self._say_right(compared, known, bool(shapes or self.findings))
            return self._done([*self.findings, *shapes])
        self.tables.append(compared.table())
        self.writer.base = compared.points[compared.here]
        self.writer.odd = bool(self.claim.findings or self.claim.notes or self.claim.inside or self.claim.own_dtype)
        self.writer.adds_up = isinstance(field, _Increments)
        self.writer.gap = compared.evidence()["relative_difference"]
        causes = causes_of(self, compared, known, field)
        if self.deltas is not None and causes:
            causes = [first_wrong_layer(self, causes[0], compared, known), *causes[1:]]
        return self._done([*self.findings, *shapes, *causes])

    def _done(self, findings: list[Finding]) -> Diagnosis:
        self.writer.rate = self.rate
        found = Diagnosis(self.subject, tuple(findings), tuple(self.notes), tuple(self.tables))
        return with_lines(found, self.writer.write)

    # Where -------------------------------------------------------------------------------------------------------

    def _points(self) -> np.ndarray:
        """Return `at`, the user's own points and generic ones around, wherever the loss has a gradient."""
        rng = np.random.default_rng(0)
        start = self.where.rounded(self.where.flat())
        chosen, steps = [], []
        for width in (0.4, 0.4, 0.4, 1.5, 0.4, 0.4, 1.5, 0.4):
            for narrower in (1.0, 0.3, 0.1, 0.01, 1e-3):
                step = narrower * spread(self.where, rng, width)
                point = self.where.rounded(start + step)
                if self.usable(point):
                    chosen.append(point)
                    steps.append(0.5 * spread(self.where, rng, 0.4) * narrower)
                    break
        fixed = [p for p in (start, *map(self.where.rounded, self.own)) if self.usable(p)]
        if not fixed and not chosen:
            refuse("at", "lie where the loss is finite", f"gives {self.truth.value(start)}")
        if len(chosen) < 3:
            chosen, steps = chosen + fixed, [*steps, *(0.1 * p for p in fixed)]
        self.steps = np.array(steps)
        first = (fixed or chosen)[0]
        aside = self.where.rounded(start + aside_of(start))
        slopes = [np.linalg.norm(self.truth.gradient(p)[0]) for p in (first, chosen[0])]
        if (not fixed or slopes[0] <= 1e-8 * slopes[1]) and self.usable(aside):
            # The numbers of the evidence are those of the first point where there is something to see.
            first, chosen = (aside, chosen) if not fixed else (first, [aside, *chosen])
            self.steps = np.concatenate([self.steps[:1], self.steps]) if fixed else self.steps
        return np.array([first, *chosen, *fixed[1:]])

    def usable(self, point: np.ndarray) -> bool:
        """Tell whether loss and gradient are finite at a point."""
        try:
            value = self.truth.value(point)
            slope, _ = self.truth.gradient(point)
        except (ValueError, FloatingPointError, ZeroDivisionError, OverflowError):
            return False
        return bool(np.isfinite(value) and np.all(np.isfinite(slope)))

    def _network_points(self) -> np.ndarray:
        """Return weights of order one: small ones make every activation a straight line."""
        rng = np.random.default_rng(2)
        size = self.where.flat().size
        points = [self.where.rounded(rng.normal(size=size)) for _ in range(3 * _NETWORK_POINTS)]
        return np.array([p for p in points if self.usable(p)][:_NETWORK_POINTS]).reshape(-1, size)

    def leaves(self, points: np.ndarray) -> list[np.ndarray]:
        """Return each leaf at the points, with one axis for the points in front."""
        where = self.where
        return [points[:, s].reshape(-1, *shape) for s, shape in zip(where.slices, where.shapes, strict=True)]

    # What a second call shows ------------------------------------------------------------------------------------

    def _repeat(self, x: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
        """Call the claim several times at one point; return it as a pure function, or None where it is none."""
        calls = [self.claim(x) for _ in range(2)]
        size = max(np.max(np.abs(calls[0])), 1e-300)
        if np.max(np.abs(calls[1] - calls[0])) <= 1e-9 * size:
            return self.claim
        if self.step is not None:
            self.notes.append("The step remembers earlier ones; here every step is a first one, from a fresh copy.")
            untouched, at = self.untouched, self.where.at
            self.claim.function = lambda tree: caller("step", probes.fresh(untouched), at)(tree)
            return self.claim
        calls += [self.claim(x) for _ in range(2)]
        steps = np.diff(calls, axis=0)
        if np.allclose(steps[1], steps[0], rtol=1e-6, atol=1e-9 * size) and np.any(steps[0]):
            growth = float(np.linalg.norm(calls[1]) / max(np.linalg.norm(calls[0]), 1e-300))
            message = (
                f"Each call adds to the last: a second one at the same parameters returns {growth:.4g} times as much."
            )
            evidence = {"growth": growth, "difference": float(np.max(np.abs(steps[0])))}
            cure = "Set the stored gradient to zero before each backward pass."
            self.findings.append(Finding("accumulates", message, evidence, cure))
            self.notes.append("What follows is about what a single call adds.")
            return _Increments(self.claim, calls[-1])
        ratio = float(steps[1] @ steps[0] / max(steps[0] @ steps[0], 1e-300))
        if 0 < ratio < 1 and np.allclose(steps[1], ratio * steps[0], rtol=1e-6, atol=1e-9 * size):
            message = f"What comes back remembers earlier calls, as a velocity with momentum {ratio:.6g} does."
            cure = "Return the gradient itself; keep the velocity in the update."
            self.findings.append(Finding("remembers", message, {"momentum": ratio}, cure))
            return None
        message = (
            "Two calls of the claimed gradient at the same parameters differ by "
            f"{np.max(np.abs(steps[0])) / size:.2g} of the largest component."
        )
        cure = "Fix what is drawn at random or kept between calls: minibatches, dropout, counters, stored arrays."
        evidence = {"difference": float(np.max(np.abs(steps[0])))}
        self.findings.append(Finding("not-repeatable", message, evidence, cure))
        return None

    # Forward first -----------------------------------------------------------------------------------------------

    def _forward(self, points: np.ndarray) -> Recognized | None:
        """Hold the loss against the reference; what is wrong there comes before any word about the gradient."""
        leaves = self.leaves(points[1:])
        values = np.array([self.truth.value(p) for p in points[1:]])
        if self.network is None:
            known = discover(self.loss, self.where.shapes, leaves, values)
        else:
            ways = layouts(self.network, self.where.shapes)
            if not ways:
                net = self.network
                but = f"have shapes {', '.join(map(str, self.where.shapes))}"
                must = f"make up a network from {net.x.shape[1]} inputs to {net.y.shape[1]} outputs with `network`"
                refuse("at", must, but)
            known = recognize(self.network, ways, leaves, values)
            if known is None:
                message = (
                    "Your loss is not that of the network given: it agrees with no multiple of the mean squared error, "
                    "of the cross-entropies or of the mean absolute error at random weights."
                )
                cure = "Check samples, targets and activations in `network`, or give its `loss`; else the forward pass."
                self.findings.append(Finding("other-forward", message, {}, cure))
        if known is None:
            return None
        self.notes.append(f"The loss is that of a network: {known}.")
        if known.broadcast:
            n = len(known.network.x)
            message = (
                f"The loss compares every prediction with every target: an array of shape ({n}, {n}) from predictions "
                f"({n}, 1) and targets ({n},). Its gradient is that of the same loss with every target replaced by "
                "their mean, so that the best answer is the mean."
            )
            evidence = {"samples": n, "mean_target": float(known.network.y.mean())}
            cure = "Give predictions and targets the same shape, (n, 1) both."
            self.findings.append(Finding("broadcast-targets", message, evidence, cure))
        if known.sign < 0 and known.told:
            message = "The forward pass takes φ(−z): the sign inside the activation is flipped."
            self.findings.append(Finding("flipped-sigmoid", message, {"sign": -1.0}, "φ(z) = 1/(1 + exp(−z))."))
        return known

    # Compare -----------------------------------------------------------------------------------------------------

    def _compare(self, points: np.ndarray, field: Callable, known: Recognized | None) -> Comparison:
        pairs = [self.truth.gradient(p) for p in points]
        claimed = np.array([field(p) for p in points])
        self.precision = "single" if self.claim.single or self.claim.own_dtype else "double"
        self.rounding = _ROUNDING[self.precision]
        samples = () if known is None else (len(known.network.x), known.network.y.shape[1], known.network.y.size)
        if known is None:
            samples = tuple(dict.fromkeys(n for shape in _shapes_in_sight(self.loss) for n in shape))[:6]
        true, error = (np.array(x) for x in zip(*pairs, strict=True))
        tolerance = _TOLERANCE[self.precision]
        if self.step is not None:
            # The difference of old and new parameters has lost the digits that the two share.
            eps = np.finfo(np.float32 if self.precision == "single" else float).eps
            lost = eps * np.max(np.abs(points)) / max(np.median(np.abs(claimed)), 1e-300) / (self.rate or 1.0)
            self.rounding, tolerance = max(self.rounding, 20 * lost), max(tolerance, 20 * lost)
        found = Comparison(self.where, points, true, claimed, error, tolerance, samples)
        return found if self.step is None or self.rate is not None else self._with_rate(found)

    def _with_rate(self, c: Comparison) -> Comparison:
        """Recover the rate of a step from the leaves that are right up to a factor, the largest share of them."""
        factors = [c.factor(i) for i in range(c.count)]
        exact = [i for i, f in enumerate(factors) if abs(f) > 1e-12 and c.agrees(f * c.leaf(c.true, i), i)]
        if not exact:
            return c
        alike = {i: sum(abs(abs(factors[j] / factors[i]) - 1) < 1e-4 for j in exact) for i in exact}
        self.rate = abs(factors[max(alike, key=lambda i: alike[i])])
        self.notes.append(f"The learning rate of the step is {self.rate:.6g}.")
        return replace(c, claimed=c.claimed / self.rate)

    # Words -------------------------------------------------------------------------------------------------------

    def _say_truth(self, count: int) -> None:
        why = f" ({self.truth.why})" if self.truth.why else ""
        self.notes.append(f"Truth: {self.truth.method}{why}, at {count} points or more, checked against differences.")

    def _say_right(self, c: Comparison, known: Recognized | None, besides: bool) -> None:
        gaps = np.linalg.norm(c.claimed - c.true, axis=1) / np.maximum(np.linalg.norm(c.true, axis=1), np.max(c.sizes))
        agreement = float(np.max(gaps))
        noun = "gradient" if self.step is None else "step"
        but = "Apart from that your" if besides else "Your"
        self.notes.append(
            f"{but} {noun} is{' along' if self.step else ''} the true one to {agreement:.1e} of its length at "
            f"{len(c.points)} points."
        )
        limit = 100 * self.rounding
        if agreement > limit and self.truth.method.startswith("autodiff"):
            self.notes.append("That is more than rounding: it is made by differences, perhaps.")
        if np.linalg.norm(c.true[0]) <= 1e-8 * np.max(c.sizes):
            self.notes.append("At `at` itself the gradient vanishes; the comparison was made around it.")
        if known is not None and not besides:
            self.notes.append("If training does not work, ask `diagnose.training` or `diagnose.step_size`.")


class _Increments:
    """What each call of an accumulating claim adds."""

    def __init__(self, function: Claim, last: np.ndarray):
        self.function, self.last = function, last

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        new = self.function(flat)
        step, self.last = new - self.last, new
        return step


def _subject(fn: Any) -> str:
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return "the claimed gradient" if name == "<lambda>" else name


def _shapes_in_sight(loss: Callable) -> list[tuple[int, ...]]:
    return [a.shape for a in arrays_in_sight(loss)]
