"""Every refusal is one line that names the argument, whatever is thrown at it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from jaxnum._checks import (
    as_array,
    as_count,
    as_tree,
    check_finite,
    check_increasing,
    check_positive,
    check_uniform,
    refuse,
    with_args,
)

DTYPES = st.sampled_from(
    [np.float32, np.float64, np.complex64, np.complex128, np.int32, np.int8, np.bool_, "U3", "O", "M8[s]"]
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(
        np.dtype(dtype),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=(st.none() if dtype == "O" else None),
    )
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=200),
    st.binary(max_size=5),
    st.sampled_from(
        [object(), np, np.float64("nan"), np.int64(3), np.float32(2), np.str_("x"), range(3), {1, 2}, lambda: 0]
    ),
)
JUNK = st.one_of(
    SCALARS,
    ARRAYS,
    st.recursive(
        SCALARS,
        lambda s: st.one_of(
            st.lists(s, max_size=3), st.tuples(s, s), st.dictionaries(st.text(max_size=3), s, max_size=2)
        ),
    ),
)


def refused_in_one_line(check, *args, **options):
    """Return True when `check` refuses by name in one line, False when it accepts; anything else is a fault."""
    try:
        check("weights", *args, **options)
    except ValueError as refusal:
        text = str(refusal)
        assert text.startswith("Argument `weights"), text
        assert " must " in text, text
        assert ", but " in text, text
        assert "\n" not in text, text
        assert len(text) < 400, text
        return True
    return False


@settings(max_examples=300, deadline=None)
@given(JUNK)
@example(np.ones((40, 40)))
@example([[1.0, 2.0], [3.0]])
@example("a\nb")
@example(10**400)
def test_junk_is_accepted_or_refused_in_one_line(junk):
    for finite in (True, False):
        if not refused_in_one_line(as_array, junk, complex_ok=True, finite=finite):
            array = as_array("weights", junk, complex_ok=True, finite=finite)
            assert jnp.issubdtype(array.dtype, jnp.inexact)
            assert array.size
            assert np.isfinite(array).all() or not finite
    if not refused_in_one_line(as_array, junk, shape=(None, 2)):
        assert np.shape(junk)[1] == 2
    refused_in_one_line(as_array, junk, ndim=1, min_size=3)
    refused_in_one_line(as_tree, junk)
    if not refused_in_one_line(check_positive, junk):
        assert 0 < float(junk) < np.inf
    if not refused_in_one_line(check_positive, junk, zero_ok=True):
        assert 0 <= float(junk) < np.inf
    if not refused_in_one_line(check_finite, junk):
        assert np.isfinite(float(junk))
    if not refused_in_one_line(as_count, junk, at_least=2):
        assert int(junk) >= 2


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(-1e3, 1e3)))
def test_increasing_and_uniform_are_what_they_say(x):
    increasing = bool((np.diff(x) > 0).all())
    assert refused_in_one_line(check_increasing, jnp.asarray(x)) == (not increasing)
    if not refused_in_one_line(check_uniform, jnp.asarray(x)):
        assert increasing
        if len(x) > 2:
            assert np.ptp(np.diff(x)) <= 4e-9 * np.mean(np.diff(x)) + 1e-11


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.integers(2, 500), st.sampled_from([np.float32, np.float64]))
def test_honest_grids_are_uniform(start, width, n, dtype):
    if dtype == np.float32 and width / n < 1e-5 * abs(start):
        return  # neighbours coincide in single precision: not a grid any more
    grid = np.linspace(start, start + width, n).astype(dtype)
    assert not refused_in_one_line(check_uniform, grid)
    if n > 4:
        grid[n // 2] += 0.4 * (grid[1] - grid[0])
        assert refused_in_one_line(check_uniform, grid)


WORDS = [
    (as_array, ([1, 2, 3],), {}, None),
    (as_array, (np.arange(3),), {}, "floating point, but has dtype int64; pass `weights.astype(float)`"),
    (as_array, (np.ones(2) + 1j,), {}, "be real, but has dtype complex128; pass `weights.real` if that is meant"),
    (as_array, ([1.0, np.nan],), {}, "be finite, but holds nan at index 1"),
    (as_array, (np.array([[1.0, 2], [np.inf, 3]]),), {}, "be finite, but holds inf at index (1, 0)"),
    (as_array, ([],), {}, "have at least 1 element, but is empty"),
    (as_array, ([1.0],), dict(min_size=3), "have at least 3 elements, but has 1"),
    (as_array, (np.ones((2, 2)),), dict(ndim=1), "have 1 axis, but has shape (2, 2)"),
    (as_array, (np.ones(3),), dict(ndim=2), "have 2 axes, but has shape (3,)"),
    (as_array, (np.ones(63),), dict(shape=(64,)), "have shape (64,), but has shape (63,)"),
    (as_array, (np.ones(63),), dict(shape=(None, 3)), "have shape (n, 3), but has shape (63,)"),
    (as_array, (None,), {}, "be an array of numbers"),
    (as_array, ("abc",), {}, "be an array of numbers"),
    (as_array, ([[1.0], [1.0, 2.0]],), {}, "its rows differ in length"),
    (check_positive, (0,), {}, "be a finite positive number, but is 0"),
    (check_positive, (-1.5,), dict(zero_ok=True), "be a finite number that is not negative, but is -1.5"),
    (check_positive, (True,), {}, "but is True"),
    (check_positive, (1j,), {}, "but is"),
    (check_finite, (np.inf,), {}, "be a finite number, but is inf"),
    (as_count, (0,), {}, "be an integer of at least 1, but is 0"),
    (as_count, (2.0,), {}, "be an integer of at least 1, but is 2.0"),
    (as_count, (True,), {}, "but is True"),
    (
        check_increasing,
        (np.array([1.0, 3.0, 2.0]),),
        {},
        "increase strictly, but goes from 3 to 2 at index 2; sort it first",
    ),
    (check_uniform, (np.array([0.0, 1.0, 3.0]),), {}, "be uniformly spaced, but its spacing runs from 1 to 2"),
    (as_tree, ({},), {}, "hold at least one array, but is empty"),
]


@pytest.mark.parametrize("place", range(len(WORDS)))
def test_the_wording(place):
    check, args, options, says = WORDS[place]
    assert refused_in_one_line(check, *args, **options) == (says is not None)
    if says:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011
            check("weights", *args, **options)
        assert says in str(refusal.value)


def test_a_leaf_is_refused_by_its_path():
    with pytest.raises(ValueError, match=r"Argument `params\['layers'\]\[1\]` must be finite"):
        as_tree("params", {"layers": [np.ones(2), np.array([np.nan])]})
    tree = as_tree("params", {"w": [1.0, 2.0], "b": np.float32(3)})
    assert tree["b"].dtype == np.float32
    assert_array_equal(as_tree("params", [1, 2.5]), [1, 2.5])


def test_the_dtype_is_kept():
    for dtype in (np.float16, np.float32, np.float64, np.complex64, np.complex128):
        assert as_array("x", np.ones(2, dtype), complex_ok=True).dtype == dtype


def test_traced_values_pass_and_traced_shapes_do_not():
    @jax.jit
    def door(x, dt):
        check_positive("dt", dt)
        check_finite("dt", dt)
        check_uniform("x", x)
        return as_array("x", x, shape=(3,))

    assert np.isnan(door(jnp.full(3, jnp.nan), -1.0)).all()
    with pytest.raises(ValueError, match="Argument `x` must have shape"):
        door(jnp.ones(4), 1.0)
    with pytest.raises(ValueError, match="Argument `n` must be a Python integer, but is traced"):
        jax.jit(lambda n: as_count("n", n))(3)


def test_functions_of_one_or_two_arguments():
    assert with_args("fn", lambda y: y + 1, None)(1, None) == 2
    assert with_args("fn", lambda y, args: y + args, 3)(1, 3) == 4
    assert with_args("fn", lambda *all_: len(all_), 3)(1, 3) == 2

    def square(y):
        return y**2

    # Dressed twice it is the same function, so that nothing compiles twice.
    assert with_args("fn", square, None) == with_args("fn", square, None)
    assert hash(with_args("fn", square, None)) == hash(with_args("fn", square, None))
    with pytest.raises(ValueError, match=r"Argument `fn` must take `\(y, args\)`"):
        with_args("fn", square, 3)
    with pytest.raises(ValueError, match="Argument `fn` must be a function"):
        with_args("fn", 3.0, None)


def test_refuse_says_it_in_one_line():
    with pytest.raises(ValueError, match=r"^Argument `x` must be good, but is \[\[1\. 2\.\] \[3\. 4\.\]\]\.$"):
        refuse("x", "be good", f"is {np.array([[1.0, 2], [3, 4]])}")
