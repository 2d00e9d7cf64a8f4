"""How reverse-mode differentiation remembers the path of a propagation.

Three ways, all of the same gradient up to rounding:

- `Direct()` stores every step, and is the only one that serves forward mode.
- `Checkpointed()` stores every k-th step and repeats the steps between.
- `Reversible()` stores nothing: the scheme is unitary, so the path is walked back (`steps.py`).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnum._checks import as_count, refuse
from jaxnum.numerics.march import march
from jaxnum.schrodinger.steps import Step, observe


@dataclass(frozen=True)
class Reversible:
    """Walk the path back: memory does not grow with the number of steps, and the gradient is exact up to rounding.

    Reverse mode only. What rounding did on the way there and back is in the gradient: about as many digits as the norm
    drifts by, and more where a nonlinearity is chaotic. A forward run cannot know it; `check=True` measures it.

    With `Transparent()` the past of the two end points is remembered, and the path between them walked back.

    With `Absorber()` nothing can be walked back, because a growing step amplifies rounding without bound: `Reversible`
    then does what `Checkpointed()` does.

    Attributes:
        check: Also walk back once in the forward run, at the price of a second one, and count the distance from ψ0,
            relative to its norm, into the residual.
    """

    check: bool = False


@dataclass(frozen=True)
class Checkpointed:
    """Remember every k-th step and take the steps between again: memory as the root of the number of steps.

    Reverse mode only; the price is one more forward run. It serves every boundary.

    Attributes:
        every: Steps from one remembered state to the next, at most; None takes the root of the number of steps, which
            is the least memory.
    """

    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None:
            object.__setattr__(self, "every", as_count("every", self.every))


@dataclass(frozen=True)
class Direct:
    """Differentiate the loop itself: forward mode too, at the price of remembering every step in reverse mode."""


REVERSIBLE = Reversible()


def check_adjoint(adjoint: Any) -> None:
    """Refuse what is not a way to differentiate."""
    if not isinstance(adjoint, Reversible | Checkpointed | Direct):
        what = f"the class {adjoint.__name__}" if isinstance(adjoint, type) else type(adjoint).__name__
        refuse("adjoint", "be `Reversible()`, `Checkpointed()` or `Direct()`", f"is {what}")


def walk(step: Any, parameters: Any, psi: Array, **options: Any) -> tuple[Any, Array]:
    """Take all steps; return the last state and the recorded rows."""
    prepared = step.prepare(parameters)
    return march(step, observe, step.start(psi, prepared), prepared, **options)


def walk_checkpointed(
    step: Any,
    parameters: Any,
    psi: Array,
    *,
    num_steps: int,
    first_step: int,
    save_every: int | None,
    every: int | None,
) -> tuple[Any, Array]:
    """Take all steps like `walk`, and in reverse mode repeat them between checkpoints."""
    prepared = step.prepare(parameters)

    def stretch(carry, _, length):
        def one(carry, _):
            state, n = carry
            return (step(state, prepared, n), n + 1), None

        return jax.lax.scan(one, carry, length=length)

    def row(carry, _, length):
        # Inside a scan nothing can be merged with the first pass, so the guard against that is not needed.
        again = partial(jax.checkpoint, prevent_cse=False)
        chunk = min(every or math.isqrt(length - 1) + 1, length)
        carry, _ = jax.lax.scan(again(partial(stretch, length=chunk)), carry, length=length // chunk)
        if length % chunk:
            carry, _ = again(partial(stretch, length=length % chunk))(carry, None)
        return carry, observe(carry[0], prepared)

    between = min(save_every or num_steps, num_steps)
    count, rest = divmod(num_steps, between)
    start = step.start(psi, prepared), jnp.int32(first_step)
    carry, rows = jax.lax.scan(partial(row, length=between), start, length=count)
    rows = jnp.concatenate([psi[None], rows])
    if rest:
        carry, last = row(carry, None, rest)
        rows = jnp.concatenate([rows, last[None]])
    return carry[0], rows


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def walk_reversibly(
    step: Step, num_steps: int, first_step: int, save_every: int | None, parameters: Any, psi: Array
) -> tuple[Array, Array]:
    """Take all steps like `walk`, and in reverse mode walk them back."""
    return walk(step, parameters, psi, num_steps=num_steps, first_step=first_step, save_every=save_every)


def _forward(step, num_steps, first_step, save_every, parameters, psi):
    prepared = step.prepare(parameters)
    options = {"num_steps": num_steps, "first_step": first_step, "save_every": save_every}
    last, rows = march(step, observe, psi, prepared, **options)
    return (last, rows), (parameters, prepared, last)


def _backward(step, num_steps, first_step, save_every, saved, cotangents):
    parameters, prepared, psi = saved
    g, rows = cotangents
    every = min(save_every or num_steps, num_steps)
    count, rest = divmod(num_steps, every)

    def back(carry, _):
        psi, g, gradient, n = carry
        psi, g, more = step.back(psi, g, prepared, parameters, n)
        return (psi, g, jax.tree.map(jnp.add, gradient, more), n - 1), None

    def segment(carry, row, length):
        psi, g, gradient, n = carry
        carry, _ = jax.lax.scan(back, (psi, g + row, gradient, n), length=length)
        return carry, None

    carry = (psi, g, jax.tree.map(jnp.zeros_like, parameters), jnp.int32(first_step + num_steps - 1))
    if rest:
        carry, _ = segment(carry, rows[count + 1], rest)
    carry, _ = jax.lax.scan(partial(segment, length=every), carry, rows[1 : count + 1], reverse=True)
    _, g, gradient, _ = carry
    return gradient, g + rows[0]


walk_reversibly.defvjp(_forward, _backward)


def walk_home(step: Step, num_steps: int, first_step: int, parameters: Any, psi: Array) -> Array:
    """Undo all steps and return the wave function that the walk back takes for the first one."""
    prepared = step.prepare(parameters)

    def back(carry, _):
        psi, n = carry
        psi, _, _ = step.back(psi, jnp.zeros_like(psi), prepared, parameters, n)
        return (psi, n - 1), None

    (psi, _), _ = jax.lax.scan(back, (psi, jnp.int32(first_step + num_steps - 1)), length=num_steps)
    return psi
