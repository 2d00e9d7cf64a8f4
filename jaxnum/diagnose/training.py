"""Training that ended too high although its gradient is right: what holds it there?

    a unit learns through φ'(z):  ∂L/∂W = xᵀ δ,  δ = (∂L/∂a) φ'(z);   where φ'(z) = 0 on all samples it never changes
    units with equal weights have equal gradients, and stay equal
    where ∇L = 0:  λ_min(∇²L) < 0 is a saddle, which descent leaves in time; λ_min > 0 a minimum, which it does not

Reference:
    LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, https://doi.org/10.1007/3-540-49430-8_2
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import block, called, with_lines
from jaxnum.networks import Perceptron, mean_squared_error, unit_slopes
from jaxnum.networks.units import SATURATED as _SATURATED
from jaxnum.numerics.krylov import lanczos_ends

_CONTENT = 0.05  # share of the loss of the best constant (or of the first loss) below which nobody complains
_FALLING = 0.1  # share of itself that a loss loses in the last quarter while it is still on its way
_CONSTANT = 0.2  # spread of the answers, in units of the largest, below which they are called the same
_ALIKE = 1e-6  # relative difference of two units' weights below which they are copies
_RANK = 1e-2  # singular value of hidden activations, in units of the largest, below which it is no pattern
_EXPLAINED = 0.5  # share of the targets' variance that the last layer must be able to reach
_KRYLOV = 40  # steps of Lanczos: both ends of a spectrum to a few digits, exact for small networks


def training(
    solution: Solution | History | ArrayLike,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    loss: Any = mean_squared_error,
    target: float | None = None,
    budget: int | None = None,
) -> Diagnosis:
    """Say why a training ended too high, when its gradient is right (ask `diagnose.gradient` about that first).

    Args:
        solution: What `networks.train` or `networks.train_many` returned, its history, or losses alone: (rows,), or
            (networks, rows). Of many networks the worst is looked at.
        x: Samples that were trained on, (samples, features). With them and a solution, units and curvature are seen.
        y: Targets, (samples, outputs).
        loss: Loss that was trained with.
        target: Loss with which you would be content; by default 5 % of the loss of the best constant answer where `y`
            is given, else 5 % of the first loss.
        budget: Steps that were allowed, when fewer may have been taken, such as scikit-learn's `max_iter`; a solution
            of jaxnum knows by itself when it was stopped by its tolerance.

    Returns:
        Diagnosis; nothing is wrong when the loss ended at or below `target`. Codes: `nonfinite`, `diverged`, `symmetry`
        (units that are copies of each other), `dead-units` (a slope of zero on all samples), `saturation` (nearly so),
        `rank-deficient` (the hidden layer says too little about the samples), `stopped-by-tolerance`,
        `oscillation` (the step is too large), `budget` (still falling), `plateau` (a saddle, or too flat to tell),
        `local-minimum`, and `stuck` where only the losses are known.

    Raises:
        ValueError: If there are no losses, or samples, loss and solution do not belong together.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from jaxnum import diagnose, networks
        >>> x, y = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), jnp.array([[0.0], [1], [1], [0]])
        >>> equal = networks.Perceptron((jnp.ones((3, 2)), jnp.ones((1, 3))), (), jax.nn.sigmoid, jax.nn.sigmoid)
        >>> solution = networks.train(equal, optax.sgd(1.0), x, y, num_steps=100)
        >>> diagnose.training(solution, x, y).findings[0].code
        'symmetry'
    """
    if target is not None:
        check_positive("target", target)
    if budget is not None:
        budget = as_count("budget", budget)
    found, member = _examined(solution, x, y, loss, target, budget)
    return with_lines(found, _lines(solution, loss, member))


def _examined(solution, x, y, loss, target, budget) -> tuple[Diagnosis, int | None]:
    """Return what is wrong, and which of many networks it is about."""
    step, losses = _losses(solution)
    value = solution.value if isinstance(solution, Solution) else None
    if (x is None) != (y is None):
        refuse("y" if y is None else "x", "be given when the other is", "is None")
    if x is not None:
        x, y = as_array("x", x, ndim=2), as_array("y", y, ndim=2)
        if len(x) != len(y):
            refuse("y", f"have one row for each of the {len(x)} samples of `x`", f"has {len(y)}")
    content = target if target is not None else _content(losses, loss, y)
    notes, tables, losses_of_many, worst = [], (), losses.ndim == 2, None
    if losses_of_many:
        last = np.where(np.isfinite(losses[:, -1]), losses[:, -1], np.inf)
        worst, high = int(np.argmax(last)), int(np.sum(last > content))
        notes.append(
            f"{high} of {len(last)} networks ended above {content:.3g}; what follows is about the worst, {worst}."
        )
        tables = (_quantiles(last),)
        losses, value = losses[worst], jax.tree.map(lambda a: a[worst] if eqx.is_array(a) else a, value)
    finite = np.isfinite(losses)
    if not finite.all():
        first = int(step[np.argmin(finite)])
        found = Finding(
            "nonfinite",
            f"The loss is {losses[np.argmin(finite)]} at step {first}.",
            {"step": first, "last_finite_loss": float(losses[finite][-1]) if finite.any() else float("nan")},
            "Take a smaller step; with the logistic function at the end, a loss of sums instead of probabilities.",
        )
        return Diagnosis("the training", (found,), tuple(notes), tables), worst
    if losses[-1] <= content:
        notes.append(f"The loss ended at {losses[-1]:.3g}, and {content:.3g} was asked for.")
        return Diagnosis("the training", (), tuple(notes), tables), worst
    findings = _of_the_stop(solution, step, losses, budget, worst if losses_of_many else None)
    stopped = bool(findings)
    findings += _of_the_curve(step, losses, content)
    if stopped and len(findings) > 1:  # a curve that is still falling is what the tolerance cut off
        findings = [findings[0], *[f for f in findings[1:] if f.code != "budget"]]
    if value is not None and x is not None:
        _check_value(value, x, y, loss, losses[-1])
        units, said = _of_the_units(value, x)
        units += [] if units else _of_the_rank(value, x, y)
        landscape = _of_the_landscape(value, x, y, loss, bool(findings))
        # A run that blew up saturates its units: there the curve is the cause, everywhere else the units are.
        blown = bool(findings) and findings[0].code == "diverged"
        findings = [*findings, *units] if blown else [*units, *findings, *landscape]
        notes += said
    if not findings:
        message = f"The loss rests at {losses[-1]:.3g}, above {content:.3g}, and the losses alone do not say why."
        findings = [Finding("stuck", message, {"loss": losses[-1]}, "Give the solution together with `x` and `y`.")]
    return Diagnosis("the training", tuple(findings), tuple(notes), tables), worst


def _lines(solution: Any, loss: Any, member: int | None) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines that compute a finding's number again."""
    source = "solution"
    if isinstance(solution, Solution):
        source = "solution.history"
    source += '["value"]' if isinstance(solution, Solution | History) else ""
    losses = f"losses = np.asarray({source}){'' if member is None else f'[{member}]'}"
    start, values = "import jax, numpy as np", "solution.value"
    if member is not None:
        values = f"jax.tree.map(lambda a: a[{member}] if hasattr(a, 'ndim') else a, solution.value)"
    units = f"layers = unit_slopes({values}, jax.numpy.asarray(x, solution.value.weights[0].dtype))"

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        code, e = finding.code, finding.evidence
        if code == "nonfinite":
            return block(start, losses, "print(np.argmin(np.isfinite(losses)))  # row"), {
                "row": int(np.argmin(np.isfinite(_row(solution, member))))
            }
        if code in ("diverged", "stopped-by-tolerance", "stuck"):
            if code == "diverged":
                return block(start, losses, "print(losses[0], losses[-1])  # first, last"), {}
            return block(start, losses, "print(losses[-1])  # loss"), {}
        if code in ("oscillation", "budget"):
            late = "late = losses[min(3 * len(losses) // 4, len(losses) - 2) :]"
            last = "print(1 - late[-1] / late[0])  # fall_in_the_last_quarter"
            if code == "oscillation":
                last = "print(np.mean(np.diff(late) > 1e-3 * late[:-1]))  # share_of_rises"
            return block(start, losses, late, last), {}
        if code in ("dead-units", "saturation"):
            top = f"top = np.max(np.asarray(layers[{e['layer']}][0]), axis=0)"
            last = f"print(top[{e['units']}].max())  # slope"
            return block(start, "from jaxnum.networks import unit_slopes", units, top, last), {}
        if code == "symmetry":
            w = f"w = np.asarray({values}.weights[{e['layer']}])"
            gap = _double(solution, member, e["layer"], e["units"][0])
            last = f"print(np.sort(np.linalg.norm(w - w[{e['units'][0]}], axis=1))[1])  # distance"
            return block(start, w, last), {"distance": gap}
        if code == "rank-deficient":
            hidden = "h = np.asarray(layers[-2][1])"
            last = "print(np.linalg.svd(h - h.mean(0), compute_uv=False))  # singular_values"
            return block(start, "from jaxnum.networks import unit_slopes", units, hidden, last), {}
        name = called(loss, "loss")
        module = getattr(loss, "__module__", "")
        known = f"from {module} import {name}" if module.startswith("jaxnum.") else ""
        height = f"height = lambda p: {name}(jax.vmap(back(p))(jax.numpy.asarray(x, p.dtype)), jax.numpy.asarray(y))"
        return block(
            f"{start}" if not known else f"{start}\n{known}",
            "from jaxnum.diagnose.training import flat_model",
            f"p, back = flat_model({values})",
            height,
            "print(np.linalg.norm(jax.grad(height)(p)))  # gradient_norm",
        ), {}

    return write


