"""From the numbers of a wrong gradient to a cause: rules that need no network.

Each rule looks at u (claimed) and g (true) at several points at once, leaf by leaf, and speaks only when its formula
holds at all of them, those included to which no constant was fitted:

    u = c g,   u_l = c_l g_l,   u_l = g_lᵀ,   u = c g + λ w,   u_i = k x_j g_i,   u_i = g_i + k x_j, ...
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxnum.diagnose.report import Finding, Table
from jaxnum.diagnose.truth import Parameters

_MOST_FORMS = 60  # parameters up to which factors of a component are looked for among all others


@dataclass(frozen=True)
class Comparison:
    """A claimed and a true gradient at several points.

    Attributes:
        at: Structure of the parameters.
        points: Where, (points, parameters); the first is `at` itself.
        true: True gradient, same shape.
        claimed: Claimed gradient, same shape.
        error: Estimated error of the true one, same shape.
        tolerance: Relative difference that counts as none.
        samples: Numbers of samples that are in sight, to recognize factors by.
    """

    at: Parameters
    points: np.ndarray
    true: np.ndarray
    claimed: np.ndarray
    error: np.ndarray
    tolerance: float
    samples: tuple[int, ...] = ()

    def leaf(self, values: np.ndarray, i: int) -> np.ndarray:
        """Return the part of leaf `i`, (points, size)."""
        return values[:, self.at.slices[i]]

    @property
    def count(self) -> int:
        """Number of leaves."""
        return len(self.at.shapes)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Typical size of the gradient in each leaf, not taken at one point where it may vanish."""
        lengths = np.array([np.linalg.norm(self.leaf(self.true, i), axis=1) for i in range(self.count)])
        overall = np.median(np.linalg.norm(self.true, axis=1))
        # What one leaf loses in rounding of numbers as large as the others'.
        return np.maximum(np.median(lengths, axis=1), 1e-9 * overall)

    @cached_property
    def slack(self) -> np.ndarray:
        """Difference that counts as none in each leaf at each point, (points, leaves)."""
        own = [np.linalg.norm(self.leaf(self.error, i), axis=1) for i in range(self.count)]
        here = np.array([np.linalg.norm(self.leaf(self.true, i), axis=1) for i in range(self.count)])
        return (self.tolerance * np.maximum(self.sizes[:, None], here) + 10 * np.array(own)).T

    def agrees(self, values: np.ndarray, i: int | None = None) -> bool:
        """Whether values (points, size) equal what is claimed, in one leaf or in all."""
        leaves = range(self.count) if i is None else (i,)
        for n in leaves:
            part = values if i is not None else self.leaf(values, n)
            if np.any(np.linalg.norm(part - self.leaf(self.claimed, n), axis=1) > self._allowed(n)):
                return False
        return True

    def _allowed(self, n: int) -> np.ndarray:
        # A factor magnifies the error of the truth along with the truth.
        grown = np.linalg.norm(self.leaf(self.claimed, n), axis=1)
        return self.slack[:, n] * max(1.0, float(np.median(grown)) / max(self.sizes[n], 1e-300))

    @cached_property
    def right(self) -> tuple[bool, ...]:
        """Which leaves are right at all points."""
        gaps = [np.linalg.norm(self.leaf(self.claimed - self.true, i), axis=1) for i in range(self.count)]
        return tuple(bool(np.all(gap <= self.slack[:, i])) for i, gap in enumerate(gaps))

    @cached_property
    def wrong(self) -> tuple[int, ...]:
        """Indices of the leaves that are not right."""
        return tuple(i for i, good in enumerate(self.right) if not good)

    def name(self, i: int) -> str:
        """Return what a leaf is called."""
        return self.at.names[i] or "the gradient"

    def component(self, k: int) -> str:
        """Return what a component of the flat vector is called."""
        i = next(i for i, s in enumerate(self.at.slices) if s.start <= k < s.stop)
        index = np.unravel_index(k - self.at.slices[i].start, self.at.shapes[i] or (1,))
        name = self.at.names[i] or "x"
        return f"{name}[{', '.join(map(str, index))}]" if self.at.shapes[i] else name

    @cached_property
    def cosine(self) -> np.ndarray:
        """Cosine between claimed and true, the whole vector, at each point; 0 where either vanishes."""
        lengths = np.linalg.norm(self.claimed, axis=1) * np.linalg.norm(self.true, axis=1)
        dots = np.einsum("pn,pn->p", self.claimed, self.true)
        return np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)

    def factor(self, i: int | None = None) -> float:
        """Return the factor that fits best, of one leaf or of all."""
        u, g = (self.claimed, self.true) if i is None else (self.leaf(self.claimed, i), self.leaf(self.true, i))
        size = np.linalg.norm(g, axis=1)
        use = size > 1e-6 * np.max(size, initial=0.0)  # a stationary point says nothing about a factor
        u, g = u[use] / size[use, None], g[use] / size[use, None]
        return float(np.sum(u * g) / np.sum(g * g)) if np.any(use) else 0.0

    @property
    def here(self) -> int:
        """The first point where the true gradient does not vanish: the numbers of the evidence are those there."""
        lengths = np.linalg.norm(self.true, axis=1)
        return int(np.argmax(lengths > 1e-8 * np.median(lengths)))

    def evidence(self) -> dict:
        """Return the numbers that belong to every finding."""
        here = self.here
        lengths = [float(np.linalg.norm(v[here])) for v in (self.claimed, self.true)]
        total = sum(lengths)
        gap = float(np.linalg.norm(self.claimed[here] - self.true[here]))
        return {
            "cosine": float(np.median(self.cosine)),
            "norm_ratio": lengths[0] / lengths[1] if lengths[1] else math.inf,
            "relative_difference": gap / total if total else 0.0,
            "wrong_leaves": [self.at.names[i] for i in self.wrong],
        }

    def table(self) -> Table:
        """Leaf by leaf: angle, factor, and what a factor leaves over."""
        rows = []
        for i in range(self.count):
            u, g, factor = self.leaf(self.claimed, i), self.leaf(self.true, i), self.factor(i)
            lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(g, axis=1)
            use = lengths > 0
            dots = np.einsum("pn,pn->p", u, g)
            cosine = float(np.median(dots[use] / lengths[use])) if np.any(use) else 0.0
            left = np.linalg.norm(u - factor * g, axis=1) / np.maximum(np.linalg.norm(u, axis=1), 1e-300)
            rest = float(np.median(left)) if np.any(u) else 0.0
            verdict = "right" if self.right[i] else "zero" if not np.any(u) else "wrong"
            rows.append((self.name(i), str(self.at.shapes[i]), cosine, factor, rest, verdict))
        heads = ("parameter", "shape", "cosine", "factor", "left over", "verdict")
        return Table(f"Claimed against true gradient, medians over {len(self.points)} points", heads, tuple(rows))


