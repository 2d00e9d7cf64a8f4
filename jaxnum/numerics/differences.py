"""Derivatives of functions that cannot be differentiated otherwise, each with an estimate of its own error.

Central differences with Richardson extrapolation: D(h) = [f(x+hv) − f(x−hv)]/2h = f'·v + c₂h² + c₄h⁴ + …, so that

    D_{k,m} = (4ᵐ D_{k,m−1} − D_{k−1,m−1}) / (4ᵐ − 1),    h_k = h₀/2ᵏ

removes one power of h² in each column; what changes between neighbors of the tableau estimates the error. Where f is
analytic and its code takes complex numbers, Im f(x + ihv)/h subtracts nothing and is right to rounding.

References:
    Ridders (1982), https://doi.org/10.1016/S0141-1195(82)80057-0
    Squire & Trapp (1998), https://doi.org/10.1137/S003614459631241X
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum._checks import as_count, check_positive, refuse

_COMPLEX_STEP = 1e-100  # its square must vanish against anything, its product with a derivative must not


@dataclass(frozen=True)
class Estimate:
    """A derivative and how far it may be off.

    Attributes:
        value: Derivative along each direction: the shape of f with one more axis for the directions.
        error: Estimated absolute error of each entry, same shape.
        method: How it was found, in words.
    """

    value: np.ndarray
    error: np.ndarray
    method: str


def richardson(
    fn: Callable[[np.ndarray], Any],
    x: Any,
    directions: Any = None,
    *,
    step: float = 0.1,
    num_levels: int = 8,
) -> Estimate:
    """Differentiate a function of a vector along directions, by extrapolated central differences.

    Args:
        fn: Function of a NumPy vector (n,) returning a number or an array; it is treated as a black box.
        x: Point, (n,).
        directions: Directions, (n, k); None for the n coordinates, each scaled by the size of its entry.
        step: First and longest step, in units of the directions (of max(|x_i|, typical |x|) by default).
        num_levels: Number of step lengths, each half the last; a direction costs twice as many calls.

    Returns:
        Estimate with `value` of shape (*shape of fn, k). Its error is what the tableau says, and never less than
        what rounding of the values leaves.

    Example:
        >>> import numpy as np
        >>> from jaxnum.numerics import differences
        >>> found = differences.richardson(lambda x: np.exp(x[0]) * x[1], [0.0, 2.0])
        >>> bool(np.all(np.abs(found.value - [2.0, 1.0]) <= found.error)), bool(found.error.max() < 1e-9)
        (True, True)
    """
    x, directions, lengths = _frame(x, directions)
    check_positive("step", step)
    num_levels = as_count("num_levels", num_levels, at_least=2)
    values, errors = [], []
    for direction, length in zip(directions.T, lengths, strict=True):
        value, error = _ridders(fn, x, direction, step * length, num_levels)
        values.append(value)
        errors.append(error)
    return Estimate(np.stack(values, -1), np.stack(errors, -1), "Richardson differences")


def complex_step(fn: Callable[[np.ndarray], Any], x: Any, directions: Any = None) -> np.ndarray | None:
    """Differentiate along directions by a complex step; None when the code of the function does not take one.

    A function that drops the imaginary part on its way, by a comparison, `abs` or a conversion, gives a wrong
    answer without a word: compare with `richardson`, as `derivative` does.
    """
    x, directions, _ = _frame(x, directions)
    columns = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        for direction in directions.T:
            try:
                value = np.asarray(fn(x + 1j * _COMPLEX_STEP * direction))
            except Exception:
                return None
            if value.dtype.kind != "c" or not np.all(np.isfinite(value)):
                return None
            columns.append(value.imag / _COMPLEX_STEP)
    return np.stack(columns, -1)


def derivative(fn: Callable[[np.ndarray], Any], x: Any, directions: Any = None, *, num_levels: int = 8) -> Estimate:
    """Differentiate by a complex step where the function allows it, and by extrapolated differences otherwise.

    Args:
        fn: Function of a NumPy vector (n,) returning a number or an array.
        x: Point, (n,).
        directions: Directions, (n, k); None for the coordinates.
        num_levels: Number of step lengths of the differences.

    Returns:
        Estimate; a complex step is believed only where differences along a random direction agree with it.

    Example:
        >>> import numpy as np
        >>> from jaxnum.numerics import differences
        >>> differences.derivative(lambda x: np.sin(x[0]), [0.0]).method
        'complex step'
        >>> differences.derivative(lambda x: np.abs(x[0] - 1.0) ** 3, [0.0]).method
        'Richardson differences'
    """
    x, frame, lengths = _frame(x, directions)
    exact = complex_step(fn, x, frame)
    if exact is not None:
        # Every direction at once, each with a weight of its own: one wrong column cannot hide behind another.
        weights = lengths * np.cos(1.0 + np.arange(frame.shape[1])) / np.sqrt(frame.shape[1])
        rough = richardson(fn, x, (frame @ weights)[:, None], num_levels=num_levels)
        size = np.abs(exact) @ np.abs(weights)
        agrees = np.abs(exact @ weights - rough.value[..., 0]) <= 10 * rough.error[..., 0] + 1e-8 * size
        if np.all(agrees) and np.all(np.isfinite(rough.error)):
            return Estimate(exact, 16 * np.finfo(float).eps * np.abs(exact), "complex step")
    return richardson(fn, x, directions, num_levels=num_levels)


def _frame(x: Any, directions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the point, the directions as columns, and the unit of length along each."""
    try:
        x = np.asarray(x, dtype=float)
    except (TypeError, ValueError):
        refuse("x", "be a vector of real numbers", f"is {x!r}")
    if x.ndim != 1 or not x.size:
        refuse("x", "have shape (n,)", f"has shape {x.shape}")
    if not np.all(np.isfinite(x)):
        refuse("x", "be finite", f"holds {x[~np.isfinite(x)][0]}")
    if directions is None:
        typical = float(np.sqrt(np.mean(x**2))) or 1.0
        return x, np.eye(x.size), np.maximum(np.abs(x), typical)
    directions = np.asarray(directions, dtype=float)
    if directions.ndim != 2 or len(directions) != x.size or not np.all(np.isfinite(directions)):
        refuse("directions", f"be finite numbers of shape ({x.size}, k)", f"has shape {directions.shape}")
    return x, directions, np.ones(directions.shape[1])


