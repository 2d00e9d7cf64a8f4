"""Each mistake of a filter planted and named; silence on filters that are right."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.signal import lfilter, savgol_filter

from jaxnum import diagnose, signals
from jaxnum.diagnose.smoothing import measure, smoothing

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
    found = smoothing(filter, X)
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
    found = smoothing(GOOD[name], X)
    assert found.ok, str(found)
    assert any("constant is kept" in note for note in found.notes), str(found)


def test_silent_in_single_precision():
    x = X.astype(np.float32)
    found = smoothing(lambda y: jnp.convolve(jnp.pad(y, 3, mode="edge"), jnp.ones(7, y.dtype) / 7, mode="valid"), x)
    assert found.ok, str(found)


def test_numbers_of_the_zero_padding():
    [finding] = smoothing(same(KERNEL), np.linspace(0, 1, 401)).findings
    assert_allclose(finding.evidence["edge"], 0.5 + KERNEL[48] / 2, rtol=1e-12)
    assert "to 0.52 at the edge" in finding.message
    # The kernel ends at 48 samples, but weighs less than the threshold a little before.
    assert 40 / 400 < finding.evidence["depth"] <= 48 / 400


def test_the_size_and_side_of_a_shift():
    for filter, samples in ((FAULTS["even kernel"][0], 0.5), (FAULTS["rolled"][0], 3.0)):
        [finding] = smoothing(filter, X).findings
        assert_allclose(finding.evidence["samples"], samples, rtol=1e-6)
        assert "right" in finding.message


def test_irregular_samples_taken_for_uniform_ones(rng):
    x = np.sort(rng.uniform(0, 1, 200))
    [finding] = smoothing(lambda y: gaussian_filter1d(y, 8), x).findings
    assert finding.code == "assumes-uniform"
    assert smoothing(lambda y: signals.smooth(y, x, method=signals.LocalPolynomial(0.05)).value, x).ok


def test_a_feature_narrower_than_the_filter():
    filter = padded(KERNEL)
    [finding] = smoothing(filter, X, feature_width=20 * H).findings
    # Gaussian of width s under Gaussian of width b keeps s/√(s² + b²).
    s = 20 / np.sqrt(8 * np.log(2))
    assert_allclose(finding.evidence["height"], s / np.hypot(s, 12), rtol=1e-3)
    assert finding.code == "too-wide"
    assert smoothing(filter, X, feature_width=100 * H).ok


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
    text = " ".join(smoothing(GOOD["scipy nearest"], X).notes)
    for word in ("keeps half of its power", "Noise gain", "Inside an iteration", "lose over 10 %", "bent at the ends"):
        assert word in text, text
    assert "not linear" in " ".join(smoothing(GOOD["median"], X).notes)


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
            smoothing(*arguments)
    for width in (0, -1.0, np.nan, "wide"):
        with pytest.raises(ValueError, match="`feature_width`"):
            smoothing(same(BOX), X, feature_width=width)


def test_is_offered_at_the_door():
    assert diagnose.smoothing is smoothing
