import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import PchipInterpolator

from jaxnum.jupiter import (
    JUPITER,
    Constant,
    CurrentSheet,
    Dipole,
    FluxFunction,
    NicholsCowley2004,
    SmoothRamp,
    Tabulated,
    colatitude,
    infimum,
    inverse,
    pole_current_density,
    smallest_slope,
    supremum,
)

X = jnp.array([5.0, 10.0, 20.0, 30.0, 50.0, 100.0])


def test_dipole_is_a_dipole():
    assert_allclose(Dipole().flux(X), 1 / X, rtol=1e-15)
    assert_allclose(Dipole().field(X), X**-3.0, rtol=1e-14)


def test_current_sheet_has_its_published_flux_and_field():
    sheet = CurrentSheet()
    assert_allclose(sheet.flux(X) * 426400, [88183.8, 50520.0, 37689.2, 35209.2, 33140.1, 31301.6], atol=0.05)
    x = np.asarray(X)
    field = 3.335e5 * x**-3 * np.exp(-((x / 14.501) ** 2.5)) + 5.4e4 * x**-2.71
    assert_allclose(sheet.field(X) * 426400, field, rtol=1e-9)


def test_current_sheet_flux_is_the_integral_of_its_field():
    # Independent of autodiff: differences of the flux, of fourth order with h = 1e-2, good to h⁴ ≈ 1e-8 relative.
    sheet, h = CurrentSheet(), 1e-2
    f = [np.asarray(sheet.flux(X + k * h)) for k in (-2, -1, 1, 2)]
    slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
    assert_allclose(slope, -X * sheet.field(X), rtol=1e-8)


def test_any_flux_function_will_do():
    mine = FluxFunction(lambda x: x**-1.0)
    assert_allclose(mine.field(X), Dipole().field(X), rtol=1e-14)
    assert jax.tree.structure(mine) == jax.tree.structure(FluxFunction(mine.function))


def test_smooth_ramp_has_its_known_values():
    law = SmoothRamp()
    assert_allclose(law.value(0.0), 0.05 + 10.0 * 0.01 / 2, rtol=1e-14)
    assert_allclose(law.slope(0.0), 5e6, rtol=1e-12)
    assert_allclose(smallest_slope(law), 1.3e2, rtol=0.05)
    # Far below zero the ramp is j₁²/(4|j|): the other form of the root keeps its digits.
    assert_allclose(law.value(-1e-3) - 0.05, 1e-16 / 4e-3 * (1e5 + 9.9e6 * (1 + 4e3**8) ** -0.125), rtol=1e-3)


def test_slopes_are_derivatives_in_both_modes():
    j = jnp.array([-3e-8, -1e-9, 2e-9, 5e-8, 3e-7])

    @jax.jit
    def measure(law):
        h = 1e-6 * jnp.abs(j) + 1e-13
        central = (law.value(j + h) - law.value(j - h)) / (2 * h)
        return law.slope(j), jax.jacfwd(law.value)(j).diagonal(), jax.vmap(jax.grad(law.value))(j), central

    for law in (SmoothRamp(), NicholsCowley2004()):
        slope, forward, reverse, central = measure(law)
        assert_allclose(slope, forward, rtol=1e-12)
        assert_allclose(reverse, forward, rtol=1e-10)
        assert_allclose(central, forward, rtol=2e-6, atol=1e-2)


def test_table_is_the_monotone_cubic_and_constant_beyond():
    x = np.array([-3e-8, -1e-8, 0.0, 2e-8, 3e-8, 7e-8])
    y = np.array([0.05, 0.06, 0.1, 0.3, 0.32, 0.32])
    law = Tabulated(x, y)
    inside, fine = np.linspace(-1e-8, 3e-8, 41), np.linspace(-4e-8, 8e-8, 401)  # SciPy ends with other slopes

    @jax.jit
    def measure(y, j):
        law = Tabulated(x, y)
        # The value at a point moves with that entry of the table.
        return law.value(j), law.slope(j[-2:]), jax.jacfwd(lambda y: Tabulated(x, y).value(2e-8))(y)

    value, slope, by_entry = map(np.asarray, measure(y, np.concatenate([x, inside, fine, [-1.0, 1.0]])))
    assert_allclose(value[:6], y, rtol=1e-14)
    assert_allclose(value[6:47], PchipInterpolator(x, y)(inside), rtol=1e-12)
    assert (np.diff(value[47:-2]) >= 0).all()
    assert_allclose(value[-2:], [0.05, 0.32])
    assert_allclose(slope, 0.0)
    assert_allclose(by_entry, [0, 0, 0, 1, 0, 0], atol=1e-12)
    assert infimum(law) == 0.05
    assert supremum(law) == 0.32
    with pytest.raises(ValueError, match=r"`law.current_density` must increase"):
        smallest_slope(Tabulated(x[::-1], y))
    with pytest.raises(ValueError, match=r"`law.conductance` must have shape"):
        smallest_slope(Tabulated(x, y[:3]))


def test_colatitudes_are_the_known_ones():
    known = [27.05, 20.13, 17.30, 16.70, 16.19, 15.72]
    assert_allclose(jnp.rad2deg(colatitude(CurrentSheet(), X)), known, atol=0.005)
    assert_allclose(jnp.sin(colatitude(Dipole(), X)) ** 2, 1 / X, rtol=1e-14)


def test_monotonicity_is_measured():
    assert smallest_slope(SmoothRamp()) > 0
    assert smallest_slope(NicholsCowley2004()) == 0  # no feedback from downward currents
    assert smallest_slope(Constant(0.05)) == 0


def test_inverse_undoes_the_law_and_knows_its_limits():
    law = SmoothRamp()
    j = np.array([-3e-8, 0.0, 4e-8, 4e-7])

    @jax.jit
    def measure(law, j):
        undo = jax.jvp(lambda s: inverse(law, s), (law.value(j),), (jnp.ones_like(j),))
        return undo[0], undo[1][0], law.slope(j), inverse(law, jnp.full_like(j, 0.0499))[1]

    (back, reachable), by_sigma, slope, low = measure(law, j)
    assert_allclose(back, j, rtol=1e-10, atol=1e-20)
    assert np.asarray(reachable).all()
    assert not np.asarray(low).any()
    assert_allclose(by_sigma, 1 / np.asarray(slope), rtol=1e-9)


def test_pole_current_density():
    assert_allclose(pole_current_density(JUPITER, SmoothRamp()) * 1e6, -0.018669232, atol=5e-10)
    assert_allclose(pole_current_density(JUPITER, Constant(0.05)), -JUPITER.current_density_scale * 0.05, rtol=1e-14)

    def pole(background):
        return pole_current_density(JUPITER, SmoothRamp(background=background)) * 1e8

    exact, h = jax.grad(pole)(0.05), 1e-5
    assert_allclose(exact, (pole(0.05 + h) - pole(0.05 - h)) / (2 * h), rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Dipole().flux(np.array([1, 2])), "`x` must be floating"),
        (lambda: SmoothRamp().value(np.nan), "`j` must be finite"),
        (lambda: smallest_slope(0.05), "`law` must have a method"),
        (lambda: smallest_slope(SmoothRamp), "call it"),
        (lambda: smallest_slope(Constant(np.nan)), "`law.sigma`"),
        (lambda: smallest_slope(SmoothRamp(), 1.0, -1.0), "`j_max`"),
        (lambda: smallest_slope(SmoothRamp(), num_points=2.5), "`num_points`"),
        (lambda: pole_current_density(None, SmoothRamp()), "`system`"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
