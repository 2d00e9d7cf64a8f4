"""Landscapes: functions whose minima are known, to try minimizers on.

Two families. Sums of squares f = Σ rᵢ², with the starting points of Moré, Garbow & Hillstrom, whose difficulty is
curvature: bent valleys, scales from 1e-5 to 1e6, a singular Hessian, saddles. And classics of global optimization,
whose difficulty is the number of their minima: there "a minimum" and "the minimum" are different claims, so every
minimum that is known here is listed, and ending in `local_minima[1]` is a correct answer of a local method.

References:
    Moré, Garbow & Hillstrom (1981), https://doi.org/10.1145/355934.355936
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnum._checks import as_array, as_count, check_finite, check_positive


@dataclass(frozen=True, eq=False, repr=False)
class Landscape:
    """A function with its usual start and everything known about its minima.

    Attributes:
        name: Name, in snake case.
        fn: Function `fn(y, args=None)` of a point of shape (n,).
        y0: Usual starting point, shape (n,).
        minima: Points where the lowest value is taken, shape (count, n).
        minimum: Lowest value.
        reference: Where it comes from.
        local_minima: Further minima, with higher values, shape (count, n); those that are known.
        bounds: Lowest and highest coordinate worth drawing on each of two axes; None beyond two dimensions.
    """

    name: str
    fn: Callable[..., Array]
    y0: Float[Array, " n"]
    minima: Float[Array, "count n"]
    minimum: float
    reference: str
    local_minima: Float[Array, "others n"]
    bounds: tuple[tuple[float, float], tuple[float, float]] | None = None

    def __repr__(self) -> str:
        minima = f"{len(self.minima)} minim{'um' if len(self.minima) == 1 else 'a'}"
        return f"Landscape({self.name}, {len(self.y0)} dimensions, {minima} of value {self.minimum:g})"


@dataclass(frozen=True)
class _Ignoring:
    """A formula of the point alone as `fn(y, args)`; equal formulas are equal functions, and share one compilation."""

    formula: Callable[[Array], Array]

    def __call__(self, y: Array, args: Any = None) -> Array:
        del args
        return self.formula(y)


_MGH = "Moré, Garbow & Hillstrom (1981), doi 10.1145/355934.355936, problem {}"


def _landscape(formula, start, minima, minimum, reference, *, name=None, local=(), bounds=None) -> Landscape:
    name = name or formula.__name__.lstrip("_")
    points = jnp.array(minima, float)
    others = jnp.array(local, float).reshape(-1, points.shape[1])
    return Landscape(name, _Ignoring(formula), jnp.array(start, float), points, minimum, reference, others, bounds)


@dataclass(frozen=True)
class _Rosenbrock:
    a: Any
    b: Any

    def __call__(self, y: Array) -> Array:
        return (self.a - y[0]) ** 2 + self.b * (y[1] - y[0] ** 2) ** 2


def rosenbrock(a: float = 1.0, b: float = 100.0) -> Landscape:
    """Return the bent valley (a − x)² + b (y − x²)²: easy to find, slow to follow.

    Args:
        a: Where along the valley the minimum lies.
        b: Steepness of the walls, positive; the condition number at the minimum grows with it, 2508 at 100.

    Example:
        >>> from jaxnum.optimize import landscapes
        >>> valley = landscapes.rosenbrock()
        >>> print(valley, round(float(valley.fn(valley.y0)), 12))
        Landscape(rosenbrock, 2 dimensions, 1 minimum of value 0) 24.2
    """
    check_finite("a", a)
    check_positive("b", b)
    reference = "Rosenbrock (1960), doi 10.1093/comjnl/3.3.175; " + _MGH.format(1)
    return _landscape(
        _Rosenbrock(a, b), (-1.2, 1), [(a, a**2)], 0.0, reference, name="rosenbrock", bounds=((-2, 2), (-1, 3))
    )


def _freudenstein_roth(y):
    u, v = y
    return (-13 + u + ((5 - v) * v - 2) * v) ** 2 + (-29 + u + ((v + 1) * v - 14) * v) ** 2


def freudenstein_roth() -> Landscape:
    """Return a cubic valley where most methods end in the higher of two minima."""
    root = math.sqrt(22)
    other = ((53 - 4 * root) / 3, (2 - root) / 3)  # value 48.98425
    bounds = ((-5, 16), (-3, 5))
    return _landscape(_freudenstein_roth, (0.5, -2), [(5, 4)], 0.0, _MGH.format(2), local=[other], bounds=bounds)


def _powell_badly_scaled(y):
    return (1e4 * y[0] * y[1] - 1) ** 2 + (jnp.exp(-y[0]) + jnp.exp(-y[1]) - 1.0001) ** 2


def powell_badly_scaled() -> Landscape:
    """Return a problem whose two coordinates at the minimum differ by six decades."""
    return _landscape(_powell_badly_scaled, (0, 1), [(1.098159329699848e-05, 9.10614673986627)], 0.0, _MGH.format(3))


def _brown_badly_scaled(y):
    return (y[0] - 1e6) ** 2 + (y[1] - 2e-6) ** 2 + (y[0] * y[1] - 2) ** 2


def brown_badly_scaled() -> Landscape:
    """Return a problem whose minimum is a million away on one axis and 2e-6 on the other."""
    return _landscape(_brown_badly_scaled, (1, 1), [(1e6, 2e-6)], 0.0, _MGH.format(4))


def _beale(y):
    x, z = y
    return (1.5 - x * (1 - z)) ** 2 + (2.25 - x * (1 - z**2)) ** 2 + (2.625 - x * (1 - z**3)) ** 2


def beale() -> Landscape:
    """Return a plain with a valley; the value is constant along y = 1, where the usual start lies."""
    return _landscape(_beale, (1, 1), [(3, 0.5)], 0.0, _MGH.format(5), bounds=((-1, 4.5), (-1.5, 1.5)))


def _jennrich_sampson(y):
    i = jnp.arange(1, 11, dtype=y.dtype)
    return jnp.sum((2 + 2 * i - (jnp.exp(i * y[0]) + jnp.exp(i * y[1]))) ** 2)


def jennrich_sampson() -> Landscape:
    """Return a least-squares problem with a large remaining sum of squares; it overflows half a unit away."""
    point = (0.2578252136703641, 0.2578252136703641)
    return _landscape(_jennrich_sampson, (0.3, 0.4), [point], 124.3621823556148, _MGH.format(6))


def _helical_valley(y):
    # The cut of this arctangent lies on the negative second axis and not through the start. It equals the published
    # piecewise definition to either side of the cut.
    angle = 0.25 + jnp.arctan2(-y[0], y[1]) / (2 * math.pi)
    return 100 * ((y[2] - 10 * angle) ** 2 + (jnp.sqrt(y[0] ** 2 + y[1] ** 2) - 1) ** 2) + y[2] ** 2


def helical_valley() -> Landscape:
    """Return a valley that winds around an axis."""
    return _landscape(_helical_valley, (-1, 0, 0), [(1, 0, 0)], 0.0, _MGH.format(7))


def _box_three_dimensional(y):
    t = jnp.arange(1, 11, dtype=y.dtype) / 10
    return jnp.sum((jnp.exp(-t * y[0]) - jnp.exp(-t * y[1]) - y[2] * (jnp.exp(-t) - jnp.exp(-10 * t))) ** 2)


def box_three_dimensional() -> Landscape:
    """Return a sum of exponentials; besides its two isolated minima the value is zero on the line x = y, z = 0."""
    return _landscape(_box_three_dimensional, (0, 10, 20), [(1, 10, 1), (10, 1, -1)], 0.0, _MGH.format(12))


def _powell_singular(y):
    a, b, c, d = y
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


def powell_singular() -> Landscape:
    """Return a problem whose Hessian at the minimum is singular: eigenvalues 0, 0, 20, 202, so no method is fast."""
    return _landscape(_powell_singular, (3, -1, 0, 1), [(0, 0, 0, 0)], 0.0, _MGH.format(13))


def _wood(y):
    a, b, c, d = y
    valleys = 100 * (b - a**2) ** 2 + (1 - a) ** 2 + 90 * (d - c**2) ** 2 + (1 - c) ** 2
    return valleys + 10 * (b + d - 2) ** 2 + (b - d) ** 2 / 10


def wood() -> Landscape:
    """Return two coupled bent valleys; first-order methods stall near the saddle at about (−0.97, 0.95, −0.97, 0.95).

    The value there is 7.877, and one eigenvalue of the Hessian is −0.12.
    """
    return _landscape(_wood, (-3, -1, -3, -1), [(1, 1, 1, 1)], 0.0, _MGH.format(14))


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
    values = as_array("curvatures", list(curvatures) if isinstance(curvatures, tuple) else curvatures, ndim=1)
    curvatures = tuple(float(c) for c in values)
    for i, c in enumerate(curvatures):
        check_positive(f"curvatures[{i}]", c)
    n = len(curvatures)
    bounds = ((-1.5, 1.5), (-1.5, 1.5)) if n == 2 else None
    return _landscape(_Quadratic(curvatures), (1,) * n, [(0,) * n], 0.0, "exact", name="quadratic", bounds=bounds)


def _booth(y):
    return (y[0] + 2 * y[1] - 7) ** 2 + (2 * y[0] + y[1] - 5) ** 2


def booth() -> Landscape:
    """Return a tilted bowl with curvatures 2 and 18."""
    return _landscape(_booth, (-5, -5), [(1, 3)], 0.0, "Booth (1949)", bounds=((-6, 6), (-6, 8)))


def _himmelblau(y):
    return (y[0] ** 2 + y[1] - 11) ** 2 + (y[0] + y[1] ** 2 - 7) ** 2


def himmelblau() -> Landscape:
    """Return four equal minima around a hill."""
    minima = [
        (3, 2),
        (-2.805118086952745, 3.131312518250573),
        (-3.779310253377747, -3.283185991286169),
        (3.5844283403304917, -1.8481265269644034),
    ]
    reference = "Himmelblau, Applied Nonlinear Programming (1972)"
    return _landscape(_himmelblau, (0, 0), minima, 0.0, reference, bounds=((-6, 6), (-6, 6)))


def _branin(y):
    bend = y[1] - 5.1 / (4 * math.pi**2) * y[0] ** 2 + 5 / math.pi * y[0] - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * jnp.cos(y[0]) + 10


def branin() -> Landscape:
    """Return a bent valley with three equal minima, where the cosine is −1 and the bend vanishes."""
    minima = [(-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475)]
    reference = "Branin (1972), doi 10.1147/rd.165.0504"
    return _landscape(_branin, (0, 10), minima, 10 / (8 * math.pi), reference, bounds=((-5, 11), (-1, 15)))


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
    return _landscape(_goldstein_price, (-0.5, 0.5), [(0, -1)], 3.0, reference, local=local, bounds=bounds)


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
    return _landscape(_six_hump_camel, (-1, 1), pair(best), -1.0316284534898774, reference, local=local, bounds=bounds)


def _rastrigin(y):
    return jnp.sum(y**2 + 10 * (1 - jnp.cos(2 * math.pi * y)))


def rastrigin(num_dimensions: int = 2) -> Landscape:
    """Return a bowl under an egg box: a minimum near every point with integer coordinates, the lowest at 0.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    bounds = ((-5.12, 5.12), (-5.12, 5.12)) if n == 2 else None
    return _landscape(_rastrigin, (2.2,) * n, [(0,) * n], 0.0, "Rastrigin (1974)", bounds=bounds)


