"""The 35 test problems of Moré, Garbow & Hillstrom, as residuals r of which Σ rᵢ² is minimized.

Standard starts. Their difficulty is curvature: bent valleys, scales from 1e-6 to 1e6, singular Hessians, saddles. The
minima printed in the paper are truncated; here they are to the last digit, found from the residuals by Newton's method.
Where a value is only approached at infinity there is no minimum to list, and the docstring says so.

References:
    Moré, Garbow & Hillstrom (1981), https://doi.org/10.1145/355934.355936
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum._checks import as_count, refuse
from jaxnum.optimize.landscape import Landscape, sum_of_squares

MGH = "Moré, Garbow & Hillstrom (1981), doi 10.1145/355934.355936, problem {}"


def _count(y: Array, *, start: int = 1) -> Array:
    """Return start, start + 1, ..., one for each coordinate of y."""
    return jnp.arange(start, start + y.shape[0], dtype=y.dtype)


def _range(first: int, last: int, y: Array) -> Array:
    return jnp.arange(first, last + 1, dtype=y.dtype)


def _freudenstein_roth(y):
    u, v = y
    return jnp.stack([-13 + u + ((5 - v) * v - 2) * v, -29 + u + ((v + 1) * v - 14) * v])


def freudenstein_roth() -> Landscape:
    """Return a cubic valley where most methods end in the higher of two minima."""
    root = math.sqrt(22)
    other = ((53 - 4 * root) / 3, (2 - root) / 3)  # value 48.98425
    bounds = ((-5, 16), (-3, 5))
    return sum_of_squares(_freudenstein_roth, (0.5, -2), [(5, 4)], 0.0, MGH.format(2), local=[other], bounds=bounds)


def _powell_badly_scaled(y):
    return jnp.stack([1e4 * y[0] * y[1] - 1, jnp.exp(-y[0]) + jnp.exp(-y[1]) - 1.0001])


def powell_badly_scaled() -> Landscape:
    """Return a problem whose two coordinates at the minimum differ by six decades."""
    best = (1.098159329699848e-05, 9.10614673986627)
    return sum_of_squares(_powell_badly_scaled, (0, 1), [best, best[::-1]], 0.0, MGH.format(3))


def _brown_badly_scaled(y):
    return jnp.stack([y[0] - 1e6, y[1] - 2e-6, y[0] * y[1] - 2])


def brown_badly_scaled() -> Landscape:
    """Return a problem whose minimum is a million away on one axis and 2e-6 on the other."""
    return sum_of_squares(_brown_badly_scaled, (1, 1), [(1e6, 2e-6)], 0.0, MGH.format(4))


def _beale(y):
    x, z = y
    return jnp.stack([1.5 - x * (1 - z), 2.25 - x * (1 - z**2), 2.625 - x * (1 - z**3)])


def beale() -> Landscape:
    """Return a plain with a valley; the value is constant along y = 1, where the usual start lies."""
    bounds = ((-1, 4.5), (-1.5, 1.5))
    return sum_of_squares(_beale, (1, 1), [(3, 0.5)], 0.0, MGH.format(5), saddles=[(0, 1)], bounds=bounds)


def _jennrich_sampson(y):
    i = _range(1, 10, y)
    return 2 + 2 * i - (jnp.exp(i * y[0]) + jnp.exp(i * y[1]))


def jennrich_sampson() -> Landscape:
    """Return a least-squares problem with a large remaining sum of squares; it overflows half a unit away."""
    point = (0.2578252136703641, 0.2578252136703641)
    return sum_of_squares(_jennrich_sampson, (0.3, 0.4), [point], 124.3621823556148, MGH.format(6))


def _helical_valley(y):
    # The cut of this arctangent lies on the negative second axis and not through the start. It equals the published
    # piecewise definition to either side of the cut.
    angle = 0.25 + jnp.arctan2(-y[0], y[1]) / (2 * math.pi)
    return jnp.stack([10 * (y[2] - 10 * angle), 10 * (jnp.sqrt(y[0] ** 2 + y[1] ** 2) - 1), y[2]])


def helical_valley() -> Landscape:
    """Return a valley that winds around an axis."""
    return sum_of_squares(_helical_valley, (-1, 0, 0), [(1, 0, 0)], 0.0, MGH.format(7))


_BARD = (0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39)


def _bard(y):
    u = _range(1, 15, y)
    v = 16 - u
    return jnp.asarray(_BARD, y.dtype) - (y[0] + u / (v * y[1] + jnp.minimum(u, v) * y[2]))


def bard() -> Landscape:
    """Return a rational fit; besides its minimum the value falls to 17.4286 as y₂, y₃ → −∞ at y₁ = 0.8406."""
    best = (0.08241055974978896, 1.1330360920297222, 2.3436951786425366)
    return sum_of_squares(_bard, (1, 1, 1), [best], 0.008214877306578982, MGH.format(8))


_GAUSSIAN = (0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989)


def _gaussian(y):
    t = (8 - _range(1, 15, y)) / 2
    data = jnp.asarray(_GAUSSIAN + _GAUSSIAN[-2::-1], y.dtype)
    return y[0] * jnp.exp(-y[1] * (t - y[2]) ** 2 / 2) - data


def gaussian() -> Landscape:
    """Return the fit of a bell to a rounded table of one: it starts almost at its minimum, of 1.1e-8."""
    best = (0.3989561378387567, 1.0000190844878056, 0)
    return sum_of_squares(_gaussian, (0.4, 1, 0), [best], 1.1279327696190517e-08, MGH.format(9))


_MEYER = (34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872)


def _meyer(y):
    return y[0] * jnp.exp(y[1] / (45 + 5 * _range(1, 16, y) + y[2])) - jnp.asarray(_MEYER, y.dtype)


def meyer() -> Landscape:
    """Return the resistance of a thermistor: a valley so long and narrow that descent never sees its end."""
    best = (0.00560963647102381, 6181.346346287002, 345.2236346241577)
    return sum_of_squares(_meyer, (0.02, 4000, 250), [best], 87.945855171121, MGH.format(10))


def _gulf(y):
    t = _range(1, 99, y) / 100
    base = 25 + (-50 * jnp.log(t)) ** (2 / 3)
    return jnp.exp(-(jnp.abs(base - y[1]) ** y[2]) / y[0]) - t


def gulf() -> Landscape:
    """Return a Weibull law fitted to exact quantiles.

    The paper prints y m i y₂ where y − y₂ is meant; only the latter has the minimum of 0 that the paper lists.
    """
    return sum_of_squares(_gulf, (5, 2.5, 0.15), [(50, 25, 1.5)], 0.0, MGH.format(11))


def _box_three_dimensional(y):
    t = _range(1, 10, y) / 10
    return jnp.exp(-t * y[0]) - jnp.exp(-t * y[1]) - y[2] * (jnp.exp(-t) - jnp.exp(-10 * t))


def box_three_dimensional() -> Landscape:
    """Return a sum of exponentials; besides its two isolated minima the value is zero on the line x = y, z = 0."""
    return sum_of_squares(_box_three_dimensional, (0, 10, 20), [(1, 10, 1), (10, 1, -1)], 0.0, MGH.format(12))


def _powell_singular(y):
    a, b, c, d = y
    return jnp.stack([a + 10 * b, math.sqrt(5) * (c - d), (b - 2 * c) ** 2, math.sqrt(10) * (a - d) ** 2])


def powell_singular() -> Landscape:
    """Return a problem whose Hessian at the minimum is singular: eigenvalues 0, 0, 20, 202, so no method is fast."""
    return sum_of_squares(_powell_singular, (3, -1, 0, 1), [(0, 0, 0, 0)], 0.0, MGH.format(13))


def _wood(y):
    a, b, c, d = y
    valleys = [10 * (b - a**2), 1 - a, math.sqrt(90) * (d - c**2), 1 - c]
    return jnp.stack([*valleys, math.sqrt(10) * (b + d - 2), (b - d) / math.sqrt(10)])


def wood() -> Landscape:
    """Return two coupled bent valleys; first-order methods stall near the saddle at about (−0.97, 0.95, −0.97, 0.95).

    The value there is 7.877, and one eigenvalue of the Hessian is −0.12.
    """
    saddle = (-0.9679740249375923, 0.9471391408178403, -0.9695163103315919, 0.9512476657923268)
    return sum_of_squares(_wood, (-3, -1, -3, -1), [(1, 1, 1, 1)], 0.0, MGH.format(14), saddles=[saddle])


_KOWALIK = (0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
_KOWALIK_U = (4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625)


def _kowalik_osborne(y):
    u = jnp.asarray(_KOWALIK_U, y.dtype)
    return jnp.asarray(_KOWALIK, y.dtype) - y[0] * (u**2 + u * y[1]) / (u**2 + u * y[2] + y[3])


def kowalik_osborne() -> Landscape:
    """Return a rational fit of enzyme kinetics; at infinity, with y₂ = −14.07, it also sinks to 1.02734e-3."""
    best = (0.1928069345790379, 0.1912823287343667, 0.12305650692632072, 0.13606233068379472)
    return sum_of_squares(_kowalik_osborne, (0.25, 0.39, 0.415, 0.39), [best], 3.0750560384923826e-04, MGH.format(15))


def _brown_dennis(y):
    t = _range(1, 20, y) / 5
    return (y[0] + t * y[1] - jnp.exp(t)) ** 2 + (y[2] + y[3] * jnp.sin(t) - jnp.cos(t)) ** 2


def brown_dennis() -> Landscape:
    """Return a problem whose residuals stay large: Gauss-Newton has no advantage here."""
    best = (-11.594439904762162, 13.203630051207202, -0.4034394881768596, 0.2367787744557363)
    return sum_of_squares(_brown_dennis, (25, 5, -5, -1), [best], 85822.20162635633, MGH.format(16))


_OSBORNE_1 = (
    *(0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603),
    *(0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411),
    0.406,
)


def _osborne_1(y):
    t = 10 * _range(0, 32, y)
    return jnp.asarray(_OSBORNE_1, y.dtype) - (y[0] + y[1] * jnp.exp(-t * y[3]) + y[2] * jnp.exp(-t * y[4]))


def osborne_1() -> Landscape:
    """Return two decaying exponentials and a constant; exchanging the exponentials gives a second minimum."""
    a, b, c = 0.37541005210695216, 1.935846912712384, -1.4646871366134397
    p, q = 0.012867534640057321, 0.02212269966167254
    start = (0.5, 1.5, -1, 0.01, 0.02)
    return sum_of_squares(_osborne_1, start, [(a, b, c, p, q), (a, c, b, q, p)], 5.464894697482746e-05, MGH.format(17))


def _biggs_exp6(y):
    t = _range(1, 13, y) / 10
    data = jnp.exp(-t) - 5 * jnp.exp(-10 * t) + 3 * jnp.exp(-4 * t)
    return y[2] * jnp.exp(-t * y[0]) - y[3] * jnp.exp(-t * y[1]) + y[5] * jnp.exp(-t * y[4]) - data


def biggs_exp6() -> Landscape:
    """Return three exponentials fitted to three exponentials.

    The value 5.65565e-3 that the paper lists first belongs to a saddle: one curvature there is −9.8e-3. The usual start
    gives two of the exponentials the same parameters, as the saddle does, and a method that keeps that symmetry to
    rounding, BFGS for one, ends there; others find a minimum of 0.
    """
    best = [(1, 10, 1, 5, 4, 3), (4, 10, 3, 5, 1, 1)]
    saddle = (1.7114159947195877, 17.683198180949066, 1.1631436609188925, 5.186561551993454)
    saddle += (1.7114159947195877, 1.1631436609188925)
    return sum_of_squares(_biggs_exp6, (1, 2, 1, 1, 1, 1), best, 0.0, MGH.format(18), saddles=[saddle])


_OSBORNE_2 = (
    *(1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606),
    *(0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423),
    *(0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668),
    *(0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098),
    0.054,
)


def _osborne_2(y):
    t = _range(0, 64, y) / 10
    bells = y[1:4][:, None] * jnp.exp(-y[5:8][:, None] * (t[None, :] - y[8:11][:, None]) ** 2)
    return jnp.asarray(_OSBORNE_2, y.dtype) - (y[0] * jnp.exp(-t * y[4]) + jnp.sum(bells, axis=0))


def osborne_2() -> Landscape:
    """Return an exponential and three bells, eleven parameters."""
    best = (1.3099771546273007, 0.43155379460298904, 0.6336616989607241, 0.5994305347859163, 0.7541832263280115)
    best += (0.9042885798596334, 1.3658118352370283, 4.823698817227157, 2.3986848661317546, 4.568874597667672)
    best += (5.6753414705806415,)
    start = (1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5)
    return sum_of_squares(_osborne_2, start, [best], 0.04013773629354772, MGH.format(19))


def _watson(y):
    t = _range(1, 29, y)[:, None] / 29
    j = jnp.arange(y.shape[0], dtype=y.dtype)[None, :]
    value = t**j @ y
    slope = t ** jnp.maximum(j - 1, jnp.zeros_like(j)) @ (j[0] * y)
    return jnp.concatenate([slope - value**2 - 1, jnp.stack([y[0], y[1] - y[0] ** 2 - 1])])


# Dimensions -> lowest value, and where it is taken.
_WATSON = {
    6: (
        0.002287670053552394,
        *(-0.01572508640145826, 1.0124348693691096, -0.23299162595673345),
        *(1.2604300877995949, -1.513728922722263, 0.9929964324311277),
    ),
    9: (
        1.3997601380896916e-06,
        *(-1.5307036521363605e-05, 0.999789703931948, 0.014763963693571545),
        *(0.14634232829921814, 1.000821103005357, -2.617731140520548),
        *(4.1044031644808365, -3.143612278557765, 1.0526264080105239),
    ),
    12: (
        4.722381108238464e-10,
        *(-6.638060466637922e-09, 1.0000016441178619, -0.000563932210339316, 0.3478205405040767),
        *(-0.15673150409731104, 1.0528151772168595, -3.2472711534999004, 7.288434898033562),
        *(-10.271848241457525, 9.0741136471898, -4.541375466745275, 1.0120118885630491),
    ),
}


def watson(num_dimensions: int = 6) -> Landscape:
    """Return a differential equation solved by a polynomial, whose terms look more alike the more there are.

    Args:
        num_dimensions: Number of coefficients, 6, 9 or 12: those of which the paper lists the minimum.
    """
    n = as_count("num_dimensions", num_dimensions)
    if n not in _WATSON:
        refuse("num_dimensions", "be 6, 9 or 12, where the minimum is known", f"is {n}")
    value, *best = _WATSON[n]
    return sum_of_squares(_watson, (0,) * n, [best], value, MGH.format(20))


def _extended_rosenbrock(y):
    a, b = y[::2], y[1::2]
    return jnp.concatenate([10 * (b - a**2), 1 - a])


def extended_rosenbrock(num_dimensions: int = 4) -> Landscape:
    """Return Rosenbrock's valley several times over, uncoupled; `rosenbrock` in many dimensions couples them.

    Args:
        num_dimensions: Number of coordinates, even.
    """
    n = _multiple("num_dimensions", num_dimensions, 2)
    return sum_of_squares(_extended_rosenbrock, (-1.2, 1) * (n // 2), [(1,) * n], 0.0, MGH.format(21))


def _extended_powell_singular(y):
    a, b, c, d = y.reshape(-1, 4).T
    parts = [a + 10 * b, math.sqrt(5) * (c - d), (b - 2 * c) ** 2, math.sqrt(10) * (a - d) ** 2]
    return jnp.concatenate(parts)


def extended_powell_singular(num_dimensions: int = 8) -> Landscape:
    """Return Powell's singular problem several times over.

    Args:
        num_dimensions: Number of coordinates, a multiple of 4.
    """
    n = _multiple("num_dimensions", num_dimensions, 4)
    return sum_of_squares(_extended_powell_singular, (3, -1, 0, 1) * (n // 4), [(0,) * n], 0.0, MGH.format(22))


def _penalty_1(y):
    return jnp.concatenate([math.sqrt(1e-5) * (y - 1), jnp.sum(y**2, keepdims=True) - 0.25])


def penalty_1(num_dimensions: int = 4) -> Landscape:
    """Return a sphere that everything must lie on, and a weak pull towards 1: curvatures 1e-5 and 1 side by side.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    # All coordinates are equal by symmetry: the slope is 2e-5 (s − 1) + 4 s (n s² − 1/4) = 0, a cubic.
    s = _newton(lambda s: (2e-5 * (s - 1) + 4 * s * (n * s**2 - 0.25), 2e-5 + 12 * n * s**2 - 1), 0.5 / math.sqrt(n))
    value = n * 1e-5 * (s - 1) ** 2 + (n * s**2 - 0.25) ** 2
    return sum_of_squares(_penalty_1, tuple(range(1, n + 1)), [(s,) * n], value, MGH.format(23))


