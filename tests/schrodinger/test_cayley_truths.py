"""Cayley propagation against truths: closed forms on the grid, invariants, tables, exact packets.

The numbers of steps and of points are static, the time and the ends of the grid are not. So one run of 1000 steps on
301 points, compiled once per method, serves most tests, and orders are measured by stretching time or grid.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import jv

from jaxnum.schrodinger import (
    Cayley,
    Grid,
    Periodic,
    exact,
    gaussian_packet,
    norm,
    overlap,
    probability,
    propagate,
    stationary_states,
)

CRANK_NICOLSON = Cayley(2, 2)
METHODS = [Cayley(2, 2), Cayley(4, 2), Cayley(6, 2), Cayley(8, 2), Cayley(4, 4), Cayley(8, 4)]
POINTS, STEPS = 301, 1000
J = np.arange(POINTS)
propagate_1000 = functools.partial(propagate, num_steps=STEPS)


def name(method):
    return f"time{method.time_order}-space{method.space_order}"


def distance(psi, truth, grid):
    return float(norm(np.asarray(psi) - np.asarray(truth), grid))


def slope(sizes, errors):
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


def spread_of(function, k, weight):
    """Return the root of the mean of |function|² over the spectrum: the distance that a phase error makes."""
    return float(np.sqrt(np.sum(weight * function(k) ** 2) / np.sum(weight)))


# --- exact on the grid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_box_modes_turn_by_the_phase_of_the_scheme(method):
    # Each mode of the box is an eigenvector of the scheme, and a sum of modes is taken apart by its sine transform.
    grid, dt = Grid(0.0, 1.5, POINTS), 2e-5
    units = {"mass": 1.3, "hbar": 0.7}
    k = np.arange(1, POINTS - 1)
    modes = np.sin(np.pi * np.outer(k, J) / (POINTS - 1)) * np.sqrt(2 / (POINTS - 1))
    weights = np.exp(1j * k**2) / np.sqrt(len(k))
    found = propagate_1000(weights @ modes, None, grid, t1=dt * STEPS, method=method, **units)
    some = [1, 2, 3, 7, 20, 50, 150, 250, 298, 299]
    phases = np.array([exact.box_mode_phase(m, grid, dt, method=method, **units) for m in some])
    amplitudes = (modes @ np.asarray(found.value))[np.array(some) - 1]
    # A thousand roundings add up to 1e-13 at random, to 1e-12 at worst; the target is ten times that.
    assert_allclose(amplitudes, weights[np.array(some) - 1] * np.exp(1j * STEPS * phases), atol=1e-11)
    assert found.ok


@pytest.mark.parametrize(("order", "dts"), [(2, 1e-4), (4, 0.004), (6, 0.02), (8, 0.06)])
def test_order_in_time_against_the_lattice_propagator(order, dts):
    # Second differences are a chain with hopping L = 1/2dx²: from a single site ψ_n(t) = iⁿ e^(-2iLt) J_n(2Lt), exact
    # in space; V = 3 makes the energies 3 to 5. The scheme keeps energy, so that the error is t dt^p ‖H^(p+1)ψ‖ times a
    # constant, whatever t: a thousand steps of dt show dt^(p+1).
    grid = Grid(-150.0, 150.0, POINTS)  # dx = 1, 2L = 1, and the front is at n = t: well before the walls
    start = np.zeros(POINTS, complex)
    start[150] = 1
    n = np.abs(J - 150)
    dts = dts * np.array([1.0, 1.2, 1.4])
    errors = []
    for dt in dts:
        t = dt * STEPS
        found = propagate_1000(start, np.full(POINTS, 3.0), grid, t1=t, method=Cayley(order, 2)).value
        errors.append(distance(found, 1j**n * np.exp(-4j * t) * jv(n, t), grid))
    assert slope(dts, errors) - 1 == pytest.approx(order, abs=0.05), errors


@pytest.mark.parametrize("order", [2, 4])
def test_order_in_space_against_the_exact_packet(order):
    packet = {"center": -1.0, "sigma": 0.9, "momentum": 1.0}
    spacings = np.array([0.09, 0.11, 0.14])  # walls at 13 and more: eleven widths away
    errors = []
    for dx in spacings:
        grid = Grid(-150 * dx, 150 * dx, POINTS)
        # Order 8 in steps of 0.0015 errs by rounding only.
        found = propagate_1000(gaussian_packet(grid.x, **packet), None, grid, t1=1.5, method=Cayley(8, order)).value
        errors.append(distance(found, exact.free_packet(grid.x, 1.5, **packet), grid))
    assert slope(spacings, errors) == pytest.approx(order, abs=0.05), errors


@pytest.mark.parametrize(("method", "limit"), [(CRANK_NICOLSON, 2e-2), (Cayley(8, 2), 1e-11)], ids=["cn", "order8"])
def test_bloch_oscillation_revives(method, limit):
    # Second differences in V = F x revive at T = 2π/(F dx), up to the phase exp(-2iLT), L = 1/2dx².
    grid, force = Grid(-75.0, 75.0, POINTS), 0.4
    period = 2 * np.pi / (force * 0.5)
    psi0 = gaussian_packet(grid.x, sigma=3.0)
    truth = np.exp(-2j * 2.0 * period) * np.asarray(psi0)
    found = propagate_1000(psi0, force * grid.x, grid, t1=period, method=method)
    # The swing of 4L/F = 20 reaches energies of E = 8: E³dt²T/12 = 1.3e-2 for order 2, rounding for order 8.
    assert distance(found.value, truth, grid) < limit
    half = propagate_1000(psi0, force * grid.x, grid, t1=period / 2, method=method)
    assert abs(overlap(half.value, psi0, grid)) < 0.01


# --- invariants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "boundary"),
    [(m, None) for m in METHODS] + [(Cayley(4, 4), Periodic())],
    ids=[name(m) for m in METHODS] + ["ring"],
)
def test_norm_and_energy_are_kept_over_2000_steps(method, boundary):
    grid = Grid(-15.0, 15.0, POINTS)
    x = np.asarray(grid.x)
    potential = 3.0 * np.cos(2 * np.pi * x / 30.1) + np.exp(-(x**2))
    psi = gaussian_packet(grid.x, center=-2.0, sigma=0.6, momentum=3.0)
    settings = {"method": method, **({} if boundary is None else {"boundary": boundary})}
    first = propagate_1000(psi, potential, grid, t1=10.0, **settings)
    second = propagate_1000(first.value, potential, grid, t1=10.0, **settings)
    drift = abs(float(second.history.norm[-1] / first.history.norm[0]) - 1)
    # One solve rounds by some eps and 2000 roundings add up: 1e-12 for one solve a step, 5e-12 for several.
    assert drift <= (1e-12 if method.time_order == 2 else 5e-12)
    # H of the grid commutes with the step; its norm is 200 at dx = 0.1, against a mean of 5.
    assert_allclose(second.history.energy[-1], first.history.energy[0], rtol=1e-10)
    assert first.ok
    assert second.ok


def test_reversal_over_20000_steps():
    grid = Grid(-15.0, 15.0, POINTS)
    potential = np.asarray(grid.x) ** 2 / 20
    psi0 = np.array(gaussian_packet(grid.x, center=-3.0, momentum=1.0))
    psi0[[0, -1]] = 0
    psi = psi0
    for _ in range(20):
        psi = np.asarray(propagate_1000(psi, potential, grid, t1=13.0).value)
    assert distance(psi, psi0, grid) > 0.1
    psi = psi.conj()  # complex conjugation turns time around
    for _ in range(20):
        psi = np.asarray(propagate_1000(psi, potential, grid, t1=13.0).value)
    assert distance(psi.conj(), psi0, grid) <= 1e-11


def test_step_is_linear_and_time_counts_only_as_a_difference(rng):
    grid = Grid(-3.0, 3.0, POINTS)
    v = rng.normal(size=POINTS)
    a, b = (rng.normal(size=POINTS) + 1j * rng.normal(size=POINTS) for _ in range(2))
    run = functools.partial(propagate_1000, potential=v, grid=grid, method=CRANK_NICOLSON)
    whole = run(2j * a + b, t1=0.3).value
    assert_allclose(whole, 2j * np.asarray(run(a, t1=0.3).value) + run(b, t1=0.3).value, atol=1e-11)
    assert_allclose(run(a, t0=5.0, t1=5.3).value, run(a, t1=0.3).value, atol=1e-11)


def test_constant_potential_adds_to_the_energy_of_a_mode():
    grid, c, dt = Grid(0.0, 1.0, POINTS), -7.0, 0.01
    mode = np.sin(2 * np.pi * J / (POINTS - 1))
    found = propagate_1000(mode, np.full(POINTS, c), grid, t1=dt * STEPS, method=CRANK_NICOLSON).value
    energy = (1 - np.cos(2 * np.pi / (POINTS - 1))) * (POINTS - 1) ** 2 + c
    # The energy itself is rounded relative to 2/dx² = 2e5: 1e-11 of it, times t = 10.
    assert_allclose(found, mode * np.exp(-2j * STEPS * np.arctan(dt * energy / 2)), atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    strength=st.floats(0.0, 1e3),
    t1=st.floats(1e-3, 10.0),
    mass=st.floats(0.1, 10.0),
    hbar=st.floats(0.1, 10.0),
)
def test_any_real_potential_keeps_norm_and_inner_product(seed, strength, t1, mass, hbar):
    rng = np.random.default_rng(seed)
    grid = Grid(-1.0, 2.0, POINTS)
    v = strength * rng.normal(size=POINTS)
    a, b = (rng.normal(size=POINTS) + 1j * rng.normal(size=POINTS) for _ in range(2))
    a[[0, -1]] = b[[0, -1]] = 0
    run = functools.partial(propagate_1000, potential=v, grid=grid, t1=t1, method=CRANK_NICOLSON)
    a1, b1 = (run(psi, mass=mass, hbar=hbar) for psi in (a, b))
    assert a1.ok
    assert float(a1.residual) < 1e-12
    assert_allclose(overlap(a1.value, b1.value, grid), overlap(a, b, grid), atol=1e-11)


# --- tables -----------------------------------------------------------------------------------------------------------

FREE = {"center": -10.0, "sigma": 1.0, "momentum": 2.0}

# Made with other programs, LAPACK and NumPy: these errors belong to the schemes, and any correct program has them.
FREE_TABLE = [
    (512, 500, Cayley(2, 4), 2.870e-3),
    (1024, 50, Cayley(6, 4), 9.841e-5),
    (2048, 2000, Cayley(2, 2), 9.832e-3),
    (2048, 2000, Cayley(4, 4), 6.060e-6),
]


@pytest.mark.parametrize(("points", "steps", "method", "error"), FREE_TABLE)
def test_free_packet_errs_as_in_the_table(points, steps, method, error):
    grid = Grid(-40.0, 40.0, points)
    found = propagate(gaussian_packet(grid.x, **FREE), None, grid, t1=5.0, num_steps=steps, method=method)
    assert float(found.residual) < 1e-12
    assert_allclose(distance(found.value, exact.free_packet(grid.x, 5.0, **FREE), grid), error, rtol=5e-4)


SWING_TABLE = [(201, 500, Cayley(2, 2), 2.440e-1), (801, 2000, Cayley(4, 4), 8.631e-6)]


@pytest.mark.parametrize(("points", "steps", "method", "error"), SWING_TABLE)
def test_coherent_state_errs_as_in_the_table(points, steps, method, error):
    grid = Grid(-12.0, 12.0, points)
    psi0 = exact.coherent_state(grid.x, 0.0, center=3.0)
    found = propagate(psi0, grid.x**2 / 2, grid, t1=2 * np.pi, num_steps=steps, method=method)
    assert_allclose(distance(found.value, -psi0, grid), error, rtol=5e-4)


# --- exact packets ----------------------------------------------------------------------------------------------------


def test_reflectionless_well_is_crossed_with_the_exact_delay():
    grid, t1 = Grid(-40.0, 40.0, 2048), 8.0
    k = np.linspace(-1.0, 5.0, 601)
    for depth in (1, 2):
        state = functools.partial(exact.poschl_teller_packet, depth=depth, **FREE)
        v = -depth * (depth + 1) / 2 / jnp.cosh(grid.x) ** 2
        found = propagate(state(grid.x, 0.0), v, grid, t1=t1, num_steps=2000, method=Cayley(4, 4)).value
        # Numerov's phase runs behind by dx⁴k⁶t/480; twice that, because k is larger inside the well.
        weight = (k**2 + 1) * (k**2 + 4) ** (depth - 1) * np.exp(-2 * (k - 2.0) ** 2)
        expected = spread_of(lambda k: float(grid.dx) ** 4 * k**6 * t1 / 480, k, weight)
        assert 0.5 * expected < distance(found, state(grid.x, t1), grid) < 2 * expected
        assert distance(found, exact.free_packet(grid.x, t1, **FREE), grid) > 0.5


def transmitted(potential, grid, packet, method):
    psi0 = gaussian_packet(grid.x, **packet)
    found = propagate(psi0, potential, grid, t1=85.0, num_steps=2000, method=method).value
    return float(probability(found, grid, 0.0, 120.0))


def expected_transmission(law, center, sigma, momentum):
    assert center < 0
    k = np.linspace(1e-3, momentum + 8 / sigma, 4001)
    weight = np.sqrt(2 / np.pi) * sigma * np.exp(-2 * sigma**2 * (k - momentum) ** 2) * (k[1] - k[0])
    return float(np.sum(weight * np.asarray(law(k))))


SLOW = {"center": -30.0, "sigma": 5.0, "momentum": 1.0}


def test_transmission_of_a_sech_squared_well_and_hill():
    grid = Grid(-120.0, 120.0, 2048)
    for v0 in (0.6, -0.1, -0.35):  # beyond -1/8 the root in the formula is imaginary
        expected = expected_transmission(lambda k, v0=v0: exact.poschl_teller_transmission(k, v0), **SLOW)
        found = transmitted(-v0 / jnp.cosh(grid.x) ** 2, grid, SLOW, Cayley(4, 4))
        assert 0.05 < expected < 0.995
        assert_allclose(found, expected, atol=1e-4)


def test_transmission_of_a_square_barrier_takes_the_mean_value_at_its_jumps():
    grid = Grid(-120.0, 120.0, 2048)
    dx, v0 = float(grid.dx), 0.6
    edge = 9.5 * dx  # the ends lie on grid points, which are half a spacing away from zero
    expected = expected_transmission(lambda k: exact.barrier_transmission(k**2 / 2, v0, 2 * edge), **SLOW)
    away = np.abs(np.asarray(grid.x))
    half = np.where(away < edge - dx / 2, v0, np.where(away < edge + dx / 2, v0 / 2, 0.0))
    # Second differences lower the kinetic energy by its k²dx²/12 = 1.2e-3, and dT/dE is one to two here.
    assert_allclose(transmitted(half, grid, SLOW, CRANK_NICOLSON), expected, atol=2.5e-3)
    # With V = 0 on the ends the barrier is dx too narrow, and T is off to first order.
    narrow = np.where(away < edge - dx / 2, v0, 0.0)
    thinner = expected_transmission(lambda k: exact.barrier_transmission(k**2 / 2, v0, 2 * edge - dx), **SLOW)
    found = transmitted(narrow, grid, SLOW, CRANK_NICOLSON)
    assert_allclose(found, thinner, atol=2.5e-3)
    assert abs(found - expected) > 2e-2


def test_units_other_than_one():
    grid = Grid(-15.0, 15.0, POINTS)
    units = {"mass": 2.5, "hbar": 0.4}
    packet = {"center": -4.0, "sigma": 1.1, "momentum": 3.0, **units}
    found = propagate_1000(exact.free_packet(grid.x, 0.0, **packet), None, grid, t1=10.0, **units).value
    # k⁶dx⁴ħt/480m with k from 3 to 4.5, the end of the spectrum.
    assert distance(found, exact.free_packet(grid.x, 10.0, **packet), grid) < 1e-3
    swing = {"center": 0.5, "momentum": 1.0, "frequency": 0.7, **units}
    v = 2.5 * 0.7**2 * grid.x**2 / 2
    found = propagate_1000(exact.coherent_state(grid.x, 0.0, **swing), v, grid, t1=10.0, **units).value
    assert distance(found, exact.coherent_state(grid.x, 10.0, **swing), grid) < 1e-2
    # ... and is elsewhere with units of one.
    wrong = propagate_1000(exact.coherent_state(grid.x, 0.0, **swing), v, grid, t1=10.0).value
    assert distance(wrong, exact.coherent_state(grid.x, 10.0, **swing), grid) > 0.5


def test_a_quarter_of_the_revival_time_makes_two_packets():
    grid = Grid(0.0, 1.0, POINTS)
    psi0 = np.asarray(gaussian_packet(grid.x, center=0.3, sigma=0.05, momentum=10.0))
    found = propagate_1000(psi0, None, grid, t1=1 / np.pi, method=Cayley(8, 4)).value
    expected = np.exp(-0.25j * np.pi) / np.sqrt(2) * (psi0 - 1j * psi0[::-1])
    k = np.linspace(-70.0, 90.0, 1601)
    numerov = spread_of(lambda k: k**6 / 300**4 / np.pi / 480, k, np.exp(-2 * 0.05**2 * (k - 10) ** 2))
    assert distance(found, expected, grid) < 1.5 * numerov < 1e-2


def test_ring_lets_a_packet_pass_its_ends():
    grid = Grid(-15.0, 14.9, POINTS - 1 + 1)
    period = float(grid.dx) * POINTS
    packet = {"center": 11.0, "sigma": 0.8, "momentum": 2 * np.pi * 12 / period}  # a whole number of waves around
    psi0 = gaussian_packet(grid.x, **packet)
    found = propagate_1000(psi0, None, grid, t1=6.0, boundary=Periodic()).value
    x = np.asarray(grid.x)
    truth = sum(np.asarray(exact.free_packet(x + period * turn, 6.0, **packet)) for turn in (-1, 0, 1, 2))
    k = np.linspace(-2.0, 7.0, 901)
    weight = np.exp(-2 * 0.64 * (k - packet["momentum"]) ** 2)
    numerov = spread_of(lambda k: float(grid.dx) ** 4 * k**6 * 6.0 / 480, k, weight)
    assert distance(found, truth, grid) < 1.5 * numerov < 0.1
    assert float(probability(found, grid, -10.0, 5.0)) > 0.9


# --- potentials that depend on time -----------------------------------------------------------------------------------


def shaken(x, t, args):
    return x**2 / 2 - args["force"] * x * jnp.cos(args["drive"] * t)


@pytest.mark.parametrize(("method", "order"), [(Cayley(2, 4), 2), (Cayley(4, 4), 4)])
def test_order_in_a_driven_oscillator(method, order):
    # Order 2 from the middle of the step, order 4 from Gauss's two points. Numerov's error at dx = 0.02 is 1e-7. Twice
    # as many steps are two runs of half the time, so that one compilation serves.
    grid, steps, t1 = Grid(-6.0, 6.0, 601), 20, 0.75 if order == 2 else 1.5
    drive, start = {"force": 2.0, "drive": 2.5}, {"center": 0.5, "momentum": 0.3}
    run = functools.partial(propagate, potential=shaken, grid=grid, num_steps=steps, method=method, args=drive)
    truth = exact.driven_oscillator(grid.x, t1, **start, **drive)
    psi0 = exact.driven_oscillator(grid.x, 0.0, **start, **drive)
    once = run(psi0, t1=t1).value
    twice = run(run(psi0, t1=t1 / 2).value, t0=t1 / 2, t1=t1).value
    errors = [distance(psi, truth, grid) for psi in (once, twice)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05), errors


def test_stationary_states_only_turn():
    method = Cayley(4, 4)
    grid = Grid(-7.0, 7.0, POINTS)
    v = np.asarray(grid.x) ** 2 / 2 + np.sin(np.asarray(grid.x))
    energies, states = stationary_states(v, grid, num_states=3, space_order=method.space_order)
    phase = complex(overlap(states[2], propagate_1000(states[2], v, grid, t1=3.0, method=method).value, grid))
    # Energies are rounded relative to 2/dx² = 900, times t = 3; order 4 errs by (E dt)⁵/720 a step, 1e-14.
    assert_allclose(phase, np.exp(-3j * float(energies[2])), atol=1e-10)


# --- doors ------------------------------------------------------------------------------------------------------------

SMALL = Grid(-1.0, 1.0, 9)
ONES = np.ones(9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": np.linspace(-1, 1, 9)}, "`grid` must be a `Grid"),
        ({"psi0": np.ones(8)}, r"`psi0` must have shape \(9,\), but has shape \(8,\)"),
        ({"psi0": "packet"}, "`psi0` must be an array of numbers"),
        ({"psi0": np.ones(9, int)}, "`psi0` must be floating point"),
        ({"psi0": np.full(9, np.nan)}, "`psi0` must be finite"),
        ({"potential": np.ones(8)}, r"`potential` must have shape \(9,\)"),
        ({"potential": 1j * ONES}, "`potential` must be real"),
        ({"potential": np.full(9, np.inf)}, "`potential` must be finite"),
        ({"potential": lambda _x, _t: np.ones(8)}, r"`potential` must return shape \(9,\)"),
        ({"potential": lambda x, t: jnp.where(t < 1, jnp.inf, 0.0) * x}, "`potential` must return finite"),
        ({"potential": lambda x, _t: x, "args": 1.0}, "`potential` must take `\\(x, t, args\\)`"),
        ({"args": "a", "potential": lambda x, t, a: x}, "`args` must be"),  # noqa: ARG005
        ({"t1": 0.0}, "`t1` must be later than `t0`, 0, but is 0"),
        ({"t1": np.nan}, "`t1` must be a finite number"),
        ({"t0": "now"}, "`t0` must be a finite number"),
        ({"num_steps": 0}, "`num_steps` must be an integer of at least 1, but is 0"),
        ({"num_steps": 2.0}, "`num_steps` must be an integer"),
        ({"mass": 0.0}, "`mass` must be a finite positive number"),
        ({"hbar": -1.0}, "`hbar` must be a finite positive number"),
        ({"method": "crank-nicolson"}, "`method` must be a"),
        ({"method": Cayley}, "`method` must be a"),
        ({"boundary": "periodic"}, "`boundary` must be"),
        ({"boundary": Periodic}, "`boundary` must be"),
        ({"adjoint": None}, "`adjoint` must be"),
        ({"save_every": 0}, "`save_every` must be an integer"),
        ({"save_every": True}, "`save_every` must be an integer"),
    ],
)
def test_bad_input_is_named(arguments, message):
    good = {"psi0": ONES, "potential": None, "grid": SMALL, "t1": 1.0, "num_steps": 2}
    with pytest.raises(ValueError, match=message) as error:
        propagate(**(good | arguments))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Grid(1.0, 1.0, 9), "`x_max` must be greater than `x_min`, 1, but is 1"),
        (lambda: Grid(0.0, np.inf, 9), "`x_max` must be a finite number"),
        (lambda: Grid("a", 1.0, 9), "`x_min` must be a finite number"),
        (lambda: Grid(0.0, 1.0, 4), "`num_points` must be an integer of at least 5, but is 4"),
        (lambda: Grid(0.0, 1.0, 9.5), "`num_points` must be an integer"),
        (lambda: Cayley(3, 2), "`time_order` must be 2, 4, 6 or 8, but is 3"),
        (lambda: Cayley(2, 3), "`space_order` must be 2 or 4, but is 3"),
        (lambda: gaussian_packet("x"), "`x` must be an array of numbers"),
        (lambda: gaussian_packet([0.0], sigma=-1.0), "`sigma` must be a finite positive number"),
        (lambda: gaussian_packet([0.0], center=np.nan), "`center` must be a finite number"),
        (lambda: gaussian_packet([0.0], momentum=[1.0]), "`momentum` must be a finite number"),
    ],
)
def test_bad_records_are_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