def flat_model(model: Any) -> tuple[Any, Any]:
    """Return the parameters of a model as one vector, and the function that makes a model of such a vector."""
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, back = ravel_pytree(parameters)
    return flat, lambda p: eqx.combine(back(p), rest)


def _row(solution: Any, member: int | None) -> np.ndarray:
    losses = _losses(solution)[1]
    return losses if member is None else losses[member]


def _double(solution: Any, member: int | None, layer: int, unit: int) -> float:
    """Return how far the weights of a unit are from those of its double."""
    w = np.asarray(solution.value.weights[layer])
    w = w if member is None else w[member]
    return float(np.sort(np.linalg.norm(w - w[unit], axis=1))[1])


# Losses ---------------------------------------------------------------------------------------------------------------


def _losses(solution: Any) -> tuple[np.ndarray, np.ndarray]:
    history = solution.history if isinstance(solution, Solution) else solution
    if isinstance(history, History):
        if "value" not in history:
            refuse("solution", "hold the losses along the way", f"holds {', '.join(history)}")
        losses = np.asarray(history["value"])
        step = np.asarray(history["step"]) if "step" in history else np.arange(losses.shape[-1])
        step = step[0] if step.ndim == 2 else step
    else:
        losses = np.asarray(as_array("solution", solution, finite=False))
        step = np.arange(losses.shape[-1]) if losses.ndim else np.arange(0)
    if losses.ndim not in (1, 2) or losses.shape[-1] < 2:
        refuse("solution", "hold at least two losses", f"holds an array of shape {losses.shape}")
    return step, losses


