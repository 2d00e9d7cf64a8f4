"""A potential that depends on time: V(x, t, args) as the matrices and the kicks of a step want it.

A step of order 2 feels the potential of its middle. One of order 4 is two half steps, each with a mean of the
potentials at Gauss's two points: the commutator-free integrator of Magnus's kind. A splitting feels V at the times of
its kicks.

Reference:
    Blanes & Moan (2006), Applied Numerical Mathematics 56, 1519, https://doi.org/10.1016/j.apnum.2005.11.004
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum._checks import refuse
from jaxnum._typing import is_traced
from jaxnum.schrodinger.boundaries import Absorber, Periodic, Transparent, Walls, free_points
from jaxnum.schrodinger.cayley_flow import Pieces
from jaxnum.schrodinger.splitting import Splitting, angles

# Gauss's two points in a step, and how strongly each half step feels the potentials there.
_EARLY, _LATE = 0.5 - np.sqrt(3) / 6, 0.5 + np.sqrt(3) / 6
_NEAR, _FAR = 0.5 + np.sqrt(3) / 3, 0.5 - np.sqrt(3) / 3


@dataclass(frozen=True)
class Law:
    """A potential as `V(x, t, args)` whose values have the right shape and dtype."""

    fn: Callable
    takes_args: bool

    def __call__(self, x: Array, t: Array, args: Any) -> Array:
        """Return the values at the points, (n,)."""
        values = jnp.asarray(self.fn(x, t, args) if self.takes_args else self.fn(x, t))
        return jnp.broadcast_to(values, x.shape).astype(x.dtype)


def as_law(fn: Callable, x: Array, t: Any, args: Any) -> Law:
    """Dress a potential, and look at what it returns before anything is compiled."""
    try:
        kinds = [p.kind for p in inspect.signature(fn).parameters.values()]
        takes_args = len(kinds) >= 3 or inspect.Parameter.VAR_POSITIONAL in kinds
    except (TypeError, ValueError):
        takes_args = True
    if not takes_args and args is not None:
        refuse("potential", "take `(x, t, args)` because `args` was given", "takes two arguments")
    t = jnp.asarray(t, x.dtype)
    found = jax.eval_shape(lambda x, t, args: jnp.asarray(fn(x, t, args) if takes_args else fn(x, t)), x, t, args)
    if found.shape not in (x.shape, ()):
        refuse("potential", f"return shape {x.shape}", f"returns shape {found.shape}")
    if not jnp.issubdtype(found.dtype, jnp.floating):
        refuse("potential", "return real floating-point values", f"returns {found.dtype}")
    if not is_traced((t, args)):
        values = np.asarray(fn(x, t, args) if takes_args else fn(x, t))
        if not np.isfinite(values).all():
            refuse("potential", "return finite values", f"returns {values[~np.isfinite(values)].flat[0]} at t0")
    return Law(fn, takes_args)


def with_absorber(potential: Array, x: Array, boundary: Any) -> Array:
    """Return the potential at the free points, with the absorber."""
    potential = free_points(potential, boundary)
    if not isinstance(boundary, Absorber):
        return potential
    return jax.lax.complex(potential, jnp.broadcast_to(-free_points(boundary.profile(x), boundary), potential.shape))


@dataclass(frozen=True)
class MovingPieces:
    """What the matrices are made of, of a potential that depends on time."""

    law: Callable
    order: int
    boundary: Walls | Periodic | Absorber | Transparent

    def __call__(self, parameters: tuple, n: Any) -> Pieces:
        """Return those of step n."""
        x, args, t0, dt, kinetic, hbar = parameters
        start = t0 + dt * jnp.asarray(n, dt.dtype)

        def at(share):
            return self.law(x, start + share * dt, args)

        if self.order == 2:
            rows, turns = at(0.5)[None], (dt / hbar)[None]
        else:
            early, late = at(float(_EARLY)), at(float(_LATE))
            rows = jnp.stack([float(a) * early + float(b) * late for a, b in ((_NEAR, _FAR), (_FAR, _NEAR))])
            turns = jnp.stack([dt / hbar / 2] * 2)
        return Pieces(with_absorber(rows, x, self.boundary), kinetic, turns)


@dataclass(frozen=True)
class MovingPhases:
    """Kicks by a potential that depends on time."""

    law: Callable
    boundary: Walls | Periodic | Absorber | Transparent
    scheme: Splitting

    def __call__(self, parameters: tuple, n: Any) -> tuple[Array, Array]:
        """Return θ and γ of the kicks of step n."""
        x, args, t0, dt, kinetic, hbar, gamma = parameters
        start = t0 + dt * jnp.asarray(n, dt.dtype)
        times = start + jnp.asarray(self.scheme.times, dt.dtype) * dt
        rows = jax.vmap(lambda t: free_points(self.law(x, t, args), self.boundary))(times)
        return angles(self.scheme, rows, dt / hbar, kinetic), gamma