def _penalty_2(y):
    n, small = y.shape[0], math.sqrt(1e-5)
    i = _range(2, n, y)
    data = jnp.exp(i / 10) + jnp.exp((i - 1) / 10)
    grown = jnp.exp(y / 10)
    weights = n + 1 - _count(y)
    return jnp.concatenate(
        [
            y[:1] - 0.2,
            small * (grown[1:] + grown[:-1] - data),
            small * (grown[1:] - math.exp(-0.1)),
            jnp.sum(weights * y**2, keepdims=True) - 1,
        ]
    )


_PENALTY_2 = {
    4: (9.37629300735544e-06, 0.1999993333503804, 0.1913167009927725, 0.48010148533262326, 0.5188454043902003),
    10: (
        0.00029366053745674605,
        *(0.19998360519782363, 0.010350648471292303, 0.019604934480438405, 0.03208906722068565, 0.04993267739964131),
        *(0.07651399515399361, 0.11862407286950417, 0.19214487233557667, 0.3473205869418436, 0.36916437415935077),
    ),
}


def penalty_2(num_dimensions: int = 4) -> Landscape:
    """Return a weighted sphere and weakly weighted exponentials.

    Args:
        num_dimensions: Number of coordinates, 4 or 10: those of which the paper lists the minimum.
    """
    n = as_count("num_dimensions", num_dimensions)
    if n not in _PENALTY_2:
        refuse("num_dimensions", "be 4 or 10, where the minimum is known", f"is {n}")
    value, *best = _PENALTY_2[n]
    return sum_of_squares(_penalty_2, (0.5,) * n, [best], value, MGH.format(24))


