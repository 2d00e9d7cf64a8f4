"""Adam loses to momentum on a bent valley: is the hand-written Adam wrong, or the comparison?

    f(x, y) = (1 − x)² + 2 (y − x²)²,    start (3, 3),    100 steps

The implementation is right. What differs is how far each rule can go with its learning rate in a hundred steps, and
where momentum stops being stable; both can be computed before the first step.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnum._checks import as_count, check_finite, check_positive
from jaxnum.cases.story import Chapter, Picture, Story, Tell, silence
from jaxnum.diagnose import Diagnosis, Finding, Table, update_rule
from jaxnum.optimize import Momentum, adam, landscapes, learning_rate_map, minimize, race, stability_limit
from jaxnum.optimize.stability import check_share
from jaxnum.plot import canvas
from jaxnum.plot import optimize as draw


@dataclass(frozen=True)
class Config:
    """What can be changed about the comparison."""

    num_steps: int = 100
    """Steps that every optimizer takes."""
    adam_rate: float = 0.02
    """Learning rate of Adam in the comparison."""
    momentum_rate: float = 0.01
    """Learning rate of momentum in the comparison; it is also tried at Adam's."""
    momentum: float = 0.9
    """Share of the memory that momentum keeps at each step."""
    x0: float = 3.0
    """Start, first coordinate."""
    y0: float = 3.0
    """Start, second coordinate."""
    map_size: int = 256
    """Points along each side of the map over learning rate and momentum."""

    def __post_init__(self) -> None:
        as_count("num_steps", self.num_steps, at_least=2)
        check_positive("adam_rate", self.adam_rate)
        check_positive("momentum_rate", self.momentum_rate)
        check_share("momentum", self.momentum)
        check_finite("x0", self.x0)
        check_finite("y0", self.y0)
        as_count("map_size", self.map_size, at_least=8)


# The script ---------------------------------------------------------------------------------------------------------


def gradient(p):
    """Gradient of (1 − x)² + 2 (y − x²)², by hand."""
    x, y = p
    return np.array([-2 * (1 - x) - 8 * x * (y - x**2), 4 * (y - x**2)])


def adam_update(grad, state, rate=0.02, b1=0.9, b2=0.999, eps=1e-8):
    """One step of Adam, by hand, in place."""
    if not state:
        state = {"m": np.zeros_like(grad), "v": np.zeros_like(grad), "t": 0}
    state["t"] += 1
    state["m"] += (1 - b1) * (grad - state["m"])
    state["v"] += (1 - b2) * (grad**2 - state["v"])
    m_hat = state["m"] / (1 - b1 ** state["t"])
    v_hat = state["v"] / (1 - b2 ** state["t"])
    return -rate * m_hat / (np.sqrt(v_hat) + eps), state


def momentum_update(grad, state, rate=0.01, beta=0.9):
    """One step of momentum, by hand."""
    velocity = grad if state is None else beta * state + grad
    return -rate * velocity, velocity


def script(update, start, num_steps, **settings):
    """Follow an update rule and return every point."""
    points, state = [np.array(start)], None
    with np.errstate(all="ignore"):
        for _ in range(num_steps):
            step, state = update(gradient(points[-1]), state, **settings)
            points.append(points[-1] + step)
    return np.array(points)


# The story ----------------------------------------------------------------------------------------------------------


def _heavy_ball(rate: Any, beta: Any) -> optax.GradientTransformation:
    return optax.sgd(rate, momentum=beta)


