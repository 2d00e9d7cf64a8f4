"""Classics: the landscapes that people draw, and a few that isolate one difficulty.

Most are from global optimization, where the difficulty is the number of minima: "a minimum" and "the minimum" are
different claims there, and ending in `local_minima[1]` is a correct answer of a local method. Two are not still: in the
noisy bowl and in Reddi's counterexample every step sees another function, drawn by `sample`.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_finite, check_positive, refuse
from jaxnum.optimize.landscape import Landscape, landscape, sum_of_squares
from jaxnum.optimize.more_garbow_hillstrom import MGH


@dataclass(frozen=True)
class _Rosenbrock:
    a: Any
    b: Any

    def __call__(self, y: Array) -> Array:
        wall = jnp.sqrt(jnp.asarray(self.b, y.dtype))
        return jnp.concatenate([wall * (y[1:] - y[:-1] ** 2), self.a - y[:-1]])


def rosenbrock(a: float = 1.0, b: float = 100.0, num_dimensions: int = 2) -> Landscape:
    """Return the bent valley Σ (a − xᵢ)² + b (xᵢ₊₁ − xᵢ²)²: easy to find, slow to follow.

    Args:
        a: Where along the valley the minimum lies; 1 in more than two dimensions.
        b: Steepness of the walls, positive; the condition number at the minimum grows with it, 2508 at 100.
        num_dimensions: Number of coordinates, each coupled to the next. From 4 to 30 there is one more minimum, near
            (−1, 1, ..., 1).

    Example:
        >>> from jaxnum.optimize import landscapes
        >>> valley = landscapes.rosenbrock()
        >>> print(valley, round(float(valley.fn(valley.y0)), 12))
        Landscape(rosenbrock, 2 dimensions, 1 minimum of value 0) 24.2
    """
    check_finite("a", a)
    check_positive("b", b)
    n = as_count("num_dimensions", num_dimensions, at_least=2)
    if n > 2 and a != 1:
        refuse("a", "be 1 in more than two dimensions, where the minimum is known", f"is {a}")
    reference = "Rosenbrock (1960), doi 10.1093/comjnl/3.3.175; " + MGH.format(1)
    if n > 2:
        reference += "; Shang & Qiu (2006), doi 10.1162/evco.2006.14.1.119, for its second minimum"
    start = [(-1.2, 1.0)[i % 2] for i in range(n)]
    local = [_second_valley(n)] if 4 <= n <= 30 and b == 100 else []
    best, bounds = [(a, a**2)] if n == 2 else [(1,) * n], ((-2, 2), (-1, 3)) if n == 2 else None
    return sum_of_squares(_Rosenbrock(a, b), start, best, 0.0, reference, name="rosenbrock", local=local, bounds=bounds)


def _second_valley(n: int) -> np.ndarray:
    """Find the other minimum of Rosenbrock's valley in n dimensions by Newton's method, on the host."""
    y = np.ones(n)
    y[0] = -1
    for _ in range(50):
        bend = y[1:] - y[:-1] ** 2
        slope = np.zeros(n)
        slope[:-1] += 2 * (y[:-1] - 1) - 400 * y[:-1] * bend
        slope[1:] += 200 * bend
        diagonal = np.zeros(n)
        diagonal[:-1] += 2 - 400 * bend + 800 * y[:-1] ** 2
        diagonal[1:] += 200
        side = -400 * y[:-1]
        step = np.linalg.solve(np.diag(diagonal) + np.diag(side, 1) + np.diag(side, -1), slope)
        y = y - step
        if np.max(np.abs(step)) < 1e-16:
            break
    return y


@dataclass(frozen=True)
class _Quadratic:
    curvatures: tuple[float, ...]

    def __call__(self, y: Array) -> Array:
        return jnp.sum(jnp.asarray(self.curvatures, y.dtype) * y**2) / 2


def quadratic(curvatures: Any = (1.0, 10.0)) -> Landscape:
    """Return the bowl Σ λᵢ yᵢ²/2, on which every stability limit is exact.

    Args:
        curvatures: Eigenvalues λᵢ of the Hessian, positive.
    """
    curvatures = _curvatures(curvatures)
    n = len(curvatures)
    bounds = ((-1.5, 1.5), (-1.5, 1.5)) if n == 2 else None
    return landscape(_Quadratic(curvatures), (1,) * n, [(0,) * n], 0.0, "exact", name="quadratic", bounds=bounds)


@dataclass(frozen=True)
class _Ravine:
    condition: float

    def __call__(self, y: Array) -> Array:
        along, across = (4 * y[0] + 3 * y[1]) / 5, (4 * y[1] - 3 * y[0]) / 5
        return (along**2 + self.condition * across**2) / 2


def ravine(condition: float = 100.0) -> Landscape:
    """Return a long bowl that lies across the axes, so that no rescaling of coordinates makes it round.

    Args:
        condition: Ratio of its two curvatures, 1 or more.
    """
    check_positive("condition", condition)
    if condition < 1:
        refuse("condition", "be at least 1", f"is {condition:g}")
    bounds = ((-2, 2), (-2, 2))
    return landscape(_Ravine(float(condition)), (1.5, 1), [(0, 0)], 0.0, "exact", name="ravine", bounds=bounds)


def _saddle(y):
    return y[0] ** 2 / 2 - y[1] ** 2 / 2 + y[1] ** 4 / 4


def saddle() -> Landscape:
    """Return a saddle at the origin between two minima; the start is 1e-3 off the ridge that leads into it."""
    bounds = ((-1.5, 1.5), (-1.7, 1.7))
    return landscape(_saddle, (1, 1e-3), [(0, 1), (0, -1)], -0.25, "exact", saddles=[(0, 0)], bounds=bounds)


@dataclass(frozen=True)
class _NoisyQuadratic:
    curvatures: tuple[float, ...]

    def __call__(self, y: Array, args: Any = None) -> Array:
        shifted = y if args is None else y - args["shift"].astype(y.dtype)
        return jnp.sum(jnp.asarray(self.curvatures, y.dtype) * shifted**2) / 2


@dataclass(frozen=True)
class _Shifts:
    noise: float

    def __call__(self, args: Any, n: Any) -> Any:
        shift = args["shift"]
        drawn = jax.random.normal(jax.random.fold_in(args["key"], n), shift.shape, shift.dtype)
        return {"shift": shift + self.noise * drawn, "key": args["key"]}


def noisy_quadratic(curvatures: Any = (1.0, 10.0), noise: float = 0.1, *, key: Array | None = None) -> Landscape:
    """Return a bowl whose center jumps at every step by normal noise; `fn` itself is the bowl at rest.

    Gradient descent at rate η ends in a cloud of variance noise² ηλ/(2 − ηλ) along curvature λ, however long it runs.
    Minimize it with `minimize(bowl.fn, optimizer, bowl.y0, bowl.args, sample=bowl.sample, num_steps=1000)`.

    Args:
        curvatures: Eigenvalues λᵢ of the Hessian, positive.
        noise: Standard deviation of the center.
        key: Random key that decides the noise; `jax.random.key(0)` by default.
    """
    curvatures = _curvatures(curvatures)
    check_positive("noise", noise)
    n, key = len(curvatures), jax.random.key(0) if key is None else key
    return landscape(
        _NoisyQuadratic(curvatures),
        (1,) * n,
        [(0,) * n],
        0.0,
        "Schaul, Antonoglou & Silver (2013), https://arxiv.org/abs/1312.6055",
        name="noisy_quadratic",
        bounds=((-1.5, 1.5), (-1.5, 1.5)) if n == 2 else None,
        args={"shift": jnp.zeros(n), "key": key},
        sample=_Shifts(float(noise)),
    )


def _line(y: Array, args: Any = None) -> Array:
    slope = 10 / 101 if args is None else args["slope"].astype(y.dtype)
    return slope * y[0]


def _now_and_then(args: Any, n: Any) -> Any:
    return {"slope": jnp.where(n % 101 == 0, 1010.0, -10.0).astype(args["slope"].dtype)}


def reddi() -> Landscape:
    """Return Reddi's counterexample: slopes of 1010 at one step in 101 and of −10 at the others, on [−1, 1].

    The mean slope is 10/101, so −1 is best; Adam, which forgets the one large slope, ends at +1. Keep the run inside
    by `optax.chain(optimizer, keep_within(-1.0, 1.0))`.

    Reference:
        Reddi, Kale & Kumar (2018), https://arxiv.org/abs/1904.09237
    """
    reference = "Reddi, Kale & Kumar (2018), https://arxiv.org/abs/1904.09237"
    args = {"slope": jnp.asarray(10 / 101)}
    more = {"args": args, "sample": _now_and_then, "within": (-1.0, 1.0)}
    return landscape(_line, (0,), [(-1,)], -10 / 101, reference, name="reddi", **more)


def _booth(y):
    return jnp.stack([y[0] + 2 * y[1] - 7, 2 * y[0] + y[1] - 5])


def booth() -> Landscape:
    """Return a tilted bowl with curvatures 2 and 18."""
    return sum_of_squares(_booth, (-5, -5), [(1, 3)], 0.0, "Booth (1949)", bounds=((-6, 6), (-6, 8)))


def _matyas(y):
    return 0.26 * (y[0] ** 2 + y[1] ** 2) - 0.48 * y[0] * y[1]


def matyas() -> Landscape:
    """Return a flat tilted bowl with curvatures 0.04 and 1."""
    reference = "Matyas (1965), Automation and Remote Control 26, 244"
    return landscape(_matyas, (8, -4), [(0, 0)], 0.0, reference, bounds=((-10, 10), (-10, 10)))


def _himmelblau(y):
    return jnp.stack([y[0] ** 2 + y[1] - 11, y[0] + y[1] ** 2 - 7])


def himmelblau() -> Landscape:
    """Return four equal minima around a hill, and the four saddles between them."""
    minima = [
        (3, 2),
        (-2.805118086952745, 3.131312518250573),
        (-3.779310253377747, -3.283185991286169),
        (3.5844283403304917, -1.8481265269644034),
    ]
    saddles = [
        (-3.0730257507643897, -0.08135304428796751),
        (0.08667750455539634, 2.884254701174776),
        (3.385154183607021, 0.07385187983774928),
        (-0.12796134673068005, -1.9537149802445766),
    ]
    reference = "Himmelblau, Applied Nonlinear Programming (1972)"
    bounds = ((-6, 6), (-6, 6))
    return sum_of_squares(_himmelblau, (0, 0), minima, 0.0, reference, saddles=saddles, bounds=bounds)


def _branin(y):
    bend = y[1] - 5.1 / (4 * math.pi**2) * y[0] ** 2 + 5 / math.pi * y[0] - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * jnp.cos(y[0]) + 10


def branin() -> Landscape:
    """Return a bent valley with three equal minima, where the cosine is −1 and the bend vanishes."""
    minima = [(-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475)]
    reference = "Branin (1972), doi 10.1147/rd.165.0504"
    return landscape(_branin, (0, 10), minima, 10 / (8 * math.pi), reference, bounds=((-5, 11), (-1, 15)))


def _goldstein_price(y):
    a, b = y
    first = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2)
    second = 30 + (2 * a - 3 * b) ** 2 * (18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2)
    return first * second


def goldstein_price() -> Landscape:
    """Return a polynomial of degree eight whose values span five decades, with three higher minima."""
    local = [(-0.6, -0.4), (1.8, 0.2), (1.2, 0.8)]  # values 30, 84, 840
    reference = "Goldstein & Price (1971), doi 10.1090/S0025-5718-1971-0312365-X"
    bounds = ((-2, 2), (-2, 2))
    return landscape(_goldstein_price, (-0.5, 0.5), [(0, -1)], 3.0, reference, local=local, bounds=bounds)


def _three_hump_camel(y):
    x, z = y
    return 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * z + z**2


def three_hump_camel() -> Landscape:
    """Return three minima in a row, the lowest in the middle."""
    # On the ridge line z = −x/2 the slope is x (x⁴ − 4.2 x² + 3.5).
    outer, inner = (math.sqrt(2.1 + sign * math.sqrt(0.91)) for sign in (1, -1))
    local, saddles = ([(x, -x / 2), (-x, x / 2)] for x in (outer, inner))  # value 0.298638
    bounds = ((-2.5, 2.5), (-2.5, 2.5))
    reference = "Dixon & Szegö, Towards Global Optimisation 2 (1978)"
    return landscape(
        _three_hump_camel, (-2, 1.5), [(0, 0)], 0.0, reference, local=local, saddles=saddles, bounds=bounds
    )


def _six_hump_camel(y):
    x, z = y
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * z + (-4 + 4 * z**2) * z**2


def six_hump_camel() -> Landscape:
    """Return six minima in three pairs, of which one pair is the lowest."""
    best, second, third = (
        (0.08984201310031806, -0.7126564030207396),
        (1.7036067149699807, -0.7960835686726251),
        (1.6071047529201974, 0.5686514548841314),
    )

    def pair(point):
        return [point, (-point[0], -point[1])]

    reference = "Dixon & Szegö, Towards Global Optimisation 2 (1978)"
    local = pair(second) + pair(third)  # values −0.2155 and 2.104
    bounds = ((-2.2, 2.2), (-1.2, 1.2))
    return landscape(_six_hump_camel, (-1, 1), pair(best), -1.0316284534898774, reference, local=local, bounds=bounds)


def _rastrigin(y):
    return jnp.sum(y**2 + 10 * (1 - jnp.cos(2 * math.pi * y)))


def rastrigin(num_dimensions: int = 2) -> Landscape:
    """Return a bowl under an egg box: a minimum near every point with integer coordinates, the lowest at 0.

    Args:
        num_dimensions: Number of coordinates. Of the higher minima those with coordinates within ±5.12 are listed in
            one and two dimensions; in n there are 11ⁿ − 1 of them.
    """
    n = as_count("num_dimensions", num_dimensions)
    bounds = ((-5.12, 5.12), (-5.12, 5.12)) if n == 2 else None
    x = np.arange(-5.0, 6.0)
    for _ in range(20):  # Newton on 2x + 20π sin 2πx
        x = x - (2 * x + 20 * np.pi * np.sin(2 * np.pi * x)) / (2 + 40 * np.pi**2 * np.cos(2 * np.pi * x))
    local = [p for p in itertools.product(x, repeat=n) if any(p)] if n <= 2 else []
    return landscape(_rastrigin, (2.2,) * n, [(0,) * n], 0.0, "Rastrigin (1974)", local=local, bounds=bounds)


def _ackley(y):
    square = jnp.mean(y**2)
    # A cone has no slope at its tip; zero is what a minimum asks for.
    tip = square == 0
    radius = jnp.where(tip, jnp.zeros_like(square), jnp.sqrt(jnp.where(tip, jnp.ones_like(square), square)))
    waves = jnp.mean(jnp.cos(2 * math.pi * y))
    return 20 * (1 - jnp.exp(-radius / 5)) + math.e - jnp.exp(waves)


def ackley(num_dimensions: int = 2) -> Landscape:
    """Return a plain of small waves around a funnel; the lowest point is the tip of a cone, where no slope exists.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    bounds = ((-5, 5), (-5, 5)) if n == 2 else None
    reference = "Ackley (1987), doi 10.1007/978-1-4613-1997-9"
    return landscape(_ackley, (3.5,) * n, [(0,) * n], 0.0, reference, bounds=bounds)


