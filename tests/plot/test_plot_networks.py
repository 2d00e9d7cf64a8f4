import jax
import numpy as np
import optax
import pytest

from jaxnum.networks import mean_squared_error, perceptron, train, train_many
from jaxnum.plot import canvas
from jaxnum.plot import networks as draw

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])


@pytest.fixture(scope="module")
def solution():
    return train(perceptron((2, 3, 1), key=jax.random.key(1)), optax.adam(0.1), X, Y, num_steps=60, save_every=5)


def test_training_draws_loss_and_gradient(solution):
    loss, norm = draw.training(solution, ax=canvas.figure()[1])
    np.testing.assert_array_equal(loss.get_ydata(), solution.history.value)
    np.testing.assert_array_equal(norm.get_ydata(), solution.history.gradient_norm)


def test_layers_are_drawn_one_by_one(solution):
    axes = canvas.figure(2, 1, sharex=True)[1]
    lines = draw.layers(solution, ax=axes)
    assert len(lines) == 4
    np.testing.assert_array_equal(lines[0].get_ydata(), solution.history.layer_gradient_norm[:, 0])
    np.testing.assert_array_equal(lines[3].get_ydata(), 100 * np.asarray(solution.history.saturation)[:, 1])
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["hidden layer 1", "output layer"]


def test_the_loss_landscape_has_the_network_in_its_middle(solution):
    ax, other = canvas.figure()[1], perceptron((2, 3, 1), key=jax.random.key(1))
    draw.loss_landscape(solution.value, X, Y, ax=ax)
    loss = float(mean_squared_error(jax.vmap(solution.value)(X), Y))
    assert f"{loss:.3g}" in ax.get_title()
    ax = canvas.figure()[1]
    filled = draw.loss_landscape(solution.value, X, Y, other=other, ax=ax)
    assert ax.get_xlabel() == "towards the other network"
    # The lowest and the highest level hold what is drawn, and the start is in the picture.
    assert filled.levels[0] <= loss
    low, high = ax.get_xlim()
    assert low < 0 < 1 < high


def test_decision_surface_and_outcomes(solution):
    ax = canvas.figure()[1]
    draw.decision_surface(solution.value, X, Y, ax=ax)
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"target 0", "target 1"}
    [bars] = draw.outcomes({"solved": [0.25, 0.75]}, ["a", "b"], ax=canvas.figure()[1])
    np.testing.assert_allclose([bar.get_height() for bar in bars], [25, 75])


def test_bad_arguments_are_named(solution):
    with pytest.raises(ValueError, match="`solution` must come from"):
        draw.layers(None)
    with pytest.raises(ValueError, match="`extent` must"):
        draw.loss_landscape(solution.value, X, Y, extent=0.0)
    with pytest.raises(ValueError, match="`other` must have the architecture"):
        draw.loss_landscape(solution.value, X, Y, other=perceptron((2, 4, 1), key=jax.random.key(0)))
    with pytest.raises(ValueError, match="`model` must"):
        draw.loss_landscape(np.sin, X, Y)
    many = train_many(
        lambda key: perceptron((2, 3, 1), key=key),
        optax.sgd(0.1),
        X,
        Y,
        keys=jax.random.split(jax.random.key(0), 2),
        num_steps=2,
    )
    with pytest.raises(ValueError, match="`solution` must be that of one"):
        draw.layers(many)
