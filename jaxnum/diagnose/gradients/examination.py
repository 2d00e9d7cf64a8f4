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
from jaxnum.diagnose.backprop.catalogue import Mistake, adjoints
from jaxnum.diagnose.backprop.explain import Explainer, Explanation
from jaxnum.diagnose.backprop.network import (
    Network,
    Recognized,
    arrays_in_sight,
    discover,
    layer_name,
    layouts,
    recognize,
    split,
)
from jaxnum.diagnose.gradients import rules
from jaxnum.diagnose.gradients.claim import Claim, Step, Unusable, claim
from jaxnum.diagnose.gradients.integrability import Symmetry, rise, symmetry
from jaxnum.diagnose.gradients.reproduce import Writer, aside_of
from jaxnum.diagnose.gradients.rules import Comparison
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
        causes = self._causes(compared, known, field)
        if self.deltas is not None and causes:
            causes = [self._layers(causes[0], compared, known), *causes[1:]]
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
                if self._usable(point):
                    chosen.append(point)
                    steps.append(0.5 * spread(self.where, rng, 0.4) * narrower)
                    break
        fixed = [p for p in (start, *map(self.where.rounded, self.own)) if self._usable(p)]
        if not fixed and not chosen:
            refuse("at", "lie where the loss is finite", f"gives {self.truth.value(start)}")
        if len(chosen) < 3:
            chosen, steps = chosen + fixed, [*steps, *(0.1 * p for p in fixed)]
        self.steps = np.array(steps)
        first = (fixed or chosen)[0]
        aside = self.where.rounded(start + aside_of(start))
        slopes = [np.linalg.norm(self.truth.gradient(p)[0]) for p in (first, chosen[0])]
        if (not fixed or slopes[0] <= 1e-8 * slopes[1]) and self._usable(aside):
            # The numbers of the evidence are those of the first point where there is something to see.
            first, chosen = (aside, chosen) if not fixed else (first, [aside, *chosen])
            self.steps = np.concatenate([self.steps[:1], self.steps]) if fixed else self.steps
        return np.array([first, *chosen, *fixed[1:]])

    def _usable(self, point: np.ndarray) -> bool:
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
        return np.array([p for p in points if self._usable(p)][:_NETWORK_POINTS]).reshape(-1, size)

    def _leaves(self, points: np.ndarray) -> list[np.ndarray]:
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
        leaves = self._leaves(points[1:])
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

    def _causes(self, c: Comparison, known: Recognized | None, field: Callable) -> list[Finding]:
        """Go through the rules, the ones that explain everything first."""
        found = next((f for rule in rules.ALONE if (f := rule(c))), [])
        explainer = None
        if not found and known is not None:
            free = self.step is not None and self.rate is None
            explainer = Explainer(known, self._leaves(c.points), c.claimed, self.rounding, free)
            found = self._explained(explainer.one(), c, known, explainer)
        for rule in rules.LEAF_BY_LEAF:
            found = found or rule(c)
        if not found and explainer is not None:
            found = self._explained(explainer.two(), c, known, explainer)
        if not found and explainer is not None:
            found = self._one_and_more(explainer, c, known)
        if not found and self.step is not None:
            found = self._early(c)
        for rule in rules.REST:
            found = found or rule(c)
        found = found or self._unknown(c, known)
        if known is not None and known.broadcast and found[0].code == "broadcast-targets":
            self.notes.append("Your gradient is that of the loss with its shapes mended.")
            return found[1:]
        if found[0].code not in ("constant-factor", "wrong-sign", "zero-gradient") or "factors" in found[0].evidence:
            found = self._of_what(found, c, field)
        return found

    def _explained(
        self, explanations: list[Explanation], c: Comparison, known: Recognized, explainer: Explainer
    ) -> list[Finding]:
        """Turn the explanations that survived into findings of the first, with the others named."""
        if not explanations:
            return []
        best, *others = explanations
        evidence = c.evidence() | {"residual": best.residual, "scale": best.scale}
        if best.rate is not None:
            evidence["rate"] = best.rate
        rivals, seen = [], [best.codes]
        for e in others:
            # Two names of one formula are no alternatives.
            if e.codes not in seen and len(rivals) < 4 and explainer.witness(best, e).distance > 1e-9:
                rivals.append(e)
                seen.append(e.codes)
        alternatives = [list(e.codes) for e in rivals]
        found = []
        for mistake in best.mistakes:
            message = _sentence(mistake, best, known)
            if not found and alternatives:
                evidence["alternatives"] = alternatives
                message += f" The same numbers come from {_or(rivals)}. " + self._apart(
                    explainer, best, rivals[0], evidence
                )
            found.append(Finding(mistake.code, message, dict(evidence), mistake.cure))
        if self.step is not None and self.rate is None and best.scale > 0:
            self.notes.append(f"The learning rate of the step is {best.scale:.6g}.")
        elif best.scale != 1.0:
            words = rules.meaning(best.scale, c.samples)
            message = f"Besides, all of it is {best.scale:.6g} times what that mistake gives."
            code = "wrong-sign" if abs(best.scale + 1) < 1e-6 else "constant-factor"
            cure = f"It looks like {words}." if words else "Look for a factor or a sign."
            found.append(Finding(code, message, {"scale": best.scale}, cure))
        rows = tuple(
            (" + ".join(f"{m.code} ({m.where or 'all'})" for m in e.mistakes), e.scale, e.residual)
            for e in explanations
        )
        heads = ("mistake", "factor besides", "largest difference")
        self.tables.append(Table(f"Mistakes that reproduce it at all {len(c.points)} points", heads, rows[:8]))
        return found

    def _one_and_more(self, explainer: Explainer, c: Comparison, known: Recognized) -> list[Finding]:
        """Rule: one known mistake, and besides a term or the factor of a leaf that no pass makes."""
        for mistake in explainer.singles:
            if mistake.part == "late":
                continue  # its rate would have to be fitted as well
            told = explainer.predict((mistake,)) + known.penalty_slope(explainer.leaves)
            against = replace(c, true=told)
            for rule in (rules.additions, rules.leaf_factors):
                more = rule(against) if len(against.wrong) < c.count or rule is rules.additions else []
                if more:
                    explanation = Explanation((mistake,), 1.0, None, c.tolerance)
                    message = _sentence(mistake, explanation, known)
                    first = Finding(mistake.code, message, c.evidence() | {"scale": 1.0}, mistake.cure)
                    return [
                        first,
                        *(replace(f, message=f"Besides, {f.message[0].lower()}{f.message[1:]}") for f in more),
                    ]
        return []

    def _apart(self, explainer: Explainer, best: Explanation, rival: Explanation, evidence: dict) -> str:
        """Say what would tell two explanations apart."""
        found = explainer.witness(best, rival)
        evidence["witness_distance"] = found.distance
        evidence["witness"] = {n: v for n, v in zip(self.where.names, found.leaves, strict=True)}
        if found.network is None:
            return f"At the weights in `evidence['witness']` they differ by {100 * found.distance:.2g} %."
        evidence["witness_x"], evidence["witness_y"] = found.network.x, found.network.y
        return (
            f"With these samples nothing tells them apart; with the {len(found.network.x)} samples and the weights in "
            f"`evidence['witness_x']`, `'witness_y'` and `'witness'` they differ by {100 * found.distance:.2g} %."
        )

    def _layers(self, first: Finding, c: Comparison, known: Recognized | None) -> Finding:
        """Hold the user's δ against ∂C/∂z: the first wrong one, from the output, is where it went wrong."""
        if known is None:
            self.notes.append("No network is known, so that `deltas` could not be looked at.")
            return first
        weights, biases = split(known.layout, self._leaves(c.points))
        true = adjoints(known, weights, biases)
        call, depth = caller("deltas", self.deltas, self.where.at), len(true)
        told = [[np.asarray(d, float) for d in call(self.where.tree(p))] for p in c.points]
        rows, wrong = [], None
        for n in range(depth - 1, -1, -1):
            g = true[n]
            u = np.array([_oriented(point[n] if len(point) == depth else None, g[0].shape) for point in told])
            factor = float(np.sum(u * g) / np.sum(g * g))
            left = float(np.linalg.norm(u - factor * g) / max(np.linalg.norm(u), 1e-300))
            good = left < 10 * c.tolerance and factor != 0
            if not good and wrong is None:
                wrong = n
            rows.append((layer_name(n, depth), factor, left, "right" if good else "wrong"))
        heads = ("layer", "factor", "left over", "verdict")
        self.tables.append(Table("Your δ against ∂C/∂z, from the output", heads, tuple(rows)))
        if wrong is None:
            self.notes.append("Every δ is right, up to a factor: the mistake comes after them, in forming gradients.")
            return first
        self.notes.append(f"Counted from the output, the δ of {layer_name(wrong, depth)} is the first that is wrong.")
        return replace(first, evidence=first.evidence | {"first_wrong_delta": wrong + 1})

    def _early(self, c: Comparison) -> list[Finding]:
        """Rule for steps: the gradient of some leaves is taken where others have their new values already."""
        rate = self.rate or 1.0
        new = c.points - rate * c.claimed
        found = {}
        for i in c.wrong:
            others = [j for j in range(c.count) if j != i]
            sets = [[j] for j in others] + [others[:k] for k in range(2, len(others) + 1)]
            sets += [others[k:] for k in range(1, len(others) - 1)]
            for moved in sets:
                points = c.points.copy()
                for j in moved:
                    points[:, self.where.slices[j]] = new[:, self.where.slices[j]]
                if not all(self._usable(p) for p in points):
                    continue
                true = np.array([self.truth.gradient(p)[0] for p in points])
                if c.agrees(c.leaf(true, i), i):
                    found[i] = moved
                    break
            else:
                return []
        if not found:
            return []
        words = "; ".join(
            f"{rules.plural(c.name(j) for j in moved)} before the gradient of {c.name(i)} was computed"
            for i, moved in found.items()
        )
        message = f"Parameters were updated too early: {words}."
        evidence = c.evidence() | {"rate": rate, "updated": {c.at.names[i]: m for i, m in found.items()}}
        cure = "Compute all gradients first, then update all."
        return [Finding("weights-updated-early", message, evidence, cure)]

    def _unknown(self, c: Comparison, known: Recognized | None) -> list[Finding]:
        found = rules.unknown(c)
        if known is None or not c.wrong:
            return found
        depth = len(known.layout.weights)
        where = [known.layout.weights.index(i) for i in c.wrong if i in known.layout.weights]
        where += [known.layout.biases.index(i) for i in c.wrong if i in known.layout.biases]
        first = max(where)
        names = ", ".join(known.layout.name(i) for i in c.wrong)
        layer = "the last layer" if first == depth - 1 else f"layer {first + 1} of {depth}"
        [finding] = found
        message = f"{finding.message} Counted from the output, {layer} is the first with something wrong ({names})."
        evidence = finding.evidence | {"first_wrong_layer": first + 1, "layers": depth}
        return [Finding("unknown-cause", message, evidence, finding.cure)]

    def _of_what(self, found: list[Finding], c: Comparison, field: Callable) -> list[Finding]:
        """Add to the first finding whether the claim is the gradient of anything."""
        use = c.points[1:3] if len(c.points) > 2 else c.points
        try:
            measured = symmetry(field, use, single=self.precision == "single")
        except Unusable:
            return found
        first = found[0]
        evidence = first.evidence | {"asymmetry": measured.asymmetry, "asymmetry_error": measured.error}
        self.notes.append(_say_symmetry(measured))
        if measured.symmetric:
            step = (field, c.points[1], c.points[2])
            evidence["rise"], evidence["rise_of_loss"] = (
                rise(*step),
                self.truth.value(c.points[2]) - self.truth.value(c.points[1]),
            )
        return [replace(first, evidence=evidence), *found[1:]]

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


