"""Why an iteration x ← update(x) blows up, and what would converge.

Rounding is amplified like any other error: a mode with multiplier μ grows by |μ| in every pass, from 1e-16 to 1 in
ln 1e16/ln |μ| passes. What looks like noise that explodes is the fastest-growing mode of the linearized loop. It is
found by Arnoldi iteration with `jvp`; its wavelength in cells says where it comes from (four cells are the fingerprint
of central differences), and how its growth scales with the grid says whether any relaxation can help.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum.diagnose.iterations.reproduce import of_fixed_point
from jaxnum.diagnose.iterations.verdicts import MARGIN, RULES, Measured, notes, tables
from jaxnum.diagnose.report import Diagnosis, Finding
from jaxnum.diagnose.reproduce import with_lines
from jaxnum.numerics import fixed_point as numerics


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
    findings = tuple(f for rule in RULES if (f := rule(measured)) is not None)
    return Diagnosis(subject, findings, (*notes(measured), truth), tables(measured))


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
    if run.ending in ("nonfinite", "growing") and growth <= 1 + MARGIN:
        transient = passing_growth(product, relaxation, np.asarray(fn(flat)) - flat, run.passes)
    if growth > 1 + MARGIN and (steps is not None or run.ending == "converged") and x.size <= numerics.DENSE:
        other = elsewhere(fn, at, vector.real, relaxation, num_passes)
    return Measured(
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
