"""Observed order of convergence: does the error fall as fast as the method promises?

    e(n) ≈ C n^-p,    p = log(e(n₁)/e(n₂)) / log(n₂/n₁)

from a solve at several sizes and a known answer. A single low number has several causes that look alike, and are told
apart: a first-order end (the error sits there, and the interior is better), rounding (errors that stopped falling at
the size of the arithmetic), sizes too small for the leading term to lead, or a limit that is not the answer.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum._solution import Solution
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import block, called, with_lines

TOLERANCE = 0.1  # of an order: what the next term of the error contributes at sizes of some tens


class Errors(NamedTuple):
    """What was measured at one size; `interior` and `place` are NaN where the answer is a single number."""

    size: int
    worst: float
    interior: float  # largest error in the middle half
    place: float  # where the largest error is: 0 and 1 are the ends
    scale: float
    eps: float


def order(solve: Callable, truth: Any, sizes: Sequence[int], *, expected: float) -> Diagnosis:
    """Measure the order of convergence by refinement, and say why it is not the one expected.

    Args:
        solve: Function `solve(n)` giving the answer with n steps or cells: a number, an array, a `Solution`, or a
            pair `(x, values)` of positions and values. For arrays, the first axis is taken to run from end to end.
        truth: Exact answer: a number or an array; a function `truth(n)` where it changes with n; a function
            `truth(x)` where `solve` gives positions.
        sizes: At least three increasing sizes; a factor of two between neighbours is usual.
        expected: Order that the method promises.

    Returns:
        Diagnosis with findings `fails`, `wrong-shape`, `nonfinite`, `diverges`, `wrong-limit`, `boundary-order`,
        `lower-order`, `not-asymptotic`, `saturated`; its table holds errors and observed orders.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> rule = lambda n: np.trapezoid(np.exp(np.linspace(0, 1, n + 1)), dx=1 / n)
        >>> diagnose.order(rule, np.e - 1, [8, 16, 32, 64], expected=2).ok
        True
    """
    if not callable(solve):
        refuse("solve", "be a function `solve(n)`", f"is {type(solve).__name__}")
    check_positive("expected", expected)
    if np.ndim(sizes) != 1 or isinstance(sizes, str | dict | set):
        refuse("sizes", "be a list of integers", f"is {sizes!r}")
    sizes = [as_count(f"sizes[{i}]", n) for i, n in enumerate(sizes)]
    if len(sizes) < 3 or any(b <= a for a, b in itertools.pairwise(sizes)):
        refuse("sizes", "hold at least three increasing sizes", f"is {sizes}")
    if not callable(truth) and np.asarray(truth).dtype.kind not in "biufc":
        refuse("truth", "be a number, an array or a function", f"is {truth!r}")
    found = _examined(solve, truth, sizes, float(expected))
    return with_lines(found, _lines(solve, truth))


def _examined(solve, truth, sizes, expected) -> Diagnosis:
    subject = f"convergence from {sizes[0]} to {sizes[-1]}, expected of order {expected:g}"
    measured = []
    for n in sizes:
        try:
            result, exact = _evaluate(solve, truth, n)
        except Exception as error:  # whatever the user's code raises is what there is to say
            text = (str(error).splitlines() or [""])[0]
            message = f"At size {n} it raises {type(error).__name__}: {text}"
            return Diagnosis(
                subject, (Finding("fails", message, {"size": n, "error": type(error).__name__}, "Mend that first."),)
            )
        if result.shape != exact.shape and exact.ndim:
            message = f"At size {n} the result has shape {result.shape}, the truth {exact.shape}."
            cure = "Give the truth as a function of the size, on the points of the result."
            return Diagnosis(
                subject,
                (Finding("wrong-shape", message, {"size": n, "given": result.shape, "needed": exact.shape}, cure),),
            )
        if not np.isfinite(result).all():
            message = f"At size {n} the result holds {result[~np.isfinite(result)].flat[0]}."
            return Diagnosis(
                subject, (Finding("nonfinite", message, {"size": n, "finite": False}, "Look for an unstable step."),)
            )
        measured.append(_measure(n, result, exact))
    return _judge(subject, measured, expected)


def _lines(solve: Callable, truth: Any) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines that compute a finding's number again."""
    name, exact = called(solve, "solve"), called(truth, "truth") if callable(truth) else "np.asarray(truth)"

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        e, code = finding.evidence, finding.code
        if code == "fails":
            call = (
                f"    {name}({e['size']})" if not callable(truth) else f"    {name}({e['size']}), {exact}({e['size']})"
            )
            last = "    print(type(error).__name__)  # error"
            return block("import numpy as np", "try:", call, "except Exception as error:", last), {}
        result = solve(e["size"] if "size" in e else e["sizes"][0])
        value, where = ".value" if isinstance(result, Solution) else "", "n"
        result = result.value if value else result
        if isinstance(result, tuple) and len(result) == 2:
            value, where = value + "[1]", f"{name}(n){value}[0]"
        exact_at = f"{exact}({where})" if callable(truth) else exact
        if code == "wrong-shape":
            shapes = f"np.shape({name}(n){value}), np.shape({exact_at})"
            return block("import numpy as np", f"n = {e['size']}", f"print({shapes})  # given, needed"), {}
        if code == "nonfinite":
            last = f"print(np.isfinite({name}(n){value}).all())  # finite"
            return block("import numpy as np", f"n = {e['size']}", last), {}
        error = f"error = lambda n: np.abs(np.asarray({name}(n){value}) - {exact_at}).max()"
        if code in ("wrong-limit", "saturated"):
            n = e["sizes"][e["last"] if code == "wrong-limit" else int(np.argmin(e["errors"]))]
            told = {"smallest": float(np.min(e["errors"]))} if code == "saturated" else {}
            key = "limit" if code == "wrong-limit" else "smallest"
            return block("import numpy as np", error, f"print(error({n}))  # {key}"), told
        a, b = e["sizes"][e["last"] - 1], e["sizes"][e["last"]]
        last = f"print(np.log(error({a}) / error({b})) / np.log({b} / {a}))  # order"
        return block("import numpy as np", error, last), {"order": float(e["orders"][e["last"] - 1])}

    return write


