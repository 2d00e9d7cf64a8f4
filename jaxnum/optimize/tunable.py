"""Hyperparameters as data: optimizers that differ in their numbers alone share one compilation.

An Optax transformation holds its learning rate in a closure, so a new rate is a new function and is compiled anew.
Here the numbers travel in the optimizer's memory, and what is compiled is the rule.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxnum._checks import as_array, refuse


@dataclass(frozen=True)
class _Init:
    make: Callable[..., optax.GradientTransformation]
    numbers: tuple = field(compare=False)
    names: tuple[str, ...] = ()

    def __call__(self, params: Any) -> Any:
        numbers = tuple(jnp.asarray(x) for x in self.numbers)
        return numbers, _build(self.make, self.names, numbers).init(params)


@dataclass(frozen=True)
class _Update:
    make: Callable[..., optax.GradientTransformation]
    names: tuple[str, ...] = ()

    def __call__(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        numbers, memory = state
        rule = optax.with_extra_args_support(_build(self.make, self.names, numbers))
        step, memory = rule.update(updates, memory, params, **extra)
        return step, (numbers, memory)


def _build(make: Callable, names: tuple[str, ...], numbers: tuple) -> optax.GradientTransformation:
    rest = len(numbers) - len(names)
    return make(*numbers[:rest], **dict(zip(names, numbers[rest:], strict=True)))


def tunable(
    make_optimizer: Callable[..., optax.GradientTransformation], *numbers: ArrayLike, **named: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer whose hyperparameters are data: new values cost no compilation.

    `tunable(optax.adam, 0.1)` takes the steps of `optax.adam(0.1)`, and equals `tunable(optax.adam, 0.2)` in all that
    is compiled. Differentiate or batch over the numbers as over any other.

    Args:
        make_optimizer: Function of the numbers returning an Optax transformation, such as `optax.adam`; the same
            function each time, not a new lambda.
        numbers: Hyperparameters by position.
        named: Hyperparameters by name.

    Returns:
        Optax transformation for `minimize`, `train` and the like.

    Raises:
        ValueError: If there is no number, or one of them is not finite.

    Example:
        >>> import optax
        >>> from jaxnum.optimize import landscapes, minimize, tunable
        >>> bowl = landscapes.booth()
        >>> runs = [minimize(bowl.fn, tunable(optax.sgd, rate), bowl.y0, num_steps=99) for rate in (0.01, 0.1)]
        >>> [run.history.value[-1] < 1e-9 for run in runs]
        [Array(False, dtype=bool), Array(True, dtype=bool)]
    """
    if not callable(make_optimizer):
        refuse("make_optimizer", "be a function of hyperparameters", f"is {make_optimizer!r:.60}")
    values = {**{f"numbers[{i}]": x for i, x in enumerate(numbers)}, **named}
    if not values:
        refuse("numbers", "hold at least one hyperparameter", "there is none")
    kept = tuple(x if isinstance(x, jax.Array) else as_array(name, x, ndim=0) for name, x in values.items())
    names = tuple(named)
    return optax.GradientTransformationExtraArgs(_Init(make_optimizer, kept, names), _Update(make_optimizer, names))
