"""Corotation breakdown in a dipole with constant conductance, in closed form.

    w = √π t erfcx(t),   t = (x_H/x)²,   x_H = (2π Σ B² R²/ṁ)^(1/4)

x_H is the Hill distance in radii; Σ belongs to one hemisphere (2π; with both hemispheres added up it would be π). The
equation w' + (2/x + 4x_H⁴/x⁵) w = 4x_H⁴/x⁵ has this as its one solution that stays bounded as x → 0.

References:
    Hill (1979), Journal of Geophysical Research 84, 6554, https://doi.org/10.1029/JA084iA11p06554
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, check_positive, refuse
from jaxnum._typing import is_traced
from jaxnum.jupiter.system import check_system

PEAK_CURRENT_AT = 1.7409043
"""Where the radial current peaks and j changes sign, in Hill distances, whatever Σ and ṁ are."""
PEAK_CURRENT = 0.3344018
"""Largest radial current, in units of I₀ Σ/x_H; hence it scales as Σ^(3/4) ṁ^(1/4)."""
PEAK_DENSITY_AT = 1.0203219
"""Where the upward current density peaks, in Hill distances."""
PEAK_DENSITY = 0.3055444
"""Largest upward current density, in units of 4 Ω B Σ; it does not depend on ṁ."""


def hill_distance(system: Any, sigma: ArrayLike) -> Array:
    """Return the Hill distance, where corotation breaks down, in planetary radii.

    Args:
        system: Planet.
        sigma: Effective Pedersen conductance of one hemisphere, in mho.

    Returns:
        x_H.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> from jaxnum import jupiter
        >>> print(f"{jupiter.exact.hill_distance(jupiter.JUPITER, 0.05):.6f}")
        23.282268
    """
    check_system(system)
    check_positive("sigma", sigma)
    return jnp.asarray(system.coupling * sigma / 4) ** 0.25


def corotation(x: ArrayLike, x_hill: ArrayLike) -> Array:
    """Return ω/Ω of a dipole with constant conductance.

    Args:
        x: Equatorial distances in planetary radii.
        x_hill: Hill distance in planetary radii.

    Returns:
        w = ω/Ω at each x.

    Raises:
        ValueError: If a distance is not positive.

    Example:
        >>> from jaxnum import jupiter
        >>> print(f"{jupiter.exact.corotation(23.0, 23.0):.9f}")
        0.757872156
    """
    return _both(_scaled(x, x_hill))[0]


def lag(x: ArrayLike, x_hill: ArrayLike) -> Array:
    """Return 1 - ω/Ω, without losing digits where the plasma nearly corotates.

    Args:
        x: Equatorial distances in planetary radii.
        x_hill: Hill distance in planetary radii.

    Returns:
        1 - w at each x.

    Raises:
        ValueError: If a distance is not positive.
    """
    return _both(_scaled(x, x_hill))[1]


def current(x: ArrayLike, system: Any, sigma: ArrayLike) -> Array:
    """Return the radial current of both hemispheres, integrated over azimuth, in A.

    Args:
        x: Equatorial distances in planetary radii.
        system: Planet.
        sigma: Conductance of one hemisphere, in mho.

    Returns:
        I_ρ = I₀ Σ (1 - w)/x.

    Raises:
        ValueError: If an argument is not positive.
    """
    return system.current_scale * sigma * lag(x, hill_distance(system, sigma)) / as_array("x", x)


def current_density(x: ArrayLike, system: Any, sigma: ArrayLike) -> Array:
    """Return the field-aligned current density just above the ionosphere, upward positive, in A/m².

    Args:
        x: Equatorial distances in planetary radii.
        system: Planet.
        sigma: Conductance of one hemisphere, in mho.

    Returns:
        j = c₀ Σ [3w - 1 - 4t²(1 - w)].

    Raises:
        ValueError: If an argument is not positive.
    """
    x_hill = hill_distance(system, sigma)
    u = lag(x, x_hill)
    return system.current_density_scale * sigma * (2 - 3 * u - 4 * _scaled(x, x_hill) ** 2 * u)


def _scaled(x: ArrayLike, x_hill: ArrayLike) -> Array:
    x = as_array("x", x)
    if not is_traced(x) and bool(jnp.any(x <= 0)):
        refuse("x", "be positive", f"holds {float(jnp.min(x)):g}")
    check_positive("x_hill", x_hill)
    return (jnp.asarray(x_hill, x.dtype) / x) ** 2


@jax.jit
def _both(t: Array) -> tuple[Array, Array]:
    """Return w = √π t erfcx(t) and 1 - w, each without cancellation.

    `jax.scipy.special.erfcx` is avoided: it returned exact zeros near t = 26.6 (jax-ml/jax issue 38607).
    """
    # exp(t²) overflows at t = 26 in double and 9 in single precision, and erfc underflows with it: change to the series
    # well before. Twelve terms of it leave 2e-15 at t = 12 and 2e-9 at t = 5.
    far = t > (12.0 if t.dtype.itemsize == 8 else 5.0)
    small = jnp.where(far, jnp.ones_like(t), t)  # the branch not taken must not overflow: its derivative counts too
    near = math.sqrt(math.pi) * small * jnp.exp(small**2) * erfc(small)
    ratio = 0.5 / jnp.where(far, t, jnp.full_like(t, 20.0)) ** 2
    series, term = jnp.zeros_like(t), -jnp.ones_like(t)
    for n in range(1, 13):
        term = -term * (2 * n - 1) * ratio
        series = series + term
    return jnp.where(far, 1 - series, near), jnp.where(far, series, 1 - near)
