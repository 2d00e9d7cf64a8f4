import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import ensemble, plot
from jaxnum.plot import canvas


def test_one_axis_is_a_line_that_leaves_failed_members_out():
    solution = ensemble.sweep(lambda p: p["rate"] ** -2, ensemble.grid(rate=np.append(np.geomspace(1e-3, 1.0, 5), 0.0)))
    line = plot.sweep(solution, ax=canvas.figure()[1])
    assert_allclose(line.get_ydata()[:5], np.geomspace(1e-3, 1.0, 5) ** -2)
    assert np.isnan(line.get_ydata()[5])
    assert line.axes.get_yscale() == "log"
    assert line.axes.get_title() == "6 members, 1 failed and left out"


def test_two_axes_are_a_map_with_each_number_at_its_place():
    axes = {"rate": np.geomspace(1e-3, 1.0, 4), "beta": np.linspace(0.9, 0.0, 3)}
    solution = ensemble.sweep(lambda p: p["rate"] + 10 * p["beta"], ensemble.grid(**axes))
    mesh = plot.sweep(solution, label="sum", ax=canvas.figure()[1])
    assert mesh.axes.get_xscale() == "log"
    assert mesh.axes.get_yscale() == "linear"
    assert (mesh.axes.get_xlabel(), mesh.axes.get_ylabel()) == ("rate", "beta")
    shown = mesh.get_array().reshape(3, 4)  # the second axis goes upward, sorted
    assert_allclose(shown, (axes["rate"][:, None] + 10 * axes["beta"][::-1]).T, rtol=1e-15)


@pytest.mark.parametrize(
    ("solution", "values"),
    [
        (lambda: ensemble.sweep(lambda x: x, np.arange(3.0)), None),
        (lambda: ensemble.sweep(lambda p: p["a"], ensemble.grid(a=[1.0], b=[1.0], c=[1.0])), None),
        (lambda: ensemble.sweep(lambda p: p["a"], ensemble.grid(a=[1.0, 2.0])), np.ones(3)),
        (lambda: ensemble.sweep(lambda p: p["a"], ensemble.grid(a=[1.0, 2.0])), np.ones(2) * 1j),
    ],
)
def test_what_cannot_be_drawn_is_refused(solution, values):
    with pytest.raises(ValueError, match="must"):
        plot.sweep(solution(), values)
