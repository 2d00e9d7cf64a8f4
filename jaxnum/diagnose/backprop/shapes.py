"""A hand-written pass through a network, line by line: which shape each quantity has, and which it must have.

    z_l = a_{l−1} W_l + b_l,   a_l = φ(z_l),   error = a_L − y,   slope_l = φ'(z_l),   delta_L = error · slope_L
    back_l = delta_{l+1} W_{l+1}ᵀ,   delta_l = back_l · slope_l,   dW_l = a_{l−1}ᵀ delta_l,   db_l = Σ delta_l

Every quantity is computed again by its own line of these from the quantities that the user's code had at that moment.
So a mistake further up hides none further down: each line is judged for what it does with what it is given.

Reference:
    Rumelhart, Hinton & Williams (1986), https://doi.org/10.1038/323533a0
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum._checks import as_array, refuse
from jaxnum.diagnose.backprop.functions import Activation
from jaxnum.diagnose.backprop.lines import MISTAKES, Context, Mistake
from jaxnum.diagnose.backprop.network import Network, layouts
from jaxnum.diagnose.backprop.watching import Seen, watch
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import block, called, with_lines
from jaxnum.diagnose.truth import double_precision

_CLOSE = 1e-9  # relative difference of two values that are the same line: lines of a pass lose a few units of rounding


@dataclass(frozen=True)
class Quantity:
    """One line of the pass.

    Attributes:
        kind: `z`, `a`, `error`, `slope`, `delta`, `back`, `dW`, `db` or `new`.
        layer: Number of the layer, from 1.
        inputs: Roles it is computed from.
        formula: The right line, with these roles.
    """

    kind: str
    layer: int
    inputs: tuple[str, ...]
    formula: str

    @property
    def role(self) -> str:
        """Name under which it is asked for."""
        return "error" if self.kind == "error" else f"{'new_W' if self.kind == 'new' else self.kind}{self.layer}"


def shapes(
    run: Callable[[], Any] | Mapping[str, Any],
    network: Network,
    weights: Sequence[Any],
    *,
    names: Mapping[str, str] | None = None,
) -> Diagnosis:
    """Look at every intermediate of a hand-written forward and backward pass.

    Args:
        run: Function without arguments that makes one pass. Its local variables are watched, also when it fails with
            an error on the way. Or the intermediates themselves, as a mapping.
        network: Samples, targets and activations that the pass is meant for.
        weights: Weight matrices before the pass, from input to output, as (inputs, outputs) or (outputs, inputs).
        names: Role and the name it has in `run`: `z1`, `a1`, ... sums and activations of each layer, `error`,
            `slope1`, ... the derivatives of the activations, `back1`, ... what comes back through the weights,
            `delta1`, `dW1`, `db1` and `new_W1`. Roles that the code has no name for are left out. By default
            variables are called like their roles. Names given to `W1`, `x` and `y` appear in the cures.

    Returns:
        Diagnosis with a table of all quantities. Codes: `flipped-sign`, `sum-for-product`, `outer-product`,
        `division`, `not-summed`, `elementwise-product`, `matrix-product`, `derivative-of-activation`,
        `derivative-of-sum`, `missing-slope`, `missing-activation`, `averaged`, `wrong-sign`, and `wrong-shape` or
        `wrong-value` where a line is wrong in a way that is not known.

    Raises:
        ValueError: If the weights do not make up the network, or none of the names is found.

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> x, y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]), np.ones((3, 1))
        >>> w1, w2 = 0.1 * np.ones((2, 2)), np.array([[0.3], [-0.2]])
        >>> def forward():
        ...     z1 = x @ w1
        ...     a1 = 1 / (1 + np.exp(z1))
        ...     z2 = a1 @ w2
        >>> [finding] = diagnose.shapes(forward, diagnose.Network(x, y), [w1, w2]).findings
        >>> finding.code, finding.evidence["quantity"]
        ('flipped-sign', 'a1')
    """
    if not isinstance(network, Network):
        refuse("network", "be a `diagnose.Network`", f"is {type(network).__name__}")
    with double_precision():
        matrices = [np.asarray(as_array(f"weights[{i}]", w, ndim=2)).astype(float) for i, w in enumerate(weights)]
    found = [g for g in layouts(network, [w.shape for w in matrices]) if g.weights == tuple(range(len(matrices)))]
    if not found:
        sizes = ", ".join(map(str, (w.shape for w in matrices)))
        refuse(
            "weights", f"lead from {network.x.shape[1]} inputs to {network.y.shape[1]} outputs", f"have shapes {sizes}"
        )
    columns = found[0].columns
    seen = watch(run, names)
    lines = _lines(network.activations(len(matrices)), columns)
    if not any(q.role in seen.values for q in lines):
        refuse("names", "name at least one variable of the pass", f"found none of {', '.join(q.role for q in lines)}")
    return with_lines(_judge(seen, lines, network, matrices, columns), _lines_of(seen, run))


def _lines_of(seen: Seen, run: Any) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines that show a quantity again: its shape, and its largest entry."""
    start, named = "import numpy as np", {}
    if not isinstance(run, Mapping):
        start = "import numpy as np\nfrom jaxnum.diagnose.backprop.watching import watch"
        named = {role: name for role, name in seen.names.items() if role != name}
    given = called(run, "run") if not isinstance(run, Mapping) else "run"

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        role = finding.evidence.get("quantity", "")
        values = f"watch({given}{f', {named!r}' if named else ''})"
        if role not in seen.values:
            kind = type(seen.failure).__name__
            return block(start, f"print(type({values}.failure).__name__)  # raises"), {"raises": kind}
        value = f"{values}.values[{role!r}]"
        if isinstance(run, Mapping):
            value = f"np.asarray(run[{seen.names.get(role, role)!r}], float)"
        largest = float(np.max(np.abs(seen.values[role])))
        told = {"shape": seen.values[role].shape, "largest": largest}
        return block(start, f"v = {value}", "print(v.shape, np.abs(v).max())  # shape, largest"), told

    return write