def _variably_dimensioned(y):
    total = jnp.sum(_count(y) * (y - 1), keepdims=True)
    return jnp.concatenate([y - 1, total, total**2])


def variably_dimensioned(num_dimensions: int = 6) -> Landscape:
    """Return a bowl of n coordinates with a quartic wall across.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    start = 1 - np.arange(1, n + 1) / n
    return sum_of_squares(_variably_dimensioned, start, [(1,) * n], 0.0, MGH.format(25))


_TRIGONOMETRIC = (
    *(0.0551509039806922, 0.05684061679473948, 0.058764001762696284, 0.06099060865676171, 0.06362621369585594),
    *(0.06684317945276064, 0.20816151856987894, 0.16436309588564432, 0.0850068956885094, 0.09143145071470789),
)


def _trigonometric(y):
    return y.shape[0] - jnp.sum(jnp.cos(y)) + _count(y) * (1 - jnp.cos(y)) - jnp.sin(y)


def trigonometric(num_dimensions: int = 10) -> Landscape:
    """Return a system of sines and cosines, periodic, with many minima; 0 and the one met from the start are listed.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    local = [_TRIGONOMETRIC] if n == 10 else []
    return sum_of_squares(_trigonometric, (1 / n,) * n, [(0,) * n], 0.0, MGH.format(26), local=local)


