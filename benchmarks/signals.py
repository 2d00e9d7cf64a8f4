"""Derivatives of noisy test signals against PyNumDiff's and SciPy's, and the speed of long filters against SciPy's.

Accuracy: every method of every package at the best of about 24 values of its parameter, chosen with the true derivative
in hand; the error is the root mean square over the whole signal, ends included, averaged over three noises. Speed: one
warm run, the best of twenty, of a signal of a million samples and of a batch of 64; the last column is the share of the
time that copying the signal takes, at the memory bandwidth measured here. All of them with an allocator that keeps its
memory: new pages from the operating system for 40 MB of results and steps between can take ten times as long as the
filter does. With --fresh-memory the allocator is left as it is, which gives SciPy's single result its old pages back
and jaxnum new ones.

python benchmarks/signals.py [--accuracy | --speed] [--fresh-memory]

PyNumDiff is compared where it is installed (pip install pynumdiff cvxpy); without it, SciPy alone.
"""

import os
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.interpolate import make_smoothing_spline
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter
from stopwatch import stopwatch

import jaxnum
from jaxnum import signals

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pynumdiff
except ImportError:
    pynumdiff = None

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25)  # of the signal's standard deviation
DT, COUNT = 0.01, 400
SEEDS = (1, 2, 3)
# glibc's settings: one heap for all threads, from which nothing goes back.
KEPT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
KEPT |= {"MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_TOP_PAD_": "500000000"}


