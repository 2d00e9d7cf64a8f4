"""Choose a bandwidth or strength from the data alone.

Generalized cross-validation:   V(b) = n Σ w (y - S_b y)² / (n - tr S_b)²
Marginal likelihood (REML):     that of the samples, the penalty being the logarithm of a Gaussian prior, with the noise
                                and what the penalty does not see integrated out

The score is scanned over the logarithm of the parameter, and then followed down to where its derivative, taken
through the smoother, vanishes. The noise is taken to be independent from sample to sample; correlated noise looks
like signal, and the curve comes out too rough. V is flat at its minimum, so that its choice scatters from one noise
to the next; the likelihood scatters less, where the curve is as smooth as its prior says.

References:
    Craven & Wahba (1979), https://doi.org/10.1007/BF01404567
    Wecker & Ansley (1983), the smoothing spline as a prior, https://doi.org/10.1080/01621459.1983.10477935
"""

from dataclasses import dataclass, replace
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
from jaxnum.signals.smooth import checked, known, measure

_SCAN = 24  # parameters in the scan: neighbours differ by less than the valley is wide
_FEWEST = 8  # samples: with fewer the score is noise
_HALVINGS = 24  # of the bracket: what is left is far below the scatter of the choice


@jax.tree_util.register_static
@dataclass(frozen=True)
class CrossValidation:
    """Generalized cross-validation: good prediction of what was not sampled; for every method."""

    def score(self, y, x, method, weights, plan) -> jax.Array:
        """Return log V."""
        fit, squares, _ = measure(y, x, method, weights, 0, plan)
        count = jnp.sum(weights > 0).astype(y.dtype)
        return jnp.log(count * squares) - 2 * jnp.log(count - fit.trace)


@jax.tree_util.register_static
@dataclass(frozen=True)
class MarginalLikelihood:
    """Restricted maximum likelihood: for methods whose penalty is a prior, `Whittaker` and `SmoothingSpline`."""

    def score(self, y, x, method, weights, plan) -> jax.Array:
        """Return minus twice the logarithm of the likelihood, per sample."""
        del plan
        y = jnp.where(weights > 0, y, 0)
        return method.restricted_likelihood(y, x, weights) / jnp.sum(weights > 0).astype(y.dtype)


