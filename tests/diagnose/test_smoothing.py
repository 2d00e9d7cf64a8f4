"""Each mistake of a filter planted and named; silence on filters that are right."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.signal import lfilter, savgol_filter

from jaxnum import diagnose, signals
from jaxnum.diagnose.iterations.smoothing import measure

X = np.linspace(0, 2, 301)
H = X[1] - X[0]
KERNEL = np.exp(-0.5 * (np.arange(-48, 49) / 12) ** 2)
KERNEL /= KERNEL.sum()
BOX = np.ones(7) / 7


def same(kernel):
    return lambda y: np.convolve(y, kernel, "same")


def padded(kernel, mode="edge"):
    return lambda y: np.convolve(np.pad(y, len(kernel) // 2, mode=mode), kernel, "valid")


def in_place(y):
    y[:] = padded(BOX)(y)
    return y


FAULTS = {
    "gaussian, zero padding": (same(KERNEL), ["zero-padding"]),
    "box, zero padding": (same(BOX), ["zero-padding"]),
    "kernel longer than the signal": (same(np.ones(801) / 801), ["wrong-length"]),
    "mode valid": (lambda y: np.convolve(y, BOX, "valid"), ["wrong-length"]),
    "mode full": (lambda y: np.convolve(y, BOX, "full"), ["wrong-length"]),
    "not divided by the sum": (padded(np.ones(7)), ["not-normalized"]),
    "divided by one too many": (padded(np.ones(7) / 8), ["not-normalized"]),
    "neither": (same(np.ones(7) / 8), ["not-normalized", "zero-padding"]),
    "even kernel": (lambda y: np.convolve(np.pad(y, (4, 3), mode="edge"), np.ones(8) / 8, "valid"), ["shift"]),
    "rolled": (lambda y: padded(BOX)(np.pad(y, (3, 0), mode="edge")[:-3]), ["shift"]),
    "causal": (lambda y: lfilter([0.1], [1, -0.9], y - y[0]) + y[0], ["shift"]),
    "something added": (lambda y: padded(BOX)(y) + 0.01, ["offset"]),
    "a constant beyond the ends": (
        lambda y: gaussian_filter1d(y, 5, mode="constant", cval=1.0),
        ["offset", "zero-padding"],
    ),
    "edges counted double": (lambda y: padded(BOX)(y) * np.where(np.arange(len(y)) < 3, 1.5, 1), ["edge-gain"]),
    "sharpens": (padded(np.array([-0.5, 2.0, -0.5])), ["amplifies"]),
    "writes into its input": (in_place, ["changes-input"]),
    "not finite": (lambda y: np.where(np.arange(len(y)) == 9, np.nan, y), ["nonfinite"]),
    "raises": (lambda y: y @ np.ones(3), ["fails"]),
    "words": (lambda y: ["a" for _ in y], ["fails"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_named(name):
    filter, codes = FAULTS[name]
    found = diagnose.smoothing(filter, X)
    assert [f.code for f in found.findings] == codes, str(found)
    assert all(f.cure and "\n" not in f.message for f in found.findings), str(found)


GOOD = {
    "savgol": lambda y: savgol_filter(y, 31, 2),
    "savgol cubic": lambda y: savgol_filter(y, 31, 3),
    "scipy nearest": lambda y: gaussian_filter1d(y, 8, mode="nearest"),
    "scipy reflect": lambda y: gaussian_filter1d(y, 8),
    "scipy mirror": lambda y: gaussian_filter1d(y, 8, mode="mirror"),
    "convolve, padded by hand": padded(KERNEL, "reflect"),
    "divided by the filtered ones": lambda y: same(KERNEL)(y) / same(KERNEL)(np.ones_like(y)),
    "median": lambda y: median_filter(y, 9, mode="nearest"),
    "identity": lambda y: y,
    "odd reflection": lambda y: signals.smooth(y, X, method=signals.GaussianKernel(0.06)).value,
    "local polynomial": lambda y: signals.smooth(y, X, method=signals.LocalPolynomial(0.06)).value,
    "local cubic": lambda y: signals.smooth(y, X, method=signals.LocalPolynomial(0.08, 3)).value,
}


@pytest.mark.parametrize("name", GOOD)
def test_silent_on_right_filters(name):
    found = diagnose.smoothing(GOOD[name], X)
    assert found.ok, str(found)
    assert any("constant is kept" in note for note in found.notes), str(found)


def test_silent_in_single_precision():
    x = X.astype(np.float32)
    found = diagnose.smoothing(
        lambda y: jnp.convolve(jnp.pad(y, 3, mode="edge"), jnp.ones(7, y.dtype) / 7, mode="valid"), x
    )
    assert found.ok, str(found)


def test_numbers_of_the_zero_padding():
    [finding] = diagnose.smoothing(same(KERNEL), np.linspace(0, 1, 401)).findings
    assert_allclose(finding.evidence["edge"], 0.5 + KERNEL[48] / 2, rtol=1e-12)
    assert "to 0.52 at the edge" in finding.message
    # The kernel ends at 48 samples, but weighs less than the threshold a little before.
    assert 40 / 400 < finding.evidence["depth"] <= 48 / 400


def test_the_size_and_side_of_a_shift():
    for filter, samples in ((FAULTS["even kernel"][0], 0.5), (FAULTS["rolled"][0], 3.0)):
        [finding] = diagnose.smoothing(filter, X).findings
        assert_allclose(finding.evidence["samples"], samples, rtol=1e-6)
        assert "right" in finding.message


def test_irregular_samples_taken_for_uniform_ones(rng):
    x = np.sort(rng.uniform(0, 1, 200))
    [finding] = diagnose.smoothing(lambda y: gaussian_filter1d(y, 8), x).findings
    assert finding.code == "assumes-uniform"
    assert diagnose.smoothing(lambda y: signals.smooth(y, x, method=signals.LocalPolynomial(0.05)).value, x).ok


def test_a_feature_narrower_than_the_filter():
    filter = padded(KERNEL)
    [finding] = diagnose.smoothing(filter, X, feature_width=20 * H).findings
    # Gaussian of width s under Gaussian of width b keeps s/√(s² + b²).
    s = 20 / np.sqrt(8 * np.log(2))
    assert_allclose(finding.evidence["height"], s / np.hypot(s, 12), rtol=1e-3)
    assert finding.code == "too-wide"
    assert diagnose.smoothing(filter, X, feature_width=100 * H).ok


def test_measured_responses_are_those_of_the_formulas():
    h, n, sigma = 0.01, 2001, 0.4
    offset = h * (np.arange(n) - n // 2)
    gauss = np.exp(-0.5 * (offset / sigma) ** 2)
    quartic = gauss * (3 - (offset / sigma) ** 2) / 2  # a local quadratic, away from the ends
    box = (np.abs(offset) < 1.0) * 1.0
    for kernel, loop in ((gauss, 0.607 / sigma), (quartic, 1.041 / sigma), (box, 2 / 2.0)):
        response = measure(kernel / kernel.sum(), offset)
        # Beyond its main lobe a box has side lobes of nearly the same k|H|: 2/W is the bound they all touch.
        assert_allclose(response.loop_gain, loop, rtol=0.01)
    response = measure(gauss / gauss.sum(), offset)
    assert_allclose(response.noise_gain, np.sqrt(h / (2 * sigma * np.sqrt(np.pi))), rtol=1e-6)
    assert_allclose(response.half_power, 2 * np.pi * sigma / np.sqrt(np.log(2)), rtol=0.02)
    assert_allclose(measure(np.eye(n)[n // 2], offset).loop_gain, 1 / h, rtol=1e-4)


def test_notes_say_width_noise_and_loop():
    text = " ".join(diagnose.smoothing(GOOD["scipy nearest"], X).notes)
    for word in ("keeps half of its power", "Noise gain", "Inside an iteration", "lose over 10 %", "bent at the ends"):
        assert word in text, text
    assert "not linear" in " ".join(diagnose.smoothing(GOOD["median"], X).notes)


def test_bad_arguments_are_refused_by_name():
    for arguments, name in [
        ((None, X), "filter"),
        (("gauss", X), "filter"),
        ((same(BOX), None), "x"),
        ((same(BOX), "abc"), "x"),
        ((same(BOX), X[:5]), "x"),
        ((same(BOX), X[::-1]), "x"),
        ((same(BOX), X * np.nan), "x"),
        ((same(BOX), np.arange(30)), "x"),
        ((same(BOX), X + 1j), "x"),
        ((same(BOX), np.ones((4, 4))), "x"),
    ]:
        with pytest.raises(ValueError, match=f"Argument `{name}`"):
            diagnose.smoothing(*arguments)
    for width in (0, -1.0, np.nan, "wide"):
        with pytest.raises(ValueError, match="`feature_width`"):
            diagnose.smoothing(same(BOX), X, feature_width=width)


# Inside an iteration: y <- (1 - a) y + a filter(update(y)), where the update differentiates its argument.
AXIS = np.linspace(0, 10, 101)
STEP = AXIS[1] - AXIS[0]
PEAK = np.exp(-((AXIS - 5) ** 2))


def loop(n=101, length=1.0):
    axis = np.linspace(0, 10, n)
    return lambda y: length * np.gradient(y, axis[1] - axis[0]) + np.exp(-((axis - 5) ** 2)), np.zeros(n)


def gauss(width, mode="nearest"):
    return lambda y: gaussian_filter1d(y, width / STEP, mode=mode)


def evidence(found, code):
    return next(f.evidence for f in found.findings if f.code == code)


def test_a_narrow_filter_does_not_stop_the_growth_and_the_width_that_does_is_told():
    found = diagnose.smoothing(gauss(0.2), AXIS, update=loop()[0], relaxation=0.5)
    assert [f.code for f in found.findings] == ["unstable-with-filter"], str(found)
    told = evidence(found, "unstable-with-filter")
    # Central differences have a gain of 1/h; a Gaussian leaves 0.607/σ, and must leave less than √((2 - a)/a).
    assert_allclose(told["raw_gain"], 1 / STEP, rtol=0.01)
    assert_allclose(told["filtered_gain"], 0.607 / 0.2, rtol=0.05)
    assert_allclose(told["width_needed"], 0.607 * np.sqrt(0.5 / 1.5), rtol=0.05)
    # At this width: nearly imaginary gains g, stable below 2/(1 + |g|²).
    assert_allclose(told["largest_relaxation"], 2 / (1 + told["filtered_gain"] ** 2), rtol=0.05)


def test_a_wide_filter_has_its_price_and_only_hides_the_instability():
    filter, half = gauss(0.5), gauss(0.25)
    found = diagnose.smoothing(filter, AXIS, update=loop()[0], relaxation=0.5, half=half, feature_width=1.0)
    assert [f.code for f in found.findings] == ["price", "hides-instability", "too-wide"], str(found)
    s = 1.0 / np.sqrt(8 * np.log(2))
    assert_allclose(evidence(found, "price")["height"], s / np.hypot(s, 0.5), rtol=1e-2)


def test_the_price_of_a_width_that_would_be_needed():
    found = diagnose.smoothing(gauss(0.12), AXIS, update=loop()[0], relaxation=0.5, feature_width=0.8)
    assert [f.code for f in found.findings] == ["unstable-with-filter", "price"], str(found)
    told = evidence(found, "price")
    s = 0.8 / np.sqrt(8 * np.log(2))
    assert_allclose(told["height"], s / np.hypot(s, told["width_needed"]), rtol=1e-6)


def test_a_map_that_gets_worse_on_a_finer_grid():
    found = diagnose.smoothing(gauss(1.0), AXIS, update=loop()[0], relaxation=0.5, refine=loop)
    assert [f.code for f in found.findings] == ["unbounded-map"], str(found)
    assert abs(evidence(found, "unbounded-map")["exponent"] - 1) < 0.05


def test_a_filter_that_is_part_of_the_answer():
    # A second difference, gain 4 on the shortest wave; both filters tame it, and end elsewhere.
    def update(y):
        return -np.diff(y, 2, prepend=0, append=0) + PEAK

    found = diagnose.smoothing(gauss(0.6), AXIS, update=update, half=gauss(0.5))
    assert [f.code for f in found.findings] == ["filter-in-the-answer"], str(found)
    assert evidence(found, "filter-in-the-answer")["relative_change"] > 0.01

    def tame(y):
        return -0.8 * y + PEAK

    found = diagnose.smoothing(gauss(0.6), AXIS, update=tame, half=gauss(0.3))
    assert found.ok, str(found)  # stable without the filter: there is nothing to hide
    assert any("converges without a filter" in note for note in found.notes), str(found)


def test_zero_padding_in_a_loop_is_refused_before_anything_else_is_said():
    found = diagnose.smoothing(same(np.ones(9) / 9), AXIS, update=loop()[0], relaxation=0.5, refine=loop)
    assert [f.code for f in found.findings] == ["zero-padding-in-loop", "zero-padding"], str(found)


def test_silent_in_a_loop_that_contracts():
    found = diagnose.smoothing(gauss(0.3), AXIS, update=lambda y: 0.5 * np.roll(y, 3) + PEAK)
    assert found.ok, str(found)
    assert any("take it out" in note for note in found.notes), str(found)


def test_bad_loops_are_refused_by_name():
    update = loop()[0]
    for options, name in [
        (dict(update="d/dx"), "update"),
        (dict(update=lambda y: y[1:]), "update"),
        (dict(update=lambda y: y * np.nan), "update"),
        (dict(update=update, at=np.ones(3)), "at"),
        (dict(at=np.ones(101)), "at"),
        (dict(half=update), "half"),
        (dict(update=update, refine=3), "refine"),
        (dict(update=update, relaxation=0.0), "relaxation"),
        (dict(update=update, relaxation=3.0), "relaxation"),
    ]:
        with pytest.raises(ValueError, match=f"Argument `{name}`"):
            diagnose.smoothing(gauss(0.3), AXIS, **options)
