import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

from jaxnum import diagnose
from jaxnum.diagnose.iterations.boundary_conditions import exponents_of
from jaxnum.jupiter import JUPITER, Dipole, SmoothRamp, coupled_slopes, exact
from jaxnum.jupiter.system import in_one_dtype

X = np.linspace(0.0, 3.0, 31)
Y = np.stack([np.exp(-X), -np.exp(-X)], axis=1)


def layer(_x, y, args):
    return jnp.stack([y[1], args**2 * y[0]])


def codes(diagnosis):
    return [finding.code for finding in diagnosis.findings]


def test_a_dichotomy_wants_one_condition_at_each_end():
    right = diagnose.boundary_conditions(layer, X, Y, 20.0, inner=1, outer=1)
    assert right.ok
    assert any("neither direction" in note for note in right.notes)
    wrong = diagnose.boundary_conditions(layer, X, Y, 20.0, inner=2, outer=0)
    assert codes(wrong) == ["missing-boundary-condition", "too-many-boundary-conditions"]
    # Rates are ±20 over a length of 3; turning from a random direction into the growing one adds at most ln 20.
    assert_allclose(wrong.findings[0].evidence["log_growth_outward"], 60.0, atol=np.log(20))


def test_an_initial_value_problem_is_left_alone():
    found = diagnose.boundary_conditions(lambda x, y: -y * jnp.ones_like(x), X, Y, inner=2, outer=0)
    assert found.ok
    assert not any("neither" in note for note in found.notes)


def test_magnetosphere_lacks_its_outer_condition():
    x = np.linspace(10.0, 100.0, 200)
    w = np.asarray(exact.corotation(x, exact.hill_distance(JUPITER, 0.1)))
    y = np.stack([w, np.full_like(w, -0.1)], axis=1)
    args = in_one_dtype(JUPITER, Dipole(), SmoothRamp())
    found = diagnose.boundary_conditions(coupled_slopes, x, y, args, inner=1, outer=0)
    assert codes(found) == ["missing-boundary-condition"]
    assert "outer" in found.findings[0].message
    assert found.findings[0].evidence["needed"] == {"inner": 1, "outer": 1}


def test_nonfinite_derivative_is_told():
    found = diagnose.boundary_conditions(lambda x, y: y / x, X, Y, inner=0, outer=2)
    assert codes(found) == ["nonfinite-derivative"]


def test_what_cannot_be_computed_is_not_called_right():
    # exp(1e6) within a cell: the growth overflows even in ten thousand parts.
    found = diagnose.boundary_conditions(lambda _x, y: 1e9 * y, X, Y, inner=2, outer=0)
    assert codes(found) == ["inconclusive"], str(found)


def test_growth_is_the_same_every_time_and_known_where_it_is_constant():
    matrix = np.array([[0.0, 1.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, -0.5]])
    answers = {tuple(exponents_of(np.stack([matrix] * 31), np.diff(X))) for _ in range(3)}
    assert len(answers) == 1
    # The propagator of a constant matrix is its exponential.
    expected = np.log(np.linalg.svd(scipy.linalg.expm(3.0 * matrix))[1])
    assert_allclose(answers.pop(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"vector_field": None}, "`vector_field`"),
        ({"x": X[::-1]}, "`x` must increase"),
        ({"x": [0.0, np.nan]}, "`x` must be finite"),
        ({"y": Y[:5]}, "`y` must have shape"),
        ({"y": Y[:, 0]}, "`y` must have 2 axes"),
        ({"inner": -1}, "`inner`"),
        ({"outer": 1.5}, "`outer`"),
    ],
)
def test_bad_input_is_named(kwargs, message):
    given = {"vector_field": layer, "x": X, "y": Y, "args": 2.0, "inner": 1, "outer": 1} | kwargs
    with pytest.raises(ValueError, match=message) as error:
        diagnose.boundary_conditions(**given)
    assert "\n" not in str(error.value)
