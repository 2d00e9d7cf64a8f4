"""Which update rule is this? Recognize an optimizer from the steps it takes.

Trajectories on a real problem hide mistakes: Adam without bias correction descends too. Five short sequences of
gradients do not: the right forms and some twenty known mistakes all answer them differently, up to pairs that no
trajectory can tell apart, which are named together. Where the hyperparameters are not the usual ones they are fitted,
by Levenberg–Marquardt on the steps, under each hypothesis in turn.

Right are both conventions of Adam (ε beside the corrected or the uncorrected root) and the simpler methods. A rule
that fits nothing is called unknown, with its nearest neighbor and the distance to it, rather than forced into a label.
"""

import math
from typing import Any

import numpy as np

from jaxnum._checks import check_positive
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import with_lines
from jaxnum.diagnose.updates import probes
from jaxnum.diagnose.updates.catalogue import WRONG, algorithm_1
from jaxnum.diagnose.updates.convention import decay_coupling, make_card
from jaxnum.diagnose.updates.recognize import TOLERANCE, USUAL, Match, distance, identify, predict
from jaxnum.diagnose.updates.reproduce import of_update
from jaxnum.optimize import Adam, AveragedMomentum, Momentum, Nesterov, Sgd

_FAMILIES = {
    Sgd: ("gradient-descent",),
    Momentum: ("momentum", "gradient-descent"),
    Nesterov: ("nesterov", "gradient-descent"),
    AveragedMomentum: ("averaged-momentum", "gradient-descent"),
    Adam: ("adam", "adam-eps-hat"),
}


