"""Running what was given, and running what is advised: the numbers behind "diverges" and "takes so many steps".

The rule that was given is followed from the start for the planned number of steps; what is kept is where it was at a
few moments, the lowest value and when it was met, and the last three points, from which a cycle shows. A cure is run
until the excess of the loss over its minimum is a given part of what it was, and its steps are counted.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum.diagnose.step_sizes.response import Response
from jaxnum.diagnose.step_sizes.surface import DENSE, Flat, Surface
from jaxnum.diagnose.step_sizes.understanding import Rule
from jaxnum.diagnose.updates.probes import fresh
from jaxnum.numerics.march import march

LONGEST = 200_000  # steps of a compiled run that a diagnosis affords; a second or so for a small problem
_LEGS = 10
_ROWS = 32


@dataclass(frozen=True)
class Path:
    """Where a run went.

    Attributes:
        steps: Step numbers of the points kept, (k,).
        points: Those points, (k, n).
        losses: Loss at each of them.
        rows: Step numbers of the finer record of the loss.
        values: That record.
        lowest: Lowest loss met.
        lowest_step: When it was met.
        last: Last three points, (3, n), the latest first.
        nonfinite: First step with a loss or a point that is not finite; None when there is none.
        seconds: Mean of the squared gradients with the rule's own b2, corrected, at each of the points, (k, n); ones
            for a rule without.
    """

    steps: np.ndarray
    points: np.ndarray
    losses: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    lowest: float
    lowest_step: int
    last: np.ndarray
    nonfinite: int | None
    seconds: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        """Which of the points kept are finite."""
        return np.isfinite(self.losses) & np.isfinite(self.points).all(axis=1)


@dataclass(frozen=True)
class _Step:
    """One step of an Optax transformation, for `march`."""

    flat: Flat
    optimizer: Any

    def __call__(self, state: Any, b2: Any, n: Any) -> Any:
        x, memory, second, seen = state
        value, gradient = jax.value_and_grad(self.flat)(x)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            step, memory = self.optimizer.update(gradient, memory, x)
            new = (x + step).astype(x.dtype)
        second = b2 * second + (1 - b2) * gradient**2
        return new, memory, second, _noted(seen, x, value, n)


@dataclass(frozen=True)
class _SystemStep:
    """One step of a linear rule, for `march`."""

    flat: Flat

    def __call__(self, state: Any, system: Any, n: Any) -> Any:
        x, memory, second, seen = state
        value, gradient = jax.value_and_grad(self.flat)(x)
        step, memory = _advance(system, memory, gradient)
        return x + step, memory, second, _noted(seen, x, value, n)


@dataclass(frozen=True)
class _Loss:
    flat: Flat

    def __call__(self, state: Any, _args: Any) -> Any:
        return self.flat(state[0])


def _noted(seen: Any, x: Any, value: Any, n: Any) -> Any:
    total, lowest, when, bad, before, earlier = seen
    better = value < lowest
    broken = ~(jnp.isfinite(value) & jnp.all(jnp.isfinite(x)))
    del n, earlier
    return (
        total + 1,
        jnp.where(better, value, lowest),
        jnp.where(better, total, when),
        jnp.where((bad < 0) & broken, total, bad),
        x,
        before,
    )


def _advance(system: Any, memory: Any, gradient: Any) -> Any:
    a, b, c, d = system
    return c @ memory + d * gradient, a @ memory + b[:, None] * gradient[None, :]


def system_of(response: Response) -> tuple[Any, Any, Any, Any]:
    """Return (A, B, C, d) as arrays, with at least one memory so that all simple rules share a compilation."""
    r = max(1, len(response.intake))
    a, b, c = np.zeros((r, r)), np.zeros(r), np.zeros(r)
    k = len(response.intake)
    a[:k, :k], b[:k], c[:k] = response.memory, response.intake, response.release
    return jnp.asarray(a), jnp.asarray(b), jnp.asarray(c), jnp.asarray(response.direct)


def follow(seen: Surface, rule: Rule, x0: np.ndarray, num_steps: int) -> Path:
    """Follow the rule that was given for `num_steps` steps."""
    if seen.flat is None or rule.update is not None:
        return _by_hand(seen, rule, x0, min(num_steps, seen.affordable))
    legs = next(k for k in range(min(_LEGS, num_steps), 0, -1) if num_steps % k == 0)
    if legs < 4:
        legs = min(_LEGS, num_steps)
        num_steps = legs * (num_steps // legs)
    leg, x = num_steps // legs, jnp.asarray(x0)
    infinity = jnp.asarray(np.inf)
    noted = (jnp.int32(0), infinity, jnp.int32(0), jnp.int32(-1), x, x)
    if rule.optimizer is not None:
        step, args = _Step(seen.flat, rule.optimizer), jnp.asarray(rule.match.b2 if rule.match else 0.0)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            memory = rule.optimizer.init(x)
    else:
        step, args = _SystemStep(seen.flat), system_of(rule.response)
        memory = jnp.zeros((len(args[1]), x.size))
    state = (x, memory, jnp.zeros_like(x), noted)
    every = max(1, leg // _ROWS)
    points, rows, values = [x0], [np.zeros(1, int)], [np.array([seen.value(x0)])]
    seconds = [np.ones_like(x0)]
    b2 = rule.match.b2 if rule.match else 0.0
    for n in range(legs):
        state, losses = march(step, _Loss(seen.flat), state, args, num_steps=leg, save_every=every)
        points.append(np.asarray(state[0]))
        seconds.append(np.asarray(state[2]) / (1 - b2 ** ((n + 1) * leg)) if rule.match else np.ones_like(x0))
        marks = np.unique(np.append(np.arange(0, leg + 1, every), leg))[1:]
        rows.append(n * leg + marks)
        values.append(np.asarray(losses)[1:])
    _, lowest, when, bad, before, earlier = state[3]
    bad, end = int(bad), values[-1][-1]
    if bad < 0 and not (np.isfinite(end) and np.isfinite(points[-1]).all()):
        bad = num_steps
    if end < float(lowest):
        lowest, when = end, num_steps
    return Path(
        leg * np.arange(legs + 1),
        np.array(points),
        np.array([v[-1] for v in values]),
        np.concatenate(rows),
        np.concatenate(values),
        float(lowest),
        int(when),
        np.array([points[-1], np.asarray(before), np.asarray(earlier)]),
        None if bad < 0 else bad,
        np.array(seconds),
    )


def _by_hand(seen: Surface, rule: Rule, x0: np.ndarray, num_steps: int) -> Path:
    """The same in Python, for rules and losses that JAX cannot compile."""
    advance = _caller(rule, x0)
    marks = np.unique(np.linspace(0, num_steps, min(_LEGS, num_steps) + 1).astype(int))
    fine = set(np.unique(np.linspace(0, num_steps, min(_LEGS * _ROWS, num_steps) + 1).astype(int)))
    last, kept, rows, values = [x0, x0, x0], {}, [], []
    lowest, when, bad = np.inf, 0, None
    b2 = rule.match.b2 if rule.match else 0.0
    second, x = np.zeros_like(x0), x0
    for n in range(num_steps + 1):
        value = seen.value(x)
        if n in fine:
            rows.append(n)
            values.append(value)
        if n in marks:
            kept[n] = (x, value, second / (1 - b2**n) if rule.match and n else np.ones_like(x0))
        if value < lowest:
            lowest, when = value, n
        if not (np.isfinite(value) and np.isfinite(x).all()):
            bad = n
            kept[n] = (x, value, np.ones_like(x0))
            break
        if n < num_steps:
            gradient = seen.gradient(x)
            second = b2 * second + (1 - b2) * gradient**2
            x = x + advance(gradient)
            last = [x, *last[:2]]
    steps = np.array(sorted(kept))
    return Path(
        steps,
        np.array([kept[n][0] for n in steps]),
        np.array([kept[n][1] for n in steps]),
        np.array(rows),
        np.array(values),
        float(lowest),
        int(when),
        np.array(last),
        bad,
        np.array([kept[n][2] for n in steps]),
    )


def _caller(rule: Rule, x0: np.ndarray) -> Any:
    """Return a function from a gradient to the step that the rule takes next."""
    if rule.update is not None:
        return _Hand(rule.update, x0)
    if rule.optimizer is not None:
        return _Optax(rule.optimizer, x0)
    return _Linear(rule.response, x0)


class _Hand:
    """A user's own `update(grad, state)`, from a fresh copy of whatever memory it has."""

    def __init__(self, update: Any, x0: np.ndarray):
        zero = np.zeros_like(x0)
        starts = (None, {}, {"m": zero, "v": zero, "t": 0}, zero, (zero, zero, 0), (zero, zero))
        for start in starts:
            self.update, self.state = fresh(update), copy.deepcopy(start)
            try:
                step, _ = fresh(update)(np.ones_like(x0), copy.deepcopy(start))
                if np.shape(step) == x0.shape:
                    return
            except Exception:
                continue
        self.update = None

    def __call__(self, gradient: np.ndarray) -> np.ndarray:
        if self.update is None:
            return np.full_like(gradient, np.nan)
        step, self.state = self.update(np.array(gradient), self.state)
        return np.array(step, float)


