"""March: repeat one step, and record rows on the way.

    y_{n+1} = step(y_n, args, n),    rows: observe(y_n, args) at n = 0, k, 2k, ... and at the end

One `lax.scan` under one `jit`. When progress is wanted, a loop on the host calls the same compiled scan in chunks:
progress and interruption need no callback inside compiled code, and the result is that of one long scan.
Memory grows with the number of rows, never with the number of steps. A march can begin at any step, so one that was
interrupted is taken up where it stood.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._progress import Progress, track

_CHUNKS = 100  # updates of a progress bar in one run: enough to look alive, too few to cost time


class Interrupted(KeyboardInterrupt):
    """A march with progress was interrupted from the keyboard.

    Attributes:
        state: State after the last chunk that was finished.
        rows: Recorded rows, that of `state` being the last.
        done: Steps taken.
    """

    def __init__(self, state: Any, rows: Any, done: int) -> None:
        super().__init__(f"interrupted after {done} steps")
        self.state, self.rows, self.done = state, rows, done


def saved_steps(num_steps: int, save_every: int | None) -> np.ndarray:
    """Return the step numbers that have a row: 0, k, 2k, ... and the last."""
    every = save_every or num_steps
    return np.unique(np.append(np.arange(0, num_steps + 1, every), num_steps))


def march(
    step: Callable[[Any, Any, Any], Any],
    observe: Callable[[Any, Any], Any],
    state: Any,
    args: Any,
    *,
    num_steps: int,
    save_every: int | None = 1,
    progress: Progress = False,
    label: str = "steps",
    first_step: int = 0,
) -> tuple[Any, Any]:
    """Take `num_steps` steps and return the last state and the recorded rows.

    Args:
        step: Function `step(state, args, n)`. It and `observe` are compared by equality to decide whether anything
            must be compiled again: pass module-level functions or frozen records with a `__call__`.
        observe: Function `observe(state, args)` giving the row to record, a pytree of arrays.
        state: Pytree of arrays; its structure, shapes and dtypes must not change from step to step.
        args: Pytree handed to both functions; traced, so new values cost no compilation.
        num_steps: Number of steps.
        save_every: Steps between rows; None records the start and the end only.
        progress: False, True for a bar, or a function `progress(done, total)`.
        label: Words before the bar.
        first_step: Number of the first step, handed to `step` as n.

    Returns:
        The last state, and the rows stacked along a leading axis at the steps `saved_steps(num_steps, save_every)`,
        counted from the first.

    Raises:
        Interrupted: On a keyboard interrupt while there is progress to show; it carries what was reached.
    """
    every = min(save_every or num_steps, num_steps)
    rows, rest = divmod(num_steps, every)
    if not progress:
        return _whole(step, observe, state, args, every, rows, rest, first_step)
    with track(progress, num_steps, label) as show:
        return _chunks(step, observe, state, args, every, num_steps, first_step, show)


def stride(step: Callable[[Any, Any, Any], Any], state: Any, args: Any, start: Any, length: Any) -> Any:
    """Take `length` steps from step `start` on; both may be traced, so that one compilation serves all numbers.

    The loop has no reverse mode: for those who differentiate by rules of their own.
    """

    def body(i, state):
        return step(state, args, start + i)

    return jax.lax.fori_loop(0, length, body, state)


def in_turn(walk: Callable[..., Any], *args: Any) -> Any:
    """Return `walk(*args)`; of a batch, a CPU does one member after the other from start to end.

    A member's vectors then stay in the processor, where a batch would come from memory at every step, and a loop that
    holds a few numbers keeps them in registers; what all members have in common is still computed once, before. A GPU
    takes every step for all. The result has no reverse mode: for those who differentiate by rules of their own.
    """
    walk = jax.jit(walk)  # traced once for both
    return jax.lax.platform_dependent(*args, cpu=jax.custom_batching.sequential_vmap(walk), default=walk)


def _chunks(step, observe, state, args, every, num_steps, first_step, show):
    """March in chunks of whole rows where rows are close, else in strides that end at the rows."""
    at_once = max(1, num_steps // every // _CHUNKS)
    stride = max(1, num_steps // _CHUNKS)
    traces = [_first_row(observe, state, args)]
    # An interruption may come between any two statements: what was reached changes in a single one.
    reached = state, 1, 0
    try:
        show(0)
        while reached[2] < num_steps:
            state, kept, done = reached
            to_row = min(every - done % every, num_steps - done)
            if to_row == every <= stride:
                rows = min(at_once, (num_steps - done) // every)
                state, trace = _advance(step, observe, state, args, first_step + done, every, rows)
                done += rows * every
            else:
                length = min(stride, to_row)
                state, trace = _repeat(step, state, args, first_step + done, length), None
                done += length
                if length == to_row:
                    trace = _first_row(observe, state, args)
            jax.block_until_ready((state, trace))
            if trace is not None:
                traces, kept = [*traces[:kept], trace], kept + 1
            reached = state, kept, done
            show(done)
    except KeyboardInterrupt:
        state, kept, done = reached
        if done % every:
            traces = [*traces[:kept], _first_row(observe, state, args)]
            kept += 1
        raise Interrupted(state, _joined(traces[:kept]), done) from None
    return state, _joined(traces)


def _joined(traces):
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *traces)


def _steps(step, state, args, start, length):
    def body(carry, _):
        state, n = carry
        return (step(state, args, n), n + 1), None

    (state, _), _ = jax.lax.scan(body, (state, start), length=length)
    return state


def _rows(step, observe, state, args, start, every, num_rows):
    def row(carry, _):
        state, n = carry
        state = _steps(step, state, args, n, every)
        return (state, n + every), observe(state, args)

    (state, _), trace = jax.lax.scan(row, (state, start), length=num_rows)
    return state, trace


@partial(jax.jit, static_argnames=("step", "observe", "every", "rows", "rest"))
def _whole(step, observe, state, args, every, rows, rest, first_step):
    first = jax.tree.map(lambda x: x[None], observe(state, args))
    start = jnp.asarray(first_step, jnp.int32)
    state, trace = _rows(step, observe, state, args, start, every, rows)
    parts = [first, trace]
    if rest:
        state, last = _rows(step, observe, state, args, start + rows * every, rest, 1)
        parts.append(last)
    return state, _joined(parts)


@partial(jax.jit, static_argnames=("step", "observe", "every", "num_rows"))
def _advance(step, observe, state, args, start, every, num_rows):
    return _rows(step, observe, state, args, jnp.asarray(start, jnp.int32), every, num_rows)


@partial(jax.jit, static_argnames="step")
def _repeat(step, state, args, start, length):
    # Nobody differentiates a march that he watches, and strides come in several lengths.
    return stride(step, state, args, jnp.asarray(start, jnp.int32), jnp.asarray(length, jnp.int32))


@partial(jax.jit, static_argnames="observe")
def _first_row(observe, state, args):
    return jax.tree.map(lambda x: x[None], observe(state, args))
