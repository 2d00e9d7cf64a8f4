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

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxnum.optimize import Adam, AveragedMomentum, Momentum, Nesterov, Sgd
from jaxnum.optimize.stability import Family

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
