"""A rotating magnetized planet and its plasma: the four numbers of corotation breakdown.

Lengths along the equator are x = ρ/R, in planetary radii; the plasma turns at ω = w Ω. Everything else is SI.
The four numbers enter the equations through three combinations,

    K  = 8π B² R²/ṁ   [1/mho]           how hard a conductance holds the plasma in corotation
    c₀ = 4 Ω B        [A/m² per mho]    scale of the field-aligned current density above the ionosphere
    I₀ = 8π Ω B R²    [A per mho]       scale of the azimuth-integrated radial current

**Hemispheres.** A conductance Σ is the effective Pedersen conductance of *one* hemisphere, and both hemispheres are
taken to be equal; the radial current is that of both together. Published scripts also use the conductance of both
hemispheres added up: their Hill distance for the same number Σ is 2^(1/4) = 1.19 times smaller.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnum._checks import as_array, check_finite, check_positive, refuse


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class System:
    """A planet with a spin-aligned field and a steady outflow of plasma.

    Attributes:
        field_strength: B, equatorial field at the surface, in T.
        radius: R, in m.
        spin: Ω, angular velocity of the planet, in rad/s.
        mass_loading: ṁ, total outflow of plasma, in kg/s.

    Example:
        >>> from jaxnum.jupiter import JUPITER
        >>> print(f"{JUPITER.coupling:.6e} per mho")
        2.350667e+07 per mho
    """

    field_strength: ArrayLike
    radius: ArrayLike
    spin: ArrayLike
    mass_loading: ArrayLike

    @property
    def coupling(self) -> ArrayLike:
        """K = 8π B² R²/ṁ, per mho."""
        return 8 * math.pi * (self.field_strength * self.radius) ** 2 / self.mass_loading

    @property
    def current_density_scale(self) -> ArrayLike:
        """c₀ = 4 Ω B, A/m² per mho."""
        return 4 * self.spin * self.field_strength

    @property
    def current_scale(self) -> ArrayLike:
        """I₀ = 8π Ω B R², A per mho."""
        return 8 * math.pi * self.spin * self.field_strength * self.radius**2


JUPITER = System(field_strength=426400e-9, radius=71723e3, spin=1.75e-4, mass_loading=1000.0)
"""Jupiter with the constants of the script that this family answers: B = 426 400 nT, R = 71 723 km, Ω = 1.75e-4 rad/s,
ṁ = 1000 kg/s. The radius is kept as it was given; it may be a slip for 71 492 km, the equatorial radius at 1 bar."""

JUPITER_AT_ONE_BAR = System(field_strength=426400e-9, radius=71492e3, spin=1.75e-4, mass_loading=1000.0)
"""Jupiter with its equatorial radius at a pressure of 1 bar, 71 492 km, which published codes use."""

SATURN = System(field_strength=21160e-9, radius=60268e3, spin=1.638e-4, mass_loading=100.0)
"""Saturn: B = 21 160 nT, R = 60 268 km, Ω of 10.66 hours; its outflow is known to a factor of a few, 100 kg/s here."""


def check_system(system: Any) -> None:
    """Refuse what is not a `System` of positive numbers (a spin may point either way but not vanish)."""
    if not isinstance(system, System):
        refuse("system", "be a jaxnum.jupiter.System", f"is {type(system).__name__}")
    for name in ("field_strength", "radius", "spin", "mass_loading"):
        check_positive(f"system.{name}", getattr(system, name))


def check_record(name: str, record: Any, method: str) -> None:
    """Refuse what lacks `method` or hides its numbers from JAX; every number inside must be finite."""
    if isinstance(record, type) or not callable(getattr(record, method, None)):
        what = f"the class {record.__name__}; call it" if isinstance(record, type) else type(record).__name__
        refuse(name, f"have a method `{method}`", f"is {what}")
    if jax.tree_util.all_leaves([record]):
        refuse(name, "be a registered pytree", f"{type(record).__name__} is not; see jax.tree_util.register_dataclass")
    if dataclasses.is_dataclass(record):
        for field in dataclasses.fields(record):
            value = getattr(record, field.name)
            if callable(value):
                continue
            check = as_array if jnp.ndim(value) else check_finite
            check(f"{name}.{field.name}", value)


def in_one_dtype(*records: Any) -> Any:
    """Return the records with all their numbers as arrays of the one dtype that holds them all."""
    leaves = jax.tree.leaves(records)
    kept = [x for x in leaves if hasattr(x, "dtype") and not isinstance(x, np.generic)]
    dtype = jnp.result_type(*kept) if kept else jnp.result_type(float)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return jax.tree.map(lambda x: as_array("parameters", x).astype(dtype), records)
