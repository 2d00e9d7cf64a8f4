"""The network that somebody's gradient belongs to: its layers, its loss, and where its weights lie.

    z_l = h_{l−1} W_l + b_l,    h_l = φ_l(z_l),    C = loss(h_L, y)

A network is told in a `Network`, or found out: among the arrays that a loss can see, those that make up a network
whose loss agrees with the user's at random weights, to rounding.
"""

import itertools
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import as_array, refuse
from jaxnum.diagnose.truth import double_precision
from jaxnum.numerics.lift import Lifted, lift

_MATCH = 1e-6  # spread of the ratio of two losses that are the same up to a factor: people add 1e-8 inside logarithms
_MOST_NUMBERS = 2_000_000  # and numbers in them
_MOST_ARRAYS = 40  # arrays a loss may see before nobody guesses which are samples and targets


@dataclass(frozen=True)
class Activation:
    """A function of a layer with the derivatives that people write for it.

    Attributes:
        name: Its name.
        fn: The function of z; all but softmax act on each entry.
        slope: Its derivative as a function of z; for softmax the diagonal of its Jacobian.
        slope_of_value: Its derivative as a function of its own value a = φ(z), where one is in use.
        formula: The right derivative in terms of a, as text.
    """

    name: str
    fn: Callable
    slope: Callable
    slope_of_value: Callable | None = None
    formula: str = "φ'(z)"

    def pull(self, z: np.ndarray, a: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Return ∂C/∂z from ∂C/∂a."""
        if self.name == "softmax":
            return a * (error - np.sum(error * a, axis=-1, keepdims=True))
        return error * self.slope(z)


def _logistic(z):
    return np.exp(-np.logaddexp(0, -z))


def _softmax(z):
    powers = np.exp(z - np.max(z, axis=-1, keepdims=True))
    return powers / np.sum(powers, axis=-1, keepdims=True)


LOGISTIC = Activation("logistic", _logistic, lambda z: _logistic(z) * _logistic(-z), lambda a: a * (1 - a), "a(1 − a)")
TANH = Activation("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda a: 1 - a**2, "1 − a²")
RELU = Activation("relu", lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0, None, "1 where z > 0, else 0")
IDENTITY = Activation("identity", lambda z: z, np.ones_like, None, "1")
SOFTMAX = Activation(
    "softmax", _softmax, lambda z: _softmax(z) * (1 - _softmax(z)), lambda a: a * (1 - a), "a (e − Σ e a)"
)
KNOWN = (LOGISTIC, TANH, RELU, IDENTITY, SOFTMAX)


def activation(name: str, fn: Any) -> Activation:
    """Recognize an activation by its values, or take its slope by autodiff."""
    if isinstance(fn, Activation):
        return fn
    if not callable(fn):
        refuse(name, "be an elementwise function or softmax", f"is {fn!r}")
    z = np.array([[-2.1, -0.4, 0.3, 1.7]])
    with double_precision():
        try:
            values = np.asarray(fn(z), dtype=float)
        except Exception as error:
            refuse(name, "be an elementwise function or softmax", f"fails on numbers: {error}")
        if values.shape != z.shape:
            refuse(name, "be an elementwise function or softmax", f"maps shape {z.shape} to {values.shape}")
        for known in KNOWN:
            if np.allclose(values, known.fn(z), rtol=1e-6, atol=1e-7):
                return known
        own = lift(fn)
        slope = jax.vmap(jax.grad(own.retold if isinstance(own, Lifted) else own))

    def slope_of(z):
        with double_precision():
            return np.asarray(slope(jnp.ravel(z))).reshape(np.shape(z))

    return Activation(getattr(fn, "__name__", "activation"), lambda z: np.asarray(fn(z), dtype=float), slope_of)


@dataclass(frozen=True)
class Loss:
    """A loss of predictions and targets.

    Attributes:
        name: What it is called.
        value: Its value, for predictions (..., samples, outputs).
        slope: Its derivative in the predictions.
    """

    name: str
    value: Callable
    slope: Callable

    def times(self, factor: float) -> "Loss":
        """Return a multiple of it."""
        if abs(factor - 1) < _MATCH:
            return self
        own = self.slope
        return replace(self, name=f"{factor:.6g} times the {self.name}", slope=lambda p, t: factor * own(p, t))


def _mean(values):
    return np.mean(values, axis=(-2, -1))


def _count(p):
    return p.shape[-1] * p.shape[-2]


SQUARES = Loss("mean squared error", lambda p, t: _mean((p - t) ** 2), lambda p, t: 2 * (p - t) / _count(p))
BINARY = Loss(
    "mean binary cross-entropy",
    lambda p, t: -_mean(t * np.log(p) + (1 - t) * np.log1p(-p)),
    lambda p, t: (p - t) / (p * (1 - p)) / _count(p),
)
CLASSES = Loss(
    "mean cross-entropy",
    lambda p, t: -np.mean(np.sum(t * np.log(p), axis=-1), axis=-1),
    lambda p, t: -t / p / p.shape[-2],
)
ABSOLUTE = Loss("mean absolute error", lambda p, t: _mean(np.abs(p - t)), lambda p, t: np.sign(p - t) / _count(p))
LOSSES = (SQUARES, BINARY, CLASSES, ABSOLUTE)


@dataclass(frozen=True)
class Network:
    """The network that a hand-written backward pass belongs to: what `gradient` needs to name the mistake in it.

    Most need not be told: `gradient` looks for the samples among the arrays that the loss can see.

    Attributes:
        x: Inputs, (samples, features); integers are fine.
        y: Targets, (samples, outputs) or (samples,); with softmax also class numbers 0, 1, 2, ...
        activation: Elementwise function of the hidden layers; None for the logistic function.
        final_activation: That of the last layer, or softmax; None for the same.
        loss: Function `loss(predictions, targets)`; None when it is a multiple of the mean squared error, a cross
            entropy or the mean absolute error, which is then found out from its values.

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
        if final.name == "softmax" and y.shape[1] == 1:
            y = one_hot(y[:, 0])
        for name, value in (("x", x), ("y", y), ("activation", hidden), ("final_activation", final)):
            object.__setattr__(self, name, value)

    def activations(self, depth: int) -> list[Activation]:
        """Return the activation of each of `depth` layers."""
        return [self.activation] * (depth - 1) + [self.final_activation]


def one_hot(labels: np.ndarray, classes: int | None = None) -> np.ndarray:
    """Return class numbers as rows with a single one."""
    labels = labels.astype(int)
    return np.eye(max(2, labels.max() + 1) if classes is None else classes)[labels]


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

    def name(self, index: int) -> str:
        """Return in words what a leaf is."""
        depth = len(self.weights)
        kind, found = ("weights", self.weights) if index in self.weights else ("bias", self.biases)
        n = found.index(index)
        return f"{kind} of {layer_name(n, depth)}"


def layer_name(n: int, depth: int) -> str:
    """Return what layer `n` (0 is the first hidden one) is called."""
    if n == depth - 1:
        return "the last layer" if depth > 1 else "the one layer"
    return "the hidden layer" if depth == 2 else f"hidden layer {n + 1}"


def layouts(network: Network, shapes: Sequence[tuple[int, ...]]) -> list[Layout]:
    """Return every way to take leaves of these shapes for weights and biases of the network, the likeliest first."""
    return list(itertools.islice(_layouts(network.x.shape[1], network.y.shape[1], tuple(shapes)), 8))


def _layouts(inputs: int, outputs: int, shapes: tuple[tuple[int, ...], ...]) -> Iterator[Layout]:
    # A vector may be the weights of a layer with one output; then its shape is that of a column.
    matrices = [i for i, s in enumerate(shapes) if len(s) == 2 or (len(s) == 1 and s[0] > 1)]
    if len(matrices) > 12:
        return
    square = [i for i in matrices if len(shapes[i]) == 2]
    counts = range(len(matrices), 0, -1)
    for columns, count in itertools.product((False, True), counts):
        plain = list(itertools.combinations(square, count))
        for chosen in plain + [c for c in itertools.combinations(matrices, count) if c not in plain]:
            chain = [_as_matrix(shapes[i], columns) for i in chosen]
            if any(len(shapes[i]) == 1 for i in chosen[:-1]):
                continue  # only the last layer can have one output and no more
            if chain[0][0] != inputs or chain[-1][1] != outputs:
                continue
            if any(a[1] != b[0] for a, b in itertools.pairwise(chain)):
                continue
            biases = _biases(chosen, [c[1] for c in chain], shapes)
            if biases is not None:
                yield Layout(chosen, biases, columns)


def _as_matrix(shape: tuple[int, ...], columns: bool) -> tuple[int, int]:
    if len(shape) == 1:
        return shape[0], 1
    return (shape[1], shape[0]) if columns else (shape[0], shape[1])


def _biases(chosen, widths, shapes) -> tuple[int | None, ...] | None:
    """Assign what is no weight to the layers in order; None where something fits nowhere."""
    biases: list[int | None] = [None] * len(chosen)
    for i in (i for i in range(len(shapes)) if i not in chosen):
        if len([d for d in shapes[i] if d != 1]) > 1:
            return None
        free = [n for n, width in enumerate(widths) if biases[n] is None and int(np.prod(shapes[i])) == width]
        later = [n for n in free if all(b is None for b in biases[n:])]
        if not free:
            return None
        biases[(later or free)[0]] = i
    return tuple(biases)


def split(found: Layout, leaves: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return weights (..., inputs, outputs) and biases (..., 1, outputs) from leaves with a point on the first axis."""
    weights = []
    for i in found.weights:
        leaf = leaves[i] if leaves[i].ndim == 3 else leaves[i][..., None]
        weights.append(np.swapaxes(leaf, -1, -2) if found.columns and leaves[i].ndim == 3 else leaf)
    return weights, [None if i is None else leaves[i].reshape(len(leaves[i]), 1, -1) for i in found.biases]


def join(found: Layout, count: int, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> np.ndarray:
    """Put gradients back into the order and layout of the user's leaves, (points, parameters)."""
    leaves: list[Any] = [None] * count
    for i, grad in zip(found.weights, weights, strict=True):
        leaves[i] = np.swapaxes(grad, -1, -2) if found.columns else grad
    for i, shift in zip(found.biases, biases, strict=True):
        if i is not None:
            leaves[i] = shift
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


# Forward ------------------------------------------------------------------------------------------------------------


def forward(network: Network, weights, biases, *, sign: float = 1.0) -> tuple[list, list]:
    """Return the sums z and the activations h of every layer; h starts with the inputs."""
    h, zs, hs = network.x, [], [network.x]
    for weight, bias, act in zip(weights, biases, network.activations(len(weights)), strict=True):
        z = sign * (h @ weight + (0.0 if bias is None else bias))
        h = act.fn(z)
        zs.append(z)
        hs.append(h)
    return zs, hs


@dataclass(frozen=True)
class Recognized:
    """A network whose loss is the user's.

    Attributes:
        network: The network.
        layout: Where its weights lie.
        loss: Its loss, the factor included.
        sizes: Number of inputs and of units in each layer.
        sign: −1 where the user's forward pass takes φ(−z).
        broadcast: Whether the user's loss compares every prediction with every target.
        told: Whether the user said what network it is.
        penalty: Factor λ of a penalty λ Σ w² in the loss.
        biases_too: Whether the biases count in it.
    """

    network: Network
    layout: Layout
    loss: Loss
    sizes: tuple[int, ...]
    sign: float = 1.0
    broadcast: bool = False
    told: bool = True
    penalty: float = 0.0
    biases_too: bool = False

    def penalty_slope(self, leaves: list[np.ndarray]) -> np.ndarray:
        """Return the gradient of the penalty at each point, (points, parameters)."""
        counted = range(len(leaves)) if self.biases_too else self.layout.weights
        parts = [2 * self.penalty * (i in counted) * leaf.reshape(len(leaf), -1) for i, leaf in enumerate(leaves)]
        return np.concatenate(parts, axis=1)

    def __str__(self) -> str:
        acts = ", ".join(act.name for act in self.network.activations(len(self.layout.weights)))
        count = len(self.layout.weights)
        besides = f" and {self.penalty:.6g} times the sum of squared weights" if self.penalty else ""
        return f"{count} layer{'s' * (count > 1)} ({acts}), {self.loss.name}{besides}, {len(self.network.x)} samples"


def broadcast_targets(y: np.ndarray) -> np.ndarray:
    """What the targets amount to where predictions (n, 1) minus targets (n,) make an (n, n) array."""
    return np.broadcast_to(y.mean(0), y.shape)


def recognize(
    network: Network, ways: Sequence[Layout], leaves: list[np.ndarray], values: np.ndarray
) -> Recognized | None:
    """Find out which loss of this network the values are, with the first layout that fits.

    Args:
        network: The network.
        ways: Which leaf may be what.
        leaves: Parameters, each with one axis for the points in front.
        values: The user's loss at each point.
    """
    return next((k for way in ways if (k := _recognize(network, way, leaves, values)) is not None), None)


def _recognize(network: Network, found: Layout, leaves: list[np.ndarray], values: np.ndarray) -> Recognized | None:
    weights, biases = split(found, leaves)
    losses = LOSSES if network.loss is None else (_own_loss(network.loss),)
    sizes = (network.x.shape[1], *(w.shape[-1] for w in weights))
    with np.errstate(all="ignore"):
        for sign in (1.0, -1.0):
            outputs = forward(network, weights, biases, sign=sign)[1][-1]
            for loss in losses:
                plain = loss.value(outputs, network.y)
                factor = _factor(values, plain)
                if factor:
                    return Recognized(network, found, loss.times(factor), sizes, sign)
                for all_of_them in (False, True):
                    counted = leaves if all_of_them else [leaves[i] for i in found.weights]
                    squares = sum(np.sum(v.reshape(len(v), -1) ** 2, axis=1) for v in counted)
                    fit = _factor_and_penalty(values, plain, squares)
                    if fit:
                        extra = {"penalty": fit[1], "biases_too": all_of_them}
                        return Recognized(network, found, loss.times(fit[0]), sizes, sign, **extra)
            if network.y.shape[1] == 1 and np.ptp(network.y) > 0:
                mean = broadcast_targets(network.y)
                factor = _factor(values, SQUARES.value(outputs, mean) + np.var(network.y))
                if factor:
                    return Recognized(network, found, SQUARES.times(factor), sizes, sign, broadcast=True)
    return None


def _factor(values: np.ndarray, expected: np.ndarray) -> float | None:
    """Return the factor between two losses, None when there is no common one."""
    ratio = values / expected
    if not np.all(np.isfinite(ratio)) or ratio[0] == 0 or np.ptp(ratio) > _MATCH * abs(ratio[0]):
        return None
    # A loss that hardly changes between the points would match anything constant.
    if np.ptp(values) <= 1e3 * _MATCH * np.max(np.abs(values)):
        return None
    return float(np.median(ratio))


def _factor_and_penalty(values: np.ndarray, plain: np.ndarray, squares: np.ndarray) -> tuple[float, float] | None:
    """Fit values = factor · loss + λ Σ w² at some points; None where it does not hold at the others."""
    if len(values) < 6 or not np.all(np.isfinite(plain)):
        return None
    columns, few = np.stack([plain, squares], 1), len(values) // 2
    fit, *_ = np.linalg.lstsq(columns[:few], values[:few], rcond=None)
    gap = np.max(np.abs(columns @ fit - values)) / np.max(np.abs(values))
    if not gap <= 1e-2 * _MATCH or abs(fit[0]) < 1e-9 or np.ptp(plain) <= 1e3 * _MATCH * np.max(np.abs(plain)):
        return None
    return float(fit[0]), float(fit[1])


def _own_loss(loss: Callable) -> Loss:
    """Dress the user's loss of predictions and targets; its slope is taken by autodiff."""
    own = lift(loss)
    gradient = jax.grad(own.retold if isinstance(own, Lifted) else own)

    def value(prediction, target):
        return np.array([float(np.asarray(loss(p, target))) for p in prediction])

    def slope(prediction, target):
        with double_precision():
            return np.stack([np.asarray(gradient(jnp.asarray(p), jnp.asarray(target))) for p in prediction])

    return Loss("loss given", value, slope)


# Finding a network that nobody told -----------------------------------------------------------------------------------


def discover(
    loss: Callable, shapes: Sequence[tuple[int, ...]], leaves: list[np.ndarray], values: np.ndarray
) -> Recognized | None:
    """Look for a network among the arrays that a loss can see; its loss must agree with the user's at every point."""
    arrays = list(arrays_in_sight(loss))
    if not arrays or len(arrays) > _MOST_ARRAYS or sum(a.size for a in arrays) > _MOST_NUMBERS:
        return None
    shapes = tuple(shapes)
    tables = [a for a in arrays if a.ndim == 2] + [a.T for a in arrays if a.ndim == 2]
    tables += [a[None] for a in arrays if a.ndim == 1]  # one sample
    inputs = {s for shape in shapes for s in shape}
    for a in [t for t in tables if t.shape[1] + 1 in inputs]:  # a column of ones put in on the way is a bias
        one = np.ones((len(a), 1))
        tables += [np.hstack([a, one]), np.hstack([one, a])]
    finals = (LOGISTIC, SOFTMAX, IDENTITY, TANH, RELU)
    for x in tables:
        targets = [t for t in _targets(arrays, len(x)) if not np.shares_memory(t, x)]
        for y, final in itertools.product(targets, finals):
            target = _labels(y, shapes) if final.name == "softmax" and y.shape[1] == 1 else y
            if target is None:
                continue
            for way in itertools.islice(_layouts(x.shape[1], target.shape[1], shapes), 4):
                for hidden in (LOGISTIC, TANH, RELU, IDENTITY) if len(way.weights) > 1 else (final,):
                    known = recognize(Network(x, target, hidden, final), (way,), leaves, values)
                    if known is not None:
                        return replace(known, told=False)
    return None


def _labels(y: np.ndarray, shapes) -> np.ndarray | None:
    """Return class numbers as rows with a single one, for as many classes as the last leaf has room for."""
    labels = y[:, 0]
    if np.any(labels != np.round(labels)) or labels.min() < 0 or labels.max() > 1000:
        return None
    for shape in reversed(shapes):
        for size in (shape[-1:], shape[:1]):
            if size and size[0] > max(1, labels.max()):
                return one_hot(labels, size[0])
    return None


def _targets(arrays: list[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    for a in arrays:
        if a.ndim == 1 and samples == 1:
            yield a[None]
        if a.ndim == 1 and len(a) == samples:
            yield a[:, None]
        elif a.ndim == 2 and len(a) == samples:
            yield a
        elif a.ndim == 2 and a.shape[1] == samples:
            yield a.T


def arrays_in_sight(function: Any) -> Iterator[np.ndarray]:
    """Arrays that a function can see: in its globals, closure, defaults, and in the objects and functions there."""
    waiting, seen, count = [function], set(), 0
    while waiting and count < 2000:
        thing, count = waiting.pop(0), count + 1
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray | jax.Array):
            if thing.ndim in (1, 2) and thing.size > 0 and np.asarray(thing).dtype.kind in "biuf":
                values = np.array(thing, dtype=float)
                if np.all(np.isfinite(values)):
                    yield values
        elif isinstance(thing, types.FunctionType):
            names = _global_names(thing.__code__)
            waiting += [thing.__globals__[n] for n in names if n in thing.__globals__]
            waiting += [c.cell_contents for c in thing.__closure__ or () if _filled(c)]
            waiting += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
            waiting += [thing.__wrapped__] if hasattr(thing, "__wrapped__") else []
        elif isinstance(thing, types.MethodType):
            waiting += [thing.__func__, thing.__self__]
        elif isinstance(thing, partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, Lifted):
            waiting.append(thing.function)
        elif isinstance(thing, list | tuple):
            numbers = _numbers(thing)
            waiting += [numbers] if numbers is not None else list(thing)[:50]
        elif isinstance(thing, dict):
            waiting += list(thing.values())[:50]
        elif hasattr(thing, "__wrapped__"):
            waiting.append(thing.__wrapped__)
        elif hasattr(thing, "__dict__") and not isinstance(thing, type | types.ModuleType):
            waiting += list(vars(thing).values())[:50]
            waiting += [f for f in vars(type(thing)).values() if isinstance(f, types.FunctionType)]


def _numbers(values: Any) -> np.ndarray | None:
    """Return a list of numbers, or of rows of numbers, as an array."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biuf" and array.ndim in (1, 2) and array.size > 1 else None


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _global_names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _global_names(constant)
    return names