def choose_bandwidth(
    y: ArrayLike, x: ArrayLike | None = None, method: Any = None, *, weights: Any = None, criterion: Any = None
) -> Solution:
    """Choose the bandwidth or strength of a smoother, with its gradient.

    The choice may be differentiated in `y`, through the equation that makes the score stationary; not where it is at
    an end of the range.

    Args:
        y: Noisy samples, (n,).
        x: Positions, (n,), increasing; None for 0, 1, 2, ...
        method: A method with a bandwidth or a strength, whose own value is only a placeholder.
        weights: One over the variance of each sample, up to a common factor; zero for a missing one.
        criterion: `CrossValidation()`, the default, or `MarginalLikelihood()`.

    Returns:
        Solution whose `value` is the bandwidth in units of x, or the strength; its history holds those scanned, their
        score and its derivative in the logarithm of the parameter. `residual` is the size of that derivative at the
        value chosen. The status is `not_converged` when the best value is at an end of the range.

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
    if isinstance(method, type) or not callable(getattr(method, "search", None)):
        refuse("method", "have a bandwidth or a strength, as LocalPolynomial and Whittaker have", f"is {method!r}")
    criterion = CrossValidation() if criterion is None else criterion
    if isinstance(criterion, type) or not callable(getattr(criterion, "score", None)):
        refuse("criterion", "be CrossValidation() or MarginalLikelihood()", f"is {criterion!r}")
    if isinstance(criterion, MarginalLikelihood) and not hasattr(method, "restricted_likelihood"):
        refuse("method", "have a penalty that is a prior, as Whittaker and SmoothingSpline have", f"is {method!r}")
    if is_traced((x, weights)):
        refuse("x", "be known outside `jit`, and so must `weights`", "one of the two is traced")
    y = as_array("y", y, ndim=1, finite=False, min_size=_FEWEST)
    x = np.arange(len(y), dtype=y.dtype) if x is None else known("x", x, y.shape)
    check_increasing("x", x)
    span = float(x[-1] - x[0])
    # Any value serves to have the other arguments checked; the range is known only after that.
    name = "strength" if hasattr(method, "strength") else "bandwidth"
    tame = {"strength": 1e-6 * (span / len(x)) ** 3, "bandwidth": span}[name]
    method = replace(method, **{name: tame})
    _, _, _, alive, _, _, _ = checked(y, x, method, 0, weights, None)
    if (count := int((alive > 0).sum())) < _FEWEST:
        refuse("weights", f"be positive for at least {_FEWEST} samples", f"they are for {count}")
    name, low, high = method.search(x, y, alive)
    if not 0 < low < high < np.inf:
        refuse("y", "be rough enough for a curve to be smoother", "is a polynomial without noise")
    y, x, method, weights, _, _, plan = checked(y, x, replace(method, **{name: high}), 0, weights, None)
    if isinstance(criterion, MarginalLikelihood):
        plan = None
    limits = jnp.log(jnp.asarray([low, high], y.dtype))
    rest = (criterion, name, plan)
    chosen, scan, scores, slopes = _search(y, x, method, weights, limits, rest=rest)
    slope = _slope(chosen, y, x, method, weights, rest=rest)
    at_end = (chosen <= limits[0] + 1e-3) | (chosen >= limits[1] - 1e-3)
    status = Status.first((~jnp.isfinite(slope), Status.nonfinite), (at_end, Status.not_converged))
    history = History(**{name: jnp.exp(scan)}, score=scores, slope=slopes)
    return Solution(jnp.exp(chosen), history, jnp.abs(slope), _SCAN + _HALVINGS, status)


def _score(logarithm, y, x, method, weights, rest):
    criterion, name, plan = rest
    return criterion.score(y, x, replace(method, **{name: jnp.exp(logarithm)}), weights, plan)


@partial(jax.jit, static_argnames="rest")
def _slope(logarithm, y, x, method, weights, *, rest):
    return jax.grad(_score)(jax.lax.stop_gradient(logarithm), y, x, method, weights, rest)


@partial(jax.jit, static_argnames="rest")
def _search(y, x, method, weights, limits, *, rest):
    @jax.custom_jvp
    def best(y, x, method, weights, limits):
        def both(logarithm):
            return jax.value_and_grad(_score)(logarithm, y, x, method, weights, rest)

        scan = jnp.linspace(limits[0], limits[1], _SCAN)
        scores, slopes = jax.lax.map(both, scan)
        lowest = jnp.nanargmin(scores)

        def halve(bracket, _):
            left, right = bracket
            middle = (left + right) / 2
            downhill = both(middle)[1] < 0
            return (jnp.where(downhill, middle, left), jnp.where(downhill, right, middle)), None

        bracket = scan[jnp.maximum(lowest - 1, 0)], scan[jnp.minimum(lowest + 1, _SCAN - 1)]
        (left, right), _ = jax.lax.scan(halve, bracket, length=_HALVINGS)
        return (left + right) / 2, scan, scores, slopes

    @best.defjvp
    def _(at, along):
        # The slope of the score stays zero: that says how its root moves. The scan is not followed.
        found = best(*at)
        slope = lambda b, *known: jax.grad(_score)(b, *known, rest)  # noqa: E731
        bend = jax.grad(slope)(found[0], *at[:4])
        _, change = jax.jvp(partial(slope, found[0]), at[:4], along[:4])
        return found, (-change / bend, *(jnp.zeros_like(a) for a in found[1:]))

    return best(y, x, method, weights, limits)
