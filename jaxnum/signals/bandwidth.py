"""Choose a bandwidth from the data alone, by generalized cross-validation.

    V(b) = n Σ w (y - S_b y)² / (n - tr S_b)²

its logarithm scanned over bandwidths from one spacing to a quarter of the signal, then followed down to where its
derivative, taken through the smoother, vanishes. The noise is taken to be independent from sample to sample;
correlated noise looks like signal to V, and the bandwidth comes out too small. V is flat at its minimum, so that the
choice scatters from one noise to the next.

Reference:
    Craven & Wahba (1979), https://doi.org/10.1007/BF01404567
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnum._checks import as_array, check_increasing, refuse
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.signals.smooth import checked, measure

_SCAN = 24  # bandwidths in the scan: neighbours differ by less than V's valley is wide
_FEWEST = 8  # samples: with fewer the score is noise
_HALVINGS = 24  # of the bracket: what is left is far below the scatter of the choice


def choose_bandwidth(y: ArrayLike, x: ArrayLike | None = None, method: Any = None, *, weights: Any = None) -> Solution:
    """Choose the bandwidth of a smoother by generalized cross-validation, with its gradient.

    Args:
        y: Noisy samples, (n,).
        x: Positions, (n,), increasing; None for 0, 1, 2, ...
        method: `LocalPolynomial` or `GaussianKernel`, whose own bandwidth is only a placeholder.
        weights: One over the variance of each sample, up to a common factor; zero for a missing one.

    Returns:
        Solution whose `value` is the bandwidth in units of x; its history holds the bandwidths scanned, their score
        log V and its derivative in log b. `residual` is the size of that derivative at the bandwidth chosen. The
        status is `not_converged` when the best bandwidth is at an end of the range.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> import numpy as np
        >>> from jaxnum import signals
        >>> x = np.linspace(0.0, 1.0, 100)
        >>> y = np.sin(6 * x) + 0.1 * np.random.default_rng(0).normal(size=100)
        >>> chosen = signals.choose_bandwidth(y, x, signals.LocalPolynomial(0.1))
        >>> chosen.ok, bool(0.05 < chosen.value < 0.2)
        (True, True)
    """
    if not hasattr(method, "bandwidth"):
        refuse("method", "have a bandwidth, as LocalPolynomial and GaussianKernel have", f"is {method!r}")
    if is_traced((y, x, weights)):
        refuse("y", "be known outside `jit`", "is traced; differentiate `smooth` at the bandwidth chosen instead")
    y = as_array("y", y, ndim=1, finite=False, min_size=_FEWEST)
    x = np.arange(len(y), dtype=y.dtype) if x is None else as_array("x", x, shape=y.shape)
    check_increasing("x", x)
    span = float(x[-1] - x[0])
    y, x, method, weights, _, _, window = checked(y, x, replace(method, bandwidth=span), 0, weights, None)
    present = np.asarray(x)[np.asarray(weights) > 0]
    if len(present) < _FEWEST:
        refuse("weights", f"be positive for at least {_FEWEST} samples", f"they are for {len(present)}")
    # Every bandwidth that is tried must bridge the longest gap in the samples.
    low = float(np.max(np.diff(present)))
    high = max(span / 4, 2 * low)
    value, history, slope = _search(y, x, method, weights, jnp.asarray([low, high], y.dtype), window=window)
    at_end = (value <= low * 1.001) | (value >= high * 0.999)
    status = Status.first((~jnp.isfinite(slope), Status.nonfinite), (at_end, Status.not_converged))
    return Solution(value, history, jnp.abs(slope), _SCAN + _HALVINGS, status)


@partial(jax.jit, static_argnames="window")
def _search(y, x, method, weights, limits, *, window):
    def score(log_bandwidth):
        fit, residual, _ = measure(y, x, replace(method, bandwidth=jnp.exp(log_bandwidth)), weights, 0, window)
        count = jnp.sum(weights > 0).astype(y.dtype)
        return jnp.log(count * residual) - 2 * jnp.log(count - fit.trace)

    both = jax.value_and_grad(score)
    scan = jnp.linspace(jnp.log(limits[0]), jnp.log(limits[1]), _SCAN)
    scores, slopes = jax.lax.map(both, scan)
    best = jnp.nanargmin(scores)
    left, right = scan[jnp.maximum(best - 1, 0)], scan[jnp.minimum(best + 1, _SCAN - 1)]

    def halve(bracket, _):
        left, right = bracket
        middle = (left + right) / 2
        downhill = both(middle)[1] < 0
        return (jnp.where(downhill, middle, left), jnp.where(downhill, right, middle)), None

    (left, right), _ = jax.lax.scan(halve, (left, right), length=_HALVINGS)
    chosen = (left + right) / 2
    history = History(bandwidth=jnp.exp(scan), score=scores, slope=slopes)
    return jnp.exp(chosen), history, both(chosen)[1]
