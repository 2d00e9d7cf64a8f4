"""Every closed form is held against its own differential equation, and against what it is at known times."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from jaxnum.schrodinger import Cayley, Grid, exact, gaussian_packet, norm, position, width

X = np.linspace(-6.0, 6.0, 61)
GRID = Grid(-120.0, 120.0, 4801)
TIMES = np.array([0.0, 0.37, 2.9, 11.0])
ODD = {"center": 0.8, "momentum": 0.6, "mass": 1.5, "hbar": 0.8}  # units in which nothing is one


def nothing(x, _t, _psi):
    return 0.0 * x


def parabola(x, _t, _psi):
    return 1.5 * 1.3**2 * x**2 / 2


def driven(x, t, _psi):
    return 1.3**2 * x**2 / 2 - 0.7 * x * jnp.cos(1.9 * t)


def well(depth, x, _t, _psi):
    return -depth * (depth + 1) / 2 / jnp.cosh(x) ** 2


def cubic(g, _x, _t, psi):
    return g * (psi.real**2 + psi.imag**2)


FORMS = {
    "free": (partial(exact.free_packet, sigma=0.7, **ODD), nothing),
    "chirped": (partial(exact.free_packet, sigma=0.7, chirp=-1.6, **ODD), nothing),
    "coherent": (partial(exact.coherent_state, frequency=1.3, **ODD), parabola),
    "squeezed": (partial(exact.squeezed_state, sigma=0.4, frequency=1.3, **ODD), parabola),
    "driven": (partial(exact.driven_oscillator, force=0.7, drive=1.9, center=0.8, momentum=0.6, frequency=1.3), driven),
    "well 1": (partial(exact.poschl_teller_packet, depth=1, center=-1.0, sigma=0.7, momentum=1.3), partial(well, 1)),
    "well 2": (partial(exact.poschl_teller_packet, depth=2, center=-1.0, sigma=0.7, momentum=1.3), partial(well, 2)),
    "bright": (partial(exact.bright_soliton, height=1.4, velocity=0.7), partial(cubic, -1.0)),
    "dark": (partial(exact.dark_soliton, density=1.4, velocity=-0.7), partial(cubic, 1.0)),
}


def defect(state, potential, x, t, mass, hbar):
    """Return iħ ψ_t + (ħ²/2m) ψ_xx - Vψ, by differentiating the closed form."""

    def slope(y):
        return jax.jvp(lambda z: state(z, t), (y,), (jnp.ones_like(y),))[1]

    psi, rate = jax.jvp(lambda s: state(x, s), (t,), (jnp.ones_like(t),))
    bent = jax.jvp(slope, (x,), (jnp.ones_like(x),))[1]
    return 1j * hbar * rate + hbar**2 / (2 * mass) * bent - potential(x, t, psi).astype(psi.dtype) * psi


@pytest.mark.parametrize("name", FORMS)
def test_solves_its_own_equation(name):
    state, potential = FORMS[name]
    units = {"mass": state.keywords.get("mass", 1.0), "hbar": state.keywords.get("hbar", 1.0)}
    off = jax.jit(jax.vmap(partial(defect, state, potential, X, **units)))(TIMES)
    # Rounding times the largest energy: V reaches 46 at |x| = 6, where ψ is small, and 10 where it is not; by
    # t = 11 the phases are some tens of radians, each with a rounding of its own.
    assert np.abs(off).max() < 1e-13, np.abs(off).max(axis=1)


@pytest.mark.parametrize("name", [name for name in FORMS if name != "dark"])
def test_has_norm_one_at_all_times(name):
    state = FORMS[name][0]
    expected = np.sqrt(2 * 1.4) if name == "bright" else 1.0  # ∫ η² sech²(ηx) dx = 2η
    found = norm(jax.jit(jax.vmap(state, (None, 0)))(GRID.x, TIMES), GRID)
    # The sum over a grid that resolves a packet is exact to rounding.
    assert_allclose(found, expected, rtol=1e-13)


def test_free_packet_starts_as_the_gaussian_and_keeps_its_laws():
    start = {"center": -2.0, "sigma": 0.9, "momentum": 1.5}
    psi = exact.free_packet(GRID.x, 0.0, **start)
    assert_allclose(psi, gaussian_packet(GRID.x, **start), atol=1e-15)
    later = exact.free_packet(GRID.x, 4.0, mass=2.0, hbar=0.5, **start)
    assert_allclose(position(later, GRID), -2.0 + 0.5 * 1.5 / 2.0 * 4.0, rtol=1e-12)
    assert_allclose(width(later, GRID), 0.9 * np.sqrt(1 + (0.5 * 4.0 / (2 * 2.0 * 0.81)) ** 2), rtol=1e-12)


def test_chirped_packet_is_narrowest_when_its_chirp_has_passed():
    widths = [
        width(exact.free_packet(GRID.x, t, sigma=0.8, momentum=1.0, chirp=-3.0), GRID) for t in (0.0, 2.9, 3.0, 3.1)
    ]
    assert_allclose(widths[2], 0.8, rtol=1e-12)
    assert_allclose(widths[1], widths[3], rtol=1e-12)
    assert_allclose(widths[0], 0.8 * np.sqrt(1 + (3.0 / (2 * 0.64)) ** 2), rtol=1e-12)


def test_period_of_the_parabola_turns_the_sign():
    period = 2 * np.pi / 1.3
    for name in ("coherent", "squeezed"):
        state = FORMS[name][0]
        once = state(X, period)
        assert_allclose(once, -state(X, 0.0), atol=1e-14)
        assert_allclose(state(X, 4 * period), state(X, 0.0), atol=1e-13)


def test_squeezed_state_follows_the_branch_of_its_square_root():
    # A wrong branch would turn the sign from one time to the next; |b| is 1/9 at times, so arg b turns quickly there.
    t = np.linspace(0.0, 30.0, 3001)
    breathing = partial(exact.squeezed_state, sigma=3.0 / np.sqrt(2), frequency=1.0)
    psi = np.asarray(jax.jit(jax.vmap(breathing, (None, 0)))(X, t))
    overlaps = (psi[1:] * psi[:-1].conj()).sum(axis=1)
    assert (overlaps.real > 0).all()


def test_squeezed_state_of_the_natural_width_is_coherent():
    state = {"center": 1.0, "momentum": 0.5, "frequency": 2.0}
    assert_allclose(exact.squeezed_state(X, 1.7, sigma=0.5, **state), exact.coherent_state(X, 1.7, **state), atol=1e-14)


def test_driven_oscillator_without_a_force_is_coherent():
    state = {"center": 1.0, "momentum": 0.5, "frequency": 2.0}
    assert_allclose(
        exact.driven_oscillator(X, 1.7, force=0.0, drive=0.3, **state),
        exact.coherent_state(X, 1.7, **state),
        atol=1e-14,
    )


def test_deep_well_delays_by_what_its_phase_shift_says():
    # A packet of wave number k leaves the well λ = 1 ahead by dδ/dk with δ = 2 arctan(1/k): 2/(1 + k²).
    # Start and end are six widths and more from the well: 1e-10 of the packet is in it.
    packet = {"center": -50.0, "sigma": 4.0, "momentum": 2.0}
    psi = exact.poschl_teller_packet(GRID.x, 50.0, depth=1, **packet)
    # Averaged over the spectrum, whose width is 1/8: 2/(1 + k²) weighted by (1 + k²) and normalized.
    k = 2.0 + np.linspace(-1, 1, 4001)
    weight = (1 + k**2) * np.exp(-2 * 16 * (k - 2.0) ** 2)
    start = position(exact.poschl_teller_packet(GRID.x, 0.0, depth=1, **packet), GRID)
    mean = np.sum(weight * (k * 50.0 + 2 / (1 + k**2))) / weight.sum()
    assert_allclose(position(psi, GRID) - start, mean, rtol=1e-9)


def test_transmission_through_sech_squared():
    k = np.array([0.1, 0.5, 1.0, 3.0, 40.0, 1e3])
    # A well with whole λ reflects nothing; elsewhere the formula itself, where its parts do not overflow.
    for depth in (1, 2, 3):
        assert_allclose(exact.poschl_teller_transmission(k, depth * (depth + 1) / 2), 1.0, atol=1e-15)
    root = 0.5 * np.pi * np.sqrt(1 + 8 * 0.7 + 0j)
    raw = np.sinh(np.pi * k[:4]) ** 2 / (np.sinh(np.pi * k[:4]) ** 2 + (np.cos(root) ** 2).real)
    assert_allclose(exact.poschl_teller_transmission(k[:4], 0.7), raw, rtol=1e-13)
    root = 0.5 * np.pi * np.sqrt(1 - 8 * 2.0 + 0j)
    raw = np.sinh(np.pi * k[:4]) ** 2 / (np.sinh(np.pi * k[:4]) ** 2 + (np.cos(root) ** 2).real)
    assert_allclose(exact.poschl_teller_transmission(k[:4], -2.0), raw, rtol=1e-12)
    assert_allclose(exact.poschl_teller_transmission(k[-1:], 0.7), 1.0)


def test_transmission_through_a_barrier():
    # κ = q = 1.5 below and above the top, and the limit at it: 1/(1 + v0 a²/2).
    v0, a = 2.0, 1.2
    below = 1 / (1 + v0**2 * np.sinh(1.5 * a) ** 2 / (4 * 0.875 * 1.125))
    above = 1 / (1 + v0**2 * np.sin(1.5 * a) ** 2 / (4 * 3.125 * 1.125))
    assert_allclose(exact.barrier_transmission([0.875, 3.125, 2.0], v0, a), [below, above, 1 / (1 + a**2)], rtol=1e-14)
    # The series joins the formulas: no kink between them.
    near = 2.0 - np.array([0.99, 1.01]) * 1e-3 / (2 * a**2)
    left, right = exact.barrier_transmission(near, v0, a)
    slope = float(jax.jit(jax.grad(lambda e: exact.barrier_transmission(e, v0, a)))(2.0))
    assert_allclose(right - left, slope * (near[1] - near[0]), rtol=1e-3)
    # Resonances over a well: q a a multiple of π.
    e = np.pi**2 / (2 * a**2) * 4 - 3.0
    assert_allclose(exact.barrier_transmission(e, -3.0, a), 1.0, rtol=1e-14)


def test_solitons_keep_their_shape():
    for state, speed in ((partial(exact.bright_soliton, height=1.4), 0.7), (exact.dark_soliton, 0.5)):
        now = np.abs(state(X, 0.0, velocity=speed))
        assert_allclose(np.abs(state(X + 3.0 * speed, 3.0, velocity=speed)), now, atol=1e-14)


def test_box_phase_is_that_of_the_pade_factors():
    # Crank-Nicolson has it in closed form: -2 arctan(τε/2); and every order tends to -τε with its own power.
    grid, dt = Grid(0.0, 1.0, 41), 1e-4
    energy = (1 - np.cos(3 * np.pi / 40)) * 40**2
    assert_allclose(exact.box_mode_phase(3, grid, dt, method=Cayley(2, 2)), -2 * np.arctan(dt * energy / 2), rtol=1e-14)
    w = 0.3j
    for order, error in ((2, 2.2e-3), (4, 3.4e-6), (6, 2.2e-9), (8, 7.7e-13)):
        found = np.exp(1j * float(exact.box_mode_phase(3, grid, 0.3 / energy, method=Cayley(order, 2))))
        assert_allclose(abs(found - np.exp(-w)), error, rtol=0.03)
    numerov = energy / (1 - energy / 40**2 / 6)
    assert_allclose(
        exact.box_mode_phase(3, grid, dt, method=Cayley(2, 4), mass=2.0, hbar=0.5),
        -2 * np.arctan(dt * numerov / 8),
        rtol=1e-13,
    )


@pytest.mark.parametrize("name", FORMS)
def test_dtype_in_is_dtype_out(name):
    state = FORMS[name][0]
    single, double = (jax.jit(state)(x, 0.37) for x in (X.astype(np.float32), X))
    assert single.dtype == jnp.complex64
    assert double.dtype == jnp.complex128
    # Phases of some ten radians, each rounded to 6e-8 of itself.
    assert_allclose(single, double, atol=3e-5)


def test_derivative_in_a_parameter_is_the_difference():
    @jax.jit
    def real(k):
        return jnp.sum(exact.free_packet(X, 1.0, momentum=k, chirp=k).real)

    forward = jax.jvp(real, (0.7,), (1.0,))[1]
    assert_allclose(forward, jax.grad(real)(0.7), rtol=1e-12)
    # h²/6 f''' + eps/h: 1e-9 at h = 1e-5.
    assert_allclose(forward, (real(0.7 + 1e-5) - real(0.7 - 1e-5)) / 2e-5, rtol=1e-7)


@settings(max_examples=30, deadline=None)
@given(
    center=st.floats(-5, 5),
    sigma=st.floats(0.3, 3),
    momentum=st.floats(-4, 4),
    chirp=st.floats(-3, 3),
    t=st.floats(-3, 3),
)
def test_free_packets_move_and_keep_their_norm(center, sigma, momentum, chirp, t):
    psi = exact.free_packet(GRID.x, t, center=center, sigma=sigma, momentum=momentum, chirp=chirp)
    assert_allclose(norm(psi, GRID), 1.0, rtol=1e-12)
    assert_allclose(position(psi, GRID), center + momentum * t, atol=1e-9)
    # Shifting time by the chirp is the same packet from elsewhere, up to a phase.
    moved = exact.free_packet(GRID.x, t + chirp, center=center - momentum * chirp, sigma=sigma, momentum=momentum)
    assert_allclose(np.abs(psi), np.abs(moved), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.free_packet("x", 0.0), "`x` must be an array of numbers"),
        (lambda: exact.free_packet(np.array([1, 2]), 0.0), "`x` must be floating point"),
        (lambda: exact.free_packet([1j], 0.0), "`x` must be real"),
        (lambda: exact.free_packet([np.nan], 0.0), "`x` must be finite"),
        (lambda: exact.free_packet(X, None), "`t` must be a finite number"),
        (lambda: exact.free_packet(X, TIMES), "`t` must be a finite number"),
        (lambda: exact.free_packet(X, 0.0, sigma=0.0), "`sigma` must be a finite positive number"),
        (lambda: exact.free_packet(X, 0.0, chirp=np.inf), "`chirp` must be a finite number"),
        (lambda: exact.free_packet(X, 0.0, mass=-1.0), "`mass` must be a finite positive"),
        (lambda: exact.free_packet(X, 0.0, hbar="1"), "`hbar` must be a finite positive"),
        (lambda: exact.coherent_state(X, 0.0, frequency=0.0), "`frequency` must be a finite positive"),
        (lambda: exact.coherent_state(X, 0.0, mass="heavy"), "`mass` must be a finite positive"),
        (lambda: exact.squeezed_state(X, 0.0, sigma=np.nan), "`sigma` must be a finite positive"),
        (lambda: exact.driven_oscillator(X, 0.0, force=1.0, drive=1.0), "`drive` must differ from `frequency`"),
        (lambda: exact.driven_oscillator(X, 0.0, force=[1.0], drive=2.0), "`force` must be a finite number"),
        (lambda: exact.poschl_teller_packet(X, 0.0, depth=3), "`depth` must be 1 or 2, but is 3"),
        (lambda: exact.poschl_teller_packet(X, 0.0, depth="deep"), "`depth` must be 1 or 2"),
        (lambda: exact.poschl_teller_transmission([1.0], None), "`v0` must be a finite number"),
        (lambda: exact.barrier_transmission(0.0, 1.0, 1.0), "`energy` must be positive, but holds 0"),
        (lambda: exact.barrier_transmission(1.0, 1.0, -1.0), "`width` must be a finite positive"),
        (lambda: exact.bright_soliton(X, 0.0, height=0.0), "`height` must be a finite positive"),
        (lambda: exact.dark_soliton(X, 0.0, velocity=1.0), "`velocity` must be below the speed of sound"),
        (lambda: exact.box_mode_phase(0, Grid(0.0, 1.0, 9), 0.1), "`mode` must be an integer of at least 1"),
        (lambda: exact.box_mode_phase(8, Grid(0.0, 1.0, 9), 0.1), "`mode` must be at most 7"),
        (lambda: exact.box_mode_phase(1, "grid", 0.1), "`grid` must be a `Grid"),
        (lambda: exact.box_mode_phase(1, Grid(0.0, 1.0, 9), 0.0), "`dt` must be a finite positive"),
        (lambda: exact.box_mode_phase(1, Grid(0.0, 1.0, 9), 0.1, method=2), "`method` must be a `Cayley"),
        (lambda: exact.box_mode_phase(1, Grid(0.0, 1.0, 9), 0.1, hbar=0), "`hbar` must be a finite positive"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
