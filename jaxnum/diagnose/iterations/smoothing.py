"""What a smoothing filter does to a signal: its ends, its scale, its position, its noise and its features.

The filter is any function y -> smoothed y; it is asked about signals whose smooth version is known:

    constant, ramp            ends, normalization, shift
    impulse                   transfer function H(k) = Σ h_j exp(-ik(x_j - x_0)), noise gain √Σ h²
    Gaussian peaks            how much of a feature is left
    random signs              noise gain at the ends

Inside an iteration that differentiates its own output, a ripple of wavenumber k grows by ℓ k H(k) per pass, with ℓ
a length of the problem: the largest k |H(k)| decides, and a smoother that is more accurate must be wider to tame it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxnum._checks import check_increasing, check_positive, refuse
from jaxnum.diagnose.iterations.reproduce import of_smoothing
from jaxnum.diagnose.iterations.smoothing_loop import checked_loop, examine, zero_padding
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import with_lines

_EXACT = 1e-4  # relative; single precision and kernels cut at four standard deviations stay below
_SHIFT = 0.02  # samples
_FEWEST = 16  # samples; fewer have no interior to speak of


class Response(NamedTuple):
    """Numbers behind the sentences; lengths in units of x."""

    wavenumber: np.ndarray
    transfer: np.ndarray  # |H(k)|
    noise_gain: float
    half_power: float  # wavelength that keeps half of its power; NaN when all do
    loop_gain: float  # sup k |H(k)|
    loop_gain_at: float


def smoothing(
    filter: Callable,
    x: ArrayLike,
    *,
    feature_width: float | None = None,
    update: Callable | None = None,
    at: ArrayLike | None = None,
    relaxation: float = 1.0,
    refine: Callable | None = None,
    half: Callable | None = None,
) -> Diagnosis:
    """Say what a smoothing filter does to edges, scale, position, noise and features, and inside an iteration.

    With `update` the filter is looked at inside the iteration y ← (1 - a) y + a filter(update(y)).

    Args:
        filter: Function `y -> smoothed y`, NumPy or JAX, as it is used on samples at `x`.
        x: Positions of the samples, (n,), increasing.
        feature_width: Full width at half maximum of the narrowest feature that must survive, in units of x.
        update: Map inside an iteration, without the filter: y -> new y, both (n,).
        at: Where to linearize it, (n,): the fixed point if it is known, else a typical iterate; None for zero.
        relaxation: a, how much of an update is taken over in a pass, above 0 and at most 2.
        refine: Function n -> (update, at) that gives the same map on n points, to see how its gain grows.
        half: The filter at half its width, to see whether the answer depends on it.

    Returns:
        Diagnosis with findings `fails`, `wrong-length`, `nonfinite`, `changes-input`, `zero-padding`,
        `not-normalized`, `offset`, `edge-gain`, `shift`, `assumes-uniform`, `amplifies`, `too-wide`, and inside an
        iteration `zero-padding-in-loop` (which then is all that is said), `unbounded-map`, `unstable-with-filter`,
        `price`, `hides-instability`, `filter-in-the-answer`; its notes hold width, noise gain, what is left of
        features, and the gain inside an iteration.

    Raises:
        ValueError: If `filter` is no function, or `x` holds less than 16 increasing positions.

    Example:
        >>> import numpy as np
        >>> from jaxnum import diagnose
        >>> kernel = np.ones(9) / 9
        >>> finding, = diagnose.smoothing(lambda y: np.convolve(y, kernel, "same"), np.linspace(0, 1, 101)).findings
        >>> print(finding.code, round(finding.evidence["edge"], 3))
        zero-padding 0.556
    """
    if not callable(filter):
        refuse("filter", "be a function `y -> smoothed y`", f"is {type(filter).__name__}")
    x, dtype = _positions(x)
    if feature_width is not None:
        check_positive("feature_width", feature_width)
    loop = checked_loop(update, at, relaxation, refine, half, len(x))
    subject = f"a smoothing filter on {len(x)} samples"
    found = _asked(filter, x, dtype, loop, feature_width, subject)
    return with_lines(found, of_smoothing(filter, loop, len(x), feature_width))


def _asked(filter, x, dtype, loop, feature_width, subject) -> Diagnosis:
    one = np.ones(len(x), dtype)
    try:
        touched = one.copy()
        first = np.asarray(filter(touched))
    except Exception as error:  # whatever the user's code raises is what there is to say
        text = (str(error).splitlines() or [""])[0]
        found = Finding(
            "fails",
            f"On a constant it raises {type(error).__name__}: {text}",
            {"error": type(error).__name__},
            "Mend that first.",
        )
        return Diagnosis(subject, (found,))
    bad = _unusable(first, len(x))
    if bad:
        return Diagnosis(subject, (bad,))
    findings = []
    if not np.array_equal(touched, one):
        message, evidence = "It writes into the array it is given.", {"change": float(np.max(np.abs(touched - one)))}
        findings.append(Finding("changes-input", message, evidence, "Work on a copy: y = y.copy()."))

    def run(y):
        return np.real(np.asarray(filter(y.astype(dtype)))).astype(float)

    found = _examine(run, x, feature_width, subject, findings)
    if loop is None:
        return found
    for finding in found.findings:
        if finding.code == "zero-padding":
            return replace(found, findings=(zero_padding(finding.evidence), *found.findings))
    more, notes = examine(run, x, loop, feature_width)
    return replace(found, findings=(*more, *found.findings), notes=(*found.notes, *notes))


def _examine(run, x: np.ndarray, feature_width, subject: str, findings: list) -> Diagnosis:
    n, notes, tables = len(x), [], []
    middle = n // 2
    steps = np.diff(x)
    spacing = float(np.mean(steps))
    uniform = bool(np.ptp(steps) < 1e-6 * spacing)

    zero, constant = run(np.zeros(n)), run(np.ones(n))
    offset = float(np.max(np.abs(zero)))
    constant = constant - zero
    impulse = run(np.eye(n)[middle]) - zero
    linear = _is_linear(run, zero, n)
    fits = bool(np.max(np.abs(impulse[[0, -1]])) < _EXACT * max(np.max(np.abs(impulse)), 1e-300)) or not linear

    inside = float(constant[middle])
    if offset > _EXACT:
        at = int(np.argmax(np.abs(zero)))
        findings.append(
            Finding(
                "offset",
                f"It takes zeros to {zero[at]:.3g} at x = {x[at]:.4g}: something is added, or stands beyond the ends.",
                {"value": float(zero[at]), "x": x[at]},
                "Subtract the constant before filtering and add it after, or reflect the signal at its ends.",
            )
        )
    if fits and abs(inside - 1) > _EXACT:
        findings.append(
            Finding(
                "not-normalized",
                f"It takes a constant to {inside:.4g} times itself, away from the ends as well.",
                {"gain": inside},
                "Divide the kernel by its sum.",
            )
        )
    # Which of the ends is off, and how far in, relative to what the filter does in the middle.
    profile = constant / inside if inside else constant
    edge = float(min(profile[0], profile[-1], key=lambda v: -abs(v - 1)))
    affected = np.abs(profile - 1) > _EXACT
    if affected[0] or affected[-1]:
        depth = float(max(x[_run(affected)] - x[0], x[-1] - x[n - 1 - _run(affected[::-1])]))
        evidence = {"edge": edge, "left": profile[0], "right": profile[-1], "depth": depth}
        if edge < 1:
            message = (
                f"The ends are padded with zeros: it takes a constant to {edge:.2f} at the edge, and is wrong within "
                f"{depth:.3g} of it. Its slope there is the height of the signal over that length, and is false."
            )
            cure = (
                "Fit a local polynomial (jaxnum.signals.LocalPolynomial), reflect the signal about its end points "
                "(GaussianKernel, OddReflection), or divide by the filtered ones."
            )
            findings.append(Finding("zero-padding", message, evidence, cure))
        else:
            message = f"It takes a constant to {edge:.3g} at the edge, {depth:.3g} deep."
            findings.append(Finding("edge-gain", message, evidence, "Make the weights add up to one at every sample."))
    elif not findings:
        notes.append("A constant is kept everywhere, up to the ends.")

    findings += _position(run, x, zero, inside or 1.0, middle, spacing, uniform, notes)
    if not linear:
        notes.append("It is not linear: it has no transfer function, and its noise gain depends on the signal.")
    if linear and uniform:
        response = measure(impulse, x - x[middle])
        findings += _spectrum(response, spacing, notes)
    if linear:
        ends = _end_gain(run, zero, n)
        gain = float(np.sqrt(np.sum(impulse**2)))
        notes.append(
            f"Noise gain: {gain:.3g} inside ({1 / gain**2 if gain else np.inf:.3g} samples averaged), "
            f"about {ends:.2g} at the ends."
        )
    findings += _features(run, x, zero, middle, spacing, feature_width, notes, tables)
    return Diagnosis(subject, tuple(findings), tuple(notes), tuple(tables))


def measure(impulse: ArrayLike, offset: ArrayLike) -> Response:
    """Return the transfer function of a filter from its answer to an impulse, at `offset` from it (uniform)."""
    impulse, offset = np.asarray(impulse, float), np.asarray(offset, float)
    spacing = float(offset[1] - offset[0])
    # Padded so that the grid of wavenumbers is fine beside the filter's own features.
    size = 1 << int(np.ceil(np.log2(8 * len(impulse))))
    transfer = np.abs(np.fft.rfft(impulse, size))
    wavenumber = 2 * np.pi * np.fft.rfftfreq(size, spacing)
    below = np.flatnonzero(transfer**2 < 0.5 * transfer[0] ** 2)
    half = 2 * np.pi / wavenumber[below[0]] if len(below) and below[0] else np.nan
    # A derivative on the grid sees sin(kh)/h, not k: beyond a quarter of the sampling rate it falls again.
    loop = np.sin(wavenumber * spacing) / spacing * transfer
    top = int(np.argmax(loop))
    gain = float(np.sqrt(np.sum(impulse**2)))
    return Response(wavenumber, transfer, gain, float(half), float(loop[top]), float(wavenumber[top]))


def _positions(x: Any) -> tuple[np.ndarray, np.dtype]:
    """Return positions in double precision, and the dtype the filter is to be asked in: that of `x`."""
    try:
        given = np.asarray(x)
    except (ValueError, TypeError):
        refuse("x", "be an array of numbers", "its rows differ in length or hold something else")
    if not hasattr(x, "dtype") and given.dtype.kind == "i":
        given = given.astype(float)
    if given.dtype.kind != "f":
        refuse("x", "be real and floating point", f"has dtype {given.dtype}")
    if given.ndim != 1 or len(given) < _FEWEST:
        refuse("x", f"have one axis of at least {_FEWEST} samples", f"has shape {given.shape}")
    if not np.isfinite(given).all():
        refuse("x", "be finite", f"holds {given[~np.isfinite(given)][0]}")
    check_increasing("x", given)
    return given.astype(float), given.dtype


def _unusable(y: np.ndarray, n: int) -> Finding | None:
    if y.dtype.kind not in "biufc":
        return Finding("fails", f"It returns {y.dtype} values, not numbers.", {}, "Return the smoothed samples.")
    if y.shape != (n,):
        message = f"It returns shape {y.shape} for {n} samples."
        cure = "Return one value per sample."
        if y.ndim == 1 and len(y) > n:
            message += (
                " np.convolve(y, kernel, 'same') returns the length of the kernel when that is longer than the signal, "
                "and 'full' returns both lengths less one."
            )
            cure = "Extend the signal at its ends by half a kernel and convolve with mode 'valid'."
        elif y.ndim == 1:
            message += " Convolution with mode 'valid' loses half a kernel at each end."
            cure = "Extend the signal at its ends by half a kernel before convolving."
        return Finding("wrong-length", message, {"given": n, "returned": list(y.shape)}, cure)
    if not np.isfinite(y).all():
        at = int(np.argmin(np.isfinite(y)))
        message = f"It takes a constant to {y[at]} at sample {at}."
        return Finding("nonfinite", message, {"index": at}, "Look for a division by an empty window.")
    return None


def _is_linear(run, zero: np.ndarray, n: int) -> bool:
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, n))
    left, right = run(2 * u - 3 * v) - zero, 2 * (run(u) - zero) - 3 * (run(v) - zero)
    return bool(np.max(np.abs(left - right)) < 1e-3 * np.max(np.abs(left) + np.abs(right) + 1e-300))


def _position(run, x, zero, inside, middle, spacing, uniform, notes) -> list[Finding]:
    span = x[-1] - x[0]
    ramp = (x - x[middle]) / span
    error = (run(ramp) - zero) / inside - ramp
    center = slice(3 * len(x) // 8, 5 * len(x) // 8)
    if not uniform:
        count = (np.arange(len(x)) - middle) / len(x)
        by_index = np.max(np.abs((run(count) - zero) / inside - count)[center])
        worst = float(np.max(np.abs(error[center])) * span)
        if by_index < 1e-9 and worst > 1e-3 * spacing:
            message = (
                f"It takes the samples for uniformly spaced, which they are not: a straight line moves by {worst:.3g}."
            )
            cure = "Use a smoother that is given x, such as jaxnum.signals.LocalPolynomial."
            return [Finding("assumes-uniform", message, {"error": worst, "spacing": spacing}, cure)]
    lag = -float(np.median(error[center])) * span
    if abs(lag) > _SHIFT * spacing and np.ptp(error[center]) * span < 0.5 * abs(lag):
        samples = lag / spacing
        message = (
            f"It shifts the signal by {lag:.4g} in x, {samples:.3g} samples to the {'right' if lag > 0 else 'left'}."
        )
        half = abs(abs(samples) - 0.5) < 0.1
        cure = "Use a kernel of odd length, centered." if half else "Center the kernel, or run the filter both ways."
        return [Finding("shift", message, {"lag": lag, "samples": samples}, cure)]
    ends = float(max(abs(error[0]), abs(error[-1])) * span)
    if ends > 1e-2 * spacing:
        notes.append(
            f"A straight line is bent at the ends: off by its slope times {ends:.3g}. Derivatives there are too small."
        )
    else:
        notes.append("A straight line is kept up to the ends, and nothing is shifted.")
    return []


def _spectrum(response: Response, spacing: float, notes: list) -> list[Finding]:
    top = float(np.max(response.transfer) / max(response.transfer[0], 1e-300))
    if np.isfinite(response.half_power):
        notes.append(
            f"A wave of length {response.half_power:.3g} ({response.half_power / spacing:.3g} samples) "
            "keeps half of its power; shorter ones less."
        )
    notes.append(
        f"Inside an iteration that differentiates, it leaves a largest gain k|H(k)| of {response.loop_gain:.3g} per "
        f"unit x, at k = {response.loop_gain_at:.3g} (without it {1 / spacing:.3g}): a feedback length of more than "
        f"{1 / response.loop_gain if response.loop_gain else np.inf:.3g} grows ripples at full steps, more than "
        f"{np.sqrt(3) / response.loop_gain if response.loop_gain else np.inf:.3g} at relaxation 0.5."
    )
    if top > 1.05:
        at = float(response.wavenumber[np.argmax(response.transfer)])
        message = (
            f"It amplifies waves of length {2 * np.pi / at if at else np.inf:.3g} to {top:.3g} times their height."
        )
        return [Finding("amplifies", message, {"gain": top, "wavenumber": at}, "Use weights without negative lobes.")]
    return []


def _end_gain(run, zero: np.ndarray, n: int) -> float:
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(48, n))
    ends = np.array([(run(s) - zero)[[0, -1]] for s in signs])
    return float(np.sqrt(np.max(np.mean(ends**2, axis=0))))


def _features(run, x, zero, middle, spacing, feature_width, notes, tables) -> list[Finding]:
    def kept(width):
        return float((run(np.exp(-4 * np.log(2) * ((x - x[middle]) / width) ** 2)) - zero)[middle])

    widths = np.geomspace(2 * spacing, (x[-1] - x[0]) / 2, 16)
    left = np.array([kept(w) for w in widths])
    rows = tuple((float(w), float(v)) for w, v in zip(widths[::3], left[::3], strict=True))
    tables.append(Table("What is left of a Gaussian peak", ("full width at half maximum", "height left"), rows))
    below = np.flatnonzero(left < 0.9)
    if len(below) == 0:
        notes.append("Every peak that the samples resolve keeps 90 % of its height.")
    elif below[-1] == len(left) - 1:
        notes.append("Every peak that fits into the signal loses over 10 % of its height.")
    else:
        i = below[-1]  # the widest that loses more; the limit lies between it and the next
        share = (0.9 - left[i]) / (left[i + 1] - left[i])
        limit = widths[i] * (widths[i + 1] / widths[i]) ** share
        notes.append(f"Peaks narrower than about {limit:.3g} (full width at half maximum) lose over 10 %.")
    if feature_width is not None and (height := kept(feature_width)) < 0.9:
        message = f"A peak of width {feature_width:.3g} keeps {height:.0%} of its height."
        cure = "Narrow the filter, or raise the degree of a local polynomial."
        return [Finding("too-wide", message, {"feature_width": float(feature_width), "height": height}, cure)]
    return []


def _run(flags: np.ndarray) -> int:
    """Return how many flags are set from the start on, at least one place before the end."""
    return min(int(np.argmin(flags)) if not flags.all() else len(flags) // 2, len(flags) - 1)
