"""Why an iteration x ← update(x) blows up, and what would converge.

Rounding is amplified like any other error: a mode with multiplier μ grows by |μ| in every pass, from 1e-16 to 1 in
ln 1e16/ln |μ| passes. What looks like noise that explodes is the fastest-growing mode of the linearized loop. It is
found by Arnoldi iteration with `jvp`; its wavelength in cells says where it comes from (four cells are the fingerprint
of central differences), and how its growth scales with the grid says whether any relaxation can help.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum.diagnose.iterations.reproduce import of_fixed_point
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import with_lines
from jaxnum.numerics import fixed_point as numerics

_MARGIN = 1e-6  # a multiplier this close to 1 in magnitude is neutral: it neither grows nor decays visibly


@dataclass(frozen=True)
class _Measured:
    """Numbers before words."""

    n: int
    relaxation: float
    spacing: float | None
    spectrum: numerics.Spectrum
    growth: float
    confirmed: float
    multiplier: complex
    mode: numerics.Mode | None
    largest_relaxation: float
    run: numerics.Run
    where: str
    newton_steps: int | None
    scaling: tuple[tuple[int, ...], tuple[float, ...]] | None
    unsmoothed: float | None
    transient: float
    other: float | None

    @property
    def radius(self) -> float:
        return float(np.abs(self.spectrum.values[0]))

    @property
    def unstable(self) -> bool:
        return min(self.growth, self.confirmed) > 1 + _MARGIN

    @property
    def exponent(self) -> float | None:
        if self.scaling is None:
            return None
        (n0, n1), (r0, r1) = self.scaling
        return math.log(r1 / r0) / math.log(n1 / n0) if min(r0, r1) > 0 else 0.0


def fixed_point(
    update: Callable[[Any], Any],
    x: Any,
    *,
    spacing: float | None = None,
    relaxation: float = 1.0,
    refine: Callable[[int], tuple[Callable[[Any], Any], Any]] | None = None,
    unsmoothed: Callable[[Any], Any] | None = None,
    num_vectors: int = 24,
    num_passes: int = 40,
) -> Diagnosis:
    """Say why the iteration x ← (1 - a) x + a update(x) fails to converge, and what would.

    Args:
        update: Map from an array to an array of the same shape, JAX or NumPy, without memory of earlier calls.
        x: Where to look: the fixed point if it is known, else a typical iterate. Any shape; the mode's wavelength is
            told for one axis.
        spacing: Distance between neighboring samples of `x`, to tell wavelengths in its unit.
        relaxation: a, how much of the update is taken over in a pass, above 0 and at most 2.
        refine: Function n -> (update, x) that gives the same problem on n points; with it the growth is measured on
            two grids.
        unsmoothed: The same update with a filter inside it taken out, to tell what the filter does to the loop.
        num_vectors: Size of the Krylov space when `x` has more than 256 numbers; below, all eigenvalues are computed.
        num_passes: Passes of the loop that are run to see how it ends.

    Returns:
        Diagnosis with findings among `unstable-iteration`, `unbounded-map`, `limit-cycle`, `another-fixed-point`,
        `transient-growth`, `does-not-settle`, `nonfinite-update`, `nonfinite-iterate`, `smoothing-does-not-help`,
        `smoothing-hides-instability` and `inconclusive`; a loop that converges, however slowly, has none.

    Raises:
        ValueError: If an argument is not what it should be.

    Example:
        >>> from jaxnum import diagnose
        >>> found = diagnose.fixed_point(lambda x: 3.0 * (1.0 - x), [0.7, 0.8])
        >>> found.findings[0].code, round(float(found.findings[0].evidence["largest_relaxation"]), 3)
        ('unstable-iteration', 0.5)
    """
    if not callable(update):
        refuse("update", "be a function of `x`", f"is {type(update).__name__}")
    x = np.asarray(as_array("x", x))
    if spacing is not None:
        check_positive("spacing", spacing)
    check_positive("relaxation", relaxation)
    if relaxation > 2:
        refuse("relaxation", "be at most 2", f"is {float(relaxation):g}")
    for name, value in (("refine", refine), ("unsmoothed", unsmoothed)):
        if value is not None and not callable(value):
            refuse(name, "be a function or None", f"is {type(value).__name__}")
    num_vectors, num_passes = (
        as_count("num_vectors", num_vectors, at_least=4),
        as_count("num_passes", num_passes, at_least=3),
    )
    found = _examined(update, x, spacing, relaxation, refine, unsmoothed, num_vectors, num_passes)
    return with_lines(found, of_fixed_point(update, x, relaxation, num_vectors, num_passes, refine, unsmoothed))


def _examined(update, x, spacing, relaxation, refine, unsmoothed, num_vectors, num_passes) -> Diagnosis:
    relaxed = f", relaxed by {relaxation:g}" if relaxation != 1 else ""
    subject = f"an iteration on {x.size} number{'s' * (x.size > 1)}{relaxed}"
    fn, first = _flat("update", update, x)
    if not np.isfinite(first).all():
        bad = int(np.argmin(np.isfinite(first)))
        finding = Finding(
            "nonfinite-update",
            f"One pass already gives {first[bad]} at index {bad}; nothing can be said about the loop before that.",
            {"index": bad, "count": int((~np.isfinite(first)).sum())},
            "Look for a division by zero, or the root or logarithm of a negative number, in the update at this `x`.",
        )
        return Diagnosis(subject, (finding,))

    slopes = numerics.linearize(fn, x.ravel())
    truth = {
        "jax": "Derivatives by JAX (jvp); central differences agree as far as they can be trusted.",
        "lifted": "Derivatives by JAX (jvp) of the update retold in it; central differences agree.",
        "differences": "Derivatives by central differences, because the update is no JAX function; good to about "
        f"{slopes.error:.0e}.",
    }[slopes.truth]
    if slopes.error > (1e-2 if slopes.truth == "differences" else 1e-3):
        finding = Finding(
            "inconclusive",
            f"The derivative of the update cannot be trusted: two ways to get it differ by {slopes.error:.1g}. The "
            "update may be rounded, discontinuous, random, or define a wrong derivative.",
            {"disagreement": slopes.error},
            "Pass an update that is smooth in `x` and gives the same answer twice.",
        )
        return Diagnosis(subject, (finding,), (truth,))

    measured = _measure(fn, slopes, x, spacing, relaxation, refine, unsmoothed, num_vectors, num_passes)
    findings = tuple(f for rule in _RULES if (f := rule(measured)) is not None)
    return Diagnosis(subject, findings, (*_notes(measured), truth), _tables(measured))


@dataclass(frozen=True)
class _Flat:
    """The update as a function of flat arrays; equal to another dressing of the same update."""

    update: Callable
    shape: tuple[int, ...]
    plain: bool  # returns NumPy arrays or lists

    def __call__(self, flat: Any) -> Any:
        value = self.update(flat.reshape(self.shape))
        return np.asarray(value, flat.dtype).reshape(-1) if self.plain else value.reshape(-1)


def _flat(name: str, update: Callable, x: np.ndarray) -> tuple[Callable, np.ndarray]:
    """Return the update as a function of flat arrays, and its first value."""
    first = update(x)
    if np.shape(first) != x.shape:
        refuse(name, f"return the shape of `x`, {x.shape}", f"returns {np.shape(first)}")
    if np.iscomplexobj(first):
        refuse(name, "return real numbers", f"returns {np.asarray(first).dtype}")
    return _Flat(update, x.shape, not hasattr(first, "reshape")), np.asarray(first, x.dtype).ravel()


class Look(NamedTuple):
    """The loop, linearized where it tells most: at its fixed point if one is found, else at the given `x`."""

    at: np.ndarray
    where: str
    run: numerics.Run
    newton_steps: int | None
    spectrum: numerics.Spectrum
    multiplier: complex
    vector: np.ndarray

    @property
    def growth(self) -> float:
        """By how much the worst mode grows in a pass."""
        return abs(self.multiplier)


def linearized(
    update: Callable,
    x: Any,
    *,
    relaxation: float = 1.0,
    num_passes: int = 40,
    num_vectors: int = 24,
    slopes: Any = None,
) -> Look:
    """Run the loop, find where to linearize it, and return the eigenvalues of a pass there.

    Args:
        update: Map of flat arrays.
        x: Where to look, flat.
        relaxation: a, how much of the update is taken over in a pass.
        num_passes: Passes of the loop that are run.
        num_vectors: Size of the Krylov space for large `x`.
        slopes: Derivative of the update where it is known already.
    """
    flat = np.asarray(x)
    slopes = numerics.linearize(update, flat) if slopes is None else slopes
    run = numerics.iterate(update, flat, relaxation, num_passes)
    settling = run.ending == "converged" or (run.ending == "unfinished" and run.changes[-1] < run.changes[0])
    at, where = (run.last, "at the last iterate") if settling else (flat, "at the given `x`")
    steps = None
    if not settling and flat.size <= numerics.DENSE:
        # The loop says nothing about where its fixed point is; Newton often finds it, and shows that it can be found.
        found, steps = numerics.newton(update, slopes.along, run.middle if run.ending == "cycle" else flat)
        if steps is not None:
            at, where = found, "at the fixed point, found by Newton"
    spectrum = numerics.spectrum(partial(slopes.along, at), at, num_vectors=num_vectors)
    multipliers = 1 - relaxation + relaxation * spectrum.values
    worst = int(np.argmax(np.abs(multipliers)))
    return Look(at, where, run, steps, spectrum, complex(multipliers[worst]), spectrum.vectors[:, worst])


def growth_at(update: Callable, at: Any, *, relaxation: float = 1.0, num_vectors: int = 24) -> float:
    """Return by how much the worst mode grows in a pass that is linearized at a point; flat arrays."""
    at = np.asarray(at)
    product = partial(numerics.linearize(update, at).along, at)
    values = numerics.spectrum(product, at, num_vectors=num_vectors).values
    return float(np.max(np.abs(1 - relaxation + relaxation * values)))


def _measure(fn, slopes, x, spacing, relaxation, refine, unsmoothed, num_vectors, num_passes):
    look = linearized(
        fn, x.ravel(), relaxation=relaxation, num_passes=num_passes, num_vectors=num_vectors, slopes=slopes
    )
    flat, run, at, steps = x.ravel(), look.run, look.at, look.newton_steps
    spectrum, growth, vector = look.spectrum, look.growth, look.vector
    product = partial(slopes.along, at)
    confirmed = growth if spectrum.exact else _grown(product, relaxation, vector)
    raw = None
    if unsmoothed is not None:
        other, _ = _flat("unsmoothed", unsmoothed, x)
        raw = growth_at(other, at, relaxation=relaxation, num_vectors=num_vectors)
    transient, other = 1.0, None
    if run.ending in ("nonfinite", "growing") and growth <= 1 + _MARGIN:
        transient = passing_growth(product, relaxation, np.asarray(fn(flat)) - flat, run.passes)
    if growth > 1 + _MARGIN and (steps is not None or run.ending == "converged") and x.size <= numerics.DENSE:
        other = elsewhere(fn, at, vector.real, relaxation, num_passes)
    return _Measured(
        n=x.size,
        relaxation=float(relaxation),
        spacing=spacing,
        spectrum=spectrum,
        growth=growth,
        confirmed=confirmed,
        multiplier=look.multiplier,
        mode=numerics.describe_mode(vector) if x.ndim == 1 and x.size >= 16 else None,
        largest_relaxation=numerics.largest_relaxation(spectrum),
        run=run,
        where=look.where,
        newton_steps=steps,
        scaling=None if refine is None else _scaling(refine, x.size, num_vectors, float(np.abs(spectrum.values[0]))),
        unsmoothed=raw,
        transient=transient,
        other=other,
    )


def _grown(product, relaxation, vector):
    """Return the growth per pass of the linearized loop itself: Ritz values of a lopsided matrix can exaggerate."""
    v = vector.real / np.linalg.norm(vector.real)
    rates = []
    for _ in range(8):
        v = (1 - relaxation) * v + relaxation * product(v)
        rates.append(np.linalg.norm(v))
        if not 0 < rates[-1] < np.inf:
            return float(rates[-1])
        v = v / rates[-1]
    # The norm of a complex pair swings once around in half a turn, so a mean over several passes is what grows.
    return float(np.exp(np.mean(np.log(rates[2:]))))


def passing_growth(product, relaxation, v, num_passes):
    """Return by how much the linearized loop amplifies a disturbance on the way, whatever becomes of it in the end."""
    start = largest = float(np.linalg.norm(v))
    for _ in range(num_passes):
        v = (1 - relaxation) * v + relaxation * product(v)
        largest = max(largest, float(np.linalg.norm(v)))
    return largest / start if start > 0 else 1.0


def elsewhere(fn, at, direction, relaxation, num_passes):
    """Return how far away the fixed point is to which the loop goes from beside an unstable one; None if to none."""
    size = float(np.max(np.abs(at))) or 1.0
    for sign in (1.0, -1.0):
        start = at + at.dtype.type(sign * 1e-2 * size / float(np.max(np.abs(direction)) or 1.0)) * direction
        run = numerics.iterate(fn, start.astype(at.dtype), relaxation, max(num_passes, 40))
        distance = float(np.max(np.abs(run.last - at)))
        if run.ending in ("converged", "unfinished") and run.changes[-1] < 1e-2 * distance and distance > 0.05 * size:
            return distance
    return None


def _scaling(refine, n, num_vectors, radius):
    # A large grid is expensive enough once: there the coarser neighbor is compared with what is known already.
    sizes = (n, 2 * n) if n <= 10_000 else (n // 2, n)
    radii = []
    for size in sizes:
        if n > 10_000 and size == n:
            radii.append(radius)
            continue
        update, x = refine(size)
        x = np.asarray(as_array("refine(n)[1]", x, ndim=1))
        fn, _ = _flat("refine(n)[0]", update, x)
        radii.append(growth_at(fn, x, num_vectors=num_vectors))
    return sizes, tuple(radii)


def _unstable(m: _Measured) -> Finding | None:
    if not m.unstable:
        return None
    passes = math.log(1e16) / math.log(m.growth)
    parts = [f"A disturbance grows {m.growth:.3g} times in every pass ({m.where})"]
    if m.mode is not None:
        parts.append(f"; the fastest mode lives around index {m.mode.center:.0f} (±{m.mode.spread:.0f})")
        if np.isfinite(m.mode.wavelength):
            parts.append(f" with a wavelength of {m.mode.wavelength:.2g} cells")
            if m.spacing is not None:
                parts.append(f" ({m.mode.wavelength * m.spacing:.3g} in the unit of `spacing`)")
            if 3.5 < m.mode.wavelength < 4.6:
                parts.append(", the fingerprint of central differences")
            elif m.mode.wavelength < 2.3:
                parts.append(", the shortest the grid holds: the fingerprint of an explicit second derivative")
    parts.append(f". Rounding errors reach order one after about {passes:.1f} passes: unstable, not noisy.")
    relax = "no relaxation helps (a mode has Re g of 1 or more)"
    if m.largest_relaxation > 0:
        relax = f"relaxing would need less than {m.largest_relaxation:.1e}, which never arrives"
    if m.largest_relaxation >= 0.01:
        relax = f"relax by less than {m.largest_relaxation:.3g}"
    newton = f" (it converged in {m.newton_steps} here)" if m.newton_steps is not None else ""
    evidence = {
        "growth_per_pass": m.growth,
        "growth_of_the_linearized_loop": m.confirmed,
        "spectral_radius": m.radius,
        "multiplier": m.multiplier,
        "largest_relaxation": m.largest_relaxation,
        "operator_norm_at_least": m.spectrum.norm,
        "passes_until_rounding_is_order_one": passes,
    }
    if m.mode is not None:
        evidence |= {"wavelength_cells": m.mode.wavelength, "index": m.mode.center, "spread": m.mode.spread}
        unit = m.spacing or 1.0
        evidence |= {"wavelength": m.mode.wavelength * unit, "place": m.mode.center * unit}
    if m.mode is not None and m.mode.wavelength < 2.3:
        cure = f"If this is a time step of diffusion, take it implicitly or shorten it; {relax}. "
        cure += f"For the steady state solve update(x) - x = 0 by Newton{newton}."
    else:
        cure = (
            f"Solve update(x) - x = 0 by Newton{newton}; or make the quantity that is differentiated the unknown; or "
        )
        cure += f"run the unstable leg in its other direction; {relax}."
    return Finding("unstable-iteration", "".join(parts), evidence, cure)


def _unbounded(m: _Measured) -> Finding | None:
    p = m.exponent
    if p is None or p < 0.5:
        return None
    (n0, n1), (r0, r1) = m.scaling
    kind = {1: "a first derivative", 2: "a second derivative"}.get(round(p), f"a derivative of order {p:.1f}")
    return Finding(
        "unbounded-map",
        f"The largest gain of a pass goes from {r0:.3g} on {n0} points to {r1:.3g} on {n1}, as n to the power {p:.2f}: "
        f"the loop applies {kind} to its own unknown. On a finer grid it is worse, and no relaxation converges.",
        {"exponent": p, "sizes": (n0, n1), "spectral_radii": (r0, r1)},
        "Do not filter and do not relax. Treat the derivative as an unknown with an equation of its own, integrated in "
        "its stable direction; then look for the boundary condition that a one-sided stencil was supplying.",
    )


def _cycle(m: _Measured) -> Finding | None:
    if m.run.ending != "cycle":
        return None
    relax = f", or relax by less than {m.largest_relaxation:.3g}." if m.largest_relaxation > 0 else "."
    return Finding(
        "limit-cycle",
        f"The iteration settles into {m.run.period} values that it visits in turn, {m.run.changes[-1]:.3g} apart, "
        "and none of them is a fixed point.",
        {"period": m.run.period, "change": float(m.run.changes[-1])},
        "Solve update(x) - x = 0 by Newton" + relax,
    )


def _another(m: _Measured) -> Finding | None:
    if m.other is None:
        return None
    return Finding(
        "another-fixed-point",
        f"The map has more than one fixed point: beside the unstable one the loop leaves for another, {m.other:.3g} "
        "away, and settles there.",
        {"distance": m.other},
        "Decide which of them is meant before changing the method: Newton finds the nearer one, the loop the stable "
        "one. A condition that would tell them apart is missing from the equations.",
    )


def _passing(m: _Measured) -> Finding | None:
    if m.transient < 1e2:
        return None
    return Finding(
        "transient-growth",
        f"No mode grows in the long run ({m.growth:.3g} times per pass at most), but a disturbance is amplified "
        f"{m.transient:.3g} times on the way, and the iterates leave the finite numbers (or grow without bound) in "
        f"pass {m.run.passes + 1}. Successive substitution over a stiff or long interval does this: (λT)ᵏ/k! is large "
        "before it is small.",
        {"transient_growth": m.transient, "growth_per_pass": m.growth, "operator_norm_at_least": m.spectrum.norm},
        "Integrate implicitly (Newton in every step) instead of substituting; or iterate on windows so short that a "
        "pass amplifies nothing.",
    )


def _left_the_numbers(m: _Measured) -> Finding | None:
    if m.run.ending not in ("nonfinite", "growing") or m.unstable or m.transient >= 1e2:
        return None
    return Finding(
        "nonfinite-iterate",
        f"The iterates leave the finite numbers (or grow without bound) in pass {m.run.passes + 1}, although small "
        f"disturbances grow only {m.growth:.3g} times per pass {m.where}: the start is too far away.",
        {"pass": m.run.passes + 1, "growth_per_pass": m.growth},
        "Start nearer to the fixed point, or take Newton steps with a line search.",
    )


def _restless(m: _Measured) -> Finding | None:
    changes = m.run.changes
    slow = changes.size > 0 and changes[-1] < (1 - 1e-9) * changes[changes.size // 2]  # but still on its way
    if m.run.ending != "unfinished" or m.unstable or m.growth < 1 - _MARGIN or slow:
        return None
    return Finding(
        "does-not-settle",
        f"After {m.run.passes} passes the iterate still changes by {m.run.changes[-1]:.3g}; the largest multiplier has "
        f"magnitude {m.growth:.6f}.",
        {"change": float(m.run.changes[-1]), "growth_per_pass": m.growth},
        "Look for a conserved quantity or a drift; fix the quantity that is free, or relax.",
    )


def _smoothing(m: _Measured) -> Finding | None:
    if m.unsmoothed is None or m.unsmoothed <= 1 + _MARGIN:
        return None
    evidence = {"growth_with_filter": m.growth, "growth_without_filter": m.unsmoothed}
    if m.unstable:
        return Finding(
            "smoothing-does-not-help",
            f"Without the filter a disturbance grows {m.unsmoothed:.3g} times per pass, with it {m.growth:.3g} times: "
            "it still grows.",
            evidence,
            "Take the filter out. One wide enough to stop the growth is as wide as the solution itself.",
        )
    return Finding(
        "smoothing-hides-instability",
        f"The loop converges only because of its filter: without it a disturbance grows {m.unsmoothed:.3g} times per "
        "pass. The filter has become part of the equation, and the answer depends on its width.",
        evidence,
        "Take the filter out and solve update(x) - x = 0 by Newton; compare with half the width before believing it.",
    )


_RULES = (_cycle, _unstable, _another, _unbounded, _smoothing, _passing, _left_the_numbers, _restless)


def _notes(m: _Measured) -> tuple[str, ...]:
    how = "all eigenvalues" if m.spectrum.exact else f"{m.spectrum.values.size} Arnoldi steps"
    notes = []
    if m.growth < 1 - _MARGIN:
        passes = math.log(10) / -math.log(m.growth) if m.growth > 0 else 0.0
        slow = "Slow contraction: " if passes > 10 else ""
        notes.append(
            f"{slow}A disturbance shrinks to {m.growth:.4g} of itself in a pass, {passes:.3g} passes per digit ({how}, "
            f"{m.where})." + (" Newton on update(x) - x would need a handful." if slow else "")
        )
    elif not m.unstable:
        notes.append(
            f"The largest multiplier has magnitude {m.growth:.6f}: some mode neither grows nor decays ({how})."
        )
        if m.confirmed < 1 <= m.growth and not m.spectrum.exact:
            notes.append(
                "Arnoldi alone would have called it growing; iterating the linearized loop did not confirm it."
            )
    else:
        notes.append(
            f"Growth measured by {how}, {m.where}; the linearized loop itself gave {m.confirmed:.3g} per pass."
        )
    if m.spectrum.norm * m.relaxation > 3 * max(m.radius, 1.0):
        notes.append(f"A pass can amplify some disturbances {m.spectrum.norm:.3g} times before they decay or grow.")
    if abs(m.multiplier.imag) > 0.1 * abs(m.multiplier):
        turn = 2 * math.pi / abs(np.angle(m.multiplier))
        notes.append(f"The leading multipliers are a complex pair: the mode turns around once in {turn:.1f} passes.")
    if m.exponent is not None and m.exponent < 0.5:
        (n0, n1), (r0, r1) = m.scaling
        notes.append(f"The map is bounded: its largest gain is {r0:.3g} on {n0} points and {r1:.3g} on {n1}.")
    return tuple(notes)


def _tables(m: _Measured) -> tuple[Table, ...]:
    values = m.spectrum.values[:6]
    rows = tuple((v.real, v.imag, abs(1 - m.relaxation + m.relaxation * v)) for v in values)
    return (Table("Leading eigenvalues g of a pass", ("Re g", "Im g", "growth per pass"), rows),)
