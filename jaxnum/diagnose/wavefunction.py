"""The arrays of a finished Schrödinger run, held against what must be true of them.

    ∫|ψ|² dx = const,    d⟨x⟩/dt = ⟨p⟩/m,    d⟨p⟩/dt = -⟨∂V/∂x⟩,    dσ²/dt = 2 cov(x, p)/m

and, for a Gaussian that starts in free space or in a parabola, the exact packet. Width and centre are judged by these
laws, which are exact; what looks odd in Re ψ alone is checked against the phase of the exact packet.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import as_array, check_increasing, check_positive, check_uniform, refuse
from jaxnum.diagnose.report import Diagnosis, Finding, Table
from jaxnum.schrodinger import exact

_NORM = 1e-6  # drift of the norm that no rounding in double precision explains
_WIDTH = 0.02  # relative error of width and of centre (in widths) that is worth a finding
_EDGE = 1e-6  # probability near the ends above which walls matter


class Moments(NamedTuple):
    """Measured at every time, (saves,)."""

    norm: np.ndarray
    position: np.ndarray
    width: np.ndarray
    momentum: np.ndarray
    force: np.ndarray  # -⟨∂V/∂x⟩
    covariance: np.ndarray  # of position and momentum
    edge: np.ndarray  # probability in the outer two per cent of the grid, either side
    peaks: np.ndarray  # maxima of |ψ|² above a hundredth of the largest


class Gaussian(NamedTuple):
    """The Gaussian that the run starts from, and how well it fits."""

    center: float
    sigma: float
    momentum: float
    height: complex  # factor in front of the normalized packet
    misfit: float  # relative distance from the first row


def wavefunction(psi: Any, x: Any, t: Any, potential: Any = None, *, mass: float = 1.0, hbar: float = 1.0) -> Diagnosis:
    """Examine the arrays of a finished run.

    Args:
        psi: Wave functions, (saves, n), the first one being the start; complex.
        x: Uniform grid, (n,).
        t: Increasing times, (saves,).
        potential: V at the grid points, (n,), or None for free space.
        mass: Particle mass.
        hbar: Reduced Planck constant.

    Returns:
        Diagnosis with findings `not-complex`, `nonfinite`, `norm`, `ehrenfest`, `spreading`, `phase`, `inaccurate` and
        `boundary`; what is right stands in the notes, with the distance from the exact packet where there is one.

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
    x = as_array("x", np.asarray(x), ndim=1, min_size=9)
    check_uniform("x", x)
    t = as_array("t", np.asarray(t), ndim=1, min_size=2)
    check_increasing("t", t)
    psi = as_array("psi", np.asarray(psi), complex_ok=True, finite=False, shape=(len(t), len(x)))
    x, t, psi = np.asarray(x, float), np.asarray(t, float), np.asarray(psi)
    v = np.zeros(len(x))
    if potential is not None:
        v = np.asarray(as_array("potential", np.asarray(potential), shape=(len(x),)), float)
    subject = f"a run of {len(t)} saved times on {len(x)} points"
    finite = np.isfinite(psi).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        message = f"psi is not finite from row {row}, t = {t[row]:.4g}, on."
        return Diagnosis(subject, (Finding("nonfinite", message, {"row": row}, "A unitary step cannot do that."),))
    if not np.iscomplexobj(psi):
        message = "psi is real, and a wave function that moves or spreads is complex."
        cure = "Keep it in a complex array; assigning complex numbers into a real one drops their imaginary parts."
        return Diagnosis(subject, (Finding("not-complex", message, {}, cure),))
    if not np.any(psi[0]):
        refuse("psi", "start from something", "is zero in its first row")
    moments = measure(psi, x, v, hbar)
    findings: list[Finding] = []
    notes: list[str] = []
    for law in (norm, ehrenfest, spreading, boundary):
        found, note = law(moments, t, mass)
        findings += found
        notes += note
    tables = (_table(moments, t),)
    if (state := _oscillator(v, x, mass)) is not None:
        found, note, more = against_exact(psi, x, t, moments, state, mass, hbar)
        findings += [f for f in found if not findings or f.code != "inaccurate"]
        notes += note
        tables += more
    return Diagnosis(subject, tuple(findings), tuple(notes), tables)


