"""The arrays of a finished Schrödinger run, held against what must be true of them.

    ∫|ψ|² dx = const,    ∂|ψ|²/∂t + ∂j/∂x = 0,    d⟨x⟩/dt = ⟨p⟩/m,    d⟨p⟩/dt = -⟨∂V/∂x⟩,    dσ²/dt = 2 cov(x, p)/m

and, for a Gaussian that starts in free space or in a parabola, the exact packet. Width and centre are judged by these
laws, which are exact; what looks odd in Re ψ alone is checked against the phase of the exact packet.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import check_finite, check_increasing, check_positive, refuse
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.diagnose.reproduce import with_lines
from jaxnum.diagnose.waves.finished_run import (
    EDGE,
    Flow,
    Moments,
    Spectrum,
    cells,
    continuity,
    derivative,
    integral,
    is_uniform,
    measure,
    quadrature_error,
    spectrum,
)
from jaxnum.diagnose.waves.reproduce import of_run
from jaxnum.schrodinger import exact

_ENERGY = 0.05  # change of the energy, relative to the kinetic energy, that is worth a finding
_NORM = 1e-6  # drift of the norm that no rounding in double precision explains
_WIDTH = 0.02  # relative error of width and of centre (in widths) that is worth a finding


class Gaussian(NamedTuple):
    """The Gaussian that the run starts from, and how well it fits."""

    center: float
    sigma: float
    momentum: float
    height: complex  # factor in front of the normalized packet
    misfit: float  # relative distance from the first row


def wavefunction(
    psi: Any,
    x: Any,
    t: Any,
    potential: Any = None,
    *,
    mass: float = 1.0,
    hbar: float = 1.0,
    dt: float | None = None,
    nonlinearity: float = 0.0,
    periodic: bool = False,
) -> Diagnosis:
    """Examine the arrays of a finished run.

    Args:
        psi: Wave functions, (saves, n), the first one being the start; complex.
        x: Grid, (n,), increasing.
        t: Increasing times, (saves,).
        potential: V at the grid points, (n,), complex where it absorbs, or None for free space.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        dt: Time step of the run, to hold it against the fastest phase.
        nonlinearity: Factor g of a term g|ψ|²ψ.
        periodic: Whether the grid is meant as a ring, whose ends a packet may pass.

    Returns:
        Diagnosis with findings `not-complex`, `nonfinite`, `non-uniform`, `aliasing`, `time-step`, `wrapped`,
        `continuity`, `norm`, `ehrenfest`, `coarse-grid`, `spreading`, `energy`, `phase`, `inaccurate` and `boundary`;
        what is right stands in the notes, with the distance from the exact packet where there is one.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxnum import diagnose
        >>> from jaxnum.schrodinger import exact
        >>> x, t = jnp.linspace(-30.0, 30.0, 601), jnp.linspace(0.0, 4.0, 9)
        >>> psi = jax.vmap(lambda t: exact.free_packet(x, t, momentum=1.0))(t)
        >>> diagnose.wavefunction(psi, x, t).ok, diagnose.wavefunction(psi.conj(), x, t).findings[0].code
        (True, 'ehrenfest')
    """
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    check_finite("nonlinearity", nonlinearity)
    if dt is not None:
        check_positive("dt", dt)
    x = _axis("x", x, 9)
    t = _axis("t", t, 2)
    psi = _numbers("psi", psi, (len(t), len(x)))
    v = np.zeros(len(x)) if potential is None else _numbers("potential", potential, (len(x),))
    if not np.isfinite(v).all():
        refuse("potential", "be finite", f"holds {v[~np.isfinite(v)][0]}")
    found = _examined(psi, x, t, v, mass, hbar, dt, nonlinearity, periodic)
    return with_lines(found, of_run(potential, float(mass), float(hbar), dt, float(nonlinearity)))


def _examined(psi, x, t, v, mass, hbar, dt, nonlinearity, periodic) -> Diagnosis:
    subject = f"a run of {len(t)} saved times on {len(x)} points"
    finite = np.isfinite(psi).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        message = f"psi is not finite from row {row}, t = {t[row]:.4g}, on."
        return Diagnosis(subject, (Finding("nonfinite", message, {"row": row}, "A unitary step cannot do that."),))
    if not np.any(psi[0]):
        refuse("psi", "start from something", "is zero in its first row")
    if not np.any(psi[1:].imag):
        message = "psi is real after its first row; a wave function that moves, spreads or has an energy is complex."
        cure = "Keep it in a complex array; assigning complex numbers into a real one drops their imaginary parts."
        return Diagnosis(subject, (Finding("not-complex", message, {}, cure),))
    psi = psi.astype(complex)
    if (finding := stretched(psi, x)) is not None:
        return Diagnosis(subject, (finding,))
    moments = measure(psi, x, v, hbar, mass, nonlinearity)
    waves = spectrum(psi, x)
    table = _table(moments, t)
    found, notes = starts_inside(moments)
    if not found:
        found, notes = resolution(waves, v, psi, dt, mass, hbar)
    if found:  # everything else would only repeat it
        return Diagnosis(subject, tuple(found), tuple(notes), (table,))
    flow = continuity(psi, x, t, v, hbar, mass)
    findings: list[Finding] = []
    for found, note in (
        ends(moments, waves, flow, t, periodic),
        jumps(flow, t, periodic),
        norm(moments, t, bool(np.any(v.imag))),
        ehrenfest(moments, t, mass),
        spreading(moments, t, mass),
    ):
        findings += found
        notes += note
    if not findings:
        findings, note = energy(moments, t)
        notes += note
    tables = (table,)
    if not np.any(v.imag) and not nonlinearity and (state := _oscillator(v, x, mass)) is not None:
        found, note, more = against_exact(psi, x, t, moments, state, mass, hbar)
        kinds = {f.code for f in found}
        # Of two findings of one kind, the exact packet knows more.
        findings = [f for f in findings if f.code not in kinds]
        findings += [f for f in found if not findings or f.code != "inaccurate"]
        notes += note
        tables += more
    return Diagnosis(subject, tuple(findings), tuple(notes), tables)


def stretched(psi: np.ndarray, x: np.ndarray) -> Finding | None:
    """Report a grid that is not uniform, where the run conserves what it would conserve on a uniform one."""
    if is_uniform(x):
        return None
    right, wrong = (np.abs(psi) ** 2 @ weights for weights in (cells(x), np.ones(len(x))))
    off, off_wrong = (float(np.max(np.abs(total / total[0] - 1))) for total in (right, wrong))
    if off < 1e-6 or off_wrong > 0.01 * off:
        return None
    steps = np.diff(x)
    message = (
        f"The run takes the grid for uniform, but its spacing runs from {steps.min():.4g} to {steps.max():.4g}: the "
        f"plain sum of |ψ|² is kept to {off_wrong:.2g}, the integral changes by {off:.2g}."
    )
    cure = "Use a uniform grid, or -ħ²/m h₋(h₋ + h₊) and -ħ²/m h₊(h₋ + h₊) beside the diagonal."
    evidence = {"smallest": steps.min(), "largest": steps.max(), "change of the integral": off}
    return Finding("non-uniform", message, evidence, cure)


def starts_inside(m: Moments) -> tuple[list[Finding], list[str]]:
    """Report a packet that starts at an end."""
    if m.edge[0] <= 1e-3:
        return [], []
    message = f"The run starts with {m.edge[0]:.2g} of its probability in the outer two per cent of the grid."
    cure = "Widen the grid, or start further inside."
    return [Finding("boundary", message, {"probability": m.edge[0]}, cure)], []


def resolution(
    s: Spectrum, v: np.ndarray, psi: np.ndarray, dt: float | None, mass: float, hbar: float
) -> tuple[list[Finding], list[str]]:
    """Hold the shortest waves against the grid, and the fastest phase against the time step."""
    part = s.fastest / s.limit
    if s.short > 1e-3:
        message = (
            f"{s.short:.2g} of the packet has waves beyond 0.6 π/dx, π/dx = {s.limit:.4g}: shorter than three spacings "
            "and a third. What the grid cannot tell from longer waves moves at their speed."
        )
        evidence = {"part": s.short, "fastest": s.fastest, "limit": s.limit}
        return [Finding("aliasing", message, evidence, "Refine the grid, or look for noise and jumps in psi.")], []
    notes = [f"Nearly all of it has |k| < {s.fastest:.3g}, {part:.0%} of π/dx = {s.limit:.4g}."]
    if dt is None:
        return [], notes
    seen = (np.abs(psi) ** 2).max(axis=0) > 1e-6 * (np.abs(psi) ** 2).max()
    kinetic = hbar**2 * s.fastest**2 / (2 * mass)
    # What turns fastest: the shortest waves, where V lifts them, or the bottom of a deep well.
    lifts = ((True, 0.0), (True, float(v.real[seen].max())), (False, -float(v.real[seen].min())))
    waves, lifted = max(lifts, key=lambda part: part[0] * kinetic + part[1])
    phase = dt / hbar * (waves * kinetic + lifted)
    if phase > 1:
        message = f"The fastest phase turns by {phase:.3g} rad in one step of {dt:.4g}; a step must resolve it."
        cure = f"Take steps of {dt / phase * 0.3:.2g} or less, or a higher order in time."
        return [
            Finding("time-step", message, {"phase": phase, "dt": dt, "waves": waves, "lifted": lifted}, cure)
        ], notes
    notes.append(
        f"The fastest phase turns by {phase:.2g} rad in one step; Crank-Nicolson errs by {phase**3 / 12:.1g} rad of it."
    )
    return [], notes


def ends(m: Moments, s: Spectrum, f: Flow, t: np.ndarray, periodic: bool) -> tuple[list[Finding], list[str]]:
    """Say whether the packet comes to the ends, and what becomes of it there."""
    worst = int(np.argmax(m.edge))
    if m.edge[worst] <= EDGE:
        return [], [f"The ends are never reached: at most {m.edge[worst]:.2g} of the probability is near them."]
    row = int(np.argmax(m.edge > EDGE))
    around = float(f.seam[int(np.argmax(np.abs(f.seam)))])
    if abs(around) > 0.02 and np.max(np.abs(f.seam)) > 3 * f.allowance.sum():
        way = ("first", "last") if around < 0 else ("last", "first")
        text = f"{abs(around):.2g} of the probability left through the {way[0]} end and came in at the {way[1]} one"
        if periodic:
            return [], [f"From t = {t[row]:.4g} on {text}."]
        cure = "On a ring that is right; otherwise widen the grid, or use walls, an absorber or a transparent boundary."
        evidence = {"probability": abs(around), "t": t[row]}
        return [Finding("wrapped", f"From t = {t[row]:.4g} on {text}.", evidence, cure)], []
    notes = [f"From t = {t[row]:.4g} on the ends matter: up to {m.edge[worst]:.2g} of the probability is there."]
    start = max(row - 1, 0)
    kept = (m.norm / m.norm[start]) ** 2
    right = bool(m.first_edge[worst] < m.edge[worst] / 2)
    back = (1 - s.forward) * kept if right else s.forward * kept
    turned = float(np.max(back[start:]) - back[start])
    if turned > 0.005 and not periodic:
        notes.append(f"{turned:.1%} of the packet is reflected at the {'last' if right else 'first'} end.")
    return [], notes


def jumps(f: Flow, t: np.ndarray, periodic: bool) -> tuple[list[Finding], list[str]]:
    """Report probability that moved between two rows without a current, once; a steady lack is another law's matter."""
    worst = int(np.argmax(f.jump - 3 * f.allowance))
    usual = float(np.median(f.jump))
    if f.jump[worst] > 0.02 + 3 * f.allowance[worst] and f.jump[worst] > 10 * usual and not periodic:
        message = (
            f"Between t = {t[worst]:.4g} and {t[worst + 1]:.4g} up to {f.jump[worst]:.2g} of the probability moves "
            f"without a current that could carry it; between other rows it is {usual:.1g}."
        )
        evidence = {"row": worst, "probability": f.jump[worst], "usual": usual}
        return [Finding("continuity", message, evidence, "Look at what was done to psi between these two rows.")], []
    if np.max(f.allowance) > 0.05:
        return [], ["The saved times are too far apart to hold the currents against the continuity equation."]
    return [], [f"Probability flows as the continuity equation says, to {np.max(f.jump):.2g} of it between two rows."]