def update_rule(update: Any, *, claims: Any = None, learning_rate: float | None = None, state: Any = None) -> Diagnosis:
    """Say which update rule some code follows, and what is wrong with it.

    Args:
        update: Function `update(grad, state) -> (step, state)`, or an Optax transformation. The step is what is added
            to the parameters, as in Optax: downhill it is opposite to the gradient. Also `step(grad)`,
            `update(params, grad)` returning the new parameters or changing them in place, lists and dicts of arrays,
            objects with a method `step`, `update` or `apply`, and classes of such objects: how it wants to be called
            is found by trying. Plain NumPy, memory written in place, closures and globals are fine; every sequence of
            gradients starts from a fresh copy.
        claims: What it is meant to be: another rule of either kind, such as `optax.adam(0.1)`, or one of
            `optimize.Sgd()`, `Momentum(beta)`, `Nesterov(beta)`, `AveragedMomentum(beta)`, `Adam(b1)`. Whatever
            differs from it is a finding. Without it, every known right rule is accepted.
        learning_rate: Rate that the code was given. Some mistakes, such as a forgotten 1 − β₁, are nothing but
            another learning rate and can only be seen against this one; it is taken from `claims` where that has one.
        state: State before the first step of a function, which may be any object and is copied; by default None and
            then the usual zeros are tried.

    Returns:
        Diagnosis. `ok` when the rule is recognized as a right one (and as the one claimed); the notes then name it
        with its convention and hyperparameters. Codes of findings: those of the known mistakes, such as
        `no-bias-correction`; `wrong-sign`; `learning-rate-factor`; `different-rule`, `different-hyperparameter`,
        `different-decay` when it is not what is claimed; `memory-leaks` when runs influence each other;
        `nonfinite-step`; `unknown-update-rule`.

    Raises:
        ValueError: If `update` or `claims` is no rule, or no way was found to call it.

    Reference:
        Kingma & Ba (2015), https://arxiv.org/abs/1412.6980

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> def update(grad, state):
        ...     m, v = state or (0.0, 0.0)
        ...     m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        ...     return -0.02 * m / (np.sqrt(v) + 1e-8), (m, v)
        >>> [finding] = diagnose.update_rule(update).findings
        >>> finding.code, round(finding.evidence["learning_rate"], 9)
        ('no-bias-correction', 0.02)
    """
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    seen = probes.watch("update", update, state)
    reference = None
    if claims is not None and type(claims) not in _FAMILIES:
        reference = probes.watch("claims", claims)
        if reference.failure is not None or not np.isfinite(reference.steps).any():
            raise ValueError("Argument `claims` must be a rule that takes finite steps, but takes none.")
    if seen.failure is not None:
        [zero] = [rule for rule in WRONG if rule.code == "time-starts-at-zero"]
        words = f"The first step divides by zero ({seen.failure}), as 1 − β⁰ = 0 would make it."
        found = Diagnosis("update rule", (Finding(zero.code, words, {}, zero.cure),))
        return with_lines(found, of_update(update, state, seen))

    tolerance = TOLERANCE[seen.double and (reference is None or reference.double)]
    notes = [
        f"Five sequences of {probes.NUM_STEPS} gradients; steps are compared to {tolerance:.0e} of the largest, in "
        f"{'double' if tolerance < 1e-6 else 'single'} precision. The step is taken as what is added to the parameters."
    ]
    if seen.way:
        notes.append(f"Called as {seen.way}.")
    if seen.leaks:
        what = "A second run from a fresh copy took other steps than the first."
        cure = "Keep m, v and t in what is passed along, in a closure or in an object, not in a class or module."
        found = Diagnosis("update rule", (Finding("memory-leaks", what, {}, cure),), tuple(notes))
        return with_lines(found, of_update(update, state, seen))
    matches = _as_claimed(identify(seen.steps, tolerance), claims, learning_rate)
    best = matches[0]
    if best.distance > max(tolerance, 1e-6):
        findings = (_unknown(seen, best),)
        if reference is not None and _apart(seen, reference) <= tolerance:
            findings, notes = (), [*notes, "It takes the steps of the rule claimed, which is none of the known ones."]
        found = Diagnosis("update rule", findings, tuple(notes), (_table(seen, best),))
        return with_lines(found, of_update(update, state, seen))

    findings = []
    if reference is not None and _apart(seen, reference) <= tolerance:
        notes.append("It takes the steps of the rule claimed.")
    else:
        wanted = None if reference is None else identify(reference.steps, TOLERANCE[reference.double])[0]
        findings += _mistakes(best, matches[1:])
        rate = learning_rate if wanted is None else abs(wanted.rate)
        if rate is not None and not (wanted and wanted.rule.code != best.rule.code and best.rule.right):
            findings += _wrong_rate(best, float(rate), tolerance)
        if not findings:
            findings += _against_claim(best, wanted, claims, seen, reference, tolerance)
    if reference is not None and not findings:
        findings += _against_decay(best, seen, reference, max(tolerance, 1e-6))
    if not findings:
        notes.append(f"This is {best}.")
    if best.rule.code == "adam-eps-hat":
        notes.append(
            "ε-hat and Algorithm 1 are both called Adam and differ where gradients are not large against ε: by "
            f"{_convention_gap(best):.2g} of the learning rate at the first step for a gradient of 1e-6. Optax and "
            "PyTorch follow Algorithm 1; TensorFlow, Keras and scikit-learn the ε-hat form."
        )
    notes += _twins(matches[1:], findings) + _beyond(seen, best, max(tolerance, 1e-6))
    tables = make_card(seen, best, matches[1:], max(tolerance, 1e-6)).table(), _table(seen, best)
    found = Diagnosis("update rule", tuple(findings), tuple(notes), tables)
    return with_lines(found, of_update(update, state, seen, best, reference))


def _as_claimed(matches: list[Match], claims: Any, rate: float | None) -> list[Match]:
    """Put first, among rules that take the same steps, the one that was claimed or whose rate was given."""

    def strangeness(match):
        family = type(claims) in _FAMILIES and match.rule.code != _FAMILIES[type(claims)][0]
        return (not match.rule.right, family, rate is not None and abs(abs(match.rate) / rate - 1) > 1e-3)

    # Among mistakes one that needs no wrong rate besides is the better explanation.
    wrong = all(not match.rule.right for match in matches)
    return sorted(matches, key=strangeness) if matches[0].rule.right or wrong else matches


def _apart(seen: probes.Watched, reference: probes.Watched) -> float:
    """Largest relative difference between two rules, on single and on joint coordinates."""
    apart = float(distance(reference.steps, seen.steps))
    if seen.joint is not None and reference.joint is not None:
        apart = max(apart, float(distance(reference.joint, seen.joint)))
    return apart


def _convention_gap(match: Match) -> float:
    g = np.array([[1e-6]])
    first = algorithm_1(g, 1.0, match.b1, match.b2, match.eps)
    return abs(float((first - match.rule.steps(g, 1.0, match.b1, match.b2, match.eps))[0, 0]))


def _evidence(match: Match) -> dict[str, float]:
    names = {"rate": "learning_rate"}
    return {names.get(p, p): v for p, v in match.known().items()} | {"distance": match.distance}


