import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.jupiter import JUPITER, Constant, Dipole, SmoothRamp, coupled, roots
from jaxnum.jupiter.outer import CurrentDensity

LAW = SmoothRamp()
FEW = dict(num_samples=12)  # the roots are twice as far apart as the samples


def test_a_condition_with_two_roots_has_both_found_and_monotone_ones_one_or_none():
    # What np.gradient imposes on who gives no condition, d²I/dρ² = 0 at the edge: in a dipole dj/d ln x = 2 j.
    hidden = roots(lambda edge: edge.slope - 2 * edge.current_density, JUPITER, Dipole(), LAW, **FEW)
    assert hidden.ok, hidden
    assert bool(hidden.history.excluded)
    assert hidden.value.shape == (2,)
    for density in hidden.value:
        # Independent: the last two differences of the current of that magnetosphere, 0.01 R apart.
        at = np.linspace(99.98, 100.0, 3)
        current = np.asarray(coupled(JUPITER, Dipole(), LAW, outer=CurrentDensity(density), at=at).history.current)
        assert abs(np.diff(current, 2)[0]) < 2e-3 * abs(np.diff(current)).max(), (density, current)
    given = roots(lambda edge: edge.current - 8e6, JUPITER, Dipole(), LAW, **FEW)
    assert given.value.shape == (1,)
    assert bool(given.history.excluded)
    assert_allclose(given.history.current, 8e6, rtol=1e-8)
    none = roots(lambda edge: edge.current - 2e6, JUPITER, Dipole(), LAW, **FEW)  # less than the law can carry
    assert none.value.shape == (0,)
    assert bool(none.history.excluded)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"condition": 3}, "`condition` must be a function"),
        ({"law": 0.05}, "`law` must have a method"),
        ({"j_max": -1.0}, "`j_max` must lie above"),
        ({"num_samples": 3}, "`num_samples`"),
        ({"progress": 3}, "`progress`"),
        ({"tol": -1.0}, "`tol`"),
    ],
)
def test_bad_input_is_named(kwargs, message):
    given = {"condition": lambda edge: edge.current, "law": Constant(0.05)} | kwargs
    with pytest.raises(ValueError, match=message) as error:
        roots(given.pop("condition"), JUPITER, Dipole(), given.pop("law"), **given)
    assert "\n" not in str(error.value)


def test_what_is_traced_is_refused():
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda b: roots(lambda edge: edge.current, JUPITER, Dipole(), SmoothRamp(b)).value)(0.05)