def norm(m: Moments, t: np.ndarray, absorbing: bool) -> tuple[list[Finding], list[str]]:
    """Hold the norm against its first value, or against what an absorber takes away."""
    if absorbing:
        predicted = m.norm[0] ** 2 - integral(m.absorbed * m.norm**2, t)
        off = (m.norm**2 - predicted) / m.norm[0] ** 2
        worst = int(np.argmax(np.abs(off)))
        taken = 1 - (m.norm[-1] / m.norm[0]) ** 2
        slack = 0.02 * max(taken, 0.01) + 3 * quadrature_error(m.absorbed * m.norm**2, t)
        if abs(off[worst]) <= slack:
            return [], [f"The absorber takes away {taken:.2%} of the probability, as its imaginary part says."]
        message = (
            f"At t = {t[worst]:.4g} the probability is {off[worst]:+.3g} away from what the imaginary potential leaves."
        )
        cure = "The right matrix is 1 - i dt H/2ħ with the complex H, not the conjugate of the left one."
        return [Finding("norm", message, {"t": t[worst], "row": worst, "off by": off[worst]}, cure)], []
    drift = m.norm / m.norm[0] - 1
    worst = int(np.argmax(np.abs(drift)))
    if abs(drift[worst]) <= _NORM:
        one = abs(m.norm[0] - 1) < 1e-6
        also = "" if one else f" It is {m.norm[0]:.6g}, not 1: probabilities need dividing by its square."
        return [], [f"The norm is kept to {abs(drift[worst]):.2g}.{also}"]
    steady = np.polyfit(t, np.log(m.norm), 1)[0]
    message = f"The norm changes by {drift[worst]:+.3g} until t = {t[worst]:.4g}, at a rate of {steady:+.3g} per time."
    near = m.edge[: worst + 1].max() > EDGE
    cure = (
        "The packet is at an end then: look at the rows of the two end points. An absorber is passed as complex V."
        if near
        else "Compare the two matrices of the step: the right one must be the conjugate of the left one."
    )
    return [Finding("norm", message, {"drift": drift[worst], "t": t[worst], "row": worst, "rate": steady}, cure)], []


