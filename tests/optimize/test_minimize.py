import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum import Status
from jaxnum.optimize import landscapes, minimize

ROSENBROCK = landscapes.rosenbrock()


def square(y):
    return jnp.sum(y**2)


@pytest.mark.parametrize("name", ["rosenbrock", "beale", "wood", "himmelblau"])
def test_lbfgs_finds_a_minimum(name):
    landscape = landscapes.catalogue()[name]
    start = landscape.y0 if name != "beale" else jnp.array([1.0, 0.8])  # the usual start lies on a flat line
    solution = minimize(landscape.fn, optax.lbfgs(), start, num_steps=150, save_every=150)
    assert solution.ok
    distance = np.min(np.linalg.norm(np.asarray(landscape.minima) - np.asarray(solution.value)[None, :], axis=1))
    assert distance < 1e-6, (solution, distance)


def test_gradient_descent_on_a_bowl_is_a_power():
    solution = minimize(lambda y: jnp.sum(y**2) / 2, optax.sgd(0.1), [1.0, -2.0], num_steps=10, save_every=4)
    np.testing.assert_array_equal(solution.history.step, [0, 4, 8, 10])
    exact = 0.9 ** np.array([0, 4, 8, 10])[:, None] * np.array([[1.0, -2.0]])
    np.testing.assert_allclose(solution.history.y, exact, rtol=1e-14)
    np.testing.assert_allclose(solution.history.value, np.sum(exact**2, axis=1) / 2, rtol=1e-14)
    np.testing.assert_allclose(solution.history.gradient_norm, np.linalg.norm(exact, axis=1), rtol=1e-14)
    np.testing.assert_allclose(solution.residual, np.linalg.norm(exact[-1]), rtol=1e-14)


def test_touching_the_tolerance_is_not_convergence():
    # Just above 2/λmax = 1.9968e-3 the run passes below 1e-8 and leaves again for a cycle around the minimum.
    values = np.asarray(minimize(ROSENBROCK.fn, optax.sgd(2.0e-3), ROSENBROCK.y0, num_steps=60_000).history.value)
    assert values.min() < 1e-8
    np.testing.assert_allclose(values[-1], 1.25e-3, rtol=0.05)
    below = minimize(ROSENBROCK.fn, optax.sgd(1.99e-3), ROSENBROCK.y0, num_steps=60_000, save_every=60_000)
    assert below.history.value[-1] < 1e-15, below


def test_overflow_is_reported_with_its_step():
    solution = minimize(square, optax.sgd(1e80), [1.0], num_steps=20)
    assert solution.status == Status.nonfinite
    # |y| grows by 2e80 a step, so y² overflows (1.8e308) after two steps, at the value of the third point.
    rows = np.asarray(solution.history.value)
    assert int(solution.num_steps) == int(np.argmin(np.isfinite(rows)))
    with pytest.raises(RuntimeError, match="nonfinite"):
        solution.unwrap()


def test_growth_is_reported():
    solution = minimize(square, optax.sgd(1.01), [1.0], num_steps=10)
    assert solution.status == Status.diverged
    np.testing.assert_allclose(solution.value, 1.02**10, rtol=1e-13)


def test_new_arguments_cost_no_compilation():
    traces = []

    def fn(y, args):
        traces.append(None)
        return jnp.sum((y - args["center"]) ** 2)

    optimizer = optax.sgd(0.25)
    for center in (1.0, 2.0, 3.0):
        solution = minimize(fn, optimizer, jnp.zeros(2), {"center": jnp.asarray(center)}, num_steps=60)
        np.testing.assert_allclose(solution.value, center, rtol=1e-14)
    # Checking the shape of the result traces once a call; compiling traces three times more, once.
    assert len(traces) <= 3 + 3, len(traces)


def test_a_progress_bar_changes_nothing():
    seen = []
    optimizer = optax.adam(0.1)
    plain = minimize(ROSENBROCK.fn, optimizer, ROSENBROCK.y0, num_steps=250, save_every=100)
    shown = minimize(
        ROSENBROCK.fn,
        optimizer,
        ROSENBROCK.y0,
        num_steps=250,
        save_every=100,
        progress=lambda n, of: seen.append((n, of)),
    )
    np.testing.assert_array_equal(plain.history.y, shown.history.y)
    assert seen[0] == (0, 250)
    assert seen[-1] == (250, 250)


def test_any_tree_of_parameters():
    def fn(tree):
        return jnp.sum(tree["w"] ** 2) + (tree["b"][0] - 1) ** 2

    solution = minimize(fn, optax.adam(0.1), {"w": jnp.ones((2, 3)), "b": (0.0,)}, num_steps=300)
    np.testing.assert_allclose(solution.value["b"][0], 1, atol=1e-3)
    assert solution.history.y["w"].shape == (301, 2, 3)


def test_end_point_can_be_differentiated_and_batched():
    optimizer = optax.sgd(0.1)

    def end(center):
        return minimize(lambda y, c: jnp.sum((y - c) ** 2), optimizer, jnp.zeros(1), center, num_steps=5).value[0]

    exact = 1 - 0.8**5  # y_n = c (1 − 0.8ⁿ)
    np.testing.assert_allclose(jax.grad(end)(2.0), exact, rtol=1e-14)
    np.testing.assert_allclose(jax.jvp(end, (2.0,), (1.0,))[1], exact, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(end)(jnp.array([1.0, 3.0])), exact * np.array([1, 3]), rtol=1e-14)


def test_single_precision_stays():
    solution = minimize(square, optax.adam(0.1), np.float32([1.0]), num_steps=3)
    assert solution.value.dtype == solution.residual.dtype == solution.history.value.dtype == np.float32


def test_integer_lists_become_numbers():
    assert minimize(square, optax.sgd(0.25), [1, 2], num_steps=1).value.dtype == np.float64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fn": None}, "`fn` must be a function"),
        ({"fn": lambda y: y}, "`fn` must return a real scalar"),
        ({"fn": lambda y: (1.0, y)}, "`fn` must return a real scalar"),
        ({"fn": lambda y: jnp.sum(y).astype(complex)}, "`fn` must return a real scalar"),
        ({"optimizer": 0.1}, "`optimizer` must be an Optax transformation"),
        ({"y0": [np.nan]}, "`y0` must be finite"),
        ({"y0": np.array([1, 2])}, "`y0` must be floating point"),
        ({"y0": []}, "`y0` must"),
        ({"y0": [1j]}, "`y0` must be real"),
        ({"y0": None}, "`y0` must"),
        ({"y0": "start"}, "`y0` must"),
        ({"num_steps": 0}, "`num_steps` must be an integer"),
        ({"num_steps": 1.5}, "`num_steps` must be an integer"),
        ({"num_steps": True}, "`num_steps` must be an integer"),
        ({"save_every": -1}, "`save_every` must be an integer"),
        ({"args": 1.0}, "`fn` must take `(y, args)`"),
        ({"fn": lambda y, _: jnp.sum(y), "args": "x"}, "`args` must be a pytree"),
        ({"progress": "yes"}, "`progress` must"),
    ],
)
def test_bad_arguments_are_named(change, says):
    given = {"fn": square, "optimizer": optax.sgd(0.1), "y0": [1.0], "args": None, "num_steps": 2} | change
    with pytest.raises(ValueError, match="Argument") as error:
        minimize(**given)
    assert says in str(error.value), error.value
    assert "\n" not in str(error.value)
