from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnum.networks import perceptron, train
from jaxnum.optimize import adam, landscapes, minimize, tunable

BOWL = landscapes.quadratic((1.0, 10.0))
RULES = {
    "descent": optax.sgd(0.05),
    "momentum": optax.sgd(0.02, momentum=0.9),
    "nesterov": optax.sgd(0.02, momentum=0.9, nesterov=True),
    "adam": adam(0.05, eps=0.0),
    "rmsprop": optax.rmsprop(0.05, eps=0.0),
    "lion": optax.lion(0.01, weight_decay=0.0),
    "lbfgs": optax.lbfgs(),
}


@partial(jax.jit, static_argnames=("name", "num_steps"))
def path(name, matrix, center, scale, y0, num_steps=25):
    """Way of a method over scale · (y − c)ᵀA(y − c)/2, in one program for all bowls."""

    def fn(y, args):
        matrix, center, scale = args
        return scale * (y - center) @ (matrix @ (y - center)) / 2

    return minimize(fn, RULES[name], y0, (matrix, center, scale), num_steps=num_steps).history.y


def bowls(seed):
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return rng, q @ np.diag([1.0, 3.0, 9.0]) @ q.T, rng.normal(size=3), rng.normal(size=3) + 2.0


def any_seed(test):
    return settings(max_examples=10, deadline=None, derandomize=True)(given(seed=st.integers(0, 2**31))(test))


@pytest.mark.parametrize("name", ["descent", "momentum", "nesterov", "lbfgs"])
@any_seed
def test_rotations_turn_the_way(name, seed):
    rng, matrix, center, y0 = bowls(seed)
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = path(name, q @ matrix @ q.T, q @ center, 1.0, q @ y0)
    # Rounding grows a little along the way; a line search may decide otherwise at a tie only.
    np.testing.assert_allclose(turned, path(name, matrix, center, 1.0, y0) @ q.T, atol=1e-8)


@pytest.mark.parametrize("name", RULES)
@any_seed
def test_translations_and_permutations_move_the_way(name, seed):
    rng, matrix, center, y0 = bowls(seed)
    way, shift, order = np.asarray(path(name, matrix, center, 1.0, y0)), rng.normal(size=3), np.array([2, 0, 1])
    np.testing.assert_allclose(path(name, matrix, center + shift, 1.0, y0 + shift), way + shift, atol=1e-7)
    permuted = path(name, matrix[np.ix_(order, order)], center[order], 1.0, y0[order])
    np.testing.assert_allclose(permuted, way[:, order], atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "lion"])
@any_seed
def test_the_scale_of_the_loss_does_not_matter(name, seed):
    _, matrix, center, y0 = bowls(seed)
    # A power of two scales every number without rounding, so the ways are equal to the last bit but for √.
    np.testing.assert_allclose(path(name, matrix, center, 2.0**20, y0), path(name, matrix, center, 1.0, y0), rtol=1e-12)


def test_a_rotation_is_seen_by_adam():
    _, matrix, center, y0 = bowls(1)
    q = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = path("adam", q @ matrix @ q.T, q @ center, 1.0, q @ y0)
    assert np.max(np.abs(turned - path("adam", matrix, center, 1.0, y0) @ q.T)) > 0.01


def test_new_rates_are_one_trace():
    traces = []

    def fn(y):
        traces.append(None)
        return jnp.sum(y**2)

    def make(rate, b1):
        return optax.adam(rate, b1=b1)

    counts = []
    for rate, b1 in ((0.1, 0.9), (0.2, 0.8), (0.3, 0.0)):
        run = minimize(fn, tunable(make, rate, b1=b1), jnp.ones(2), num_steps=30)
        counts.append(len(traces))
        plain = minimize(lambda y: jnp.sum(y**2), optax.adam(rate, b1=b1), jnp.ones(2), num_steps=30)
        np.testing.assert_allclose(run.history.y, plain.history.y, rtol=0, atol=1e-14)
    assert counts[0] == counts[1] == counts[2], counts


def test_new_rates_are_one_trace_in_training_too():
    traces = []

    def loss(prediction, target):
        traces.append(None)
        return jnp.mean((prediction - target) ** 2)

    x, y, model = np.eye(2), np.eye(2)[:, :1], perceptron((2, 2, 1), key=jax.random.key(0))
    counts = []
    for rate in (0.1, 0.2, 0.3):
        train(model, tunable(optax.sgd, rate), x, y, loss=loss, num_steps=3)
        counts.append(len(traces))
    assert counts[0] == counts[1] == counts[2], counts


def test_numbers_that_are_data_can_be_differentiated():
    def end(rate, beta):
        optimizer = tunable(optax.sgd, rate, momentum=beta)
        return minimize(BOWL.fn, optimizer, BOWL.y0, num_steps=20).history.value[-1]

    slopes = jax.grad(end, (0, 1))(0.05, 0.5)
    h = 1e-6
    central = [(end(0.05 + h, 0.5) - end(0.05 - h, 0.5)) / (2 * h), (end(0.05, 0.5 + h) - end(0.05, 0.5 - h)) / (2 * h)]
    np.testing.assert_allclose(slopes, central, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tunable(None, 0.1), "`make_optimizer` must"),
        (lambda: tunable(optax.sgd), "`numbers` must"),
        (lambda: tunable(optax.sgd, "fast"), "`numbers[0]` must"),
        (lambda: tunable(optax.sgd, 0.1, momentum=np.nan), "`momentum` must be finite"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    assert says in str(error.value), error.value
