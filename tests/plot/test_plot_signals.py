from dataclasses import replace

import numpy as np
import pytest
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


def test_missing_samples_are_marked_and_not_drawn():
    y, weights = Y.copy(), np.ones(61)
    y[20:26], weights[20:26], weights[40] = np.nan, 0, 0
    result = signals.smooth(y, X, method=signals.Whittaker(1e-5), weights=weights, noise=0.1)
    ax = plot.smoothed(result, X, y, weights=weights, ax=Figure().subplots())
    points, curve, marks = ax.lines
    assert_allclose(marks.get_xdata(), X[np.r_[20:26, 40]])
    assert len(points.get_xdata()) == 54
    assert len(curve.get_xdata()) == 61
    assert "7 missing" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_without_a_noise_there_is_no_band():
    result = signals.smooth(X**2, X, method=signals.SavitzkyGolay(3, 2))
    ax = plot.smoothed(result, X, X**2, ax=Figure().subplots())
    assert not ax.collections


def test_what_does_not_fit_is_refused_by_name():
    result = signals.smooth(Y, X, method=signals.LocalPolynomial(0.05), noise=0.1)
    for arguments, name in (((result, X[1:]), "x"), ((result, X, Y[1:]), "y")):
        with pytest.raises(ValueError, match=f"`{name}` must have shape"):
            plot.smoothed(*arguments, ax=Figure().subplots())
    batch = replace(result, value=np.ones((2, 61)))
    with pytest.raises(ValueError, match="`result` must hold one curve"):
        plot.smoothed(batch, X, ax=Figure().subplots())
