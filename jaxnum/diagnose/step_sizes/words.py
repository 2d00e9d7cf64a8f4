"""The words around the findings about a step size: cures, notes and tables."""

from typing import Any

import numpy as np

from jaxnum.diagnose.report import Table
from jaxnum.diagnose.step_sizes.cures import Cure
from jaxnum.diagnose.step_sizes.measured import Measured


def told(m: Measured) -> dict[str, Any]:
    """Return the better ways to descend, as evidence of a finding."""
    better = [c for c in m.cures if c.code != "given"]
    return {
        "cures": {c.code: {"rate": c.response.rate, "predicted": c.predicted, "counted": c.counted} for c in better}
    }


def advice(m: Measured, limit: float, best: float | None = None) -> str:
    """Return the cure of a finding: a rate, and what other ways would cost."""
    words = f"Take a rate below {limit:.6g}"
    if best is not None:
        words = f"Take a rate near {best:.6g}; the limit is {limit:.6g}"
    better = [c for c in m.cures if c.code != "given" and np.isfinite(c.predicted)]
    if not better:
        return words + "; half of that is a safe start."
    count = [f"{c.name} ({c.response.rate:.4g}) {_count(c.predicted)}{_confirmed(c)}" for c in better]
    how = "as predicted"
    if not m.quadratic:
        # Away from the minimum nothing but a run tells.
        count = [f"{c.name} ({c.response.rate:.4g}) {c.counted:.0f}" for c in better if np.isfinite(c.counted)]
        how = "counted in runs from your start"
    if not count:
        return words + "."
    return (
        f"{words}. Steps until a millionth of the loss's excess over its minimum is left, {how}, with the rate in "
        f"brackets: {'; '.join(count)}."
    )


def _count(steps: float) -> str:
    return f"{steps:.0f}" if steps < 1e6 else f"{steps:.2g}"


def _confirmed(c: Cure) -> str:
    if np.isnan(c.counted):
        return " (not run)"
    if abs(c.counted - c.predicted) <= max(1.0, 0.01 * c.predicted):
        return ""
    return f" (a run took {c.counted:.0f})" if np.isfinite(c.counted) else " (a run did not arrive)"


def notes(m: Measured, well: bool) -> list[str]:
    """Return what was found to be right, how far it holds, and what must be kept in mind; `well`: nothing was wrong."""
    said = [f"The optimizer is {m.rule.title}."]
    if len(m.rule.moments) > 1:
        rates = ", ".join(f"{r.rate:.3g} at step {n}" for r, n in zip(m.rule.responses, m.rule.moments, strict=False))
        said.append(f"Its rate changes in time ({rates}); it is judged by the largest.")
    if m.quadratic:
        said.append("The loss is quadratic, so its curvature is the same everywhere and the limit is exact.")
    else:
        words = "The loss is not quadratic: a limit is a statement about the neighborhood of a point."
        if well and m.response is not None and m.over(m.start) and m.rule.rate is not None:
            words += " The rate is above the limit at the start, and the run leaves that region all the same."
        said.append(words)
        if m.x0.size > 10 and m.response is not None and any(m.over(e) for _, e in m.way) and not m.blown:
            said.append(
                "On the way the largest curvature comes to the limit while the loss still falls: networks do that by "
                "themselves (the edge of stability), and it is no fault."
            )
    if m.start.smallest < -1e-9 * max(abs(m.start.largest), 1e-300):
        said.append(
            f"The smallest curvature at the start is {m.start.smallest:.4g}: it is no bowl there, and the largest one "
            "alone decides stability."
        )
    if m.response is not None and m.rule.rate is None:
        said.append(f"Without a rate only the limit is given: {m.limit(m.start.largest):.6g} at the start.")
    elif m.response is None:
        said.append(_of_nonlinear(m))
    confirmed = [c for c in m.cures if np.isfinite(c.predicted) and np.isfinite(c.counted) and c.predicted > 0]
    if confirmed:
        worst = max(abs(c.counted / c.predicted - 1) for c in confirmed)
        said.append(
            "Predicted numbers of steps and those of runs agree."
            if worst == 0
            else f"Predicted numbers of steps and those of runs differ by {100 * worst:.2g} % at most."
            if worst <= 0.1
            else "Predictions hold near the minimum; runs from this start need up to "
            f"{max(c.counted / c.predicted for c in confirmed):.3g} times as many steps."
        )
    return said


def _of_nonlinear(m: Measured) -> str:
    """What can be said about a rule that divides by the size of its gradients."""
    f = m.frozen
    if f is None:
        return "This rule is not linear in the gradient; curvature alone gives no limit for it, so the run decides."
    share = abs(m.rule.rate) / float(f.limits[-1])
    words = "below" if share < 0.98 else "above" if share > 1.02 else "at"
    return (
        f"With its second moment as it is at the end, the curvature in its own scale is {f.sharpness[-1]:.4g}; the "
        f"limit there is {f.factor:.4g}/rate = {f.factor / abs(m.rule.rate):.4g}, and the run is {words} it. Near a "
        "minimum its steps shrink to the size of the rate and no further."
    )


def tables(m: Measured) -> tuple[Table, ...]:
    """Return the curvatures, the direction of the largest, and ways to descend with their steps."""
    known = m.response is not None
    heads = ("where", "loss", "smallest curvature", "largest curvature", *(("limit of the rate",) if known else ()))
    rows = [("start", float(m.path.losses[0]), m.start)]
    losses = dict(zip(m.path.steps.tolist(), m.path.losses, strict=True))
    way = m.way if not m.quadratic else ()
    rows += [(f"step {n}", float(losses.get(n, np.nan)), e) for n, e in way]
    if m.bowl is not None and not m.quadratic:
        rows.append(("minimum", m.bowl.value, m.surface.ends(m.bowl.minimum)))
    cells = tuple((w, v, e.smallest, e.largest, *((m.limit(e.largest),) if known else ())) for w, v, e in rows)
    found = [Table("Curvature", heads, cells)]
    shares = m.start.direction**2
    top = np.argsort(-shares, kind="stable")[:5]
    parts = tuple((m.names[i], f"{100 * shares[i]:.4g} %") for i in top if shares[i] > 1e-6)
    found.append(Table("Direction of the largest curvature at the start", ("parameter", "share"), parts))
    if m.frozen is not None:
        heads = ("where", "curvature in its own scale", "limit of the rate")
        cells = zip(m.frozen.steps, m.frozen.sharpness, m.frozen.limits, strict=True)
        rows = tuple((f"step {n}", float(a), float(b)) for n, a, b in cells)
        found.append(Table("With the second moment frozen as it is there", heads, rows))
    if m.cures:
        heads = ("descent", "rate", "condition number", "steps predicted", "steps of a run")
        cells = tuple((c.name, c.response.rate, c.condition, _steps(c.predicted), _steps(c.counted)) for c in m.cures)
        found.append(Table("Steps until a millionth of the loss's excess over its minimum is left", heads, cells))
    return tuple(found)


def _steps(count: float) -> str:
    if np.isnan(count):
        return "not run"
    return "never" if np.isinf(count) else _count(count)
