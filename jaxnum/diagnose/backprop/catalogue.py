"""Mistakes people make in hand-written backpropagation.

Each replaces one small function of the reference pass (`passes.py`), in one layer or in several.

Reference:
    Rumelhart, Hinton & Williams (1986), https://doi.org/10.1038/323533a0
"""

# ruff: noqa: ARG001, ARG005
# All pieces of one kind share a signature, and most mistakes forget one of its arguments.

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum.diagnose.backprop.functions import BINARY, SQUARES
from jaxnum.diagnose.backprop.network import layer_name
from jaxnum.diagnose.backprop.passes import RIGHT, Pass, through_weights
from jaxnum.diagnose.backprop.recognize import Recognized, broadcast_targets

# How δ comes from the error e of a layer: slope(act, z, a, e) ---------------------------------------------------------


def _times(factor: Callable) -> Callable:
    return lambda act, z, a, e: e * factor(act, z, a)


def _value_slope(act, z):
    return np.ones_like(z) if act.slope_of_value is None else act.slope_of_value(z)


def _other(act, z, a):
    return 1 - a**2 if act.name in ("logistic", "softmax") else a * (1 - a)


def _twice(act, z, a, e):
    return act.pull(z, a, e) * act.slope(z)


# How an error travels down: back(δ, e, h, W) --------------------------------------------------------------------------


def without_weights(delta, error, output, weight):
    """δ summed over the units it came from, without their weights."""
    return np.repeat(delta.sum(-1, keepdims=True), weight.shape[-2], axis=-1)


def from_error(delta, error, output, weight):
    """The error itself sent back, without the slope of the layer it comes from."""
    return error @ np.swapaxes(weight, -1, -2)


def from_output(delta, error, output, weight):
    """The activation sent back instead of δ."""
    return output @ np.swapaxes(weight, -1, -2)


def untransposed(delta, error, output, weight):
    """δ W where δ Wᵀ belongs; only square weights let it pass."""
    if weight.shape[-1] != weight.shape[-2]:
        return through_weights(delta, error, output, weight)
    return delta @ weight


# How the gradient of weights is formed: form(h, z, δ, e, W), h and z of the layer below -------------------------------


def with_error(h, z, delta, error, weight):
    """hᵀ times the error, without the slope."""
    return np.swapaxes(h, -1, -2) @ error


def with_sums(h, z, delta, error, weight):
    """zᵀ δ: the sum where the activation belongs."""
    return np.swapaxes(z, -1, -2) @ delta


def with_weights(h, z, delta, error, weight):
    """The weight where the activation belongs."""
    return weight * delta.sum(-2, keepdims=True)


def with_mean_activation(h, z, delta, error, weight):
    """Means over samples multiplied, instead of the sum of products."""
    return h.mean(-2)[..., :, None] * delta.sum(-2)[..., None, :]


# How δ becomes the gradient of a bias ---------------------------------------------------------------------------------


def averaged(delta):
    """Mean over samples."""
    return delta.mean(-2, keepdims=True)


def first_sample(delta):
    """The first sample alone."""
    return delta[..., :1, :]


def last_sample(delta):
    """The last sample alone."""
    return delta[..., -1:, :]


def left_out(delta):
    """0."""
    return 0 * delta[..., :1, :]


def summed_over_units(delta):
    """One number for all units of the layer."""
    return np.broadcast_to(delta.sum((-2, -1), keepdims=True), (*delta.shape[:-2], 1, delta.shape[-1]))


# What stands for the error of the last layer: error(known, prediction, targets) ---------------------------------------


def other_targets(known):
    """Targets broadcast where the loss does not, and the other way round."""
    return known.network.y if known.broadcast else broadcast_targets(known.network.y)


def _only(sample: int) -> Callable:
    def error(known, p, t):
        return known.loss.slope(p, t) * (np.arange(p.shape[-2]) == sample % p.shape[-2])[:, None]

    return error


def _squared(known, p, t):
    return (p - t) ** 2


def _magnitude(known, p, t):
    return np.abs(known.loss.slope(p, t))


def _output(known, p, t):
    return np.ones_like(p)


def _other_loss(loss) -> Callable:
    return lambda known, p, t: loss.slope(p, t)


