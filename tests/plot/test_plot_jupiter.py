import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import plot
from jaxnum.jupiter import JUPITER, Dipole, exact
from jaxnum.plot import canvas
from jaxnum.plot import jupiter as draw

X = np.linspace(5.0, 100.0, 60)


def magnetosphere(sigma):
    @jax.jit
    def at(x):
        omega = exact.corotation(x, exact.hill_distance(JUPITER, sigma))
        return omega, exact.current(x, JUPITER, sigma), exact.current_density(x, JUPITER, sigma)

    omega, current, density = map(np.asarray, at(X))
    conductance = np.full_like(X, sigma)
    return {"x": X, "omega": omega, "current": current, "current_density": density, "conductance": conductance}


@pytest.fixture(scope="module")
def weak():
    return magnetosphere(0.05)


def test_four_quantities_are_drawn_in_their_units(weak):
    panels = plot.magnetosphere(weak, label="Σ = 0.05 mho")
    scales = {"omega": 1, "current": 1e-6, "current_density": 1e6, "conductance": 1}
    for panel, (name, scale) in zip(panels, scales.items(), strict=True):
        assert_allclose(panel.lines[0].get_xdata(), X)
        assert_allclose(panel.lines[0].get_ydata(), scale * weak[name])
        assert panel.get_ylabel()
        assert panel.get_title()
    assert [t.get_text() for t in panels[0].get_legend().get_texts()] == ["Σ = 0.05 mho"]
    assert "ρ / R" in panels[3].get_xlabel()


def test_reference_lies_behind_and_colatitude_is_the_other_abscissa(weak):
    ax = canvas.figure(2, 2)[1]
    panels = plot.magnetosphere(weak, field=Dipole(), reference=magnetosphere(0.1), reference_label="0.1", ax=ax)
    behind, line = panels[0].lines
    assert panels[0] is ax[0, 0]
    assert_allclose(line.get_xdata(), np.rad2deg(np.arcsin(np.sqrt(1 / X))))
    assert behind.get_linestyle() == "--"
    assert (behind.get_ydata() > line.get_ydata()).all()  # more conductance holds the plasma better
    assert "colatitude" in panels[2].get_xlabel()


def test_passes_are_cut_and_the_cut_is_told(weak):
    low, high = weak["current_density"] - 1e-6, weak["current_density"] + 1e-6
    panels = draw.passes([("pass 1", X, low, high), ("pass 9", X, 1e6 * low, 1e6 * high)], weak, limit=0.03)
    assert panels[0].get_ylim() == (-0.03, 0.03)
    assert len(panels) == 2
    assert [len(p.texts) for p in panels] == [1, 1]
    assert "up to 1 µA/m²" in panels[0].texts[0].get_text()
    assert r"1.0\times 10^{6}" in panels[1].texts[0].get_text()


def test_growth_is_drawn_beside_its_prediction():
    sizes = np.array([200, 400, 800])
    errors = {200: 1e-12 * 10.0 ** np.arange(6), 400: 1e-12 * 20.0 ** np.arange(6)}
    left, right = draw.growth(errors, {200: 10.0, 400: 20.0}, sizes, sizes / 5, sizes / 5, mark=400)
    assert_allclose(left.lines[0].get_ydata(), errors[200])
    predicted = left.lines[1].get_ydata()
    assert_allclose(predicted[1] / predicted[0], 10.0)
    assert_allclose(right.lines[1].get_xdata(), sizes)


def test_a_mode_is_drawn_cell_by_cell():
    near = np.cos(np.pi / 2 * np.arange(33))
    left, right = draw.mode(X, np.ones_like(X), X[:33], near)
    assert_allclose(right.lines[0].get_ydata(), near)
    assert left.collections
