"""What the optimizer is that was given: a rate, a family, an Optax transformation or a function of the user's own.

It is asked with single gradients of several sizes and moments, and with sums of sequences. What answers in proportion
is a linear system (`response.py`), at once or once its gradients are small; what divides by the size of its gradients
is recognized by its steps (`updates/recognize.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnum._checks import check_positive, refuse
from jaxnum._typing import is_real_number
from jaxnum.diagnose.step_sizes.response import Response, of_family, realize
from jaxnum.diagnose.truth import QUICK
from jaxnum.diagnose.updates import probes
from jaxnum.diagnose.updates.recognize import TOLERANCE, Match, identify
from jaxnum.optimize import Adam, AveragedMomentum, Momentum, Nesterov, Sgd
from jaxnum.optimize.stability import Family

_LENGTH = 24  # steps of an answer that are looked at: systems of up to a dozen memories
_LINEAR = 1e-9  # relative departure from linearity: a rule in double precision keeps 1e-15, in single 1e-7


@dataclass(frozen=True)
class Rule:
    """What is known about the optimizer that was given.

    Attributes:
        title: What it is, in a few words.
        responses: Its linear response, at several moments when it changes in time; empty when it is not linear.
        moments: Step numbers of these responses.
        match: The nonlinear rule it was recognized as; None when it is linear or unknown.
        changes: Whether its response changes in time.
        clips: Whether large gradients are answered by less than proportional steps.
        optimizer: Optax transformation that takes its steps; None for a function.
        update: Function `update(grad, state) -> (step, state)` that takes its steps; None for a transformation.
        rate: Learning rate; None when only a family was given.
    """

    title: str
    responses: tuple[Response, ...]
    moments: tuple[int, ...] = (0,)
    match: Match | None = None
    clips: bool = False
    changes: bool = False
    optimizer: Any = None
    update: Callable | None = None
    rate: float | None = None

    @property
    def response(self) -> Response | None:
        """The response that allows the least curvature."""
        return min(self.responses, key=lambda r: r.critical) if self.responses else None

    def scaled(self, factor: float) -> "Rule":
        """Return the rule as it answers a gradient when it is fed `factor` times it; only a linear one can be told."""
        if factor == 1.0 or not self.responses:
            return self
        return Rule(self.title, tuple(r.scaled(factor) for r in self.responses), self.moments, rate=self.rate)


def understand(name: str, given: Any, num_steps: int) -> Rule:
    """Find out what an optimizer does, from a rate, a family, a transformation or a function.

    Args:
        name: Name of the argument, for error messages.
        given: Learning rate of gradient descent; a family such as `Momentum(0.9)`, alone or in a pair with its rate;
            an Optax transformation; or a function `update(grad, state) -> (step, state)`.
        num_steps: Steps over which it may change.
    """
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Family):
        family, rate = given
        check_positive(f"{name}[1]", rate)
        if isinstance(family, Adam):
            return _of_transformation(name, optax.adam(float(rate), b1=family.b1), num_steps)
        return Rule(_title(family, float(rate)), (of_family(family, float(rate)),), rate=float(rate))
    if isinstance(given, Adam):
        refuse(name, "come with a rate, as (Adam(), 0.01)", "is Adam alone, whose limit depends on its own steps")
    if isinstance(given, Family):
        return Rule(_title(given, None), (of_family(given, 1.0),))
    if is_real_number(given):
        check_positive(name, given)
        return Rule(_title(Sgd(), float(given)), (of_family(Sgd(), float(given)),), rate=float(given))
    is_transformation = callable(getattr(given, "update", None)) and callable(getattr(given, "init", None))
    if not (is_transformation or callable(given)):
        must = "be a learning rate, a pair such as (Momentum(0.9), 0.01), an Optax transformation or an update function"
        refuse(name, must, f"is {given!r:.60}")
    return _of_transformation(name, given, num_steps) if is_transformation else _of_function(name, given)


def _of_transformation(name: str, optimizer: Any, num_steps: int) -> Rule:
    moments = tuple(sorted({0, num_steps // 4, num_steps // 2, 3 * num_steps // 4, num_steps}))
    try:
        scales = np.array([1.0, 1e-4, 1e4, 1e-6])
        probed = _answers(optimizer, scales, np.array(moments), num_steps)
        units, small, large, tiny = np.asarray(probed) / scales[:, None, None]
        twice, pair = np.asarray(_sequences(optimizer))
    except Exception as error:
        reason = f"fails with {type(error).__name__}: {str(error).splitlines()[0]:.100}"
        refuse(name, "be an Optax transformation that can be run under `jit`", reason)
    size = np.max(np.abs(small)) or 1.0
    slack = _LINEAR if units.dtype == np.float64 else 1e-4
    linear = np.max(np.abs(units - small)) <= slack * size and np.max(np.abs(twice - pair)) <= slack * size
    # What is linear while gradients are small is linear near a minimum, whatever it does to large ones.
    if not linear and np.max(np.abs(tiny - small)) > slack * size:
        return _nonlinear(name, optimizer)
    clips = not linear or bool(np.max(np.abs(large - small)) > slack * size)
    changes = np.max(np.abs(small - small[:1])) > slack * size
    if not changes:
        small, moments = small[:1], moments[:1]
    averages = "EmaState" in _names_in(optimizer)
    pairs = [(realize(steps, averages=averages), at) for steps, at in zip(small, moments, strict=True)]
    found, moments = [r for r, _ in pairs if r is not None], tuple(at for r, at in pairs if r is not None)
    if not found:
        return Rule("a rule of its own", (), optimizer=optimizer)
    strictest = min(found, key=lambda r: r.critical)
    title = _title(strictest.family, strictest.rate) + (" that changes in time" if changes else "")
    title += ", with large gradients clipped" if clips else ""
    return Rule(
        title, tuple(found), moments, clips=clips, changes=bool(changes), optimizer=optimizer, rate=strictest.rate
    )


@partial(jax.jit, static_argnames=("optimizer", "num_steps"), compiler_options=QUICK)
def _answers(optimizer: Any, scales: Any, moments: Any, num_steps: int) -> Any:
    """Return the steps that a single gradient of each size at each moment leads to: (sizes, moments, length)."""

    def answer(scale, at):
        gradients = jnp.where(jnp.arange(num_steps + _LENGTH) == at, scale, jnp.zeros_like(scale))
        return jax.lax.dynamic_slice(_run(optimizer, gradients), (at,), (_LENGTH,))

    return jax.vmap(jax.vmap(answer, (None, 0)), (0, None))(scales, moments)


def _run(optimizer: Any, gradients: Any) -> Any:
    """Return the steps for a sequence of gradients of one parameter that stays at zero."""
    zero = jnp.zeros(1, gradients.dtype)

    def body(memory, g):
        step, memory = optimizer.update(g[None], memory, zero)
        return memory, step[0]

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return jax.lax.scan(body, optimizer.init(zero), gradients)[1]


@partial(jax.jit, static_argnames="optimizer", compiler_options=QUICK)
def _sequences(optimizer: Any) -> Any:
    """Return the steps for the sum of two small gradient sequences, and the sum of the steps for each."""
    t = jnp.arange(float(_LENGTH))
    one, other = 1e-4 * jnp.cos(t), 1e-4 * jnp.sin(1 + 0.7 * t)

    steps = jax.vmap(partial(_run, optimizer))(jnp.stack([one + other, one, other])) / 1e-4
    return steps[0], steps[1] + steps[2]


def _names_in(optimizer: Any) -> str:
    return str(optimizer.init(jnp.zeros(1)))


def _of_function(name: str, update: Callable) -> Rule:
    seen = probes.watch(name, update)
    steps = seen.steps
    if seen.failure is not None or not np.isfinite(steps).all():
        refuse(name, "take finite steps", "divides by zero or returns NaN; ask `diagnose.update_rule` about it")
    answer = np.diff(steps[:, 0], prepend=0.0)
    alternating = np.convolve(answer, np.where(np.arange(len(answer)) % 2, -1.0, 1.0))[: len(answer)]
    stopping = steps[:, 0] - np.concatenate([np.zeros(10), steps[:-10, 0]])
    size = np.max(np.abs(steps[:, 0])) or 1.0
    slack = _LINEAR if seen.double else 1e-4
    linear = all(
        np.max(np.abs(found - wanted)) <= slack * size
        for found, wanted in (
            (1e2 * steps[:, 1], steps[:, 0]),
            (1e6 * steps[:, 2], steps[:, 0]),
            (alternating, steps[:, 3]),
            (stopping, steps[:, 4]),
        )
    )
    if not linear:
        return _nonlinear(name, update, seen)
    response = realize(answer, averages=False)
    if response is None:
        return Rule("a rule of its own", (), update=update)
    return Rule(_title(response.family, response.rate), (response,), update=update, rate=response.rate)


def _nonlinear(name: str, given: Any, seen: probes.Watched | None = None) -> Rule:
    """Recognize a rule that divides by the size of its gradients."""
    seen = probes.watch(name, given) if seen is None else seen
    best = identify(seen.steps, TOLERANCE[seen.double])[0]
    known = best.distance <= 1e-6 or best.distance <= TOLERANCE[seen.double]
    way = {"optimizer": given} if callable(getattr(given, "init", None)) else {"update": given}
    if not known:
        return Rule("a rule of its own", (), **way)
    return Rule(str(best), (), match=best, rate=abs(best.rate), **way)


def _title(family: Family | None, rate: float | None) -> str:
    at = "" if rate is None else f" at rate {rate:.6g}"
    if isinstance(family, Sgd):
        return "gradient descent" + at
    names = {Momentum: "momentum", Nesterov: "Nesterov's momentum", AveragedMomentum: "averaged momentum"}
    if type(family) in names:
        return f"{names[type(family)]} {family.beta:.6g}{at}"
    if isinstance(family, Adam):
        return f"Adam with b1 = {family.b1:g}, its second moment at rest,{at}"
    return f"a linear rule of its own with first step {rate:.6g}"