def test_signals():
    """PyNumDiff's test signals by their formulas: position and velocity at 400 times, 0.01 apart."""
    t = DT * np.arange(COUNT)
    sine = [0.5 * np.sin(2 * np.pi * f * t) for f in (1, 1.7)]
    yield "sine sum", 1 + sum(sine), sum(np.pi * f * np.cos(2 * np.pi * f * t) for f in (1, 1.7))
    # A triangle wave that turns where sin t² does.
    turns = np.concatenate([[0], np.sqrt((np.arange(5) + 0.5) * np.pi), [t[-1] + DT]])
    heights = np.concatenate([[0], (-1.0) ** np.arange(5), [np.sin(t[-1] ** 2)]])
    slope = np.diff(heights) / np.diff(turns)
    yield "triangles", np.interp(t, turns, heights), slope[np.searchsorted(turns, t, "right") - 1]
    rate, capacity, start = 4.0, 2.0, 0.1
    grown = capacity / (1 + (capacity - start) / start * np.exp(-rate * t))
    yield "population", grown, rate * grown * (1 - grown / capacity)

    def cruise(_, state):  # a car under PI control of its speed on a hilly road
        speed, held = state
        error = 0.5 - speed
        return [4 * error + 8 * held - 0.4 * speed - 2 * np.sin(1.5 * _), error]

    found = solve_ivp(cruise, (0, t[-1]), [0.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12)
    yield "PI control", found.y[0], np.array([cruise(a, b)[0] for a, b in zip(t, found.y.T, strict=True)])


def ours():
    """Our methods: name -> (function of one parameter, its values)."""
    t = DT * np.arange(COUNT)
    lengths = np.geomspace(0.01, 0.5, 24)
    families = {
        f"local polynomial {p}": (lambda b, p=p: signals.LocalPolynomial(b, p), lengths) for p in (2, 3, 4, 5, 6)
    }
    families |= {
        f"Whittaker {m}": (lambda s, m=m: signals.Whittaker(s, m), np.geomspace(0.005, 0.35, 24) ** (2 * m))
        for m in (2, 3, 4, 5)
    }
    families["smoothing spline"] = (signals.SmoothingSpline, np.geomspace(0.005, 0.5, 24) ** 4 / DT)
    families |= {
        f"total variation {m}": (lambda s, m=m: signals.TotalVariation(s, m), v)
        for m, v in ((2, np.geomspace(1e-4, 1, 24)), (3, np.geomspace(1e-6, 0.3, 24)))
    }
    for name, (make, values) in families.items():
        run = jax.jit(lambda y, v, make=make: signals.differentiate(y, t, method=make(v), noise=1.0).value)
        yield f"jaxnum {name}", lambda y, v, run=run: np.asarray(run(y, v)), values
    sincs = {6: np.linspace(0.07, 0.8, 24), 4: np.linspace(0.06, 0.8, 24)}
    for p, values in sincs.items():
        run = jax.jit(lambda y, v, p=p: signals.differentiate(y, t, method=signals.ModifiedSinc(v, p, window=90)).value)
        yield f"jaxnum modified sinc {p}", lambda y, v, run=run: np.asarray(run(y, v)), values


def scipys():
    t = DT * np.arange(COUNT)
    windows = np.unique(np.geomspace(5, 201, 24).astype(int) // 2 * 2 + 1)
    for p in (2, 3, 4, 5, 6):
        yield f"SciPy savgol {p}", lambda y, w, p=p: savgol_filter(y, w, p, deriv=1, delta=DT), windows[windows > p + 1]
    spline = lambda y, s: make_smoothing_spline(t, y, lam=s).derivative()(t)  # noqa: E731
    yield "SciPy smoothing spline", spline, np.geomspace(0.005, 0.5, 24) ** 4 / DT
    yield "SciPy gaussian", lambda y, b: gaussian_filter1d(y, b, order=1) / DT, np.geomspace(1, 50, 24)


def pynumdiffs():
    if pynumdiff is None:
        return
    windows = np.unique(np.geomspace(5, 201, 24).astype(int) // 2 * 2 + 1)
    second = lambda f: lambda y, v: f(y, v)[1]  # noqa: E731
    for p in (2, 3, 4, 5, 6):
        smooth = second(lambda y, w, p=p: pynumdiff.savgoldiff(y, DT, p, int(w), max(3, int(w) // 3)))
        yield f"PyNumDiff savgol {p}", smooth, windows[windows > p + 1]
        poly = second(lambda y, w, p=p: pynumdiff.polydiff(y, DT, p, int(w)))
        yield f"PyNumDiff polynomial {p}", poly, windows[windows > p + 6][::2]
    for order in (1, 2, 3):
        rts = second(lambda y, v, order=order: pynumdiff.rtsdiff(y, DT, order, float(v)))
        yield f"PyNumDiff RTS {order}", rts, np.linspace(-1, 16, 24)
    for p in (3, 5):
        yield (
            f"PyNumDiff spline {p}",
            second(lambda y, s, p=p: pynumdiff.splinediff(y, DT, p, s)),
            np.geomspace(1e-3, 50, 24),
        )
    yield "PyNumDiff butterworth", second(lambda y, c: pynumdiff.butterdiff(y, DT, 2, c)), np.geomspace(0.005, 0.5, 24)
    yield "PyNumDiff spectral", second(lambda y, c: pynumdiff.spectraldiff(y, DT, c)), np.geomspace(0.005, 0.4, 24)
    for kernel in ("friedrichs", "gaussian"):
        smooth = second(lambda y, w, kernel=kernel: pynumdiff.kerneldiff(y, DT, kernel, int(w)))
        yield f"PyNumDiff kernel {kernel}", smooth, windows
    if hasattr(pynumdiff, "tvrdiff"):
        for order in (2, 3):
            tv = second(lambda y, g, order=order: pynumdiff.tvrdiff(y, DT, order, g))
            yield f"PyNumDiff total variation {order}", tv, np.geomspace(1e-4, 10, 9)


def best(method, values, samples, slope):
    """Return the smallest error over the parameter, averaged over the noises."""
    errors = []
    for y in samples:
        tries = []
        for v in values:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    error = np.sqrt(np.mean((np.asarray(method(y, v)) - slope) ** 2))
            except Exception:  # a parameter that a package cannot take is no candidate
                continue
            tries.append(error if np.isfinite(error) else np.inf)
        errors.append(min(tries, default=np.inf))
    return np.mean(errors)


def accuracy():
    print("PyNumDiff " + (getattr(pynumdiff, "__version__", "found") if pynumdiff else "is not installed: SciPy alone"))
    print(f"{'signal':<12} {'noise':>6}  {'best of ours':<28} {'error':>8}  {'best of theirs':<28} {'error':>8}  ratio")
    mine, theirs, worst = list(ours()), [*scipys(), *pynumdiffs()], 0.0
    for name, position, slope in test_signals():
        for level in LEVELS:
            noises = [np.random.default_rng(seed).normal(size=COUNT) for seed in SEEDS]
            samples = [position + level * np.std(position) * e for e in noises]
            a = min((best(f, v, samples, slope), who) for who, f, v in mine)
            b = min((best(f, v, samples, slope), who) for who, f, v in theirs)
            worst = max(worst, a[0] / b[0])
            row = f"{name:<12} {level:6.3f}  {a[1].removeprefix('jaxnum '):<28} {a[0]:8.4f}  {b[1]:<28} {b[0]:8.4f}"
            print(f"{row}  {a[0] / b[0]:.3f}", flush=True)
    print(f"largest ratio {worst:.3f}")


def speed():
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}, float64, JAX {jax.__version__}, {jax.local_device_count()} device")
    rng = np.random.default_rng(0)
    for batch, n in ((1, 1_000_000), (64, 100_000)):
        y = rng.normal(size=(batch, n))
        held = jnp.asarray(y)
        copy = jax.jit(lambda a: a + 1.0)
        memory = stopwatch(lambda copy=copy, held=held: copy(held)).best
        print(f"\n{batch} x {n}: read and write once {1e3 * memory:.1f} ms, {16 * y.size / memory / 1e9:.1f} GB/s")
        print(f"{'filter':<34} {'first s':>8} {'jaxnum ms':>10} {'SciPy ms':>9} {'ratio':>6} {'of memory':>9}  off")
        bands = np.zeros((3, n))
        strength, m = 1e4, 2  # a wavelength of 63 samples keeps half
        for a, s in enumerate((1, -2, 1)):
            for b, t in enumerate((1, -2, 1)[: a + 1]):
                bands[a - b, b : n - m + b] += strength * s * t
        bands[0] += 1
        gauss = signals.GaussianKernel(12.0, signals.Reflect(), window=48)
        cases = {
            "Gaussian, sigma 12 (97 samples)": (gauss, lambda y: gaussian_filter1d(y, 12.0, axis=-1)),
            "Savitzky-Golay, 97 samples": (signals.SavitzkyGolay(97, 2), lambda y: savgol_filter(y, 97, 2, axis=-1)),
            "Savitzky-Golay, 31 samples": (signals.SavitzkyGolay(31, 2), lambda y: savgol_filter(y, 31, 2, axis=-1)),
            "Whittaker, order 2 (solveh_banded)": (
                signals.Whittaker(strength),
                lambda y, bands=bands: solveh_banded(bands, y.T, lower=True).T,
            ),
        }
        for name, (method, theirs) in cases.items():
            one = lambda y, method=method: signals.smooth(y, method=method)  # noqa: E731
            run = jax.jit(jax.vmap(one) if batch > 1 else lambda y, one=one: one(y[0]))
            first, mine = stopwatch(lambda run=run, held=held: run(held), repeats=20)
            _, other = stopwatch(lambda theirs=theirs, y=y: theirs(y), repeats=20)
            off = np.max(np.abs(np.asarray(run(held).value) - theirs(y)))
            row = f"{name:<34} {first:8.2f} {1e3 * mine:10.1f} {1e3 * other:9.1f} {mine / other:6.2f}"
            print(f"{row} {memory / mine:9.1%}  {off:.0e}", flush=True)
    print("\njaxnum's time includes standard errors, degrees of freedom and noise; SciPy's is the curve alone.")


def main():
    if "--fresh-memory" not in sys.argv and not KEPT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEPT)
    jaxnum.enable_x64()
    if "--speed" not in sys.argv:
        accuracy()
    if "--accuracy" not in sys.argv:
        speed()


if __name__ == "__main__":
    main()