def _brown_almost_linear(y):
    return jnp.concatenate([y[:-1] + jnp.sum(y) - (y.shape[0] + 1), jnp.prod(y, keepdims=True) - 1])


def brown_almost_linear(num_dimensions: int = 10) -> Landscape:
    """Return linear equations and one product; a second minimum, of value 1, lies at (0, ..., 0, n + 1).

    Args:
        num_dimensions: Number of coordinates, at least 2.
    """
    n = as_count("num_dimensions", num_dimensions, at_least=2)
    # (α, ..., α, α^(1−n)) with n αⁿ − (n + 1) αⁿ⁻¹ + 1 = 0: α = 1, and a root below 1 that Newton finds from the left.
    a = _newton(lambda a: (n * a**n - (n + 1) * a ** (n - 1) + 1, n**2 * a ** (n - 1) - (n**2 - 1) * a ** (n - 2)), 0.9)
    points = [(1,) * n, (*(a,) * (n - 1), a ** (1 - n))] if abs(a - 1) > 1e-6 else [(1,) * n]
    other = (0,) * (n - 1) + (n + 1,)
    return sum_of_squares(_brown_almost_linear, (0.5,) * n, points, 0.0, MGH.format(27), local=[other])


def _neighbors(y: Array) -> tuple[Array, Array]:
    """Return what stands to the left and to the right of each coordinate; zero beyond the ends."""
    zero = jnp.zeros_like(y[:1])
    return jnp.concatenate([zero, y[:-1]]), jnp.concatenate([y[1:], zero])