def observed(sizes: Sequence[float], errors: Sequence[float]) -> np.ndarray:
    """Return the order between neighbouring sizes."""
    errors = np.maximum(np.asarray(errors, float), np.finfo(float).tiny)
    return -np.diff(np.log(errors)) / np.diff(np.log(np.asarray(sizes, float)))


def _evaluate(solve, truth, n: int) -> tuple[np.ndarray, np.ndarray]:
    result, where = solve(n), n
    if isinstance(result, Solution):
        result = result.value
    if isinstance(result, tuple) and len(result) == 2:
        where, result = result
    exact = truth(where) if callable(truth) else truth
    return np.asarray(result), np.asarray(exact)


def _measure(n: int, result: np.ndarray, exact: np.ndarray) -> Errors:
    error = np.abs(result - exact)
    eps = float(np.finfo(result.dtype).eps) if result.dtype.kind in "fc" else float(np.finfo(float).eps)
    scale = float(np.max(np.abs(exact)))
    if error.ndim == 0 or len(error) < 8:
        return Errors(n, float(np.max(error)), np.nan, np.nan, scale, eps)
    error = error.reshape(len(error), -1).max(axis=1)
    quarter = len(error) // 4
    place = float(np.argmax(error)) / (len(error) - 1)
    return Errors(n, float(error.max()), float(error[quarter:-quarter].max()), place, scale, eps)


def _judge(subject: str, measured: list[Errors], expected: float) -> Diagnosis:
    sizes, errors = [m.size for m in measured], np.array([m.worst for m in measured])
    orders = observed(sizes, errors)
    interior = observed(sizes, [m.interior for m in measured])
    rows = [
        (m.size, m.worst, *(("", "") if i == 0 else (orders[i - 1], interior[i - 1]))) for i, m in enumerate(measured)
    ]
    columns = ("size", "largest error", "order", "order in the middle half", "place of the largest, 0 to 1")
    if np.isnan(measured[0].place):
        columns, rows = columns[:3], [row[:3] for row in rows]
    else:
        rows = [(*row, m.place) for row, m in zip(rows, measured, strict=True)]
    table = Table("Errors and the order between neighbours", columns, tuple(rows))
    evidence = {"sizes": sizes, "errors": errors, "orders": orders, "expected": expected}

    def verdict(finding: Finding | None, *notes: str) -> Diagnosis:
        return Diagnosis(subject, (finding,) if finding else (), notes, (table,))

    # A few roundings of the size of the answer: below that an error says nothing.
    floor = np.array([4 * m.eps * max(m.scale, np.finfo(float).tiny) for m in measured])
    if (errors <= floor).all() or (errors[0] <= floor[0] and errors.max() <= 1e3 * floor.max()):
        return verdict(None, "Exact to rounding at every size: this problem cannot show the order.")
    clean = _clean(errors, orders, floor)
    notes = []
    if clean < len(sizes):
        notes.append(f"From size {sizes[clean]} on the error is that of rounding, and is left out.")
    if clean < 3:
        message = (
            f"Rounding hides the order: the error stops falling at {errors.min():.2g}, from size {sizes[clean]} on."
        )
        return verdict(Finding("saturated", message, evidence, "Use smaller sizes, or double precision."))
    evidence |= {"last": clean - 1}
    orders, interior = orders[: clean - 1], interior[: clean - 1]
    found = float(orders[-1])
    if abs(found - expected) <= TOLERANCE:
        return verdict(None, f"Observed order {found:.3f}, as expected.", *notes)
    if found > expected and _settled(orders):
        extra = "the leading error of this problem vanishes, or the method is better than promised"
        return verdict(None, f"Observed order {found:.3f}, above the expected {expected:g}: {extra}.", *notes)
    finding = _why(orders, interior, measured[:clean], expected, evidence)
    return verdict(finding, *notes)


