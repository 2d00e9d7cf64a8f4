"""Is this the user's network? Its loss must be a multiple of theirs at random weights, to rounding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum.diagnose.backprop.functions import _MATCH, LOSSES, SQUARES, Loss
from jaxnum.diagnose.backprop.network import Layout, Network, forward, split
from jaxnum.diagnose.truth import double_precision
from jaxnum.numerics.lift import Lifted, lift


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
