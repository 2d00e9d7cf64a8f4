"""What is measured on a wave function, against Gaussians and plane waves for which everything is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from jaxnum.schrodinger import (
    Grid,
    Periodic,
    current,
    energy,
    exact,
    gaussian_packet,
    momentum,
    norm,
    overlap,
    position,
    probability,
    width,
)

GRID = Grid(-16.0, 16.0, 641)
RING = Grid(0.0, 7.9, 80)  # a period of 8
X = np.asarray(GRID.x)
PACKET = gaussian_packet(X, center=1.2, sigma=0.9, momentum=1.5)


def test_gaussian_has_the_moments_it_was_asked_for():
    # Sums over a grid that resolves a packet are exact to rounding; the derivative errs by (k dx)⁴/30 of k.
    psi = 3.0 * np.asarray(PACKET)
    assert_allclose(norm(psi, GRID), 3.0, rtol=1e-13)
    assert_allclose(position(psi, GRID), 1.2, rtol=1e-13)
    assert_allclose(width(psi, GRID), 0.9, rtol=1e-13)
    assert_allclose(momentum(psi, GRID, hbar=0.7), 0.7 * 1.5, rtol=1e-5)
    # E = ħ²/2m (k₀² + 1/4σ²) + ω²/2 (x₀² + σ²); order 4 errs by dx⁴⟨k⁶⟩/480, order 2 by dx²⟨k⁴⟩/24.
    expected = 0.49 / 4 * (1.5**2 + 1 / (4 * 0.81)) + 0.5 * (1.2**2 + 0.81)
    assert_allclose(energy(psi, GRID, X**2 / 2, mass=2.0, hbar=0.7), expected, rtol=1e-6)
    second = energy(psi, GRID, X**2 / 2, mass=2.0, hbar=0.7, space_order=2)
    k = np.linspace(-4, 7, 2001)
    weight = np.exp(-2 * 0.81 * (k - 1.5) ** 2)
    bent = (k - 1.5 + 1.5) ** 2 / 2 - (1 - np.cos(k * 0.05)) / 0.05**2
    assert_allclose(expected - second, 0.49 / 2 * np.sum(weight * bent) / weight.sum(), rtol=1e-4)


@pytest.mark.parametrize("order", [2, 4])
def test_energy_converges_with_its_order(order):
    spacings, errors = np.array([0.04, 0.06]), []
    for dx in spacings:
        grid = Grid(-320 * dx, 320 * dx, 641)
        psi = gaussian_packet(grid.x, sigma=0.9, momentum=1.5)
        errors.append(float(energy(psi, grid, space_order=order)) - (1.5**2 + 1 / (4 * 0.81)) / 2)
    found = np.diff(np.log(np.abs(errors))) / np.diff(np.log(spacings))
    assert found[0] == pytest.approx(order, abs=0.05), errors


def test_plane_wave_on_a_ring_is_an_eigenstate():
    k = 2 * np.pi * 3 / 8
    psi = np.exp(1j * k * np.asarray(RING.x))
    # The fourth-order difference turns k into (8 sin k dx - sin 2k dx)/6dx, exactly.
    seen = (8 * np.sin(k * 0.1) - np.sin(2 * k * 0.1)) / 0.6
    assert_allclose(momentum(psi, RING, boundary=Periodic()), seen, rtol=1e-12)
    assert_allclose(current(psi, RING, mass=2.0, hbar=0.5, boundary=Periodic()), np.full(80, seen / 4), rtol=1e-12)
    two = (1 - np.cos(k * 0.1)) / 0.01
    assert_allclose(energy(psi, RING, space_order=2, boundary=Periodic()), two, rtol=1e-11)
    assert_allclose(energy(psi, RING, space_order=4, boundary=Periodic()), two / (1 - two * 0.01 / 6), rtol=1e-11)


def test_walls_continue_a_mode_as_an_odd_function():
    grid = Grid(0.0, 1.0, 41)
    mode = np.sin(3 * np.pi * np.asarray(grid.x)) + 0j
    two = (1 - np.cos(3 * np.pi / 40)) * 1600
    assert_allclose(energy(mode, grid, space_order=2), two, rtol=1e-12)
    assert_allclose(energy(mode, grid), two / (1 - two / 1600 / 6), rtol=1e-12)
    # A real function carries nothing, and the two modes below carry a current whose form is known.
    assert_allclose(current(mode, grid), 0.0, atol=1e-13)
    both = np.sin(np.pi * np.asarray(grid.x)) + 1j * np.sin(2 * np.pi * np.asarray(grid.x))
    k = np.array([1, 2]) * np.pi
    seen = (8 * np.sin(k / 40) - np.sin(2 * k / 40)) * 40 / 6
    x = np.asarray(grid.x)
    truth = np.sin(k[0] * x) * seen[1] * np.cos(k[1] * x) - np.sin(k[1] * x) * seen[0] * np.cos(k[0] * x)
    assert_allclose(current(both, grid), truth, atol=1e-12)


def test_current_fulfills_the_continuity_equation():
    # ∂|ψ|²/∂t = -∂j/∂x for an exact packet: the left side by differentiating the closed form in t.
    def density(t):
        psi = exact.free_packet(X, t, sigma=0.9, momentum=1.5, mass=2.0, hbar=0.7)
        return psi.real**2 + psi.imag**2

    _, rate = jax.jvp(density, (1.3,), (1.0,))
    psi = exact.free_packet(X, 1.3, sigma=0.9, momentum=1.5, mass=2.0, hbar=0.7)
    flow = np.asarray(current(psi, GRID, mass=2.0, hbar=0.7))
    slope = (8 * (flow[3:-1] - flow[1:-3]) - (flow[4:] - flow[:-4])) / (12 * 0.05)
    # Differences of fourth order err by (k dx)⁴/30, 2e-5 for the waves of k = 3 that |ψ|² and the current are made of.
    assert_allclose(slope, -rate[2:-2], atol=3e-5 * float(np.abs(rate).max()))


def test_overlap_is_the_inner_product():
    other = gaussian_packet(X, center=-0.4, sigma=0.9, momentum=0.5)
    # Two Gaussians of one width: exp(-d²/8σ² - σ²q²/2 + i phase).
    expected = np.exp(-(1.6**2) / (8 * 0.81) - 0.81 / 2)
    assert_allclose(abs(overlap(PACKET, other, GRID)), expected, rtol=1e-12)
    assert_allclose(overlap(PACKET, other, GRID), np.conj(overlap(other, PACKET, GRID)), rtol=1e-12)
    assert_allclose(overlap(2j * np.asarray(PACKET), PACKET, GRID), -2j, rtol=1e-12)
    assert overlap(np.ones(641), np.ones(641), GRID).dtype == jnp.complex128


def test_probability_of_an_interval():
    from math import erf

    # Cells are dx wide and cut linearly: second order, dx²/24 of the slope of the density at the ends.
    found = probability(PACKET, GRID, 0.33, 2.01)
    truth = (erf((2.01 - 1.2) / (0.9 * np.sqrt(2))) - erf((0.33 - 1.2) / (0.9 * np.sqrt(2)))) / 2
    assert_allclose(found, truth, atol=0.05**2)
    slope = jax.grad(lambda b: probability(PACKET, GRID, 0.33, b))(2.01)
    assert_allclose(slope, np.abs(np.asarray(PACKET)[360]) ** 2, rtol=1e-12)  # x = 2.0 is the point of the cell


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.floats(-20, 20), min_size=3, max_size=3, unique=True))
def test_probabilities_of_neighboring_intervals_add_up(cuts):
    a, b, c = sorted(cuts)
    if min(b - a, c - b) < 1e-9:
        return
    parts = probability(PACKET, GRID, a, b) + probability(PACKET, GRID, b, c)
    assert_allclose(parts, probability(PACKET, GRID, a, c), atol=1e-14)
    assert_allclose(probability(PACKET, GRID, -20.0, 20.0), 1.0, rtol=1e-13)


def test_many_rows_at_once_are_each_row(rng):
    rows = (rng.normal(size=(2, 2, 80)) + 1j * rng.normal(size=(2, 2, 80))) * np.hanning(80)
    v = rng.normal(size=80)
    measured = {
        "norm": lambda psi: norm(psi, RING),
        "position": lambda psi: position(psi, RING),
        "width": lambda psi: width(psi, RING),
        "momentum": lambda psi: momentum(psi, RING),
        "energy": lambda psi: energy(psi, RING, v),
        "probability": lambda psi: probability(psi, RING, 1.0, 3.3),
        "current": lambda psi: current(psi, RING),
        "overlap": lambda psi: overlap(psi, 1j * psi, RING),
    }
    for name, measure in measured.items():
        together = np.asarray(measure(rows))
        assert together.shape[:2] == (2, 2), name
        assert_allclose(together[1, 0], measure(rows[1, 0]), rtol=1e-12, atol=1e-13, err_msg=name)


def test_single_precision_stays_single():
    psi = np.asarray(PACKET).astype(np.complex64)
    for measure in (norm, position, width, momentum, energy):
        found = measure(psi, GRID)
        assert found.dtype == jnp.float32
        # A sum of 641 rounded terms; the kinetic energy divides differences by dx² = 1/400.
        assert_allclose(found, measure(PACKET, GRID), rtol=1e-3)
    assert overlap(psi, psi, GRID).dtype == jnp.complex64


def test_derivatives_of_observables():
    @jax.jit
    def of(k):
        psi = gaussian_packet(X, center=0.3 * k, sigma=0.9, momentum=k)
        return energy(psi, GRID, X**2 / 2) + position(psi, GRID)

    # E = k²/2 + (0.3k)²/2 + ..., x = 0.3k: slope 1.09 k + 0.3, but for the dx⁴ of the kinetic term.
    assert_allclose(jax.jvp(of, (1.5,), (1.0,))[1], jax.grad(of)(1.5), rtol=1e-12)
    assert_allclose(jax.grad(of)(1.5), 1.09 * 1.5 + 0.3, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: norm(np.ones(3), GRID),
            r"`psi` must have 641 points along its last axis, as `grid`, but has shape \(3,\)",
        ),
        (lambda: norm(1.0, GRID), "`psi` must have 641 points"),
        (lambda: norm("psi", GRID), "`psi` must be an array of numbers"),
        (lambda: norm(np.full(641, np.nan), GRID), "`psi` must be finite"),
        (lambda: norm(PACKET, 0.1), "`grid` must be a `Grid"),
        (lambda: position([], GRID), "`psi` must have"),
        (lambda: momentum(PACKET, GRID, hbar=0.0), "`hbar` must be a finite positive number"),
        (lambda: momentum(PACKET, GRID, boundary="walls"), "`boundary` must be"),
        (lambda: current(PACKET, GRID, mass=-1.0), "`mass` must be a finite positive number"),
        (lambda: energy(PACKET, GRID, X[:-1]), r"`potential` must have shape \(641,\)"),
        (lambda: energy(PACKET, GRID, lambda x: x), "`potential` must be an array here"),
        (lambda: energy(PACKET, GRID, space_order=3), "`space_order` must be 2 or 4"),
        (lambda: overlap(PACKET, X[1:], GRID), "`b` must have 641 points"),
        (lambda: probability(PACKET, GRID, 1.0, 1.0), "`x_max` must be greater than `x_min`"),
        (lambda: probability(PACKET, GRID, None, 1.0), "`x_min` must be a finite number"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
