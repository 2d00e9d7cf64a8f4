"""A number somebody printed about a gradient check: which mistake gives just this number?

    r = ‖u − g‖ / (‖u‖ + ‖g‖)        u = k g:   r = |k − 1|/(k + 1) for k > 0,   r = 1 for k ≤ 0

so that k = (1 + r)/(1 − r) or its inverse: 1/3 is a factor of 2, 1/2 one of 3, 3/5 one of 4. The number does not say
which side carries the factor. With the loss at hand every known mistake is tried at the very parameters.
"""

import decimal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxnum._checks import check_positive, refuse
from jaxnum.diagnose.backprop.discover import discover
from jaxnum.diagnose.backprop.explain import Explainer
from jaxnum.diagnose.backprop.network import Network, layouts
from jaxnum.diagnose.backprop.recognize import Recognized, recognize
from jaxnum.diagnose.gradients.comparison import meaning
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import block, called, with_lines
from jaxnum.diagnose.truth import Parameters, double_precision, parameters, spread, truth

_CONTENT = 1e-6  # what differences leave between two right gradients
_LARGEST = 1000  # factors up to which a simple one is looked for

_MEASURES: dict[str, Callable] = {
    "‖u − g‖/(‖u‖ + ‖g‖)": lambda u, g: np.linalg.norm(u - g) / (np.linalg.norm(u) + np.linalg.norm(g)),
    "‖u − g‖/max(‖u‖, ‖g‖)": lambda u, g: np.linalg.norm(u - g) / max(np.linalg.norm(u), np.linalg.norm(g)),
    "‖u − g‖/‖g‖": lambda u, g: np.linalg.norm(u - g) / np.linalg.norm(g),
    "‖u − g‖/‖u + g‖": lambda u, g: np.linalg.norm(u - g) / max(np.linalg.norm(u + g), 1e-300),
    "largest |u − g|/max(|u|, |g|)": lambda u, g: np.max(np.abs(u - g) / np.maximum(np.abs(u), np.abs(g))),
    "‖u − g‖": lambda u, g: np.linalg.norm(u - g),
}


def published_number(
    number: float | str,
    *,
    samples: int | None = None,
    loss: Callable | None = None,
    at: Any = None,
    network: Network | None = None,
) -> Diagnosis:
    """Say which mistake in a gradient reproduces the difference that a gradient check printed.

    Args:
        number: Relative difference ‖u − g‖/(‖u‖ + ‖g‖) between the gradient by hand and the numerical one. As text,
            such as "0.3333", its digits say how exactly it is meant; a float is taken to a part in ten thousand.
        samples: Number of samples, to recognize a sum taken for a mean.
        loss: Loss that was checked; with it each known mistake is tried, under several definitions of the difference.
        at: Parameters it was checked at.
        network: Network it belongs to, as for `gradient`.

    Returns:
        Diagnosis; `ok` when the number is what differences leave of a right gradient. The finding is the simplest
        mistake that gives this number; the table lists all. One number never proves a cause: ask `gradient`.

    Raises:
        ValueError: If `number` is no number from 0 on, or `at` is missing beside `loss`.

    Example:
        >>> from jaxnum import diagnose
        >>> [finding] = diagnose.published_number("0.3333").findings
        >>> finding.code, finding.evidence["factor"]
        ('constant-factor', 2.0)
    """
    value, slack = _number(number)
    if samples is not None:
        check_positive("samples", samples)
    if (loss is None) != (at is None):
        refuse("at" if at is None else "loss", "be given beside the other", "is None")
    found = _examined(number, value, slack, samples, loss, at, network)
    return with_lines(found, _lines(value, loss, network))


def _examined(number, value, slack, samples, loss, at, network) -> Diagnosis:
    subject = f"a relative difference of {number}"
    if value <= _CONTENT:
        note = "A difference this small is what rounding and the step of the differences leave: the gradient is right."
        return Diagnosis(subject, (), (note,))
    rows = list(_factors(value, slack, samples))
    notes = ["One number cannot prove a cause; several points and every leaf can: ask `diagnose.gradient`."]
    if loss is not None:
        with double_precision():
            tried = _tried(loss, at, network)
            rows += [row for row in tried if abs(row[2] - value) <= slack]
            if not any(row[1] == next(iter(_MEASURES)) for row in tried):
                notes.append("No network is known for this loss, so that only factors were tried.")
    table = Table(
        "What gives this number", ("mistake", "definition", "number", "factor"), tuple((r[0], *r[1:4]) for r in rows)
    )
    if not rows:
        message = f"No known mistake gives {number}."
        cure = "Give the loss and the parameters it was checked at, or ask `diagnose.gradient`."
        return Diagnosis(subject, (Finding("unknown-cause", message, {"number": value}, cure),), tuple(notes))
    first = rows[0]
    others = list(dict.fromkeys(r[0] for r in rows[1:] if r[0] != first[0]))[:6]
    message = first[4] + (f" The same number comes from {'; '.join(others)}." if others else "")
    evidence = {"number": value, "factor": first[3], "alternatives": others, "told": first[2], "measure": first[1]}
    evidence["place"] = first[6] if len(first) > 6 else ""
    cure = "Look which side carries it." if first[0] == "constant-factor" else first[5]
    return Diagnosis(subject, (Finding(first[0], message, evidence, cure),), tuple(notes), (table,))


