import numpy as np
import optax
import pytest

from jaxnum import optimize
from jaxnum.optimize import landscapes
from jaxnum.plot import canvas
from jaxnum.plot import optimize as draw

VALLEY = landscapes.rosenbrock(1.0, 2.0)


@pytest.fixture(scope="module")
def result():
    optimizers = {"adam": optax.adam(0.1), "gone": optax.sgd(0.1)}
    return optimize.race(VALLEY.fn, optimizers, np.array([3.0, 3.0]), num_steps=20)


def test_paths_are_the_ways_taken(result):
    ax = canvas.figure()[1]
    adam, gone = draw.paths(VALLEY, result, ax=ax)
    np.testing.assert_array_equal(adam.get_xydata(), result.solutions["adam"].history.y)
    assert np.isfinite(gone.get_xydata()).all()
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for x, y in [*adam.get_xydata(), (1.0, 1.0)]:
        assert low < x < high
        assert bottom < y < top
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"adam", "gone", "start", "minimum"}


def test_race_draws_values_and_marks_where_a_run_was_lost(result):
    ax = canvas.figure()[1]
    adam, _ = draw.race(result, ax=ax)
    np.testing.assert_array_equal(adam.get_ydata(), result.solutions["adam"].history.value)
    assert any(line.get_marker() == "x" for line in ax.lines)
    assert ax.get_yscale() == "log"


def test_sensitivity_draws_values_against_rates():
    bowl, rates = landscapes.quadratic((1.0, 10.0)), np.geomspace(1e-3, 1.0, 20)
    tuned = optimize.race(bowl.fn, {"descent": optax.sgd}, bowl.y0, num_steps=40, rates=rates)
    ax = canvas.figure()[1]
    [line] = draw.sensitivity(tuned, ax=ax)
    values = tuned.tuning["descent"].values
    shown = np.isfinite(line.get_ydata())
    np.testing.assert_allclose(line.get_ydata()[shown], values[shown])
    assert not shown[-1]  # above the stability limit there is no line
    [band] = ax.collections
    np.testing.assert_allclose(band.get_segments()[0][:, 0], tuned.tuning["descent"].band)


def test_paths_mark_higher_minima():
    two = landscapes.three_hump_camel()
    short = optimize.race(two.fn, {"descent": optax.sgd(0.05)}, two.y0, num_steps=30)
    ax = canvas.figure()[1]
    draw.paths(two, short, bounds=two.bounds, ax=ax)
    assert "higher minimum" in {t.get_text() for t in ax.get_legend().get_texts()}


def test_map_in_one_and_two_dimensions():
    values = np.array([[1.0, 2.0, np.inf], [0.5, 0.1, 3.0]])
    mesh = draw.learning_rate_map(values, ([0.1, 0.2], [0.0, 0.5, 0.9]), ax=canvas.figure()[1])
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), np.where(np.isinf(values), np.nan, values).T)
    line = draw.learning_rate_map(values[0], ([0.1, 0.2, 0.3],), ax=canvas.figure()[1])
    np.testing.assert_array_equal(line.get_xdata(), [0.1, 0.2, 0.3])


def test_bad_arguments_are_named(result):
    with pytest.raises(ValueError, match="`values` must"):
        draw.learning_rate_map(np.zeros((2, 2)), ([0.1, 0.2],))
    with pytest.raises(ValueError, match="`landscape` must have two dimensions"):
        draw.paths(landscapes.wood(), result)
    with pytest.raises(ValueError, match="`race` must have been run with"):
        draw.sensitivity(result)
