"""Fixed-point iterations x ← (1 - a) x + a F(x), looked at through their linearization.

    multiplier of a mode:  μ = 1 - a + a g,  g an eigenvalue of F'(x);    stable  <=>  a < 2 Re(1 - g)/|1 - g|²

Everything here works on host arrays and a product v -> F'(x) v, so that F may be JAX or anything callable.

References:
    Saad, Numerical Methods for Large Eigenvalue Problems (2011), https://doi.org/10.1137/1.9781611970739
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import as_count, check_positive
from jaxnum.numerics.lift import lift

DENSE = 256  # up to here a full Jacobian costs less than being clever


class Derivative(NamedTuple):
    """The derivative of a map along a direction, and where it comes from."""

    along: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Function (x, v) -> F'(x) v."""
    truth: str
    """One of "jax", "lifted" and "differences"."""
    error: float
    """Relative disagreement between two independent ways to get it, along one random direction."""


class Spectrum(NamedTuple):
    """Eigenvalues of a derivative, largest magnitude first, their vectors as columns, and a lower bound on ‖F'‖."""

    values: np.ndarray
    vectors: np.ndarray
    norm: float
    exact: bool


def linearize(fn: Callable[[Any], Any], x: np.ndarray, *, seed: int = 0) -> Derivative:
    """Return the derivative of `fn`: by `jvp` where `fn` is JAX or can be retold in it, else by central differences.

    The step of the differences is chosen where two of them agree best: too long a step feels the curvature, too short
    a one the rounding, and how far apart the two are depends on the map.
    """
    direction = np.random.default_rng(seed).standard_normal(x.shape).astype(x.dtype)
    differences, error = _differences(fn, x, direction)
    for truth in ("jax", "lifted"):
        try:
            traced = _tangent(fn if truth == "jax" else lift(fn))
            exact = np.asarray(traced(jnp.asarray(x), jnp.asarray(direction)))
        except Exception:  # NumPy functions refuse tracers with errors of many kinds; all mean the same here
            continue
        measured = differences(x, direction)
        size = max(np.linalg.norm(measured), np.linalg.norm(exact), np.finfo(x.dtype).tiny)
        # Differences that do not even agree among themselves cannot speak against autodiff.
        gap = max(float(np.linalg.norm(exact - measured) / size) - 3 * error, 0.0)
        if truth == "lifted" and gap > 1e-3:
            continue  # the retelling is ours, so the fault would be too
        return Derivative(lambda x, v, f=traced: np.asarray(f(jnp.asarray(x), jnp.asarray(v))), truth, gap)
    return Derivative(differences, "differences", error)


@lru_cache(maxsize=4)  # an iteration is looked at more than once, and compiling costs more than looking
def _tangent(fn):
    return jax.jit(lambda x, v: jax.jvp(fn, (x,), (v,))[1])


def _differences(fn, x, direction):
    eps = float(np.finfo(x.dtype).eps)
    tiny = np.finfo(x.dtype).tiny

    def step_along(x, v, length):
        size = float(np.max(np.abs(x))) or 1.0
        step = x.dtype.type(length * size / max(float(np.max(np.abs(v))), tiny))
        return (np.asarray(fn(x + step * v)) - np.asarray(fn(x - step * v))) / (2 * step)

    lengths = eps ** np.linspace(0.2, 0.65, 8)
    with np.errstate(all="ignore"):
        tries = [step_along(x, direction, length) for length in lengths]
        scale = max(np.linalg.norm(tries[-1]), tiny)
        gaps = [float(np.linalg.norm(a - b) / scale) for a, b in pairwise(tries)]
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    best = int(np.argmin(gaps))
    return (lambda x, v: step_along(x, v, lengths[best + 1])), float(gaps[best])


