"""From a wrong gradient to its causes: the rules in their order, those that explain everything first.

Factors; one known mistake of backpropagation; rules leaf by leaf; two known mistakes; one and a term or a factor
besides; parameters that were updated too early; single components. What no rule explains is located and called
unknown, and it is said whether it is the gradient of anything at all.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from jaxnum._checks import refuse
from jaxnum.diagnose.backprop.catalogue import Mistake
from jaxnum.diagnose.backprop.explain import Explainer, Explanation
from jaxnum.diagnose.backprop.network import layer_name, split
from jaxnum.diagnose.backprop.passes import adjoints
from jaxnum.diagnose.backprop.recognize import Recognized
from jaxnum.diagnose.gradients import rules
from jaxnum.diagnose.gradients.claim import Unusable
from jaxnum.diagnose.gradients.comparison import Comparison, meaning, plural
from jaxnum.diagnose.gradients.factors import additions, leaf_factors
from jaxnum.diagnose.gradients.integrability import Symmetry, rise, symmetry
from jaxnum.diagnose.report import Finding, Table
from jaxnum.diagnose.truth import caller


def causes_of(case: Any, c: Comparison, known: Recognized | None, field: Callable) -> list[Finding]:
    """Go through the rules, the ones that explain everything first."""
    found = next((f for rule in rules.ALONE if (f := rule(c))), [])
    explainer = None
    if not found and known is not None:
        free = case.step is not None and case.rate is None
        explainer = Explainer(known, case.leaves(c.points), c.claimed, case.rounding, free)
        found = _explained(case, explainer.one(), c, known, explainer)
    for rule in rules.LEAF_BY_LEAF:
        found = found or rule(c)
    if not found and explainer is not None:
        found = _explained(case, explainer.two(), c, known, explainer)
    if not found and explainer is not None:
        found = _one_and_more(explainer, c, known)
    if not found and case.step is not None:
        found = _early(case, c)
    for rule in rules.REST:
        found = found or rule(c)
    found = found or _unknown(c, known)
    if known is not None and known.broadcast and found[0].code == "broadcast-targets":
        case.notes.append("Your gradient is that of the loss with its shapes mended.")
        return found[1:]
    if found[0].code not in ("constant-factor", "wrong-sign", "zero-gradient") or "factors" in found[0].evidence:
        found = _of_what(case, found, c, field)
    return found


def _explained(
    case: Any, explanations: list[Explanation], c: Comparison, known: Recognized, explainer: Explainer
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
            message += f" The same numbers come from {_or(rivals)}. " + _apart(
                case, explainer, best, rivals[0], evidence
            )
        found.append(Finding(mistake.code, message, dict(evidence), mistake.cure))
    if case.step is not None and case.rate is None and best.scale > 0:
        case.notes.append(f"The learning rate of the step is {best.scale:.6g}.")
    elif best.scale != 1.0:
        words = meaning(best.scale, c.samples)
        message = f"Besides, all of it is {best.scale:.6g} times what that mistake gives."
        code = "wrong-sign" if abs(best.scale + 1) < 1e-6 else "constant-factor"
        cure = f"It looks like {words}." if words else "Look for a factor or a sign."
        found.append(Finding(code, message, {"scale": best.scale}, cure))
    rows = tuple(
        (" + ".join(f"{m.code} ({m.where or 'all'})" for m in e.mistakes), e.scale, e.residual) for e in explanations
    )
    heads = ("mistake", "factor besides", "largest difference")
    case.tables.append(Table(f"Mistakes that reproduce it at all {len(c.points)} points", heads, rows[:8]))
    return found


def _one_and_more(explainer: Explainer, c: Comparison, known: Recognized) -> list[Finding]:
    """Rule: one known mistake, and besides a term or the factor of a leaf that no pass makes."""
    for mistake in explainer.singles:
        if mistake.part == "late":
            continue  # its rate would have to be fitted as well
        told = explainer.predict((mistake,)) + known.penalty_slope(explainer.leaves)
        against = replace(c, true=told)
        for rule in (additions, leaf_factors):
            more = rule(against) if len(against.wrong) < c.count or rule is additions else []
            if more:
                explanation = Explanation((mistake,), 1.0, None, c.tolerance)
                message = _sentence(mistake, explanation, known)
                first = Finding(mistake.code, message, c.evidence() | {"scale": 1.0}, mistake.cure)
                return [
                    first,
                    *(replace(f, message=f"Besides, {f.message[0].lower()}{f.message[1:]}") for f in more),
                ]
    return []


def _apart(case: Any, explainer: Explainer, best: Explanation, rival: Explanation, evidence: dict) -> str:
    """Say what would tell two explanations apart."""
    found = explainer.witness(best, rival)
    evidence["witness_distance"] = found.distance
    evidence["witness"] = {n: v for n, v in zip(case.where.names, found.leaves, strict=True)}
    if found.network is None:
        return f"At the weights in `evidence['witness']` they differ by {100 * found.distance:.2g} %."
    evidence["witness_x"], evidence["witness_y"] = found.network.x, found.network.y
    return (
        f"With these samples nothing tells them apart; with the {len(found.network.x)} samples and the weights in "
        f"`evidence['witness_x']`, `'witness_y'` and `'witness'` they differ by {100 * found.distance:.2g} %."
    )


def first_wrong_layer(case: Any, first: Finding, c: Comparison, known: Recognized | None) -> Finding:
    """Hold the user's δ against ∂C/∂z: the first wrong one, from the output, is where it went wrong."""
    if known is None:
        case.notes.append("No network is known, so that `deltas` could not be looked at.")
        return first
    weights, biases = split(known.layout, case.leaves(c.points))
    true = adjoints(known, weights, biases)
    call, depth = caller("deltas", case.deltas, case.where.at), len(true)
    told = [[np.asarray(d, float) for d in call(case.where.tree(p))] for p in c.points]
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
    case.tables.append(Table("Your δ against ∂C/∂z, from the output", heads, tuple(rows)))
    if wrong is None:
        case.notes.append("Every δ is right, up to a factor: the mistake comes after them, in forming gradients.")
        return first
    case.notes.append(f"Counted from the output, the δ of {layer_name(wrong, depth)} is the first that is wrong.")
    return replace(first, evidence=first.evidence | {"first_wrong_delta": wrong + 1})


