"""Descent: the one loop by which a value is lowered along its gradient.

    g_n = ∇f(y_n),    (Δ_n, s_{n+1}) = optimizer.update(g_n, s_n, y_n),    y_{n+1} = y_n + Δ_n

Optimization, regression and the training of networks all stand on it; the optimizer is any Optax transformation.
Methods that keep an account of their own (BFGS, Levenberg-Marquardt) are Optimistix's, stepped by the same march.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from jaxnum._progress import Progress, track
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum.numerics.march import march, saved_steps

Sample = Callable[[Any, Any], Any]
"""A function `sample(args, n) -> args` of what step n sees: a mini-batch, or noise."""


@dataclass(frozen=True)
class Step:
    """One step of the optimizer, for `march` or a loop of one's own; equal steps share one compilation.

    The state is (parameters, memory of the optimizer, first step after which something was not finite or −1).
    """

    fn: Callable[[Any, Any], Any]
    optimizer: optax.GradientTransformation
    sample: Sample | None = None

    def __call__(self, state: Any, args: Any, n: Any) -> Any:
        """Take step number n."""
        return self.take(state, args, n)[0]

    def take(self, state: Any, args: Any, n: Any) -> tuple[Any, Any]:
        """Take step number n, and tell the gradient that it saw at its start."""
        if self.sample is not None:
            args = self.sample(args, n)
        value, gradient = jax.value_and_grad(self.fn)(state[0], args)
        return self.move(state, value, gradient, args, n), gradient

    def move(self, state: Any, value: Any, gradient: Any, args: Any, n: Any) -> Any:
        """Take step number n from a point whose value and gradient are known."""
        y, memory, first_bad = state
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
class _StepTogether:
    """One step of many members, which lie along the last axis of every array."""

    values: Callable[[Any, Any], Any]
    step: Step

    def __call__(self, state: Any, args: Any, n: Any) -> Any:
        value, gradient = _values_and_gradients(self.values, state[0], args)
        move = lambda *member: self.step.move(*member, args, n)  # noqa: E731
        return jax.vmap(move, in_axes=-1, out_axes=-1)(state, value, gradient)


@dataclass(frozen=True)
class _ObserveTogether:
    """What is recorded of many members."""

    values: Callable[[Any, Any], Any]
    also: Callable[[Any, Any, Any], dict] | None

    def __call__(self, state: Any, args: Any) -> Any:
        y = state[0]
        value, gradient = _values_and_gradients(self.values, y, args)
        also = lambda y, gradient: {} if self.also is None else self.also(y, gradient, args)  # noqa: E731
        norm, more = jax.vmap(lambda *at: (_norm(at[1]), also(*at)), in_axes=-1, out_axes=-1)(y, gradient)
        return {"y": y, "value": value, "gradient_norm": norm, **more}


def _values_and_gradients(values, y, args):
    # No member hears of another: the gradient of the sum holds the gradient of each.
    value, back = jax.vjp(lambda y: values(y, args), y)
    return value, back(jnp.ones_like(value))[0]


@dataclass(frozen=True, eq=False)
class _SolverStep:
    """One step of an Optimistix solver: one evaluation, accepted or not."""

    fn: Callable[[Any, Any], Any]
    solved: Callable[[Any, Any], Any]
    solver: Any
    static: Any

    def __call__(self, state: Any, args: Any, n: Any) -> Any:
        return self.take(state, args, n, None)[0]

    def take(self, state: Any, args: Any, n: Any, slope: Any = True) -> tuple[Any, Any]:
        y, dynamic, first_bad = state
        gradient = None if slope is None else jax.grad(self.fn)(y, args)
        memory = eqx.combine(dynamic, self.static)
        # Optimistix brings its own types together and expects the usual promotion.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            y, memory, _ = self.solver.step(_with_aux(self.solved), y, args, {}, memory, frozenset())
        bad = ~(jnp.isfinite(self.fn(y, args)) & _all_finite(y))
        state = (y, eqx.filter(memory, eqx.is_array), jnp.where((first_bad < 0) & bad, n, first_bad))
        return state, gradient


@dataclass(frozen=True)
class _UntilFlat:
    """Steps that are no longer taken once the gradient is small; the state is (state, stopped at or −1, tolerance)."""

    step: Any

    def __call__(self, state: Any, args: Any, n: Any) -> Any:
        inner, stopped, tolerance = state

        def go(inner):
            moved, gradient = self.step.take(inner, args, n)
            flat = _norm(gradient) <= tolerance
            kept = jax.tree.map(lambda old, new: jnp.where(flat, old, new), inner, moved)
            return kept, jnp.where(flat, n, jnp.int32(-1))

        inner, stopped = jax.lax.cond(stopped < 0, go, lambda inner: (inner, stopped), inner)
        return inner, stopped, tolerance


@dataclass(frozen=True)
class _Observe:
    """What is recorded: where, how low, how steep, and what else is asked for."""

    fn: Callable[[Any, Any], Any]
    also: Callable[[Any, Any, Any], dict] | None = None
    until_flat: bool = False

    def __call__(self, state: Any, args: Any) -> Any:
        y = state[0][0] if self.until_flat else state[0]
        value, gradient = jax.value_and_grad(self.fn)(y, args)
        more = {} if self.also is None else self.also(y, gradient, args)
        return {"y": y, "value": value, "gradient_norm": _norm(gradient), **more}


def descend(
    fn: Callable[[Any, Any], Any],
    optimizer: optax.GradientTransformation,
    y0: Any,
    args: Any,
    *,
    num_steps: int,
    save_every: int = 1,
    tolerance: Any = None,
    sample: Sample | None = None,
    also: Callable[[Any, Any, Any], dict] | None = None,
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
        tolerance: Norm of the gradient at which to stop; None takes all steps.
        sample: Function `sample(args, n)` giving the arguments that step n sees; rows are of `fn(y, args)`.
        also: Function `also(y, gradient, args)` giving further rows, a dict of arrays.
        progress: False, True for a bar, or a function `progress(done, total)`.
        label: Words before the bar.

    Returns:
        Solution with `value` = the last parameters, `residual` = norm of the gradient there, and `history` with
        `step`, `y`, `value`, `gradient_norm` at the start, every `save_every` steps and the end. Status `nonfinite`
        when a value or parameter stopped being finite (`num_steps` then says at which step), `diverged` when the
        value ended above its start, `max_steps` when a tolerance was given and not met. After a stop `num_steps` is
        the number of steps taken, and the rows that are left repeat the end.
    """
    step, observe = Step(fn, optimizer, sample), _Observe(fn, also, tolerance is not None)
    state = (y0, optimizer.init(y0), jnp.int32(-1))
    step, state = _stopping(step, state, tolerance)
    options = {"num_steps": num_steps, "save_every": save_every, "progress": progress, "label": label}
    state, rows = march(step, observe, state, args, **options)
    return _conclude(state, rows, num_steps, save_every, tolerance)


