"""What is known about a function that minimizers are tried on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnum.numerics.descent import SumOfSquares

Bounds = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, eq=False, repr=False)
class Landscape:
    """A function with its usual start and everything known about its minima.

    Attributes:
        name: Name, in snake case.
        fn: Function `fn(y, args=None)` of a point of shape (n,).
        y0: Usual starting point, shape (n,).
        minima: Points where the lowest value is taken, shape (count, n).
        minimum: Lowest value.
        reference: Where it comes from.
        local_minima: Further minima, with higher values, shape (count, n); those that are known.
        bounds: Lowest and highest coordinate worth drawing on each of two axes; None beyond two dimensions.
        residuals: Function `residuals(y, args=None)` of which `fn` is the sum of squares, for
            `optimize.least_squares`; None where it is no such sum.
        args: Arguments of `fn` for which the minima hold; None unless the landscape is random or changes with time.
        sample: Function `sample(args, n)` of what step n sees of it, for `minimize`; None where it stands still.
        saddles: Points where the slope vanishes and the curvature has both signs, shape (count, n); those known.
        within: Lowest and highest value of every coordinate, where the minimum holds only between them; else None.
    """

    name: str
    fn: Callable[..., Array]
    y0: Float[Array, " n"]
    minima: Float[Array, "count n"]
    minimum: float
    reference: str
    local_minima: Float[Array, "others n"]
    bounds: Bounds | None = None
    residuals: Callable[..., Array] | None = None
    args: Any = None
    sample: Callable[[Any, Any], Any] | None = None
    saddles: Float[Array, "saddles n"] | None = None
    within: tuple[float, float] | None = None

    def __repr__(self) -> str:
        minima = f"{len(self.minima)} minim{'um' if len(self.minima) == 1 else 'a'}"
        return f"Landscape({self.name}, {len(self.y0)} dimensions, {minima} of value {self.minimum:g})"


@dataclass(frozen=True)
class _Ignoring:
    """A formula of the point alone as `fn(y, args)`; equal formulas are equal functions, and share one compilation."""

    formula: Callable[[Array], Array]

    def __call__(self, y: Array, args: Any = None) -> Array:
        del args
        return self.formula(y)


def landscape(
    formula: Callable[..., Array],
    start: Any,
    minima: Any,
    minimum: float,
    reference: str,
    *,
    name: str | None = None,
    local: Any = (),
    saddles: Any = (),
    bounds: Bounds | None = None,
    args: Any = None,
    sample: Callable[[Any, Any], Any] | None = None,
    within: tuple[float, float] | None = None,
) -> Landscape:
    """Make a landscape of a formula of the point; of the point and `args` where these are given."""
    name = name or formula.__name__.lstrip("_")
    start, points, others, passes = _arrays(start, minima, local, saddles)
    fn = _Ignoring(formula) if args is None else formula
    more = {"args": args, "sample": sample, "saddles": passes, "within": within}
    return Landscape(name, fn, start, points, minimum, reference, others, bounds, **more)


def sum_of_squares(
    formula: Callable[[Array], Array],
    start: Any,
    minima: Any,
    minimum: float,
    reference: str,
    *,
    name: str | None = None,
    local: Any = (),
    saddles: Any = (),
    bounds: Bounds | None = None,
) -> Landscape:
    """Make a landscape of a formula for residuals, whose squares are summed."""
    name = name or formula.__name__.lstrip("_")
    start, points, others, passes = _arrays(start, minima, local, saddles)
    residuals = _Ignoring(formula)
    fn = SumOfSquares(residuals)
    return Landscape(name, fn, start, points, minimum, reference, others, bounds, residuals, saddles=passes)


def _arrays(start: Any, *points: Any) -> list[Array]:
    dtype, n = jnp.result_type(float), len(start)
    return [jnp.asarray(np.array(start, dtype)), *(jnp.asarray(np.array(p, dtype).reshape(-1, n)) for p in points)]
