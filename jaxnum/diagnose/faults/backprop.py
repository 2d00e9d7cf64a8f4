"""Mistakes people make in hand-written backpropagation, as switches in a reference pass.

    z_l = h_{l−1} W_l + b_l,   h_l = φ_l(z_l),   δ_L = ∂C/∂h_L · φ'_L(z_L),   δ_l = (δ_{l+1} W_{l+1}ᵀ) · φ'_l(z_l)
    ∂C/∂W_l = h_{l−1}ᵀ δ_l,    ∂C/∂b_l = Σ_samples δ_l

Each mistake replaces one small function of the pass. A claimed gradient that one of the broken passes reproduces to
rounding, at points that were not used to fit anything too, has been explained.

Reference:
    Rumelhart, Hinton & Williams (1986), https://doi.org/10.1038/323533a0
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import as_array, refuse
from jaxnum.diagnose.truth import double_precision
from jaxnum.numerics.lift import Lifted, lift


@dataclass(frozen=True)
class Activation:
    """An elementwise function with the derivatives that people write for it.

    Attributes:
        name: Its name.
        fn: The function of z.
        slope: Its derivative as a function of z.
        slope_of_value: Its derivative as a function of its own value a = φ(z), where one is in use.
        formula: The right derivative in terms of a, as text.
    """

    name: str
    fn: Callable
    slope: Callable
    slope_of_value: Callable | None = None
    formula: str = "φ'(z)"


def _logistic(z):
    return np.exp(-np.logaddexp(0, -z))


def _logistic_slope(z):
    return _logistic(z) * _logistic(-z)


LOGISTIC = Activation("logistic", _logistic, _logistic_slope, lambda a: a * (1 - a), "a(1 − a)")
TANH = Activation("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda a: 1 - a**2, "1 − a²")
RELU = Activation("relu", lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0, None, "1 where z > 0, else 0")
IDENTITY = Activation("identity", lambda z: z, np.ones_like, None, "1")
_KNOWN = (LOGISTIC, TANH, RELU, IDENTITY)


def activation(name: str, fn: Any) -> Activation:
    """Recognize an activation by its values, or take its slope by autodiff."""
    if isinstance(fn, Activation):
        return fn
    if not callable(fn):
        refuse(name, "be an elementwise function", f"is {fn!r}")
    z = np.array([-2.1, -0.4, 0.3, 1.7])
    with double_precision():
        try:
            values = np.asarray(fn(z), dtype=float)
        except Exception as error:
            refuse(name, "be an elementwise function", f"fails on numbers: {error}")
        if values.shape != z.shape:
            refuse(name, "be an elementwise function", f"maps shape {z.shape} to {values.shape}")
        for known in _KNOWN:
            if np.allclose(values, known.fn(z), rtol=1e-6, atol=1e-7):
                return known
        own = lift(fn)
        slope = jax.vmap(jax.grad(own.retold if isinstance(own, Lifted) else own))

    def slope_of(z):
        with double_precision():
            return np.asarray(slope(jnp.ravel(z))).reshape(np.shape(z))

    return Activation(getattr(fn, "__name__", "activation"), lambda z: np.asarray(fn(z), dtype=float), slope_of)


def mean_squared(prediction, target):
    """Slope of the mean of (prediction − target)² in the prediction."""
    return 2 * (prediction - target) / prediction.size


def cross_entropy(prediction, target):
    """Slope of the mean binary cross-entropy in the prediction."""
    return (prediction - target) / (prediction * (1 - prediction)) / prediction.size


_LOSSES = {
    "mean squared error": (lambda p, t: np.mean((p - t) ** 2), mean_squared),
    "mean binary cross-entropy": (lambda p, t: -np.mean(t * np.log(p) + (1 - t) * np.log1p(-p)), cross_entropy),
}


@dataclass(frozen=True)
class Network:
    """The network that a hand-written backward pass belongs to: what `gradient` needs to name the mistake in it.

    Attributes:
        x: Inputs, (samples, features); integers are fine.
        y: Targets, (samples, outputs) or (samples,).
        activation: Elementwise function of the hidden layers; None for the logistic function.
        final_activation: That of the last layer; None for the same.
        loss: Function `loss(predictions, targets)`; None when it is a multiple of the mean squared error or of the
            mean binary cross-entropy, which is then found out from its values.

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> diagnose.Network([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], activation=np.tanh).y.shape
        (4, 1)
    """

    x: Any
    y: Any
    activation: Any = None
    final_activation: Any = None
    loss: Any = None

    def __post_init__(self) -> None:
        with double_precision():
            x, y = (np.asarray(as_array(n, _as_float(v))).astype(float) for n, v in (("x", self.x), ("y", self.y)))
        if x.ndim != 2:
            refuse("x", "have shape (samples, features)", f"has shape {x.shape}")
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim != 2 or len(y) != len(x):
            refuse("y", f"have a row for each of the {len(x)} samples", f"has shape {y.shape}")
        hidden = LOGISTIC if self.activation is None else activation("activation", self.activation)
        final = hidden if self.final_activation is None else activation("final_activation", self.final_activation)
        if self.loss is not None and not callable(self.loss):
            refuse("loss", "be a function of predictions and targets", f"is {type(self.loss).__name__}")
        for name, value in (("x", x), ("y", y), ("activation", hidden), ("final_activation", final)):
            object.__setattr__(self, name, value)


def _as_float(values: Any) -> Any:
    values = np.asarray(values) if not isinstance(values, jax.Array) else values
    return values.astype(float) if values.dtype.kind in "iub" else values


# The layout of the user's parameters --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Which leaf is which weight or bias.

    Attributes:
        weights: Index of the leaf that holds each weight matrix, from input to output.
        biases: Index of the leaf that holds each bias; None where there is none.
        columns: Whether matrices are (outputs, inputs).
    """

    weights: tuple[int, ...]
    biases: tuple[int | None, ...]
    columns: bool