def _mistakes(best: Match, others: list[Match]) -> list[Finding]:
    """What is wrong with the rule by itself."""
    rule, findings = best.rule, []
    if not rule.right:
        words = f"This is {best}."
        alike = [str(m) for m in others if not m.rule.right] + ([rule.twin] if rule.twin else [])
        if alike:
            # A twin takes the same steps whatever is known; the others do so with a rate and an ε of their own.
            unknown = "Without knowing the rate and ε nothing" if len(alike) > bool(rule.twin) else "No gradients"
            words += f" {unknown} {'tells' if unknown[0] == 'W' else 'tell'} it from {'; or from '.join(alike)}."
        findings.append(Finding(rule.code, words, _evidence(best) | _first_steps(best), rule.cure))
    elif rule.code in ("adam", "adam-eps-hat", "nadam", "amsgrad") and best.b1**2 >= best.b2:
        [swapped] = [r for r in WRONG if r.code == "betas-swapped"]
        words = f"This is {best}: the squares are forgotten faster than the gradients, β₁ ≥ √β₂, as if exchanged."
        findings.append(Finding(swapped.code, words, _evidence(best), swapped.cure))
    if best.rate < 0:
        words = f"Every step leads uphill: with a positive gradient the step is positive. Else it is {rule.title}."
        cure = "Return the negative step. If your code subtracts the step by itself, diagnose its negative."
        findings.append(Finding("wrong-sign", words, _evidence(best), cure))
    return findings


def _wrong_rate(best: Match, rate: float, tolerance: float) -> list[Finding]:
    """The rate that shows in the steps against the one the code was given."""
    ratio = abs(best.rate) / rate
    slack = max(10 * tolerance, 1e-6)
    if abs(ratio - 1) <= slack:
        return []
    evidence = _evidence(best) | {"factor": ratio}
    for rule, share in (("first-moment-not-averaged", best.b1), ("second-moment-not-averaged", best.b2)):
        if "b2" not in best.rule.parameters or share >= 1:
            continue
        expected = 1 / (1 - share) if rule.startswith("first") else math.sqrt(1 - share)
        if abs(ratio / expected - 1) <= slack:
            [m, b] = ["m", "β₁"] if rule.startswith("first") else ["v", "β₂"]
            words = f"Steps are {ratio:.6g} times as long as the rate {rate:g} makes them: the factor 1 − {b} in {m}"
            words += " is missing, which no sequence of gradients can tell from another learning rate."
            power = "" if m == "m" else "²"
            return [Finding(rule, words, evidence, f"{m} ← {b} {m} + (1 − {b}) g{power}.")]
    words = f"Steps are {ratio:.6g} times as long as the rate {rate:g} makes them."
    return [Finding("learning-rate-factor", words, evidence, "Look for a factor that does not belong into the step.")]


def _against_claim(best, wanted, claims, seen, reference, tolerance) -> list[Finding]:
    """A right rule that is not the one claimed."""
    if reference is not None:
        gap = _apart(seen, reference)
        if wanted.rule.code == best.rule.code and wanted.distance <= tolerance:
            pairs = [(p, v, getattr(wanted, p)) for p, v in best.known().items()]
            off = [(p, v, w) for p, v, w in pairs if abs(v - w) > 1e-6 * max(abs(v), abs(w))]
            words = "; ".join(f"{p} is {v:.6g}, claimed is {w:.6g}" for p, v, w in off) or "They differ"
            evidence = _evidence(best) | {"difference": gap} | {f"claimed_{p}": w for p, _, w in off}
            where = f" Steps differ by up to {gap:.2g} of the largest."
            return [Finding("different-hyperparameter", f"{words}.{where}", evidence, "Use the values claimed.")]
        what = wanted.rule.title if wanted.distance <= tolerance else "a rule that is none of the known ones"
        words = f"This is {best}; claimed is {what}. Steps differ by up to {gap:.2g} of the largest."
        return [
            Finding("different-rule", words, _evidence(best) | {"difference": gap}, "Decide which of them is meant.")
        ]
    if claims is None:
        return []
    codes = _FAMILIES[type(claims)]
    if best.rule.code not in codes:
        words = f"This is {best}; claimed is {claims}."
        return [Finding("different-rule", words, _evidence(best), "Decide which of them is meant.")]
    claimed = claims.b1 if isinstance(claims, Adam) else getattr(claims, "beta", 0.0)
    found = best.b1 if "b1" in best.rule.parameters else 0.0
    if abs(found - claimed) > 1e-6:
        words = f"The share of memory kept is {found:.6g}, claimed is {claimed:.6g}."
        evidence = _evidence(best) | {"claimed_b1": float(claimed)}
        return [Finding("different-hyperparameter", words, evidence, "Use the value claimed.")]
    return []


