"""Wrong lines of a hand-written pass, by the quantity that they compute.

Each gets what the right line gets, in rows of samples, and does what people write instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum.diagnose.backprop.functions import Activation


@dataclass(frozen=True)
class Context:
    """What a line may need beside its inputs.

    Attributes:
        act: Activation of the layer.
        weight: Its weights, or those that delta comes back through, (inputs, outputs).
        columns: Whether the user holds weights as (outputs, inputs).
    """

    act: Activation
    weight: Any
    columns: bool

    @property
    def held(self) -> Any:
        """The weights as the user holds them."""
        return self.weight.T if self.columns else self.weight


@dataclass(frozen=True)
class Mistake:
    """A wrong line for one kind of quantity.

    Attributes:
        code: Code of the finding.
        line: The wrong line, as a function of a context and the inputs.
        message: What it does.
    """

    code: str
    line: Callable[..., Any]
    message: str


_ON = "elementwise, where "
MISTAKES: dict[str, tuple[Mistake, ...]] = {
    "z": (
        Mistake(
            "sum-for-product",
            lambda c, h: np.sum(h + np.ravel(c.weight)[None, :], axis=1, keepdims=True),
            "adds the weights to the activations, where each activation is multiplied by its weight before the sum",
        ),
        Mistake("sum-for-product", lambda c, h: h + c.held, "adds the weights to the activations"),
        Mistake("elementwise-product", lambda c, h: h * c.held, "multiplies elementwise and does not sum"),
        Mistake("wrong-sign", lambda c, h: -(h @ c.weight), "has its sign turned"),
    ),
    "a": (
        Mistake("flipped-sign", lambda c, z: c.act.fn(-z), "is φ(−z): a plus in the exponent, where a minus belongs"),
        Mistake("missing-activation", lambda _c, z: z, "is the weighted sum itself: the activation is left out"),
        Mistake("activation-twice", lambda c, z: c.act.fn(c.act.fn(z)), "is activated twice"),
    ),
    "error": (),
    "slope": (
        Mistake(
            "outer-product",
            lambda _c, _z, a: a @ (1 - a).T,
            "is an outer product, every sample with every other, where each takes its own a (1 − a)",
        ),
        Mistake(
            "derivative-of-activation",
            lambda c, _z, a: c.act.slope(a),
            "takes the derivative at values that are activations already",
        ),
        Mistake(
            "derivative-of-sum",
            lambda c, z, _a: c.act.slope_of_value(z) if c.act.slope_of_value else np.nan * z,
            "feeds the weighted sum to the formula for activations",
        ),
        Mistake("half-slope", lambda _c, _z, a: a, "is a alone, where a (1 − a) belongs"),
        Mistake("half-slope", lambda _c, _z, a: 1 - a, "is 1 − a alone, where a (1 − a) belongs"),
        Mistake("missing-slope", lambda _c, z, _a: np.ones_like(z), "is one: the derivative is left out"),
    ),
    "delta": (
        Mistake("division", lambda _c, e, s: e / s, "divides by the slope, where the chain rule multiplies"),
        Mistake("missing-slope", lambda _c, e, _s: e, "leaves the slope out"),
        Mistake("sum-for-product", lambda _c, e, s: e + s, "adds the slope, where the chain rule multiplies"),
        Mistake("matrix-product", lambda _c, e, s: s @ e, "is a matrix product, where every sample has its own slope"),
        Mistake(
            "matrix-product", lambda _c, e, s: s.T @ e, "is a matrix product, where every sample has its own slope"
        ),
        Mistake(
            "matrix-product", lambda _c, e, s: e @ s.T, "is a matrix product, where every sample has its own slope"
        ),
    ),
    "back": (
        Mistake(
            "division",
            lambda c, d, _a: d / np.ravel(c.weight),
            "divides by the weights, where the chain rule multiplies",
        ),
        Mistake("division", lambda c, d, _a: d / c.held, "divides by the weights, where the chain rule multiplies"),
        Mistake(
            "sum-for-product",
            lambda c, d, _a: d + np.ravel(c.weight),
            "adds the weights, where the chain rule multiplies",
        ),
        Mistake("activation-sent-back", lambda c, _d, a: a @ c.weight.T, "sends the activation back instead of delta"),
        Mistake(
            "missing-weights",
            lambda c, d, _a: np.repeat(d.sum(1, keepdims=True), c.weight.shape[0], axis=1),
            "leaves the weights out",
        ),
    ),
    "dW": (
        Mistake("not-summed", lambda _c, h, d: h * d, "has a row for every sample, which are not summed"),
        Mistake(
            "not-summed", lambda _c, h, d: h[:, :, None] * d[:, None, :], "has one matrix for every sample, not summed"
        ),
        Mistake(
            "division",
            lambda _c, h, d: np.sum(d / h, axis=0, keepdims=True),
            "divides by the activations, not multiplies",
        ),
        Mistake(
            "division+not-summed",
            lambda _c, h, d: d / h,
            "divides by the activations, where the chain rule multiplies, and has a row for every sample",
        ),
        Mistake(
            "division", lambda _c, h, d: (1 / h).T @ d, "divides by the activations, where the chain rule multiplies"
        ),
        Mistake("elementwise-product", lambda _c, h, d: d.T * h, _ON + "a matrix product sums over the samples"),
        Mistake("elementwise-product", lambda _c, h, d: h.T * d, _ON + "a matrix product sums over the samples"),
        Mistake("elementwise-product", lambda _c, h, d: d * h, _ON + "a matrix product sums over the samples"),
        Mistake(
            "averaged", lambda _c, h, d: h.mean(0)[:, None] * d.sum(0)[None, :], "multiplies means over the samples"
        ),
    ),
    "db": (
        Mistake("not-summed", lambda _c, d: d, "has a row for every sample, which are not summed"),
        Mistake("first-sample", lambda _c, d: d[0], "is that of the first sample alone"),
    ),
    "new": (),
}