def _oriented(delta: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return the user's δ as (samples, units)."""
    if delta is not None and delta.shape == shape:
        return delta
    if delta is not None and delta.T.shape == shape:
        return delta.T
    if delta is not None and delta.size == np.prod(shape):
        return delta.reshape(shape)
    but = "is missing" if delta is None else f"has shape {delta.shape}"
    return refuse("deltas", f"return one array for each layer, here of shape {shape}", f"one {but}")


def _named(explanation: Explanation) -> str:
    return " + ".join(f"{m.code} ({m.where})" if m.where else m.code for m in explanation.mistakes)


def _sentence(mistake: Mistake, explanation: Explanation, known: Recognized) -> str:
    where = f"In {mistake.where} " if mistake.where else ""
    message = where + (mistake.message if where else mistake.message[0].upper() + mistake.message[1:]) + "."
    if mistake.code == "weights-updated-early":
        message = message[:-1] + f", with a learning rate of {explanation.rate:.6g}."
    depth = len(known.layout.weights)
    squares = known.loss.name.endswith("mean squared error") and known.network.final_activation.name == "logistic"
    alone = len(explanation.mistakes) == 1 and mistake.layers == (depth - 1,)
    if mistake.code == "missing-slope" and squares and alone:
        # An identity: the slope of the cross-entropy in z is (p − y)/n, that of the squares is 2 (p − y) p (1 − p)/n.
        times = "twice" if known.loss.name == "mean squared error" else "a multiple of"
        message += f" What is left is exactly the gradient of another loss, {times} the mean binary cross-entropy."
    return message


def _or(rivals: list[Explanation]) -> str:
    words = [" with ".join(f"`{m.code}`" + (f" in {m.where}" if m.where else "") for m in e.mistakes) for e in rivals]
    return "; or from ".join(dict.fromkeys(words))


def _say_symmetry(measured: Symmetry) -> str:
    along = f" along {measured.directions} directions"
    numbers = f"‖J − Jᵀ‖/‖J‖ = {measured.asymmetry:.2g} (± {measured.error:.0e}, {measured.method}{along})"
    if measured.symmetric is None:
        return f"Whether it is the gradient of anything cannot be told: {numbers}."
    if measured.symmetric:
        return f"It is the gradient of another function than your loss: its Jacobian is symmetric, {numbers}."
    return (
        f"It is not the gradient of anything: its Jacobian is not symmetric, {numbers}. Following it goes down no "
        "hill, and where it comes to rest says nothing about a loss."
    )


def _shapes_in_sight(loss: Callable) -> list[tuple[int, ...]]:
    return [a.shape for a in arrays_in_sight(loss)]