def ehrenfest(m: Moments, t: np.ndarray, mass: float) -> tuple[list[Finding], list[str]]:
    """Hold the motion of the centre against the momentum, and that against the force."""
    moved = m.position - m.position[0] - integral(m.momentum, t) / mass
    pushed = m.momentum - m.momentum[0] - integral(m.force, t)
    scale = np.maximum(m.width, np.max(np.abs(m.position - m.position[0])))
    kick = max(np.max(np.abs(m.momentum)), 1 / (2 * m.width[0]), np.max(np.abs(integral(m.force, t))))
    x_off, p_off = np.abs(moved) / scale, np.abs(pushed) / kick
    free = m.alone  # a wall pushes, too
    coarse = quadrature_error(m.momentum, t) / mass > 0.2 * _WIDTH * scale.min()
    notes = []
    for what, off, by in (("position", x_off * free, moved), ("momentum", p_off * free, pushed)):
        worst = int(np.argmax(off))
        if off[worst] <= _WIDTH or coarse:
            continue
        lag = np.abs(m.position - m.position[0] - integral(m.velocity, t)) / scale
        if what == "position" and np.max(lag * free) <= _WIDTH:
            slow = 1 - float(np.sum(np.abs(m.velocity[free])) * mass / np.sum(np.abs(m.momentum[free])))
            message = f"The packet moves {slow:.1%} too slowly, as waves do on second differences too coarse for them."
            evidence = {"t": t[worst], "row": worst, "position off by": by[worst], "too slow by": slow}
            return [Finding("coarse-grid", message, evidence, "Refine the grid, or use fourth order in space.")], []
        message = (
            f"Ehrenfest's theorem fails: at t = {t[worst]:.4g} the mean {what} is {by[worst]:+.3g} away from where "
            f"{'the momentum carries it' if what == 'position' else 'the force takes it'}."
        )
        cure = "Look at the sign of i, at ħ and m in the kinetic term, and at the sign of V."
        return [Finding("ehrenfest", message, {"t": t[worst], "row": worst, f"{what} off by": by[worst]}, cure)], []
    if coarse:
        notes.append("The saved times are too far apart to hold the motion against Ehrenfest's theorem.")
    else:
        notes.append(
            f"Mean position and momentum follow Ehrenfest's theorem to {np.max(x_off * free):.2g} and "
            f"{np.max(p_off * free):.2g} of their size."
        )
    return [], notes


