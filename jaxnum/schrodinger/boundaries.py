"""What happens at the ends of the grid.

The solvers work on the points where the wave function is free: with walls these are the inner points, because it
vanishes at the two end points; on a ring, and where the wave may leave, they are all points.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum._typing import is_traced

_CELLS = 4096  # of the absorber, for its reflection


@dataclass(frozen=True)
class Walls:
    """Hard walls at the first and the last grid point: the wave function is zero there."""


@dataclass(frozen=True)
class Periodic:
    """A ring: the point after the last one is the first one."""


@dataclass(frozen=True)
class Absorber:
    """Two absorbing layers in front of hard walls: a complex potential V - iW.

        W = strength (depth / width)^power

    with the depth counted from the inner edge of a layer, `width` before its wall. What comes back out of a layer is
    what crosses it twice, and what the rising W itself turns back:

        R ≈ exp[-4 m strength width / ((power + 1) ħ² k)]  + the turned-back part,

    for a wave exp(ikx). The first part wants a strong layer and the second a wide one; it is small when the layer is
    some wavelengths wide. `reflection` gives the sum exactly. In units ħ = m = 1, `Absorber(10.0, 5.0)`:

        k      0.5     1       2       4       8
        R      0.11    2e-3    6e-7    1e-7    2e-4

    Attributes:
        width: Width of each layer.
        strength: W at the wall, an energy.
        power: Power with which W rises.
    """

    width: float
    strength: float
    power: int = 2

    def __post_init__(self) -> None:
        for name in ("width", "strength"):
            value = getattr(self, name)
            if is_traced(value):
                refuse(name, "be a Python number", "is traced; pass it outside `jit`")
            check_positive(name, value)
            object.__setattr__(self, name, float(value))
        object.__setattr__(self, "power", as_count("power", self.power))

    def profile(self, x: Array) -> Array:
        """Return W at positions whose first and last are the walls."""
        depth = self.width - jnp.minimum(x - x[0], x[-1] - x)
        return self.strength * (jnp.maximum(depth, 0) / self.width) ** self.power

    def reflection(self, momentum: ArrayLike, *, mass: ArrayLike = 1.0, hbar: ArrayLike = 1.0) -> Array:
        """Return the share of a plane wave that comes back, |r|².

        Solved inwards from the wall by Numerov's recurrence on 4096 cells; the layer must be thin enough, or the wave
        long enough, for a cell to be a small part of a wavelength.

        Args:
            momentum: ħk, any shape, positive.
            mass: Particle mass.
            hbar: Reduced Planck constant.

        Returns:
            Reflection, the shape of `momentum`.

        Example:
            >>> from jaxnum.schrodinger import Absorber
            >>> print(f"{Absorber(10.0, 5.0).reflection(1.0):.1e}")
            1.7e-03
        """
        momentum = as_array("momentum", momentum)
        check_positive("mass", mass)
        check_positive("hbar", hbar)
        real = momentum.dtype
        mass, hbar = jnp.asarray(mass, real), jnp.asarray(hbar, real)
        one = jax.vmap(lambda p: self._reflection(p / hbar, 2 * mass / hbar**2))
        return one(momentum.reshape(-1)).reshape(momentum.shape)

    def _reflection(self, k: Array, scale: Array) -> Array:
        cell = self.width / _CELLS
        depth = jnp.linspace(1.0, 0.0, _CELLS + 1, dtype=k.dtype)
        square = jax.lax.complex(jnp.broadcast_to(k**2, depth.shape), scale * self.strength * depth**self.power)
        weight = 1 + square * (cell**2 / 12)  # Numerov: (w ψ)_{j+1} = (12 - 10 w_j) ψ_j - (w ψ)_{j-1}

        def inwards(carry, weight):
            before, here = carry  # w ψ
            ahead = (12 / weight - 10) * here - before
            # Only the ratio of the two matters, and it must not overflow in a strong layer.
            size = (jnp.abs(ahead) + jnp.abs(here)).astype(ahead.dtype)
            return (here / size, ahead / size), None

        start = (jnp.zeros((), square.dtype), jnp.ones((), square.dtype))
        # The last two points lie in front of the layer, where the wave is r exp(iθj) + exp(-iθj), cos θ as below.
        last = jnp.broadcast_to(weight[-1].real.astype(square.dtype), (1,))
        (before, here), _ = jax.lax.scan(inwards, start, jnp.concatenate([weight[1:], last]))
        theta = jnp.arccos((12 - 10 * weight[-1].real) / (2 * weight[-1].real))
        turn = jax.lax.complex(jnp.cos(theta), jnp.sin(theta))
        back, forth = here - before * turn.conj(), before * turn - here
        return jnp.abs(back / forth) ** 2


@dataclass(frozen=True)
class Transparent:
    """The wave leaves as if the grid went on for ever: exact for the scheme, no reflection but rounding.

    For `Cayley` of order 2 or 4 in time, without a nonlinearity. Outside the grid the potential keeps the value of the
    end point, for all times, and the wave function starts from zero: both are checked, the first where it can be seen,
    the second in the residual, which counts the amplitude that ψ0 has at the ends; about that much comes back.

    The price is a convolution with the whole past of the two end points: work that grows with the square of the number
    of steps (at 10⁴ steps as much as the steps themselves on about 10⁴ points), and two numbers to remember for each
    step and Padé factor. `Reversible()` walks back between the ends and is exact for everything; `Direct()` in reverse
    mode and `Checkpointed()` remember the past many times over.
    """


WALLS = Walls()


_Boundary = Walls | Periodic | Absorber | Transparent


def check_boundary(boundary: Any, *, open_ok: bool = False) -> None:
    """Refuse what is not a boundary; one through which the wave can leave only makes sense in a propagation."""
    kinds = (Walls, Periodic, Absorber, Transparent) if open_ok else (Walls, Periodic)
    if not isinstance(boundary, kinds):
        what = f"the class {boundary.__name__}" if isinstance(boundary, type) else type(boundary).__name__
        names = "`Walls()` or `Periodic()`"
        if open_ok:
            names = "`Walls()`, `Periodic()`, `Absorber(width, strength)` or `Transparent()`"
        refuse("boundary", f"be {names}", f"is {what}")


def is_cyclic(boundary: _Boundary) -> bool:
    """Tell whether the last point has the first one as its neighbor."""
    return isinstance(boundary, Periodic)


def is_open(boundary: _Boundary) -> bool:
    """Tell whether the wave can leave."""
    return isinstance(boundary, Absorber | Transparent)


def free_points(x: Array, boundary: _Boundary) -> Array:
    """Return the values (..., n) at the points where the wave function is free."""
    return x if isinstance(boundary, Periodic | Transparent) else x[..., 1:-1]


def all_points(x: Array, boundary: _Boundary) -> Array:
    """Return values at the free points as values at all points: zero on the walls."""
    if isinstance(boundary, Periodic | Transparent):
        return x
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 1)])
