"""Races: several optimizers from one start with one budget, and maps of the end over hyperparameters.

A race says nothing without its budget, its start and the rates that were tried: one optimizer can win at 100 steps
and lose at 500, or win at its best rate and lose at everybody else's. So all of that is part of the result, gradients
are never clipped or rescaled, everybody is tuned over the same rates or nobody is, and the band of rates that are good
enough is told beside the best one: a method that must be tuned to two digits has not won anything yet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_increasing, refuse
from jaxnum._solution import Solution
from jaxnum._typing import Objective, Params
from jaxnum.numerics.descent import Step, descend
from jaxnum.optimize.minimize import check_objective, check_optimizer


@dataclass(frozen=True)
class Tuning:
    """What the tuning of one optimizer found.

    Attributes:
        values: Last value at each rate tried, infinite where the run did not stay finite, (rates,).
        best_rate: Rate of the lowest last value.
        band: Lowest and highest rate around the best at which the run ends at or below the target; None if at none.
        on_edge: Whether the best rate is the first or the last one tried: a better one may lie beyond.
    """

    values: np.ndarray
    best_rate: float
    band: tuple[float, float] | None
    on_edge: bool


@dataclass(frozen=True)
class Race:
    """What came of a race.

    Attributes:
        solutions: Name of each optimizer -> its run, with a row for every step.
        num_steps: Budget: steps that everybody took, each with one gradient.
        searches: Names of those that also evaluated the function along a line within a step.
        y0: Start that everybody shared.
        rates: Rates that everybody who was tuned tried, (rates,); None in a race without tuning.
        tuning: Name of each optimizer that was tuned -> what was found.
        target: Last value at or below which a rate counts as good: 99 % of the way from the start to the lowest last
            value of all.
    """

    solutions: Mapping[str, Solution]
    num_steps: int
    searches: frozenset[str]
    y0: Any
    rates: np.ndarray | None = None
    tuning: Mapping[str, Tuning] | None = None
    target: float | None = None

    @property
    def ranking(self) -> tuple[str, ...]:
        """Names by their last value, lowest first; runs that did not stay finite come last."""
        return tuple(sorted(self.solutions, key=lambda name: _finite(self._last(name))))

    @property
    def best(self) -> str:
        """Name of the optimizer with the lowest last value."""
        return self.ranking[0]

    def table(self) -> str:
        """Return the result as text: the budget first, then one line for each optimizer, the lowest value first."""
        heads = (
            "optimizer",
            "last value",
            "lowest value",
            "gradient norm",
            "distance from start",
            "ended",
            "gradients",
        )
        heads += ("best rate", "good rates") if self.tuning else ()
        rows = [heads]
        for name in self.ranking:
            solution = self.solutions[name]
            values = np.asarray(solution.history.value)
            lowest = float(np.min(np.where(np.isfinite(values), values, np.inf)))
            budget = f"{self.num_steps}" + (" + line searches" if name in self.searches else "")
            numbers = (self._last(name), lowest, float(solution.residual), _distance(solution.value, self.y0))
            rows.append((name, *(f"{x:.4g}" for x in numbers), str(solution.status), budget, *self._tuned(name)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        start = float(next(iter(self.solutions.values())).history.value[0])
        title = f"{self.num_steps} steps each from the same start, where the value is {start:.4g}"
        if self.tuning:
            n, low, high = len(self.rates), self.rates[0], self.rates[-1]
            title += (
                f"\ntuned alike: each tried {n} rates from {low:.3g} to {high:.3g}, {n * self.num_steps} gradients; "
                f"good rates end at or below {self.target:.4g}"
            )
        return "\n".join([title, lines[0], "  ".join("-" * w for w in widths), *lines[1:]])

    def __str__(self) -> str:
        return self.table()

    def _tuned(self, name: str) -> tuple[str, ...]:
        if not self.tuning:
            return ()
        if name not in self.tuning:
            return "not tuned", ""
        found = self.tuning[name]
        best = f"{found.best_rate:.3g}" + (" (edge)" if found.on_edge else "")
        return best, "none" if found.band is None else f"{found.band[0]:.3g} to {found.band[1]:.3g}"

    def _last(self, name: str) -> float:
        return float(self.solutions[name].history.value[-1])


def race(
    fn: Objective,
    optimizers: Mapping[str, optax.GradientTransformation],
    y0: Params,
    args: Any = None,
    *,
    num_steps: int,
    rates: ArrayLike | None = None,
) -> Race:
    """Let several optimizers run from one start with one budget.

    Args:
        fn: Function `fn(y, args)` (or `fn(y)` while `args` is None) returning a real scalar.
        optimizers: Name -> Optax transformation, each with the learning rate it shall be judged by. With `rates`,
            name -> function of a learning rate returning one, such as `optax.adam`; a transformation among them, such
            as `optax.lbfgs()`, runs as it is.
        y0: Start shared by all.
        args: Pytree for `fn`.
        num_steps: Steps that everybody takes. A method whose steps are about as long as its learning rate cannot
            arrive when the budget times that rate is shorter than the way: look at the distance in the table.
        rates: Learning rates that everybody tries, increasing, such as `jnp.geomspace(1e-4, 1.0, 60)`; each is then
            judged by its best. That is tuning on the result: the table says what it cost and how sharp it is.

    Returns:
        Race with a solution for each optimizer, `best`, `ranking` and `table()`.

    Raises:
        ValueError: If there is nobody to race, or something in the arguments makes no sense.

    Example:
        >>> import optax
        >>> from jaxnum.optimize import landscapes, race
        >>> bowl = landscapes.booth()
        >>> result = race(bowl.fn, {"slow": optax.sgd(0.001), "fast": optax.sgd(0.1)}, bowl.y0, num_steps=50)
        >>> result.best
        'fast'
    """
    fn, y0 = check_objective(fn, y0, args)
    num_steps = as_count("num_steps", num_steps)
    if not isinstance(optimizers, Mapping) or not optimizers:
        refuse("optimizers", "be a dict from names to Optax transformations", f"is {optimizers!r:.60}")
    tuning = target = None
    if rates is not None:
        rates = as_array("rates", rates, ndim=1)
        check_increasing("rates", rates)
        optimizers, tuning, target = _tune(fn, optimizers, y0, args, rates, num_steps)
        rates = np.asarray(rates)
    for name, optimizer in optimizers.items():
        check_optimizer(f"optimizers[{name!r}]", optimizer)
    searches = frozenset(str(name) for name, optimizer in optimizers.items() if _searches(fn, optimizer, y0, args))
    solutions = {
        str(name): descend(fn, optimizer, y0, args, num_steps=num_steps) for name, optimizer in optimizers.items()
    }
    return Race(solutions, num_steps, searches, y0, rates, tuning, target)


def _tune(fn, optimizers, y0, args, rates, num_steps):
    """Run everybody at every rate; return the optimizers at their best rates, what was found, and the target."""
    makers = {name: make for name, make in optimizers.items() if callable(make)}
    if not makers:
        refuse("optimizers", "hold functions of a learning rate when `rates` are given", "holds none")
    ends = {name: np.asarray(_map(fn, make, y0, args, (rates,), num_steps)) for name, make in makers.items()}
    start, lowest = float(fn(y0, args)), min(float(values.min()) for values in ends.values())
    target, tuning, tuned = start - 0.99 * (start - lowest), {}, dict(optimizers)
    for name, values in ends.items():
        best = int(np.argmin(values))
        good = np.append(values <= target, False)
        low = best - int(np.argmin(good[: best + 1][::-1])) + 1 if not good[: best + 1].all() else 0
        high = best + int(np.argmin(good[best:])) - 1
        band = (float(rates[low]), float(rates[high])) if good[best] else None
        tuning[str(name)] = Tuning(values, float(rates[best]), band, best in (0, len(values) - 1))
        tuned[name] = makers[name](float(rates[best]))
    return tuned, tuning, target


def learning_rate_map(
    fn: Objective,
    make_optimizer: Callable[..., optax.GradientTransformation],
    y0: Params,
    *axes: ArrayLike,
    num_steps: int,
    args: Any = None,
) -> Array:
    """Return the value reached with every combination of hyperparameters, in one compiled call.

    Args:
        fn: Function `fn(y, args)` (or `fn(y)` while `args` is None) returning a real scalar.
        make_optimizer: Function of as many hyperparameters as there are `axes`, returning an Optax transformation,
            such as `lambda rate, beta: optax.sgd(rate, momentum=beta)`. It sees traced numbers. Pass the same
            function again and nothing is compiled again, whatever the values on the axes.
        y0: Start shared by all runs.
        axes: Values of each hyperparameter, one-dimensional.
        num_steps: Steps that every run takes.
        args: Pytree for `fn`.

    Returns:
        Last value of every run, with one dimension for each of `axes`; a run that did not stay finite holds infinity.

    Raises:
        ValueError: If there is no axis, an axis is not a list of finite numbers, or `fn` and `y0` make no sense.

    Example:
        >>> import optax
        >>> from jaxnum.optimize import landscapes, learning_rate_map
        >>> bowl = landscapes.quadratic((1.0, 10.0))
        >>> values = learning_rate_map(bowl.fn, optax.sgd, bowl.y0, [0.1, 0.19, 0.3], num_steps=2000)
        >>> print(values < 1e-6)
        [ True  True False]
    """
    fn, y0 = check_objective(fn, y0, args)
    num_steps = as_count("num_steps", num_steps)
    if not callable(make_optimizer):
        refuse("make_optimizer", "be a function of hyperparameters", f"is {make_optimizer!r:.60}")
    if not axes:
        refuse("axes", "hold the values of at least one hyperparameter", "there is none")
    grids = tuple(as_array(f"axes[{i}]", axis, ndim=1) for i, axis in enumerate(axes))
    return _map(fn, make_optimizer, y0, args, grids, num_steps)


@partial(jax.jit, static_argnames=("fn", "make_optimizer", "num_steps"))
def _map(fn, make_optimizer, y0, args, grids, num_steps):
    def last_value(*hyperparameters):
        optimizer = make_optimizer(*hyperparameters)
        check_optimizer("make_optimizer", optimizer)
        step = Step(fn, optimizer)
        state = (y0, optimizer.init(y0), jnp.int32(-1))
        y, _, first_bad = jax.lax.fori_loop(0, num_steps, lambda n, state: step(state, args, n), state)
        value = fn(y, args)
        # A run that overflowed and came back to a number has lost its meaning all the same.
        return jnp.where((first_bad < 0) & jnp.isfinite(value), value, jnp.full_like(value, jnp.inf))

    flat = [g.ravel() for g in jnp.meshgrid(*grids, indexing="ij")]
    return jax.vmap(last_value)(*flat).reshape(tuple(g.shape[0] for g in grids))


def _searches(fn: Any, optimizer: Any, y0: Any, args: Any) -> bool:
    """Tell whether an optimizer evaluates the function by itself within a step."""
    called = []

    def listen(y, args):
        called.append(None)
        return fn(y, args)

    state = (y0, optimizer.init(y0), jnp.int32(-1))
    jax.eval_shape(Step(listen, optimizer), state, args, jnp.int32(0))
    return len(called) > 1  # the step itself calls once, for its gradient


def _finite(x: float) -> float:
    return x if np.isfinite(x) else np.inf


def _distance(y: Any, y0: Any) -> float:
    pairs = zip(jax.tree.leaves(y), jax.tree.leaves(y0), strict=True)
    return float(np.sqrt(sum(np.sum((np.asarray(a) - np.asarray(b)) ** 2) for a, b in pairs)))
