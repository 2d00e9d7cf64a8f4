"""Loops that feed themselves, steps that are too long, and schemes for a wave equation."""

from collections.abc import Callable, Iterator

import numpy as np

from diagnosis_corpus.case import Case
from jaxnum import diagnose
from jaxnum.optimize import AveragedMomentum, Momentum, Nesterov

N = 40
H = 1.0 / N


def _heat(r):
    def update(u):
        return u + r * (np.roll(u, 1) - 2 * u + np.roll(u, -1))

    return update


def _root(x):
    with np.errstate(invalid="ignore"):
        return np.sqrt(x - 2.0)


def _linear(eigenvalues):
    q, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(len(eigenvalues),) * 2))
    a = q @ np.diag(eigenvalues) @ q.T
    return lambda x: a @ x + 1.0


def _slope_of_itself(u):
    return 1.0 + 0.05 * np.gradient(u, H)


# Map, start, expected codes, held out.
LOOPS = {
    "explicit heat, r = 0.6": (_heat(0.6), np.cos(np.arange(N) / 3), ("unstable-iteration", "unbounded-map"), False),
    "explicit heat, r = 0.2": (_heat(0.2), np.cos(np.arange(N) / 3), (), False),
    "derivative of itself": (_slope_of_itself, np.linspace(0, 1, N), ("unstable-iteration", "unbounded-map"), False),
    "Picard, stiff": (lambda y: 1.0 - 50.0 * H * y, np.ones(5), ("unstable-iteration",), False),
    "Picard, mild": (lambda y: 1.0 - 10.0 * H * y, np.ones(5), (), False),
    "slow contraction": (_linear([0.99, 0.5, 0.1]), np.ones(3), (), False),
    "cosine": (np.cos, np.array([0.5, 0.9]), (), True),
    "logistic map, period two": (
        lambda x: 3.3 * x * (1 - x),
        np.array([0.4]),
        ("limit-cycle", "unstable-iteration"),
        True,
    ),
    "logistic map, settles": (lambda x: 2.8 * x * (1 - x), np.array([0.4]), (), True),
    "Babylonian root": (lambda x: 0.5 * (x + 2.0 / x), np.array([1.0, 3.0]), (), True),
    "Jacobi, not dominant": (
        lambda x: np.array([3.0 - 2.0 * x[1], 3.0 - 2.0 * x[0]]),
        np.array([0.5, 0.6]),
        ("unstable-iteration",),
        True,
    ),
    "Jacobi, dominant": (lambda x: np.array([(3.0 - x[1]) / 2, (3.0 - x[0]) / 2]), np.array([0.5, 0.6]), (), True),
    "square root of a negative": (_root, np.array([1.0]), ("nonfinite-update",), True),
}

X = np.linspace(0, 1, 30)
LINE = np.stack([np.ones(30), X], axis=1)
FAR = np.stack([np.ones(30), 100 * X], axis=1)


def _squares(a):
    return lambda w: np.mean((a @ w - (1.0 + 2.0 * X)) ** 2)