def descend_together(
    fn: Callable[[Any, Any], Any],
    values: Callable[[Any, Any], Any],
    optimizer: optax.GradientTransformation,
    y0: Any,
    args: Any,
    *,
    num_steps: int,
    save_every: int = 1,
    also: Callable[[Any, Any, Any], dict] | None = None,
) -> Solution:
    """Lower `fn(y, args)` from many starts, which lie along the last axis of every array of `y0`.

    A batch along the first axis, which `jax.vmap` of `descend` makes, has arrays of few numbers innermost; with the
    members innermost all arithmetic runs along them.

    Args:
        fn: Scalar function of parameters and arguments.
        values: The same function of all members, (members,): `values(y, args)`.
        optimizer: Optax transformation.
        y0: Parameters of all members.
        args: Pytree for both functions, the same for all members.
        num_steps: Number of steps.
        save_every: Steps between rows of `history`.
        also: As for `descend`, of one member.

    Returns:
        Solution as of `descend`, with a first axis of members in every array.
    """
    each = partial(jax.vmap, in_axes=-1, out_axes=-1)
    state = each(lambda y: (y, optimizer.init(y), jnp.int32(-1)))(y0)
    step, observe = _StepTogether(values, Step(fn, optimizer)), _ObserveTogether(values, also)
    state, rows = march(step, observe, state, args, num_steps=num_steps, save_every=save_every)
    return jax.vmap(lambda *end: _conclude(*end, num_steps, save_every, None), in_axes=-1)(state, rows)