def layout(network: Network, shapes: Sequence[tuple[int, ...]]) -> Layout | None:
    """Recognize weights and biases by their shapes; None when they do not make up the network."""
    matrices = [i for i, s in enumerate(shapes) if len(s) == 2]
    inputs, outputs = network.x.shape[1], network.y.shape[1]
    for columns, count in itertools.product((False, True), range(len(matrices), 0, -1)):
        for chosen in itertools.combinations(matrices, count):
            chain = [shapes[i][::-1] if columns else shapes[i] for i in chosen]
            fits = chain[0][0] == inputs and chain[-1][1] == outputs
            if not fits or any(a[1] != b[0] for a, b in itertools.pairwise(chain)):
                continue
            rest = [i for i in range(len(shapes)) if i not in chosen]
            biases: list[int | None] = [None] * count
            for i in rest:
                free = [n for n, c in enumerate(chain) if biases[n] is None and int(np.prod(shapes[i])) == c[1]]
                later = [n for n in free if all(b is None for b in biases[n:])]
                if not free:
                    break
                biases[(later or free)[0]] = i
            else:
                return Layout(chosen, tuple(biases), columns)
    return None


def split(found: Layout, leaves: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return weights (inputs, outputs) and biases (outputs,) from the leaves."""
    weights = [leaves[i].T if found.columns else leaves[i] for i in found.weights]
    return weights, [None if i is None else leaves[i].ravel() for i in found.biases]


# The pass, with switches --------------------------------------------------------------------------------------------


def right_slope(act, z, a):
    """φ'(z)."""
    return act.slope(z)


def slope_at_activation(act, z, a):
    """φ'(a): the derivative as a function of z, applied to what is already activated."""
    return act.slope(a)


def value_slope_at_sum(act, z, a):
    """The derivative as a function of the value, applied to z."""
    return np.ones_like(z) if act.slope_of_value is None else act.slope_of_value(z)


def no_slope(act, z, a):
    """1: the derivative was left out."""
    return np.ones_like(z)


def slope_of_other(act, z, a):
    """The derivative of tanh for the logistic function, and the other way round."""
    return 1 - a**2 if act.name == "logistic" else a * (1 - a)


def slope_without_second_factor(act, z, a):
    """a instead of a(1 − a)."""
    return a


def slope_squared(act, z, a):
    """The derivative multiplied twice."""
    return act.slope(z) ** 2


def through_weights(delta, error, output, weight):
    """δ Wᵀ."""
    return delta @ weight.T


def without_weights(delta, error, output, weight):
    """δ summed over the units it came from, without their weights."""
    return np.repeat(delta.sum(1, keepdims=True), weight.shape[0], axis=1)


def from_error(delta, error, output, weight):
    """The error itself sent back, without the slope of the layer it comes from."""
    return error @ weight.T


def from_output(delta, error, output, weight):
    """The activation sent back instead of δ."""
    return output @ weight.T


def with_activations(h, delta, error, weight):
    """hᵀ δ."""
    return h.T @ delta


def with_error(h, delta, error, weight):
    """hᵀ times the error, without the slope."""
    return h.T @ error


def with_weights(h, delta, error, weight):
    """The weight where the activation belongs."""
    return weight * delta.sum(0, keepdims=True)


def with_mean_activation(h, delta, error, weight):
    """Means over samples multiplied, instead of the sum of products."""
    return h.mean(0)[:, None] * delta.sum(0)[None, :]


def summed(delta):
    """Σ over samples."""
    return delta.sum(0)


def averaged(delta):
    """Mean over samples."""
    return delta.mean(0)


def first_sample(delta):
    """The first sample alone."""
    return delta[0]


def left_out(delta):
    """0."""
    return 0 * delta[0]


@dataclass(frozen=True)
class Pass:
    """A backward pass, each piece a function that a mistake replaces.

    Attributes:
        hidden: Slope used in the hidden layers.
        output: Slope used in the last layer.
        back: How δ travels to the layer below.
        last: How the gradient of the last weights is formed.
        first: How those of the other weights are formed.
        bias: How δ becomes the gradient of a bias.
        sign: −1 where the sign inside the activation is wrong.
        targets: What stands for the targets.
        late: Derivative of the pass in the learning rate by which W is updated too early.
    """

    hidden: Callable = right_slope
    output: Callable = right_slope
    back: Callable = through_weights
    last: Callable = with_activations
    first: Callable = with_activations
    bias: Callable = summed
    sign: float = 1.0
    targets: Callable = field(default=lambda y: y)
    late: bool = False


def run(network: Network, how: Pass, slope: Callable, weights, biases) -> list[tuple[list, list]]:
    """Return the gradients (weights, biases) of one pass; a second pair, linear in an unknown rate, where `late`."""
    h, zs, hs = network.x, [], [network.x]
    acts = [network.activation] * (len(weights) - 1) + [network.final_activation]
    for weight, bias, act in zip(weights, biases, acts, strict=True):
        z = h @ weight + (0.0 if bias is None else bias)
        h = act.fn(how.sign * z)
        zs.append(z)
        hs.append(h)
    error = slope(h, how.targets(network.y))
    output_slope = how.output(acts[-1], how.sign * zs[-1], h)
    first = _backward(how, weights, hs, zs, acts, error, error * output_slope, None)
    if not how.late:
        return [first]
    return [first, _backward(how, weights, hs, zs, acts, error, error * output_slope, first[0])]


def _backward(how, weights, hs, zs, acts, error, delta, updates):
    """Go back through the layers; with `updates`, only what an early update of the weights adds, per unit of rate."""
    grads, shifts = [], []
    through = None if updates is None else np.zeros_like(delta)
    for n in range(len(weights) - 1, -1, -1):
        form = how.last if n == len(weights) - 1 else how.first
        carried = delta if through is None else through
        grads.append(form(hs[n], carried, error, weights[n]) if through is None else hs[n].T @ carried)
        shifts.append(how.bias(carried))
        if n:
            slope = how.hidden(acts[n - 1], how.sign * zs[n - 1], hs[n])
            if through is not None:
                through = (through @ weights[n].T - delta @ updates[n].T) * slope
            last = n == len(weights) - 1
            delta = how.back(delta, error if last else delta, hs[n + 1], weights[n]) * slope
    return grads[::-1], shifts[::-1]


# The catalogue ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """One known mistake.

    Attributes:
        code: Code of the finding.
        change: Fields of `Pass` that it replaces.
        message: What is done, as the middle of a sentence.
        cure: The line as it should be.
        where: Layer it is made in, for mistakes that are made in several.
    """

    code: str
    change: dict[str, Any]
    message: str
    cure: str
    where: str = ""


def _in_layers(code: str, slope: Callable, message: str, cure: str) -> list[Mistake]:
    return [
        Mistake(code, {"hidden": slope}, message, cure, "the hidden layers"),
        Mistake(code, {"output": slope}, message, cure, "the last layer"),
    ]


_RIGHT = "Multiply by {formula}, where a = φ(z) is what the layer gave."
MISTAKES: tuple[Mistake, ...] = (
    *_in_layers(
        "derivative-of-activation",
        slope_at_activation,
        "the derivative of the activation is taken at values that are activations already: φ'(a) with a = φ(z), where "
        "φ'(z) belongs",
        _RIGHT,
    ),
    *_in_layers(
        "derivative-of-sum",
        value_slope_at_sum,
        "the formula for the derivative in terms of the activation, {formula}, is fed the weighted sum z",
        _RIGHT,
    ),
    *_in_layers("missing-slope", no_slope, "the derivative of the activation is left out", _RIGHT),
    *_in_layers("other-slope", slope_of_other, "the derivative belongs to another activation", _RIGHT),
    *_in_layers("half-slope", slope_without_second_factor, "a stands where {formula} belongs", _RIGHT),
    *_in_layers("slope-twice", slope_squared, "the derivative of the activation is multiplied twice", _RIGHT),
    Mistake(
        "missing-slope-in-weights",
        {"last": with_error},
        "the gradient of the last weights is formed from the error without the derivative of the activation",
        "dW = hᵀ δ with δ = error · φ'(z).",
    ),
    Mistake(
        "missing-slope-in-back-sum",
        {"back": from_error},
        "the error of the last layer is sent back without the derivative of its activation",
        "Send δ = error · φ'(z) back: δ Wᵀ.",
    ),
    Mistake(
        "activation-sent-back",
        {"back": from_output},
        "the output of the layer above is sent back instead of its δ, so that the targets do not enter",
        "Send δ back: δ Wᵀ.",
    ),
    Mistake(
        "weights-skipped",
        {"back": without_weights},
        "δ is sent back without the weights it passes through",
        "Send δ Wᵀ back.",
    ),
    Mistake(
        "weight-for-activation",
        {"last": with_weights},
        "the last weights stand where the activations of the layer below belong",
        "dW = hᵀ δ with h what the layer below gave.",
    ),
    Mistake(
        "product-of-means",
        {"last": with_mean_activation, "first": with_mean_activation},
        "activations and δ are summed over samples before they are multiplied",
        "dW = hᵀ δ: multiply sample by sample, then sum.",
    ),
    Mistake(
        "weights-updated-early",
        {"late": True},
        "weights were updated before δ was sent back through them",
        "Compute all gradients first, then update all weights.",
    ),
    Mistake("bias-averaged", {"bias": averaged}, "bias gradients are averaged over samples", "db = Σ δ over samples."),
    Mistake(
        "bias-from-first-sample",
        {"bias": first_sample},
        "bias gradients come from the first sample alone",
        "db = Σ δ over samples.",
    ),
    Mistake("bias-left-out", {"bias": left_out}, "bias gradients are zero", "db = Σ δ over samples."),
    Mistake(
        "flipped-sigmoid",
        {"sign": -1.0},
        "the sign inside the activation is flipped, φ(−z), and the derivative does not know of it",
        "φ(z) = 1/(1 + exp(−z)).",
    ),
    Mistake(
        "broadcast-targets",
        {"targets": lambda y: np.broadcast_to(y.mean(0), y.shape)},
        "predictions (n, 1) minus targets (n,) make an (n, n) array: every sample is compared with every target, as if "
        "all targets were their mean",
        "Give predictions and targets the same shape.",
    ),
)


@dataclass(frozen=True)
class Explanation:
    """A set of mistakes that reproduces the claimed gradient.

    Attributes:
        mistakes: The mistakes.
        scale: Factor besides, 1 if there is none.
        rate: Learning rate of an update that came too early, else None.
        residual: Largest relative difference at all points, held-out ones included.
    """

    mistakes: tuple[Mistake, ...]
    scale: float
    rate: float | None
    residual: float


def recognize_loss(network: Network, found: Layout, leaves: list[list], values: np.ndarray) -> tuple[Any, str]:
    """Find out which loss the values belong to.

    Args:
        network: The network.
        found: Which leaf is what.
        leaves: Parameters at each point.
        values: The user's loss at each point.

    Returns:
        Slope of the loss in the predictions, and what it is in words; the slope is None when it is none of the known
        ones. A pass with a flipped sign or broadcast targets is told in the words.
    """
    points = [split(found, point) for point in leaves]
    outputs = {sign: [forward(network, *p, sign=sign) for p in points] for sign in (1.0, -1.0)}
    losses = dict(_LOSSES)
    if network.loss is not None:
        losses = {"loss given": (_plain_loss(network.loss), _slope_of(network.loss))}
    for sign, (name, (loss, slope)) in itertools.product((1.0, -1.0), losses.items()):
        with np.errstate(all="ignore"):
            expected = np.array([float(loss(o, network.y)) for o in outputs[sign]])
        ratio = values / expected
        if np.all(np.isfinite(ratio)) and np.ptp(ratio) <= 1e-9 * abs(ratio[0]) and ratio[0] != 0:
            factor = float(ratio[0])
            words = name if abs(factor - 1) < 1e-9 else f"{factor:.6g} times the {name}"
            if sign < 0:
                return None, "flipped-sigmoid"
            return (lambda p, t: factor * slope(p, t)), words
    mean = np.broadcast_to(network.y.mean(0), network.y.shape)
    expected = np.array([np.mean((o - mean) ** 2) + np.mean(np.var(network.y, 0)) for o in outputs[1.0]])
    ratio = values / expected
    if np.all(np.isfinite(ratio)) and np.ptp(ratio) <= 1e-9 * abs(ratio[0]) and np.ptp(network.y) > 0:
        return None, "broadcast-targets"
    return None, ""


def _plain_loss(loss: Callable) -> Callable:
    return lambda p, t: float(np.asarray(loss(p, t)))


def _slope_of(loss: Callable) -> Callable:
    own = lift(loss)
    gradient = jax.grad(own.retold if isinstance(own, Lifted) else own)

    def slope(prediction, target):
        with double_precision():
            return np.asarray(gradient(jnp.asarray(prediction), jnp.asarray(target)))

    return slope


def forward(network: Network, weights, biases, *, sign: float = 1.0) -> np.ndarray:
    """Return the outputs of the network."""
    h = network.x
    for n, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        act = network.final_activation if n == len(weights) - 1 else network.activation
        h = act.fn(sign * (h @ weight + (0.0 if bias is None else bias)))
    return h


def explain(
    network: Network, found: Layout, slope: Callable, leaves: list[list], claimed: np.ndarray, tolerance: float = 1e-10
) -> list[Explanation]:
    """Return every set of one or two known mistakes that reproduces a gradient, the simplest first.

    Args:
        network: The network.
        found: Which leaf is what.
        slope: Slope of the loss in the predictions, from `recognize_loss`.
        leaves: Parameters at each point; the last third is held out.
        claimed: Claimed gradient at each point, (points, parameters), in the order of the leaves.
        tolerance: Largest relative difference that counts as equal.
    """
    points = [split(found, point) for point in leaves]
    num_fit = max(1, len(points) - len(points) // 3)

    def predict(how):
        columns = []
        for weights, biases in points:
            grads = run(network, how, slope, weights, biases)
            columns.append([_join(found, leaves[0], *g) for g in grads])
        return np.array(columns)  # (points, 1 or 2, parameters)

    singles = [(m,) for m in MISTAKES]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(MISTAKES, 2)
        if not set(a.change) & set(b.change) and not (a.where and b.where and a.code != b.code)
    ]
    survivors = []
    size = np.max(np.abs(claimed), axis=1)
    with np.errstate(all="ignore"):
        right = predict(Pass())[:, 0]
        for group in (singles, pairs):
            for mistakes in group:
                how = Pass()
                for m in mistakes:
                    how = replace(how, **m.change)
                told = predict(how)
                if not np.all(np.isfinite(told)):
                    continue
                if np.allclose(told[:, 0], right, rtol=1e-9, atol=0) and not how.late:
                    continue  # it changes nothing here
                # Two unknowns at most: the common factor, and the rate of an update that came too early.
                matrix = (told[:num_fit] / size[:num_fit, None, None]).transpose(0, 2, 1).reshape(-1, told.shape[1])
                vector = (claimed[:num_fit] / size[:num_fit, None]).ravel()
                fit, *_ = np.linalg.lstsq(matrix, vector, rcond=None)
                gaps = np.abs(np.einsum("pkn,k->pn", told, fit) - claimed) / size[:, None]
                residual = float(np.max(gaps))
                rate = float(fit[1] / fit[0]) if how.late and fit[0] else None
                if residual < tolerance and abs(fit[0]) > 1e-8 and not (how.late and abs(rate) < 1e-8):
                    scale = float(fit[0])
                    scale = 1.0 if abs(scale - 1) < max(1e-8, 10 * tolerance) else scale
                    survivors.append(Explanation(mistakes, scale, rate, residual))
            if any(e.scale == 1.0 for e in survivors):
                break  # two mistakes are not needed where one explains everything
    return sorted(survivors, key=lambda e: (e.scale != 1.0, len(e.mistakes), len({m.code for m in e.mistakes})))


def _join(found: Layout, like: list, grads, shifts) -> np.ndarray:
    """Put gradients back into the order and layout of the user's leaves, as one vector."""
    leaves: list[Any] = [None] * len(like)
    for i, grad in zip(found.weights, grads, strict=True):
        leaves[i] = grad.T if found.columns else grad
    for i, shift in zip(found.biases, shifts, strict=True):
        if i is not None:
            leaves[i] = shift
    return np.concatenate([np.ravel(leaf) for leaf in leaves])