# The catalogue ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """One known mistake.

    Attributes:
        code: Code of the finding.
        part: Field of `Pass` that it replaces.
        by: What it is replaced by.
        layers: Layers in which it is; empty for what concerns the whole pass.
        message: What is done, as a sentence without its end.
        cure: The line as it should be.
        where: The layers in words.
    """

    code: str
    part: str
    by: Any
    message: str
    cure: str
    layers: tuple[int, ...] = ()
    where: str = ""

    @property
    def places(self) -> frozenset:
        """What it replaces; two mistakes that share a place exclude each other."""
        return frozenset((self.part, n) for n in self.layers or (-1,))


def compose(mistakes: tuple[Mistake, ...], depth: int) -> Pass:
    """Return the pass that makes these mistakes and no other."""
    parts: dict[str, Any] = {name: [right] * depth for name, right in RIGHT.items()}
    rest = {}
    for m in mistakes:
        if m.part in parts:
            for n in m.layers:
                parts[m.part][n] = m.by
        else:
            rest[m.part] = m.by
    return Pass(**{name: tuple(v) for name, v in parts.items()}, **rest)


# code, factor, what is done
_SLOPES = (
    (
        "derivative-of-activation",
        _times(lambda act, z, a: act.slope(a)),
        "the derivative of the activation is taken at values that are activations already: φ'(a) with a = φ(z), where "
        "φ'(z) belongs",
    ),
    (
        "derivative-of-sum",
        _times(lambda act, z, a: _value_slope(act, z)),
        "the formula for the derivative in terms of the activation, {formula}, is fed the weighted sum z",
    ),
    ("missing-slope", _times(lambda act, z, a: np.ones_like(z)), "the derivative of the activation is left out"),
    ("other-slope", _times(_other), "the derivative belongs to another activation: {other}"),
    ("half-slope", _times(lambda act, z, a: a), "the activation a stands where its derivative {formula} belongs"),
    ("half-slope", _times(lambda act, z, a: 1 - a), "1 − a stands where the derivative {formula} belongs"),
    ("slope-twice", _twice, "the derivative of the activation is multiplied twice"),
    ("slope-sign", lambda act, z, a, e: -act.pull(z, a, e), "the derivative of the activation has the wrong sign"),
)
_BACKS = (
    (
        "missing-slope-in-back-sum",
        from_error,
        "the error is sent back without the derivative of the activation of the layer it comes from",
        "Send δ = error · φ'(z) back: δ Wᵀ.",
    ),
    (
        "activation-sent-back",
        from_output,
        "the output of the layer is sent back instead of its δ, so that the targets do not enter",
        "Send δ back: δ Wᵀ.",
    ),
    (
        "weights-skipped",
        without_weights,
        "δ is sent back without the weights it passes through",
        "Send δ Wᵀ back.",
    ),
    (
        "weights-not-transposed",
        untransposed,
        "δ is sent back through W instead of Wᵀ",
        "Send δ Wᵀ back; make the layers of different sizes once, and NumPy will tell.",
    ),
)
_FORMS = (
    (
        "missing-slope-in-weights",
        with_error,
        "the gradient of the weights is formed from the error without the derivative of the activation",
        "dW = hᵀ δ with δ = error · φ'(z).",
    ),
    (
        "sum-for-activation",
        with_sums,
        "the weighted sum z of the layer below stands where its activation belongs",
        "dW = hᵀ δ with h = φ(z).",
    ),
    (
        "weight-for-activation",
        with_weights,
        "the weights stand where the activations of the layer below belong",
        "dW = hᵀ δ with h what the layer below gave.",
    ),
    (
        "product-of-means",
        with_mean_activation,
        "activations and δ are summed over samples before they are multiplied",
        "dW = hᵀ δ: multiply sample by sample, then sum.",
    ),
)
_SUM_BIAS = "db = Σ δ over samples, for each unit."
_BIASES = (
    ("bias-averaged", averaged, "the bias gradient is averaged over samples", _SUM_BIAS),
    ("bias-from-one-sample", first_sample, "the bias gradient comes from the first sample alone", _SUM_BIAS),
    ("bias-from-one-sample", last_sample, "the bias gradient comes from the last sample alone", _SUM_BIAS),
    ("bias-left-out", left_out, "the bias gradient is zero", _SUM_BIAS),
    ("bias-summed-over-units", summed_over_units, "the bias gradient is one number for all units", _SUM_BIAS),
)


def catalogue(known: Recognized) -> list[Mistake]:
    """Return every known mistake that can be made in this network."""
    depth = len(known.layout.weights)
    acts = known.network.activations(depth)
    hidden, last = tuple(range(depth - 1)), (depth - 1,)
    found = []
    for layers in _groups(depth, tuple(range(depth))):
        act = acts[layers[-1]]
        words = {"formula": act.formula, "other": "tanh" if act.name in ("logistic", "softmax") else "logistic"}
        cure = f"Multiply by φ'(z) = {act.formula}, where a = φ(z) is what the layer gave."
        for code, by, message in _SLOPES:
            if code == "derivative-of-sum" and all(acts[n].slope_of_value is None for n in layers):
                continue
            found.append(Mistake(code, "slope", by, message.format(**words), cure, layers, _where(layers, depth)))
    if acts[-1].name == "softmax":
        diagonal = _times(lambda act, z, a: act.slope(z))
        message = "softmax is differentiated entry by entry, a(1 − a), but each output depends on all sums"
        cure = "δ = a (e − Σ e a); with the cross-entropy that is prediction − target, over the number of samples."
        found.append(Mistake("softmax-elementwise", "slope", diagonal, message, cure, last, "the last layer"))
    for table, part, groups in (
        (_BACKS, "back", _groups(depth, tuple(range(1, depth)))),
        (_FORMS, "form", _groups(depth, tuple(range(depth)))),
        (_BIASES, "bias", _groups(depth, tuple(n for n in range(depth) if known.layout.biases[n] is not None))),
    ):
        for layers in groups:
            for code, by, message, cure in table:
                if by is with_sums and layers == (0,):
                    continue  # the inputs have no sums
                if by is untransposed and not _square(known, layers):
                    continue
                found.append(Mistake(code, part, by, message, cure, layers, _where(layers, depth)))
    if hidden:
        early = "weights were updated before δ was sent back through them"
        found.append(
            Mistake("weights-updated-early", "late", True, early, "Compute all gradients first, then update all.")
        )
    flipped = "the sign inside the activation is flipped, φ(−z), and the derivative does not know of it"
    found.append(Mistake("flipped-sigmoid", "flipped", True, flipped, "φ(z) = 1/(1 + exp(−z))."))
    if known.network.y.shape[1] == 1 and np.ptp(known.network.y) > 0:
        message = (
            "predictions (n, 1) minus targets (n,) make an (n, n) array: every sample is compared with every target, "
            "as if all targets were their mean"
        )
        if known.broadcast:
            message = "predictions and targets have the same shape here, and in the loss they do not"
        cure = "Give predictions and targets the same shape."
        found.append(Mistake("broadcast-targets", "targets", other_targets, message, cure))
    return found + _errors(known)


def _errors(known: Recognized) -> list[Mistake]:
    """Mistakes in what is sent back from the loss."""
    cure = "Start from the derivative of the loss in the predictions."
    found = [
        Mistake(
            "one-sample-only",
            "error",
            _only(k),
            f"only the {word} sample counts",
            "Add up over samples: += inside the loop, and = only before it.",
        )
        for k, word in ((-1, "last"), (0, "first"))
        if len(known.network.x) > 1
    ]
    found += [
        Mistake("gradient-of-output", "error", _output, "this is the gradient of the output, not of the loss", cure),
        Mistake("error-squared", "error", _squared, "the squared error is sent back instead of its derivative", cure),
        Mistake("error-without-sign", "error", _magnitude, "the error has lost its sign", cure),
    ]
    name = known.loss.name
    for loss in (SQUARES, BINARY):
        if loss.name not in name and not (loss is BINARY and known.network.final_activation.name != "logistic"):
            message = f"this is the gradient of the {loss.name}, and the loss is {name}"
            found.append(Mistake("other-loss", "error", _other_loss(loss), message, cure))
    return found


def _groups(depth: int, layers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All of these layers, the hidden ones, the last, and each hidden one alone."""
    hidden = tuple(n for n in layers if n < depth - 1)
    single = [(n,) for n in layers]
    found = dict.fromkeys([g for g in (*single[::-1], hidden, layers) if g])
    return list(found)


def _where(layers: tuple[int, ...], depth: int) -> str:
    if len(layers) == 1:
        return layer_name(layers[0], depth)
    if len(layers) == depth:
        return "both layers" if depth == 2 else "every layer"
    if layers == tuple(range(depth - 1)):
        return "the hidden layers"
    return " and ".join(layer_name(n, depth) for n in layers)


def _square(known: Recognized, layers: tuple[int, ...]) -> bool:
    sizes = [*known.sizes]
    return any(sizes[n] == sizes[n + 1] for n in layers)