def descend_by_solver(
    fn: Callable[[Any, Any], Any],
    solver: Any,
    y0: Any,
    args: Any,
    *,
    squares: bool = False,
    num_steps: int,
    save_every: int = 1,
    tolerance: Any = None,
    progress: Progress = False,
    label: str = "descent",
) -> Solution:
    """Lower `fn(y, args)`, or the sum of its squares, by `num_steps` steps of an Optimistix solver.

    The bar, if there is one, moves once: these methods need few steps, and all are taken in one compiled call.
    """
    with track(progress, num_steps, label) as show:
        show(0)
        state, rows = _solver_run(fn, solver, squares, y0, args, num_steps, save_every, tolerance)
        show(num_steps)
    return _conclude(state, rows, num_steps, save_every, tolerance)


# One jit around everything: the solver's memory holds programs, which are equal only within one trace.
@partial(jax.jit, static_argnames=("fn", "solver", "squares", "num_steps", "save_every"))
def _solver_run(fn, solver, squares, y0, args, num_steps, save_every, tolerance):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        shape = jax.eval_shape(fn, y0, args)
        memory = solver.init(_with_aux(fn), y0, args, {}, shape, None, frozenset())
    dynamic, static = eqx.partition(memory, eqx.is_array)
    objective = SumOfSquares(fn) if squares else fn
    step, state = _stopping(_SolverStep(objective, fn, solver, static), (y0, dynamic, jnp.int32(-1)), tolerance)
    observe = _Observe(objective, until_flat=tolerance is not None)
    return march(step, observe, state, args, num_steps=num_steps, save_every=save_every)


@dataclass(frozen=True)
class SumOfSquares:
    """Σ r², without a factor ½, of the residuals r = fn(y, args)."""

    fn: Callable[..., Any]

    def __call__(self, y: Any, args: Any = None) -> Any:
        """Return the sum of squares at y."""
        squares = [jnp.sum(jnp.abs(r) ** 2) for r in jax.tree.leaves(self.fn(y, args))]
        return squares[0] if len(squares) == 1 else jnp.sum(jnp.stack(squares))


def _with_aux(fn):
    return lambda y, args: (fn(y, args), None)


def _stopping(step, state, tolerance):
    if tolerance is None:
        return step, state
    leaves = jax.tree.leaves(state[0])
    return _UntilFlat(step), (state, jnp.int32(-1), jnp.asarray(tolerance, jnp.finfo(leaves[0].dtype).dtype))


def _conclude(state, rows, num_steps, save_every, tolerance) -> Solution:
    stopped = jnp.int32(-1)
    if tolerance is not None:
        state, stopped, tolerance = state
    y, _, first_bad = state
    residual = rows["gradient_norm"][-1]
    finite = (first_bad < 0) & jnp.isfinite(residual) & jnp.isfinite(rows["value"][-1])
    late = False if tolerance is None else ~(residual <= tolerance)
    status = Status.first(
        (~finite, Status.nonfinite),
        (rows["value"][-1] > rows["value"][0], Status.diverged),
        (late, Status.max_steps),
    )
    history = History(step=jnp.asarray(saved_steps(num_steps, save_every)), **rows)
    taken = jnp.where(first_bad >= 0, first_bad, jnp.where(stopped >= 0, stopped, num_steps))
    return Solution(y, history, residual, taken, status)


def _all_finite(tree: Any) -> Any:
    # One pass over all leaves: of a small model each pass of its own would cost as much as the step.
    return jnp.all(jnp.concatenate([jnp.isfinite(x).reshape(-1) for x in jax.tree.leaves(tree)]))


def _norm(tree: Any) -> Any:
    leaves = [jnp.sqrt(jnp.sum(jnp.abs(x) ** 2)) for x in jax.tree.leaves(tree)]
    return jnp.linalg.norm(jnp.stack([x.astype(leaves[0].dtype) for x in leaves]))