def _styblinski_tang(y):
    return jnp.sum(y**4 - 16 * y**2 + 5 * y) / 2


def styblinski_tang(num_dimensions: int = 2) -> Landscape:
    """Return a double well along every coordinate: 2ⁿ minima, one of them the lowest.

    Args:
        num_dimensions: Number of coordinates. All minima are listed up to six dimensions, two kinds beyond.
    """
    n = as_count("num_dimensions", num_dimensions)
    deep, shallow = -2.903534027771177, 2.746802770990837
    local = [(shallow,) * n] if n > 6 else list(itertools.product((deep, shallow), repeat=n))[1:]
    bounds = ((-5, 5), (-5, 5)) if n == 2 else None
    reference = "Styblinski & Tang (1990), doi 10.1016/0893-6080(90)90029-K"
    lowest = n * -39.16616570377142
    return landscape(_styblinski_tang, (1.0,) * n, [(deep,) * n], lowest, reference, local=local, bounds=bounds)


def _eggholder(y):
    a, b = y[0], y[1] + 47
    first, second = jnp.sqrt(jnp.abs(b + a / 2)), jnp.sqrt(jnp.abs(a - b))
    return -b * jnp.sin(first) - a * jnp.sin(second)


def eggholder() -> Landscape:
    """Return waves that grow outwards, on the square [−512, 512]².

    The lowest value there lies on its edge, where the slope does not vanish: beyond the edge it is lower still. Keep a
    run inside by `optax.chain(optimizer, keep_within(-512.0, 512.0))`.
    """
    bounds = ((-512, 512), (-512, 512))
    local = [(482.3533104647884, 432.87899894548343), (439.4809972694535, 453.9774347540026)]
    reference = "Whitley, Rana, Dzubera & Mathias (1996), doi 10.1016/0004-3702(95)00124-7"
    best = (512, 404.2318051137578)
    more = {"local": local, "bounds": bounds, "within": (-512.0, 512.0)}
    return landscape(_eggholder, (200, 100), [best], -959.6406627208507, reference, **more)


def _easom(y):
    return -jnp.cos(y[0]) * jnp.cos(y[1]) * jnp.exp(-((y[0] - math.pi) ** 2) - (y[1] - math.pi) ** 2)


def easom() -> Landscape:
    """Return a plain with one hole: five units away from it the slope is 1e-10, and no local method finds it."""
    bounds = ((-2, 8), (-2, 8))
    reference = "Easom (1990), A Survey of Global Optimization Techniques, University of Louisville"
    return landscape(_easom, (2, 2), [(math.pi, math.pi)], -1.0, reference, bounds=bounds)


def _curvatures(curvatures: Any) -> tuple[float, ...]:
    values = as_array("curvatures", list(curvatures) if isinstance(curvatures, tuple) else curvatures, ndim=1)
    curvatures = tuple(float(c) for c in values)
    for i, c in enumerate(curvatures):
        check_positive(f"curvatures[{i}]", c)
    return curvatures