def _styblinski_tang(y):
    return jnp.sum(y**4 - 16 * y**2 + 5 * y) / 2


def styblinski_tang(num_dimensions: int = 2) -> Landscape:
    """Return a double well along every coordinate: 2ⁿ minima, one of them the lowest.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    deep, shallow = -2.903534027771177, 2.746802770990837
    local = [(shallow, deep), (deep, shallow), (shallow, shallow)] if n == 2 else [(shallow,) * n]
    bounds = ((-5, 5), (-5, 5)) if n == 2 else None
    reference = "Styblinski & Tang (1990), doi 10.1016/0893-6080(90)90029-K"
    lowest = n * -39.16616570377142
    return _landscape(_styblinski_tang, (1.0,) * n, [(deep,) * n], lowest, reference, local=local, bounds=bounds)


_MAKERS = (
    rosenbrock,
    freudenstein_roth,
    powell_badly_scaled,
    brown_badly_scaled,
    beale,
    jennrich_sampson,
    helical_valley,
    box_three_dimensional,
    powell_singular,
    wood,
    quadratic,
    booth,
    himmelblau,
    branin,
    goldstein_price,
    six_hump_camel,
    rastrigin,
    styblinski_tang,
)


def catalogue() -> dict[str, Landscape]:
    """Return every landscape at its default parameters, by name.

    Example:
        >>> from jaxnum.optimize import landscapes
        >>> len(landscapes.catalogue()), landscapes.catalogue()["wood"].y0.shape
        (18, (4,))
    """
    return {maker.__name__: maker() for maker in _MAKERS}
