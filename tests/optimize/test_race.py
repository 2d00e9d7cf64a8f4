from functools import partial

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum.optimize import Momentum, landscapes, learning_rate_map, minimize, race, stability_limit

VALLEY = landscapes.rosenbrock(1.0, 2.0)
START = np.array([3.0, 3.0])


def heavy_ball(rate, beta):
    return optax.sgd(rate, momentum=beta)


def test_a_race_is_its_runs():
    optimizers = {"adam": optax.adam(0.02), "momentum": heavy_ball(0.01, 0.9), "too fast": heavy_ball(0.02, 0.9)}
    result = race(VALLEY.fn, optimizers, START, num_steps=100)
    for name, optimizer in optimizers.items():
        alone = minimize(VALLEY.fn, optimizer, START, num_steps=100)
        np.testing.assert_array_equal(result.solutions[name].history.value, alone.history.value)
    assert result.best == "momentum"
    assert result.ranking == ("momentum", "adam", "too fast")


def test_the_table_states_budget_start_and_searches():
    result = race(VALLEY.fn, {"searching": optax.lbfgs(), "plain": optax.sgd(0.001)}, START, num_steps=30)
    text = result.table()
    assert text.startswith("30 steps each from the same start, where the value is 76\n"), text
    lines = {line.split()[0]: line for line in text.splitlines()[3:]}
    assert lines["searching"].endswith("30 + line searches"), text
    assert lines["plain"].endswith(" 30"), text
    assert result.searches == {"searching"}
    assert str(result) == text


def test_tuning_is_the_same_for_all_and_is_stated():
    bowl, rates = landscapes.quadratic((1.0, 10.0)), np.geomspace(1e-3, 1.0, 40)
    makers = {"descent": optax.sgd, "heavy": partial(optax.sgd, momentum=0.5), "free": optax.lbfgs()}
    result = race(bowl.fn, makers, bowl.y0, num_steps=60, rates=rates)
    assert set(result.tuning) == {"descent", "heavy"}
    for name, limit in (("descent", 0.2), ("heavy", 0.3)):
        found = result.tuning[name]
        single = learning_rate_map(bowl.fn, makers[name], bowl.y0, rates, num_steps=60)
        np.testing.assert_array_equal(found.values, single)
        assert found.best_rate == rates[np.argmin(single)]
        assert not found.on_edge
        inside = (rates >= found.band[0]) & (rates <= found.band[1])
        assert (single[inside] <= result.target).all()
        # Above the band lies the stability limit, at most one rate further (they are 19 % apart).
        assert found.band[1] < limit < 1.2**2 * found.band[1], (name, found)
        edges = np.flatnonzero(inside)[[0, -1]] + [-1, 1]
        assert (single[edges] > result.target).all()
        np.testing.assert_allclose(result.solutions[name].history.value[-1], single.min(), rtol=1e-9, atol=1e-30)
    text = result.table()
    assert "tuned alike: each tried 40 rates from 0.001 to 1, 2400 gradients" in text
    assert "not tuned" in text


def test_a_best_rate_at_the_edge_is_told():
    bowl = landscapes.quadratic((1.0, 10.0))
    result = race(bowl.fn, {"slow": optax.sgd}, bowl.y0, num_steps=20, rates=[1e-4, 1e-3, 1e-2])
    assert result.tuning["slow"].on_edge
    assert "(edge)" in str(result)


def test_a_single_racer_wins_even_when_it_fails():
    result = race(VALLEY.fn, {"only": optax.sgd(10.0)}, START, num_steps=10)
    assert result.best == "only"
    assert "nonfinite" in result.table()