def run(config: Config = Config(), tell: Tell = silence) -> Story:
    """Tell the story: the comparison as it was made, what it measured, and a fair one."""
    n, rate, beta = config.num_steps, config.adam_rate, config.momentum
    valley = landscapes.rosenbrock(1.0, 2.0)
    start = np.array([config.x0, config.y0])
    goal = np.asarray(valley.minima[0])

    def value(p):
        return float((1 - p[0]) ** 2 + 2 * (p[1] - p[0] ** 2) ** 2)

    tell(0.0, "running the script")
    by_hand = script(adam_update, start, n, rate=rate)
    slow = script(momentum_update, start, n, rate=config.momentum_rate, beta=beta)
    fast = script(momentum_update, start, n, rate=rate, beta=beta)
    library = optax.adam(rate)
    first = race(
        valley.fn,
        {
            f"Adam, {rate:g}": library,
            f"momentum {beta:g}, {config.momentum_rate:g}": _heavy_ball(config.momentum_rate, beta),
            f"momentum {beta:g}, {rate:g}": _heavy_ball(rate, beta),
        },
        start,
        num_steps=n,
    )
    theirs = np.asarray(first.solutions[f"Adam, {rate:g}"].history.y)

    tell(0.3, "looking at the update rule")
    ours = minimize(valley.fn, adam(rate), start, num_steps=n)
    plain = minimize(valley.fn, adam(rate, bias_correction=False), start, num_steps=n)
    rule = update_rule(lambda g, s: adam_update(g, s, rate=rate), claims=optax.adam(rate))

    tell(0.5, "measuring what the comparison measures")
    curvature, limit = _limit(config, valley, start)
    comparison = Diagnosis("the comparison", (*_budget(config, theirs, goal), *_stability(config, curvature, limit)))
    steps = np.abs(np.diff(theirs, axis=0)) / rate
    memories = learning_rate_map(
        valley.fn, lambda b2: optax.adam(rate, b2=b2), start, np.array([0.9, 0.999]), num_steps=3 * n
    )

    tell(0.7, f"mapping {config.map_size**2} runs over learning rate and momentum")
    rates, betas = np.geomspace(3e-4, 6e-2, config.map_size), np.linspace(0, 0.99, config.map_size)
    betas[np.argmin(np.abs(betas - beta))] = beta
    reached = np.asarray(learning_rate_map(valley.fn, _heavy_ball, start, rates, betas, num_steps=n))
    adam_rates = np.geomspace(1e-3, 10, config.map_size)
    adam_reached = np.asarray(learning_rate_map(valley.fn, optax.adam, start, adam_rates, num_steps=n))
    at_beta = reached[:, np.argmin(np.abs(betas - beta))]
    blown, survivor = rates[~np.isfinite(at_beta)], rates[np.isfinite(reached[:, 0])].max()
    first_blown = blown.min() if blown.size else np.inf
    best_momentum, best_adam = rates[np.argmin(at_beta)], adam_rates[np.argmin(adam_reached)]
    fair = race(
        valley.fn,
        {
            f"Adam, {rate:g}": library,
            "Adam, 0.5": optax.adam(0.5),
            f"Adam, {best_adam:.3g}": optax.adam(best_adam),
            f"momentum {beta:g}, {best_momentum:.3g}": _heavy_ball(best_momentum, beta),
        },
        start,
        num_steps=n,
    )
    tell(1.0, "done")

    ends = {name: float(s.history.value[-1]) for name, s in fair.solutions.items()}
    symptom = Chapter(
        text=(
            f"A script compares its own Adam with momentum on a bent valley, from ({start[0]:g}, {start[1]:g}), "
            f"{n} steps each. Adam is given the learning rate {rate:g}. Momentum at the same rate turns into NaN; at "
            f"{config.momentum_rate:g} it comes close to the minimum at (1, 1), and Adam does not. "
            "Is the hand-written Adam wrong?",
            f"Adam walks straight to the floor of the valley, at about ({by_hand[-1, 0]:.2f}, {by_hand[-1, 1]:.2f}), "
            f"where the value is still {value(by_hand[-1]):.5g}, and then hardly moves. Momentum at "
            f"{config.momentum_rate:g} swings across the valley and ends at a value of {value(slow[-1]):.3g}.",
        ),
        facts={
            f"Adam at {rate:g}: last x": by_hand[-1, 0],
            f"Adam at {rate:g}: last y": by_hand[-1, 1],
            f"Adam at {rate:g}: last value": value(by_hand[-1]),
            f"momentum {beta:g} at {rate:g}: last value": value(fast[-1]),
            f"momentum {beta:g} at {config.momentum_rate:g}: last value": value(slow[-1]),
        },
        tables=(_standings("The comparison as it was made", first),),
        pictures=(
            Picture(
                "paths",
                "Adam (blue) reaches the floor of the valley and creeps; momentum (red) swings across it and arrives. "
                "The run at the larger rate leaves the picture.",
                lambda: _paths(valley, first),
            ),
            Picture(
                "values",
                "The same runs, value against steps. The cross marks the last point before the run at the larger "
                "momentum rate leaves every scale.",
                lambda: _values(first),
            ),
        ),
    )
    diagnosis = Chapter(
        text=(
            "The hand-written Adam is Adam. It takes the steps of optax.adam to rounding, in a plain NumPy loop, as an "
            "Optax transformation, and on five probe sequences that tell some forty variants apart.",
            _budget_words(config, theirs, goal, steps),
            f"The memory of v makes it worse. The slope in x is {abs(gradient(start)[0]):.0f} at the start and "
            f"{abs(gradient(theirs[-1])[0]):.1f} at the end, but v forgets within 1/(1 − β₂) = 1000 steps, so Adam "
            f"still divides by the first slopes and its steps shrink. After {3 * n} steps at the same rate the value "
            f"is {float(memories[1]):.3g} with β₂ = 0.999 and {float(memories[0]):.1e} with β₂ = 0.9.",
            "Leaving out the bias correction changes little: the first steps are 3.2 times as long, and the end is at "
            f"{float(plain.history.value[-1]):.3g} instead of {value(by_hand[-1]):.3g}, still far from the minimum.",
            f"Momentum has a limit of its own: 2(1 + β)/λmax = {limit:.4g} at the start, where the largest curvature "
            f"is {curvature:.1f}; {rate:g} {'lies above it' if rate > limit else 'is below it'}. It is local: it "
            f"speaks about small motions around one point. At β = {beta:g} the first runs blow up at "
            f"{first_blown:.3g}, because they swing out to steeper walls; without momentum they survive up to "
            f"{survivor:.2g}, because the first step leaves the steep wall for good.",
        ),
        facts={
            "hand-written Adam in NumPy against optax.adam: largest difference along the path": _gap(by_hand, theirs),
            "hand-written Adam as an Optax transformation: largest difference": _gap(ours.history.y, theirs),
            "distance from start to minimum in x": abs(start[0] - goal[0]),
            "distance from start to minimum in y": abs(start[1] - goal[1]),
            "farthest that rate times steps reaches, per coordinate": n * rate,
            "travelled in x": np.abs(np.diff(theirs[:, 0])).sum(),
            "travelled in y": np.abs(np.diff(theirs[:, 1])).sum(),
            "left to the minimum in x": abs(theirs[-1, 0] - goal[0]),
            "left to the minimum in y": abs(theirs[-1, 1] - goal[1]),
            "longest step of Adam in units of its rate": steps.max(),
            "last step of Adam in units of its rate, x": steps[-1, 0],
            "without bias correction: last value": float(plain.history.value[-1]),
            f"Adam with b2 = 0.999, value after {3 * n} steps": float(memories[1]),
            f"Adam with b2 = 0.9, value after {3 * n} steps": float(memories[0]),
            "largest curvature at the start": curvature,
            "limit of momentum at the start": limit,
            "lowest rate in the map at which momentum blows up": float(first_blown),
            "highest rate in the map that survives without momentum": float(survivor),
        },
        pictures=(
            Picture(
                "step-lengths",
                "Length of Adam's steps in units of its learning rate: never above 1, and after the first steps ever "
                "shorter, because v remembers the first gradients.",
                lambda: _lengths(steps, rate),
            ),
        ),
    )
    cure = Chapter(
        text=(
            "Give every method a rate for the budget. A rate for Adam is a length: the way divided by the steps, with "
            f"a margin for detours. At 0.5 Adam reaches {ends['Adam, 0.5']:.2g} in the same {n} steps; the best of "
            f"{config.map_size} rates, {best_adam:.3g}, reaches {adam_reached.min():.1e}. A rate for momentum is "
            f"bounded by curvature: the best at β = {beta:g}, {best_momentum:.3g}, reaches {at_beta.min():.1e}. Which "
            "of the two is ahead changes with the step at which one looks; that they both arrive does not.",
            f"And compare over rates, not at one. The map holds {config.map_size**2} runs, computed in one compiled "
            f"call; {100 * np.mean(np.isinf(reached)):.0f} % of them blew up. Good runs lie along a bright ridge, "
            "where more momentum goes with a smaller rate, and the edge of stability is fringed: near it a run's fate "
            "depends on where it happens to be thrown.",
        ),
        facts={
            "Adam at 0.5: last value": ends["Adam, 0.5"],
            "best of the rates tried for Adam": best_adam,
            "Adam at that rate: last value": float(adam_reached.min()),
            f"best of the rates tried for momentum {beta:g}": best_momentum,
            "momentum at that rate: last value": float(at_beta.min()),
            "runs in the map": config.map_size**2,
            "share of the map that blew up": float(np.mean(np.isinf(reached))),
        },
        tables=(_standings("The same budget, with rates that fit it", fair),),
        pictures=(
            Picture(
                "fair-values",
                "With rates that fit the budget both methods arrive.",
                lambda: _values(fair),
            ),
            Picture(
                "map",
                f"Value reached after {n} steps for {config.map_size**2} pairs of learning rate and momentum; white "
                "runs blew up. The line is the limit predicted from the curvature at the start.",
                lambda: _map(reached, rates, betas, curvature),
            ),
        ),
    )
    arrays = {
        "adam": theirs,
        "adam_by_hand": by_hand,
        "momentum": slow,
        "momentum_fast": fast,
        "rates": rates,
        "momenta": betas,
        "map": reached,
        "adam_rates": adam_rates,
        "adam_values": adam_reached,
    }
    title = "My Adam loses to momentum: is it wrong?"
    return Story("adam_rosenbrock", title, symptom, diagnosis, cure, (rule, comparison), arrays)


