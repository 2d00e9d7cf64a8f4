"""Rules about whole gradients and whole leaves: factors, signs, places, and terms too many or too few.

u = c g,   u_l = c_l g_l,   u_l = g_lᵀ,   u = c g + λ w
"""

import itertools
import math

import numpy as np

from jaxnum.diagnose.gradients.comparison import Comparison, meaning, plural
from jaxnum.diagnose.report import Finding

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