def _discrete_boundary_value(y):
    h = 1 / (y.shape[0] + 1)
    t = h * _count(y)
    left, right = _neighbors(y)
    return 2 * y - left - right + h**2 * (y + t + 1) ** 3 / 2


def _discrete_integral(y):
    h = 1 / (y.shape[0] + 1)
    t = h * _count(y)
    cube = (y + t + 1) ** 3
    below = jnp.cumsum(t * cube)
    above = jnp.sum((1 - t) * cube) - jnp.cumsum((1 - t) * cube)
    return y + h * ((1 - t) * below + t * above) / 2


def _boundary_start(n: int) -> np.ndarray:
    t = np.arange(1, n + 1) / (n + 1)
    return t * (t - 1)


def discrete_boundary_value(num_dimensions: int = 10) -> Landscape:
    """Return u″ = (u + t + 1)³/2 with u = 0 at both ends, by differences.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    h, t = 1 / (n + 1), np.arange(1, n + 1) / (n + 1)
    stencil = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)

    def equations(u):
        return stencil @ u + h**2 * (u + t + 1) ** 3 / 2, stencil + np.diag(1.5 * h**2 * (u + t + 1) ** 2)

    best = _newton(equations, _boundary_start(n))
    return sum_of_squares(_discrete_boundary_value, _boundary_start(n), [best], 0.0, MGH.format(28))


def discrete_integral(num_dimensions: int = 10) -> Landscape:
    """Return the same boundary-value problem as an integral equation, whose Jacobian is full and well conditioned.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    h, t = 1 / (n + 1), np.arange(1, n + 1) / (n + 1)
    green = h / 2 * np.where(t[None, :] <= t[:, None], (1 - t)[:, None] * t[None, :], t[:, None] * (1 - t)[None, :])

    def equations(u):
        return u + green @ (u + t + 1) ** 3, np.eye(n) + green * (3 * (u + t + 1) ** 2)[None, :]

    best = _newton(equations, _boundary_start(n))
    return sum_of_squares(_discrete_integral, _boundary_start(n), [best], 0.0, MGH.format(29))