def _content(losses: np.ndarray, loss: Any, y: Any) -> float:
    if y is None:
        return _CONTENT * float(np.median(losses[..., 0]))
    # The mean is the best constant for squares and for the cross entropy.
    return _CONTENT * float(loss(jnp.ones_like(y) * jnp.mean(y, axis=0)[None, :], y))


def _quantiles(last: np.ndarray) -> Table:
    marks = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
    values = np.quantile(last, marks, method="nearest")
    return Table("Last losses", ("quantile", "loss"), tuple(zip(marks, map(float, values), strict=True)))


def _of_the_stop(solution: Any, step: Any, losses: np.ndarray, budget: int | None, member: int | None) -> list[Finding]:
    """Was it ended by a tolerance before its steps were used up?"""
    taken, allowed = int(step[-1]), budget
    if isinstance(solution, Solution):
        counts, codes = np.asarray(solution.num_steps), np.asarray(solution.status.code)
        taken = int(counts[member] if member is not None and counts.ndim else counts)
        code = int(codes[member] if member is not None and codes.ndim else codes)
        allowed = int(step[-1]) if code == Status.ok.code else taken
    if allowed is None or taken >= allowed:
        return []
    return [
        Finding(
            "stopped-by-tolerance",
            f"It was stopped after {taken} of {allowed} steps, at a loss of {losses[-1]:.3g}: a tolerance was met, "
            "which a plateau meets as well as a minimum.",
            {"steps": taken, "allowed": allowed, "loss": float(losses[-1])},
            "Set the tolerance lower or to none, and go on from where it is.",
        )
    ]


