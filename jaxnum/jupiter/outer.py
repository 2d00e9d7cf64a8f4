"""What is known at the outer edge: one condition, without which a magnetosphere with feedback is not determined.

A conductance that answers to the current makes two equations out of one, and the second belongs to the outside. There
is no default: the condition is physics, and a loop that seems to need none has it from a stencil.
"""

from dataclasses import dataclass
from typing import Any

import jax
from jax.typing import ArrayLike

from jaxnum._checks import check_finite, check_positive, refuse


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CurrentDensity:
    """Outer condition: the field-aligned current density just above the ionosphere.

    Attributes:
        density: j at the outer edge in A/m², upward positive; `pole_current_density` suits a dipole.
    """

    density: ArrayLike


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RadialCurrent:
    """Outer condition: the radial current of both hemispheres, integrated over azimuth.

    The conductance never falls below that of the strongest downward currents, so a current below I₀ Σ f (1 - w) with
    that Σ cannot be: such a solve is refused, or ends with status `infeasible` where the numbers are traced.

    Attributes:
        current: I_ρ at the outer edge, in A.
    """

    current: ArrayLike


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PoleRegular:
    """Outer condition: the field reaches the pole and nothing special happens there.

    For fields that carry their whole flux to infinity (f → 0), like a dipole: beyond the outer edge the plasma stops
    turning and j tends to `pole_current_density` as 1/x². The answer then does not depend on where the edge is.
    """


Outer = CurrentDensity | RadialCurrent | PoleRegular


def check_outer(outer: Any, allowed: tuple[type, ...]) -> None:
    """Refuse what is not one of the outer conditions allowed, or holds a number that makes no sense."""
    if not isinstance(outer, allowed):
        spelled = {CurrentDensity: "CurrentDensity(j)", RadialCurrent: "RadialCurrent(i)", PoleRegular: "PoleRegular()"}
        names = [spelled[kind] for kind in allowed]
        what = f"the class {outer.__name__}; call it" if isinstance(outer, type) else type(outer).__name__
        refuse("outer", f"be {', '.join(names[:-1])} or {names[-1]}", f"is {what}")
    if isinstance(outer, CurrentDensity):
        check_finite("outer.density", outer.density)
    elif isinstance(outer, RadialCurrent):
        check_positive("outer.current", outer.current)
