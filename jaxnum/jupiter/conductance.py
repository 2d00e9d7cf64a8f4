"""How precipitating electrons change the conductance of the ionosphere: Σ as a function of the current density j.

A law is a record with `value(j)`; j in A/m² just above the ionosphere, upward positive, and Σ in mho of one hemisphere.
Its slope is its derivative by autodiff. At most one magnetosphere belongs to an outer condition when the law
increases strictly; `smallest_slope` measures that.

References:
    Nichols & Cowley (2004), Annales Geophysicae 22, 1799, https://doi.org/10.5194/angeo-22-1799-2004
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_finite, check_increasing, refuse
from jaxnum._typing import is_traced
from jaxnum.jupiter.fields import derivative
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype

_STRONGEST = 1e-2  # A/m²; ten thousand times what is observed
_UNIT = 1e-8  # A/m²; inverses are sought in asinh(j/unit), which spans weak and strong currents of either sign alike


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Constant:
    """A conductance that does not care about precipitation.

    Attributes:
        sigma: Σ, in mho.

    Example:
        >>> from jaxnum.jupiter import Constant
        >>> print(Constant(0.05).value(1e-8), Constant(0.05).slope(1e-8))
        0.05 0.0
    """

    sigma: ArrayLike

    def value(self, j: ArrayLike) -> Array:
        """Σ(j), in mho."""
        j = as_array("j", j)
        return jnp.broadcast_to(jnp.asarray(self.sigma, j.dtype), j.shape)

    def slope(self, j: ArrayLike) -> Array:
        """dΣ/dj, in mho per A/m²."""
        return derivative(self.value, as_array("j", j))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SmoothRamp:
    """A ramp that bends smoothly up near j = 0 and smoothly flattens at strong currents.

        Σ = Σ₀ + (s₁ + s₂ [1 + (j/j₂)⁸]^(-1/8)) r(j),    r = (√(j² + j₁²) + j)/2

    The smoothed ramp r does not vanish at j = 0, so Σ(0) = Σ₀ + (s₁ + s₂) j₁/2: twice Σ₀ with the default numbers.

    Attributes:
        background: Σ₀, what is left under strong downward currents, in mho.
        bend: j₁, width of the bend at zero current, in A/m².
        saturation: j₂, current density where the rise slows down, in A/m².
        late_slope: s₁, slope beyond saturation, in mho per A/m².
        extra_slope: s₂, what the slope has before saturation on top of that, in mho per A/m².

    Example:
        >>> from jaxnum.jupiter import SmoothRamp
        >>> print(f"{SmoothRamp().value(0.0):.3f} mho")
        0.100 mho
    """

    background: ArrayLike = 0.05
    bend: ArrayLike = 1e-8
    saturation: ArrayLike = 2.5e-7
    late_slope: ArrayLike = 1e5
    extra_slope: ArrayLike = 9.9e6

    def value(self, j: ArrayLike) -> Array:
        """Σ(j), in mho."""
        j = as_array("j", j)
        root = jnp.sqrt(j**2 + self.bend**2)
        # Below zero √(j² + j₁²) + j is a difference of nearly equal numbers; its other form is not.
        down = j < 0
        ramp = jnp.where(down, 0.5 * self.bend**2 / (root - jnp.where(down, j, 0.0)), 0.5 * (root + j))
        rise = self.late_slope + self.extra_slope * (1 + (j / self.saturation) ** 8) ** -0.125
        return self.background + rise * ramp

    def slope(self, j: ArrayLike) -> Array:
        """dΣ/dj, in mho per A/m²."""
        return derivative(self.value, as_array("j", j))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NicholsCowley2004:
    """A fit of the effective conductance to an ionospheric model, no feedback from downward currents.

        Σ_P = Σ_P0 + 0.16 j + 2.45 q²/(1 + q²) / (1 + exp(-(j - 0.22)/0.12)),   q = j/0.075,   Σ = (1 - k) Σ_P

    with j in µA/m² and j > 0; constant below. The coefficients are **still to be checked against the paper**: they
    were written from memory of it, and no result that matters should rest on them before that.

    Attributes:
        background: Σ_P0, Pedersen conductance without precipitation, in mho.
        slippage: k, by how much the neutral atmosphere turns with the plasma.
    """

    background: ArrayLike = 0.0275
    slippage: ArrayLike = 0.5

    def value(self, j: ArrayLike) -> Array:
        """Σ(j), in mho."""
        j = as_array("j", j)
        micro = jnp.maximum(j, jnp.zeros_like(j)) * 1e6
        q = (micro / 0.075) ** 2
        pedersen = 0.16 * micro + 2.45 * q / (1 + q) / (1 + jnp.exp(-(micro - 0.22) / 0.12))
        return (1 - self.slippage) * (self.background + pedersen)

    def slope(self, j: ArrayLike) -> Array:
        """dΣ/dj, in mho per A/m²; zero for downward currents."""
        return derivative(self.value, as_array("j", j))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tabulated:
    """A law through given points: the monotone cubic of Fritsch and Carlson between them, constant beyond.

    It increases between two points wherever the values do, and overshoots nowhere. Its slope is continuous but bends at
    the points, which costs a global polynomial digits: look at the `residual` of the solve.

    Attributes:
        current_density: j of the points, increasing, (n,), in A/m².
        conductance: Σ of the points, (n,), in mho.

    Reference:
        Fritsch & Carlson (1980), SIAM Journal on Numerical Analysis 17, 238, https://doi.org/10.1137/0717021; slopes by
        Fritsch & Butland (1984), https://doi.org/10.1137/0905021, as in `scipy.interpolate.PchipInterpolator`.

    Example:
        >>> from jaxnum.jupiter import Tabulated
        >>> law = Tabulated([-1e-8, 0.0, 1e-8], [0.05, 0.1, 0.2])
        >>> print(law.value(0.0), law.value(1.0))
        0.1 0.2
    """

    current_density: ArrayLike
    conductance: ArrayLike

    def value(self, j: ArrayLike) -> Array:
        """Σ(j), in mho."""
        j = as_array("j", j)
        x, y = (jnp.asarray(a, j.dtype) for a in (self.current_density, self.conductance))
        step = x[1:] - x[:-1]
        rise = (y[1:] - y[:-1]) / step
        same = rise[1:] * rise[:-1] > 0
        left, right = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
        one = jnp.ones_like(rise[1:])
        inner = (left + right) / (left / jnp.where(same, rise[:-1], one) + right / jnp.where(same, rise[1:], one))
        zero = jnp.zeros_like(y[:1])  # level at the ends, where the law goes on as a constant
        slope = jnp.concatenate([zero, jnp.where(same, inner, jnp.zeros_like(one)), zero])
        at = jnp.clip(j, x[0], x[-1])
        cell = jnp.clip(jnp.searchsorted(x, at, side="right") - 1, 0, x.shape[0] - 2)
        t = (at - x[cell]) / step[cell]
        m0, m1 = slope[cell] * step[cell], slope[cell + 1] * step[cell]
        jump = y[cell + 1] - y[cell]
        return y[cell] + t * (m0 + t * (3 * jump - 2 * m0 - m1 + t * (m0 + m1 - 2 * jump)))

    def slope(self, j: ArrayLike) -> Array:
        """dΣ/dj, in mho per A/m²; zero beyond the points."""
        return derivative(self.value, as_array("j", j))


def check_law(name: str, law: Any) -> None:
    """Refuse what is not a conductance law."""
    check_record(name, law, "value")
    if isinstance(law, Tabulated):
        x = as_array(f"{name}.current_density", law.current_density, ndim=1, min_size=3)
        as_array(f"{name}.conductance", law.conductance, shape=x.shape)
        check_increasing(f"{name}.current_density", x)


def smallest_slope(law: Any, j_min: float = -1e-6, j_max: float = 2e-6, *, num_points: int = 2001) -> Array:
    """Return the smallest slope of a law between two current densities: positive where it increases strictly.

    Args:
        law: Conductance law.
        j_min: Lower end, in A/m².
        j_max: Upper end, in A/m².
        num_points: Points looked at, evenly spaced in asinh(j/1e-8 A/m²) so that the bend near zero is resolved.

    Returns:
        Smallest dΣ/dj seen, in mho per A/m².

    Raises:
        ValueError: If an argument is not what it should be.

    Example:
        >>> from jaxnum.jupiter import SmoothRamp, smallest_slope
        >>> print(f"{smallest_slope(SmoothRamp()):.0f}")
        126
    """
    check_law("law", law)
    check_finite("j_min", j_min)
    check_finite("j_max", j_max)
    if not is_traced((j_min, j_max)) and not j_min < j_max:
        refuse("j_max", f"lie above `j_min`, {j_min:g}", f"is {j_max:g}")
    num_points = as_count("num_points", num_points, at_least=2)
    return _smallest_slope(*in_one_dtype(law, j_min, j_max), num_points)


@partial(jax.jit, static_argnames="num_points")
def _smallest_slope(law, j_min, j_max, num_points):
    j = _UNIT * jnp.sinh(jnp.linspace(jnp.arcsinh(j_min / _UNIT), jnp.arcsinh(j_max / _UNIT), num_points))
    return jnp.min(derivative(law.value, j))


def infimum(law: Any) -> Array:
    """Return the conductance that is left under the strongest downward currents, Σ(-0.01 A/m²), in mho.

    Example:
        >>> from jaxnum.jupiter import SmoothRamp, infimum
        >>> print(f"{infimum(SmoothRamp()):.6f}")
        0.050000
    """
    check_law("law", law)
    return _at_end(law, -_STRONGEST)


def supremum(law: Any) -> Array:
    """Return the conductance that the strongest upward currents produce, Σ(0.01 A/m²), in mho."""
    check_law("law", law)
    return _at_end(law, _STRONGEST)


def _at_end(law, j):
    law = in_one_dtype(law)[0]
    return law.value(jnp.asarray(j, jax.tree.leaves(law)[0].dtype))


def inverse(law: Any, sigma: ArrayLike) -> tuple[Array, Array]:
    """Return the current density at which an increasing law has a given conductance.

    Args:
        law: Conductance law.
        sigma: Conductance in mho, any shape.

    Returns:
        j with Σ(j) = `sigma`, in A/m², and whether there is one within ±0.01 A/m²; where there is none, j is the end
        of that range.

    Raises:
        ValueError: If an argument is not what it should be.

    Example:
        >>> from jaxnum.jupiter import SmoothRamp, inverse
        >>> j, reachable = inverse(SmoothRamp(), 0.2)
        >>> print(f"{SmoothRamp().value(j):.6f}", bool(reachable), bool(inverse(SmoothRamp(), 0.04)[1]))
        0.200000 True False
    """
    check_law("law", law)
    law, sigma = in_one_dtype(law, as_array("sigma", sigma))
    return _inverse(law, sigma)


@jax.jit
def _inverse(law, sigma):
    high = jnp.full(jnp.shape(sigma), jnp.arcsinh(_STRONGEST / _UNIT), sigma.dtype)
    reachable = (law.value(_UNIT * jnp.sinh(-high)) < sigma) & (sigma < law.value(_UNIT * jnp.sinh(high)))

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        below = law.value(_UNIT * jnp.sinh(middle)) < sigma
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, 60, halve, (-high, high))
    j = jax.lax.stop_gradient(_UNIT * jnp.sinh((low + high) / 2))
    slope = jax.lax.stop_gradient(derivative(law.value, j))
    # One Newton step: it polishes the last digits, and its derivative is that of the inverse function. Not where the
    # law is flat: there the bracket is all there is.
    usable = reachable & (slope > 0)
    step = (law.value(j) - sigma) / jnp.where(usable, slope, jnp.ones_like(slope))
    return jnp.where(usable, j - step, j), reachable


def pole_current_density(system: Any, law: Any) -> Array:
    """Return the current density that a dipole magnetosphere approaches far out, where the plasma stops turning.

    It solves j = -4 Ω B Σ(j). As an outer condition it makes the answer independent of where the outer edge is.

    Args:
        system: Planet.
        law: Conductance law, increasing or constant.

    Returns:
        j at the pole, in A/m²; negative, a downward current.

    Raises:
        ValueError: If an argument is not what it should be.

    Example:
        >>> from jaxnum.jupiter import JUPITER, SmoothRamp, pole_current_density
        >>> print(f"{1e6 * pole_current_density(JUPITER, SmoothRamp()):.9f} uA/m^2")
        -0.018669232 uA/m^2
    """
    check_system(system)
    check_law("law", law)
    system, law = in_one_dtype(system, law)
    return _pole(system, law)


@jax.jit
def _pole(system, law):
    scale = system.current_density_scale

    def fixed(j):
        return j + scale * law.value(j)  # increases with j, from minus infinity

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        below = fixed(middle) < 0
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low = -scale * (law.value(jnp.zeros_like(scale)) + 1e-30)
    low, high = jax.lax.fori_loop(0, 60, halve, (low, jnp.zeros_like(scale)))
    j = jax.lax.stop_gradient((low + high) / 2)
    slope = derivative(lambda j: jax.lax.stop_gradient(scale) * law.value(j), j)
    return j - fixed(j) / jax.lax.stop_gradient(1 + slope)