def measure(psi: np.ndarray, x: np.ndarray, v: np.ndarray, hbar: float) -> Moments:
    """Return the moments of every row; derivatives are of fourth order."""
    dx = (x[-1] - x[0]) / (len(x) - 1)
    density = np.abs(psi) ** 2
    total = density.sum(axis=1)
    mean = density @ x / total
    spread = np.sqrt((density * (x - mean[:, None]) ** 2).sum(axis=1) / total)
    flow = hbar * (psi.conj() * _slope(psi, dx)).imag
    momentum = flow.sum(axis=1) / total
    covariance = (flow * (x - mean[:, None])).sum(axis=1) / total
    force = -(density @ _slope(v[None], dx)[0]) / total
    width = max(2, len(x) // 50)
    edge = (density[:, :width].sum(axis=1) + density[:, -width:].sum(axis=1)) / total
    top = density > 0.01 * density.max(axis=1, keepdims=True)
    rises = np.diff(density, axis=1) > 0
    peaks = ((rises[:, :-1] & ~rises[:, 1:]) & top[:, 1:-1]).sum(axis=1)
    return Moments(np.sqrt(dx * total), mean, spread, momentum, force, covariance, edge, peaks)


def norm(m: Moments, t: np.ndarray, _mass: float) -> tuple[list[Finding], list[str]]:
    """Hold the norm against its first value."""
    drift = m.norm / m.norm[0] - 1
    worst = int(np.argmax(np.abs(drift)))
    if abs(drift[worst]) <= _NORM:
        one = abs(m.norm[0] - 1) < 1e-6
        also = "" if one else f" It is {m.norm[0]:.6g}, not 1: probabilities need dividing by its square."
        return [], [f"The norm is kept to {abs(drift[worst]):.2g}.{also}"]
    steady = np.polyfit(t, np.log(m.norm), 1)[0]
    message = f"The norm changes by {drift[worst]:+.3g} until t = {t[worst]:.4g}, at a rate of {steady:+.3g} per time."
    near = m.edge[: worst + 1].max() > _EDGE
    cure = (
        "The packet is at an end then: look at the rows of the two end points."
        if near
        else "Compare the two matrices of the step: the right one must be the conjugate of the left one."
    )
    return [Finding("norm", message, {"drift": drift[worst], "t": t[worst], "rate": steady}, cure)], []


def ehrenfest(m: Moments, t: np.ndarray, mass: float) -> tuple[list[Finding], list[str]]:
    """Hold the motion of the centre against the momentum, and that against the force."""
    moved = m.position - m.position[0] - _integral(m.momentum, t) / mass
    pushed = m.momentum - m.momentum[0] - _integral(m.force, t)
    scale = np.maximum(m.width, np.max(np.abs(m.position - m.position[0])))
    kick = max(np.max(np.abs(m.momentum)), 1 / (2 * m.width[0]), np.max(np.abs(_integral(m.force, t))))
    x_off, p_off = np.abs(moved) / scale, np.abs(pushed) / kick
    free = m.edge < _EDGE  # a wall pushes, too
    coarse = _quadrature_error(m.momentum, t) / mass > 0.2 * _WIDTH * scale.min()
    notes = []
    for what, off, by in (("position", x_off * free, moved), ("momentum", p_off * free, pushed)):
        worst = int(np.argmax(off))
        if off[worst] <= _WIDTH or coarse:
            continue
        message = (
            f"Ehrenfest's theorem fails: at t = {t[worst]:.4g} the mean {what} is {by[worst]:+.3g} away from where "
            f"{'the momentum carries it' if what == 'position' else 'the force takes it'}."
        )
        cure = "Look at the sign of i, at ħ and m in the kinetic term, and at the sign of V."
        return [Finding("ehrenfest", message, {"t": t[worst], f"{what} off by": by[worst]}, cure)], []
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
    predicted = m.width[0] ** 2 + 2 * _integral(m.covariance, t) / mass
    off = np.sqrt(np.maximum(predicted, 0)) / m.width - 1
    free = m.edge < _EDGE
    worst = int(np.argmax(np.abs(off * free)))
    coarse = _quadrature_error(m.covariance, t) / mass > 0.2 * _WIDTH * m.width.min() ** 2
    if abs(off[worst] * free[worst]) <= _WIDTH or coarse:
        return [], []
    message = (
        f"The width at t = {t[worst]:.4g} is {m.width[worst]:.4g}, but the phase of the packet makes it "
        f"{m.width[worst] * (1 + off[worst]):.4g}."
    )
    cure = "Look at the factor ħ/2m dx² of the kinetic term, and at the step: is it dt or dt/2?"
    return [Finding("spreading", message, {"t": t[worst], "relative error": -off[worst]}, cure)], []


def boundary(m: Moments, t: np.ndarray, _mass: float) -> tuple[list[Finding], list[str]]:
    """Say whether the packet comes near the ends."""
    worst = int(np.argmax(m.edge))
    if m.edge[0] > 1e-3:
        message = f"The run starts with {m.edge[0]:.2g} of its probability in the outer two per cent of the grid."
        cure = "Widen the grid, or start further inside."
        return [Finding("boundary", message, {"probability": m.edge[0]}, cure)], []
    if m.edge[worst] > _EDGE:
        row = int(np.argmax(m.edge > _EDGE))
        return [], [f"From t = {t[row]:.4g} on the ends matter: up to {m.edge[worst]:.2g} of the probability is there."]
    return [], [f"The ends are never reached: at most {m.edge[worst]:.2g} of the probability is near them."]


def against_exact(psi, x, t, m, frequency, mass, hbar) -> tuple[list[Finding], list[str], tuple[Table, ...]]:
    """Compare with the exact packet, if the run starts from a Gaussian in free space or in a parabola about zero."""
    start = fit_gaussian(psi[0], x, m, hbar)
    if start.misfit > 1e-3:
        return [], [f"The start is no Gaussian (distance {start.misfit:.2g}); no exact packet to compare with."], ()
    truth = exact_rows(x, t, start, frequency, mass, hbar)
    dx = (x[-1] - x[0]) / (len(x) - 1)
    size = m.norm[0]
    free = np.maximum.accumulate(m.edge) < _EDGE
    last = len(t) - 1 if free.all() else max(0, int(np.argmin(free)) - 1)
    distance = np.sqrt(dx * (np.abs(psi - truth) ** 2).sum(axis=1)) / size
    overlap = dx * (truth.conj() * psi).sum(axis=1) / size**2
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
    evidence = {"t": t[last], "distance": distance[last], "width": m.width[last], "exact": exact_moments.width[last]}
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
        dx = x[1] - x[0]
        k += float((flat.conj() * _slope(flat[None], dx)[0]).imag.sum() / (np.abs(psi) ** 2).sum())
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


def _slope(y: np.ndarray, dx: float) -> np.ndarray:
    """Return the derivative along the last axis: fourth order inside, second order near the ends."""
    slope = np.gradient(y, dx, axis=-1, edge_order=2)
    slope[:, 2:-2] = (8 * (y[:, 3:-1] - y[:, 1:-3]) - (y[:, 4:] - y[:, :-4])) / (12 * dx)
    return slope


def _integral(y: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return ∫y dt from the first time to each, by the trapezoidal rule with a correction from the slopes."""
    step = np.diff(t)
    slope = np.gradient(y, t, edge_order=min(2, len(t) - 1))
    cells = step * (y[1:] + y[:-1]) / 2 - step**2 * np.diff(slope) / 12
    return np.concatenate([[0.0], np.cumsum(cells)])


def _quadrature_error(y: np.ndarray, t: np.ndarray) -> float:
    """Return about how much an integral over all times may be off."""
    step = np.diff(t)
    slope = np.gradient(y, t, edge_order=min(2, len(t) - 1))
    return float(np.sum(np.abs(step**2 * np.diff(slope) / 12)))


def _table(m: Moments, t: np.ndarray) -> Table:
    rows = np.unique(np.linspace(0, len(t) - 1, min(6, len(t))).astype(int))
    cells = tuple((t[i], m.norm[i], m.position[i], m.momentum[i], m.width[i], int(m.peaks[i])) for i in rows)
    return Table("What was measured", ("time", "norm", "position", "momentum", "width", "peaks of |ψ|²"), cells)