def _against_decay(best, seen, reference, tolerance) -> list[Finding]:
    """The same steps while the parameters are zero, and another answer to parameters that are not."""
    if seen.held is None or reference.held is None:
        return []
    gap = float(distance(reference.held, seen.held))
    if gap <= tolerance:
        return []
    [(mine, value), (theirs, wanted)] = (decay_coupling(w, best, tolerance) for w in (seen, reference))
    words = f"With the parameters at one its steps differ by up to {gap:.2g} of the largest. Weight decay: {mine}"
    words += f" (λ = {value:.4g}); claimed is: {theirs}" if value is not None else f"; claimed is: {theirs}"
    words += f" (λ = {wanted:.4g})." if wanted is not None else "."
    evidence = {"difference": gap, "weight_decay": value, "claimed_weight_decay": wanted}
    evidence = {name: number for name, number in evidence.items() if number is not None}
    return [Finding("different-decay", words, _evidence(best) | evidence, "Decide which decay is meant.")]


def _unknown(seen: probes.Watched, nearest: Match) -> Finding:
    bad = int(np.sum(~np.isfinite(seen.steps)))
    if bad:
        words = f"{bad} of {seen.steps.size} steps are not finite, in a pattern that no known mistake explains."
        return Finding(
            "nonfinite-step", words, {"count": bad}, "Look for a division by zero at a zero gradient or t = 0."
        )
    words = f"No known rule takes these steps. Nearest is {nearest}, off by {nearest.distance:.2g} of the largest step."
    evidence = _evidence(nearest) | _first_steps(nearest, seen.steps)
    return Finding("unknown-update-rule", words, evidence, "Compare the table with the formula that was meant.")


def _first_steps(match: Match, steps: np.ndarray | None = None) -> dict[str, float]:
    """First steps in units of the learning rate: the fingerprint of the rule."""
    steps = predict(match.rule, np.array([match.values]))[0] if steps is None else steps
    unit = -steps / (abs(match.rate) or 1.0)
    return {"first_step": float(unit[0, 0]), "first_small_step": float(unit[0, 2]), "turning_step": float(unit[1, 3])}


def _twins(others: list[Match], findings: list[Finding]) -> list[str]:
    if findings or not others:
        return []
    return ["The same steps are taken by " + "; by ".join(str(m) for m in others) + "."]


def _beyond(seen: probes.Watched, best: Match, tolerance: float) -> list[str]:
    """What shows only in several coordinates at once, in larger gradients, or in the parameters."""
    notes = []
    predicted = best.rule.steps(probes.together(), *best.values)
    if distance(predicted, seen.apart) > 10 * tolerance:
        notes.append("Gradients larger than 1 are treated differently: something clips or rescales each coordinate.")
    elif seen.joint is None:
        notes.append("It takes one number at a time, so nothing is known about how coordinates act on each other.")
    elif distance(predicted, seen.joint) > 10 * tolerance:
        notes.append("Several coordinates at once take other steps than each alone: the whole gradient is rescaled.")
    if seen.decay is not None and seen.decay > 10 * tolerance * abs(best.rate):
        words, value = decay_coupling(seen, best, tolerance)
        strength = f" λ = {value:.4g}," if value is not None else ""
        notes.append(
            f"The step also depends on the parameters: {seen.decay:.4g} per unit at the first, a weight decay,"
            f"{strength} {words}."
        )
    return notes


def _table(seen: probes.Watched, best: Match) -> Table:
    """First steps beside those of the rule found and of Adam with the same numbers."""
    unit = abs(best.rate) or 1.0
    b1, b2, eps = best.values[1:] if len(best.rule.parameters) == 4 else USUAL[0]
    columns = {"yours": seen.steps / unit, best.rule.code: predict(best.rule, np.array([best.values]))[0] / unit}
    columns["adam"] = algorithm_1(probes.sequences(), 1.0, b1, b2, eps)
    rows = [
        (f"{name}: step {t + 1}", *(float(x[t, p]) for x in columns.values()))
        for p, name in enumerate(probes.NAMES)
        for t in ((0, 1) if p in (0, 3) else (10,) if p == 4 else (0,))
    ]
    return Table("Steps in units of the learning rate", ("gradients", *columns), tuple(rows))
