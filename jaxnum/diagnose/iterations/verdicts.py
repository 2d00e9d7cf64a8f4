"""What the numbers of an iteration say: one function for each finding, and what is worth noting in any case."""

import math
from dataclasses import dataclass

import numpy as np

from jaxnum.diagnose.report import Finding, Table
from jaxnum.numerics import fixed_point as numerics

MARGIN = 1e-6  # a multiplier this close to 1 in magnitude is neutral: it neither grows nor decays visibly


@dataclass(frozen=True)
class Measured:
    """What was measured of an iteration: numbers before words."""

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
        """Largest magnitude of an eigenvalue."""
        return float(np.abs(self.spectrum.values[0]))

    @property
    def unstable(self) -> bool:
        """Whether disturbances grow, by two ways to tell."""
        return min(self.growth, self.confirmed) > 1 + MARGIN

    @property
    def exponent(self) -> float | None:
        """Power of the number of points that the largest gain grows as."""
        if self.scaling is None:
            return None
        (n0, n1), (r0, r1) = self.scaling
        return math.log(r1 / r0) / math.log(n1 / n0) if min(r0, r1) > 0 else 0.0


def _unstable(m: Measured) -> Finding | None:
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


def _unbounded(m: Measured) -> Finding | None:
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


def _cycle(m: Measured) -> Finding | None:
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


def _another(m: Measured) -> Finding | None:
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


def _passing(m: Measured) -> Finding | None:
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


def _left_the_numbers(m: Measured) -> Finding | None:
    if m.run.ending not in ("nonfinite", "growing") or m.unstable or m.transient >= 1e2:
        return None
    return Finding(
        "nonfinite-iterate",
        f"The iterates leave the finite numbers (or grow without bound) in pass {m.run.passes + 1}, although small "
        f"disturbances grow only {m.growth:.3g} times per pass {m.where}: the start is too far away.",
        {"pass": m.run.passes + 1, "growth_per_pass": m.growth},
        "Start nearer to the fixed point, or take Newton steps with a line search.",
    )


def _restless(m: Measured) -> Finding | None:
    changes = m.run.changes
    slow = changes.size > 0 and changes[-1] < (1 - 1e-9) * changes[changes.size // 2]  # but still on its way
    if m.run.ending != "unfinished" or m.unstable or m.growth < 1 - MARGIN or slow:
        return None
    return Finding(
        "does-not-settle",
        f"After {m.run.passes} passes the iterate still changes by {m.run.changes[-1]:.3g}; the largest multiplier has "
        f"magnitude {m.growth:.6f}.",
        {"change": float(m.run.changes[-1]), "growth_per_pass": m.growth},
        "Look for a conserved quantity or a drift; fix the quantity that is free, or relax.",
    )


def _smoothing(m: Measured) -> Finding | None:
    if m.unsmoothed is None or m.unsmoothed <= 1 + MARGIN:
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


RULES = (_cycle, _unstable, _another, _unbounded, _smoothing, _passing, _left_the_numbers, _restless)


def notes(m: Measured) -> tuple[str, ...]:
    """Return what is worth knowing beside the findings."""
    how = "all eigenvalues" if m.spectrum.exact else f"{m.spectrum.values.size} Arnoldi steps"
    told = []
    if m.growth < 1 - MARGIN:
        passes = math.log(10) / -math.log(m.growth) if m.growth > 0 else 0.0
        slow = "Slow contraction: " if passes > 10 else ""
        told.append(
            f"{slow}A disturbance shrinks to {m.growth:.4g} of itself in a pass, {passes:.3g} passes per digit ({how}, "
            f"{m.where})." + (" Newton on update(x) - x would need a handful." if slow else "")
        )
    elif not m.unstable:
        told.append(f"The largest multiplier has magnitude {m.growth:.6f}: some mode neither grows nor decays ({how}).")
        if m.confirmed < 1 <= m.growth and not m.spectrum.exact:
            told.append("Arnoldi alone would have called it growing; iterating the linearized loop did not confirm it.")
    else:
        told.append(f"Growth measured by {how}, {m.where}; the linearized loop itself gave {m.confirmed:.3g} per pass.")
    if m.spectrum.norm * m.relaxation > 3 * max(m.radius, 1.0):
        told.append(f"A pass can amplify some disturbances {m.spectrum.norm:.3g} times before they decay or grow.")
    if abs(m.multiplier.imag) > 0.1 * abs(m.multiplier):
        turn = 2 * math.pi / abs(np.angle(m.multiplier))
        told.append(f"The leading multipliers are a complex pair: the mode turns around once in {turn:.1f} passes.")
    if m.exponent is not None and m.exponent < 0.5:
        (n0, n1), (r0, r1) = m.scaling
        told.append(f"The map is bounded: its largest gain is {r0:.3g} on {n0} points and {r1:.3g} on {n1}.")
    return tuple(told)


def tables(m: Measured) -> tuple[Table, ...]:
    """Return the leading eigenvalues."""
    values = m.spectrum.values[:6]
    rows = tuple((v.real, v.imag, abs(1 - m.relaxation + m.relaxation * v)) for v in values)
    return (Table("Leading eigenvalues g of a pass", ("Re g", "Im g", "growth per pass"), rows),)
