"""Activations and losses of small networks, each with the derivatives that people write for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import refuse
from jaxnum.diagnose.truth import double_precision
from jaxnum.numerics.lift import Lifted, lift

_MATCH = 1e-6  # spread of the ratio of two losses that are the same up to a factor: people add 1e-8 inside logarithms


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