def jacobian(product: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the derivative as a matrix, column by column."""
    return np.stack([product(row) for row in np.eye(x.size, dtype=x.dtype)], axis=1)


def spectrum(
    product: Callable[[np.ndarray], np.ndarray], x: np.ndarray, *, num_vectors: int, seed: int = 0
) -> Spectrum:
    """Return the eigenvalues of a product that matter: all of them for small `x`, the outer ones by Arnoldi else."""
    if x.size <= DENSE:
        matrix = jacobian(product, x)
        values, vectors = np.linalg.eig(matrix)
        norm = np.linalg.norm(matrix, 2)
    else:
        start = np.random.default_rng(seed).standard_normal(x.size).astype(x.dtype)
        basis, hessenberg = arnoldi(product, start, num_vectors)
        values, vectors = np.linalg.eig(hessenberg[:-1])
        vectors = basis[:-1].T @ vectors
        norm = np.linalg.norm(hessenberg, 2)
    order = np.argsort(-np.abs(values))
    return Spectrum(values[order], vectors[:, order], float(norm), x.size <= DENSE)


def arnoldi(
    product: Callable[[np.ndarray], np.ndarray], start: np.ndarray, num_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `krylov.arnoldi` returns, on the host: for products that JAX cannot trace."""
    m = min(num_steps, start.size)
    basis, hessenberg = np.zeros((m + 1, start.size), start.dtype), np.zeros((m + 1, m), start.dtype)
    basis[0] = start / np.linalg.norm(start)
    for j in range(m):
        w = product(basis[j])
        scale, rows = np.linalg.norm(w), basis[: j + 1]
        h = rows @ w
        w = w - h @ rows
        again = rows @ w  # twice is enough for orthogonality to rounding
        w = w - again @ rows
        length = np.linalg.norm(w)
        hessenberg[: j + 1, j] = h + again
        if not length > 10 * np.finfo(start.dtype).eps * scale:  # the space is invariant: its eigenvalues are exact
            return basis[: j + 2], hessenberg[: j + 2, : j + 1]
        hessenberg[j + 1, j], basis[j + 1] = length, w / length
    return basis, hessenberg


def largest_relaxation(spectrum: Spectrum) -> float:
    """Return the largest stable a; 0 when none is, infinity when nothing but neutral modes (g = 1) is there."""
    values = spectrum.values
    if not spectrum.exact:
        values = values[np.abs(values) >= 0.5 * np.abs(values[0])]  # inner Ritz values are not eigenvalues yet
    away = 1 - values
    away = away[np.abs(away) > 1e-9]  # a neutral mode stays neutral whatever a is
    if away.size == 0:
        return float("inf")
    if np.any(away.real <= 0):
        return 0.0
    return float(np.min(2 * away.real / np.abs(away) ** 2))


class Run(NamedTuple):
    """What the relaxed iteration did: largest change of each pass, the last iterate, and how it ended."""

    changes: np.ndarray
    last: np.ndarray
    passes: int
    ending: str
    """One of "converged", "nonfinite", "growing", "cycle" and "unfinished"."""
    period: int
    middle: np.ndarray
    """Mean over one period of a cycle; else the last finite iterate."""


def iterate(fn: Callable[[Any], Any], x: np.ndarray, relaxation: float, num_passes: int) -> Run:
    """Run the relaxed iteration and tell how it ends."""
    changes, trail = [], [x]
    size = float(np.max(np.abs(x))) or 1.0
    tolerance = 1e3 * float(np.finfo(x.dtype).eps) * size

    def done(ending, period=0):
        middle = np.mean(trail[-period:], axis=0).astype(x.dtype) if period else trail[-1]
        return Run(np.array(changes), trail[-1], len(changes), ending, period, middle)

    with np.errstate(all="ignore"):
        for _ in range(num_passes):
            x = trail[-1] + x.dtype.type(relaxation) * (np.asarray(fn(trail[-1])) - trail[-1])
            change = float(np.max(np.abs(x - trail[-1])))
            if not np.isfinite(x).all():
                return done("nonfinite")
            changes.append(change)
            trail = [*trail[-12:], x]
            if change <= tolerance:
                return done("converged")
            if change > 1e3 * min(changes) and change > 1e2 * size:
                return done("growing")
    for period in range(2, 7):
        if len(trail) > 2 * period:
            back = float(np.max(np.abs(trail[-1] - trail[-1 - period])))
            # A slow contraction that alternates also comes back close to where it was, but not a thousand times closer.
            if changes[-1] > 1e-6 * size and back < 1e-3 * changes[-1]:
                return done("cycle", period)
    return done("unfinished")


def newton(
    fn: Callable[[Any], Any],
    along: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x: np.ndarray,
    *,
    num_steps: int = 30,
) -> tuple[np.ndarray, int | None]:
    """Return a fixed point by Newton on F(x) - x with a full Jacobian, and the steps it took; None when it failed."""
    size = float(np.max(np.abs(x))) or 1.0
    with np.errstate(all="ignore"):
        for step in range(num_steps):
            residual = np.asarray(fn(x)) - x
            if not np.isfinite(residual).all():
                return x, None
            if np.max(np.abs(residual)) <= 1e5 * np.finfo(x.dtype).eps * size:
                return x, step
            matrix = jacobian(partial(along, x), x) - np.eye(x.size, dtype=x.dtype)
            try:
                x = x - np.linalg.solve(matrix, residual).astype(x.dtype)
            except np.linalg.LinAlgError:
                return x, None
    return x, None


@dataclass(frozen=True)
class Anderson:
    """Anderson acceleration: the next iterate from a least-squares combination of the last few.

    It helps a contraction that is slow; it does not tame a map that amplifies short waves.

    Attributes:
        memory: How many earlier changes are combined, at least 1.
        ridge: Relative weight that keeps the least squares solvable when the changes are nearly parallel.

    Reference:
        Walker & Ni (2011), SIAM Journal on Numerical Analysis 49, 1715, https://doi.org/10.1137/10078356X
    """

    memory: int = 5
    ridge: float = 1e-12

    def __post_init__(self) -> None:
        as_count("memory", self.memory)
        check_positive("ridge", self.ridge, zero_ok=True)


class AndersonState(NamedTuple):
    """The last iterates and residuals, in a ring; rows not yet filled are zero."""

    x: jax.Array
    residual: jax.Array
    changes: jax.Array
    """Differences of consecutive iterates, (memory, n)."""
    residual_changes: jax.Array


def anderson_start(method: Anderson, x: jax.Array) -> AndersonState:
    """Return the state before the first pass from the flat vector `x`."""
    rows = jnp.zeros((method.memory, x.size), x.dtype)
    return AndersonState(x, jnp.zeros_like(x), rows, rows)


def anderson_step(
    method: Anderson, state: AndersonState, x: jax.Array, mapped: jax.Array, count: jax.Array
) -> tuple[jax.Array, AndersonState]:
    """Return the next iterate from `mapped` = F(x), and the state; works under `jit`.

    Args:
        method: Settings.
        state: State of the passes before.
        x: Iterate, (n,).
        mapped: What a pass made of it, (n,).
        count: Passes before this one; the first is a plain one.
    """
    residual = mapped - x
    row = (count - 1) % method.memory
    first = count == 0
    changes, residual_changes = (
        jnp.where(first, rows, rows.at[row].set(new - old))
        for rows, new, old in (
            (state.changes, x, state.x),
            (state.residual_changes, residual, state.residual),
        )
    )
    normal = residual_changes @ residual_changes.T
    # Rows still empty get a one on the diagonal, so that the system has one solution and they get no weight.
    size = jnp.diagonal(normal)
    shift = jnp.where(size > 0, method.ridge * jnp.max(size), jnp.ones_like(size))
    weights = jnp.linalg.solve(normal + jnp.diag(shift), residual_changes @ residual)
    following = mapped - weights @ (changes + residual_changes)
    return following, AndersonState(x, residual, changes, residual_changes)


class Mode(NamedTuple):
    """Where an eigenvector lives and how fast it varies."""

    center: float
    """Mean index, weighted by |v|²."""
    spread: float
    """Standard deviation of the index, weighted by |v|²."""
    wavelength: float
    """In cells; infinite for a mode without sign changes."""


def describe_mode(vector: np.ndarray) -> Mode:
    """Return center, spread and wavelength of an eigenvector on a line of samples."""
    weight = np.abs(vector) ** 2
    weight = weight / weight.sum()
    index = np.arange(vector.size)
    center = float(weight @ index)
    spread = float(np.sqrt(weight @ (index - center) ** 2))
    power = np.abs(np.fft.fft(vector)) ** 2
    frequency = np.abs(np.fft.fftfreq(vector.size))
    # The mean frequency, not the highest peak: a random combination of neighboring modes has many peaks.
    mean = float(power @ frequency / power.sum())
    return Mode(center, spread, 1 / mean if mean > 0.5 / vector.size else np.inf)
