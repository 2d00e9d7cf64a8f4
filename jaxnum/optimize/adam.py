"""Adam by hand, in the forms that go by that name.

    m ← β₁ m + (1 − β₁) g        c₁ = 1 − β₁ᵗ
    v ← β₂ v + (1 − β₂) g²       c₂ = 1 − β₂ᵗ,    t = 1, 2, ...

    Algorithm 1:  Δ = −η (m/c₁) / (√(v/c₂) + ε)           Optax, PyTorch since 2019
    ε-hat:        Δ = −η (√c₂/c₁) m / (√v + ε)            TensorFlow, Keras, scikit-learn

ε-hat is Algorithm 1 with ε/√c₂ in the place of ε: 32 times larger at the first step, which shows where gradients are
not large against ε. Without bias correction c₁ = c₂ = 1: the first step is (1 − β₁)/√(1 − β₂) = 3.16 η long.

AMSGrad puts the largest v so far in the place of v. Whether that is the largest of the corrected v/c₂ (Optax) or of v
itself, corrected afterwards (PyTorch), makes a large difference: an uncorrected v grows from nothing for 1/(1 − β₂)
steps, so the two maxima are taken at different times. Weight decay is decoupled: −ηλy is added to the step, and
neither m nor v hears of it; a term λy in the gradient is another method.

References:
    Kingma & Ba (2015), https://arxiv.org/abs/1412.6980: Algorithm 1, and the remark on efficiency in section 2.
    Reddi, Kale & Kumar (2018), https://arxiv.org/abs/1904.09237: AMSGrad, there without bias correction.
    Loshchilov & Hutter (2019), https://arxiv.org/abs/1711.05101: decoupled weight decay.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxnum._checks import check_positive, refuse
from jaxnum._typing import is_traced
from jaxnum.optimize.stability import check_share


class AdamState(NamedTuple):
    """What Adam remembers: steps taken, mean of the gradients, mean of their squares, and the largest such mean."""

    count: Any
    mean: Any
    square: Any
    largest: Any = None


def adam(
    learning_rate: ArrayLike | Callable[[Any], Any],
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
    amsgrad: bool = False,
    correct_first: bool = True,
    weight_decay: ArrayLike = 0.0,
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
        amsgrad: Whether the largest mean square so far is used in the place of the last.
        correct_first: With `amsgrad`, whether the maximum is of the corrected mean squares, as in Optax, or of the
            uncorrected ones and corrected afterwards, as in PyTorch.
        weight_decay: Decoupled decay λ: the step gains −ηλy. It needs the parameters at each update.

    Returns:
        Optax transformation; `optax.adam`, `optax.adamw` and `optax.amsgrad` with the same numbers give the same steps
        when `eps_hat` is False and `correct_first` is True.

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
    check_positive("weight_decay", weight_decay, zero_ok=True)
    flags = {"bias_correction": bias_correction, "eps_hat": eps_hat, "amsgrad": amsgrad, "correct_first": correct_first}
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            refuse(name, "be True or False", f"is {flag!r}")

    decays = is_traced(weight_decay) or float(weight_decay) > 0

    def init(params: Any) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        squares = jax.tree.map(jnp.real, zeros)
        return AdamState(jnp.zeros((), jnp.int32), zeros, squares, squares if amsgrad else None)

    def update(gradient: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: _blend(b1, m, g), state.mean, gradient)
        square = jax.tree.map(lambda v, g: _blend(b2, v, jnp.real(g * jnp.conj(g))), state.square, gradient)
        correct = bias_correction and correct_first  # what the maximum is taken of
        largest = state.largest
        if amsgrad:
            largest = jax.tree.map(
                lambda top, v: jnp.maximum(top, v / _gathered(b2, count, v.dtype) if correct else v), largest, square
            )

        def step(m, v):
            c1, c2 = (_gathered(b, count, v.dtype) if bias_correction else jnp.ones((), v.dtype) for b in (b1, b2))
            small = _like(eps, v) / jnp.sqrt(c2) if eps_hat else _like(eps, v)
            return (m / c1) / (_root(v if amsgrad and correct else v / c2) + small)

        steps = jax.tree.map(step, mean, largest if amsgrad else square)
        if decays:
            if params is None:
                refuse("params", "be given: weight decay depends on them", "is None")
            steps = jax.tree.map(lambda d, p: d + _like(weight_decay, p) * p, steps, params)
        steps = jax.tree.map(lambda d: -_like(rate, d) * d, steps)
        return steps, AdamState(count, mean, square, largest)

    return optax.GradientTransformation(init, update)


def _blend(share: Any, old: Any, new: Any) -> Any:
    # 1 − share before rounding: in bfloat16 a share of 0.999 is 1, and the mean would never hear of anything new.
    # In this order, which is Optax's: where a product and a sum are rounded once, it matters which product.
    return _like(1 - share, old) * new + _like(share, old) * old


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