def _ridders(fn, x, direction, step, num_levels):
    """Fill the tableau along one direction and return its best entry with its error."""
    best = error = None
    row: list[np.ndarray] = []
    entries = []
    size = 0.0
    with np.errstate(all="ignore"):
        for level in range(num_levels):
            h = step / 2**level
            ahead, behind = x + h * direction, x - h * direction
            high, low = (np.asarray(fn(p), dtype=float) for p in (ahead, behind))
            size = np.maximum(np.abs(high), np.abs(low))
            new = [(high - low) / (2 * h)]
            noise = 2 * np.finfo(float).eps * size / h
            for m, above in enumerate(row, 1):
                new.append((4**m * new[-1] - above) / (4**m - 1))
                # Neighbors in the column and in the row, and what rounding of the values leaves: never flattering.
                doubt = np.maximum(np.abs(new[m] - new[m - 1]), np.abs(new[m] - above)) + 2 * noise
                doubt = np.where(np.isfinite(doubt), doubt, np.inf)
                entries.append((new[m], doubt))
                if best is None:
                    best, error = new[m], doubt
                else:
                    better = doubt < error
                    best, error = np.where(better, new[m], best), np.where(better, doubt, error)
            row = new
        # Across a jump neighbors may agree by chance, and others elsewhere on another value: then both are doubtful.
        for value, doubt in entries:
            apart = np.abs(value - best)
            error = np.maximum(error, np.where(apart > 10 * doubt, apart, 0.0))
    return best, error
