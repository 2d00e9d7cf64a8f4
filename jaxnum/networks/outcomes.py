"""Outcomes: how often a training succeeds, which no single run can tell.

k successes in N independent starts:  share k/N, and the Wilson interval of it,

    (k + z²/2 ± z √(k (N − k)/N + z²/4)) / (N + z²),    z = 1.96 for 95 %

Reference:
    Wilson (1927), https://doi.org/10.1080/01621459.1927.10502953
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum._checks import check_positive, refuse
from jaxnum._solution import Solution

_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Outcomes:
    """What became of many starts.

    Attributes:
        losses: Last loss of each network, infinite where it is not finite, (members,).
        target: Loss at or below which a network counts as solved.
        solved: Number of networks that are.
        share: solved/members.
        interval: 95 % interval of the share over all starts of this kind.
        quantiles: Fraction -> loss that so many of the networks reach.
        statuses: How the runs ended, and how many.
    """

    losses: np.ndarray
    target: float
    solved: int
    share: float
    interval: tuple[float, float]
    quantiles: dict[float, float]
    statuses: str

    def __str__(self) -> str:
        low, high = self.interval
        marks = ", ".join(f"{100 * q:.0f} % {v:.3g}" for q, v in self.quantiles.items())
        return (
            f"{self.solved} of {len(self.losses)} networks end at or below {self.target:.3g}: "
            f"{100 * self.share:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)\n"
            f"last losses by quantile: {marks}\nstatuses: {self.statuses}"
        )


def outcomes(solution: Solution, *, target: float) -> Outcomes:
    """Return how many of the networks of `train_many` were solved, and how their last losses are distributed.

    Args:
        solution: What `train_many` returned.
        target: Loss at or below which a network counts as solved, positive.

    Raises:
        ValueError: If the solution is not one of many networks, or the target is not positive.

    Example:
        >>> import jax, numpy as np, optax
        >>> from jaxnum.networks import outcomes, perceptron, train_many
        >>> x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> make = lambda key: perceptron((2, 3, 1), key=key)
        >>> solution = train_many(make, optax.adam(0.1), x, y, keys=keys, num_steps=500, save_every=500)
        >>> found = outcomes(solution, target=0.01)
        >>> found.interval[0] < found.share < found.interval[1]
        True
    """
    check_positive("target", target)
    values: Any = getattr(getattr(solution, "history", None), "value", None) if isinstance(solution, Solution) else None
    if values is None or np.ndim(values) != 2:
        refuse("solution", "come from `networks.train_many`", f"is {solution!r:.60}")
    losses = np.asarray(values)[:, -1]
    losses = np.where(np.isfinite(losses), losses, np.inf)
    solved, count = int(np.sum(losses <= target)), len(losses)
    marks = np.quantile(losses, _QUANTILES, method="nearest")
    quantiles = dict(zip(_QUANTILES, map(float, marks), strict=True))
    return Outcomes(
        losses, float(target), solved, solved / count, _wilson(solved, count), quantiles, solution.status.name
    )


def _wilson(solved: int, count: int) -> tuple[float, float]:
    z = 1.959963984540054
    half = z * np.sqrt(solved * (count - solved) / count + z**2 / 4)
    return tuple(float((solved + z**2 / 2 + sign * half) / (count + z**2)) for sign in (-1, 1))