# The right lines ------------------------------------------------------------------------------------------------------


# The activations as people write them: of the sum z, and the derivative of the activation a.
_WRITTEN = {
    "logistic": ("1 / (1 + np.exp(-{z}))", "{a} * (1 - {a})"),
    "tanh": ("np.tanh({z})", "1 - {a}**2"),
    "relu": ("np.maximum({z}, 0)", "{z} > 0"),
    "identity": ("{z}", "np.ones_like({z})"),
}


def _lines(acts: Sequence[Activation], columns: bool) -> list[Quantity]:
    """Return every quantity of a pass in the order in which it is computed."""
    depth, lines, (there, back) = len(acts), [], (".T", "") if columns else ("", ".T")
    written = [_WRITTEN.get(act.name, ("φ({z})", "φ'({z})")) for act in acts]
    for n in range(1, depth + 1):
        below = "x" if n == 1 else f"a{n - 1}"
        lines.append(Quantity("z", n, (below,), f"{below} @ W{n}{there}"))
        lines.append(Quantity("a", n, (f"z{n}",), written[n - 1][0].format(z=f"z{n}")))
    lines.append(Quantity("error", depth, (f"a{depth}",), f"a{depth} - y"))
    for n in range(depth, 0, -1):
        below = "x" if n == 1 else f"a{n - 1}"
        slope = written[n - 1][1].format(z=f"z{n}", a=f"a{n}")
        lines.append(Quantity("slope", n, (f"z{n}", f"a{n}"), slope))
        if n == depth:
            lines.append(Quantity("delta", n, ("error", f"slope{n}"), f"error * slope{n}"))
        else:
            lines.append(Quantity("back", n, (f"delta{n + 1}", f"a{n + 1}"), f"delta{n + 1} @ W{n + 1}{back}"))
            lines.append(Quantity("delta", n, (f"back{n}", f"slope{n}"), f"back{n} * slope{n}"))
        formula = f"delta{n}.T @ {below}" if columns else f"{below}.T @ delta{n}"
        lines.append(Quantity("dW", n, (below, f"delta{n}"), formula))
        lines.append(Quantity("db", n, (f"delta{n}",), f"delta{n}.sum(axis=0)"))
        lines.append(Quantity("new", n, (f"dW{n}", "error"), f"W{n} - rate * dW{n}"))
    return lines


