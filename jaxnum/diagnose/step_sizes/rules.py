"""What the numbers behind a step size mean: rules that turn them into findings.

The first rule that settles the matter is the only one that speaks: what diverges is not also slow.
"""

from dataclasses import replace

import numpy as np

from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.step_sizes.adaptive import restless, shorter
from jaxnum.diagnose.step_sizes.cures import FACTOR
from jaxnum.diagnose.step_sizes.follow import LONGEST, follow
from jaxnum.diagnose.step_sizes.measured import Measured
from jaxnum.diagnose.step_sizes.response import excess_after, overflow_step
from jaxnum.diagnose.step_sizes.surface import Ends
from jaxnum.diagnose.step_sizes.words import advice, told

_LEFT = 0.01  # part of the excess left at the end of a budget from which on somebody complains
_EDGE = 0.9  # of the limit: at the edge of stability a run hovers about it
_IDLE = 100.0  # a rate this many times below the best one wastes a run, whatever the budget


def uphill(m: Measured) -> list[Finding]:
    """Report an optimizer that adds the gradient."""
    found = m.rule.response
    rate = m.rule.match.rate if m.rule.match is not None else None
    if (found is not None and found.push < 0) or (rate is not None and rate < 0):
        words = "The steps of this optimizer lead uphill: to a positive gradient it answers with a positive step."
        return [Finding("wrong-sign", words, {}, "Return the negative step, which is added to the parameters.")]
    return []


def above(m: Measured) -> list[Finding]:
    """Report a rate at which the run cannot settle."""
    if m.response is None and (found := _above_frozen(m)):
        return found
    if m.response is None or m.rule.rate is None or m.response.push <= 0:
        return _lost(m)
    if m.rule.changes and not m.blown and not _cycles(m):
        return []  # it may pass its limit for a while and come back: the run did
    if m.quadratic:
        return _excess(m, 0, m.start, "") if m.over(m.start) else _lost(m)
    if not m.blown:
        found = _settles(m)
        if found or not _cycles(m):
            return found
    steep = [(n, e) for n, e in ((0, m.start), *m.way) if m.over(e)]
    if steep:
        n, ends = steep[0]
        return _excess(m, n, ends, _fate(m))
    return _lost(m)


def _above_frozen(m: Measured) -> list[Finding]:
    """Report a rule that divides by the size of its gradients and goes to and fro above the limit of its rate."""
    f = m.frozen
    if f is None or m.bowl is None or not len(f.limits):
        return []
    start, left = m.path.losses[0] - m.bowl.value, m.path.losses[m.path.finite][-1] - m.bowl.value
    limit, rate = float(f.limits[-1]), abs(m.rule.rate)
    if not (left > _LEFT * start and rate > _EDGE * limit and (restless(m.path, m.bowl.value) or m.blown)):
        return []
    quiet = shorter(m.rule, 0.1)
    tried = None if quiet is None else follow(m.surface, quiet, m.x0, int(m.path.steps[-1]))
    better = float("nan") if tried is None else float((tried.losses[-1] - m.bowl.value) / start)
    words = (
        f"The rate {rate:.6g} is at its limit: with the second moment as it is at step {f.steps[-1]}, the curvature in "
        f"its own scale is {f.sharpness[-1]:.4g}, and the largest stable rate {f.factor:.4g}/{f.sharpness[-1]:.4g} = "
        f"{limit:.4g}. The run goes to and fro with {100 * left / start:.3g} % of the excess left and does not settle."
    )
    evidence = {
        "rate": rate,
        "limit": limit,
        "sharpness": float(f.sharpness[-1]),
        "left": float(left / start),
        "left_at_a_tenth": better,
        "limits": f.limits,
        "steps": f.steps,
    }
    cure = "Take a smaller rate, or let it fall in time: near a minimum steps shrink to about the rate and no further."
    if better < left / start:
        cure += f" A tenth of it leaves {100 * better:.2g} % after as many steps, in a run."
    return [Finding("rate-above-limit", words, evidence, cure)]


def _cycles(m: Measured) -> bool:
    """Tell whether the run ended in a cycle of two points."""
    latest, before, earlier = m.path.last
    step, back = np.linalg.norm(latest - before), np.linalg.norm(latest - earlier)
    return bool(np.isfinite(step) and step > 1e-6 * (np.linalg.norm(latest) + 1e-6) and back < 0.01 * step)


