"""Gradient descent on twenty points and a parabola ends at coefficients of thousands.

    L(c) = mean (c₀ + c₁x + c₂x² − y)²,    c ← c − η ∇L,    unstable for η > 2/λmax,  λmax of 2XᵀX/n

The gradient is right and so is the loop. The learning rate is 0.84 per cent above what the largest curvature allows,
and that curvature belongs to x².
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum.cases.story import Chapter, Picture, Story, Tell, silence
from jaxnum.diagnose.report import Table
from jaxnum.diagnose.step_sizes.response import of_family, steps_needed
from jaxnum.diagnose.step_sizes.step_size import step_size
from jaxnum.optimize import Sgd
from jaxnum.plot import canvas
from jaxnum.plot import regression as draw
from jaxnum.regression import curvature, descend, least_squares, legendre, monomials, standardize

TITLE = "My gradient descent for a parabola blows up. Where is the bug?"
LEFT = 1e-6  # a run has arrived when a millionth of the loss's excess over its minimum is left


@dataclass(frozen=True)
class Config:
    """What can be changed in this story."""

    learning_rate: float = 0.01
    """Learning rate of the script."""
    num_steps: int = 500
    """Steps of the script."""
    num_samples: int = 20
    """Samples, drawn as the script draws them."""
    degree: int = 2
    """Degree of the polynomial that is fitted."""
    seed: int = 0
    """Seed of NumPy's old generator, `np.random.seed`."""

    def __post_init__(self) -> None:
        check_positive("learning_rate", self.learning_rate)
        object.__setattr__(self, "num_steps", as_count("num_steps", self.num_steps, at_least=2))
        object.__setattr__(self, "num_samples", as_count("num_samples", self.num_samples, at_least=3))
        object.__setattr__(self, "degree", as_count("degree", self.degree))
        object.__setattr__(self, "seed", as_count("seed", self.seed, at_least=0))
        if self.degree > 5 or self.degree >= self.num_samples:
            refuse("degree", "be at most 5 and below the number of samples", f"is {self.degree}")


# The script -----------------------------------------------------------------------------------------------------------


