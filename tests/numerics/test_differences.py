import numpy as np
import pytest

from jaxnum.numerics import differences

X = np.array([0.3, -1.2, 2.0])


def smooth(x):
    return np.array([np.exp(x[0]) * x[1], np.sin(x[2] * x[0])])


def jacobian(x):
    return np.array(
        [
            [np.exp(x[0]) * x[1], np.exp(x[0]), 0.0],
            [x[2] * np.cos(x[2] * x[0]), 0.0, x[0] * np.cos(x[2] * x[0])],
        ]
    )


def test_richardson_is_exact_to_its_own_error():
    found = differences.richardson(smooth, X)
    assert found.value.shape == (2, 3)
    assert np.all(np.abs(found.value - jacobian(X)) <= found.error)
    assert found.error.max() < 1e-8


def test_each_level_removes_one_power_of_four():
    # Two levels leave h⁴: halving the first step divides the error by 16.
    def error(step):
        found = differences.richardson(lambda x: np.exp(x[0]), [0.3], [[1.0]], step=step, num_levels=2)
        return abs(float(found.value[0]) - np.exp(0.3))

    order = np.log2(error(0.4) / error(0.2))
    assert order == pytest.approx(4, abs=0.05)


def test_directions_are_columns():
    v = np.array([[1.0, 0.0], [2.0, 1.0], [-1.0, 0.5]])
    for found in (differences.richardson(smooth, X, v).value, differences.complex_step(smooth, X, v)):
        np.testing.assert_allclose(found, jacobian(X) @ v, rtol=1e-8, atol=1e-9)


def test_complex_step_is_right_to_rounding():
    found = differences.derivative(smooth, X)
    assert found.method == "complex step"
    np.testing.assert_allclose(found.value, jacobian(X), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("fn", "slope"),
    [
        (lambda x: np.abs(x[0]) * x[1], [-1.2, 0.3, 0.0]),  # abs of a complex number is its length
        (lambda x: float(x[0].real) ** 2 + x[1] * 0, [0.6, 0.0, 0.0]),  # the imaginary part is dropped
        (lambda x: np.maximum(x[1], -5) ** 2 * 1.0, [0.0, -2.4, 0.0]),
    ],
)
def test_a_complex_step_that_lies_is_not_believed(fn, slope):
    found = differences.derivative(fn, X)
    assert np.all(np.abs(found.value - slope) <= np.maximum(10 * found.error, 1e-9))


def test_a_jump_shows_in_the_error():
    # The two longest steps cross as many jumps as a line of slope 10 would, by chance; the shortest cross none.
    found = differences.richardson(lambda x: np.floor(10 * x[0]), [0.31], [[1.0]])
    assert abs(found.value[0]) <= found.error[0]


def test_values_too_small_for_their_size_show_in_the_error():
    # 1e8 + x carries x to 1e-8 only: the error must say so.
    found = differences.richardson(lambda x: 1e8 + np.sin(x[0]), [0.3], [[1.0]])
    assert abs(found.value[0] - np.cos(0.3)) <= found.error[0]
    assert found.error[0] > 1e-10


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"x": "high"}, "x"),
        ({"x": [[1.0]]}, "x"),
        ({"x": [np.nan]}, "x"),
        ({"x": []}, "x"),
        ({"directions": [1.0, 2.0, 3.0]}, "directions"),
        ({"directions": np.full((3, 1), np.inf)}, "directions"),
        ({"step": 0.0}, "step"),
        ({"num_levels": 1}, "num_levels"),
    ],
)
def test_nonsense_is_refused(arguments, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        differences.richardson(**({"fn": smooth, "x": X} | arguments))
