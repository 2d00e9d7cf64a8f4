"""Units: how strongly each one can still learn.

    a unit learns through φ'(z):  ∂L/∂W = δ aᵀ,  δ = (∂L/∂a) φ'(z);   where φ'(z) = 0 on all samples it never changes

Slopes are told in units of the steepest that the activation has, so that 1 is a unit at work and 0 one at rest.

Reference:
    LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, https://doi.org/10.1007/3-540-49430-8_2
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnum.networks.perceptron import Perceptron

SATURATED = 0.01
"""Slope, in units of the steepest one of the activation, below which a unit hardly learns from a sample."""


def unit_slopes(model: Perceptron, x: Array) -> list[tuple[Array, Array]]:
    """Return for each layer the slopes of its units in units of the steepest, and the activations.

    Args:
        model: Perceptron.
        x: Samples, (samples, features), in the dtype of the weights.

    Returns:
        One pair of arrays (samples, units) for each layer, the output layer last.
    """
    found, a = [], x
    for layer, weight in enumerate(model.weights):
        phi = model.final_activation if layer == len(model.weights) - 1 else model.activation
        z = a @ weight.T
        if model.biases:
            z = z + model.biases[layer][None, :]
        a, slope = jax.jvp(phi, (z,), (jnp.ones_like(z),))
        probe = jnp.linspace(-8.0, 8.0, 321, dtype=z.dtype)
        steepest = jnp.max(jnp.abs(jax.jvp(phi, (probe,), (jnp.ones_like(probe),))[1]))
        found.append((jnp.abs(slope) / steepest, a))
    return found


@dataclass(frozen=True)
class LayerRows:
    """Rows about each layer, for the history of a training: `also(parameters, gradient, args)` of `descend`.

    Attributes:
        static: Record with a method `join(parameters, constants)` that puts the perceptron together.
    """

    static: Any

    def __call__(self, params: Any, gradient: Any, args: Any) -> dict[str, Array]:
        """Return gradient norms, shares of saturated answers and numbers of dead units, each (layers,)."""
        model = self.static.join(params, args[0])
        slopes = [slope for slope, _ in unit_slopes(model, args[1])]
        biases = gradient.biases or [jnp.zeros((), w.dtype) for w in gradient.weights]
        squares = [jnp.sum(w**2) + jnp.sum(b**2) for w, b in zip(gradient.weights, biases, strict=True)]
        # The root is taken with slope 0 at 0, so that a run can be differentiated past a gradient that vanishes.
        norms = jnp.stack([_root(s) for s in squares])
        return {
            "layer_gradient_norm": norms,
            "saturation": jnp.stack([jnp.mean((s < SATURATED).astype(s.dtype)) for s in slopes]),
            "dead_units": jnp.stack([jnp.sum(jnp.max(s, axis=0) == 0) for s in slopes]),
        }


def _root(x: Array) -> Array:
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x))), jnp.zeros_like(x))
