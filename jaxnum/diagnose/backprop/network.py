"""The network that somebody's gradient belongs to: its layers, its loss, and where its weights lie.

    z_l = h_{l−1} W_l + b_l,    h_l = φ_l(z_l),    C = loss(h_L, y)

A network is told in a `Network`, or found out: among the arrays that a loss can see, those that make up a network
whose loss agrees with the user's at random weights, to rounding.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxnum._checks import as_array, refuse
from jaxnum.diagnose.backprop.functions import LOGISTIC, Activation, activation
from jaxnum.diagnose.truth import double_precision


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
    return list(itertools.islice(layouts_of(network.x.shape[1], network.y.shape[1], tuple(shapes)), 8))


def layouts_of(inputs: int, outputs: int, shapes: tuple[tuple[int, ...], ...]) -> Iterator[Layout]:
    """Yield every way, for numbers of inputs and outputs, the likeliest first."""
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