def _valley(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def _top(a):
    return np.linalg.eigvalsh(2 * a.T @ a / len(a))[-1]


# Loss, start, rule, expected codes, held out. Limits: 2/λ, 2(1+β)/λ, (2+2β)/((1+2β)λ), (2+2β)/((1−β)λ).
RATES = {
    "line, 1 % above": (_squares(LINE), np.zeros(2), 1.01 * 2 / _top(LINE), ("rate-above-limit",), False),
    "line, 1 % below": (_squares(LINE), np.zeros(2), 0.99 * 2 / _top(LINE), (), False),
    "far line, rate of the near one": (_squares(FAR), np.zeros(2), 0.5, ("rate-above-limit",), False),
    "momentum, above": (
        _squares(LINE),
        np.zeros(2),
        (Momentum(0.9), 1.02 * 3.8 / _top(LINE)),
        ("rate-above-limit",),
        False,
    ),
    "momentum, below": (_squares(LINE), np.zeros(2), (Momentum(0.9), 0.9 * 3.8 / _top(LINE)), (), False),
    "Nesterov, above": (
        _squares(LINE),
        np.zeros(2),
        (Nesterov(0.5), 1.02 * 1.5 / _top(LINE)),
        ("rate-above-limit",),
        True,
    ),
    "averaged momentum, below": (
        _squares(LINE),
        np.zeros(2),
        (AveragedMomentum(0.9), 0.9 * 38 / _top(LINE)),
        (),
        True,
    ),
    "averaged momentum, above": (
        _squares(LINE),
        np.zeros(2),
        (AveragedMomentum(0.9), 1.1 * 38 / _top(LINE)),
        ("rate-above-limit",),
        True,
    ),
    "valley, above at the minimum": (_valley, np.array([1.05, 1.1]), 2.3e-3, ("rate-above-limit", "diverged"), True),
    "valley, below": (_valley, np.array([1.05, 1.1]), 1.0e-3, (), True),
}

DX, DT = 0.1, 0.01
GRID = np.arange(-3, 3 + DX / 2, DX)
V = 0.5 * GRID**2


def _matrices(*, sign=1.0, kinetic=1.0, dt_right=DT, off=1.0, cast=complex):
    """Crank-Nicolson, dense, as it is written by hand; the points beyond the ends are zero."""
    n = len(GRID)
    energy = np.zeros((2, n, n))
    for i in range(n):
        for side, k, s in ((0, 1.0, 1.0), (1, kinetic, sign)):
            energy[side, i, i] = k / DX**2 + s * V[i]
            if i > 0:
                energy[side, i, i - 1] = -0.5 * k / DX**2
            if i < n - 1:
                energy[side, i, i + 1] = -0.5 * k / DX**2
    left = np.eye(n) + 0.5j * DT * energy[0]
    right = np.eye(n) - 0.5j * dt_right * energy[1]
    right[7, 8] *= off
    return left.astype(cast), right.astype(cast)


def _swapped():
    return _matrices()[::-1]


def _corner():
    left, right = _matrices()
    left[-1, -1] -= 0.5j * DT / DX**2
    return left, right


def _bands():
    left, right = _matrices()
    return tuple(
        np.stack([np.append(0, np.diag(m, -1)), np.diag(m), np.append(np.diag(m, 1), 0)]) for m in (left, right)
    )


def _ring():
    left, right = _matrices()
    for m, s in ((left, 1), (right, -1)):
        m[0, -1] = m[-1, 0] = -s * 0.25j * DT / DX**2
    return left, right


# Matrices, expected codes, held out.
SCHEMES = {
    "right, dense": (_matrices, (), False),
    "right, bands": (_bands, (), False),
    "right, ring": (_ring, (), True),
    "sign of V on the right": (lambda: _matrices(sign=-1.0), ("potential-sign",), False),
    "kinetic term doubled on the right": (lambda: _matrices(kinetic=2.0), ("kinetic-factor",), False),
    "dt for dt/2 on the right": (lambda: _matrices(dt_right=2 * DT), ("time-step",), False),
    "one entry 10 % off": (lambda: _matrices(off=1.1), ("entry", "off-diagonal", "gain"), True),
    "real by accident": (lambda: tuple(m.real.copy() for m in _matrices()), ("not-complex",), True),
    "swapped": (_swapped, ("swapped",), False),
    "corner": (_corner, ("corner",), True),
}


def _loop(update, x):
    return lambda: diagnose.fixed_point(update, x)


def _rate(loss, start, rule):
    return lambda: diagnose.step_size(loss, start, rule)


def _scheme(make: Callable):
    return lambda: diagnose.scheme(*make(), dx=DX, dt=DT, potential=V)


def cases() -> Iterator[Case]:
    """Yield every case."""
    for name, (update, x, expected, held_out) in LOOPS.items():
        yield Case(f"fixed_point/{name}", expected, held_out, _loop(update, x))
    for name, (loss, start, rule, expected, held_out) in RATES.items():
        yield Case(f"step_size/{name}", expected, held_out, _rate(loss, start, rule))
    for name, (make, expected, held_out) in SCHEMES.items():
        yield Case(f"scheme/{name}", expected, held_out, _scheme(make))
