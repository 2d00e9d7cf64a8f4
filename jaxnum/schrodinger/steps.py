"""One step of a propagation, forward and back.

A step is a row of flows, with kicks between them where there is something to kick (`splitting.py`):

    [kick] flow [kick] flow ... flow [kick]

Each part knows how to undo itself and how to pull a cotangent g back, dL = Re Σ g dψ. For a factor of a Cayley flow,
ψ' = 2 A⁻¹ M ψ - ψ, with the mean φ = (ψ + ψ')/2, so that A φ = M ψ:

    reversal     φ* = B⁻¹ M ψ'*,  ψ = 2φ - ψ',  where B is the matrix of the conjugate root
    adjoint      λ = A⁻ᵀ g',  g = 2 Mλ - g'
    gradient     ∂L/∂A = -2 λ φᵀ, on the three bands

Both solves use factors that the way there has made already. The same idea in dense matrices: Narayanan et al. (2022),
arXiv:2203.12717.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum.numerics import tridiagonal
from jaxnum.schrodinger.split_operator import FourierFlow
from jaxnum.schrodinger.splitting import Kick


@dataclass(frozen=True)
class CayleyFlow:
    """Cayley factors, compared by value.

    Attributes:
        bands: Function `bands(parameters, n)` giving the left matrices of step n, for each root (flows, 3, points);
            roots in places s and -1 - s are conjugates.
        constant: Whether the matrices are the same for every step: then they are eliminated once.
        averaging: Whether M is Numerov's, 1 + δ²/12, or one.
        cyclic: Whether the ends are neighbors.
        sequence: Which of the flows acts at each place of a step.
    """

    bands: Callable
    constant: bool
    averaging: bool
    cyclic: bool
    sequence: tuple[int, ...]

    # Many places are a loop of their own: a program with thirty solves in a row takes long to compile.
    cheap: ClassVar[bool] = False

    def prepare(self, parameters: Any) -> Any:
        """Return what every step needs."""
        if not self.constant:
            return parameters
        return [jax.vmap(partial(tridiagonal.factor, cyclic=self.cyclic))(one) for one in self.bands(parameters, 0)]

    def at(self, prepared: Any, n: Any) -> Any:
        """Return what step n needs: the factors, or matrices that are solved with once."""
        return prepared if self.constant else self.bands(prepared, n)

    def forward(self, now: Any, e: Any, psi: Array) -> Array:
        """Let flow e act."""
        solve = tridiagonal.solve_factored if self.constant else partial(tridiagonal.solve, cyclic=self.cyclic)
        for one in flow_of(now, e):
            psi = 2 * solve(one, self._average(psi)) - psi
        return psi

    def back(self, prepared: Any, bands: Any, e: Any, psi: Array, g: Array) -> tuple[Array, Array, list]:
        """Let flow e act backwards: return ψ and the cotangent before, and the cotangent of this flow's matrices."""
        if self.constant:
            matrices, solve = prepared, tridiagonal.solve_factored
            solve_transposed = partial(solve, transposed=True)
        else:
            matrices, solve = bands, partial(tridiagonal.solve, cyclic=self.cyclic)

            def solve_transposed(one, b):
                return solve(tridiagonal.transpose(one), b)

        factors, slopes = flow_of(matrices, e), []
        for one, conjugate in zip(reversed(factors), factors, strict=True):
            phi = solve(conjugate, self._average(psi.conj())).conj()
            adjoint = solve_transposed(one, g)
            slopes.append(-2 * tridiagonal.outer(adjoint, phi, cyclic=self.cyclic))
            psi, g = 2 * phi - psi, 2 * self._average(adjoint) - g
        return psi, g, slopes[::-1]

    def _average(self, psi: Array) -> Array:
        """Return M ψ."""
        return averaged(psi, cyclic=self.cyclic) if self.averaging else psi


def flow_of(tree: Any, e: Any) -> Any:
    """Return what belongs to flow e."""
    return jax.tree.map(lambda leaf: leaf[e], tree)


def averaged(psi: Array, *, cyclic: bool) -> Array:
    """Return Numerov's average (ψ_{j-1} + 10 ψ_j + ψ_{j+1}) / 12."""
    before, after = tridiagonal.neighbors(psi, cyclic=cyclic)
    return psi * (10 / 12) + (before + after) * (1 / 12)


@dataclass(frozen=True)
class Step:
    """One step, compared by value; its parameters are those of the flow and those of the kick.

    Attributes:
        flow: What acts at the places of `flow.sequence`.
        kick: What acts before, between and after them, or None.
    """

    flow: CayleyFlow | FourierFlow
    kick: Kick | None

    def prepare(self, parameters: tuple) -> tuple:
        """Return what every step needs."""
        flow, kick = parameters
        return self.flow.prepare(flow), None if self.kick is None else self.kick.prepare(kick)

    def __call__(self, psi: Array, prepared: tuple, n: Any) -> Array:
        """Take step n."""
        flow = self.flow.at(prepared[0], n)
        if self.kick is None:
            for e in self.flow.sequence:
                psi = self.flow.forward(flow, e, psi)
            return psi
        kick = self.kick.at(prepared[1], n)

        def place(psi, at):
            e, later = at
            return self.kick.forward(kick, later, self.flow.forward(flow, e, psi)), None

        return jax.lax.scan(place, self.kick.forward(kick, 0, psi), self._places(), unroll=self.flow.cheap)[0]

    def back(self, psi: Array, g: Array, prepared: tuple, parameters: tuple, n: Any) -> tuple[Array, Array, tuple]:
        """Undo step n: return ψ and the cotangent before it, and the cotangent of the parameters."""
        bands, pull = jax.vjp(lambda p: self.flow.bands(p, n), parameters[0])
        if self.kick is None:
            slopes = []
            for e in reversed(self.flow.sequence):
                psi, g, slope = self.flow.back(prepared[0], bands, e, psi, g)
                slopes.append(slope)
            return psi, g, (*pull(jax.tree.map(lambda *parts: jnp.stack(parts), *slopes[::-1])), None)
        kick = self.kick.at(prepared[1], n)
        _, pull_kick = jax.vjp(lambda p: self.kick.phases(p, n), parameters[1])

        def place(carry, at):
            psi, g, slopes = carry
            e, later = at
            psi, g, *turn = self.kick.back(kick, later, psi, g)
            psi, g, slope = self.flow.back(prepared[0], bands, e, psi, g)
            return (psi, g, jax.tree.map(lambda total, one: total.at[e].add(one), slopes, slope)), turn

        places = self._places()
        slopes = jax.tree.map(jnp.zeros_like, bands)
        (psi, g, slopes), turns = jax.lax.scan(place, (psi, g, slopes), places, reverse=True, unroll=self.flow.cheap)
        psi, g, *first = self.kick.back(kick, 0, psi, g)
        turns = tuple(jnp.concatenate([one[None], rest]) for one, rest in zip(first, turns, strict=True))
        return psi, g, (*pull(slopes), *pull_kick(turns))

    def _places(self) -> tuple[Array, Array]:
        """Return, for every flow of the step, which one it is and the kick that follows it."""
        sequence = np.array(self.flow.sequence, np.int32)
        return jnp.asarray(sequence), jnp.asarray(1 + np.arange(len(sequence), dtype=np.int32))

    def start(self, psi: Array, _prepared: tuple) -> Array:
        """Return the state before the first step."""
        return psi


def observe(state: Any, _prepared: tuple) -> Array:
    """Record the wave function, which is the state or its first part."""
    return state[0] if isinstance(state, tuple) else state