def _lines(value: float, loss: Any, network: Any) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines that compute the number of a mistake."""

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        e = finding.evidence
        if finding.code == "unknown-cause":
            if value < 1:
                return block(f"r = {value!r}", "print((1 + r) / (1 - r))  # factor"), {
                    "factor": (1 + value) / (1 - value)
                }
            return block(f"r = {value!r}", "print(r)  # number"), {}
        if "place" not in e or e["factor"] != 1.0:
            k = e["factor"]
            return block(f"k = {k!r}", "print(abs(k - 1) / (abs(k) + 1))  # told"), {}
        with_network = "" if network is None else ", network=network"
        return block(
            "import numpy as np; from jaxnum.diagnose.gradients.published import broken",
            f"u, g = broken({called(loss, 'loss')}, at, {finding.code!r}, {e['place']!r}{with_network})",
            f"print({_FORMULAS[list(_MEASURES).index(e['measure'])]})  # told",
        ), {}

    return write


_FORMULAS = (
    "np.linalg.norm(u - g) / (np.linalg.norm(u) + np.linalg.norm(g))",
    "np.linalg.norm(u - g) / max(np.linalg.norm(u), np.linalg.norm(g))",
    "np.linalg.norm(u - g) / np.linalg.norm(g)",
    "np.linalg.norm(u - g) / np.linalg.norm(u + g)",
    "np.max(np.abs(u - g) / np.maximum(np.abs(u), np.abs(g)))",
    "np.linalg.norm(u - g)",
)


def broken(
    loss: Callable, at: Any, code: str, where: str = "", *, network: Network | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient that a known mistake of backpropagation gives, and the right one, as flat vectors.

    Args:
        loss: Loss of a network.
        at: Parameters.
        code: Code of the mistake, such as `missing-slope`.
        where: Layers it is made in, in the words of the finding; empty for one that concerns the whole pass.
        network: Network it belongs to, as for `gradient`.
    """
    with double_precision():
        explainer, true = _explainer(loss, at, network)
        found = [m for m in explainer.singles if (m.code, m.where) == (code, where)] if explainer else []
        if not found:
            refuse("code", "be that of a mistake that can be made in this network", f"is {code!r} in {where!r}")
        return explainer.predict((found[0],), 1.0)[0], true


def _number(number: float | str) -> tuple[float, float]:
    """Return the number and half a unit of its last digit."""
    try:
        exact = decimal.Decimal(str(number).strip())
        value = float(exact)
    except (decimal.InvalidOperation, ValueError):
        refuse("number", "be a number", f"is {number!r}")
    if not np.isfinite(value) or value < 0:
        refuse("number", "be at least 0 and finite", f"is {number}")
    if isinstance(number, str):
        return value, max(0.5 * 10.0 ** int(exact.as_tuple().exponent), 1e-12) * (1 + 1e-9)
    return value, 1e-4 * max(value, 1e-12)


def _factors(value: float, slack: float, samples: int | None) -> Iterator[tuple]:
    """Simple factors k whose difference |k − 1|/(k + 1) is the number."""
    if abs(value - 1) <= slack:
        words = "The difference is 1: one of the two gradients is zero, or points the other way."
        yield "wrong-sign", next(iter(_MEASURES)), 1.0, -1.0, words, "Compare signs, and look for a zero."
        return
    if value > 1 + slack:
        return
    simple = [2.0, *((float(samples), 2.0 * samples, samples / 2) if samples else ()), *map(float, range(3, _LARGEST))]
    for k in dict.fromkeys(simple):
        told = abs(k - 1) / (k + 1)
        if abs(told - value) <= slack and k != 1:
            words = meaning(k, () if samples is None else (samples,))
            message = f"The two gradients differ by a constant factor, {k:g} or 1/{k:g}"
            message += f": {words}." if words else "."
            yield "constant-factor", next(iter(_MEASURES)), told, k, message, ""


def _tried(loss: Callable, at: Any, network: Network | None) -> list[tuple]:
    """Every known mistake at these parameters: what each definition of the difference gives."""
    explainer, true = _explainer(loss, at, network)
    if explainer is None:
        return []
    rows = []
    for mistake in explainer.singles:
        claimed = explainer.predict((mistake,), 1.0)[0]
        if not np.all(np.isfinite(claimed)):
            continue
        message = (
            mistake.message[0].upper() + mistake.message[1:] + (f", in {mistake.where}." if mistake.where else ".")
        )
        for name, measure in _MEASURES.items():
            with np.errstate(all="ignore"):
                told = float(measure(claimed, true))
            rows.append((mistake.code, name, told, 1.0, message, mistake.cure, mistake.where))
    order = list(_MEASURES)
    return sorted(rows, key=lambda r: order.index(r[1]))


def _explainer(loss: Callable, at: Any, network: Network | None) -> tuple[Explainer | None, np.ndarray]:
    """Return what knows the mistakes in this network, None without one, and the true gradient."""
    where = parameters(at, loss)
    found = truth(loss, where)
    known = _known(loss, where, found, network)
    x = where.rounded(where.flat())
    true, _ = found.gradient(x)
    if known is None:
        return None, true
    leaves = [x[None, s].reshape(1, *shape) for s, shape in zip(where.slices, where.shapes, strict=True)]
    return Explainer(known, leaves, true[None], 1e-10), true


def _known(loss: Callable, where: Parameters, found: Any, network: Network | None) -> Recognized | None:
    rng = np.random.default_rng(0)
    points = np.array([where.flat() + spread(where, rng, 0.4) for _ in range(6)])
    leaves = [points[:, s].reshape(-1, *shape) for s, shape in zip(where.slices, where.shapes, strict=True)]
    values = np.array([found.value(p) for p in points])
    if network is None:
        return discover(loss, where.shapes, leaves, values)
    return recognize(network, layouts(network, where.shapes), leaves, values)
