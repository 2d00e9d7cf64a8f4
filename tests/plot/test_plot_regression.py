import numpy as np
import pytest

from jaxnum.plot import canvas
from jaxnum.plot.regression import descents, growth, polynomial, shares
from jaxnum.regression import fit_polynomial

X = np.linspace(0.0, 4.0, 9)
Y = 1 + X**2


@pytest.fixture
def ax():
    return canvas.figure()[1]


def test_a_fit_is_drawn_through_its_data(ax):
    points, line = polynomial(fit_polynomial(X, Y, 2), X, Y, ax=ax)
    np.testing.assert_allclose(points.get_xdata(), X)
    x, y = line.get_data()
    np.testing.assert_allclose(y, 1 + x**2, rtol=1e-9, atol=1e-9)
    assert x.min() <= 0
    assert x.max() >= 4


def test_several_curves_have_names(ax):
    drawn = polynomial({"one": np.ones_like, "two": np.zeros_like}, X, Y, ax=ax)
    assert [line.get_label() for line in drawn] == ["data", "one", "two"]


def test_growth_is_that_of_gradient_descent(ax):
    [markers] = growth([1.0, 3.0], {"half": 0.5}, ax=ax)
    np.testing.assert_allclose(markers.get_ydata(), [0.5, 0.5])


def test_descents_leave_out_what_no_logarithm_has(ax):
    lines = descents({"a": [1.0, 0.1, 0.0], "b": [1.0, np.inf]}, goal=0.1, ax=ax)
    np.testing.assert_allclose(lines[0].get_data(), [[1, 2], [1.0, 0.1]])
    np.testing.assert_allclose(lines[1].get_ydata(), [1.0])


def test_shares_are_bars_in_order(ax):
    bars = shares({"x": 0.25, "y": 0.75}, ax=ax)
    assert [bar.get_width() for bar in bars] == [75.0, 25.0]  # from the bottom
    assert [t.get_text() for t in ax.get_yticklabels()] == ["y", "x"]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda ax: polynomial(3, X, Y, ax=ax), "fit"),
        (lambda ax: polynomial(np.sin, X, Y[:-1], ax=ax), "y"),
        (lambda ax: growth([[1.0]], {"a": 1.0}, ax=ax), "curvatures"),
        (lambda ax: descents({"a": [[1.0]]}, ax=ax), "runs"),
    ],
)
def test_nonsense_is_refused(ax, call, name):
    with pytest.raises(ValueError, match=f"Argument `{name}"):
        call(ax)
