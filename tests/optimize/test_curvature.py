import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum.optimize import (
    Adam,
    AveragedMomentum,
    Momentum,
    Nesterov,
    Sgd,
    curvature,
    landscapes,
    measured_limit,
    predicted_steps,
    stability_limit,
)

MAKERS = {
    Sgd(): lambda rate: optax.sgd(rate),
    Momentum(0.9): lambda rate: optax.sgd(rate, momentum=0.9),
    Nesterov(0.9): lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    AveragedMomentum(0.9): lambda rate: optax.chain(optax.ema(0.9, debias=False), optax.scale(-rate)),
}


def test_both_ends_at_a_minimum_and_at_a_saddle():
    valley, wood = landscapes.rosenbrock(), landscapes.wood()
    ends = curvature(valley.fn, valley.minima[0])
    half = np.sqrt(301.0**2 + 400.0**2)  # H = [[802, −400], [−400, 200]]
    np.testing.assert_allclose([ends.smallest, ends.largest], [501 - half, 501 + half], rtol=1e-10)
    np.testing.assert_allclose(ends.condition, 2508.0096, rtol=1e-7)
    np.testing.assert_allclose(np.abs(ends.largest_direction), [0.8948, 0.4464], atol=1e-4)
    assert ends.error < 1e-9
    saddle = curvature(wood.fn, wood.saddles[0])
    np.testing.assert_allclose(saddle.smallest, -0.12, atol=5e-3)
    assert saddle.largest > 500


def test_a_large_tree_needs_no_matrix():
    spectrum = np.concatenate([[-2.0], np.linspace(0.1, 1.0, 298), [50.0]])

    def fn(tree):
        y = jnp.concatenate([tree["a"], tree["b"].ravel()])
        return jnp.sum(jnp.asarray(spectrum, y.dtype) * y**2) / 2

    tree = {"a": jnp.ones(100), "b": jnp.ones((20, 10))}
    ends = curvature(fn, tree, num_steps=40)
    np.testing.assert_allclose([ends.smallest, ends.largest], [-2, 50], rtol=1e-12)
    assert ends.largest_direction["b"].shape == (20, 10)
    np.testing.assert_allclose(abs(ends.largest_direction["b"][-1, -1]), 1, rtol=1e-12)


@pytest.mark.parametrize("family", MAKERS, ids=str)
def test_the_limit_measured_from_one_step_is_the_one_derived(family):
    limit = float(stability_limit(family, 10.0))
    found = measured_limit(MAKERS[family], 10.0, between=(0.5 * limit, 2 * limit))
    np.testing.assert_allclose(found, limit, rtol=2e-9)


@pytest.mark.parametrize("second", [1.0, 1e-4])
def test_the_limit_of_adam_is_that_of_its_frozen_preconditioner(second):
    # A real step of optax.adam, long after its start, with a second moment v: P = √(β₂v) + ε, the curvature is λ/P.
    def state(rate):
        moments = optax.ScaleByAdamState(jnp.int32(10**6), jnp.zeros(()), jnp.asarray(second))
        return (moments, *optax.adam(rate).init(jnp.zeros(()))[1:])

    limit = float(stability_limit(Adam(0.9), 10.0 / (np.sqrt(0.999 * second) + 1e-8)))
    found = measured_limit(optax.adam, 10.0, between=(0.5 * limit, 2 * limit), state=state)
    np.testing.assert_allclose(found, limit, rtol=2e-9)


def steps_needed(family, rate, spectrum, factor):
    """Steps after which the error stays below `factor` of its start, by a NumPy loop."""
    x, v, n, last = np.ones(len(spectrum)), np.zeros(len(spectrum)), 0, 0
    beta = getattr(family, "beta", getattr(family, "b1", 0.0))
    share = 1 - beta if isinstance(family, AveragedMomentum | Adam) else 1.0
    while n - last < 400:
        n += 1
        g = spectrum * x
        v = beta * v + share * g
        x = x - rate * (g + beta * v if isinstance(family, Nesterov) else v)
        last = n if np.max(np.abs(x)) > factor else last
    return last + 1


@pytest.mark.parametrize("share", [0.05, 0.4, 0.95])
@pytest.mark.parametrize(
    "family", [Sgd(), Momentum(0.5), Momentum(0.9), Nesterov(0.9), AveragedMomentum(0.8), Adam()], ids=str
)
def test_predicted_steps_are_within_ten_percent(family, share):
    spectrum = np.array([1.0, 4.0, 20.0])
    rate = share * float(stability_limit(family, 20.0))
    predicted = float(predicted_steps(family, rate, 1.0, 20.0, factor=1e-12))
    needed = steps_needed(family, rate, spectrum, 1e-12)
    # The rate of decay is exact; the start projects on the slowest mode with a factor of order one.
    assert abs(predicted - needed) < 0.1 * needed, (predicted, needed)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: curvature(None, [1.0]), "`fn` must be a function"),
        (lambda: curvature(lambda y: y, [1.0]), "`fn` must return a real scalar"),
        (lambda: curvature(jnp.sum, [np.nan]), "`y0` must be finite"),
        (lambda: curvature(jnp.sum, [1.0], num_steps=0), "`num_steps` must"),
        (lambda: measured_limit(optax.sgd, 10.0, between=(0.3, 0.4)), "`between` must hold"),
        (lambda: measured_limit(optax.sgd, -1.0, between=(0.3, 0.4)), "`curvature` must"),
        (lambda: measured_limit(None, 1.0, between=(0.3, 0.4)), "`make_optimizer` must"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    assert says in str(error.value), error.value
