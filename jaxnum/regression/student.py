"""Student's t: how many standard errors hold a share of the cases, when the noise itself had to be estimated.

    P(|T| > t) = I_w(ν/2, 1/2),    w = ν/(ν + t²)

Reference:
    Abramowitz & Stegun, Handbook of Mathematical Functions (1964), 26.7.1
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc
from jaxtyping import Array

from jaxnum._checks import refuse
from jaxnum._typing import is_real_number, is_traced


@jax.jit
def two_sided_quantile(level: Array, freedom: Array) -> Array:
    """Return the t that |T| stays below with probability `level`, for any positive number of degrees of freedom."""
    half = jnp.full_like(freedom, 0.5)

    # Bisection in ln t: t spans many decades, and 90 halvings of 100 leave nothing to round.
    def body(_, ends):
        low, high = ends
        middle = (low + high) / 2
        outside = betainc(freedom / 2, half, freedom / (freedom + jnp.exp(2 * middle)))
        return jnp.where(outside > 1 - level, middle, low), jnp.where(outside > 1 - level, high, middle)

    low, high = jax.lax.fori_loop(0, 90, body, (jnp.full_like(freedom, -60.0), jnp.full_like(freedom, 40.0)))
    return jnp.exp((low + high) / 2)


def check_level(level: Any) -> None:
    """Refuse a probability that is not between 0 and 1."""
    if is_traced(level):
        return
    if not is_real_number(level) or not 0 < float(level) < 1:
        refuse("level", "be a probability between 0 and 1", f"is {level!r:.40}")