def samples(num_samples: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the data, drawn as the script does it: a cubic with noise."""
    random = np.random.RandomState(seed)
    x = 2 - 3 * random.normal(0, 1, num_samples)
    y = x - 2 * x**2 + 0.5 * x**3 + random.normal(-3, 3, num_samples)
    return x, y


def gradient(c: np.ndarray, features: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of the mean of the squared misfits."""
    misfit = features @ c - y
    return 2 * features.T @ misfit / len(y)


def script(features: np.ndarray, y: np.ndarray, rate: float, num_steps: int) -> np.ndarray:
    """Descend from ones and return the coefficients after every step, (steps + 1, p)."""
    rows = [np.ones(features.shape[1])]
    with np.errstate(all="ignore"):
        for _ in range(num_steps):
            rows.append(rows[-1] - rate * gradient(rows[-1], features, y))
    return np.array(rows)


# The story ------------------------------------------------------------------------------------------------------------


def run(config: Config = Config(), tell: Tell = silence) -> Story:
    """Tell the story."""
    tell(0.0, "running the script")
    x, y = samples(config.num_samples, config.seed)
    features = np.asarray(monomials(x, config.degree))
    names = tuple(["1", "x", *(f"x^{k}" for k in range(2, config.degree + 1))])
    path = script(features, y, config.learning_rate, config.num_steps)
    best = np.asarray(least_squares(features, y))
    losses = _losses(features, y, path)

    tell(0.2, "measuring the curvature")
    columns = dict(zip(names, features.T, strict=True))
    found = step_size(
        lambda c: np.mean((features @ c - y) ** 2),
        np.ones(config.degree + 1),
        config.learning_rate,
        gradient=partial(gradient, features=features, y=y),
        features=columns,
        num_steps=config.num_steps,
    )
    ends = curvature(features)
    curvatures, vectors = np.linalg.eigh(2 * features.T @ features / len(x))
    longest = np.abs(features).max(axis=0)

    tell(0.6, "running the cures")
    cures = _cures(features, x, y, config.degree)
    tell(1.0, "done")
    return Story(
        name="polynomial_descent",
        title=TITLE,
        symptom=_symptom(config, x, y, path, best, losses),
        diagnosis=_diagnosis(config, names, longest, ends, curvatures, vectors, found, path),
        cure=_cure(config, x, best, cures),
        diagnoses=(found,),
        arrays={
            "x": x,
            "y": y,
            "coefficients": path,
            "losses": losses,
            "least_squares": best,
            "curvatures": curvatures,
            **{f"excess_{c['code']}": c["excess"] for c in cures},
        },
    )


def _losses(features: np.ndarray, y: np.ndarray, path: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.mean((path @ features.T - y) ** 2, axis=1)


def _symptom(config: Config, x, y, path, best, losses) -> Chapter:
    last, low = path[-1], int(np.nanargmin(losses))
    facts = {f"coefficient {k} after {config.num_steps} steps": float(v) for k, v in enumerate(last)}
    facts |= {f"coefficient {k} by least squares": float(v) for k, v in enumerate(best)}
    facts |= {
        "loss at the start": float(losses[0]),
        "lowest loss on the way": float(losses[low]),
        "step of the lowest loss": low,
        f"loss after {config.num_steps} steps": float(losses[-1]),
    }
    text = (
        f"A script fits a polynomial of degree {config.degree} to {config.num_samples} points by gradient descent on "
        f"the mean squared error, from ones, with learning rate {config.learning_rate:g}. After {config.num_steps} "
        f"steps the coefficients are ({', '.join(f'{v:.0f}' for v in last)}); by least squares they are "
        f"({', '.join(f'{v:.2f}' for v in best)}).",
        f"It does not look like a wild divergence. The loss falls from {losses[0]:.3g} to {losses[low]:.3g} within "
        f"{low} steps, as it should, and only then rises again, slowly. So there must be a bug in the gradient?",
    )
    marks = sorted({config.num_steps // 25, config.num_steps // 5, config.num_steps})
    fits = {f"the script after {n} steps": partial(_powers, path[n]) for n in marks}
    fits["least squares"] = partial(_powers, best)
    pictures = (
        Picture(
            "fit",
            "The data, the parabola they want, and those that the script passes; the last one is a vertical line here.",
            lambda: _draw_fit(fits, x, y),
        ),
        Picture(
            "loss",
            "The loss falls first, because most directions do converge, and rises when the one that does not has "
            "grown out of what was left of the start.",
            lambda: _draw_loss(losses, low),
        ),
    )
    return Chapter(text, facts, (), pictures)


def _powers(coefficients: np.ndarray, x: Any) -> np.ndarray:
    return np.polynomial.polynomial.polyval(np.asarray(x), coefficients)


def _diagnosis(config, names, longest, ends, curvatures, vectors, found, path) -> Chapter:
    rate, limit, largest = config.learning_rate, float(ends.limit), float(ends.largest)
    growth = abs(1 - rate * largest)
    shares = dict(zip(names, vectors[:, -1] ** 2, strict=True))
    top = max(shares, key=shares.get)
    late = len(path) // 2
    along = path @ vectors[:, -1]
    with np.errstate(all="ignore"):
        steps = np.abs(np.diff(along))
        measured = float((steps[-1] / steps[late]) ** (1 / (len(steps) - 1 - late)))
    facts = {
        "largest curvature λmax": largest,
        "smallest curvature": float(ends.smallest),
        "condition number": float(ends.condition),
        "critical rate 2/λmax": limit,
        "rate above the limit, per cent": 100 * (rate / limit - 1),
        "growth per step along the steepest direction, predicted": growth,
        "growth per step, measured in the run": measured,
        f"share of {top} in that direction": float(shares[top]),
    }
    if found.findings and "overflow_step" in found.findings[0].evidence:
        facts["step at which the loss would overflow, predicted"] = found.findings[0].evidence["overflow_step"]
    over = rate > limit
    text = (
        "The gradient is right: it agrees with the derivative of the loss at the start and at random points. Descent "
        "multiplies the error along each eigenvector of 2XᵀX/n by 1 − ηλ in every step. With "
        f"λmax = {largest:.5f} the limit of the rate is 2/λmax = {limit:.8f}, and {rate:g} is "
        + (f"{100 * (rate / limit - 1):.2g} % above it." if over else "below it."),
        f"So little over, the growth is slow: a factor {growth:.5f} per step, {growth**config.num_steps:.3g} over "
        f"{config.num_steps} steps. Along the other directions the error dies out, and the loss falls until the one "
        "that grows has overtaken the rest."
        if over
        else f"The slowest direction shrinks by {max(abs(1 - rate * curvatures)):.5f} per step.",
        f"The direction is {100 * shares[top]:.3g} % {top}: while |x| reaches {longest[1]:.3g}, that column reaches "
        f"{longest[names.index(top)]:.3g}, and the curvature goes with its square. That is the feature to scale.",
    )
    rates = {
        f"η = {rate:g}, the script": rate,
        f"η = {float(ends.optimal_rate):.5g}, the best": float(ends.optimal_rate),
    }
    pictures = (
        Picture(
            "growth",
            "Left: the factor by which the error along each of the curvatures is multiplied per step. Right: what the "
            "steepest direction is made of.",
            lambda: _draw_growth(curvatures, rates, shares),
        ),
    )
    return Chapter(text, facts, (), pictures)


def _cures(features: np.ndarray, x: np.ndarray, y: np.ndarray, degree: int) -> list[dict[str, Any]]:
    """Descend in four sets of coordinates from the same parabola, each at its best rate; predict and count steps."""
    scaled, _ = standardize(features)
    lowest = float(np.mean((features @ np.asarray(least_squares(features, y)) - y) ** 2))
    bases = {
        "rate": ("the same features, best rate", features),
        "standardize": ("standardized features", np.asarray(scaled)),
        "legendre": ("Legendre polynomials", np.asarray(legendre(x, degree))),
        "orthogonal": ("an orthogonal basis (QR)", np.sqrt(len(x)) * np.linalg.qr(features)[0]),
    }
    start = features @ np.ones(features.shape[1])
    found = []
    for code, (name, columns) in bases.items():
        ends = curvature(columns)
        rate = float(ends.optimal_rate)
        first = np.linalg.lstsq(columns, start, rcond=None)[0]
        curvatures, vectors = np.linalg.eigh(2 * columns.T @ columns / len(x))
        slopes = vectors.T @ gradient(first, columns, y)
        predicted = steps_needed(of_family(Sgd(), rate), curvatures, slopes**2 / (2 * curvatures), LEFT)
        length = int(min(max(2 * predicted, 20), 50_000))
        solution = descend(columns, y, learning_rate=rate, num_steps=length, start=first)
        excess = np.asarray(solution.history.value) - lowest
        arrived = np.flatnonzero(excess <= LEFT * excess[0])
        found.append(
            {
                "code": code,
                "name": name,
                "condition": float(ends.condition),
                "rate": rate,
                "predicted": predicted,
                "counted": float(arrived[0]) if len(arrived) else float("inf"),
                "excess": excess[: int(1.3 * predicted) + 10],
                "value": np.asarray(columns @ np.asarray(solution.value)),
            }
        )
    return found


def _cure(config: Config, x, best, cures) -> Chapter:
    by_code = {c["code"]: c for c in cures}
    fitted = np.asarray(monomials(x, config.degree)) @ best
    facts = {}
    for c in cures:
        facts[f"{c['name']}: steps predicted"] = c["predicted"]
        facts[f"{c['name']}: steps of the run"] = c["counted"]
        facts[f"{c['name']}: largest distance from the least-squares curve"] = float(np.abs(c["value"] - fitted).max())
    rows = tuple((c["name"], c["condition"], c["rate"], c["predicted"], c["counted"]) for c in cures)
    heads = ("descent", "condition number", "rate", "steps predicted", "steps of the run")
    table = Table("Until a millionth of the loss's excess over its minimum is left", heads, rows)
    text = (
        f"Three cures, in rising order of worth. A smaller rate: the best one is {by_code['rate']['rate']:.6g}, and "
        f"needs {by_code['rate']['predicted']:.0f} steps, because the condition number stays what it is, "
        f"{by_code['rate']['condition']:.4g}.",
        "Standardized features, each brought to mean 0 and deviation 1, bring the condition number to "
        f"{by_code['standardize']['condition']:.3g} and the steps to {by_code['standardize']['predicted']:.0f}. An "
        "orthogonal basis of the same polynomials makes every curvature equal, and descent arrives in a single step; "
        f"Legendre polynomials over the range of x, which need no look at the data, take "
        f"{by_code['legendre']['predicted']:.0f}.",
        "All numbers of steps were computed from the curvatures before the runs, and the runs then took as many. And "
        "of course a parabola needs no descent at all: `regression.least_squares` is one call.",
    )
    runs = {f"{c['name']}, {c['counted']:.0f} step{'s' * (round(c['counted']) != 1)}": c["excess"] for c in cures}
    goal = LEFT * float(cures[0]["excess"][0])
    pictures = (
        Picture(
            "cures",
            "What is left of the loss's excess over its minimum, in four sets of coordinates for the same parabola.",
            lambda: _draw_cures(runs, goal),
        ),
    )
    return Chapter(text, facts, (table,), pictures)


# Pictures -------------------------------------------------------------------------------------------------------------


def _draw_fit(fits, x, y):
    paper, ax = canvas.figure()
    draw.polynomial(fits, x, y, ax=ax)
    curves = ax.lines[1:]
    for line, strength in zip(curves[:-1], np.linspace(0.35, 1, len(curves) - 1), strict=True):
        line.set(color=canvas.RED, alpha=strength)
    curves[-1].set(color=canvas.BLUE, linewidth=2.4)
    ax.legend(loc="lower right")
    ax.set_title("The script moves away from the data")
    return paper


def _draw_loss(losses, low):
    paper, ax = canvas.figure()
    ax.semilogy(losses, color=canvas.RED, label="the script")
    ax.plot(low, losses[low], "o", color=canvas.BLACK, ms=6, label=f"lowest, at step {low}")
    ax.set(xlabel="step", ylabel="mean squared error", title="Down first, then up")
    ax.legend(loc="upper center")
    return paper


def _draw_growth(curvatures, rates, shares):
    paper, (left, right) = canvas.figure(1, 2, size=(9.2, 3.7), width_ratios=(3, 2))
    draw.growth(curvatures, rates, ax=left)
    for marker, color in zip(left.lines[1:4:2], (canvas.RED, canvas.BLUE), strict=True):
        marker.set_color(color)
    for curve, color in zip(left.lines[0:3:2], (canvas.RED, canvas.BLUE), strict=True):
        curve.set_color(color)
    top = max(1.05, max(abs(1 - rate * curvatures.max()) for rate in rates.values()))
    left.set_ylim(0.8, min(1.2, top + 0.03))
    left.legend(loc="lower left")
    left.set_title("One of the curvatures lies beyond the limit")
    draw.shares(shares, ax=right)
    right.set_title("The direction that grows")
    return paper


def _draw_cures(runs, goal):
    paper, ax = canvas.figure(size=(7.2, 4.2))
    draw.descents(runs, goal=goal, ax=ax)
    first = next(iter(runs.values()))[0]
    ax.set_ylim(1e-6 * goal, 1e5 * first)
    ax.legend(loc="upper center", ncols=2)
    ax.set_title("The same parabola, four sets of coordinates")
    return paper