# Words ----------------------------------------------------------------------------------------------------------


def plural(names: Iterable[str]) -> str:
    """Join names as in a sentence."""
    names = list(names)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def meaning(factor: float, samples: tuple[int, ...] = ()) -> str:
    """Say what a constant factor usually comes from."""
    size, slack = abs(factor), 1e-6
    causes = []
    for n in dict.fromkeys(s for s in samples if s > 1):
        for power, words in (
            (n, f"a sum over {n} where the loss takes a mean"),
            (1 / n, f"a mean over {n} where the loss takes a sum"),
            (2 * n, f"a sum over {n} where the loss takes a mean, and a 2 too many"),
            (n / 2, f"a sum over {n} where the loss takes a mean, and the 2 of the square forgotten"),
            (2 / n, f"a mean over {n} where the loss takes a sum, and a 2 too many"),
            (0.5 / n, f"a mean over {n} where the loss takes a sum, and the 2 of the square forgotten"),
            (1 / n**2, f"a mean over {n} taken twice"),
        ):
            if abs(size / power - 1) < slack and abs(power - 1) > slack:
                causes.append(words)
    if abs(size - 2) < slack:
        causes.insert(0, "a 2 that the ½ of the loss cancels, or one of the two halves of a symmetric term twice")
    elif abs(size - 0.5) < slack:
        causes.insert(0, "the 2 of a derived square forgotten")
    elif not causes:
        whole = round(size) if size > 1 else round(1 / size)
        if 2 < whole < 10_000 and abs((size if size > 1 else 1 / size) / whole - 1) < slack:
            causes.append(
                f"a sum over {whole} where the loss takes a mean"
                if size > 1
                else f"a mean over {whole} where the loss takes a sum"
            )
    return "; or ".join(causes)


