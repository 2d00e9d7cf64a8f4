"""Descent: the one loop by which a value is lowered along its gradient.

    g_n = ∇f(y_n),    (Δ_n, s_{n+1}) = optimizer.update(g_n, s_n, y_n),    y_{n+1} = y_n + Δ_n

Optimization, regression and the training of networks all stand on it; the optimizer is any Optax transformation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnum._progress import Progress
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum.numerics.march import march, saved_steps


@dataclass(frozen=True)
class Step:
    """One step of the optimizer, for `march` or a loop of one's own; equal steps share one compilation.

    The state is (parameters, memory of the optimizer, first step after which something was not finite or −1).
    """

    fn: Callable[[Any, Any], Any]
    optimizer: optax.GradientTransformation

    def __call__(self, state: Any, args: Any, n: Any) -> Any:
        """Take step number n."""
        y, memory, first_bad = state
        value, gradient = jax.value_and_grad(self.fn)(y, args)
        # Optax mixes int32 counters with Python floats, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            step, memory = optax.with_extra_args_support(self.optimizer).update(
                gradient, memory, y, value=value, grad=gradient, value_fn=lambda y: self.fn(y, args)
            )
            step = jax.tree.map(lambda d, p: d.astype(p.dtype), step, y)
            y = optax.apply_updates(y, step)
        bad = ~(jnp.isfinite(value) & _all_finite(y))
        return y, memory, jnp.where((first_bad < 0) & bad, n, first_bad)


@dataclass(frozen=True)
class _Observe:
    """What is recorded: where, how low, how steep."""

    fn: Callable[[Any, Any], Any]

    def __call__(self, state: Any, args: Any) -> Any:
        y, _, _ = state
        value, gradient = jax.value_and_grad(self.fn)(y, args)
        return {"y": y, "value": value, "gradient_norm": _norm(gradient)}


def descend(
    fn: Callable[[Any, Any], Any],
    optimizer: optax.GradientTransformation,
    y0: Any,
    args: Any,
    *,
    num_steps: int,
    save_every: int = 1,
    progress: Progress = False,
    label: str = "descent",
) -> Solution:
    """Lower `fn(y, args)` from `y0` by `num_steps` steps of an Optax transformation.

    Args:
        fn: Scalar function of parameters and arguments.
        optimizer: Optax transformation. A new one, like a new lambda, is compiled anew: build it once.
        y0: Parameters, a pytree of floating-point arrays that has passed the checks at a door.
        args: Pytree for `fn`; new values cost no compilation.
        num_steps: Number of steps.
        save_every: Steps between rows of `history`.
        progress: False, True for a bar, or a function `progress(done, total)`.
        label: Words before the bar.

    Returns:
        Solution with `value` = the last parameters, `residual` = norm of the gradient there, and `history` with
        `step`, `y`, `value`, `gradient_norm` at the start, every `save_every` steps and the end. Status `nonfinite`
        when a value or parameter stopped being finite (`num_steps` then says at which step), `diverged` when the
        value ended above its start.
    """
    state = (y0, optimizer.init(y0), jnp.int32(-1))
    (y, _, first_bad), rows = march(
        Step(fn, optimizer),
        _Observe(fn),
        state,
        args,
        num_steps=num_steps,
        save_every=save_every,
        progress=progress,
        label=label,
    )
    residual = rows["gradient_norm"][-1]
    finite = (first_bad < 0) & jnp.isfinite(residual) & jnp.isfinite(rows["value"][-1])
    status = Status.first((~finite, Status.nonfinite), (rows["value"][-1] > rows["value"][0], Status.diverged))
    history = History(step=jnp.asarray(saved_steps(num_steps, save_every)), **rows)
    return Solution(y, history, residual, jnp.where(first_bad < 0, num_steps, first_bad), status)


def _all_finite(tree: Any) -> Any:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def _norm(tree: Any) -> Any:
    leaves = [jnp.sqrt(jnp.sum(jnp.abs(x) ** 2)) for x in jax.tree.leaves(tree)]
    return jnp.linalg.norm(jnp.stack([x.astype(leaves[0].dtype) for x in leaves]))
