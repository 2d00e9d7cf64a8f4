import numpy as np

from jaxnum.cases import free_packet
from jaxnum.cases.free_packet import Config, naive_matrices, naive_run

CASE, CONFIG = free_packet, Config()


def test_what_was_seen_is_reproduced(story):
    facts = story.symptom.facts
    assert facts["largest change of the norm"] < 1e-13
    for time, distance in ((5, 0.02047), (10, 0.04022), (20, 0.07649)):
        np.testing.assert_allclose(facts[f"L2 distance from the exact packet at t = {time}"], distance, atol=5e-6)
    np.testing.assert_allclose(facts["root of mean x squared at t = 20"], 14.0309, atol=5e-5)
    # √((1 + t²)/2) at t = 20
    np.testing.assert_allclose(facts["exact root of mean x squared at t = 20"], 14.1598, atol=5e-5)


def test_one_step_is_not_unitary_in_its_last_rows(story):
    facts = story.diagnosis.facts
    for name, defect, digits in (
        ("largest entry of U†U - 1 in the last row", 1.065, 5e-4),
        ("in the row before", 0.30, 5e-3),
        ("two rows before", 0.14, 5e-3),
        ("three rows before", 0.063, 5e-4),
    ):
        np.testing.assert_allclose(facts[name], defect, atol=digits, err_msg=name)
    assert facts["in the first half of the rows"] < 1e-13  # rounding


def test_the_walls_tell_themselves_apart_when_a_packet_meets_them(story):
    facts = story.diagnosis.facts
    np.testing.assert_allclose(facts["norm after a collision with the first end"], 1, atol=1e-10)
    np.testing.assert_allclose(facts["norm after a collision with the last end, corner mended"], 1, atol=1e-10)
    assert abs(facts["norm after a collision with the last end"] - 1) > 0.01
    np.testing.assert_allclose(facts["width lost on the grid, per cent"], 0.9, atol=0.05)


def test_the_last_row_is_named_with_the_entry_it_should_have(story):
    about_run, about_step = story.diagnoses
    corners = [f for f in about_step.findings if f.code == "corner"]
    [corner] = corners
    assert corner.evidence["row"] == 1200
    dx, dt = 200 / 1200, 0.1
    beta = 1j * dt / (4 * dx**2)
    np.testing.assert_allclose(corner.evidence["right should be"], 1 - beta, rtol=1e-12)
    np.testing.assert_allclose(corner.evidence["right"], 1 - 2 * beta, rtol=1e-12)
    # Nothing is wrong with what was seen but the coarse grid: no finding about the peak or the norm.
    assert not {"norm", "peaks"} & {f.code for f in about_run.findings}


def test_the_density_has_one_peak_at_all_times(story):
    for density in story.arrays["density"][1:]:
        inside = density > 1e-3 * density.max()
        turns = np.diff(np.sign(np.diff(density[inside])))
        assert np.sum(turns < 0) == 1


def test_order_four_costs_the_same_and_is_closer(story):
    facts = story.cure.facts
    np.testing.assert_allclose(facts["L2 distance at t = 20, order 2, 200 steps"], 0.0765, atol=5e-5)
    np.testing.assert_allclose(facts["L2 distance at t = 20, order 4, 100 steps"], 0.00137, atol=5e-6)
    [table] = story.cure.tables
    assert {row[2] for row in table.rows} == {200}  # tridiagonal solves
    assert facts["largest drift of the norm, order 4"] < 1e-12
    assert facts["largest drift of the norm in a collision with a wall"] < 1e-12


def test_the_script_builds_the_matrices_that_were_asked_about():
    a, b = naive_matrices(5, 0.5, 0.1)
    alpha, beta = -1j * 0.1 / (4 * 0.25), 1j * 0.1 / (4 * 0.25)
    np.testing.assert_array_equal(np.diag(a), [1 - alpha, *[1 - 2 * alpha] * 3, 1 - alpha])
    np.testing.assert_array_equal(np.diag(b), [1 - beta, *[1 - 2 * beta] * 3, 1 - 2 * beta])
    for matrix, off in ((a, alpha), (b, beta)):
        np.testing.assert_array_equal(np.diag(matrix, 1), [off] * 4)
        np.testing.assert_array_equal(np.diag(matrix, -1), [off] * 4)
    rows = naive_run(np.ones(5), np.eye(5), 2)
    np.testing.assert_array_equal(rows[1], [0, 1, 1, 1, 0])  # edge values are set to zero before each step


def test_pictures(pictures):
    assert list(pictures) == ["phase", "walls", "accuracy", "reflection"]