# Numbers ------------------------------------------------------------------------------------------------------------


def _gap(a: Any, b: Any) -> float:
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))


def _limit(config: Config, valley: Any, start: np.ndarray) -> tuple[float, float]:
    """Largest curvature at the start, and the limit of momentum there."""
    curvature = float(np.linalg.eigvalsh(np.asarray(jax.hessian(valley.fn)(jnp.asarray(start))))[-1])
    return curvature, float(stability_limit(Momentum(config.momentum), curvature))


def _budget(config: Config, path: np.ndarray, goal: np.ndarray) -> list[Finding]:
    """Whether the way was longer than the steps could carry."""
    reach, way = config.num_steps * config.adam_rate, np.abs(path[0] - goal)
    left = np.abs(path[-1] - goal)
    if left.max() < 0.1 * way.max():
        return []
    return [
        Finding(
            "budget-too-small",
            f"A step of Adam is about as long as its learning rate, so {config.num_steps} steps of "
            f"{config.adam_rate:g} travel {reach:.3g} per coordinate at most; the minimum is {way[0]:.3g} and "
            f"{way[1]:.3g} away from the start, and {left[0]:.3g} and {left[1]:.3g} were left at the end. The "
            "comparison measures this budget, not the algorithm.",
            {"reach": reach, "distance": way, "left": left},
            f"Take a rate well above {way.max():.3g}/{config.num_steps} = {way.max() / config.num_steps:.2g}, or more "
            "steps.",
        )
    ]


