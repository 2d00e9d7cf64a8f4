"""The reference pass of backpropagation, every line of which can be replaced.

    z_l = h_{l−1} W_l + b_l,   h_l = φ_l(z_l),   e_L = ∂C/∂h_L,   δ_l = e_l · φ'_l(z_l),   e_l = δ_{l+1} W_{l+1}ᵀ
    ∂C/∂W_l = h_{l−1}ᵀ δ_l,    ∂C/∂b_l = Σ_samples δ_l

All functions take a whole batch of points: weights are (points, inputs, outputs), activations (points, samples, units).

Reference:
    Rumelhart, Hinton & Williams (1986), https://doi.org/10.1038/323533a0
"""

# ruff: noqa: ARG001
# All pieces of one kind share a signature, and the right ones forget some of its arguments.

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxnum.diagnose.backprop.network import forward
from jaxnum.diagnose.backprop.recognize import Recognized, broadcast_targets


def right_slope(act, z, a, e):
    """δ = e · φ'(z)."""
    return act.pull(z, a, e)


def through_weights(delta, error, output, weight):
    """δ Wᵀ."""
    return delta @ np.swapaxes(weight, -1, -2)


def with_activations(h, z, delta, error, weight):
    """hᵀ δ."""
    return np.swapaxes(h, -1, -2) @ delta


def summed(delta):
    """Σ over samples."""
    return delta.sum(-2, keepdims=True)


def right_targets(known):
    """The targets of the user's loss."""
    return broadcast_targets(known.network.y) if known.broadcast else known.network.y


def right_error(known, p, t):
    """∂C/∂h_L."""
    return known.loss.slope(p, t)


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


RIGHT = {"slope": right_slope, "back": through_weights, "form": with_activations, "bias": summed}


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