# Rules: each returns findings, or nothing -----------------------------------------------------------------------


def constant_factor(c: Comparison) -> list[Finding]:
    """Rule u = c g."""
    factor = c.factor()
    if abs(factor) < 1e-12 or not c.agrees(factor * c.true):
        return []
    if not np.any(c.claimed):
        return []
    evidence = c.evidence() | {"scale": factor, "factor": factor}
    if abs(factor + 1) < 10 * c.tolerance:
        message = "Your gradient is the true one with the wrong sign: it points uphill where it should point down."
        cure = "Look for target − prediction where the loss has prediction − target, or for a sign added twice."
        return [Finding("wrong-sign", message, evidence, cure)]
    words = meaning(factor, c.samples)
    message = f"Your gradient is {factor:.6g} times the true one, everywhere; the direction is right."
    cure = f"It looks like {words}." if words else "Look for a forgotten 2 from a square, or a sum for a mean."
    found = [Finding("constant-factor", message, evidence, cure)]
    if factor < 0:
        message = f"Your gradient is {factor:.6g} times the true one: the wrong sign, and the wrong length besides."
        found = [Finding("wrong-sign", message, evidence, f"Change the sign. Then: {cure[0].lower()}{cure[1:]}")]
    return found


def zero(c: Comparison) -> list[Finding]:
    """Rule u = 0."""
    if np.any(np.linalg.norm(c.claimed, axis=1) > 1e-3 * c.tolerance * np.linalg.norm(c.true, axis=1)):
        return []
    message = "Your gradient is zero everywhere, and the true one is not."
    return [Finding("zero-gradient", message, c.evidence(), "Return what was computed, not where it was to be stored.")]


def leaf_factors(c: Comparison) -> list[Finding]:
    """Rule u_l = c_l g_l, leaf by leaf."""
    if c.count < 2:
        return []
    factors = {}
    for i in c.wrong:
        u, factor = c.leaf(c.claimed, i), c.factor(i)
        if not np.any(u):
            factors[i] = 0.0
        elif abs(factor) > 1e-12 and c.agrees(factor * c.leaf(c.true, i), i):
            factors[i] = factor
        else:
            return []
    found = []
    empty = [i for i, f in factors.items() if f == 0]
    if empty:
        names = plural(c.name(i) for i in empty)
        message = f"The gradient of {names} is missing: it is zero everywhere, and the true one is not."
        evidence = c.evidence() | {"leaves": [c.at.names[i] for i in empty]}
        found.append(Finding("missing-leaf", message, evidence, "Compute it; parameters without one never move."))
    rest = {i: f for i, f in factors.items() if f}
    signs = [i for i, f in rest.items() if abs(f + 1) < 10 * c.tolerance]
    if signs:
        names = plural(c.name(i) for i in signs)
        message = f"The gradient of {names} has the wrong sign" + (
            "; that of the others is right." if any(c.right) else "."
        )
        cure = "One sign for each layer, as here, comes from σ(−z) with the derivative of σ(z)." if any(c.right) else ""
        evidence = c.evidence() | {"factors": {c.at.names[i]: rest[i] for i in signs}}
        found.append(Finding("wrong-sign", message, evidence, cure or "Change it."))
    others = {i: f for i, f in rest.items() if i not in signs}
    if others:
        by_factor = itertools.groupby(sorted(others, key=lambda i: others[i]), key=lambda i: round(others[i], 6))
        parts = [f"{plural(c.name(i) for i in group)} is {f:.6g} times the true one" for f, group in by_factor]
        message = f"The gradient of {'; that of '.join(parts)}." + (" All else is exact." if any(c.right) else "")
        words = "; ".join(dict.fromkeys(filter(None, (meaning(f, c.samples) for f in others.values()))))
        evidence = c.evidence() | {"factors": {c.at.names[i]: f for i, f in others.items()}}
        cure = f"It looks like {words}." if words else "Look for a factor in the line of this parameter alone."
        found.append(Finding("leaf-factor", message, evidence, cure))
    return found


