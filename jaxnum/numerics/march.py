"""March: repeat one step, and record rows on the way.

    y_{n+1} = step(y_n, args, n),    rows: observe(y_n, args) at n = 0, k, 2k, ... and at the end

One `lax.scan` under one `jit`. When progress is wanted, a loop on the host calls the same compiled scan in chunks:
progress and interruption need no callback inside compiled code, and the result is that of one long scan.
Memory grows with the number of rows, never with the number of steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._progress import Progress, track

_CHUNKS = 100  # updates of a progress bar in one run: enough to look alive, too few to cost time


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

    Returns:
        The last state, and the rows stacked along a leading axis at the steps `saved_steps(num_steps, save_every)`.
    """
    every = min(save_every or num_steps, num_steps)
    rows, rest = divmod(num_steps, every)
    if not progress:
        return _whole(step, observe, state, args, every, rows, rest)
    first = jax.tree.map(lambda x: x[None], _row(observe, state, args))
    traces, done = [first], 0
    with track(progress, num_steps, label) as show:
        show(0)
        while done < num_steps:
            if done < rows * every:
                # A row is the smallest chunk that can be recorded; when rows are far apart, go in smaller strides.
                chunk = min(max(1, rows // _CHUNKS), rows - done // every)
                if rows < _CHUNKS and every > 1:
                    state, trace = _strides(step, observe, state, args, done, every, num_steps, show)
                else:
                    state, trace = _advance(step, observe, state, args, done, every, chunk)
                done += chunk * every
            else:
                state, trace = _advance(step, observe, state, args, done, rest, 1)
                done += rest
            traces.append(jax.block_until_ready(trace))
            show(done)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *traces)


def _strides(step, observe, state, args, done, every, num_steps, show):
    """Go to the next row in several calls, showing progress in between."""
    stride, end = max(1, num_steps // _CHUNKS), done + every
    while done < end:
        length = min(stride, end - done)
        state = jax.block_until_ready(_repeat(step, state, args, done, length))
        done += length
        show(done)
    return state, jax.tree.map(lambda x: x[None], _row(observe, state, args))


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
def _whole(step, observe, state, args, every, rows, rest):
    first = jax.tree.map(lambda x: x[None], observe(state, args))
    state, trace = _rows(step, observe, state, args, jnp.int32(0), every, rows)
    parts = [first, trace]
    if rest:
        state, last = _rows(step, observe, state, args, jnp.int32(rows * every), rest, 1)
        parts.append(last)
    return state, jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


@partial(jax.jit, static_argnames=("step", "observe", "every", "num_rows"))
def _advance(step, observe, state, args, start, every, num_rows):
    return _rows(step, observe, state, args, jnp.int32(start), every, num_rows)


@partial(jax.jit, static_argnames=("step", "length"))
def _repeat(step, state, args, start, length):
    return _steps(step, state, args, jnp.int32(start), length)


@partial(jax.jit, static_argnames="observe")
def _row(observe, state, args):
    return observe(state, args)