def _early(case: Any, c: Comparison) -> list[Finding]:
    """Rule for steps: the gradient of some leaves is taken where others have their new values already."""
    rate = case.rate or 1.0
    new = c.points - rate * c.claimed
    found = {}
    for i in c.wrong:
        others = [j for j in range(c.count) if j != i]
        sets = [[j] for j in others] + [others[:k] for k in range(2, len(others) + 1)]
        sets += [others[k:] for k in range(1, len(others) - 1)]
        for moved in sets:
            points = c.points.copy()
            for j in moved:
                points[:, case.where.slices[j]] = new[:, case.where.slices[j]]
            if not all(case.usable(p) for p in points):
                continue
            true = np.array([case.truth.gradient(p)[0] for p in points])
            if c.agrees(c.leaf(true, i), i):
                found[i] = moved
                break
        else:
            return []
    if not found:
        return []
    words = "; ".join(
        f"{plural(c.name(j) for j in moved)} before the gradient of {c.name(i)} was computed"
        for i, moved in found.items()
    )
    message = f"Parameters were updated too early: {words}."
    evidence = c.evidence() | {"rate": rate, "updated": {c.at.names[i]: m for i, m in found.items()}}
    cure = "Compute all gradients first, then update all."
    return [Finding("weights-updated-early", message, evidence, cure)]


def _unknown(c: Comparison, known: Recognized | None) -> list[Finding]:
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


def _of_what(case: Any, found: list[Finding], c: Comparison, field: Callable) -> list[Finding]:
    """Add to the first finding whether the claim is the gradient of anything."""
    use = c.points[1:3] if len(c.points) > 2 else c.points
    try:
        measured = symmetry(field, use, single=case.precision == "single")
    except Unusable:
        return found
    first = found[0]
    evidence = first.evidence | {"asymmetry": measured.asymmetry, "asymmetry_error": measured.error}
    case.notes.append(_say_symmetry(measured))
    if measured.symmetric:
        step = (field, c.points[1], c.points[2])
        evidence["rise"], evidence["rise_of_loss"] = (
            rise(*step),
            case.truth.value(c.points[2]) - case.truth.value(c.points[1]),
        )
    return [replace(first, evidence=evidence), *found[1:]]


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