def transposed(c: Comparison) -> list[Finding]:
    """Rule u_l = g_lᵀ for square leaves, and leaves that stand in each other's place."""
    turned, swapped, wrong = [], [], list(c.wrong)
    for i in c.wrong:
        shape = c.at.shapes[i]
        if len(shape) == 2 and shape[0] == shape[1] > 1:
            back = c.leaf(c.true, i).reshape(-1, *shape).swapaxes(1, 2).reshape(len(c.points), -1)
            if c.agrees(back, i):
                turned.append(i)
    wrong = [i for i in wrong if i not in turned]
    while wrong:
        i = wrong.pop(0)
        own = [j for j in range(c.count) if j != i and math.prod(c.at.shapes[j]) == math.prod(c.at.shapes[i])]
        source = next((j for j in own if c.agrees(c.leaf(c.true, j), i)), None)
        if source is None:
            return []
        swapped.append((i, source))
    found = []
    if turned:
        names = plural(c.name(i) for i in turned)
        message = f"The gradient of {names} is transposed; the matrix is square, so that nothing complains."
        evidence = c.evidence() | {"leaves": [c.at.names[i] for i in turned]}
        cure = "Exchange the factors of the product: (A B)ᵀ = Bᵀ Aᵀ."
        found.append(Finding("transposed-leaf", message, evidence, cure))
    if swapped:
        words = plural(f"that of {c.name(j)} stands where that of {c.name(i)} belongs" for i, j in swapped)
        evidence = c.evidence() | {"leaves": [[c.at.names[i], c.at.names[j]] for i, j in swapped]}
        message = f"Gradients are returned in another order than the parameters: {words}."
        found.append(Finding("permuted-leaves", message, evidence, "Return them in the order of the parameters."))
    return found


def additions(c: Comparison) -> list[Finding]:
    """Rule u = c g + λ_l w in some leaves, or with the sign of w, or with a constant."""
    if len(c.points) < 4:
        return []
    for code, term, words in (
        ("weight-decay", c.points, "λ w"),
        ("weight-decay", np.sign(c.points), "λ sign(w)"),
        ("constant-offset", np.ones_like(c.points), "a constant"),
    ):
        fit = _fit_terms(c, term)
        if fit is None:
            continue
        factor, rates = fit
        found = []
        some = {i: r for i, r in rates.items() if r}
        names = plural(c.name(i) for i in some)
        values = plural(f"{v:.6g}" for v in dict.fromkeys(float(f"{r:.6g}") for r in some.values()))
        evidence = c.evidence() | {"rates": {c.at.names[i]: r for i, r in some.items()}, "scale": factor}
        evidence["rate"] = next(iter(some.values()))
        if code == "constant-offset":
            message = f"A constant, {values}, is added to every component of {names}."
            cure = "Look for a term that does not depend on the parameters."
        elif evidence["rate"] * (factor or 1.0) > 0:
            penalty = "½ λ Σ w²" if words == "λ w" else "λ Σ |w|"
            message = (
                f"The gradient of {names} holds {words} with λ = {values}, the decay of a penalty that the loss lacks."
            )
            cure = f"Add {penalty} to the loss, or leave the decay to the update."
        else:
            rate = -evidence["rate"] / factor
            message = (
                f"The loss has a penalty on {names} whose gradient, {words} with λ = {rate:.6g}, is missing in yours."
            )
            cure = f"Add {words} to the gradient of {names}."
            code = "missing-penalty"
        found.append(Finding(code, message, evidence, cure))
        if abs(factor - 1) > 10 * c.tolerance:
            extra = c.evidence() | {"scale": factor}
            words = meaning(factor, c.samples)
            message = f"Besides, all else is {factor:.6g} times the true gradient."
            code = "wrong-sign" if factor < 0 else "constant-factor"
            found.append(Finding(code, message, extra, f"It looks like {words}." if words else "Look for a factor."))
        return found
    return []


