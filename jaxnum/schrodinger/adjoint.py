"""How reverse-mode differentiation remembers the path of a propagation.

Three ways, all of the same gradient up to rounding:

- `Direct()` stores every step, and is the only one that serves forward mode.
- `Checkpointed()` stores every k-th step and repeats the steps between.
- `Reversible()` stores nothing: the scheme is unitary, so the path is walked back (`steps.py`).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal
from jaxtyping import Array

from jaxnum._checks import as_count, refuse
from jaxnum.numerics.march import in_turn, stride
from jaxnum.schrodinger.steps import Step


@dataclass(frozen=True)
class Reversible:
    """Walk the path back: memory does not grow with the number of steps, and the gradient is exact up to rounding.

    It costs two runs back, of ψ and of the gradient, and one where nobody differentiates by more than ψ0.

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


class Course(NamedTuple):
    """The steps of a run and the rows between them, as numbers that may be traced.

    Attributes:
        first: Number of the first step.
        last: Number of the step at which the run ends.
        every: Steps from one row to the next; the last row comes at the end.
    """

    first: Any
    last: Any
    every: Any

    def stretches(self, intervals: int) -> Array:
        """Return the steps between rows, (intervals,)."""
        first, last, every = (jnp.asarray(v, jnp.int32) for v in self)
        return jnp.minimum(every, last - first - every * jnp.arange(intervals, dtype=jnp.int32))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def walk_reversibly(step: Step, intervals: int, course: Course, parameters: Any, psi: Array) -> Array:
    """Take all steps and return the rows, from the start to the end; in reverse mode walk the steps back."""
    return _forward(step, intervals, course, parameters, psi)[0]


def _forward(step, intervals, course, parameters, psi):
    prepared = step.prepare(parameters)

    def walk(prepared, state, first, stretches):
        def row(carry, length):
            state, n = carry
            state = stride(step, state, prepared, n, length)
            return (state, n + length), step.leave(state)

        (state, _), rows = jax.lax.scan(row, (state, first), stretches)
        return state, rows

    first = jnp.asarray(course.first, jnp.int32)
    state, rows = in_turn(walk, prepared, step.enter(psi), first, course.stretches(intervals))
    return jnp.concatenate([psi[None], rows]), (course, parameters, prepared, state)


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Asked:
    """What a gradient is taken in, besides ψ0: any parameter, and those of the motion of the flow."""

    any: bool
    motion: bool


def _forward_remembered(step, intervals, course, parameters, psi):
    def is_primal(x):
        return isinstance(x, CustomVJPPrimal)

    course, values, psi = jax.tree.map(lambda x: x.value, (course, parameters, psi), is_leaf=is_primal)
    perturbed = jax.tree.map(lambda x: x.perturbed, parameters, is_leaf=is_primal)
    asked = _Asked(any(jax.tree.leaves(perturbed)), step.flow.asked(perturbed[0]))
    rows, saved = _forward(step, intervals, course, values, psi)
    return rows, (*saved, asked)


def _backward(step, intervals, saved, rows):
    course, parameters, prepared, psi, asked = saved
    last = jnp.asarray(course.last, jnp.int32)

    def alone(prepared, g, cotangents, last, stretches):
        def row(carry, at):
            (g, n), (more, length) = carry, at
            return (_home(step, g + step.enter(more), prepared, n, length), n - length), None

        return jax.lax.scan(row, (g, last), (cotangents, stretches), reverse=True)[0][0]

    if not asked.any and step.linear:
        # All parts are symmetric: g goes back as ψ* does, and nobody needs ψ.
        g = in_turn(alone, prepared, jnp.zeros_like(psi), rows[1:], last, course.stretches(intervals))
        return None, None, step.leave(g) + rows[0]

    def walk(prepared, parameters, psi, cotangents, last, stretches):
        def row(carry, at):
            pair, gradient, n = carry
            more, length = at

            def back(i, carry):
                return step.back(*carry, prepared, parameters, n - 1 - i, asked.motion)

            pair = step.flow.pair(pair[0], pair[1] + step.enter(more))
            return (*jax.lax.fori_loop(0, length, back, (pair, gradient)), n - length), None

        pair = step.flow.pair(psi.conj(), jnp.zeros_like(psi))
        carry = (pair, step.no_gradient(prepared, parameters, psi), last)
        (pair, gradient, _), _ = jax.lax.scan(row, carry, (cotangents, stretches), reverse=True)
        return pair[1], gradient

    g, gradient = in_turn(walk, prepared, parameters, psi, rows[1:], last, course.stretches(intervals))
    return None, step.gradient(gradient, parameters), step.leave(g) + rows[0]


walk_reversibly.defvjp(_forward_remembered, _backward, symbolic_zeros=True)


def walk_home(step: Step, course: Course, parameters: Any, psi: Array) -> Array:
    """Undo all steps and return the wave function that the walk back takes for the first one."""
    prepared, last = step.prepare(parameters), jnp.asarray(course.last, jnp.int32)
    count = last - jnp.asarray(course.first, jnp.int32)
    return step.leave(_home(step, step.enter(psi).conj(), prepared, last, count).conj())


def _home(step: Step, conjugate: Array, prepared: tuple, n: Any, count: Any) -> Array:
    """Undo the `count` steps before step n."""
    return jax.lax.fori_loop(0, count, lambda i, state: step.home(state, prepared, n - 1 - i), conjugate)


def walk_checkpointed(step: Step, course: Course, every: int | None, parameters: Any, psi: Array) -> Array:
    """Take all steps like `walk_reversibly`, in numbers known beforehand; in reverse mode repeat them between states.

    Args:
        step: Step.
        course: Steps and rows, as integers.
        every: Steps from one remembered state to the next, or None for the root of their number; 0 remembers all,
            and serves forward mode too.
        parameters: Those of the step.
        psi: Wave function to start from.
    """
    prepared = step.prepare_differentiable(parameters)
    # Inside a scan nothing can be merged with the first pass, so the guard against that is not needed.
    again = partial(jax.checkpoint, prevent_cse=False)

    def stretch(carry, _, length):
        def one(carry, _):
            state, n = carry
            return (step.differentiable(state, prepared, n), n + 1), None

        return jax.lax.scan(one, carry, length=length)

    def row(carry, _, length):
        if every == 0:
            carry, _ = stretch(carry, None, length)
            return carry, seen(carry)
        chunk = min(every or math.isqrt(length - 1) + 1, length)
        carry, _ = jax.lax.scan(again(partial(stretch, length=chunk)), carry, length=length // chunk)
        if length % chunk:
            carry, _ = again(partial(stretch, length=length % chunk))(carry, None)
        return carry, seen(carry)

    def seen(carry):
        return carry[0][0] if isinstance(carry[0], tuple) else carry[0]

    count, rest = divmod(course.last - course.first, course.every)
    start = step.start_differentiable(psi, prepared), jnp.int32(course.first)
    carry, rows = jax.lax.scan(partial(row, length=course.every), start, length=count)
    rows = jnp.concatenate([psi[None], rows])
    if rest:
        carry, last = row(carry, None, rest)
        rows = jnp.concatenate([rows, last[None]])
    return rows
