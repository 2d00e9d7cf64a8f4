import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum import diagnose
from jaxnum.networks import Perceptron, perceptron, train, train_many

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])
SGD = optax.sgd(1.0)
ADAM = optax.adam(0.05)


def network(w1, b1, w2, b2, activation=jax.nn.sigmoid, final=jax.nn.sigmoid):
    weights = tuple(jnp.asarray(w, float) for w in (w1, w2))
    return Perceptron(weights, tuple(jnp.asarray(b, float) for b in (b1, b2)), activation, final)


def equal_units():
    return train(network(np.ones((3, 2)), np.zeros(3), np.ones((1, 3)), [0.0]), SGD, X, Y, num_steps=400)


def saturated_units():
    # Weighted inputs between 8 and 25: the slope of the logistic function is 1e-3 of its steepest and less.
    w1 = [[5.0, 4.0], [6.0, 5.0], [4.0, 7.0]]
    return train(network(w1, [8.0, 9.0, 10.0], [[0.5, -0.3, 0.2]], [0.1]), SGD, X, Y, num_steps=400)


def dead_units():
    w1 = [[-1.0, -2.0], [-2.0, -1.0], [-1.5, -0.5]]
    dead = network(w1, [-0.1, -0.2, -0.3], [[1.0, -0.5, 0.7]], [0.0], jax.nn.relu)
    return train(dead, SGD, X, Y, num_steps=400)


def one_direction():
    # All units look along x + y with small weights, where a logistic function is a straight line.
    w1 = np.array([[1.0, 1.0], [-1.3, -1.3], [0.7, 0.7]]) * 1e-2
    return train(network(w1, np.zeros(3), [[1e-2, 2e-2, -1e-2]], [0.0]), optax.sgd(0.01), X, Y, num_steps=400)


def a_minimum():
    # f = (p² − 1)² + 0.3 p + 0.4 has a minimum near 0.96 that is higher than the one near −1.04.
    return train(Bend(jnp.array([0.9])), optax.sgd(0.05), np.ones((1, 1)), np.zeros((1, 1)), loss=bent, num_steps=600)


class Bend(eqx.Module):
    p: jax.Array

    def __call__(self, x):
        return self.p * x


def bent(prediction, target):
    p = prediction[0, 0] - target[0, 0]
    return (p**2 - 1) ** 2 + 0.3 * p + 0.4


def too_short():
    return train(perceptron((2, 4, 1), key=jax.random.key(1)), ADAM, X, Y, num_steps=60)


def too_fast():
    slow = perceptron((2, 1), final_activation=jnp.positive, key=jax.random.key(0))
    return train(slow, optax.sgd(3.0), X, Y, num_steps=10)


def stopped():
    model = perceptron((2, 4, 1), key=jax.random.key(1))
    return train(model, optax.sgd(0.5), X, Y, num_steps=4000, save_every=10, tolerance=2e-2)


PLANTED = {
    "symmetry": (equal_units, {}),
    "saturation": (saturated_units, {}),
    "dead-units": (dead_units, {}),
    "rank-deficient": (one_direction, {}),
    "budget": (too_short, {}),
    "diverged": (too_fast, {}),
    "stopped-by-tolerance": (stopped, {}),
}


@pytest.mark.parametrize("code", PLANTED)
def test_planted_fault_is_named(code):
    make, options = PLANTED[code]
    diagnosis = diagnose.training(make(), X, Y, **options)
    assert code in [f.code for f in diagnosis.findings], diagnosis
    assert diagnosis.findings[0].code == code, diagnosis
    assert diagnosis.findings[0].cure
    json.loads(diagnosis.to_json())


def test_a_true_local_minimum_is_named_with_its_curvature():
    diagnosis = diagnose.training(a_minimum(), np.ones((1, 1)), np.zeros((1, 1)), loss=bent, target=0.3)
    [finding] = diagnosis.findings
    assert finding.code == "local-minimum", diagnosis
    [p] = [root.real for root in np.roots([4, 0, -4, 0.3]) if root.real > 0.5]  # f′ = 4p³ − 4p + 0.3
    np.testing.assert_allclose(finding.evidence["smallest_curvature"], 12 * p**2 - 4, rtol=1e-6)


def test_a_saddle_is_not_called_a_minimum():
    at_rest = train(Bend(jnp.array([0.0])), SGD, np.ones((1, 1)), np.zeros((1, 1)), loss=hill, num_steps=20)
    [finding] = diagnose.training(at_rest, np.ones((1, 1)), np.zeros((1, 1)), loss=hill, target=0.3).findings
    assert finding.code == "plateau"
    assert "saddle" in finding.message


def hill(prediction, target):
    return (prediction[0, 0] ** 2 - target[0, 0] - 1) ** 2


@pytest.mark.parametrize("activation", [jax.nn.sigmoid, jnp.tanh])
def test_silent_on_a_healthy_run(activation):
    model = perceptron((2, 4, 1), activation=activation, key=jax.random.key(1))
    solution = train(model, ADAM, X, Y, num_steps=1500, save_every=50)
    assert solution.history.value[-1] < 0.0125
    diagnosis = diagnose.training(solution, X, Y)
    assert diagnosis.ok, diagnosis
    done = train(model, ADAM, X, Y, num_steps=6000, save_every=50, tolerance=1e-3)
    assert diagnose.training(done, X, Y).ok  # a tolerance that ends a finished run is no fault


def test_of_many_the_worst_is_looked_at():
    keys = jax.random.split(jax.random.key(0), 16)
    many = train_many(lambda key: perceptron((2, 2, 1), key=key), SGD, X, Y, keys=keys, num_steps=1500, save_every=50)
    diagnosis = diagnose.training(many, X, Y)
    last = np.asarray(many.history.value)[:, -1]
    assert not diagnosis.ok
    assert f"the worst, {np.argmax(last)}" in diagnosis.notes[0]


def test_losses_alone_know_when_they_were_cut_off():
    losses = 0.2 + 0.05 * np.exp(-np.arange(60) / 8.0)
    assert [f.code for f in diagnose.training(losses, budget=200).findings] == ["stopped-by-tolerance"]
    assert [f.code for f in diagnose.training(losses, budget=59).findings] == ["stuck"]
    assert [f.code for f in diagnose.training(losses).findings] == ["stuck"]


def test_a_run_that_was_lost_is_no_stop():
    cubic = perceptron((2, 1), final_activation=lambda z: z**3, use_bias=False, key=jax.random.key(0))
    lost = train(eqx.tree_at(lambda m: m.weights, cubic, (jnp.ones((1, 2)),)), optax.sgd(10.0), X, 0 * Y, num_steps=20)
    assert [f.code for f in diagnose.training(lost, X, 0 * Y, target=0.1).findings] == ["nonfinite"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: diagnose.training(None), "`solution` must"),
        (lambda: diagnose.training([1.0]), "`solution` must hold at least two losses"),
        (lambda: diagnose.training([1.0, 1.0], X), "`y` must be given"),
        (lambda: diagnose.training([1.0, 1.0], X, Y[:2]), "`y` must have one row"),
        (lambda: diagnose.training([1.0, 1.0], target=-1.0), "`target` must"),
        (lambda: diagnose.training([1.0, 1.0], budget=0), "`budget` must"),
        (lambda: diagnose.training(too_short(), X, 1 - Y), "`loss` must be what was trained with"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    assert says in str(error.value), error.value