class _Optax:
    def __init__(self, optimizer: Any, x0: np.ndarray):
        self.optimizer, self.x = optimizer, jnp.asarray(x0)
        self.state = optimizer.init(self.x)

    def __call__(self, gradient: np.ndarray) -> np.ndarray:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            step, self.state = self.optimizer.update(jnp.asarray(gradient), self.state, self.x)
        self.x = self.x + step
        return np.asarray(step)


class _Linear:
    def __init__(self, response: Response, x0: np.ndarray):
        self.response, self.memory = response, np.zeros((len(response.intake), x0.size))

    def __call__(self, gradient: np.ndarray) -> np.ndarray:
        r = self.response
        step = r.release @ self.memory + r.direct * gradient
        self.memory = r.memory @ self.memory + r.intake[:, None] * gradient[None, :]
        return step


def count_steps(
    seen: Surface, response: Response, x0: np.ndarray, target: float, *, basis: np.ndarray | None = None, at_most: int
) -> float:
    """Return how many steps a linear rule takes until the loss is at or below `target`; infinite if it does not.

    Args:
        seen: The loss.
        response: The rule.
        x0: Start.
        target: Loss to reach.
        basis: Columns M of the coordinates u to descend in, x = M u; None for x itself.
        at_most: Steps after which it gives up.
    """
    if seen.flat is not None:
        # Up to the size at which other coordinates are tried, all descents share one compilation.
        m = jnp.eye(x0.size) if basis is None and x0.size <= DENSE else basis
        m = None if m is None else jnp.asarray(m)
        counted, reached = _count(seen.flat, system_of(response), jnp.asarray(x0), m, target, at_most)
        return float(counted) if bool(reached) else float("inf")
    advance, x = _Linear(response, x0), x0
    for n in range(min(at_most, seen.affordable) + 1):
        if seen.value(x) <= target:
            return float(n)
        gradient = seen.gradient(x)
        x = x + (advance(gradient) if basis is None else basis @ advance(basis.T @ gradient))
        if not np.isfinite(x).all():
            break
    return float("inf")


@partial(jax.jit, static_argnames="flat")
def _count(flat: Flat, system: Any, x0: Any, basis: Any, target: Any, at_most: Any) -> Any:
    def again(carry):
        x, _, n = carry
        value = flat(x)
        return (value > target) & (n < at_most) & jnp.isfinite(value)

    def body(carry):
        x, memory, n = carry
        gradient = jax.grad(flat)(x)
        if basis is not None:
            gradient = basis.T @ gradient
        step, memory = _advance(system, memory, gradient)
        return x + (step if basis is None else basis @ step), memory, n + 1

    memory = jnp.zeros((len(system[1]), x0.size))
    x, _, n = jax.lax.while_loop(again, body, (x0, memory, jnp.int32(0)))
    return n, flat(x) <= target