def spreading(m: Moments, t: np.ndarray, mass: float) -> tuple[list[Finding], list[str]]:
    """Hold the growth of the width against the covariance of position and momentum."""
    predicted = m.width[0] ** 2 + 2 * integral(m.covariance, t) / mass
    off = np.sqrt(np.maximum(predicted, 0)) / m.width - 1
    free = m.alone
    worst = int(np.argmax(np.abs(off * free)))
    coarse = quadrature_error(m.covariance, t) / mass > 0.2 * _WIDTH * m.width.min() ** 2
    if abs(off[worst] * free[worst]) <= _WIDTH or coarse:
        return [], []
    message = (
        f"The width at t = {t[worst]:.4g} is {m.width[worst]:.4g}, but the phase of the packet makes it "
        f"{m.width[worst] * (1 + off[worst]):.4g}."
    )
    cure = "Look at the factor ħ/2m dx² of the kinetic term, and at the step: is it dt or dt/2?"
    return [Finding("spreading", message, {"t": t[worst], "row": worst, "relative error": -off[worst]}, cure)], []


def energy(m: Moments, t: np.ndarray) -> tuple[list[Finding], list[str]]:
    """Hold the energy against its first value."""
    scale = float(np.max(m.kinetic[m.alone]) + np.ptp(m.energy - m.kinetic))
    off = np.where(m.alone, (m.energy - m.energy[0]) / scale, 0.0)
    worst = int(np.argmax(np.abs(off)))
    if abs(off[worst]) <= _ENERGY:
        return [], [f"The energy, {m.energy[0]:.6g}, is kept to {abs(off[worst]):.1g} of what is exchanged."]
    message = (
        f"The energy goes from {m.energy[0]:.5g} to {m.energy[worst]:.5g} at t = {t[worst]:.4g}, with a potential that "
        "does not depend on time."
    )
    cure = "Refine grid and step; or, if the potential does move, leave the laws that need a constant one aside."
    return [Finding("energy", message, {"t": t[worst], "row": worst, "relative": off[worst]}, cure)], []


