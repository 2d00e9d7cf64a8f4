"""Wave functions to start from."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, check_finite, check_positive


def gaussian_packet(
    x: ArrayLike, *, center: ArrayLike = 0.0, sigma: ArrayLike = 1.0, momentum: ArrayLike = 0.0
) -> Array:
    """Return a Gaussian wave packet of norm one.

        ψ(x) = (2πσ²)^(-1/4) exp(-(x - x₀)²/4σ² + i k₀ (x - x₀))

    Args:
        x: Positions.
        center: Mean position x₀.
        sigma: Standard deviation of |ψ|².
        momentum: Mean wave number k₀, the momentum divided by ħ.

    Returns:
        Complex array of the shape of `x`.

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> from jaxnum.schrodinger import Grid, gaussian_packet, norm
        >>> grid = Grid(-10.0, 10.0, 101)
        >>> print(f"{norm(gaussian_packet(grid.x, momentum=2.0), grid):.6f}")
        1.000000
    """
    x = as_array("x", x)
    check_finite("center", center)
    check_positive("sigma", sigma)
    check_finite("momentum", momentum)
    center, sigma, momentum = (jnp.asarray(v, x.dtype) for v in (center, sigma, momentum))
    u = (x - center) / sigma
    exponent = jnp.exp(-(u**2) / 4) / (2 * jnp.pi * sigma**2) ** 0.25
    phase = momentum * (x - center)
    return jax.lax.complex(exponent * jnp.cos(phase), exponent * jnp.sin(phase))