def _fit_terms(c: Comparison, term: np.ndarray) -> tuple[float, dict[int, float]] | None:
    """Fit one factor for all and one rate for each leaf at some points; None where it does not hold at the others."""
    num_fit = len(c.points) - len(c.points) // 3
    columns = [c.true]
    for s in c.at.slices:
        own = np.zeros_like(term)
        own[:, s] = term[:, s]
        columns.append(own)
    matrix = np.stack(columns, -1)
    weight = 1 / np.maximum(np.linalg.norm(c.claimed, axis=1), 1e-300)[:, None]
    a = (matrix * weight[..., None])[:num_fit].reshape(-1, matrix.shape[-1])
    b = (c.claimed * weight)[:num_fit].ravel()
    if len(b) <= matrix.shape[-1] + 1:
        return None
    lengths = np.linalg.norm(a, axis=0)
    if np.any(lengths == 0):
        return None
    fit, _, rank, _ = np.linalg.lstsq(a / lengths, b, rcond=None)
    if rank < matrix.shape[-1]:
        return None
    fit = fit / lengths
    factor = float(fit[0])
    rates = {}
    for i, s in enumerate(c.at.slices):
        # The fit is exact to rounding, so a rate may be far smaller than what two gradients may differ by.
        least = 0.01 * c.tolerance * c.sizes[i] + 20 * np.linalg.norm(c.error[:, s], axis=1)
        weighty = np.linalg.norm(fit[i + 1] * term[:, s], axis=1) > least
        rates[i] = float(fit[i + 1]) if np.any(weighty) else 0.0
    if not any(rates.values()) or abs(factor) < 1e-9:
        return None
    factor = 1.0 if abs(factor - 1) <= 10 * c.tolerance else factor
    told = factor * c.true + sum(r * matrix[..., i + 1] for (i, r), _ in zip(rates.items(), c.at.slices, strict=True))
    return (factor, rates) if c.agrees(told) else None


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


def unknown(c: Comparison) -> list[Finding]:
    """What is left when no rule fits: where it is wrong, and by how much."""
    evidence = c.evidence() | {"cause": "unknown"}
    angle = math.degrees(math.acos(min(1.0, max(-1.0, evidence["cosine"]))))
    how = f"its angle to the true one is {angle:.3g}° and its length {evidence['norm_ratio']:.3g} times the true one"
    downhill = (
        "Steps against it still lead downhill, so training may seem to work."
        if np.all(c.cosine[np.linalg.norm(c.true, axis=1) > 0] > 0)
        else "Steps against it lead uphill in places."
    )
    if c.count > 1 and any(c.right):
        names = plural(c.name(i) for i in c.wrong)
        right = plural(c.name(i) for i, good in enumerate(c.right) if good)
        message = (
            f"The gradient of {names} is wrong and that of {right} is right; the cause is none of the known ones. As a "
            f"whole {how}. {downhill}"
        )
        return [Finding("unknown-cause", message, evidence, f"Look at the lines that form the gradient of {names}.")]
    message = f"Your gradient is wrong, and the cause is none of the known ones: {how}. {downhill}"
    return [Finding("wrong-direction", message, evidence, "Compare the table, leaf by leaf, with the formula meant.")]


ALONE = (zero, constant_factor)
"""Rules that explain everything at once, tried first."""
LEAF_BY_LEAF = (leaf_factors, transposed, additions)
"""Rules that a known mistake of a network explains better, tried after those."""
REST = (permuted, components)
"""Rules tried after pairs of known mistakes."""
