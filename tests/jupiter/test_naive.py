import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import Status
from jaxnum.jupiter import (
    JUPITER,
    Constant,
    Dipole,
    GaussianWindow,
    SmoothRamp,
    corotation,
    exact,
    feedback_length,
    naive_iteration,
    naive_pass,
)

LAW = SmoothRamp()


def test_a_pass_is_of_second_order_for_constant_conductance():
    errors = []
    for n in (381, 761, 1521):
        x = jnp.linspace(5.0, 100.0, n)
        found = naive_pass(jnp.full(n, 0.05), x, JUPITER, Dipole(), Constant(0.05))[1]
        inside = np.asarray(x) > 10  # the layer at the inner edge is not resolved on the coarsest grid
        w = exact.corotation(x, exact.hill_distance(JUPITER, 0.05))
        errors.append(np.abs(np.asarray(found.omega - w))[inside].max())
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert_allclose(orders, 2, atol=0.05, err_msg=f"{errors}")
    assert_allclose(found.current[400:], exact.current(x[400:], JUPITER, 0.05), rtol=1e-3)


def test_a_pass_differentiates_as_numpy_does():
    x = np.linspace(5.0, 100.0, 200)
    sigma = 0.1 + 0.02 * np.sin(x / 5)
    found = naive_pass(sigma, x, JUPITER, Dipole(), LAW)[1]
    j = np.gradient(np.asarray(found.current), x) * x**2 / (2 * np.pi * JUPITER.radius**2)
    assert_allclose(found.current_density, j, rtol=1e-9, atol=1e-15)


def test_window_is_that_of_numpy():
    y = np.random.default_rng(0).standard_normal(1000)
    offset = np.arange(256) - 127.5
    window = np.exp(-0.5 * (offset / 40) ** 2)
    expected = np.convolve(y, window / window.sum(), mode="same")
    assert_allclose(GaussianWindow()(jnp.asarray(y)), expected, atol=1e-14)
    # Zeros beyond the end halve a constant there, and the loop takes that for a slope.
    assert_allclose(GaussianWindow()(jnp.ones(1000))[0], 0.5, atol=0.02)


def test_constant_conductance_converges_at_once():
    solution = naive_iteration(JUPITER, Dipole(), Constant(0.05), num_points=381, num_passes=3, relaxation=1.0)
    assert solution.ok, solution
    reference = corotation(JUPITER, Dipole(), 0.05).history
    assert_allclose(solution.history.omega, reference.omega, atol=5e-3)


def test_feedback_diverges_and_says_so():
    solution = naive_iteration(JUPITER, Dipole(), LAW, num_points=2000, num_passes=9, start=0.05)
    assert solution.status == Status.diverged
    assert solution.history.conductance.shape == (9, 2000)
    with pytest.raises(RuntimeError, match="diverged"):
        solution.unwrap()


def test_feedback_length_is_the_derivative_of_a_pass():
    # A short ripple on Σ comes back ℓ k times larger, whatever its phase: compare with jvp in the middle of the grid.
    n, wavelength = 4001, 1.0
    x = jnp.linspace(40.0, 50.0, n)
    sigma = jnp.full(n, 0.08)
    new, found = naive_pass(sigma, x, JUPITER, Dipole(), LAW)
    k = 2 * jnp.pi / wavelength
    ripple = jnp.sin(k * x)
    back = jax.jvp(lambda s: naive_pass(s, x, JUPITER, Dipole(), LAW)[0], (sigma,), (ripple,))[1]
    length = feedback_length(x, found.omega, found.current_density, JUPITER, Dipole(), LAW)
    middle = slice(1800, 2201)  # one wavelength
    gain = np.sqrt(2 * np.mean(np.asarray(back[middle] / length[middle]) ** 2))
    assert_allclose(gain, k, rtol=0.01)
    assert new.shape == (n,)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_points": 2}, "`num_points`"),
        ({"num_points": 100.0}, "`num_points`"),
        ({"num_passes": 0}, "`num_passes`"),
        ({"relaxation": 0.0}, "`relaxation`"),
        ({"relaxation": 1.5}, "`relaxation` must be at most 1"),
        ({"smoothing": 40.0}, "`smoothing`"),
        ({"smoothing": GaussianWindow(500)}, "`num_samples` must be at most"),
        ({"start": np.full(7, 0.1)}, "`start`"),
        ({"x1": 1.0}, "`x1`"),
    ],
)
def test_bad_input_is_named(kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        naive_iteration(JUPITER, Dipole(), LAW, **({"num_points": 100, "num_passes": 2} | kwargs))
    assert "\n" not in str(error.value)


def test_uneven_grid_and_bad_window_are_refused():
    with pytest.raises(ValueError, match="`x` must be uniformly spaced"):
        naive_pass(np.ones(4), np.array([5.0, 6.0, 8.0, 9.0]), JUPITER, Dipole(), LAW)
    with pytest.raises(ValueError, match="`width`"):
        GaussianWindow(10, -1.0)
