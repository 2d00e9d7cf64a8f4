import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest

from jaxnum import Status
from jaxnum.numerics.descent import Step
from jaxnum.numerics.march import march
from jaxnum.optimize import BFGS, Dogleg, LevenbergMarquardt, landscapes, least_squares, minimize

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


def test_a_tolerance_ends_the_run():
    for method in (optax.sgd(0.2), BFGS()):
        whole = minimize(square, method, [1.0, -2.0], num_steps=80)
        solution = minimize(square, method, [1.0, -2.0], num_steps=80, tolerance=1e-6)
        assert solution.ok
        n = int(solution.num_steps)
        assert 0 < n < 80
        assert solution.residual <= 1e-6 < whole.history.gradient_norm[n - 1]
        np.testing.assert_array_equal(solution.value, whole.history.y[n])
        np.testing.assert_array_equal(solution.history.y[: n + 1], whole.history.y[: n + 1])
        np.testing.assert_array_equal(solution.history.y[n:], [solution.value] * (81 - n))
    short = minimize(square, optax.sgd(0.2), [1.0, -2.0], num_steps=5, tolerance=1e-6)
    assert short.status == Status.max_steps
    assert short.num_steps == 5


def test_a_tolerance_can_be_met_in_transit():
    # Above 2/λmax the run passes within the tolerance and stops, though without it it would leave again.
    run = minimize(ROSENBROCK.fn, optax.sgd(2.0e-3), ROSENBROCK.y0, num_steps=60_000, save_every=60_000, tolerance=1e-2)
    assert run.ok
    assert run.history.value[-1] < 1e-3


@pytest.mark.parametrize("name", ["rosenbrock", "powell_badly_scaled", "bard", "meyer", "brown_dennis"])
def test_least_squares_reaches_the_published_minimum(name):
    problem = landscapes.catalogue()[name]
    solution = least_squares(problem.residuals, problem.y0, num_steps=400, save_every=400)
    lowest = solution.history.value[-1]
    # The value is flat at a minimum: 1e-9 of it, or of the rounding of the residuals.
    np.testing.assert_allclose(lowest, problem.minimum, rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(lowest, problem.fn(solution.value), rtol=1e-12, atol=1e-30)


def test_bfgs_keeps_the_symmetry_of_biggs_and_ends_in_its_saddle():
    problem = landscapes.biggs_exp6()
    solution = minimize(problem.fn, BFGS(), problem.y0, num_steps=300, save_every=300)
    np.testing.assert_allclose(solution.history.value[-1], 5.65565e-3, atol=1e-8)
    np.testing.assert_allclose(solution.value, problem.saddles[0], rtol=1e-3)


def test_other_solvers_of_optimistix_serve_too():
    nonlinear = optimistix.NonlinearCG(rtol=1e-8, atol=1e-8)
    assert minimize(square, nonlinear, [1.0, 2.0], num_steps=30).residual < 1e-8
    dogleg = least_squares(lambda y: y - 1, [3.0], method=Dogleg(), num_steps=10)
    np.testing.assert_allclose(dogleg.value, 1.0, rtol=1e-15)


def test_a_fit_can_be_differentiated():
    def end(a):
        return least_squares(lambda y, a: jnp.stack([y[0] - a, y[1] - a * y[0]]), jnp.ones(2), a, num_steps=12).value[1]

    np.testing.assert_allclose(end(3.0), 9.0, rtol=1e-12)  # y₀ = a, y₁ = a²
    np.testing.assert_allclose(jax.grad(end)(3.0), 6.0, rtol=1e-6)


def test_memory_does_not_grow_with_the_steps():
    def temporary(num_steps):
        step, state = (
            Step(lambda y, _: square(y), optax.sgd(0.1)),
            (jnp.ones(1000), optax.sgd(0.1).init(jnp.ones(1000)), jnp.int32(-1)),
        )
        options = {"num_steps": num_steps, "save_every": num_steps}
        run = jax.jit(lambda state: march(step, lambda state, _: state[0][0], state, None, **options))
        return run.lower(state).compile().memory_analysis().temp_size_in_bytes

    assert temporary(100_000) <= temporary(100) + 1024


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
        ({"tolerance": 0.0}, "`tolerance` must"),
        ({"sample": 1}, "`sample` must"),
        ({"sample": lambda _a, n: n}, "`sample` must return arguments like"),
        ({"sample": lambda a, _n: a, "tolerance": 0.1}, "`tolerance` must be None"),
        ({"sample": lambda a, _n: a, "optimizer": BFGS()}, "`sample` must be None"),
        ({"optimizer": LevenbergMarquardt()}, "`optimizer` must"),
        ({"optimizer": optimistix.Newton(rtol=1e-3, atol=1e-3)}, "`optimizer` must minimize"),
    ],
)
def test_bad_arguments_are_named(change, says):
    given = {"fn": square, "optimizer": optax.sgd(0.1), "y0": [1.0], "args": None, "num_steps": 2} | change
    with pytest.raises(ValueError, match="Argument") as error:
        minimize(**given)
    assert says in str(error.value), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"residuals": 1}, "`residuals` must be a function"),
        ({"residuals": lambda y: y.astype(int)}, "`residuals` must return real arrays"),
        ({"residuals": lambda _y: None}, "`residuals` must return real arrays"),
        ({"method": BFGS()}, "`method` must be"),
        ({"method": "lm"}, "`method` must be"),
        ({"num_steps": 0}, "`num_steps` must"),
    ],
)
def test_bad_fits_are_named(change, says):
    with pytest.raises(ValueError, match="Argument") as error:
        least_squares(**({"residuals": jnp.sin, "y0": [1.0]} | change))
    assert says in str(error.value), error.value
