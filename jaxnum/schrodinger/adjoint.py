"""How reverse-mode differentiation remembers the path of a propagation.

A step is a product of factors ψ' = 2 A⁻¹ M ψ - ψ. With the mean φ = (ψ + ψ')/2, so that A φ = M ψ:

    reversal     conj(Ā φ̄) ... φ* = B⁻¹ M ψ'*,  ψ = 2φ - ψ',  where B is the matrix of the conjugate root
    adjoint      λ = A⁻ᵀ g',  g = 2 Mλ - g'
    gradient     ∂L/∂A = -2 λ φᵀ, on the three bands

The scheme is unitary, so the path can be walked back instead of being remembered: no stored steps, and the two
solves of a backward factor run side by side. The same idea in dense matrices: Narayanan et al. (2022),
arXiv:2203.12717.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnum._checks import refuse
from jaxnum.numerics import tridiagonal
from jaxnum.numerics.march import march


@dataclass(frozen=True)
class Reversible:
    """Walk the path back: memory does not grow with the number of steps, and the gradient is exact up to rounding.

    Reverse mode only; it loses about as many digits as the norm drifts, so prefer `Direct()` in single precision over
    thousands of steps.
    """


@dataclass(frozen=True)
class Direct:
    """Differentiate the loop itself: forward mode too, at the price of remembering every step in reverse mode."""


REVERSIBLE = Reversible()


def check_adjoint(adjoint: Any) -> None:
    """Refuse what is not a way to differentiate."""
    if not isinstance(adjoint, Reversible | Direct):
        what = f"the class {adjoint.__name__}" if isinstance(adjoint, type) else type(adjoint).__name__
        refuse("adjoint", "be `Reversible()` or `Direct()`", f"is {what}")


@dataclass(frozen=True)
class Step:
    """One step of the scheme, compared by value.

    Attributes:
        matrices: Function `matrices(parameters, n)` giving the left matrices of step n in the order in which they
            act, (exponentials, roots, 3, points); roots in places s and -1 - s are conjugates.
        constant: Whether the matrices are the same for every step: then they are eliminated once.
        averaging: Function giving the bands of M for `(points, dtype)`, or None where M is one.
        cyclic: Whether the ends are neighbors.
    """

    matrices: Callable
    constant: bool
    averaging: Callable | None
    cyclic: bool

    def prepare(self, parameters: Any) -> tuple:
        """Return what every step needs."""
        if not self.constant:
            return parameters, None
        bands = self.matrices(parameters, 0)
        factor = partial(tridiagonal.factor, cyclic=self.cyclic)
        return parameters, jax.vmap(jax.vmap(factor))(bands)

    def __call__(self, psi: Array, prepared: tuple, n: Any) -> Array:
        """Take one step."""
        parameters, factors = prepared
        if factors is None:
            bands = self.matrices(parameters, n)
            for exponential in bands:
                for one in exponential:
                    psi = 2 * tridiagonal.solve(one, self.average(psi), cyclic=self.cyclic) - psi
            return psi
        exponentials, roots = factors.bands.shape[:2]
        for e in range(exponentials):
            for s in range(roots):
                one = jax.tree.map(lambda leaf, e=e, s=s: leaf[e, s], factors)
                psi = 2 * tridiagonal.solve_factored(one, self.average(psi)) - psi
        return psi

    def average(self, psi: Array) -> Array:
        """Return M ψ."""
        if self.averaging is None:
            return psi
        return tridiagonal.matvec(self.averaging(psi.shape[0], psi.dtype), psi, cyclic=self.cyclic)


def observe(psi: Array, _prepared: tuple) -> Array:
    """Record the wave function."""
    return psi


def walk(step: Step, parameters: Any, psi: Array, *, num_steps: int, save_every: int | None, progress: Any = False):
    """Take all steps; return the last wave function and the recorded rows."""
    prepared = step.prepare(parameters)
    return march(step, observe, psi, prepared, num_steps=num_steps, save_every=save_every, progress=progress)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def walk_reversibly(step: Step, num_steps: int, save_every: int | None, parameters: Any, psi: Array):
    """Take all steps like `walk`, and in reverse mode walk them back."""
    return walk(step, parameters, psi, num_steps=num_steps, save_every=save_every)


def _forward(step, num_steps, save_every, parameters, psi):
    last, rows = walk_reversibly(step, num_steps, save_every, parameters, psi)
    return (last, rows), (parameters, last)


def _backward(step, num_steps, save_every, saved, cotangents):
    parameters, psi = saved
    g, rows = cotangents
    every = min(save_every or num_steps, num_steps)
    count, rest = divmod(num_steps, every)
    solver = _paired_factors(step, step.matrices(parameters, 0)) if step.constant else None
    gradient = jax.tree.map(jnp.zeros_like, parameters)

    def back(carry, _):
        psi, g, gradient, n = carry
        bands, pull = jax.vjp(lambda p: step.matrices(p, n), parameters)
        psi, g, slopes = _unstep(step, bands, solver, psi, g)
        (more,) = pull(slopes)
        return (psi, g, jax.tree.map(jnp.add, gradient, more), n - 1), None

    def segment(carry, row, length):
        psi, g, gradient, n = carry
        carry, _ = jax.lax.scan(back, (psi, g + row, gradient, n), length=length)
        return carry, None

    carry = (psi, g, gradient, jnp.int32(num_steps - 1))
    if rest:
        carry, _ = segment(carry, rows[count + 1], rest)
    carry, _ = jax.lax.scan(partial(segment, length=every), carry, rows[1 : count + 1], reverse=True)
    _, g, gradient, _ = carry
    return gradient, g + rows[0]


walk_reversibly.defvjp(_forward, _backward)


def _pairs(bands: Array) -> Array:
    """Return, for every factor, the matrix that walks back and the one that pulls back, (..., 2, 3, points)."""
    transposed = jax.vmap(jax.vmap(tridiagonal.transpose))(bands)
    return jnp.stack([bands[:, ::-1], transposed], axis=2)


def _paired_factors(step: Step, bands: Array) -> tridiagonal.Factors:
    factor = partial(tridiagonal.factor, cyclic=step.cyclic)
    return jax.vmap(jax.vmap(jax.vmap(factor)))(_pairs(bands))


def _unstep(step: Step, bands: Array, solver: Any, psi: Array, g: Array) -> tuple[Array, Array, Array]:
    """Undo one step: return ψ before it, the cotangent before it, and that of the bands."""
    exponentials, roots = bands.shape[:2]
    pairs = None if solver is not None else _pairs(bands)
    slopes = [[None] * roots for _ in range(exponentials)]
    for e in reversed(range(exponentials)):
        for s in reversed(range(roots)):
            both = jnp.stack([step.average(psi.conj()), g])
            if solver is not None:
                one = jax.tree.map(lambda leaf, e=e, s=s: leaf[e, s], solver)
                both = jax.vmap(tridiagonal.solve_factored)(one, both)
            else:
                both = jax.vmap(partial(tridiagonal.solve, cyclic=step.cyclic))(pairs[e, s], both)
            phi, adjoint = both[0].conj(), both[1]
            slopes[e][s] = -2 * tridiagonal.outer(adjoint, phi, cyclic=step.cyclic)
            psi = 2 * phi - psi
            g = 2 * step.average(adjoint) - g
    return psi, g, jnp.stack([jnp.stack(row) for row in slopes])
