"""Is the step too large, too small, or not to blame? Known before the run, and then confirmed by running.

On a quadratic of curvature λ every optimizer that is linear in the gradient is a matrix M(λ); it is stable while the
spectral radius of M stays below one. Gradient descent diverges above 2/λmax, momentum above 2(1 + β)/λmax, and what
grows is the eigenvector of λmax: it says which parameter, or which feature, is responsible.

Away from a quadratic this is a statement about the neighborhood of a point, so it is made at the start, along the way
and at the end, and a run decides. Descent that fails even for a vanishing step is not the fault of the step.

References:
    Goh, Why momentum really works (2017), https://doi.org/10.23915/distill.00006
    Cohen et al., Gradient descent typically occurs at the edge of stability (2021), https://arxiv.org/abs/2103.00065
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxnum._checks import as_array, as_count, refuse
from jaxnum.diagnose.report import Diagnosis, Finding
from jaxnum.diagnose.reproduce import with_lines
from jaxnum.diagnose.step_sizes.adaptive import frozen
from jaxnum.diagnose.step_sizes.cures import Bowl, Cure, Features, cures
from jaxnum.diagnose.step_sizes.follow import LONGEST, Path, follow
from jaxnum.diagnose.step_sizes.measured import Measured
from jaxnum.diagnose.step_sizes.reproduce import of_step_size
from jaxnum.diagnose.step_sizes.rules import RULES, decisive
from jaxnum.diagnose.step_sizes.surface import DENSE, Ends, Surface, minimum_near, surface
from jaxnum.diagnose.step_sizes.understanding import Rule, understand
from jaxnum.diagnose.step_sizes.words import notes, tables
from jaxnum.diagnose.truth import caller, double_precision, doubt, parameters, spread

_STEPS = 1000  # steps that are followed when no budget is given
_SAME = 1e-6  # relative change of the Hessian below which a loss counts as quadratic


def step_size(
    loss: Callable,
    params: Any,
    optimizer_or_rate: Any,
    *,
    gradient: Callable | None = None,
    features: Any = None,
    num_steps: int | None = None,
) -> Diagnosis:
    """Say whether a learning rate is stable, what limits it, and what would converge sooner.

    Args:
        loss: Function of the parameters returning a number; plain NumPy is retold in JAX where that can be done. It is
            taken as it is: a sum over n samples has n times the curvature of the mean.
        params: Parameters to start from, a number, an array or a pytree; a tuple is handed over as arguments.
        optimizer_or_rate: Learning rate of gradient descent; a method of `jaxnum.optimize` with its rate, such as
            `(Momentum(0.9), 0.01)`, or without it to learn the limit only; an Optax transformation; or a function
            `update(grad, state) -> (step, state)`.
        gradient: Your own gradient of the loss, of the same parameters. It is compared with the true one first: if it
            does not point downhill, no step will do.
        features: Columns (n, p) of a linear model, one for each parameter in order, as an array or as a dict of name
            and column. They give the responsible feature its name, and two more cures.
        num_steps: Steps you mean to take. Without it the speed is judged only where the rate is a hundred times too
            small; with it, by what is left of the loss at the end.

    Returns:
        Diagnosis. Codes: `rate-above-limit`; `rate-too-small` and `ill-conditioned` (no rate will do) for a budget;
        `budget-too-small` (an optimizer of bounded steps cannot get there); `wrong-gradient`; `wrong-sign` (steps
        lead uphill); `diverged` (below every limit: not the step); `unbounded-below`; `inconclusive`.

    Raises:
        ValueError: If the loss does not return a finite number at `params`, or an argument does not fit.

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> x = np.linspace(0.0, 100.0, 100)
        >>> loss = lambda w: np.mean((w[0] + w[1] * x - 3.0 * x) ** 2)
        >>> [finding] = diagnose.step_size(loss, np.zeros(2), 0.01, features={"1": 0 * x + 1, "x": x}).findings
        >>> finding.code, f"{finding.evidence['limit']:.3g}", finding.evidence["parameter"]
        ('rate-above-limit', '0.000298', 'x')
    """
    budget = None if num_steps is None else as_count("num_steps", num_steps)
    found, seen, m = _examined(loss, params, optimizer_or_rate, gradient, features, budget)
    return with_lines(found, of_step_size(loss, optimizer_or_rate, gradient, seen, m, budget))


def _examined(loss, params, optimizer_or_rate, gradient, features, budget) -> tuple[Diagnosis, Surface, Any]:
    steps = min(budget or _STEPS, LONGEST)
    with double_precision():
        at = parameters(params, loss, name="params")
        seen = surface(loss, at)
        x0 = at.flat()
        if not np.isfinite(seen.value(x0)):
            refuse("loss", "be finite at `params`", f"is {seen.value(x0):g} there")
        columns = _features(features, x0.size)
        rule = understand("optimizer_or_rate", optimizer_or_rate, steps)
        subject = "the step size"
        rng = np.random.default_rng(0)
        moves = np.array([spread(at, rng) for _ in range(4)])
        points = np.array([x0, *(x0 + spread(at, rng, 0.2) for _ in range(3))])
        points = np.array([p for p in points if np.isfinite(seen.value(p))])
        truth = f"The truth is {seen.truth.method}" + (f", because {seen.truth.why}." if seen.truth.why else ".")
        if words := doubt(seen.truth, points, moves[: len(points)]):
            found = Finding("inconclusive", words, {}, "Make the loss smooth first.")
            return Diagnosis(subject, (found,), (truth,)), seen, None
        scale, findings, said = 1.0, [], [truth]
        if gradient is not None:
            scale, findings, more = _gradient(gradient, seen, points)
            said += more
            if findings:
                return Diagnosis(subject, tuple(findings), tuple(said)), seen, None
        m = _measure(seen, rule, x0, steps, budget, columns, scale)
        findings = [f for rule_ in RULES for f in rule_(m)]
        found = Diagnosis(subject, tuple(decisive(findings)), tuple(said + notes(m, not findings)), tables(m))
        return found, seen, m


def _measure(seen, rule, x0, steps, budget, columns, scale) -> Measured:
    start = seen.ends(x0)
    own = rule.scaled(scale)
    going = rule.rate is not None or rule.optimizer is not None or rule.update is not None
    path = follow(seen, own, x0, steps) if going else follow(seen, _at_half(rule, start), x0, steps)
    bowl, quadratic = _bowl(seen, x0, path)
    fine = [int(i) for i in np.flatnonzero(path.finite) if i]
    fine = [] if quadratic else fine if x0.size <= DENSE else fine[-1:]
    way = tuple((int(path.steps[i]), seen.ends(path.points[i], certain=False)) for i in fine)
    found: list[Cure] = []
    if bowl is not None:
        given = own.response if own.response is not None and rule.rate is not None else None
        found = cures(seen, given, x0, bowl, columns)
    names = columns.names if columns is not None else _names(seen)
    limits = frozen(seen, own, path)
    return Measured(seen, rule, x0, start, path, way, bowl, quadratic, tuple(found), names, budget, scale, limits)


def measured(loss: Callable, params: Any, optimizer_or_rate: Any, *, num_steps: int | None = None) -> Measured:
    """Return the measurements alone: curvature, the run, the minimum it leads to, and ways to get there sooner."""
    with double_precision():
        steps = min(num_steps or _STEPS, LONGEST)
        seen = surface(loss, parameters(params, loss, name="params"))
        rule = understand("optimizer_or_rate", optimizer_or_rate, steps)
        return _measure(seen, rule, seen.parameters.flat(), steps, num_steps, None, 1.0)


def _at_half(rule: Rule, start: Ends) -> Rule:
    """Return a family without a rate at half its limit, so that there is a path to look along."""
    unit = rule.response
    rate = 0.5 * unit.critical / start.largest if start.largest > 0 else 1.0
    return Rule(rule.title, (unit.scaled(rate),))


def _bowl(seen: Surface, x0: np.ndarray, path: Path) -> tuple[Bowl | None, bool]:
    """Return the quadratic around the minimum that the run leads to, and whether the loss is that everywhere."""
    if x0.size > DENSE:
        v = np.random.default_rng(1).normal(size=x0.size)
        return None, _alike(seen.product(x0, v), seen.product(x0 + 0.3 * (1 + np.abs(x0)) * np.cos(v), v))
    fine = np.flatnonzero(path.finite)
    best = path.points[fine[np.argmin(path.losses[fine])]] if len(fine) else x0
    hessian = seen.hessian(x0)
    aside = x0 + 0.3 * (1 + np.abs(x0)) * np.cos(1.0 + np.arange(x0.size))
    quadratic = _alike(hessian, seen.hessian(aside)) and _alike(hessian, seen.hessian(best))
    where, is_minimum = minimum_near(seen, x0 if quadratic else best)
    if not is_minimum:
        return None, quadratic
    there = hessian if quadratic else seen.hessian(where)
    return Bowl(where, seen.value(where), there, quadratic), quadratic


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.isfinite(b).all() and np.max(np.abs(a - b)) <= _SAME * np.max(np.abs(a)))


# The user's gradient --------------------------------------------------------------------------------------------------


def _gradient(claimed: Callable, seen: Surface, points: np.ndarray) -> tuple[float, list[Finding], list[str]]:
    """Compare a claimed gradient with the true one: its factor, what is wrong with it, and what is right."""
    at = seen.parameters
    call = caller("gradient", claimed, at.at)
    cosines, factors, gaps, compared = [], [], [], []
    for x in points:
        with np.errstate(all="ignore"):
            given = call(at.tree(x))
        try:
            mine = at.flat(given)
        except (TypeError, ValueError):
            mine = np.zeros(0)
        if mine.shape != x.shape:
            refuse("gradient", f"return {x.size} numbers in the structure of `params`", f"returns {np.shape(given)}")
        true = seen.gradient(x)
        size, own = np.linalg.norm(true), np.linalg.norm(mine)
        if size == 0 or not np.isfinite(own):
            continue
        factors.append(float(mine @ true / size**2))
        gaps.append(float(np.linalg.norm(mine - factors[-1] * true) / own) if own else 0.0)
        compared.append(x)
        cosines.append(float(mine @ true / (size * own)) if own else 0.0)
    if not factors:
        return 1.0, [], ["Your gradient could not be compared: the true one vanishes, or yours is not finite."]
    cosine, factor = min(cosines), float(np.median(factors))
    evidence = {"smallest_cosine": cosine, "factor": factor, "misfit": max(gaps)}
    evidence["point"] = compared[int(np.argmin(cosines))]
    exact = seen.truth.method.startswith("autodiff")
    slack = 1e-6 if exact else 1e-4
    cure = "Subtract it" if cosine < -1 + slack else "Ask `diagnose.gradient` what is wrong with it"
    if cosine <= slack:
        words = (
            f"The gradient is to blame, not the step: at one of {len(cosines)} points the cosine between yours and the "
            f"true one is {cosine:.3g}, so the loss does not fall along it however small the step is."
        )
        return 1.0, [Finding("wrong-gradient", words, evidence, f"{cure}; no step size will help.")], []
    same = max(factors) - min(factors) <= slack * abs(factor)
    if max(gaps) > slack or not same:
        words = (
            f"Your gradient is not that of this loss: the cosine between them falls to {cosine:.4g}. The loss still "
            "falls along it for a small enough step, but limits of the true gradient say nothing about yours."
        )
        return 1.0, [Finding("wrong-gradient", words, evidence, f"{cure}, then come back.")], []
    if abs(factor - 1) <= slack:
        return 1.0, [], [f"Your gradient is the true one, to {max(max(gaps), abs(factor - 1)):.0e}."]
    note = f"Your gradient is {factor:.6g} times that of the loss: the rate acts as {factor:.6g} times itself."
    return factor, [], [note]


def _names(seen: Surface) -> tuple[str, ...]:
    """Name every entry of the flat vector."""
    names = []
    for leaf, shape in zip(seen.parameters.names, seen.parameters.shapes, strict=True):
        label = leaf or "parameter"
        if shape == ():
            names.append(label)
        else:
            names += [f"{label}[{', '.join(map(str, index))}]" for index in np.ndindex(*shape)]
    return tuple(names)


def _features(features: Any, size: int) -> Features | None:
    if features is None:
        return None
    names = None
    if isinstance(features, Mapping):
        names = tuple(str(k) for k in features)
        lengths = {np.shape(v) for v in features.values()}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            refuse("features", "hold columns of one length", f"holds shapes {', '.join(map(str, sorted(lengths)))}")
        features = np.stack([np.asarray(v, float) for v in features.values()], axis=1)
    columns = np.asarray(as_array("features", features, shape=(None, size)))
    return Features(columns.astype(float), names or tuple(f"feature {i}" for i in range(size)))