def _broyden_tridiagonal(y):
    left, right = _neighbors(y)
    return (3 - 2 * y) * y - left - 2 * right + 1


def broyden_tridiagonal(num_dimensions: int = 10) -> Landscape:
    """Return a tridiagonal system of quadratic equations.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    sides = np.eye(n, k=-1) + 2 * np.eye(n, k=1)
    best = _newton(lambda y: ((3 - 2 * y) * y - sides @ y + 1, np.diag(3 - 4 * y) - sides), -np.ones(n))
    return sum_of_squares(_broyden_tridiagonal, (-1,) * n, [best], 0.0, MGH.format(30))


def _broyden_band(n: int) -> np.ndarray:
    return np.tril(np.triu(np.ones((n, n)), -5), 1) - np.eye(n)


def _broyden_banded(y):
    band = jnp.asarray(_broyden_band(y.shape[0]), y.dtype)
    return y * (2 + 5 * y**2) + 1 - band @ (y * (1 + y))


def broyden_banded(num_dimensions: int = 10) -> Landscape:
    """Return a banded system of cubic equations.

    Args:
        num_dimensions: Number of coordinates.
    """
    n = as_count("num_dimensions", num_dimensions)
    band = _broyden_band(n)

    def equations(y):
        return y * (2 + 5 * y**2) + 1 - band @ (y * (1 + y)), np.diag(2 + 15 * y**2) - band * (1 + 2 * y)[None, :]

    best = _newton(equations, -np.ones(n))
    return sum_of_squares(_broyden_banded, (-1,) * n, [best], 0.0, MGH.format(31))


@dataclass(frozen=True)
class _LinearFullRank:
    num_residuals: int

    def __call__(self, y: Array) -> Array:
        shift = 2 * jnp.sum(y) / self.num_residuals + 1
        return jnp.concatenate([y - shift, -shift * jnp.ones(self.num_residuals - y.shape[0], y.dtype)])


def linear_full_rank(num_dimensions: int = 5, num_residuals: int = 10) -> Landscape:
    """Return a linear least-squares problem whose Jacobian has orthonormal columns: one Gauss-Newton step solves it.

    Args:
        num_dimensions: Number of coordinates n.
        num_residuals: Number of residuals m, at least n; m − n is the lowest value.
    """
    n, m = _sizes(num_dimensions, num_residuals)
    name = "linear_full_rank"
    return sum_of_squares(_LinearFullRank(m), (1,) * n, [(-1,) * n], float(m - n), MGH.format(32), name=name)


@dataclass(frozen=True)
class _LinearRankOne:
    num_residuals: int
    zeros: bool

    def __call__(self, y: Array) -> Array:
        i, j = _range(1, self.num_residuals, y), _count(y)
        if not self.zeros:
            return i * jnp.sum(j * y) - 1
        return jnp.where((i == 1) | (i == self.num_residuals), -1.0, (i - 1) * jnp.sum((j * y)[1:-1]) - 1)


def linear_rank_one(num_dimensions: int = 5, num_residuals: int = 10) -> Landscape:
    """Return a linear problem of rank one: all points with Σ j yⱼ = 3/(2m + 1) are minima, the shortest is listed.

    Args:
        num_dimensions: Number of coordinates n.
        num_residuals: Number of residuals m, at least n; m (m − 1)/(4m + 2) is the lowest value.
    """
    n, m = _sizes(num_dimensions, num_residuals)
    j = np.arange(1.0, n + 1)
    best = 3 / (2 * m + 1) * j / np.sum(j**2)
    value, name = m * (m - 1) / (2 * (2 * m + 1)), "linear_rank_one"
    return sum_of_squares(_LinearRankOne(m, False), (1,) * n, [best], value, MGH.format(33), name=name)


def linear_rank_one_with_zeros(num_dimensions: int = 5, num_residuals: int = 10) -> Landscape:
    """Return a linear problem of rank one with zero rows and columns; of its minima the shortest is listed.

    Args:
        num_dimensions: Number of coordinates n, at least 3.
        num_residuals: Number of residuals m, at least n; (m² + 3m − 6)/(4m − 6) is the lowest value.
    """
    n, m = _sizes(as_count("num_dimensions", num_dimensions, at_least=3), num_residuals)
    j = np.arange(1.0, n + 1)
    j[[0, -1]] = 0
    best = 3 / (2 * m - 3) * j / np.sum(j**2)
    value, name = (m**2 + 3 * m - 6) / (2 * (2 * m - 3)), "linear_rank_one_with_zeros"
    return sum_of_squares(_LinearRankOne(m, True), (1,) * n, [best], value, MGH.format(34), name=name)


def _chebyquad(y):
    n, u = y.shape[0], 2 * y - 1
    members = [jnp.ones_like(u), u]
    for _ in range(n - 1):
        members.append(2 * u * members[-1] - members[-2])
    i = np.arange(1, n + 1)
    exact = np.where(i % 2, 0.0, -1 / np.where(i % 2, 1, i**2 - 1))
    return jnp.mean(jnp.stack(members[1:]), axis=1) - jnp.asarray(exact, y.dtype)


# Half of the nodes, from the left; the others lie opposite. Exact quadrature for n = 1 to 7 and 9.
_CHEBYQUAD = {
    1: (0.5,),
    2: (0.21132486540518708,),
    3: (0.14644660940672624, 0.5),
    4: (0.10267276385411694, 0.4062037629574601),
    5: (0.08375125649950904, 0.31272929522320947, 0.5),
    6: (0.06687659094608973, 0.2887406731194443, 0.36668229924164764),
    7: (0.05806914962097548, 0.23517161235742162, 0.33804409474004615, 0.5),
    8: (0.043152760151016635, 0.19309084038418614, 0.26632870689027294, 0.5),
    9: (0.04420534613578273, 0.19949067230988093, 0.23561910847106002, 0.41604690789259796, 0.5),
    10: (0.05961990053581268, 0.16670828183586134, 0.23917065894260844, 0.39888429230604444, 0.39888429230604444),
}
# With ten nodes the symmetric minimum, which is met from the start, is not the lowest.
_CHEBYQUAD_LOWEST = (
    *(0.07474816621460251, 0.17151817694809268, 0.286434152584, 0.35964645062893413, 0.47075052286659347),
    *(0.616738335038745, 0.616738335038745, 0.7998108015386137, 0.8448546422409267, 0.9670066269819255),
)
_CHEBYQUAD_HIGHEST = (0.027114937835897857, 0.13179828845994881, 0.2076840140449309, 0.3851156074102685)


def chebyquad(num_dimensions: int = 8) -> Landscape:
    """Return the nodes of equal-weight quadrature on [0, 1]: exact ones exist for n = 1 to 7 and 9 only.

    Every permutation of the coordinates is a minimum too; the increasing one is listed.

    Args:
        num_dimensions: Number of nodes, 1 to 10.
    """
    n = as_count("num_dimensions", num_dimensions)
    if n not in _CHEBYQUAD:
        refuse("num_dimensions", "be 1 to 10, where the minimum is known", f"is {n}")
    start = np.arange(1, n + 1) / (n + 1)

    def whole(half):
        return (*half, *(1 - t for t in half[: n // 2][::-1]))

    points, value, local = [whole(_CHEBYQUAD[n])], 0.0, []
    if n == 8:
        value = 0.0035168737256779364
    if n == 10:
        local = [*points, whole((*_CHEBYQUAD_HIGHEST, _CHEBYQUAD_HIGHEST[-1]))]  # values 0.00650 and 0.00950
        points = [_CHEBYQUAD_LOWEST, tuple(1 - t for t in _CHEBYQUAD_LOWEST[::-1])]
        value = 0.004772713696375354
    return sum_of_squares(_chebyquad, start, points, value, MGH.format(35), local=local)


def _newton(equations, start):
    """Solve equations, given as (values, derivatives) at a point, on the host: minima that have no closed form."""
    x = np.asarray(start, float)
    for _ in range(60):
        values, slopes = equations(x)
        step = np.linalg.solve(slopes, values) if np.ndim(x) else values / slopes
        x = x - step
        if np.max(np.abs(step)) <= 1e-16 * np.max(np.abs(x)):
            break
    return x if np.ndim(x) else float(x)


def _multiple(name: str, n: int, of: int) -> int:
    n = as_count(name, n)
    if n % of:
        refuse(name, f"be a multiple of {of}", f"is {n}")
    return n


def _sizes(num_dimensions: int, num_residuals: int) -> tuple[int, int]:
    n = as_count("num_dimensions", num_dimensions)
    m = as_count("num_residuals", num_residuals)
    if m < n:
        refuse("num_residuals", f"be at least the number of dimensions, {n}", f"is {m}")
    return n, m
