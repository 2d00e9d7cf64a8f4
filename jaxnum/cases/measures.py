"""What a sweep of a story watches: a few numbers of it as one pure function, cheap enough for ten thousand runs.

A story without an entry here can be swept as well: it is told again for every setting, and its facts are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnum.cases import momentum_network
from jaxnum.cases.polynomial_descent import samples
from jaxnum.jupiter import JUPITER, Dipole, SmoothRamp, naive_pass
from jaxnum.optimize import landscapes, minimize
from jaxnum.regression import descend, monomials
from jaxnum.schrodinger import Cayley, Direct, Grid, exact, propagate


@dataclass(frozen=True)
class Measure:
    """Numbers of a story as a function of its settings.

    Attributes:
        fn: Function from a configuration, whose swept fields are traced, to a dict of numbers by what they are.
        traced: Fields that may be traced: they are swept in one compiled call; the others one after the other.
    """

    fn: Callable[[Any], dict[str, Any]]
    traced: frozenset[str]


def _adam_rosenbrock(config: Any) -> dict[str, Any]:
    """Values that Adam and momentum reach on the bent valley."""
    valley = landscapes.rosenbrock(1.0, 2.0)
    start = jnp.stack([jnp.asarray(config.x0, float), jnp.asarray(config.y0, float)])
    rules = {
        "Adam": optax.adam(config.adam_rate),
        "momentum": optax.sgd(config.momentum_rate, momentum=config.momentum),
        "momentum at the rate of Adam": optax.sgd(config.adam_rate, momentum=config.momentum),
    }
    n = config.num_steps
    runs = {k: minimize(valley.fn, rule, start, num_steps=n, save_every=n) for k, rule in rules.items()}
    return {f"last value of {k}": run.history.value[-1] for k, run in runs.items()}


def _free_packet(config: Any) -> dict[str, Any]:
    """Distance of the resting packet from the exact one at the end, for two schemes on the grid of the story."""
    grid = Grid(-config.half_length, config.half_length, config.num_points)
    found = {}
    for name, method in {"order 2": Cayley(2, 2), "order 4": Cayley(4, 4)}.items():
        start = exact.free_packet(grid.x, 0.0, sigma=2**-0.5)
        end = propagate(start, None, grid, t1=config.t1, num_steps=config.num_steps, method=method, adjoint=Direct())
        truth = exact.free_packet(grid.x, config.t1, sigma=2**-0.5)
        density = jnp.abs(end.value - truth) ** 2
        found[f"distance from the exact packet, {name}"] = jnp.sqrt(jnp.sum(density) * grid.dx)
        found[f"drift of the norm, {name}"] = end.residual
    return found


def _polynomial_descent(config: Any) -> dict[str, Any]:
    """Loss that the descent of the story reaches."""
    x, y = (jnp.asarray(a, float) for a in samples(config.num_samples, config.seed))
    features = monomials(x, config.degree)
    # From ones, as the script does.
    run = descend(
        features,
        y,
        learning_rate=config.learning_rate,
        num_steps=config.num_steps,
        start=jnp.ones(config.degree + 1, float),
        save_every=config.num_steps,
    )
    return {"last loss": run.history.value[-1], "relative norm of the last gradient": run.residual}


def _momentum_network(config: Any) -> dict[str, Any]:
    """Loss at the end of a training that follows the script's arrows, and of one that follows the gradient."""

    def train(mistaken: bool) -> Any:
        def step(_n, state):
            w, v = state
            share = jnp.asarray(config.momentum, float)
            v = jax.tree.map(lambda v, g: share * v + (1 - share) * g, v, momentum_network._followed(w, mistaken))
            return jax.tree.map(lambda w, v: w - config.step * v, w, v), v

        start = tuple(jnp.asarray(w, float) for w in momentum_network.weights(0))
        w, _ = jax.lax.fori_loop(0, config.num_steps, step, (start, jax.tree.map(jnp.zeros_like, start)))
        return momentum_network._loss(w)

    return {"last loss, as the script": train(True), "last loss, along the gradient": train(False)}


def _noisy_iteration(config: Any) -> dict[str, Any]:
    """How much the naive loop grows a ripple in a pass, from a conductance that is constant."""
    x = jnp.linspace(5.0, 100.0, config.num_points)
    sigma, law, steps = jnp.full_like(x, 0.05), SmoothRamp(), []
    for _ in range(config.num_passes):
        change = naive_pass(sigma, x, JUPITER, Dipole(), law)[0] - sigma
        steps.append(jnp.max(jnp.abs(change)))
        sigma = sigma + config.relaxation * change
    return {"largest change in the last pass": steps[-1], "growth in the last pass": steps[-1] / steps[-2]}


MEASURES = {
    "free_packet": Measure(_free_packet, frozenset({"half_length", "t1"})),
    "adam_rosenbrock": Measure(_adam_rosenbrock, frozenset({"adam_rate", "momentum_rate", "momentum", "x0", "y0"})),
    "polynomial_descent": Measure(_polynomial_descent, frozenset({"learning_rate"})),
    "momentum_network": Measure(_momentum_network, frozenset({"step", "momentum"})),
    "noisy_iteration": Measure(_noisy_iteration, frozenset({"relaxation"})),
}
"""Measures by the name of their story."""
