"""Whittaker's smoother, the spline, total variation and the modified sinc: formulas, oracles, certificates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import make_smoothing_spline

from jaxnum import PrecisionWarning, Status, signals
from jaxnum.signals import (
    GaussianKernel,
    LinearFit,
    LocalPolynomial,
    ModifiedSinc,
    SavitzkyGolay,
    SmoothingSpline,
    TotalVariation,
    Whittaker,
    smooth,
    transfer_function,
)
from jaxnum.signals.penalized import stencil
from jaxnum.signals.sinc import _CORRECTIONS

SMALL = 61
GRID = np.linspace(0, 1, SMALL)
UNEVEN = np.sort(np.concatenate([[0, 1], np.random.default_rng(5).random(SMALL - 2)]))


def label(p):
    return f"{type(p).__name__}-{getattr(p, 'order', getattr(p, 'degree', ''))}" if hasattr(p, "prepare") else str(p)


@pytest.mark.parametrize("strength", [1e-6, 1e-2])
def test_the_spline_is_scipys(strength, rng):
    y, w = np.sin(9 * UNEVEN) + 0.1 * rng.normal(size=SMALL), rng.uniform(0.5, 2, SMALL)
    oracle = make_smoothing_spline(UNEVEN, y, w, strength)
    for d in (0, 1, 2):
        value = smooth(y, UNEVEN, method=SmoothingSpline(strength), weights=w, derivative=d).value
        wanted = oracle.derivative(d)(UNEVEN) if d else oracle(UNEVEN)
        # A derivative is a difference over the spline's own length, 0.03 or more.
        assert_allclose(value, wanted, rtol=0, atol=1e-10 / 0.03**d)


def check_slope(result, x, wanted):
    """Check the slope of a curve that should go through its samples: its rounding there, times the weights of a slope.

    Uneven points may come so close that the weights are thousands.
    """
    rounding = np.max(np.abs(result.misfit)) + 4 * np.finfo(float).eps
    weights = np.sum(np.abs(stencil(jnp.asarray(x), 1).entries), axis=1)
    assert np.all(np.abs(result.value - wanted) <= rounding * weights)


@pytest.mark.parametrize(
    ("method", "degree"), [(Whittaker(1e-5), 1), (Whittaker(1e-8, 3), 2), (SmoothingSpline(1e-4), 1)], ids=label
)
def test_what_the_penalty_does_not_see_is_kept_up_to_the_ends(method, degree):
    polynomial = np.polynomial.Polynomial([0.7, -1.2, 0.9][: degree + 1])
    for x in (GRID, UNEVEN):
        result = smooth(polynomial(x), x, method=method, derivative=1)
        assert_allclose(result.misfit, 0, rtol=0, atol=1e-12)
        assert result.ok, result
        check_slope(result, x, polynomial.deriv()(x))


def test_lines_are_kept_by_total_variation_of_slopes_and_by_the_sinc():
    line = 1 - 2 * GRID
    for method, x, kept in ((TotalVariation(0.02, 2), UNEVEN, 1 - 2 * UNEVEN), (ModifiedSinc(0.2), GRID, line)):
        assert_allclose(smooth(kept, x, method=method).value, kept, rtol=0, atol=1e-12)
        check_slope(smooth(kept, x, method=method, derivative=1), x, -2.0)
    bent = smooth(line, GRID, method=GaussianKernel(0.05, LinearFit(0.1))).value
    assert_allclose(bent, line, rtol=0, atol=1e-13)


OPERATORS = [
    (Whittaker(1e-5), UNEVEN, 0),
    (Whittaker(1e-8, 3), GRID, 1),
    (SmoothingSpline(1e-4), UNEVEN, 2),
    (TotalVariation(0.2), GRID, 0),
    (ModifiedSinc(0.2), GRID, 1),
]


@pytest.mark.parametrize(("method", "x", "derivative"), OPERATORS, ids=label)
def test_error_and_freedom_are_those_of_the_derivative_in_the_samples(method, x, derivative, rng):
    y = jnp.asarray(np.sin(9 * x) + 0.1 * rng.normal(size=SMALL))

    def both(y):
        fit = smooth(y, x, method=method, derivative=derivative, noise=0.3)
        return fit.value, fit.misfit

    @jax.jit
    def everything(y):
        result = smooth(y, x, method=method, derivative=derivative, noise=0.3)
        return result, jax.jacfwd(both)(y), jax.jacrev(lambda y: both(y)[0])(y)

    result, (forward, misfit), reverse = everything(y)
    size = np.max(np.abs(forward))
    assert_allclose(forward, reverse, rtol=0, atol=1e-10 * size)  # two orders of one sum; the condition is 1e5
    error = 0.3 * np.linalg.norm(forward, axis=1)
    # Rounding enters the variance. That of the spline's second derivative is a sum of terms up to (2.7e7 * 0.17)²: the
    # weights that make it of values between samples 1e-3 apart, times the error of the values; 2e-16 of that is 4e-3,
    # where the largest variance is 63². Of all others it is a few roundings of the largest.
    rounding = 1.1e-6 if isinstance(method, SmoothingSpline) and derivative == 2 else 1e-12
    assert_allclose(result.standard_error**2, error**2, rtol=2e-6, atol=rounding * np.max(error) ** 2)
    assert_allclose(SMALL - np.trace(misfit), result.degrees_of_freedom, rtol=1e-8)
    if isinstance(method, TotalVariation):
        step, along = 1e-7, rng.normal(size=SMALL)  # short beside the rounded corners, 1e-5 or so
        central = (everything(y + step * along)[0].value - everything(y - step * along)[0].value) / 2 / step
        assert_allclose(forward @ along, central, rtol=0, atol=1e-4 * size)
    else:
        assert_allclose(forward @ y, result.value, rtol=0, atol=1e-10 * size)


@pytest.mark.parametrize("method", [Whittaker(1e-5), SmoothingSpline(1e-4), TotalVariation(0.1, 2)], ids=label)
def test_derivatives_in_strength_and_data(method, rng):
    y, direction = jnp.asarray(np.sin(9 * UNEVEN) + 0.1 * rng.normal(size=SMALL)), jnp.asarray(rng.normal(size=SMALL))

    def loss(logarithm, y):
        changed = jax.tree.map(lambda s: s * jnp.exp(logarithm), method)
        result = smooth(y, UNEVEN, method=changed, derivative=1)
        parts = result.value / 30, result.standard_error, result.degrees_of_freedom / 10, result.noise
        return sum(jnp.sum(jnp.sin(part)) for part in parts)

    # Total variation changes over its rounded corners, 1e-3 of the noise; the others over the noise itself.
    step, rtol = (1e-7, 1e-3) if isinstance(method, TotalVariation) else (1e-4, 1e-5)

    @jax.jit
    def everything(y):
        at = jnp.asarray(0.0), y
        reverse = jax.grad(loss, (0, 1))(*at)
        moved = jax.vmap(lambda s: loss(s * 0.7 * step, y + s * step * direction))(jnp.array([1.0, -1.0]))
        forward = jax.jvp(loss, at, (jnp.asarray(0.7), direction))[1]
        return forward, reverse[0] * 0.7 + reverse[1] @ direction, (moved[0] - moved[1]) / 2 / step

    forward, reverse, central = everything(y)
    # The closest samples are 6e-4 apart: rounding is amplified by their stiffness.
    assert_allclose(forward, reverse, rtol=1e-6)
    assert_allclose(forward, central, rtol=rtol)


def test_a_missing_sample_is_a_deleted_one_for_the_spline(rng):
    y, gone = rng.normal(size=SMALL), np.array([0, 7, 8, SMALL - 1])
    kept = np.setdiff1d(np.arange(SMALL), gone)
    holes, weights = y.copy(), rng.uniform(0.5, 2, SMALL)
    holes[gone], weights[gone] = np.nan, 0
    full = smooth(holes, GRID, method=SmoothingSpline(1e-4), weights=weights)
    less = smooth(y[kept], GRID[kept], method=SmoothingSpline(1e-4), weights=weights[kept])
    assert_allclose(full.value[kept], less.value, rtol=0, atol=1e-11)
    assert_allclose(full.standard_error[kept], less.standard_error, rtol=1e-9)
    assert_allclose(full.degrees_of_freedom, less.degrees_of_freedom, rtol=1e-10)
    assert_allclose(full.noise, less.noise, rtol=1e-10)
    assert_allclose(full.misfit[gone], 0, atol=0)


def test_a_gap_is_bridged_by_a_cubic_and_has_no_gradient(rng):
    y = np.sin(9 * GRID) + 0.1 * rng.normal(size=SMALL)
    y[20:30] = np.nan
    weights = np.where(np.isnan(y), 0.0, 1.0)

    @jax.jit
    def curve(y):
        return smooth(y, GRID, method=Whittaker(1e-5), weights=weights).value

    value = curve(y)
    fourth = np.diff(value, 4)  # zero wherever its middle sample is missing: nothing pulls there
    assert_allclose(fourth[18:28], 0, atol=1e-11)
    assert np.max(np.abs(fourth)) > 1e-4
    gradient = jax.grad(lambda y: jnp.sum(curve(y) ** 2))(jnp.asarray(y))
    assert np.isfinite(gradient).all()
    assert_allclose(gradient[20:30], 0, atol=0)


def test_transfer_functions_are_those_of_the_formulas():
    n, h = 401, 0.05  # the ends are felt as exp(-10 sin(π/2m)/λ^{1/2m}), below 1e-9
    x = h * np.arange(n)
    k = np.linspace(0, 0.9 * np.pi / h, 40)
    for order, strength in ((1, 0.1), (2, 0.01), (3, 1e-5)):
        found = transfer_function(Whittaker(strength, order), k, x)
        assert_allclose(found, 1 / (1 + strength * (2 * np.sin(k * h / 2) / h) ** (2 * order)), atol=1e-9)
    # The energy of the spline through values exp(ikx): twice a second difference over the tridiagonal Gram matrix.
    energy = (2 - 2 * np.cos(k * h)) ** 2 * 3 / (h**3 * (2 + np.cos(k * h)))
    assert_allclose(transfer_function(SmoothingSpline(0.2), k, x), 1 / (1 + 0.2 * energy), atol=1e-9)
    assert_allclose(transfer_function(GaussianKernel(0.3), k, x), np.exp(-((0.3 * k) ** 2) / 2), atol=1e-9)
    slope = transfer_function(GaussianKernel(0.3), k, x, derivative=1)
    assert_allclose(slope, 1j * k * np.exp(-((0.3 * k) ** 2) / 2), atol=1e-2)  # sums for integrals, normalized to k
    assert_allclose(slope.real, 0, atol=1e-12)


def test_largest_gains_in_a_loop_are_the_tables():
    # sup k H(k): 0.607 and 1.041 over the bandwidth, 0.570 over the fourth root of the strength.
    x, b = 0.02 * np.arange(801), 0.3
    k = np.linspace(0.1, 8, 400) / b
    for method, wanted in ((GaussianKernel(b), 0.607), (LocalPolynomial(b), 1.041), (Whittaker(b**4), 0.570)):
        found = np.max(k * b * np.abs(transfer_function(method, k, x)))
        assert_allclose(found, wanted, atol=6e-4)  # half of the last digit printed


@pytest.mark.parametrize("degree", sorted(_CORRECTIONS))
def test_the_modified_sinc_is_flat_where_it_passes_and_quiet_where_not(degree):
    h, b = 1.0, 40.0
    x = h * np.arange(301.0)
    edge = np.pi * (degree + 4) / (2 * b)  # of the sinc's band
    pass_band, stop_band = np.linspace(0, 0.4 * edge, 20), np.linspace(edge + 7 / b, np.pi, 200)
    sinc = np.abs(transfer_function(ModifiedSinc(b, degree), np.concatenate([pass_band, stop_band]), x))
    assert_allclose(sinc[0], 1, rtol=1e-13)
    # Flat to order `degree`: the published corrections leave less than 1 % here, and 5 % for degree 2.
    assert np.max(np.abs(sinc[:20] - 1)) < (0.05 if degree == 2 else 0.012), sinc[:20]
    golay = np.abs(transfer_function(SavitzkyGolay(61, degree), stop_band, x))
    assert np.max(sinc[20:]) < 0.1 * np.max(golay), (np.max(sinc[20:]), np.max(golay))


def test_total_variation_has_the_certificate_of_the_exact_minimum(rng):
    y = np.repeat([0.0, 1.0, -0.5, 0.3], 15) + 0.1 * rng.normal(size=60)
    strength = 0.3
    result = smooth(y, method=TotalVariation(strength))
    z = np.asarray(result.value)
    # The exact minimum: running sums of y - z stay within the strength, and reach it where the curve jumps.
    held, jump = np.cumsum(y - z), np.diff(z)
    # Rounding the corner at 1e-4 of the strength leaves 1 - O(corner²/jump²) of it.
    assert np.max(np.abs(held)) < strength * (1 + 1e-9)
    assert abs(held[-1]) < 1e-9
    real = np.abs(jump) > 0.02
    assert real.sum() >= 3, jump
    assert_allclose(held[:-1][real], -strength * np.sign(jump[real]), rtol=1e-5)


def test_a_step_keeps_its_place_and_loses_the_strength_over_its_length():
    step = np.where(np.arange(60) < 20, 0.0, 1.0)
    value = np.asarray(smooth(step, method=TotalVariation(0.5)).value)
    # With v falling by 1/K a sample, jumps ε v/√(1 - v²) inside a plateau add up to ε K: 5e-5 times 40.
    assert_allclose(value, np.where(step > 0, 1 - 0.5 / 40, 0.5 / 20), atol=2e-3)


def test_kinks_are_found_by_total_variation_of_slopes(rng):
    x = np.linspace(0, 1, 201)
    y = np.abs(x - 0.4) + 0.01 * rng.normal(size=201)
    slope = np.asarray(smooth(y, x, method=TotalVariation(0.3, 2), derivative=1).value)
    assert_allclose(slope[x < 0.3], -1, atol=0.15)
    assert_allclose(slope[x > 0.5], 1, atol=0.15)


@pytest.mark.parametrize("method", [Whittaker(1e-10), SmoothingSpline(1e-7)], ids=label)
def test_variances_of_a_long_signal_are_those_of_a_short_one(method, rng):
    # Known strength and uniform samples: both ends and one sample between say it all; a traced strength knows nothing.
    x, y = np.linspace(0, 1, 1001), rng.normal(size=1001)
    short = smooth(y, x, method=method, derivative=1)
    full = jax.jit(lambda m: smooth(y, x, method=m, derivative=1))(jax.tree.map(jnp.asarray, method))
    assert method.prepare(x, np.ones(1001), 1)[1].short is not None
    assert_allclose(short.value, full.value, rtol=0, atol=1e-9)
    assert_allclose(short.standard_error, full.standard_error, rtol=1e-8)
    assert_allclose(short.degrees_of_freedom, full.degrees_of_freedom, rtol=1e-8)


CALIBRATED = [
    LocalPolynomial(0.05),
    SavitzkyGolay(11, 3),
    GaussianKernel(0.05),
    ModifiedSinc(0.15),
    Whittaker(1e-5),
    SmoothingSpline(1e-4),
]


@pytest.mark.parametrize("method", CALIBRATED, ids=label)
def test_two_thirds_of_the_errors_are_within_one_standard_error(method, rng):
    # A line is kept by all of them, so that noise is the only error; its size is estimated in every repeat.
    line = 1 + 2 * GRID
    y = line + 0.2 * rng.normal(size=(1000, SMALL))
    for derivative, truth in ((0, line), (1, 2.0)):
        run = jax.vmap(lambda y, d=derivative: smooth(y, GRID, method=method, derivative=d))
        result = run(jnp.asarray(y))
        inside = np.mean(np.abs(np.asarray(result.value) - truth) <= np.asarray(result.standard_error))
        assert abs(inside - 0.6827) < 0.03, inside


@pytest.mark.parametrize(
    ("method", "truth"),
    [
        (TotalVariation(2.0), np.repeat([0.0, 2.0, -1.0], 20)),
        (TotalVariation(0.03, 2), np.interp(np.linspace(0, 1, 60), [0, 0.3, 0.6, 1], [0.0, 3.0, -2.0, 1.0])),
    ],
    ids=label,
)
def test_errors_of_total_variation_are_those_of_noise_around_what_it_makes_of_no_noise(method, truth, rng):
    x = np.linspace(0, 1, 60)
    run = jax.vmap(lambda y: smooth(y, x, method=method, noise=0.1))
    result = run(jnp.asarray(truth + 0.1 * rng.normal(size=(1000, 60))))
    bent = run(jnp.asarray(truth)[None]).value
    inside = np.mean(np.abs(np.asarray(result.value - bent)) <= np.asarray(result.standard_error))
    assert abs(inside - 0.6827) < 0.03, inside


def test_single_precision_is_refused_or_warned_about_where_it_is_useless():
    x = np.linspace(0, 1, 401, dtype=np.float32)
    with pytest.raises(ValueError, match=r"`method.strength` must be at most .* in float32.*enable_x64"):
        smooth(x, x, method=Whittaker(1e-2))
    result = smooth(np.sin(9 * x), x, method=Whittaker(1e-8))
    assert result.value.dtype == np.float32
    double = smooth(np.sin(9 * x).astype(float), x.astype(float), method=Whittaker(1e-8)).value
    assert_allclose(result.value, double, atol=1e-4)  # 1e3 roundings
    with pytest.warns(PrecisionWarning, match="rounding alone"):
        smooth(1e4 + np.sin(9 * x), x, method=LocalPolynomial(0.01, 3), derivative=2)


def test_a_residual_that_stays_is_said():
    # A strength that rounding cannot hold, hidden from the check by tracing.
    x = np.linspace(0, 1, 401)
    run = jax.jit(lambda strength: smooth(np.sin(9 * x), x, method=Whittaker(strength, 3)))
    assert run(1e-8).status == Status.ok
    assert run(1e8).status != Status.ok


BAD = [
    ("method.strength", dict(method=Whittaker(0.0))),
    ("method.strength", dict(method=SmoothingSpline(np.nan))),
    ("method.strength", dict(method=TotalVariation("a"))),
    ("method.strength", dict(method=Whittaker(1e20))),
    ("method.strength", dict(method=SmoothingSpline(1e-253))),
    ("method.order", dict(method=Whittaker(1.0, 0))),
    ("method.order", dict(method=TotalVariation(1.0, 1.5))),
    ("derivative", dict(method=TotalVariation(0.1), derivative=1)),
    ("derivative", dict(method=SmoothingSpline(0.1), derivative=3)),
    ("derivative", dict(method=Whittaker(1e-3), derivative=3)),
    ("derivative", dict(method=ModifiedSinc(0.2), derivative=3)),
    ("method.degree", dict(method=ModifiedSinc(0.2, 3))),
    ("method.bandwidth", dict(method=ModifiedSinc(0.02))),
    ("method.edge", dict(method=ModifiedSinc(0.2, edge="odd"))),
    ("method.edge.length", dict(method=GaussianKernel(0.2, LinearFit(-1.0)))),
    ("x", dict(method=ModifiedSinc(0.2), x=UNEVEN)),
    ("weights", dict(method=ModifiedSinc(0.2), weights=1 + GRID)),
    ("y", dict(method=Whittaker(1.0, 3), weights=(GRID < 0.03) * 1.0)),
]


@pytest.mark.parametrize(("name", "change"), BAD)
def test_bad_arguments_are_refused_by_name(name, change):
    with pytest.raises(ValueError, match=rf"Argument `{name}` must [^\n]+\.$"):
        smooth(**(dict(y=GRID**2, x=GRID) | change))


def test_a_transfer_function_needs_a_linear_method():
    with pytest.raises(ValueError, match="`method` must be linear"):
        transfer_function(TotalVariation(1.0), [1.0], GRID)
    with pytest.raises(ValueError, match="`wavenumber`"):
        transfer_function(Whittaker(1e-4), "k", GRID)
    assert signals.transfer_function is transfer_function
