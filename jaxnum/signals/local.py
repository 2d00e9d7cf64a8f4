"""Local least squares: a polynomial through the neighbourhood of every sample.

    minimize  Σ_j w_j K((x_j - x_i)/b) (y_j - Σ_k c_k (x_j - x_i)^k)²,    value = c_0,  d-th derivative = d! c_d

The fit is linear in y: value_i = Σ_j r_ij y_j. The row r_i is built from polynomials orthogonal under the local
weights (the three-term recurrence of Stieltjes), which needs no matrix, keeps polynomials of its degree to rounding,
also at the ends and on irregular samples, and has derivatives in everything.

Cost: n rows of 2 * window + 1 samples, each degree + 1 passes; rows are done in blocks and recomputed in reverse
mode, so memory stays at one block. Where the bandwidth is known, the window ends where the Gaussian has fallen
below rounding, and is rounded up to a power of two so that few bandwidths compile anew; a traced bandwidth takes
all samples, n² numbers of work, unless `window` says otherwise.

References:
    Fan & Gijbels (1996), Local Polynomial Modelling and Its Applications, https://doi.org/10.1201/9780203748725
    Savitzky & Golay (1964), https://doi.org/10.1021/ac60214a047
    Gorry (1990), on the ends, https://doi.org/10.1021/ac00205a007
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_count, check_positive, check_uniform, refuse
from jaxnum._typing import is_traced
from jaxnum.signals.convolution import correlate

_BLOCK = 1 << 18  # numbers in one block of rows: stays in cache, and in memory, whatever n is


class Fit(NamedTuple):
    """What a method says about one signal; every array has one entry per sample but `trace`.

    `variance` is that of the wanted derivative, `fitted_variance` that of the curve, for unit noise; `residual` says
    how badly the equation of a method that has one is missed.
    """

    value: Any
    variance: Any
    fitted: Any
    fitted_variance: Any
    trace: Any
    residual: Any = 0.0


class Plan(NamedTuple):
    """What is known before tracing: the samples on each side that take part, and whether all rows inside are alike."""

    window: int
    uniform: bool = False


@partial(jax.tree_util.register_dataclass, data_fields=["bandwidth"], meta_fields=["degree", "window"])
@dataclass(frozen=True)
class LocalPolynomial:
    """Local polynomial with Gaussian weights; the method to start with: any samples, right up to the ends.

    On uniform samples, away from the ends, degrees 0 and 1 give the same value, and so do 2 and 3; degrees 1 and 2
    the same slope, and so do 3 and 4. An odd `degree - derivative` costs nothing inside and is better at the ends
    and on irregular samples, at more noise there. Every degree more makes the ends noisier: read the standard error.

    Attributes:
        bandwidth: Standard deviation of the Gaussian weights, in units of x.
        degree: Degree of the polynomial; at least the order of the derivative wanted.
        window: Samples on each side that take part; None for all whose weight is above rounding.
    """

    bandwidth: ArrayLike
    degree: int = 2
    window: int | None = field(default=None, kw_only=True)

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["LocalPolynomial", Plan]:
        """Check the settings against the samples; return them in the dtype of `x`, and the window to use."""
        bandwidth = as_bandwidth(self.bandwidth, x)
        _check_degree(self.degree, derivative)
        window = choose_window(self.bandwidth, self.window, x, uniform=False)
        check_support(self.bandwidth, window, x, weights, self.degree)
        return replace(self, bandwidth=bandwidth, window=None), Plan(window, is_uniform(x) and is_alike(weights))

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, plan: Plan) -> Fit:
        """Fit all samples; traced."""
        return local_fit(y, x, weights, self.bandwidth, self.degree, derivative, plan)

    def search(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[str, float, float]:
        """Return the parameter that sets the smoothness, and the range of it that makes sense for these samples."""
        return bandwidth_range(x, y, weights)


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["window", "degree"])
@dataclass(frozen=True)
class SavitzkyGolay:
    """Local polynomial through the nearest `window` samples, all alike; at the ends the outermost window is used.

    On uniform samples this is the classical filter. Its response to noise has side lobes that the Gaussian weights
    of `LocalPolynomial` have not, and its width cannot be differentiated: it is there for comparison.

    Attributes:
        window: Number of samples in a window, odd.
        degree: Degree of the polynomial.
    """

    window: int
    degree: int = 2

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["SavitzkyGolay", Plan]:
        """Check the settings against the samples; return them and the window to use."""
        window = as_count("method.window", self.window)
        _check_degree(self.degree, derivative)
        if window % 2 == 0 or window > len(x):
            refuse("method.window", f"be odd and at most the number of samples, {len(x)}", f"is {window}")
        if window <= self.degree:
            refuse("method.window", f"be larger than the degree, {self.degree}", f"is {window}")
        if not is_traced(weights):
            alive = np.concatenate([[0], np.cumsum(np.asarray(weights) > 0)])
            fewest = int(np.min(alive[window:] - alive[:-window]))
            if fewest <= self.degree:
                must = f"leave at least {self.degree + 1} samples of positive weight in every window"
                refuse("method.window", must, f"leaves {fewest}")
        return self, Plan(window // 2, is_uniform(x) and is_alike(weights))

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, plan: Plan) -> Fit:
        """Fit all samples; traced."""
        return local_fit(y, x, weights, None, self.degree, derivative, plan)


def local_fit(y, x, weights, bandwidth, degree: int, derivative: int, plan: Plan) -> Fit:
    """Fit a local polynomial at every sample; weights are Gaussian, or equal where `bandwidth` is None."""
    n, window = len(y), plan.window
    width = min(2 * window + 1, n)
    orders = (0, derivative) if derivative else (0,)
    spacing = (x[-1] - x[0]) / max(n - 1, 1)

    def rows(i):
        """Return the rows of sample i for all orders, what they see, and where it lies."""
        start = jnp.clip(i - window, 0, n - width)
        near = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=width)
        place = start + jnp.arange(width) - i
        # Uniform positions may carry the rounding of a large offset; their mean spacing does not.
        offset = spacing * place.astype(x.dtype) if plan.uniform else near(x) - x[i]
        w = near(weights)
        # The fit knows no scale; this one keeps the powers of t in range for every bandwidth.
        scale = jnp.max(jnp.abs(offset)) if width > 1 else jnp.ones((), x.dtype)
        if bandwidth is not None:
            w = jnp.where(jnp.abs(place) <= window, w * jnp.exp(-0.5 * (offset / bandwidth) ** 2), 0)
        # Below this weight a sample cannot hold up a polynomial: the row would be made of rounding errors.
        enough = jnp.sum(w > jnp.finfo(w.dtype).tiny) > degree
        made = [polynomial_row(offset / scale, w, degree, d) / scale**d for d in orders]
        return [jnp.where(enough, row, jnp.nan) for row in made], near, start

    # Recomputed in reverse mode: the rows of a long signal together would not fit into memory.
    @jax.checkpoint
    def at(i):
        made, near, start = rows(i)
        noise = jnp.where(near(weights) > 0, 1 / jnp.where(near(weights) > 0, near(weights), 1), 0)
        return [(jnp.sum(row * near(y)), jnp.sum(row**2 * noise), row[i - start]) for row in made]

    if plan.uniform and 2 * width < n:
        # One row serves all samples whose window is whole; only the ends have rows of their own, and those see the
        # outermost windows. Cut out and put side by side, so that no loop carries the long signal along.
        cut = lambda a: jnp.concatenate([a[:width], a[n - width :]])  # noqa: E731
        short = cut(y), spacing * jnp.arange(2 * width, dtype=x.dtype), cut(weights)
        ends = local_fit(*short, bandwidth, degree, derivative, plan)
        keep = lambda a, inside: jnp.concatenate([a[:window], inside, a[2 * width - window :]])  # noqa: E731
        made, near, _ = rows(window)

        def whole(row, value, variance):
            inside = correlate(y, row)
            same = jnp.full(len(inside), jnp.sum(row**2) / near(weights)[0], y.dtype)
            return keep(value, inside), keep(variance, same)

        fitted, fitted_variance = whole(made[0], ends.fitted, ends.fitted_variance)
        value, variance = whole(made[-1], ends.value, ends.variance) if derivative else (fitted, fitted_variance)
        return Fit(value, variance, fitted, fitted_variance, ends.trace + (n - 2 * width) * made[0][window])
    parts = map_rows(at, np.arange(n), width)
    (fitted, fitted_variance, diagonal), (value, variance, _) = parts[0], parts[-1]
    return Fit(value, variance, fitted, fitted_variance, jnp.sum(diagonal))


def polynomial_row(t: Float[Array, " n"], w: Float[Array, " n"], degree: int, derivative: int) -> Float[Array, " n"]:
    """Return r with Σ r_j y_j = the derivative at t = 0 of the polynomial fitted to y with weights w."""
    zero = jnp.zeros((), t.dtype)
    before, now = jnp.zeros_like(t), jnp.ones_like(t)
    # Derivatives 0, 1, ... of the orthogonal polynomials at t = 0, carried along by the same recurrence.
    before_here, now_here = [zero] * (derivative + 1), [zero + 1, *[zero] * derivative]
    size = jnp.sum(w)
    row, coupling = now_here[derivative] * w / size, zero
    for _ in range(degree):
        center = jnp.sum(w * t * now**2) / size
        before, now = now, (t - center) * now - coupling * before
        step = [m * now_here[m - 1] if m else zero for m in range(derivative + 1)]
        here = [s - center * a - coupling * b for s, a, b in zip(step, now_here, before_here, strict=True)]
        before_here, now_here = now_here, here
        size, last = jnp.sum(w * now**2), size
        coupling = size / last
        row = row + now_here[derivative] * w * now / size
    return row


def map_rows(function, which: np.ndarray, width: int) -> Any:
    """Apply `function` to row numbers, in blocks that keep memory bounded."""
    block, which = max(1, _BLOCK // width), jnp.asarray(which)
    return jax.vmap(function)(which) if len(which) <= block else jax.lax.map(function, which, batch_size=block)


def stretch(short: Array, n: int, period: int = 1) -> Array:
    """Return `short` with its middle `period` entries repeated until it has `n`: what differs near the ends only."""
    if len(short) == n:
        return short
    half = len(short) // 2 // period * period
    repeats = (n - len(short)) // period
    middle = jnp.broadcast_to(short[half : half + period][None], (repeats, period)).reshape(-1)
    return jnp.concatenate([short[:half], middle, short[half:]])


def is_uniform(x: Any) -> bool:
    """Tell whether positions are known to be uniform."""
    if is_traced(x):
        return False
    try:
        check_uniform("x", x)
    except ValueError:
        return False
    return True


def is_alike(weights: Any) -> bool:
    """Tell whether weights are known to be equal."""
    return not is_traced(weights) and bool(np.ptp(np.asarray(weights)) == 0)


def bandwidth_range(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[str, float, float]:
    """Return the name and the sensible range of a bandwidth: from the longest gap to a quarter of the signal."""
    del y  # a bandwidth has no unit of y
    # Every bandwidth that is tried must bridge the longest gap in the samples.
    low = float(np.max(np.diff(x[weights > 0])))
    return "bandwidth", low, max(float(x[-1] - x[0]) / 4, 2 * low)


def as_bandwidth(bandwidth: Any, x: Array) -> Array:
    """Return a bandwidth in the dtype of `x`, or refuse it; there, it may underflow."""
    check_positive("method.bandwidth", bandwidth)
    tiny = float(jnp.finfo(x.dtype).tiny)
    if not is_traced(bandwidth) and float(bandwidth) < tiny:
        refuse("method.bandwidth", f"be at least {tiny:.2g} in {x.dtype}", f"is {float(bandwidth):g}")
    return jnp.asarray(bandwidth, x.dtype)


def choose_window(bandwidth, window, x, *, uniform: bool) -> int:
    """Return how many samples on each side take part: static, so it cannot follow a traced bandwidth."""
    n = len(x)
    if window is not None:
        window = as_count("method.window", window)
        return window if uniform else min(window, n - 1)
    if is_traced(bandwidth) or is_traced(x):
        return max(n - 1, 1)
    x, eps = np.asarray(x, float), float(jnp.finfo(x.dtype).eps)
    reach = min(float(bandwidth), x[-1] - x[0]) * np.sqrt(-2 * np.log(eps))  # 8.5 bandwidths in double
    if uniform:  # never farther than the signal is long: beyond it there is nothing but copies
        count = np.ceil(min(reach / (x[-1] - x[0]), 1.0) * (n - 1)) if n > 1 else 1
    else:
        count = np.max(np.searchsorted(x, x + reach, "right") - np.arange(n)) - 1
        count = max(count, np.max(np.arange(n) - np.searchsorted(x, x - reach, "left")))
    return min(1 << int(np.ceil(np.log2(max(count, 1)))), max(n - 1, 1))


def check_support(bandwidth, window: int, x, weights, degree: int) -> None:
    """Refuse a bandwidth that leaves some sample with fewer neighbours than the polynomial has coefficients."""
    if is_traced((bandwidth, x, weights)):
        return
    x, alive = np.asarray(x, float), np.asarray(weights) > 0
    if alive.sum() <= degree:
        refuse("y", f"have at least {degree + 1} samples of positive weight for degree {degree}", f"has {alive.sum()}")
    # Six bandwidths away the weight is 1e-8: enough to hold up a polynomial, with digits to spare.
    counts = np.concatenate([[0], np.cumsum(alive)])
    here = np.arange(len(x))
    low = np.maximum(np.searchsorted(x, x - 6 * float(bandwidth), "left"), here - window)
    high = np.minimum(np.searchsorted(x, x + 6 * float(bandwidth), "right"), here + window + 1)
    fewest = counts[high] - counts[low]
    if fewest.min() <= degree:
        at = int(np.argmin(fewest))
        refuse(
            "method.bandwidth",
            f"reach at least {degree + 1} samples of positive weight within 6 bandwidths of every sample",
            f"{float(bandwidth):g} reaches {fewest[at]} at x = {x[at]:g}",
        )


def _check_degree(degree: Any, derivative: int) -> None:
    if as_count("method.degree", degree, at_least=0) < derivative:
        refuse("method.degree", f"be at least the order of the derivative, {derivative}", f"is {degree}")