def against_exact(psi, x, t, m, frequency, mass, hbar) -> tuple[list[Finding], list[str], tuple[Table, ...]]:
    """Compare with the exact packet, if the run starts from a Gaussian in free space or in a parabola about zero."""
    start = fit_gaussian(psi[0], x, m, hbar)
    if start.misfit > 1e-3:
        return [], [f"The start is no Gaussian (distance {start.misfit:.2g}); no exact packet to compare with."], ()
    truth = exact_rows(x, t, start, frequency, mass, hbar)
    weights = cells(x)
    size = m.norm[0]
    last = len(t) - 1 if m.alone.all() else max(0, int(np.argmin(m.alone)) - 1)
    distance = np.sqrt(np.abs(psi - truth) ** 2 @ weights) / size
    overlap = (truth.conj() * psi) @ weights / size**2
    # What is left when a common phase is given away: the error of |ψ|² and of the local phase.
    shape = np.sqrt(np.maximum(0, 1 + (m.norm / size) ** 2 - 2 * np.abs(overlap)))
    exact_moments = measure(truth, x, np.zeros(len(x)), hbar)
    widths = m.width / exact_moments.width - 1
    rows = tuple(
        (t[i], m.width[i], exact_moments.width[i], distance[i], np.angle(overlap[i]))
        for i in np.unique(np.linspace(0, last, min(6, last + 1)).astype(int))
    )
    columns = ("time", "width", "exact width", "distance from the exact packet", "phase ahead of it")
    tables = (Table("Against the exact Gaussian packet", columns, rows),)
    where = "in the parabola" if frequency else "in free space"
    notes = [
        f"Started from a Gaussian of width {start.sigma:.6g} {where}, the run is {distance[last]:.3g} away from the "
        f"exact packet at t = {t[last]:.4g} (L2 distance); its width is {widths[last]:+.2%} off."
    ]
    if (m.peaks[: last + 1] == 1).all():
        notes.append(
            "|ψ|² has a single peak at all times. Zeros and dips of Re ψ are those of cos(phase), and the phase turns."
        )
    evidence = {
        "t": t[last],
        "row": last,
        "frequency": frequency,
        "distance": distance[last],
        "width": m.width[last],
        "exact": exact_moments.width[last],
    }
    if abs(widths[last]) > _WIDTH:
        ratio = _clock(t, m, start, frequency, mass, hbar, last)
        hint = "" if ratio is None else f" It spreads as if time ran {ratio:.3g} times as fast."
        message = (
            f"The width at t = {t[last]:.4g} is {m.width[last]:.4g}, that of the exact packet "
            f"{exact_moments.width[last]:.4g}.{hint}"
        )
        cure = (
            "A factor 2 means dt for dt/2, or ħ²/m for ħ²/2m; a few per cent mean a grid or a step that is too coarse."
        )
        return [Finding("spreading", message, evidence, cure)], notes, tables
    if distance[last] > 0.5 and shape[last] < 0.1 * distance[last]:
        message = (
            f"|ψ|² is right, but at t = {t[last]:.4g} the whole phase is {np.angle(overlap[last]):+.3g} rad off: a "
            "constant energy is added, or psi was multiplied by a phase."
        )
        return [Finding("phase", message, evidence, "Harmless for densities; look for an offset in V.")], notes, tables
    if distance[last] > 0.5:
        message = f"At t = {t[last]:.4g} the run is {distance[last]:.3g} away from the exact packet (L2 distance)."
        cure = "Refine grid and step, or raise their orders; if nothing changes, look at signs and factors."
        return [Finding("inaccurate", message, evidence, cure)], notes, tables
    return [], notes, tables


