"""Differentiate noisy samples: the derivative of a smooth curve through them, never differences of them.

Differences of neighbouring samples amplify noise by one over the spacing, so that a finer grid gives a worse
derivative. The derivative of a local polynomial amplifies it by one over the bandwidth (to the power 3/2 per root of
the sample density), and says by how much.
"""

from typing import Any

from jax.typing import ArrayLike

from jaxnum._checks import as_count
from jaxnum.signals.smooth import Smoothed, smooth


def differentiate(
    y: ArrayLike,
    x: ArrayLike | None = None,
    *,
    method: Any,
    order: int = 1,
    weights: ArrayLike | None = None,
    noise: ArrayLike | None = None,
) -> Smoothed:
    """Give a derivative of the smooth curve through noisy samples.

    For a local polynomial an odd `degree - order` is the textbook choice: degree 2 for a slope; degree 4 for one as
    free of bias as a value of degree 2. Its standard error at the ends grows fast with the degree.

    Args:
        y: Samples, (n,).
        x: Positions, (n,), increasing; None for 0, 1, 2, ...
        method: How to smooth; see `smooth`.
        order: Order of the derivative, at least 1.
        weights: One over the variance of each sample, up to a common factor; zero for a missing one.
        noise: Standard deviation of a sample of weight one; None estimates it from the residuals.

    Returns:
        Smoothed whose `value` is the derivative, in units of y per x to the power `order`.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum import signals
        >>> x = jnp.linspace(0.0, 1.0, 50)
        >>> slope = signals.differentiate(x**2, x, method=signals.LocalPolynomial(0.1))
        >>> bool(jnp.max(jnp.abs(slope.value - 2 * x)) < 1e-11)
        True
    """
    return smooth(y, x, method=method, derivative=as_count("order", order), weights=weights, noise=noise)
