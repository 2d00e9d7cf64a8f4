"""Random arguments of the verbs: a refusal in one line that names the argument, or a right answer."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxnum import signals

N = 12  # one length for most, so that little is compiled
X = np.linspace(0, 1, N)
LIVELY = st.floats(-1e3, 1e3, allow_subnormal=False)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(-3, 30),
    st.text(max_size=5),
    st.just(object()),
    st.sampled_from(
        [[], {}, [[1.0], [1.0, 2.0]], np.arange(N), np.ones((2, N)), np.ones(N) * 1j, "abc", np.ones(N, "O")]
    ),
    hnp.arrays(np.float64, N, elements=st.one_of(LIVELY, st.sampled_from([np.nan, np.inf, 0.0]))),
    hnp.arrays(np.float64, N, elements=LIVELY),
    hnp.arrays(np.float64, st.integers(0, 3), elements=LIVELY),
)
SIZES = st.one_of(st.floats(), st.floats(0.01, 0.5), st.none(), st.text(max_size=3), st.integers(-2, 2), st.booleans())
EDGES = st.sampled_from(
    [
        signals.OddReflection(),
        signals.Reflect(),
        signals.Renormalized(),
        signals.ConstantEdge(np.nan),
        signals.Wrap,
        None,
        "odd",
    ]
)
METHODS = st.one_of(
    st.builds(signals.LocalPolynomial, SIZES, st.sampled_from([0, 1, 2, -1, 1.5, None, True])),
    st.builds(signals.GaussianKernel, SIZES, EDGES),
    st.builds(signals.SavitzkyGolay, st.sampled_from([3, 5, 4, 99, -1, None, 2.5]), st.sampled_from([1, 2, -1])),
    st.builds(signals.Whittaker, SIZES, st.sampled_from([2, 0, 1.5, None, True, 99])),
    st.builds(signals.SmoothingSpline, SIZES),
    st.builds(signals.TotalVariation, SIZES, st.sampled_from([1, 0, -2, "a"])),
    st.builds(signals.ModifiedSinc, SIZES, st.sampled_from([2, 3, None]), EDGES),
    st.sampled_from([None, "gauss", 3.0, signals.LocalPolynomial]),
)
NAMES = re.compile(r"^Argument `(y|x|weights|noise|derivative|order|method[.a-z]*)` must [^\n]+, but [^\n]+\.$")


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_junk_is_refused_by_name_or_smoothed(data):
    some = dict(y=np.cos(5 * X), x=X, method=signals.LocalPolynomial(0.2), weights=None, noise=1.0, derivative=0)
    for name in data.draw(st.lists(st.sampled_from(list(some)), min_size=1, max_size=2, unique=True)):
        choice = {"method": METHODS, "derivative": st.one_of(st.integers(-1, 3), SIZES), "noise": SIZES}.get(
            name, VALUES
        )
        some[name] = data.draw(choice)
    try:
        result = signals.smooth(**some)
    except ValueError as refusal:
        assert NAMES.match(str(refusal)), str(refusal)  # noqa: PT017
        return
    # What is accepted has a finite answer of the size of the samples.
    assert result.value.shape == np.shape(some["y"])
    assert np.isfinite(result.value).all(), (some, result.value)
    assert (result.standard_error >= 0).all(), (some, result.standard_error)


@settings(max_examples=60, deadline=None)
@given(VALUES, METHODS)
def test_junk_has_no_bandwidth(y, method):
    try:
        chosen = signals.choose_bandwidth(y, X if isinstance(y, np.ndarray) and y.shape == (N,) else None, method)
    except ValueError as refusal:
        assert NAMES.match(str(refusal)), str(refusal)  # noqa: PT017
        return
    assert chosen.value > 0 or not chosen.ok
