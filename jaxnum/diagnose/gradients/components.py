"""Rules about single components, and the function of the point that stands between one of them and the truth.

u_i = k x_j g_i,   u_i = g_i + k x_j x_k,   u_i = g_j,   u = P g
"""

import itertools
from collections.abc import Iterable

import numpy as np

from jaxnum.diagnose.gradients.comparison import Comparison
from jaxnum.diagnose.report import Finding

_MOST_FORMS = 60  # parameters up to which factors of a component are looked for among all others


def components(c: Comparison) -> list[Finding]:
    """Rule: some components wrong, perhaps by a factor or a term that is a simple function of the point."""
    n = c.true.shape[1]
    scale = np.median(np.abs(c.true), axis=0)
    overall = np.array([max(scale[s].max(initial=0.0), 1e-300) for s in c.at.slices for _ in range(s.stop - s.start)])
    gaps = np.abs(c.claimed - c.true)
    bad = np.flatnonzero(np.any(gaps > c.tolerance * np.maximum(overall, np.abs(c.true)) + 10 * c.error, axis=0))
    if not len(bad):
        return []
    forms = {int(k): _form(c, int(k)) for k in bad[:20]} if n <= _MOST_FORMS and len(c.points) >= 6 else {}
    explained = len(bad) <= 20 and bool(forms) and all(forms.values())
    if len(bad) == n and not explained:
        return []
    if not explained and len(bad) > max(1, 0.5 * n) and c.count == 1:
        return []
    if not explained and any(_whole(c, i, bad) for i in c.wrong) and c.count > 1:
        return []  # a whole leaf is wrong: that is said of the leaf
    first = int(bad[0])
    here = _telling(c, first)
    yours, true = float(c.claimed[here, first]), float(c.true[here, first])
    where = "" if here == 0 else " (at a point near `at`)"
    message = (
        f"{len(bad)} of {n} components disagree, first {c.component(first)} at index {first}: yours {yours:.6g}, true "
        f"{true:.6g}{where}."
    )
    told = [f"{c.component(k)} {form}" for k, form in forms.items() if form][:4]
    if told:
        message += f" Your {'; '.join(told)}."
    evidence = c.evidence() | {"components": bad[:50].tolist(), "index": first, "yours": yours, "true": true}
    evidence["here"] = here == c.here
    if told:
        evidence["forms"] = {c.component(k): form for k, form in forms.items() if form}
    cure = "Derive the terms that depend on this parameter once more." if len(bad) == 1 else ""
    return [Finding("wrong-components", message, evidence, cure or "Derive these terms once more.")]


def _whole(c: Comparison, i: int, bad: np.ndarray) -> bool:
    s = c.at.slices[i]
    inside = np.sum((bad >= s.start) & (bad < s.stop))
    return s.stop - s.start > 1 and inside > 0.5 * (s.stop - s.start)


def _telling(c: Comparison, k: int) -> int:
    """Return the first point at which a component is plainly wrong."""
    gap = np.abs(c.claimed[:, k] - c.true[:, k])
    return int(np.argmax(gap > 1e-3 * max(gap.max(), 1e-300)))


def _form(c: Comparison, k: int) -> str:
    """Say which simple function of the point stands between a component and the truth, or nothing."""
    u, g, x = c.claimed[:, k], c.true[:, k], c.points
    size = np.median(np.abs(g))
    if np.all(np.abs(u) <= c.tolerance * size):
        return "is zero, and the true one is not"
    slack = max(c.tolerance, 1e-9)
    use = np.abs(g) > 1e-6 * max(size, 1e-300)
    with np.errstate(all="ignore"):
        ratio = np.divide(u, g, out=np.full_like(u, np.nan), where=use)
        factor = _constant(ratio, slack)
        if factor is not None:
            return f"is {factor:.6g} times the true one"
        for power, sign in ((1, ""), (-1, "/"), (2, "²"), (-2, "/²")):
            for j in range(x.shape[1]):
                factor = _constant(ratio / x[:, j] ** power, 10 * slack)
                if factor is not None:
                    name, times = c.component(j), "" if abs(factor - 1) < 1e-6 else f"{factor:.6g} "
                    what = f"{times}{name}" + ("²" if sign == "²" else "")
                    if power < 0:
                        what = f"{times or ''}1/{name}" + ("²" if power == -2 else "")
                    return f"has an extra factor {what}"
        gap, size = u - g, np.maximum(np.abs(u), np.abs(g))
        if np.median(np.abs(gap) / size) < 1e3 * slack:
            return ""
        for j in (j for j in range(c.true.shape[1]) if j != k):
            if _constant(u / c.true[:, j], slack) == 1.0:
                return f"is the true {c.component(j)}"
        factor = _constant(gap, slack)
        if factor is not None:
            return f"differs by a constant, {factor:.6g}"
        for powers in _monomials(x.shape[1]):
            factor = _constant(gap / np.prod([x[:, j] for j in powers], axis=0), 100 * slack)
            if factor is not None:
                what = " ".join(_powers(c, powers))
                return f"differs by {factor:.6g} {what}"
    return ""


def _constant(values: np.ndarray, slack: float) -> float | None:
    """Return the common value, None where there is none."""
    values = values[np.isfinite(values)]
    if len(values) < 4:
        return None
    middle = float(np.median(values))
    if middle == 0 or np.max(np.abs(values - middle)) > slack * abs(middle):
        return None
    return float(round(middle)) if abs(middle - round(middle)) < 10 * slack and round(middle) else middle


def _monomials(n: int) -> Iterable[tuple[int, ...]]:
    """Products of up to three parameters, as indices."""
    for degree in (1, 2, 3) if n <= 6 else (1, 2) if n <= 20 else (1,):
        yield from itertools.combinations_with_replacement(range(n), degree)


def _powers(c: Comparison, indices: tuple[int, ...]) -> list[str]:
    counted = {j: indices.count(j) for j in indices}
    return [c.component(j) + {1: "", 2: "²", 3: "³"}[power] for j, power in counted.items()]


def permuted(c: Comparison) -> list[Finding]:
    """Rule: the components of one leaf are right, in another order."""
    found = []
    for i in c.wrong:
        u, g = c.leaf(c.claimed, i), c.leaf(c.true, i)
        n = u.shape[1]
        if not 1 < n <= 400:
            return []
        unit = max(float(np.max(np.abs(g))), 1e-300)
        gaps = np.max(np.abs(u[:, :, None] - g[:, None, :]), axis=0) / unit
        order = np.argmin(gaps, axis=1)
        if sorted(order.tolist()) != list(range(n)) or np.max(gaps[np.arange(n), order]) > 10 * c.tolerance:
            return []
        moved = int(np.argmax(order != np.arange(n)))
        message = (
            f"The components of {c.name(i)} are the true ones in another order: yours at index {moved} is the true one "
            f"at index {int(order[moved])}."
        )
        evidence = c.evidence() | {"order": order.tolist()}
        cure = "Look for an index that is off by one, or for an order of ravel or reshape."
        found.append(Finding("wrong-direction", message, evidence, cure))
    return found