def _right(kind: str, c: Context, y: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
    """Compute one quantity by its right line, in rows of samples and weights (inputs, outputs)."""
    if kind == "z":
        return inputs[0] @ c.weight
    if kind == "a":
        return c.act.fn(inputs[0])
    if kind == "error":
        return inputs[0] - y
    if kind == "slope":
        return c.act.slope(inputs[0])
    if kind == "delta":
        return inputs[0] * inputs[1]
    if kind == "back":
        return inputs[0] @ c.weight.T
    if kind == "dW":
        return inputs[0].T @ inputs[1]
    if kind == "db":
        return inputs[0].sum(axis=0)
    return inputs[0]


# Judging --------------------------------------------------------------------------------------------------------------


def _judge(seen: Seen, lines: list[Quantity], network: Network, matrices: list[np.ndarray], columns: bool) -> Diagnosis:
    weights = [w.T if columns else w for w in matrices]
    acts = network.activations(len(weights))
    values: dict[str, np.ndarray] = {"x": network.x}
    spoiled: set[str] = set()
    findings, rows, notes, first_missing = [], [], [], None
    for q in lines:
        act = acts[q.layer - 1]
        weight = weights[q.layer] if q.kind == "back" else weights[q.layer - 1]
        c = Context(act, weight, columns)
        inputs = [values[name] for name in q.inputs]
        right = np.asarray(_right(q.kind, c, network.y, *inputs))
        mine = seen.values.get(q.role)
        if mine is None:
            values[q.role] = right
            spoiled |= {q.role} if set(q.inputs) & spoiled else set()
            if first_missing is None and seen.failure is not None and q.role in seen.source:
                first_missing = q
                findings += _of_failure(q, c, seen, inputs)
                rows.append((q.role, _written(seen, q), "fails", str(_must(q, c, right)), q.formula, "wrong"))
            continue
        must = _must(q, c, right)
        follows = [name for name in q.inputs if name in spoiled]
        if q.kind == "new" and mine.shape == must:
            error = values["error"]
            sign = np.sign(np.sum(error * (values[f"a{len(weights)}"] - network.y)))
            verdict, found = _step(q, mine, inputs, columns, sign, matrices, seen)
        else:
            verdict, found = _one(q, c, seen, mine, right, must, inputs, follows)
        findings += found
        if verdict != "right":
            spoiled.add(q.role)
        shown = _same_way(mine, right, must)
        values[q.role] = right if shown is None else shown
        rows.append((q.role, _written(seen, q), str(mine.shape), str(must), q.formula, verdict))
    if seen.failure is not None and first_missing is None:
        words = f"The pass ends in an error: {_short(seen.failure)}."
        findings.append(Finding("error", words, {}, "Look at the line that raises it: " + (seen.failed or "not seen")))
    if seen.failure is not None:
        notes.append(
            f"The pass does not end: `{seen.failed}` raises {type(seen.failure).__name__}: {_short(seen.failure)}."
        )
    layout = "(outputs, inputs)" if columns else "(inputs, outputs)"
    notes.append(f"Weights are taken as {layout}; each line is judged with the values that your code had there.")
    right = sum(row[-1] == "right" for row in rows)
    notes.append(f"{right} of {len(rows)} quantities are right.")
    heads = ("quantity", "your line", "shape", "must be", "right line", "verdict")
    table = Table("Every quantity of the pass", heads, tuple(rows))
    return Diagnosis("the pass", tuple(findings), tuple(notes), (table,))


def _must(q: Quantity, c: Context, right: np.ndarray) -> tuple[int, ...]:
    """Return the shape that the user's own layout asks for."""
    return right.shape[::-1] if q.kind in ("dW", "new") and c.columns else right.shape


def _same_way(mine: np.ndarray, right: np.ndarray, must: tuple[int, ...]) -> np.ndarray | None:
    """Return the user's value in our layout, or None when its shape is wrong."""
    if mine.shape == right.shape and must == right.shape:
        return mine
    if mine.shape == must:
        return mine.T
    if mine.ndim == 2 and mine.T.shape == right.shape:
        return mine.T
    if mine.size == right.size and sorted(d for d in mine.shape if d != 1) == sorted(d for d in right.shape if d != 1):
        return mine.reshape(right.shape)
    return None


def _one(q, c, seen, mine, right, must, inputs, follows) -> tuple[str, list[Finding]]:
    """Judge one quantity: right, wrong with its findings, or a consequence of what came before."""
    shown = _same_way(mine, right, must)
    if shown is not None and _close(shown, right):
        return "right", []
    if shown is not None and q.kind in ("error", "dW", "db"):
        # Half the squares, the mean, the other sign of the error: conventions, as long as the step goes downhill.
        factor = _factor(shown, right)
        if factor is not None and (q.kind == "error" or factor > 0):
            return "right", []
    for mistake in MISTAKES[q.kind]:
        try:
            with np.errstate(all="ignore"):
                wrong = np.asarray(mistake.line(c, *inputs))
        except (ValueError, IndexError):
            continue
        for form in (wrong, wrong.T):
            if form.shape == mine.shape and np.isfinite(form).any() and _close(mine, form):
                return "wrong", _named(q, mistake, seen, mine.shape, must)
    if follows:
        return f"follows from {follows[0]}", []
    evidence = {"quantity": q.role, "shape": mine.shape, "expected_shape": must}
    if shown is None:
        words = f"{_name(seen, q)} has shape {mine.shape} and must have {must}."
        return "wrong", [Finding("wrong-shape", words, evidence, _cure(seen, q))]
    gap = float(np.max(np.abs(shown - right)))
    words = f"{_name(seen, q)} has the right shape {mine.shape} and is off by up to {gap:.3g}."
    return "wrong", [Finding("wrong-value", words, evidence | {"difference": gap}, _cure(seen, q))]


def _step(q, mine, inputs, columns, sign, matrices, seen) -> tuple[str, list[Finding]]:
    """Judge new weights: old ones and new ones differ by a multiple of the gradient, and the step leads downhill."""
    gradient = inputs[0].T if columns else inputs[0]
    factor = _factor(mine - matrices[q.layer - 1], gradient)
    if factor is None or factor * sign < 0:
        return ("right" if factor is not None else "not judged"), []
    words = f"{_name(seen, q)} adds the gradient, which leads uphill."
    return "wrong", [Finding("wrong-sign", words, {"quantity": q.role, "rate": -factor}, _cure(seen, q))]


def _named(q: Quantity, mistake: Mistake, seen: Seen, shape: Any, must: Any) -> list[Finding]:
    sizes = "" if tuple(shape) == tuple(must) else f" Its shape is {tuple(shape)} and must be {tuple(must)}."
    evidence = {"quantity": q.role, "shape": tuple(shape), "expected_shape": tuple(must)}
    found = []
    for code in mistake.code.split("+"):
        words = mistake.message
        if "+" in mistake.code:
            words = {
                "division": "divides by the activations, where the chain rule multiplies",
                "not-summed": "has a row for every sample, and they are not summed",
            }[code]
        found.append(Finding(code, f"{_name(seen, q)} {words}.{sizes}", evidence, _cure(seen, q)))
    return found


def _of_failure(q: Quantity, c: Context, seen: Seen, inputs: list[np.ndarray]) -> list[Finding]:
    """Find the wrong line that fails with the very same words."""
    said = _short(seen.failure)
    evidence = {"quantity": q.role, "error": said}
    for mistake in MISTAKES[q.kind]:
        try:
            with np.errstate(all="ignore"):
                mistake.line(c, *inputs)
        except ValueError as error:
            if _short(error) == said:
                words = f"{_name(seen, q)} cannot be computed ({said}): it is {mistake.message}"
                return [Finding(mistake.code, words.rstrip(".") + ".", evidence, _cure(seen, q))]
        except IndexError:
            continue
    words = f"{_name(seen, q)} cannot be computed: {said}."
    return [Finding("wrong-shape", words, evidence, _cure(seen, q))]


def _factor(mine: np.ndarray, right: np.ndarray) -> float | None:
    """Return the factor between two arrays that are proportional."""
    square = float(np.sum(right * right))
    if square == 0:
        return None
    factor = float(np.sum(mine * right)) / square
    return factor if factor and _close(mine, factor * right) else None


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    size = max(float(np.max(np.abs(b), initial=0.0)), 1e-300)
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= _CLOSE * size))


def _name(seen: Seen, q: Quantity) -> str:
    mine = seen.names.get(q.role)
    return f"`{mine}` ({q.role})" if mine and mine != q.role else f"`{q.role}`"


def _written(seen: Seen, q: Quantity) -> str:
    return seen.source.get(q.role, "")


def _cure(seen: Seen, q: Quantity) -> str:
    """Write the right line with the user's own names."""
    words = re.sub(r"\b[A-Za-z_]+\d*\b", lambda match: seen.names.get(match[0], match[0]), q.formula)
    return f"{seen.names.get(q.role, q.role)} = {words}"


def _short(error: Exception | None) -> str:
    return " ".join(str(error).split())[:160]
