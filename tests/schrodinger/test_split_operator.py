"""The split operator against exact packets. The ring is wide enough that no packet feels it, and the potential is
smooth, so that the error in space is rounding and what is measured is the error in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.schrodinger import Grid, Periodic, SplitOperator, Walls, energy, exact, norm, propagate
from jaxnum.schrodinger.splitting import GENERAL, GRADIENT, QUADRATIC, difference

GRID = Grid(-12.0, 11.8125, 128)
FORCE, DRIVE = 0.5, 1.6


def driven(x, t):
    return x**2 / 2 - FORCE * x * jnp.cos(DRIVE * t)


def error(order, num_steps):
    psi0 = exact.driven_oscillator(GRID.x, 0.0, force=FORCE, drive=DRIVE, center=1.5)
    truth = exact.driven_oscillator(GRID.x, 3.0, force=FORCE, drive=DRIVE, center=1.5)
    solution = propagate(
        psi0, driven, GRID, t1=3.0, num_steps=num_steps, method=SplitOperator(order), boundary=Periodic()
    )
    assert solution.ok, solution
    return float(norm(solution.value - truth, GRID))


# The steps are small enough that the next order is below 2 %, and large enough that rounding (1e-13) is.
@pytest.mark.parametrize(("order", "steps"), [(2, (100, 200)), (4, (24, 48)), (6, (10, 20))])
def test_order_in_a_driven_oscillator(order, steps):
    errors = [error(order, n) for n in steps]
    found = np.log(errors[0] / errors[1]) / np.log(2)
    assert found == pytest.approx(order, abs=0.05), errors


@pytest.mark.parametrize(("order", "steps"), [(4, (24, 48)), (6, (12, 24))])
def test_the_slope_keeps_the_order_in_other_units(order, steps):
    # The squared slope of the potential is divided by the mass: a wrong factor would leave an error of second order.
    state = {"center": 1.5, "momentum": 0.5, "frequency": 1.1, "mass": 1.7, "hbar": 0.6}
    potential = 1.7 * 1.1**2 * GRID.x**2 / 2
    errors = []
    for num_steps in steps:
        found = propagate(
            exact.coherent_state(GRID.x, 0.0, **state),
            potential,
            GRID,
            t1=3.0,
            num_steps=num_steps,
            mass=1.7,
            hbar=0.6,
            method=SplitOperator(order),
            boundary=Periodic(),
        ).value
        errors.append(float(norm(found - exact.coherent_state(GRID.x, 3.0, **state), GRID)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05), errors


def test_slope_is_that_of_fourier_and_does_not_feel_a_kink_far_away():
    x, dx = np.asarray(GRID.x), float(GRID.dx)
    # sech² on this grid: its waves end at exp(-π²/2dx) = 4e-12, times their number of twice the reach.
    slope = np.asarray(difference(jnp.asarray(1 / np.cosh(x) ** 2))) / dx
    np.testing.assert_allclose(slope, -2 * np.tanh(x) / np.cosh(x) ** 2, atol=1e-9)
    slope = np.asarray(difference(jnp.asarray(np.stack([x**2 / 2, x**4 / 4])))) / dx
    inside = np.abs(x) < 12 - 33 * dx  # the difference reaches over 32 spacings
    np.testing.assert_allclose(slope[:, inside], np.stack([x, x**3])[:, inside], atol=1e-9)


@pytest.mark.parametrize("table", [GENERAL, QUADRATIC, GRADIENT], ids=["general", "quadratic", "gradient"])
def test_coefficients_are_consistent_palindromes(table):
    for order, scheme in table.items():
        assert len(scheme.kicks) == len(scheme.flows) + 1
        assert scheme.bends == scheme.bends[::-1]
        for part in (scheme.kicks, scheme.flows):
            assert part == part[::-1], order
            assert sum(part) == pytest.approx(1, abs=4e-16 * len(part))
        assert [scheme.distinct[e] for e in scheme.sequence] == list(scheme.flows)
        assert scheme.times[-1] == pytest.approx(1, abs=1e-15)


def test_general_coefficients_have_their_order_for_any_two_flows(rng):
    # Two matrices without any relation; the quadratic schemes of order 6 must fail here, and do.
    a, b = 0.3 * rng.normal(size=(2, 3, 3))
    expm = jax.scipy.linalg.expm

    def composed(scheme, n):
        kicks = [np.asarray(expm(k * b / n)) for k in scheme.kicks]
        flows = [np.asarray(expm(f * a / n)) for f in scheme.flows]
        step = kicks[0]
        for kick, flow in zip(kicks[1:], flows, strict=True):
            step = kick @ flow @ step
        return np.linalg.matrix_power(step, n)

    truth = np.asarray(expm(a + b))

    def found(scheme, n):
        errors = [np.abs(composed(scheme, m) - truth).max() for m in (n, 2 * n)]
        return np.log2(errors[0] / errors[1])

    for order, n in ((2, 32), (4, 8), (6, 4)):
        assert found(GENERAL[order], n) == pytest.approx(order, abs=0.06)
    assert found(QUADRATIC[6], 4) < 5


@pytest.mark.parametrize("order", [4, 6])
def test_gradient_coefficients_have_their_order_where_the_force_bends(order):
    # The classical motion in V = q⁴/4: a kick changes p by the slope of bV - dτ²V'²/m. Differences of three runs.
    scheme, mass = GRADIENT[order], 1.7

    def end(num_steps, tau=4.0):
        q, p, tau = 1.2, 0.3, tau / num_steps
        for _ in range(num_steps):
            for b, d, a in zip(scheme.kicks, scheme.bends, (*scheme.flows, 0.0), strict=True):
                p -= tau * (b * q**3 - d * tau**2 * 6 * q**5 / mass)
                q += a * tau * p / mass
        return np.array([q, p])

    ends = [end(n) for n in (64, 128, 256)]
    found = np.log2(np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[1] - ends[2]))
    assert found == pytest.approx(order, abs=0.05)


def test_plane_wave_turns_by_its_energy():
    # Without a potential one step of any length is exact.
    k = 2 * np.pi * 5 / (GRID.num_points * GRID.dx)
    wave = np.exp(1j * k * np.asarray(GRID.x))
    solution = propagate(wave, None, GRID, t1=40.0, num_steps=3, mass=1.3, hbar=0.7, **RING)
    phase = np.exp(-1j * 0.7 * k**2 / (2 * 1.3) * 40.0)
    np.testing.assert_allclose(solution.value, phase * wave, atol=1e-13 * 40 * k**2)
    np.testing.assert_allclose(solution.history.energy, 0.7**2 * k**2 / (2 * 1.3), rtol=1e-12)


RING = {"method": SplitOperator(2), "boundary": Periodic()}


def test_norm_is_kept_and_energy_does_not_drift():
    psi0 = exact.coherent_state(GRID.x, 0.0, center=2.0)
    solution = propagate(psi0, GRID.x**2 / 2, GRID, t1=200.0, num_steps=4000, save_every=40, **RING)
    assert solution.residual < 1e-12
    # Strang keeps an energy that differs by O(τ²): bounded for ever, and of the size τ² E, here 0.05² · 2.5.
    assert np.ptp(solution.history.energy) < 0.05**2 * 2.5
    halves = np.array_split(np.asarray(solution.history.energy), 2)
    assert abs(halves[0].mean() - halves[1].mean()) < 1e-4
    np.testing.assert_allclose(
        solution.history.energy[0],
        energy(psi0, GRID, GRID.x**2 / 2, boundary=Periodic()),
        rtol=1e-4,  # the finite difference of `energy` is what errs
    )


def test_single_precision_stays_single():
    psi0 = exact.coherent_state(np.asarray(GRID.x, np.float32), np.float32(0), center=np.float32(2))
    solution = propagate(psi0.astype(np.complex64), None, GRID, t1=1.0, num_steps=20, **RING)
    assert solution.value.dtype == np.complex64
    assert solution.ok


def test_walls_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Argument `boundary` must be `Periodic\(\)` with `SplitOperator`"):
        propagate(jnp.ones(128), None, GRID, t1=1.0, num_steps=2, method=SplitOperator(2), boundary=Walls())
    with pytest.raises(ValueError, match="Argument `order` must be 2, 4 or 6, but is 3"):
        SplitOperator(3)
