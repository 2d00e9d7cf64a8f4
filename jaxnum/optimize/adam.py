"""Adam by hand, in both of the forms that go by that name.

    m ← β₁ m + (1 − β₁) g        c₁ = 1 − β₁ᵗ
    v ← β₂ v + (1 − β₂) g²       c₂ = 1 − β₂ᵗ,    t = 1, 2, ...

    Algorithm 1:  Δ = −η (m/c₁) / (√(v/c₂) + ε)           Optax, PyTorch since 2019
    ε-hat:        Δ = −η (√c₂/c₁) m / (√v + ε)            TensorFlow, Keras, scikit-learn

ε-hat is Algorithm 1 with ε/√c₂ in the place of ε: 32 times larger at the first step, which shows where gradients are
not large against ε. Without bias correction c₁ = c₂ = 1: the first step is (1 − β₁)/√(1 − β₂) = 3.16 η long.

References:
    Kingma & Ba (2015), https://arxiv.org/abs/1412.6980: Algorithm 1, and the remark on efficiency in section 2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxnum._checks import check_positive, refuse
from jaxnum.optimize.stability import check_share


class AdamState(NamedTuple):
    """What Adam remembers: steps taken, mean of the gradients, mean of their squares."""

    count: Any
    mean: Any
    square: Any


def adam(
    learning_rate: ArrayLike | Callable[[Any], Any],
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> optax.GradientTransformation:
    """Return Adam, written from its formulas, as an Optax transformation.

    It can be differentiated, in its own hyperparameters too, also where a gradient is exactly zero.

    Args:
        learning_rate: Step size η, about the length of a step per coordinate; or a schedule `rate(count)`, where
            count starts from 0.
        b1: Share of the mean gradient kept at each step, at least 0 and below 1.
        b2: Share of the mean square kept at each step, at least 0 and below 1.
        eps: Added to the root; decides what happens where gradients are as small as this.
        bias_correction: Whether the means, which start from zero, are divided by the weight they have gathered.
        eps_hat: False for Algorithm 1, True for the ε-hat form.

    Returns:
        Optax transformation; `optax.adam` with the same numbers gives the same steps when `eps_hat` is False.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum.optimize import adam
        >>> optimizer = adam(0.1, eps_hat=True)
        >>> step, _ = optimizer.update(jnp.array([2.0, -3.0]), optimizer.init(jnp.zeros(2)))
        >>> print(step.round(6))
        [-0.1  0.1]
    """
    if not callable(learning_rate):
        check_positive("learning_rate", learning_rate, zero_ok=True)
    check_share("b1", b1)
    check_share("b2", b2)
    check_positive("eps", eps, zero_ok=True)
    for name, flag in (("bias_correction", bias_correction), ("eps_hat", eps_hat)):
        if not isinstance(flag, bool):
            refuse(name, "be True or False", f"is {flag!r}")

    def init(params: Any) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.real, zeros))

    def update(gradient: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        del params
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: _blend(b1, m, g), state.mean, gradient)
        square = jax.tree.map(lambda v, g: _blend(b2, v, jnp.real(g * jnp.conj(g))), state.square, gradient)

        def step(m, v):
            c1, c2 = (_gathered(b, count, v.dtype) if bias_correction else jnp.ones((), v.dtype) for b in (b1, b2))
            small = _like(eps, v) / jnp.sqrt(c2) if eps_hat else _like(eps, v)
            return -_like(rate, v) * (m / c1) / (_root(v / c2) + small)

        return jax.tree.map(step, mean, square), AdamState(count, mean, square)

    return optax.GradientTransformation(init, update)


def _blend(share: Any, old: Any, new: Any) -> Any:
    # 1 − share before rounding: in bfloat16 a share of 0.999 is 1, and the mean would never hear of anything new.
    return _like(share, old) * old + _like(1 - share, old) * new


def _gathered(share: Any, count: Any, dtype: Any) -> Any:
    """Weight 1 − shareᵗ that a mean started from zero has gathered after t = count steps."""
    # In half precision 0.999 is 1 and counts beyond 2048 are lost. The plain power is what everybody computes: the
    # cancellation in it costs 1e-13 in double precision, at the first steps.
    wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32
    return (1 - jnp.asarray(share, wide) ** count.astype(wide)).astype(dtype)


def _root(x: Any) -> Any:
    """Square root with slope 0 at 0, where the true slope is infinite and would spoil every derivative with NaN."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x))), jnp.zeros_like(x))


def _like(x: Any, leaf: Any) -> Any:
    """Return a hyperparameter in the real dtype of a leaf."""
    return jnp.asarray(x, jnp.finfo(leaf.dtype).dtype)
