"""Axisymmetric magnetic fields in the equatorial plane, each given by its flux function alone.

    x b(x) = -df/dx,    f = F/(B R²),  b = |B_z|/B,  x = ρ/R

f is the magnetic flux through the plane beyond x (up to 2π) and sin²θ = f is the colatitude of its foot in the
ionosphere. The field is never written down a second time: it is the derivative of f, by autodiff.

References:
    Nichols & Cowley (2004), Annales Geophysicae 22, 1799, https://doi.org/10.5194/angeo-22-1799-2004
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array

_GAMMA_3_5 = 1.489192248812817  # Γ(3/5)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dipole:
    """A dipole on the spin axis: f = 1/x, b = 1/x³.

    Example:
        >>> from jaxnum.jupiter import Dipole
        >>> print(Dipole().flux(2.0), Dipole().field(2.0))
        0.5 0.125
    """

    def flux(self, x: ArrayLike) -> Array:
        """f(x) in units of B R²."""
        return 1 / as_array("x", x)

    def field(self, x: ArrayLike) -> Array:
        """b(x) in units of B."""
        return strength(self, as_array("x", x))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CurrentSheet:
    """A dipole that fades into a current sheet: B_z = B₀ x⁻³ exp(-(x/x₀)^(5/2)) + A x⁻ᵐ.

    The defaults are the fit used for Jupiter's middle magnetosphere; public codes that cite Nichols & Cowley (2004)
    hold the same numbers.

    Attributes:
        inner: B₀, in T.
        scale: x₀, in planetary radii.
        outer: A, in T.
        exponent: m, above 2.
        flux_at_infinity: Flux function far out, in T times R²; what decides where the sheet maps to in the ionosphere.
        field_strength: B by which flux and field are divided, in T; that of the `System` it is used with.

    Example:
        >>> from jaxnum.jupiter import CurrentSheet
        >>> sheet = CurrentSheet()
        >>> print(f"{sheet.flux(20.0) * 426400:.1f} nT R^2")
        37689.2 nT R^2
    """

    inner: ArrayLike = 3.335e-4
    scale: ArrayLike = 14.501
    outer: ArrayLike = 5.4e-5
    exponent: ArrayLike = 2.71
    flux_at_infinity: ArrayLike = 2.841e-5
    field_strength: ArrayLike = 426400e-9

    def flux(self, x: ArrayLike) -> Array:
        """f(x) in units of B R²."""
        x = as_array("x", x)
        t = (x / self.scale) ** 2.5
        inner = self.inner / (2.5 * self.scale) * _gamma(t)
        outer = self.outer / (self.exponent - 2) * x ** (2 - self.exponent)
        return (self.flux_at_infinity + inner + outer) / self.field_strength

    def field(self, x: ArrayLike) -> Array:
        """b(x) in units of B."""
        return strength(self, as_array("x", x))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FluxFunction:
    """Any axisymmetric field, given by a function of x that returns f in units of B R².

    Attributes:
        function: JAX function, elementwise; compared by identity, so pass the same one again to compile once.

    Example:
        >>> from jaxnum.jupiter import FluxFunction
        >>> print(FluxFunction(lambda x: 1 / x).field(2.0))
        0.125
    """

    function: Callable = field(metadata={"static": True})

    def flux(self, x: ArrayLike) -> Array:
        """f(x) in units of B R²."""
        return self.function(as_array("x", x))

    def field(self, x: ArrayLike) -> Array:
        """b(x) in units of B."""
        return strength(self, as_array("x", x))


@jax.custom_jvp
def _gamma(t: Array) -> Array:
    """Return the upper incomplete gamma function Γ(-2/5, t)."""
    # By the recurrence Γ(a+1, t) = a Γ(a, t) + tᵃ e⁻ᵗ, because gammaincc wants a positive order.
    return (_GAMMA_3_5 * jax.scipy.special.gammaincc(0.6, t) - t**-0.4 * jnp.exp(-t)) / -0.4


@_gamma.defjvp
def _gamma_jvp(primals, tangents):
    # JAX would get the same by differentiating its series term by term, in twenty seconds of compilation.
    (t,), (dt,) = primals, tangents
    return _gamma(t), -(t**-1.4) * jnp.exp(-t) * dt


def derivative(fn: Callable[[Array], Array], x: Array) -> Array:
    """Return the derivative of an elementwise function."""
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))[1]


def strength(field, x: Array) -> Array:
    """Return b(x) = -f'(x)/x of any field that has a flux."""
    return -derivative(field.flux, x) / x


def colatitude(field: Any, x: ArrayLike) -> Array:
    """Return the ionospheric colatitude to which the equatorial distance x maps, θ = arcsin √f.

    Args:
        field: Magnetic field: `Dipole()`, `CurrentSheet()`, or anything with `flux(x)`.
        x: Equatorial distances in planetary radii, any shape.

    Returns:
        θ in radians, from the pole at f = 0; NaN where f is not between 0 and 1.

    Example:
        >>> import math
        >>> from jaxnum.jupiter import CurrentSheet, colatitude
        >>> print(f"{math.degrees(colatitude(CurrentSheet(), 20.0)):.2f}")
        17.30
    """
    return jnp.arcsin(jnp.sqrt(field.flux(as_array("x", x))))


def log_product(field, s: Array) -> Array:
    """Return ln(f b) at s = ln x, whose slope is what the inner edge needs."""
    x = jnp.exp(s)
    return jnp.log(field.flux(x) * strength(field, x))