def _settles(m: Measured) -> list[Finding]:
    """A run that looks well: can it come to rest at the minimum it approaches?"""
    if m.bowl is None:
        return []
    curvatures = np.linalg.eigvalsh(m.bowl.hessian)
    # Where flat directions remain there are other minima beside this one, some of them less curved.
    if curvatures[0] < 1e-7 * curvatures[-1] or curvatures[-1] * (1 - 1e-6) <= m.response.critical:
        return []
    growth = float(np.max(m.response.growth(curvatures[-1:])))
    stable = curvatures[curvatures < m.response.critical]
    slow = float(np.max(m.response.growth(stable))) if len(stable) else 0.5
    # So long until the slow directions are at rest, and so long until what rounding left of the steep one is back.
    wanted = 40 / -np.log(min(slow, 0.999999)) + 40 / np.log(growth)
    longer = follow(m.surface, m.rule.scaled(m.scale), m.x0, int(min(max(wanted, 1000), LONGEST)))
    m = replace(m, path=longer)
    rests = np.linalg.norm(longer.last[0] - longer.last[1]) <= 1e-9 * (1 + np.linalg.norm(longer.last[0]))
    if rests and longer.nonfinite is None:
        return []
    ends = m.surface.ends(m.bowl.minimum)
    return _excess(m, -1, ends, _fate(m))


def _fate(m: Measured) -> str:
    """Say what became of the run."""
    path = m.path
    if path.nonfinite is not None:
        return f" The run stops being finite at step {path.nonfinite}."
    end = path.losses[-1]
    floor = m.bowl.value if m.bowl is not None else 0.0
    words = ""
    if path.lowest - floor < 0.1 * (end - floor):
        words = f" The run passes {path.lowest:.3g} at step {path.lowest_step} and does not stay there:"
        words += f" after {path.steps[-1]} steps the loss is {end:.6g}"
    else:
        words = f" After {path.steps[-1]} steps the loss is {end:.6g}"
    return words + (", in a cycle of two points." if _cycles(m) else ".")


def _excess(m: Measured, step: int, ends: Ends, fate: str) -> list[Finding]:
    response, rate = m.response, m.rule.rate
    limit = m.limit(ends.largest)
    growth = float(response.growth(ends.largest)[0])
    shares = ends.direction**2
    top = int(np.argmax(shares))
    where = {0: "at the start", -1: "at the minimum it leads to"}.get(step, f"at step {step}")
    where = "" if m.quadratic else f" {where}"
    over = f"{100 * (rate / limit - 1):.2g} %" if rate < 2 * limit else f"{rate / limit:.4g} times"
    compared = f"{over} above" if rate < 2 * limit else over
    longer = "" if m.scale == 1.0 else f" (your gradient is {m.scale:.6g} times that of the loss)"
    method = m.rule.title.partition(" at rate")[0]
    words = (
        f"The rate {rate:.6g}{longer} is {compared} the limit {limit:.6g} of {method}{where}, where the largest "
        f"curvature is {ends.largest:.8g}: along its direction the error grows by a factor {growth:.6g} per step"
    )
    evidence = {
        "rate": rate,
        "limit": limit,
        "excess": rate / limit - 1,
        "largest_curvature": ends.largest,
        "smallest_curvature": ends.smallest,
        "growth_per_step": growth,
        "parameter": m.names[top],
        "share": float(shares[top]),
    }
    if m.quadratic and not m.rule.changes:
        largest = float(np.finfo(np.float32 if m.single else np.float64).max)
        slope = float(m.surface.gradient(m.x0) @ ends.direction)
        overflow = overflow_step(response, ends.largest, slope**2 / (2 * ends.largest), largest)
        evidence["overflow_step"] = overflow
        if np.isfinite(overflow) and not m.rule.clips:
            words += f", and the loss overflows at step {overflow:.0f}"
    if m.rule.clips:
        words += "; large gradients are clipped, so that it does not overflow but does not settle either"
    words += f".{fate} {100 * shares[top]:.4g} % of that direction is {m.names[top]}."
    if step == -1 or (not m.quadratic and fate):
        evidence |= {
            "lowest_loss": m.path.lowest,
            "lowest_step": m.path.lowest_step,
            "last_loss": float(m.path.losses[-1]),
        }
    point = m.x0 if step == 0 else m.bowl.minimum if step == -1 else m.path.points[m.path.steps == step][0]
    return [Finding("rate-above-limit", words, evidence | told(m) | {"point": point}, advice(m, limit))]


def unbounded(m: Measured) -> list[Finding]:
    """Report a loss that has no minimum to step to."""
    path, steep = m.path, float(np.linalg.norm(m.surface.gradient(m.x0)))
    size = max(abs(m.start.largest), abs(m.start.smallest))
    fine = path.losses[path.finite]
    words = ""
    if m.quadratic and m.start.smallest < -1e-9 * size:
        words = f"The loss is quadratic and curves downwards ({m.start.smallest:.4g}): it has no minimum."
    elif m.quadratic and size * (1 + np.linalg.norm(m.x0)) < 1e-12 * steep:
        words = "The loss is a plane, without curvature and without a minimum."
    elif path.nonfinite is not None and len(fine) and fine[-1] < path.losses[0] - 1e6 * (1 + abs(path.losses[0])):
        words = f"The loss has no minimum where the run goes: it falls to {fine[-1]:.3g} and on."
    if not words:
        return []
    evidence = {"smallest_curvature": m.start.smallest, "largest_curvature": m.start.largest, "slope": steep}
    return [Finding("unbounded-below", words, evidence, "Look at the signs of its terms.")]


