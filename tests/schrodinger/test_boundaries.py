"""What an absorber gives back, against the law it states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.schrodinger import Absorber, Cayley, Grid, gaussian_packet, norm, propagate, stationary_states


def test_a_packet_comes_back_as_the_absorber_says():
    # A packet of momentum 2 meets layers that give back between a tenth and a thousandth of it.
    grid = Grid(-30.0, 30.0, 1201)
    sigma, k0 = 3.0, 2.0
    psi0 = gaussian_packet(grid.x, center=12.0, sigma=sigma, momentum=k0)
    k = np.linspace(k0 - 4 / sigma, k0 + 4 / sigma, 401)[1:]
    weight = np.exp(-2 * sigma**2 * (k - k0) ** 2)
    for absorber in (Absorber(4.0, 2.0), Absorber(4.0, 6.0), Absorber(6.0, 2.0, power=3)):
        # By t = 18 the slowest part that matters, k = 1.3, has left the layer, and the fastest, 2.7, has not met the
        # other one.
        solution = propagate(psi0, None, grid, t1=18.0, num_steps=720, boundary=absorber, save_every=180)
        assert solution.ok
        share = np.asarray(absorber.reflection(k))
        want = np.sum(weight * share) / np.sum(weight)
        assert float(norm(solution.value, grid)) ** 2 == pytest.approx(want, rel=0.02), absorber


def test_reflection_of_a_strong_thin_layer_and_of_none():
    # Nothing is absorbed: everything comes back. A layer long against the wave: the semiclassical law.
    np.testing.assert_allclose(Absorber(1.0, 1e-9).reflection(np.array([0.5, 2.0])), 1.0, rtol=1e-8)
    k, wide = 6.0, Absorber(20.0, 1.0, power=2)
    np.testing.assert_allclose(wide.reflection(k), np.exp(-4 * 20.0 / (3 * k)), rtol=0.02)
    # Units: only m W / (ħk)² and k width count.
    np.testing.assert_allclose(
        Absorber(5.0, 2.0 * 0.7**2 / 1.3).reflection(0.7 * 1.5, mass=1.3, hbar=0.7),
        Absorber(5.0, 2.0).reflection(1.5),
        rtol=1e-10,
    )


def test_profile_rises_from_zero_to_its_strength_at_both_ends():
    profile = np.asarray(Absorber(2.0, 3.0, power=2).profile(jnp.arange(-50.0, 51.0) / 10))
    assert profile[0] == profile[-1] == 3.0
    np.testing.assert_allclose(profile[20:-20], 0.0, atol=1e-29)
    np.testing.assert_allclose(profile[10], 3.0 / 4, rtol=1e-12)
    np.testing.assert_allclose(profile, profile[::-1], rtol=1e-12)


def test_norm_falls_as_the_absorber_says():
    # Crank-Nicolson: the norm changes by exactly -2τ<φ|W|φ>/ħ a step, with the mean φ of its ends.
    grid, absorber, dt = Grid(-10.0, 10.0, 201), Absorber(4.0, 3.0), 0.02
    psi0 = gaussian_packet(grid.x, center=4.0, momentum=3.0)
    solution = propagate(
        psi0, None, grid, t1=50 * dt, num_steps=50, boundary=absorber, method=Cayley(2, 2), save_every=1
    )
    psi, norms = np.asarray(solution.history.psi), np.asarray(solution.history.norm)
    mean = (psi[1:] + psi[:-1]) / 2
    lost = 2 * dt * grid.dx * np.sum(np.asarray(absorber.profile(grid.x)) * np.abs(mean) ** 2, axis=1)
    np.testing.assert_allclose(norms[:-1] ** 2 - norms[1:] ** 2, lost, rtol=1e-9, atol=1e-14)
    assert norms[-1] < 0.95
    assert solution.residual == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Absorber(0.0, 1.0), "Argument `width` must be a finite positive number, but is 0"),
        (lambda: Absorber(1.0, np.nan), "Argument `strength` must be a finite positive number"),
        (lambda: Absorber(1.0, 1.0, power=0), "Argument `power` must be an integer of at least 1"),
        (lambda: jax.jit(lambda w: Absorber(w, 1.0).strength)(1.0), "Argument `width` must be a Python number"),
        (lambda: stationary_states(None, Grid(0.0, 1.0, 9), num_states=1, boundary=Absorber(0.1, 1.0)), "`boundary`"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