def fit_gaussian(psi: np.ndarray, x: np.ndarray, m: Moments, hbar: float) -> Gaussian:
    """Return the Gaussian with the moments of a wave function."""
    center, sigma, momentum = float(m.position[0]), float(m.width[0]), float(m.momentum[0]) / hbar
    k = momentum
    for _ in range(3):  # the discrete derivative underestimates; what is left of the phase tells by how much
        flat = psi * np.exp(-1j * k * (x - center))
        k += float((flat.conj() * derivative(flat[None], x)[0]).imag @ cells(x) / (np.abs(psi) ** 2 @ cells(x)))
    packet = (2 * np.pi * sigma**2) ** -0.25 * np.exp(-((x - center) ** 2) / (4 * sigma**2) + 1j * k * (x - center))
    height = complex((packet.conj() @ psi) / (packet.conj() @ packet))
    misfit = float(np.linalg.norm(psi - height * packet) / np.linalg.norm(psi))
    return Gaussian(center, sigma, k, height, misfit)


def exact_rows(x, t, start: Gaussian, frequency: float, mass: float, hbar: float) -> np.ndarray:
    """Return the exact packet at every time, (saves, n)."""
    state = {"center": start.center, "sigma": start.sigma, "momentum": start.momentum, "mass": mass, "hbar": hbar}
    law = partial(exact.squeezed_state, frequency=frequency) if frequency else exact.free_packet
    rows = jax.jit(jax.vmap(partial(law, **state), (None, 0)))(jnp.asarray(x), jnp.asarray(t - t[0]))
    return start.height * np.asarray(rows)


def _clock(t, m, start, frequency, mass, hbar, last) -> float | None:
    """Return how many times too fast time runs, judged by the width in free space."""
    if frequency or m.width[last] <= start.sigma:
        return None
    grown = np.sqrt((m.width[last] / start.sigma) ** 2 - 1)
    return float(grown * 2 * mass * start.sigma**2 / (hbar * (t[last] - t[0])))


def _oscillator(v: np.ndarray, x: np.ndarray, mass: float) -> float | None:
    """Return the frequency of V = m ω² x²/2, zero for free space, or None for any other potential."""
    stiffness = float(v @ x**2 / (x**2 @ x**2))
    if np.max(np.abs(v - stiffness * x**2)) > 1e-6 * max(np.max(np.abs(v)), 1e-300) or stiffness < 0:
        return None if v.any() else 0.0
    return float(np.sqrt(2 * stiffness / mass))


def _table(m: Moments, t: np.ndarray) -> Table:
    rows = np.unique(np.linspace(0, len(t) - 1, min(6, len(t))).astype(int))
    cells = tuple((t[i], m.norm[i], m.position[i], m.momentum[i], m.width[i], int(m.peaks[i])) for i in rows)
    return Table("What was measured", ("time", "norm", "position", "momentum", "width", "peaks of |ψ|²"), cells)


def _plain(name: str, values: Any) -> np.ndarray:
    """Return an array as NumPy's, real or complex; JAX would narrow it where single precision is its rule."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        refuse(name, "be an array of numbers", "its rows differ in length or hold something else")
    if array.dtype.kind not in "iufc":
        refuse(name, "be an array of numbers", f"has dtype {array.dtype}")
    return array


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _plain(name, values)
    if array.shape != shape:
        refuse(name, f"have shape {shape}", f"has shape {array.shape}")
    return array.astype(np.result_type(array.dtype, np.float32))


def _axis(name: str, values: Any, at_least: int) -> np.ndarray:
    array = _plain(name, values)
    if array.dtype.kind == "c":
        refuse(name, "be real", f"has dtype {array.dtype}")
    if array.ndim != 1:
        refuse(name, "have 1 axis", f"has shape {array.shape}")
    if len(array) < at_least:
        refuse(name, f"have at least {at_least} elements", f"has {len(array)}")
    if not np.isfinite(array).all():
        refuse(name, "be finite", f"holds {array[~np.isfinite(array)][0]}")
    check_increasing(name, array)
    return array if array.dtype == np.float32 else array.astype(float)
