"""A filter inside an iteration: does it stop the growth, what does it cost, and is its width part of the answer?

    y ← (1 - a) y + a filter(update(y)),    multiplier of a mode: 1 - a + a g,  g an eigenvalue of filter ∘ update'

A ripple of wavenumber k is multiplied by H(k) G(k) per pass. Where the update differentiates its argument, G = ℓk, and
sup k|H(k)| decides; with relaxation a and a nearly imaginary G it must stay below √((2 - a)/a), for a Gaussian
σ > 0.607 ℓ √(a/(2 - a)). Refining the grid raises G and not the limit: a width in cells cannot work.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxnum._checks import as_array, check_positive, refuse
from jaxnum.diagnose.report import Finding
from jaxnum.numerics import fixed_point as numerics

_STEPS = 9  # halvings of the width that is needed, in its logarithm: it is known to 1 %
_PASSES = 400
_KEPT = 0.9  # of a feature's height, for a filter not to be part of the answer


class Loop(NamedTuple):
    """The map inside the iteration, as the user gave it."""

    update: Callable
    at: np.ndarray
    relaxation: float
    refine: Callable | None
    half: Callable | None


def checked_loop(update: Any, at: Any, relaxation: Any, refine: Any, half: Any, n: int) -> Loop | None:
    """Return what was said about an iteration, or refuse it by name; None where nothing was."""
    if update is None:
        for name, value in (("at", at), ("refine", refine), ("half", half)):
            if value is not None:
                refuse(name, "come with `update`, the map inside the iteration", "`update` is None")
        return None
    for name, value in (("update", update), ("refine", refine), ("half", half)):
        if value is not None and not callable(value):
            refuse(name, "be a function", f"is {type(value).__name__}")
    at = np.zeros(n) if at is None else np.asarray(as_array("at", at, shape=(n,)))
    check_positive("relaxation", relaxation)
    if relaxation > 2:
        refuse("relaxation", "be at most 2", f"is {float(relaxation):g}")
    first = np.asarray(update(at))
    if first.shape != (n,) or not np.isfinite(first).all():
        what = f"returns shape {first.shape}" if first.shape != (n,) else "returns a value that is not finite"
        refuse("update", f"return {n} finite numbers at `at`", what)
    return Loop(update, at, float(relaxation), refine, half)


def zero_padding(profile: dict) -> Finding:
    """Return the one thing to say about a zero-padded filter in a loop."""
    message = (
        f"The filter pads with zeros inside an iteration: at the ends it makes a slope of {1 - profile['edge']:.2f} of "
        f"the signal over {profile['depth']:.3g}, and every pass feeds that back. What it converges to is no solution."
    )
    cure = (
        "Take the filter out; if it has to stay, continue the signal beyond its ends (GaussianKernel with "
        "OddReflection, or LocalPolynomial) before asking how wide it must be."
    )
    return Finding("zero-padding-in-loop", message, profile, cure)


def examine(run: Callable, x: np.ndarray, loop: Loop, feature_width: float | None) -> tuple[list[Finding], list[str]]:
    """Return findings and notes about the filter `run` inside an iteration."""
    a = loop.relaxation
    slopes = numerics.linearize(loop.update, loop.at)
    product = partial(slopes.along, loop.at)
    if len(x) <= numerics.DENSE:  # once, and not for every width that is tried
        matrix = numerics.jacobian(product, loop.at)
        product = lambda v: matrix @ v  # noqa: E731
    zero = run(np.zeros(len(x)))
    raw = _spectrum(product, loop.at)
    filtered = _spectrum(lambda v: run(product(v)) - zero, loop.at)
    raw_growth, growth = _growth(raw.values, a), _growth(filtered.values, a)
    evidence = {
        "raw_gain": float(np.abs(raw.values[0])),
        "filtered_gain": float(np.abs(filtered.values[0])),
        "raw_growth": raw_growth,
        "growth": growth,
        "largest_relaxation": numerics.largest_relaxation(filtered),
        "relaxation": a,
    }
    findings, notes = [], []
    exponent = None
    if loop.refine is not None:
        exponent, radii = _exponent(loop, len(x))
        evidence |= {"exponent": exponent, "gain_on_twice_the_points": radii[1]}
    notes.append(
        f"Inside the iteration a pass multiplies the worst ripple by {evidence['raw_gain']:.3g} without the filter and "
        f"by {evidence['filtered_gain']:.3g} with it; relaxed by {a:g}, disturbances grow by {raw_growth:.3g} and "
        f"{growth:.3g} per pass."
    )
    if exponent is not None and exponent > 0.5:
        order = {1: "a first derivative", 2: "a second derivative"}.get(round(exponent), "a derivative")
        findings.append(
            Finding(
                "unbounded-map",
                f"On twice the points the gain without the filter is {2**exponent:.3g} times as large (exponent "
                f"{exponent:.2f}): the update takes {order} of its own argument. No filter of a width in cells works.",
                evidence,
                _ADVICE,
            )
        )
    elif raw_growth < 1 and (exponent is None or exponent < 0.2):
        notes.append("The iteration converges without a filter: take it out, it only adds its bias to the answer.")
        return findings, notes
    needed = _width_needed(product, x, loop.at, a)
    evidence |= {"width_needed": needed}
    if growth >= 1:
        relaxing = evidence["largest_relaxation"]
        enough = f"a Gaussian of standard deviation {needed:.3g}" if np.isfinite(needed) else "no Gaussian"
        relax = f"; at this width, relaxation below {relaxing:.2g}" if relaxing > 0 else ""
        findings.append(
            Finding(
                "unstable-with-filter",
                f"With the filter a disturbance still grows {growth:.3g} times per pass (gain "
                f"{evidence['filtered_gain']:.3g}). What would stop it: {enough}{relax}.",
                evidence,
                _ADVICE,
            )
        )
    if feature_width is not None and raw_growth >= 1:
        findings += _price(run, zero, x, feature_width, needed, growth, evidence)
    if loop.half is not None:
        findings += _dependence(run, loop, notes)
    return findings, notes


_ADVICE = (
    "Do not filter the state of an iteration. Make what is differentiated an unknown with an equation of its own "
    "and boundary condition and solve the residual by Newton; or integrate each leg in its stable direction. "
    "Smooth measured data only. Look for a boundary condition that a one-sided stencil supplies silently."
)


def _spectrum(product, at) -> numerics.Spectrum:
    return numerics.spectrum(product, at, num_vectors=min(32, len(at)))


def _growth(gains: np.ndarray, a: float) -> float:
    return float(np.max(np.abs(1 - a + a * gains)))


def _exponent(loop: Loop, n: int) -> tuple[float, list[float]]:
    radii = []
    for size in (n, 2 * n):
        update, at = loop.refine(size)
        at = np.asarray(as_array("refine(n)[1]", at, ndim=1))
        along = numerics.linearize(update, at).along
        radii.append(float(np.abs(_spectrum(partial(along, at), at).values[0])))
    return (float(np.log2(radii[1] / radii[0])) if min(radii) > 0 else 0.0), radii


def _width_needed(product, x: np.ndarray, at: np.ndarray, a: float) -> float:
    """Return the standard deviation of the narrowest Gaussian (odd reflection) that stops the growth; else infinity."""
    spacing = float(np.mean(np.diff(x)))

    # All columns at once where there are few: eigenvalues without their vectors.
    columns = np.stack([product(row) for row in np.eye(len(x))]) if len(x) <= numerics.DENSE else None

    def stable(width):
        filtered = partial(_gaussian, width=width / spacing)
        if columns is None:
            return _growth(_spectrum(lambda v: filtered(product(v)), at).values, a) < 1
        return _growth(np.linalg.eigvals(np.stack([filtered(column) for column in columns])), a) < 1

    low, high = np.log(spacing / 2), np.log((x[-1] - x[0]) / 2)
    if not stable(np.exp(high)):
        return float("inf")
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if stable(np.exp(middle)) else (middle, high)
    return float(np.exp(high))


def _gaussian(y: np.ndarray, *, width: float) -> np.ndarray:
    reach = min(int(np.ceil(5 * width)), len(y) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return np.convolve(np.pad(y, reach, mode="reflect", reflect_type="odd"), kernel / kernel.sum(), "valid")


def _price(run, zero, x, feature_width, needed, growth, evidence) -> list[Finding]:
    """Say what the narrowest feature keeps under the filter that converges."""
    sigma = feature_width / np.sqrt(8 * np.log(2))
    kept = sigma / np.hypot(sigma, needed) if np.isfinite(needed) else 0.0
    who = f"a Gaussian wide enough to converge ({needed:.3g})"
    if growth < 1:
        peak = np.exp(-0.5 * ((x - x[len(x) // 2]) / sigma) ** 2)
        kept, who = float((run(peak) - zero)[len(x) // 2]), "the filter"
    if kept >= _KEPT:
        return []
    message = (
        f"Under {who} a feature of width {feature_width:.3g} keeps {kept:.0%} of its height: the iteration converges "
        "to a wrong answer, and implicit gradients of it are exact gradients of the wrong problem."
    )
    return [Finding("price", message, evidence | {"height": kept, "feature_width": float(feature_width)}, _ADVICE)]


def _dependence(run, loop: Loop, notes: list[str]) -> list[Finding]:
    """Run the iteration with the filter and with one of half its width, and compare where they end."""

    def end(filter):
        return numerics.iterate(
            lambda y: np.asarray(filter(np.asarray(loop.update(y)))), loop.at, loop.relaxation, _PASSES
        )

    whole, half = end(run), end(loop.half)
    settled = [
        r.ending == "converged" or (r.ending == "unfinished" and r.changes[-1] < r.changes[0]) for r in (whole, half)
    ]
    if not settled[0]:
        return []
    if not settled[1]:
        message = (
            "With the filter the iteration converges; with half its width it does not: it only hides an instability."
        )
        return [Finding("hides-instability", message, {"ending_at_half_width": half.ending}, _ADVICE)]
    change = float(np.max(np.abs(whole.last - half.last)) / max(np.max(np.abs(half.last)), 1e-300))
    if change > 1e-3:
        message = (
            f"Half the filter's width changes the converged answer by {change:.2g} of its size: the filter is part of "
            "the equation that is solved."
        )
        return [Finding("filter-in-the-answer", message, {"relative_change": change}, _ADVICE)]
    notes.append(f"Half the filter's width changes the converged answer by {change:.1g} of its size only.")
    return []
