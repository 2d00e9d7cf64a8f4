"""Mistakes people make in hand-written backpropagation, as switches in a reference pass.

    z_l = h_{l−1} W_l + b_l,   h_l = φ_l(z_l),   e_L = ∂C/∂h_L,   δ_l = e_l · φ'_l(z_l),   e_l = δ_{l+1} W_{l+1}ᵀ
    ∂C/∂W_l = h_{l−1}ᵀ δ_l,    ∂C/∂b_l = Σ_samples δ_l

Each mistake replaces one small function of the pass, in one layer or in several. All functions take a whole batch of
points: weights are (points, inputs, outputs), activations (points, samples, units).

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
from jaxnum.diagnose.backprop.network import forward, layer_name
from jaxnum.diagnose.backprop.recognize import Recognized, broadcast_targets

# How δ comes from the error e of a layer: slope(act, z, a, e) ---------------------------------------------------------


def right_slope(act, z, a, e):
    """δ = e · φ'(z)."""
    return act.pull(z, a, e)


def _times(factor: Callable) -> Callable:
    return lambda act, z, a, e: e * factor(act, z, a)


def _value_slope(act, z):
    return np.ones_like(z) if act.slope_of_value is None else act.slope_of_value(z)


def _other(act, z, a):
    return 1 - a**2 if act.name in ("logistic", "softmax") else a * (1 - a)


def _twice(act, z, a, e):
    return act.pull(z, a, e) * act.slope(z)


# How an error travels down: back(δ, e, h, W) --------------------------------------------------------------------------


def through_weights(delta, error, output, weight):
    """δ Wᵀ."""
    return delta @ np.swapaxes(weight, -1, -2)


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


def with_activations(h, z, delta, error, weight):
    """hᵀ δ."""
    return np.swapaxes(h, -1, -2) @ delta


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


def summed(delta):
    """Σ over samples."""
    return delta.sum(-2, keepdims=True)


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


def right_targets(known):
    """The targets of the user's loss."""
    return broadcast_targets(known.network.y) if known.broadcast else known.network.y


def other_targets(known):
    """Targets broadcast where the loss does not, and the other way round."""
    return known.network.y if known.broadcast else broadcast_targets(known.network.y)


def right_error(known, p, t):
    """∂C/∂h_L."""
    return known.loss.slope(p, t)


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


@dataclass(frozen=True)
class Pass:
    """A backward pass; each field holds one function for each layer, from input to output.

    Attributes:
        slope: How δ comes from the error.
        back: How the error travels to the layer below.
        form: How the gradient of the weights is formed.
        bias: How δ becomes the gradient of a bias.
        error: What stands for the error of the last layer (one function).
        flipped: Whether the forward pass takes φ(−z) and the backward pass does not know of it.
        targets: What stands for the targets (one function).
        late: Whether weights are updated before an error travels through them.
    """

    slope: tuple[Callable, ...]
    back: tuple[Callable, ...]
    form: tuple[Callable, ...]
    bias: tuple[Callable, ...]
    error: Callable = right_error
    flipped: bool = False
    targets: Callable = right_targets
    late: bool = False


_LAYERED = {"slope": right_slope, "back": through_weights, "form": with_activations, "bias": summed}


def run(known: Recognized, how: Pass, weights: list, biases: list, rate: float = 0.0) -> tuple[list, list]:
    """Return the gradients (weights, biases) of one pass, where `late` with weights updated at this rate."""
    sign = -1.0 if how.flipped else known.sign
    zs, hs = forward(known.network, weights, biases, sign=sign)
    acts = known.network.activations(len(weights))
    hs[0] = np.broadcast_to(hs[0], (len(weights[0]), *hs[0].shape))
    error = how.error(known, hs[-1], how.targets(known))
    grads, shifts = [], []
    inner = 1.0 if how.flipped else known.sign  # the derivative of sign·z, forgotten where it was flipped by mistake
    for n in range(len(weights) - 1, -1, -1):
        delta = inner * how.slope[n](acts[n], zs[n], hs[n + 1], error)
        below = zs[n - 1] if n else hs[0]
        grads.append(how.form[n](hs[n], below, delta, error, weights[n]))
        shifts.append(how.bias[n](delta))
        weight = weights[n] - rate * grads[-1] if how.late else weights[n]
        error = how.back[n](delta, error, hs[n + 1], weight)
    return grads[::-1], shifts[::-1]


def adjoints(known: Recognized, weights: list, biases: list) -> list[np.ndarray]:
    """Return ∂C/∂z of every layer, from input to output, (points, samples, units)."""
    zs, hs = forward(known.network, weights, biases, sign=known.sign)
    acts = known.network.activations(len(weights))
    error, found = known.loss.slope(hs[-1], right_targets(known)), []
    for n in range(len(weights) - 1, -1, -1):
        found.append(known.sign * acts[n].pull(zs[n], hs[n + 1], error))
        error = through_weights(found[-1], error, hs[n + 1], weights[n])
    return found[::-1]


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
    parts: dict[str, Any] = {name: [right] * depth for name, right in _LAYERED.items()}
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
