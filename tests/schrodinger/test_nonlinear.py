"""The nonlinear equation against its solitons, by both methods."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.schrodinger import Cayley, Grid, Periodic, SplitOperator, exact, norm, propagate

RING = Grid(-24.0, 23.8125, 256)
FINE = Grid(-24.0, 23.95, 960)


def soliton_error(method, grid, num_steps, t1=1.0):
    psi0 = exact.bright_soliton(grid.x, 0.0, velocity=0.8)
    truth = exact.bright_soliton(grid.x, t1, velocity=0.8)
    solution = propagate(
        psi0, None, grid, t1=t1, num_steps=num_steps, method=method, boundary=Periodic(), nonlinearity=-1.0
    )
    assert solution.ok, solution
    return float(norm(solution.value - truth, grid))


# At the seam of the ring the soliton is sech 24 = 1e-10, and on the fine ring Numerov's error is about 1e-7, k⁴Δx⁴ over
# 480: the steps keep the error in time well above both.
@pytest.mark.parametrize(
    ("method", "grid", "steps", "order"),
    [
        (SplitOperator(2), RING, (40, 80), 2),
        (Cayley(2, 4), FINE, (20, 40), 2),
        (Cayley(4, 4), FINE, (4, 8), 4),
    ],
    ids=["split2", "cayley2", "cayley4"],
)
def test_order_on_a_bright_soliton(method, grid, steps, order):
    errors = [soliton_error(method, grid, n) for n in steps]
    found = np.log(errors[0] / errors[1]) / np.log(steps[1] / steps[0])
    assert found == pytest.approx(order, abs=0.05), errors


TRAP = Grid(-10.0, 9.6875, 64)


def emptied(x, t):
    """A parabola less what the nonlinearity of the coherent state adds to it."""
    return x**2 / 2 - jnp.exp(-((x - 1.5 * jnp.cos(t)) ** 2)) / np.sqrt(np.pi)


# A soliton resolved so well that the sixth order shows is also one whose shortest waves turn by more than π in a step.
# A coherent state is not: it solves the nonlinear equation exactly where the potential takes g|ψ|² away again.
@pytest.mark.parametrize(("order", "steps"), [(4, (64, 128)), (6, (56, 80))])
def test_high_order_on_a_coherent_state(order, steps):
    def error(num_steps):
        options = {"method": SplitOperator(order), "boundary": Periodic(), "nonlinearity": 1.0}
        psi0 = exact.coherent_state(TRAP.x, 0.0, center=1.5)
        solution = propagate(psi0, emptied, TRAP, t1=6.0, num_steps=num_steps, **options)
        return float(norm(solution.value - exact.coherent_state(TRAP.x, 6.0, center=1.5), TRAP))

    errors = [error(n) for n in steps]
    found = np.log(errors[0] / errors[1]) / np.log(steps[1] / steps[0])
    assert found == pytest.approx(order, abs=0.05), errors


def test_two_dark_solitons_cross_a_ring():
    # A dip and its mirror image: the phase comes back to itself around the ring, and far from each other they are a
    # solution up to exp(-2a · distance), here exp(-30).
    grid = Grid(-40.0, 39.6875, 256)
    x, t1, v = grid.x, 2.0, 0.4

    def dips(t):
        ahead = exact.dark_soliton(x + 20, t, velocity=v)
        mirrored = exact.dark_soliton(-(x - 20), t, velocity=v)
        return np.asarray(ahead) * np.asarray(mirrored) * np.exp(1j * t)  # the background turns once, not twice

    solution = propagate(
        dips(0.0), None, grid, t1=t1, num_steps=40, method=SplitOperator(4), boundary=Periodic(), nonlinearity=1.0
    )
    assert solution.ok
    np.testing.assert_allclose(solution.value, dips(t1), atol=1e-6)


@pytest.mark.parametrize("method", [SplitOperator(4), Cayley(2, 2)], ids=["split", "cayley"])
def test_norm_is_kept_to_rounding_and_energy_does_not_drift(method):
    psi0 = exact.bright_soliton(RING.x, 0.0) + exact.bright_soliton(RING.x - 5, 0.0, velocity=-0.5)
    solution = propagate(
        psi0, None, RING, t1=40.0, num_steps=2000, method=method, boundary=Periodic(), nonlinearity=-1.0, save_every=20
    )
    # 2000 steps of at most 6 roundings of a map that keeps the norm.
    assert solution.residual < 5e-12
    energy = np.asarray(solution.history.energy)
    first, second = np.array_split(energy - energy[0], 2)
    # The solitons collide, which the energy's error of O(τ²) shows; it comes back and does not add up.
    assert abs(second).max() < 3 * abs(first).max() + 1e-10
    assert abs(energy - energy[0]).max() < 2e-3


def test_nonlinearity_is_a_phase_for_a_wave_without_a_shape():
    # ψ = a exp(ikx) has |ψ|² = a² everywhere: it turns by k²/2 + g a², in a moving potential too.
    k = 2 * np.pi * 3 / (RING.num_points * RING.dx)
    wave = 0.7 * np.exp(1j * k * np.asarray(RING.x))
    options = {"t1": 2.0, "num_steps": 8, "nonlinearity": 1.5, "method": SplitOperator(4), "boundary": Periodic()}
    solution = propagate(wave, lambda x, t: 0 * x + 3 * t**2, RING, **options)
    phase = np.exp(-1j * ((k**2 / 2 + 1.5 * 0.49) * 2 + 8))
    # A fourth-order scheme integrates 3t² exactly.
    np.testing.assert_allclose(solution.value, phase * wave, atol=1e-12)
    np.testing.assert_allclose(solution.history.energy, k**2 / 2 + 1.5 / 2 * 0.49 + np.array([0, 12]), rtol=1e-12)


def test_order_eight_is_refused():
    with pytest.raises(ValueError, match="Argument `method` must have a time order of at most 6 with a nonlinearity"):
        propagate(jnp.ones(256), None, RING, t1=1.0, num_steps=2, method=Cayley(8, 4), nonlinearity=1.0)
    with pytest.raises(ValueError, match="Argument `nonlinearity` must be a finite number"):
        propagate(jnp.ones(256), None, RING, t1=1.0, num_steps=2, nonlinearity=np.nan)
