"""Keep the parameters in a box: Δ ← clip(y + Δ, low, high) − y, to be chained behind any optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxnum._checks import check_finite, refuse
from jaxnum._typing import is_traced


def keep_within(low: ArrayLike, high: ArrayLike) -> optax.GradientTransformation:
    """Return an Optax transformation that projects every step onto low ≤ y ≤ high.

    Chained behind an optimizer it makes projected gradient methods; the optimizer's memory does not hear of it.

    Args:
        low: Lowest value of every parameter.
        high: Highest value of every parameter, above `low`.

    Raises:
        ValueError: If an end is not finite, or the ends are not in order.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jaxnum.optimize import keep_within, minimize
        >>> optimizer = optax.chain(optax.sgd(0.1), keep_within(-1.0, 1.0))
        >>> minimize(lambda y: jnp.sum(y), optimizer, [0.5], num_steps=50).value.tolist()
        [-1.0]
    """
    check_finite("low", low)
    check_finite("high", high)
    if not is_traced((low, high)) and not float(low) < float(high):
        refuse("high", "exceed `low`", f"is {float(high):g} against {float(low):g}")

    def update(step: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            refuse("params", "be given: where the box ends depends on them", "is None")

        def inside(d, y):
            return jnp.clip(y + d, jnp.asarray(low, y.dtype), jnp.asarray(high, y.dtype)) - y

        return jax.tree.map(inside, step, params), state

    return optax.GradientTransformation(lambda _params: optax.EmptyState(), update)
