"""The arrays of a finished Schrödinger run, as numbers: moments, currents, spectra and what they add up to."""

from typing import NamedTuple

import numpy as np

EDGE = 1e-6  # probability near the ends above which walls matter


class Moments(NamedTuple):
    """Measured at every time, (saves,)."""

    norm: np.ndarray
    position: np.ndarray
    width: np.ndarray
    momentum: np.ndarray
    velocity: np.ndarray  # of second differences: ħ sin(k dx)/(m dx), which is slower than ħk/m
    force: np.ndarray  # -⟨∂V/∂x⟩
    covariance: np.ndarray  # of position and momentum
    energy: np.ndarray  # kinetic, potential and of the nonlinearity
    kinetic: np.ndarray
    absorbed: np.ndarray  # rate at which an imaginary potential takes probability away, as a part of it
    edge: np.ndarray  # probability in the outer two per cent of the grid, either side
    first_edge: np.ndarray  # the part of it at the first end
    peaks: np.ndarray  # maxima of |ψ|² above a hundredth of the largest
    alone: np.ndarray  # whether walls and absorbers have had nothing to do with the packet so far


class Spectrum(NamedTuple):
    """What waves a run is made of."""

    limit: float  # π/dx
    fastest: float  # wave number below which 99.9 % of every row lies
    short: float  # largest part of a row beyond 0.6 π/dx
    forward: np.ndarray  # (saves,), part of each row with k > 0


class Flow(NamedTuple):
    """The continuity equation between neighboring rows."""

    jump: np.ndarray  # (saves - 1,), largest probability that moved without a current
    allowance: np.ndarray  # (saves - 1,), what the time between the rows explains
    seam: np.ndarray  # (saves,), probability that crossed every cut without a current: it came around