def _lost(m: Measured) -> list[Finding]:
    """Report a run that diverges although no limit was passed."""
    path = m.path
    if path.nonfinite is None and path.losses[-1] <= path.losses[0]:
        return []
    if m.rule.rate is None and m.rule.match is None and m.rule.optimizer is None and m.rule.update is None:
        return []
    fine = path.losses[path.finite]
    seen = max([m.start.largest, *(e.largest for _, e in m.way)])
    known = m.response is not None and m.response.push > 0
    why = (
        f"although the rate is below the limit of every curvature met ({seen:.4g} at most)"
        if known
        else f"with {m.rule.title}, whose limit is not known"
    )
    evidence = {"first": float(path.losses[0]), "last": float(fine[-1]), "largest_curvature": seen}
    words = f"The run ends above its start, {why}: loss {path.losses[0]:.4g} → {path.losses[-1]:.4g}."
    cure = "Take a smaller rate, and look at what the loss does between the points of the table."
    return [Finding("diverged", words, evidence, cure)]


def too_slow(m: Measured) -> list[Finding]:
    """Report a rate with which the planned number of steps does not lead there, or no sensible number does."""
    if m.bowl is None or m.response is None or m.rule.rate is None or not m.cures or m.response.push <= 0:
        return []
    if m.rule.changes:
        return []
    given, rest = m.cures[0], [c for c in m.cures[1:] if np.isfinite(c.factor)]
    if np.isinf(given.predicted) or not rest:
        return []
    best = rest[0]
    if m.budget is None:
        if best.factor < _IDLE:
            return []
        left = after = float("nan")
    else:
        if m.quadratic:
            curvatures, shares = m.bowl.spectrum(m.x0)
            left = excess_after(given.response, curvatures, shares, m.budget)
            after = excess_after(best.response, curvatures, shares, m.budget)
        else:
            start = m.path.losses[0] - m.bowl.value
            left = (m.path.losses[-1] - m.bowl.value) / start if start > 0 else 0.0
            after = FACTOR if best.counted <= m.budget else left
        if left <= _LEFT:
            return []
    evidence = {
        "rate": m.rule.rate,
        "best_rate": m.rule.rate * best.factor,
        "limit": m.limit(float(np.linalg.eigvalsh(m.bowl.hessian)[-1])),
        "condition": given.condition,
        "predicted_steps": given.predicted,
        "left": left,
    } | told(m)
    share = "" if m.budget is None else f" and {100 * left:.3g} % of it is left after {m.budget}"
    needs = f"It needs about {given.predicted:.4g} steps to bring the excess of the loss to a millionth{share}"
    if m.budget is None or (best.factor > 1.5 and after < 0.1 * left):
        words = f"The rate {m.rule.rate:.6g} is {best.factor:.4g} times smaller than the best one. {needs}."
        return [Finding("rate-too-small", words, evidence, advice(m, evidence["limit"], evidence["best_rate"]))]
    words = (
        f"No rate will do: the condition number is {given.condition:.4g}, and even at the best rate the slowest "
        f"direction needs about {best.predicted:.4g} steps. {needs}."
    )
    return [Finding("ill-conditioned", words, evidence, advice(m, evidence["limit"]))]


def cannot_reach(m: Measured) -> list[Finding]:
    """Report an optimizer whose steps are as long as its rate, and a minimum that is farther than all of them."""
    if m.budget is None or m.rule.match is None or m.bowl is None or "adam" not in m.rule.match.rule.code:
        return []
    away = np.abs(m.x0 - m.bowl.minimum)
    far, top = float(away.max()), int(np.argmax(away))
    reach = m.rule.rate * m.budget
    start = m.path.losses[0] - m.bowl.value
    if far <= reach or m.path.losses[-1] - m.bowl.value <= _LEFT * start:
        return []
    words = (
        f"Steps of Adam are about as long as its rate, so that {m.budget} steps of {m.rule.rate:g} travel {reach:.4g} "
        f"per coordinate at most; the minimum is {far:.4g} away in {m.names[top]}."
    )
    evidence = {"rate": m.rule.rate, "reach": reach, "distance": far, "parameter": m.names[top]}
    return [Finding("budget-too-small", words, evidence, f"Take a rate of {2 * far / m.budget:.2g} or more steps.")]


RULES = (uphill, unbounded, above, too_slow, cannot_reach)


def decisive(findings: list[Finding]) -> list[Finding]:
    """Keep one finding about the rate: what diverges is not also slow."""
    final = ("wrong-sign", "unbounded-below", "rate-above-limit")
    return findings[:1] if findings and findings[0].code in final else findings
