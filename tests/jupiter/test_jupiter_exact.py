import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.special import erfcx

from jaxnum.jupiter import JUPITER, SATURN, System, exact

SIGMA = 0.05
# x, w, radial current in MA, current density in µA/m²; computed independently to the digits given.
TABLE = np.array(
    [
        [5, 0.99893985, 0.102278, 0.000047],
        [10, 0.98378599, 0.782118, 0.000682],
        [15, 0.92991444, 2.253820, 0.002427],
        [20, 0.83345176, 4.016909, 0.004133],
        [25, 0.71751911, 5.450434, 0.004516],
        [30, 0.60505993, 6.350266, 0.003613],
        [40, 0.42556785, 6.927248, 0.000194],
        [50, 0.30578282, 6.697417, -0.003182],
        [60, 0.22696800, 6.214815, -0.005808],
        [80, 0.13678707, 5.204871, -0.009169],
        [100, 0.09047288, 4.387303, -0.011033],
    ]
)


def test_constants_of_the_script():
    assert_allclose(JUPITER.coupling, 2.350667e7, rtol=2e-7)
    assert_allclose(JUPITER.current_density_scale, 2.9848e-7, rtol=1e-7)
    assert_allclose(JUPITER.current_scale, 9.647438e9, rtol=1e-7)


def test_closed_form_has_the_digits_of_the_table():
    x = jnp.asarray(TABLE[:, 0])
    x_hill = exact.hill_distance(JUPITER, SIGMA)
    assert_allclose(x_hill, 23.282268, atol=5e-7)
    assert_allclose(exact.corotation(x, x_hill), TABLE[:, 1], atol=5.1e-9, rtol=0)
    assert_allclose(exact.current(x, JUPITER, SIGMA) / 1e6, TABLE[:, 2], atol=5.1e-7, rtol=0)
    assert_allclose(exact.current_density(x, JUPITER, SIGMA) * 1e6, TABLE[:, 3], atol=5.1e-7, rtol=0)


def test_lag_has_no_hole_and_loses_no_digit():
    # t from 1e-3 to 1e3, through 26.6 where jax.scipy.special.erfcx has returned zeros.
    t = np.concatenate([np.geomspace(1e-3, 1e3, 4001), np.linspace(26.5, 26.7, 401)])
    x = 1 / np.sqrt(t)
    w, u = exact.corotation(x, 1.0), exact.lag(x, 1.0)
    t = 1 / x**2
    assert_allclose(w, np.sqrt(np.pi) * t * erfcx(t), rtol=4e-13)  # exp(t²) turns an ulp of t² = 144 into 144 ulps
    assert_allclose(w + u, np.ones_like(w), rtol=1e-15)
    t_far = np.array([50.0, 500.0])
    assert_allclose(exact.lag(1 / np.sqrt(t_far), 1.0), 0.5 / t_far**2 - 0.75 / t_far**4, rtol=2e-6)


def test_universal_numbers():
    def current(y):
        return -float(exact.lag(y, 1.0)) / y

    def density(y):
        u, t = float(exact.lag(y, 1.0)), 1 / y**2
        return -(2 - 3 * u - 4 * t**2 * u)

    options = {"xatol": 1e-9}
    peak = minimize_scalar(current, bounds=(1, 3), method="bounded", options=options)
    # A maximum is found to the root of the rounding error.
    assert_allclose([peak.x, -peak.fun], [exact.PEAK_CURRENT_AT, exact.PEAK_CURRENT], atol=1e-7)
    peak = minimize_scalar(density, bounds=(0.5, 2), method="bounded", options=options)
    assert_allclose([peak.x, -peak.fun], [exact.PEAK_DENSITY_AT, exact.PEAK_DENSITY], atol=1e-7)


def test_closed_form_solves_its_equation():
    x = jnp.linspace(3.0, 200.0, 500)
    w, dw = jax.jvp(lambda x: exact.corotation(x, 23.0), (x,), (jnp.ones_like(x),))
    g = 4 * 23.0**4 / x**5
    assert_allclose(dw, g * exact.lag(x, 23.0) - 2 * w / x, atol=1e-11)


def test_derivative_of_the_peak_follows_the_scaling_law():
    def peak(sigma, loading):
        system = System(JUPITER.field_strength, JUPITER.radius, JUPITER.spin, loading)
        x = exact.PEAK_CURRENT_AT * exact.hill_distance(system, sigma)
        return jnp.log(exact.current(x, system, sigma))

    slopes = jax.grad(lambda s, m: peak(jnp.exp(s), jnp.exp(m)), argnums=(0, 1))(jnp.log(0.05), jnp.log(1000.0))
    assert_allclose(slopes, (0.75, 0.25), atol=1e-6)


def test_single_precision():
    x = jnp.linspace(3.0, 150.0, 500, dtype=jnp.float32)
    w = exact.corotation(x, jnp.float32(23.0))
    assert w.dtype == jnp.float32
    # Below t = 5 the product exp(t²) erfc(t) carries 25 ulps from the exponent.
    assert_allclose(w, exact.corotation(x.astype(jnp.float64), 23.0), atol=1e-5)


def test_other_planets_are_positive():
    assert 5 < float(exact.hill_distance(SATURN, 1.0)) < 60


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.corotation(-1.0, 20.0), "`x` must be positive"),
        (lambda: exact.corotation([1.0, np.nan], 20.0), "`x` must be finite"),
        (lambda: exact.corotation(np.array([1, 2]), 20.0), "`x` must be floating"),
        (lambda: exact.corotation(1.0, 0.0), "`x_hill`"),
        (lambda: exact.hill_distance(JUPITER, -1.0), "`sigma`"),
        (lambda: exact.hill_distance("jupiter", 1.0), "`system` must be"),
        (lambda: exact.hill_distance(System(1e-4, 0.0, 1e-4, 1e3), 1.0), "`system.radius`"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