def _clean(errors: np.ndarray, orders: np.ndarray, floor: np.ndarray) -> int:
    """Return how many sizes come before rounding takes over."""
    for i in range(len(errors)):
        low = errors[i] <= floor[i]
        # Near rounding errors stop falling before they reach the floor estimated for them.
        stalled = i > 0 and orders[i - 1] < 0.5 * np.max(orders[:i]) and errors[i] < 1e4 * floor[i]
        if low or stalled:
            return i
    return len(errors)


def _settled(orders: np.ndarray) -> bool:
    return len(orders) < 2 or abs(orders[-1] - orders[-2]) <= TOLERANCE


def _why(orders, interior, measured, expected, evidence) -> Finding:
    found, worst = float(orders[-1]), measured[-1].worst
    if found < -TOLERANCE:
        message = f"The error grows with refinement, to {worst:.3g} at size {measured[-1].size}."
        cure = "Look for an instability: a step tied to the grid, or an amplification that grows with the size."
        return Finding("diverges", message, evidence, cure)
    at_end = all(min(m.place, 1 - m.place) <= 0.1 for m in measured[-2:])
    if at_end and found < expected and abs(interior[-1] - expected) <= 2 * TOLERANCE:
        side = "first" if measured[-1].place < 0.5 else "last"
        message = (
            f"Order {found:.2f} instead of {expected:g}, and it comes from the {side} end: the middle half converges "
            f"with order {interior[-1]:.2f}."
        )
        cure = f"Raise the order of the condition or of the one-sided difference at the {side} point."
        return Finding("boundary-order", message, evidence | {"place": measured[-1].place}, cure)
    if len(orders) >= 2 and _approaches(orders, expected):
        message = (
            f"Order {found:.2f}, still on its way to {expected:g}: the leading term does not lead yet at these sizes."
        )
        return Finding("not-asymptotic", message, evidence, f"Go on refining, beyond size {measured[-1].size}.")
    if found < 0.25 * min(expected, 1.0):
        message = f"The error stops at {worst:.3g}: the solve converges to something else than the truth."
        cure = "Compare the equations, constants and boundary conditions of the two; refinement will not help."
        return Finding("wrong-limit", message, evidence | {"limit": worst}, cure)
    if at_end and found < expected:
        side = "first" if measured[-1].place < 0.5 else "last"
        message = (
            f"Order {found:.2f} instead of {expected:g}; the error is largest at the {side} end and spreads from there "
            f"(order {interior[-1]:.2f} in the middle half)."
        )
        cure = f"Raise the order of the condition or of the one-sided difference at the {side} point."
        return Finding("boundary-order", message, evidence | {"place": measured[-1].place}, cure)
    message = f"Order {found:.2f} instead of {expected:g}."
    cure = (
        "Look for a one-sided difference, a step that is only first order, data that are not smooth, or quantities "
        "taken half a step apart."
    )
    return Finding("lower-order", message, evidence, cure)


def _approaches(orders: np.ndarray, expected: float) -> bool:
    """Tell whether the orders come closer to the expected one, fast enough to get there."""
    gaps = np.abs(orders - expected)
    if not (np.diff(gaps) < 0).all():
        return False
    # On its way to another whole number it would keep a gap of one.
    return bool(gaps[-1] < 0.85 * gaps[-2] and gaps[-1] < 0.9)
