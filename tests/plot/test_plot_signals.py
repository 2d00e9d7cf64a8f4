import numpy as np
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from jaxnum import plot, signals
from jaxnum.plot import signals as drawing

X = np.linspace(0, 1, 61)
Y = np.sin(6 * X)


def test_the_curve_its_band_and_its_samples_are_drawn():
    result = signals.smooth(Y, X, method=signals.LocalPolynomial(0.05), noise=0.1)
    ax = Figure().subplots()
    assert plot.smoothed(result, X, Y, ax=ax) is ax
    points, curve = ax.lines
    assert_allclose(points.get_ydata(), Y)
    assert_allclose(curve.get_ydata(), result.value)
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert_allclose(
        [low, high],
        [np.min(result.value - 2 * result.standard_error), np.max(result.value + 2 * result.standard_error)],
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "samples",
        "± 2 standard errors",
        "smooth curve",
    ]


def test_a_derivative_has_no_samples():
    result = signals.differentiate(Y, X, method=signals.LocalPolynomial(0.05), noise=0.1)
    ax = drawing.smoothed(result, X, label="slope", ax=Figure().subplots())
    assert len(ax.lines) == 1
    assert ax.get_ylabel() == "dy/dx"