def measure(
    psi: np.ndarray, x: np.ndarray, v: np.ndarray, hbar: float, mass: float = 1.0, nonlinearity: float = 0.0
) -> Moments:
    """Return the moments of every row; derivatives are of fourth order where the grid is uniform."""
    weights = cells(x)
    density = np.abs(psi) ** 2 * weights
    total = density.sum(axis=1)
    mean = density @ x / total
    spread = np.sqrt((density * (x - mean[:, None]) ** 2).sum(axis=1) / total)
    slope = derivative(psi, x)
    flow = hbar * (psi.conj() * slope).imag * weights
    momentum = flow.sum(axis=1) / total
    covariance = (flow * (x - mean[:, None])).sum(axis=1) / total
    force = -(density @ derivative(v.real[None], x)[0]) / total
    hops = (psi[:, :-1].conj() * psi[:, 1:]).imag * (weights[:-1] + weights[1:]) / 2
    velocity = hbar / mass * (hops / np.diff(x)).sum(axis=1) / total
    kinetic = hbar**2 / (2 * mass) * (np.abs(slope) ** 2 @ weights) / total
    cubic = nonlinearity / 2 * (np.abs(psi) ** 4 @ weights) / total
    energy = kinetic + density @ v.real / total + cubic
    absorbed = -2 / hbar * (density @ v.imag) / total
    width = max(2, len(x) // 50)
    first = density[:, :width].sum(axis=1) / total
    edge = first + density[:, -width:].sum(axis=1) / total
    heights = np.abs(psi) ** 2
    top = heights > 0.01 * heights.max(axis=1, keepdims=True)
    rises = np.diff(heights, axis=1) > 0
    peaks = ((rises[:, :-1] & ~rises[:, 1:]) & top[:, 1:-1]).sum(axis=1)
    alone = np.logical_and.accumulate((edge < EDGE) & (np.abs(total / total[0] - 1) < 1e-4))
    return Moments(
        np.sqrt(total),
        mean,
        spread,
        momentum,
        velocity,
        force,
        covariance,
        energy,
        kinetic,
        absorbed,
        edge,
        first,
        peaks,
        alone,
    )


def spectrum(psi: np.ndarray, x: np.ndarray) -> Spectrum:
    """Return what waves the rows are made of; a non-uniform grid is judged by its widest cells."""
    dx = float(np.max(np.diff(x)))
    n = len(x)
    # Tapered, so that a row that does not vanish at the ends makes no waves of its own.
    taper = np.ones(n)
    ramp = max(2, n // 20)
    taper[:ramp] = np.sin(np.linspace(0, np.pi / 2, ramp)) ** 2
    taper[-ramp:] = taper[:ramp][::-1]
    power = np.abs(np.fft.fft(psi * taper, axis=1)) ** 2
    total = np.maximum(power.sum(axis=1), np.finfo(float).tiny)
    k = 2 * np.pi * np.fft.fftfreq(n, dx)
    limit = np.pi / dx
    order = np.argsort(np.abs(k))
    below = np.cumsum(power[:, order], axis=1) / total[:, None]
    fastest = float(np.max(np.abs(k)[order][np.minimum((below < 0.999).sum(axis=1), n - 1)]))
    short = float(np.max(power[:, np.abs(k) > 0.6 * limit].sum(axis=1) / total))
    return Spectrum(limit, fastest, short, power[:, k > 0].sum(axis=1) / total)


def continuity(psi: np.ndarray, x: np.ndarray, t: np.ndarray, v: np.ndarray, hbar: float, mass: float) -> Flow:
    """Hold what moved through every cut of the grid between two rows against the current there."""
    weights = cells(x)
    total = (np.abs(psi[0]) ** 2 * weights).sum()
    left = np.cumsum(np.abs(psi) ** 2 * weights, axis=1)[:, :-1] / total
    sink = np.cumsum(2 / hbar * v.imag * np.abs(psi) ** 2 * weights, axis=1)[:, :-1] / total
    current = hbar / mass * (psi[:, :-1].conj() * psi[:, 1:]).imag / np.diff(x) / total
    rate = sink - current
    step = np.diff(t)[:, None]
    bend = np.diff(np.gradient(rate, t, axis=0, edge_order=min(2, len(t) - 1)), axis=0) * step**2 / 12
    moved = np.diff(left, axis=0) - step * (rate[1:] + rate[:-1]) / 2 + bend
    margin = max(2, len(x) // 50)
    moved, bend = moved[:, margin:-margin], bend[:, margin:-margin]
    # Through a ring's seam the same amount is missing at every cut.
    seam = np.concatenate([[0.0], np.cumsum(np.median(moved, axis=1))])
    return Flow(np.abs(moved).max(axis=1), np.abs(bend).max(axis=1), seam)


def cells(x: np.ndarray) -> np.ndarray:
    """Return the width of the cell around every point."""
    steps = np.diff(x)
    return np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])


def is_uniform(x: np.ndarray) -> bool:
    """Tell whether the spacing varies by no more than the rounding of positions."""
    steps = np.diff(x)
    slack = 8 * np.finfo(np.float32).eps * np.max(np.abs(x)) if x.dtype == np.float32 else 0.0
    slack = max(slack, 8 * np.finfo(float).eps * np.max(np.abs(x)) + 1e-6 * steps.mean())
    return bool(np.max(np.abs(steps - steps.mean())) <= slack)


def derivative(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the derivative along the last axis: fourth order inside a uniform grid, second order elsewhere."""
    if not is_uniform(x):
        return np.gradient(y, x, axis=-1, edge_order=2)
    dx = (x[-1] - x[0]) / (len(x) - 1)
    slope = np.gradient(y, dx, axis=-1, edge_order=2)
    slope[:, 2:-2] = (8 * (y[:, 3:-1] - y[:, 1:-3]) - (y[:, 4:] - y[:, :-4])) / (12 * dx)
    return slope


def integral(y: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return ∫y dt from the first time to each, by the trapezoidal rule with a correction from the slopes."""
    step = np.diff(t)
    slope = np.gradient(y, t, edge_order=min(2, len(t) - 1))
    cells = step * (y[1:] + y[:-1]) / 2 - step**2 * np.diff(slope) / 12
    return np.concatenate([[0.0], np.cumsum(cells)])


def quadrature_error(y: np.ndarray, t: np.ndarray) -> float:
    """Return about how much an integral over all times may be off."""
    step = np.diff(t)
    slope = np.gradient(y, t, edge_order=min(2, len(t) - 1))
    return float(np.sum(np.abs(step**2 * np.diff(slope) / 12)))