def _stability(config: Config, curvature: float, limit: float) -> list[Finding]:
    """Whether momentum at the rate of Adam is above its limit."""
    if config.adam_rate <= limit:
        return []
    return [
        Finding(
            "rate-above-limit",
            f"Momentum {config.momentum:g} is stable at the start for rates below 2(1 + β)/λmax = {limit:.4g}, with "
            f"λmax = {curvature:.2f}; the rate {config.adam_rate:g} is above it.",
            {"limit": limit, "curvature": curvature},
            "Stay below, with a margin: the path may meet larger curvatures.",
        )
    ]


# Words and pictures -------------------------------------------------------------------------------------------------


def _budget_words(config: Config, path: np.ndarray, goal: np.ndarray, steps: np.ndarray) -> str:
    n, rate = config.num_steps, config.adam_rate
    way, gone, left = np.abs(path[0] - goal), np.abs(np.diff(path, axis=0)).sum(axis=0), np.abs(path[-1] - goal)
    return (
        f"The comparison measures a budget. A step of Adam is about as long as its learning rate (the longest here "
        f"is {steps.max():.3f} of it), so {n} steps of {rate:g} travel at most {n * rate:g} per coordinate. The "
        f"minimum is {way[0]:g} and {way[1]:g} away, and the way to it is not straight: Adam first goes down to the "
        f"floor of the valley, {gone[0]:.2f} in x and {gone[1]:.2f} in y, and away from the minimum in y. From there "
        f"{left[0]:.2f} and {left[1]:.2f} are left."
    )


def _standings(title: str, result: Any) -> Table:
    rows = []
    for name in result.ranking:
        solution = result.solutions[name]
        x, y = np.asarray(solution.value)
        rows.append((name, float(solution.history.value[-1]), float(x), float(y), str(solution.status)))
    heads = ("optimizer, learning rate", "last value", "x", "y", "ended")
    return Table(f"{title}: {result.num_steps} steps each", heads, tuple(rows))


def _paths(valley: Any, result: Any) -> Any:
    paper, ax = canvas.figure(size=(6.8, 4.8))
    draw.paths(valley, result, ax=ax)
    ax.set_title("Adam creeps on the floor of the valley, momentum swings")
    return paper


def _values(result: Any) -> Any:
    paper, ax = canvas.figure()
    draw.race(result, ax=ax)
    return paper


def _lengths(steps: np.ndarray, rate: float) -> Any:
    paper, ax = canvas.figure()
    ax.plot(np.arange(1, len(steps) + 1), steps, label=["x", "y"])
    ax.set(xlabel="step", ylabel="length of the step / learning rate", ylim=(0, 1.08))
    ax.axhline(1.0, color="0.5", linestyle=":", linewidth=1)
    ax.set_title(f"Adam at {rate:g}: a step is at most as long as the rate")
    ax.legend(title="coordinate")
    return paper


def _map(reached: np.ndarray, rates: np.ndarray, betas: np.ndarray, curvature: float) -> Any:
    paper, ax = canvas.figure(size=(6.8, 4.6))
    draw.learning_rate_map(reached, (rates, betas), ax=ax)
    edge = 2 * (1 + betas) / curvature
    ax.plot(edge, betas, color=canvas.RED, label="limit at the start, 2(1 + β)/λmax")
    ax.set_title(f"Value reached by {reached.size} runs; white runs blew up")
    ax.legend(loc="lower left", frameon=True)
    return paper