def _of_the_curve(step: np.ndarray, losses: np.ndarray, content: float) -> list[Finding]:
    first, last = losses[0], losses[-1]
    if last > first:
        evidence = {"first": first, "last": last}
        cure = "Take a smaller step: `diagnose.step_size` says how large it may be."
        return [Finding("diverged", f"The loss rose from {first:.3g} to {last:.3g}.", evidence, cure)]
    quarter = slice(min(3 * len(losses) // 4, len(losses) - 2), None)
    late, found = losses[quarter], []
    rises = np.diff(late) > 1e-3 * late[:-1]
    if len(rises) >= 4 and rises.mean() > 0.2:
        found.append(
            Finding(
                "oscillation",
                f"In the last quarter the loss rises from row to row {100 * rises.mean():.0f} % of the time.",
                {"share_of_rises": float(rises.mean()), "lowest": float(late.min()), "highest": float(late.max())},
                "Take a smaller step: `diagnose.step_size` says how large it may be.",
            )
        )
    elif late[-1] < (1 - _FALLING) * late[0]:
        per_step = np.log(late[0] / late[-1]) / (step[-1] - step[quarter][0])
        more = int(np.ceil(np.log(last / content) / per_step))
        found.append(
            Finding(
                "budget",
                f"The loss is still falling, by {100 * (1 - late[-1] / late[0]):.0f} % in the last quarter.",
                {"fall_in_the_last_quarter": float(1 - late[-1] / late[0]), "more_steps_at_this_rate": more},
                f"Go on: about {more} more steps to {content:.3g} at this rate, or a larger step if it is stable.",
            )
        )
    return found


# Units ----------------------------------------------------------------------------------------------------------------


_slopes = jax.jit(unit_slopes)


def _of_the_units(model: Any, x: Any) -> tuple[list[Finding], list[str]]:
    if not isinstance(model, Perceptron):
        return [], [f"Units were not looked at: that takes a Perceptron, and this is a {type(model).__name__}."]
    found, said = [], []
    layers = _slopes(model, x.astype(model.weights[0].dtype))
    answers = np.asarray(layers[-1][1])
    if np.ptp(answers, axis=0).max() < _CONSTANT * np.abs(answers).max():
        said.append(f"It gives nearly the same answer, {answers.mean():.3g}, to every sample.")
    for layer, (slopes, _) in enumerate(layers):
        top = np.max(np.asarray(slopes), axis=0)
        name = "the output layer" if layer == len(model.weights) - 1 else f"hidden layer {layer + 1}"
        copies = _copies(model, layer)
        if copies:
            found.append(
                Finding(
                    "symmetry",
                    f"Units {', '.join(map(str, copies))} of {name} are copies of each other; equal units get equal "
                    "gradients and count as one.",
                    {"layer": layer, "units": copies},
                    "Start from random weights that differ from unit to unit.",
                )
            )
        for code, mask, words, cure in (
            (
                "dead-units",
                top == 0,
                "do not react to any sample",
                "a smaller step or an activation with a slope on both sides, such as `jax.nn.leaky_relu`",
            ),
            (
                "saturation",
                (top > 0) & (top < _SATURATED),
                f"have less than {_SATURATED:.0%} of their steepest slope on every sample",
                "smaller weights and a smaller step",
            ),
        ):
            if mask.any():
                units = np.flatnonzero(mask).tolist()
                found.append(
                    Finding(
                        code,
                        f"{len(units)} of {len(top)} units of {name} {words} (units {', '.join(map(str, units))}): "
                        "hardly any gradient passes through them.",
                        {"layer": layer, "units": units, "slope": float(top[mask].max()), "share": float(mask.mean())},
                        f"Start again with {cure}.",
                    )
                )
        if not (copies or (top < _SATURATED).any()):
            said.append(f"Every unit of {name} can learn: its slope reaches {top.min():.2g} of the steepest or more.")
    return found, said


def _of_the_rank(model: Any, x: Any, y: Any) -> list[Finding]:
    """Do the last hidden activations tell the samples apart, as far as the targets need it?"""
    if not isinstance(model, Perceptron) or len(model.weights) < 2:
        return []
    hidden = np.asarray(_slopes(model, x.astype(model.weights[0].dtype))[-2][1])
    different = len(np.unique(np.asarray(x), axis=0))
    possible = min(hidden.shape[1], different - 1)
    centered, wanted = hidden - hidden.mean(0), np.asarray(y) - np.asarray(y).mean(0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    rank = int(np.sum(s > _RANK * s[0])) if s[0] > 0 else 0
    spread = float(np.sum(wanted**2))
    explained = float(np.sum((u[:, :rank].T @ wanted) ** 2)) / spread if spread > 0 else 1.0
    if rank >= possible or explained > _EXPLAINED:
        return []
    evidence = {"rank": rank, "possible": possible, "explained": explained, "singular_values": s}
    return [
        Finding(
            "rank-deficient",
            f"The last hidden layer of {hidden.shape[1]} units shows {rank} independent pattern{'s' * (rank != 1)} "
            f"over the samples where {possible} are possible; they explain {100 * explained:.0f} % of the targets, "
            "and no output layer can make up for that.",
            evidence,
            "Start from larger and more different weights, so that the units bend in different places.",
        )
    ]


def _copies(model: Perceptron, layer: int) -> list[int]:
    """Return the units of a hidden layer that have a double, in what comes in and in what goes out."""
    if layer == len(model.weights) - 1:
        return []
    rows = [np.asarray(model.weights[layer]), np.asarray(model.weights[layer + 1]).T]
    rows = np.concatenate(rows + ([np.asarray(model.biases[layer])[:, None]] if model.biases else []), axis=1)
    gaps = np.linalg.norm(rows[:, None] - rows[None], axis=-1) + np.where(np.eye(len(rows)), np.inf, 0)
    return np.flatnonzero(np.min(gaps, axis=1) <= _ALIKE * np.linalg.norm(rows, axis=1)).tolist()


# Landscape ------------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("loss", "structure", "leaves"))
def _ends(parameters: Any, rest: Any, x: Any, y: Any, loss: Any, structure: Any, leaves: Any) -> Any:
    flat, back = ravel_pytree(parameters)

    def height(p):
        model = eqx.combine(back(p), rest, jax.tree.unflatten(structure, leaves))
        return loss(jax.vmap(model)(x), y)

    gradient = jax.grad(height)
    value, slope = height(flat), gradient(flat)
    start = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
    ends = lanczos_ends(lambda v: jax.jvp(gradient, (flat,), (v,))[1], start, min(_KRYLOV, flat.size))
    return value, jnp.linalg.norm(slope), ends.smallest, ends.largest, ends.residual


def _landscape(model: Any, x: Any, y: Any, loss: Any) -> tuple[float, ...]:
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    rest, skeleton = eqx.partition(rest, eqx.is_array)
    leaves, structure = jax.tree.flatten(skeleton)
    dtype = jax.tree.leaves(parameters)[0].dtype
    return tuple(map(float, _ends(parameters, rest, x.astype(dtype), y.astype(dtype), loss, structure, tuple(leaves))))


def _check_value(model: Any, x: Any, y: Any, loss: Any, last: float) -> None:
    given = _landscape(model, x, y, loss)[0]
    if not abs(given - last) <= 1e-3 * abs(last):
        refuse("loss", f"be what was trained with, {last:.6g} at the end", f"is {given:.6g} with these samples")


def _of_the_landscape(model: Any, x: Any, y: Any, loss: Any, moving: bool) -> list[Finding]:
    value, gradient, smallest, largest, error = _landscape(model, x, y, loss)
    evidence = {"gradient_norm": gradient, "smallest_curvature": smallest, "largest_curvature": largest}
    # A curvature within the error of Lanczos, or of rounding, has no sign.
    noise = max(error, 100 * float(jnp.finfo(x.dtype).eps) * abs(largest))
    if moving:
        return []
    numbers = f"gradient norm {gradient:.2g}, curvatures from {smallest:.2g} to {largest:.2g}"
    if smallest > noise and gradient**2 / smallest < value:
        # In a bowl of at least this curvature, at most g²/(2λ) can still be gained.
        message = f"It rests in a local minimum at a loss of {value:.3g}: {numbers}."
        cure = "Try other starts (`networks.train_many`), or more units."
        return [Finding("local-minimum", message, evidence, cure)]
    kind = "a saddle, which descent leaves in time" if smallest < -noise else "too flat to tell from a minimum"
    message = f"It rests on a plateau at a loss of {value:.3g}, {kind}: {numbers}."
    cure = "Go on with a larger step or with an adaptive one such as `optax.adam`; or try other starts."
    return [Finding("plateau", message, evidence, cure)]