def test_map_is_the_single_runs():
    rates, betas = np.array([0.001, 0.01, 0.02]), np.array([0.0, 0.9])
    values = learning_rate_map(VALLEY.fn, heavy_ball, START, rates, betas, num_steps=100)
    assert values.shape == (3, 2)
    for i, rate in enumerate(rates):
        for j, beta in enumerate(betas):
            last = float(minimize(VALLEY.fn, heavy_ball(rate, beta), START, num_steps=100).history.value[-1])
            expected = last if np.isfinite(last) else np.inf
            # The same formula compiled in batches rounds differently by an ulp, which 100 steps amplify.
            np.testing.assert_allclose(values[i, j], expected, rtol=1e-9, err_msg=f"{rate=} {beta=}")


def test_map_shows_the_stability_limit():
    bowl = landscapes.quadratic((1.0, 10.0))
    betas = np.array([0.0, 0.5, 0.9])
    shares = np.array([0.98, 1.02])
    for beta in betas:
        limit = float(stability_limit(Momentum(beta), 10.0))
        values = learning_rate_map(bowl.fn, heavy_ball, bowl.y0, shares * limit, [beta], num_steps=3000)[:, 0]
        assert values[0] < 1e-6, (beta, values)
        assert values[1] > 1e6, (beta, values)


def test_new_values_on_the_axes_cost_no_compilation():
    traces = []

    def make(rate):
        traces.append(None)
        return optax.adam(rate)

    for scale in (1.0, 2.0):
        learning_rate_map(VALLEY.fn, make, START, scale * np.array([0.1, 0.2]), num_steps=5)
    assert len(traces) == 1


def test_every_step_matters_to_the_map():
    # A run that overflows and returns to a number is still a failure: here the second step leads back to 0.
    def fn(y):
        return jnp.where(jnp.isfinite(y[0]), y[0] ** 2, jnp.nan)

    values = learning_rate_map(
        fn, lambda rate: optax.chain(optax.scale(-rate), optax.zero_nans()), [1.0], [1e308], num_steps=3
    )
    assert np.isposinf(values[0])


def test_single_precision_stays():
    values = learning_rate_map(VALLEY.fn, optax.sgd, np.float32(START), np.float32([0.001]), num_steps=3)
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: race(VALLEY.fn, {}, START, num_steps=1), "`optimizers` must be a dict"),
        (lambda: race(VALLEY.fn, [optax.sgd(0.1)], START, num_steps=1), "`optimizers` must be a dict"),
        (lambda: race(VALLEY.fn, {"a": 1}, START, num_steps=1), "`optimizers['a']` must be an Optax"),
        (lambda: race(VALLEY.fn, {"a": optax.sgd(0.1)}, START, num_steps=0), "`num_steps` must"),
        (lambda: race(VALLEY.fn, {"a": optax.sgd(0.1)}, [np.inf, 0.0], num_steps=1), "`y0` must be finite"),
        (lambda: race(VALLEY.fn, {"a": optax.sgd(0.1)}, START, num_steps=1, rates=[0.1]), "`optimizers` must hold"),
        (lambda: race(VALLEY.fn, {"a": optax.sgd}, START, num_steps=1, rates=[0.2, 0.1]), "`rates` must increase"),
        (lambda: learning_rate_map(VALLEY.fn, optax.sgd, START, num_steps=1), "`axes` must"),
        (lambda: learning_rate_map(VALLEY.fn, optax.sgd, START, [], num_steps=1), "`axes[0]` must"),
        (lambda: learning_rate_map(VALLEY.fn, optax.sgd, START, [np.nan], num_steps=1), "`axes[0]` must be finite"),
        (lambda: learning_rate_map(VALLEY.fn, optax.sgd, START, 0.1, num_steps=1), "`axes[0]` must have 1 axis"),
        (lambda: learning_rate_map(VALLEY.fn, None, START, [0.1], num_steps=1), "`make_optimizer` must"),
        (lambda: learning_rate_map(VALLEY.fn, lambda r: r, START, [0.1], num_steps=1), "`make_optimizer` must"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    assert says in str(error.value), error.value
    assert "\n" not in str(error.value)
