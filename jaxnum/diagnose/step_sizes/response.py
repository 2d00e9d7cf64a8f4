"""How an update rule answers a gradient, and what that makes of a quadratic.

A rule that is linear in the gradient is known by its answer to a single unit gradient, the steps r₀, r₁, r₂, ...
From them the smallest linear system with these steps is put together (Ho & Kalman),

    step = C s + d g,    s ← A s + B g,

and closed over a quadratic of curvature λ, where g = λx:   (x, s) ← M(λ) (x, s),   M = [[1 + λd, C], [λB, A]].
The rule is stable on it while the spectral radius of M(λ) is below one. No source is read and no formula assumed: the
same few lines serve gradient descent, every kind of momentum, and chains of them.

References:
    Ho & Kalman (1966), https://doi.org/10.1524/auto.1966.14.112.545
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnum._checks import check_positive, refuse
from jaxnum._typing import is_real_number
from jaxnum.diagnose.truth import QUICK
from jaxnum.diagnose.updates import probes
from jaxnum.diagnose.updates.recognize import TOLERANCE, Match, identify
from jaxnum.optimize import Adam, AveragedMomentum, Momentum, Nesterov, Sgd
from jaxnum.optimize.stability import Family

_LENGTH = 24  # steps of an answer that are looked at: systems of up to a dozen memories
_LINEAR = 1e-9  # relative departure from linearity: a rule in double precision keeps 1e-15, in single 1e-7
_MEMORIES = 6  # more memories than this are rounding noise, not a rule
_STEPWISE = 4096  # steps that are followed one by one before powers of M are squared instead


@dataclass(frozen=True)
class Response:
    """A rule that is linear in the gradient, as the smallest system that takes its steps.

    Attributes:
        memory: A, (r, r).
        intake: B, (r,).
        release: C, (r,).
        direct: d.
        family: The method it belongs to; None when it is none of the known ones.
        rate: Its learning rate in the convention of the family, else the length of its first step.
    """

    memory: np.ndarray
    intake: np.ndarray
    release: np.ndarray
    direct: float
    family: Family | None
    rate: float

    def matrix(self, curvature: Any) -> np.ndarray:
        """Return M(λ) for curvatures (m,): (m, r + 1, r + 1)."""
        curvature = np.atleast_1d(np.asarray(curvature, float))
        r = len(self.intake)
        m = np.zeros((len(curvature), r + 1, r + 1))
        m[:, 0, 0], m[:, 0, 1:] = 1 + curvature * self.direct, self.release
        m[:, 1:, 0], m[:, 1:, 1:] = curvature[:, None] * self.intake, self.memory
        return m

    def growth(self, curvature: Any) -> np.ndarray:
        """Return the factor by which the error along each curvature grows per step, in the long run."""
        return np.max(np.abs(np.linalg.eigvals(self.matrix(curvature))), axis=-1)

    def scaled(self, factor: float) -> "Response":
        """Return the same rule with `factor` times its learning rate."""
        return replace(self, release=factor * self.release, direct=factor * self.direct, rate=abs(factor) * self.rate)

    @property
    def push(self) -> float:
        """Sum of all the steps that a unit gradient leads to, without sign: positive means downhill."""
        r = len(self.intake)
        lasting = np.linalg.solve(np.eye(r) - self.memory, self.intake) if r else np.zeros(0)
        return -float(self.direct + self.release @ lasting)

    @property
    def critical(self) -> float:
        """Curvature above which the rule is unstable; infinite when it is stable on every one."""
        if self.family is not None:
            return float(self.family.limit()) / self.rate
        return _critical(self)


def of_family(family: Family, rate: float) -> Response:
    """Return the response of a known method."""
    one = np.ones((1, 1))
    if isinstance(family, Sgd):
        return Response(np.zeros((0, 0)), np.zeros(0), np.zeros(0), -rate, family, rate)
    beta = family.b1 if isinstance(family, Adam) else family.beta
    intake = 1 - beta if isinstance(family, Adam | AveragedMomentum) else 1.0
    if isinstance(family, Nesterov):
        return Response(beta * one, np.ones(1), np.array([-rate * beta**2]), -rate * (1 + beta), family, rate)
    return Response(beta * one, np.full(1, intake), np.array([-rate * beta]), -rate * intake, family, rate)


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


# From steps to a system -----------------------------------------------------------------------------------------------


def realize(steps: Any, *, averages: bool) -> Response | None:
    """Return the smallest linear system that answers a unit gradient by these steps; None when it takes too many.

    Args:
        steps: r₀, r₁, ... as they are added to the parameters.
        averages: Whether its momentum is to be called averaged: −η(1−β)βᵗ is that of rate η, or momentum of rate
            η(1−β), and no steps can tell.
    """
    steps = np.asarray(steps, float)
    size = np.max(np.abs(steps))
    half = (len(steps) - 1) // 2
    if size == 0:
        return None
    hankel = np.array([[steps[i + j + 1] for j in range(half)] for i in range(half)]) / size
    u, s, vt = np.linalg.svd(hankel)
    rank = int(np.sum(s > 1e-9))  # the steps of a rule in double precision are right to 1e-15 of the first
    if rank > _MEMORIES:
        return None
    if rank:
        root = np.sqrt(s[:rank])
        observe, reach = u[:, :rank] * root, (vt[:rank].T * root).T
        memory = np.linalg.lstsq(observe[:-1], observe[1:], rcond=None)[0]
        found = Response(memory, reach[:, 0], size * observe[0], float(steps[0]), None, abs(float(steps[0])) or size)
    else:
        found = Response(np.zeros((0, 0)), np.zeros(0), np.zeros(0), float(steps[0]), None, abs(float(steps[0])))
    again = _replay(found, len(steps))
    if np.max(np.abs(again - steps)) > 1e-7 * size:
        return None
    return _named(found, averages)


def _replay(found: Response, length: int) -> np.ndarray:
    state, out = np.zeros_like(found.intake), []
    for n in range(length):
        g = 1.0 if n == 0 else 0.0
        out.append(found.release @ state + found.direct * g)
        state = found.memory @ state + found.intake * g
    return np.array(out)


def _named(found: Response, averages: bool) -> Response:
    """Recognize the family by its steps."""
    if found.direct >= 0:
        return found
    if not len(found.intake):
        return of_family(Sgd(), -found.direct)
    if len(found.intake) > 1:
        return found
    beta, first, second = float(found.memory[0, 0]), -found.direct, -float(found.release[0] * found.intake[0])
    if not 0 < beta < 1:
        return found
    if abs(second - beta * first) <= 1e-9 * first:
        return of_family(AveragedMomentum(beta), first / (1 - beta)) if averages else of_family(Momentum(beta), first)
    if abs(second * (1 + beta) - beta**2 * first) <= 1e-9 * first:
        return of_family(Nesterov(beta), first / (1 + beta))
    return found


def _critical(response: Response) -> float:
    """Return the smallest curvature at which the spectral radius of M passes one, by bisection."""
    if response.push <= 0:
        return 0.0
    unit = 1 / max(abs(response.direct), response.push)
    curvatures = unit * np.geomspace(1e-6, 1e6, 2000)
    # A mode of the memory that the curvature does not reach may stand at one; only beyond it is there growth.
    unstable = response.growth(curvatures) > 1 + 1e-10
    if not unstable.any():
        return float("inf")
    first = int(np.argmax(unstable))
    if first == 0:
        return 0.0
    low, high = curvatures[first - 1], curvatures[first]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if response.growth(middle)[0] > 1 + 1e-13 else (middle, high)
    return float(high)


# On a quadratic -------------------------------------------------------------------------------------------------------


def steps_needed(response: Response, curvatures: Any, shares: Any, factor: float) -> float:
    """Return the number of steps after which a quadratic's excess over its minimum is `factor` times what it was.

    Args:
        response: The rule.
        curvatures: Eigenvalues of the Hessian, (m,).
        shares: Excess along each eigenvector at the start, (m,).
        factor: Ratio of the excess after to before.

    Returns:
        Steps until the excess is below for the first time; infinite when the rule is unstable on one of the
        curvatures that have a share.
    """
    curvatures, shares = np.asarray(curvatures, float), np.asarray(shares, float)
    carried = shares > 0
    if not carried.any():
        return 0.0
    step, weight = response.matrix(curvatures[carried]), shares[carried] / shares[carried].sum()
    if np.max(response.growth(curvatures[carried])) >= 1:
        return float("inf")
    state = np.zeros(step.shape[:2])
    state[:, 0] = 1
    for n in range(_STEPWISE + 1):
        if weight @ state[:, 0] ** 2 <= factor:
            return float(n)
        state = np.einsum("mij,mj->mi", step, state)
    # Longer ways are found bit by bit: the largest number of steps after which the excess is still above.
    powers = [step]
    while weight @ powers[-1][:, 0, 0] ** 2 > factor and len(powers) < 60:
        powers.append(powers[-1] @ powers[-1])
    total, reached = 0, np.broadcast_to(np.eye(step.shape[1]), step.shape)
    for bit in range(len(powers) - 1, -1, -1):
        tried = reached @ powers[bit]
        if weight @ tried[:, 0, 0] ** 2 > factor:
            total, reached = total + 2**bit, tried
    return float(total + 1)


def excess_after(response: Response, curvatures: Any, shares: Any, num_steps: int) -> float:
    """Return what is left of a quadratic's excess after some steps, relative to the start."""
    curvatures, shares = np.asarray(curvatures, float), np.asarray(shares, float)
    if not shares.sum() > 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.linalg.matrix_power(response.matrix(curvatures), num_steps)
        left = float(shares @ power[:, 0, 0] ** 2 / shares.sum())
    return left if np.isfinite(left) else float("inf")


def overflow_step(response: Response, curvature: float, share: float, largest: float) -> float:
    """Return the step at which a loss whose excess along one growing mode is `share` leaves the numbers.

    Args:
        response: The rule.
        curvature: Curvature of the mode.
        share: Excess of the loss along it at the start.
        largest: Largest number that the precision holds.
    """
    values, vectors = np.linalg.eig(response.matrix(curvature)[0])
    top = int(np.argmax(np.abs(values)))
    growth = abs(values[top])
    if growth <= 1 or share <= 0:
        return float("inf")
    # Of the start (1, 0, ...) only what lies along the growing eigenvector lasts.
    amplitude = abs(np.linalg.solve(vectors, np.eye(len(values))[0])[top] * vectors[0, top])
    if amplitude == 0:
        return float("inf")
    return float(np.ceil((np.log(largest) - np.log(share) - 2 * np.log(amplitude)) / (2 * np.log(growth))))
