"""One step of a propagation, forward and back.

A step is a row of flows, with kicks between them where there is something to kick (`splitting.py`):

    [kick] flow [kick] flow ... flow [kick]

Each part knows how to undo itself and how to pull a cotangent g back, dL = Re Σ g dψ. For a factor of a Cayley flow,
ψ' = 2 S ψ - ψ with S = A⁻¹ M, A = M + c (K + MV), and the mean φ = S ψ = (ψ + ψ')/2:

    reversal     φ* = S ψ'*,  ψ* = 2φ* - ψ'*,  because the complex conjugate of time is time backwards
    adjoint      μ = S g',    g = 2μ - g',     because K and M commute, so that S = (1 + c (M⁻¹K + V))⁻¹ is symmetric
    gradient     dL = Re [-2 Σ_j c μ_j φ_j dV_j],  and with  t = μᵀ(ψ - φ) = c μᵀ(M⁻¹K + V) φ
                 dL = Re [-2 t dτ/τ]  and  Re [-2 (t - c Σ_j μ_j φ_j V_j) dκ/κ],  κ = ħ²/2mΔx²

so ψ* and g, a pair on the way back (`flow.pair`), take the steps that took ψ there, g the factors in the other order,
and the gradient is one product at each point. The same idea in dense matrices: Narayanan et al. (2022),
arXiv:2203.12717.

Vectors stay cut into the blocks of `tridiagonal.solve_rows` from the first step to the last: `enter` and `leave`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum.numerics import tridiagonal
from jaxnum.schrodinger.cayley import Cayley, averaging_bands, energy_bands, shifted_bands, shifts
from jaxnum.schrodinger.split_operator import FourierFlow
from jaxnum.schrodinger.splitting import Kick, added


class Pieces(NamedTuple):
    """What the matrices of a step are made of.

    Attributes:
        potential: V at the free points, one row for each flow, (flows, points).
        kinetic: ħ²/(2mΔx²).
        turns: Duration of each flow over ħ, (flows,).
    """

    potential: Array
    kinetic: Array
    turns: Array


def bands_of(pieces: Pieces, method: Cayley, *, cyclic: bool) -> Array:
    """Return the left matrices M + c (K + MV), (flows, roots, 3, points)."""
    potential, kinetic, turns = pieces
    dtype = np.result_type(potential.dtype, np.complex64)
    energy = jax.vmap(lambda row: energy_bands(row, kinetic.astype(row.dtype), method.space_order))(potential)
    averaging = averaging_bands(energy.shape[2], method.space_order, energy.dtype)
    bands = jax.vmap(lambda one, turn: shifted_bands(one, averaging, turn, method.time_order, dtype))(energy, turns)
    return bands if cyclic else bands.at[..., 0, 0].set(0).at[..., 2, -1].set(0)


@dataclass(frozen=True)
class CayleyFlow:
    """Cayley factors, compared by value.

    Attributes:
        pieces: Function `pieces(parameters, n)` giving the `Pieces` of step n.
        constant: Whether the matrices are the same for every step: then they are eliminated once.
        method: Which factors.
        cyclic: Whether the ends are neighbors.
        points: How many points are free.
        sequence: Which of the flows acts at each place of a step.
    """

    pieces: Callable
    constant: bool
    method: Cayley
    cyclic: bool
    points: int
    sequence: tuple[int, ...]

    @property
    def roots(self) -> int:
        """Factors of a flow, each a solve."""
        return self.method.time_order // 2

    def enter(self, x: Array) -> Array:
        """Return values at the free points as blocks side by side."""
        return tridiagonal.to_rows(x)

    def leave(self, x: Array) -> Array:
        """Return the values at the free points."""
        return tridiagonal.from_rows(x, self.points)

    def prepare(self, parameters: Any) -> Any:
        """Return what every step needs."""
        return self._made(self.pieces(parameters, 0)) if self.constant else parameters

    def at(self, prepared: Any, n: Any) -> Any:
        """Return what step n needs: all factors, flow by flow and root by root, and their shifts c."""
        return prepared if self.constant else self._made(self.pieces(prepared, n))

    def forward(self, now: tuple, e: Any, psi: Array) -> Array:
        """Let flow e act on blocks, without derivatives."""
        factors, _ = now
        first = e * self.roots
        return jax.lax.fori_loop(0, self.roots, lambda s, psi: 2 * self._mean(factors, first + s, psi) - psi, psi)

    def differentiable(self, now: tuple, e: Any, psi: Array) -> Array:
        """Let flow e act on the free points themselves, in a form that JAX differentiates."""

        def factor(psi, one):
            right = averaged(psi, cyclic=self.cyclic) if self.method.space_order == 4 else psi
            return 2 * tridiagonal.solve_factored(one, right) - psi, None

        mine = jax.tree.map(lambda x: x.reshape(-1, self.roots, *x.shape[1:])[e], now[0])
        return jax.lax.scan(factor, psi, mine)[0]

    def no_slope(self, now: tuple, psi: Array) -> tuple[Array, Array]:
        """Return a gradient of nothing: Re Σ c μφ at every point and Re Σ t, for every flow."""
        flows = now[1].shape[0] // self.roots
        real = psi.real.dtype
        return jnp.zeros((flows, *psi.shape), real), jnp.zeros((flows,), real)

    def pair(self, back: Array, g: Array) -> tuple[Array, Array]:
        """Return ψ* and g as they go back."""
        return back, g

    def back(self, now: tuple, e: Any, pair: tuple[Array, Array], slope: tuple) -> tuple[tuple[Array, Array], tuple]:
        """Let flow e act backwards on the pair, and add to the gradient."""
        factors, c = now
        first = e * self.roots

        def factor(s, carry):
            (back, g), (local, total) = carry
            before = 2 * self._mean(factors, first + s, back) - back
            pulled = 2 * self._mean(factors, first + self.roots - 1 - s, g) - g
            # 2φ and 2μ as sums of what is there already: no compiler then solves for them a second time.
            mu = pulled + g
            local = added(local, e, _real_inner(c[first + self.roots - 1 - s] / 4 * mu, before + back))
            total = added(total, e, jnp.sum(_real_inner(mu, before - back)) / 4)
            return (before, pulled), (local, total)

        return jax.lax.fori_loop(0, self.roots, factor, (pair, slope))

    def gradient(self, slope: tuple, pieces: Pieces) -> Pieces:
        """Return the cotangent of the pieces."""
        local, total = self.leave(slope[0]), slope[1]
        moving = jnp.sum(total) - jnp.sum(local * pieces.potential)
        return Pieces(-2 * local, -2 * moving / pieces.kinetic, -2 * total / pieces.turns)

    def _made(self, pieces: Pieces) -> tuple:
        bands = bands_of(pieces, self.method, cyclic=self.cyclic)
        bands = bands.reshape(-1, *bands.shape[2:])
        factors = tridiagonal.factor_all(bands, cyclic=self.cyclic)
        c = jax.vmap(lambda turn: shifts(turn, self.method.time_order, bands.dtype))(pieces.turns)
        return factors, c.reshape(-1)

    def _mean(self, factors: Any, k: Any, psi: Array) -> Array:
        """Return S ψ of factor k."""
        if self.method.space_order == 4:
            before, after = tridiagonal.neighbors_in_rows(psi, self.points, cyclic=self.cyclic)
            psi = psi * (10 / 12) + (before + after) * (1 / 12)
        return tridiagonal.solve_rows(factors, k, psi)


def _real_inner(x: Array, y: Array) -> Array:
    """Return Re x y*, by real products alone: complex ones would take twice as long."""
    return x.real * y.real + x.imag * y.imag


def averaged(psi: Array, *, cyclic: bool) -> Array:
    """Return Numerov's average (ψ_{j-1} + 10 ψ_j + ψ_{j+1}) / 12."""
    before, after = tridiagonal.neighbors(psi, cyclic=cyclic)
    return psi * (10 / 12) + (before + after) * (1 / 12)


@dataclass(frozen=True)
class Step:
    """One step, compared by value; its parameters are those of the flow and those of the kick.

    It acts on what `enter` makes of a wave function.

    Attributes:
        flow: What acts at the places of `flow.sequence`.
        kick: What acts before, between and after them, or None.
    """

    flow: CayleyFlow | FourierFlow
    kick: Kick | None

    def enter(self, psi: Array, _prepared: Any = None) -> Array:
        """Return the state of a wave function at the free points."""
        return self.flow.enter(psi)

    def leave(self, state: Array) -> Array:
        """Return the wave function at the free points."""
        return self.flow.leave(state)

    def prepare(self, parameters: tuple) -> tuple:
        """Return what every step needs."""
        flow, kick = parameters
        return self.flow.prepare(flow), None if self.kick is None else self.kick.prepare(kick, self.flow.enter)

    def prepare_differentiable(self, parameters: tuple) -> tuple:
        """Return what every step of `differentiable` needs."""
        flow, kick = parameters
        return self.flow.prepare(flow), None if self.kick is None else self.kick.prepare(kick, _as_it_is)

    def __call__(self, state: Array, prepared: tuple, n: Any) -> Array:
        """Take step n, without derivatives."""
        return self._walked(self.flow.forward, self.flow.enter, state, prepared, n)

    def differentiable(self, psi: Array, prepared: tuple, n: Any) -> Array:
        """Take step n from one wave function at the free points to the next, in a form that JAX differentiates."""
        return self._walked(self.flow.differentiable, _as_it_is, psi, prepared, n)

    def start_differentiable(self, psi: Array, _prepared: tuple) -> Array:
        """Return the state that `differentiable` begins with."""
        return psi

    def _walked(self, forward, enter, psi, prepared, n):
        flow = self.flow.at(prepared[0], n)
        if self.kick is None:
            if len(self.flow.sequence) == 1:
                return forward(flow, 0, psi)
            return jax.lax.scan(lambda psi, e: (forward(flow, e, psi), None), psi, self._places()[0])[0]
        kick = self.kick.at(prepared[1], n, enter)

        def place(psi, at):
            e, later = at
            return self.kick.forward(kick, later, forward(flow, e, psi)), None

        return jax.lax.scan(place, self.kick.forward(kick, 0, psi), self._places())[0]

    def no_gradient(self, prepared: tuple, parameters: tuple, psi: Array) -> tuple:
        """Return a gradient of nothing, to be added to by `back`."""
        flow = self.flow.no_slope(prepared[0], psi) if self.flow.constant else _zeros(parameters[0])
        if self.kick is None:
            return flow, None
        return flow, self.kick.no_slope(psi, self._kicks) if self.kick.constant else _zeros(parameters[1])

    def back(self, pair: Any, gradient: tuple, prepared: tuple, parameters: tuple, n: Any) -> tuple[Any, tuple]:
        """Undo step n: return the pair before it, given that after it, and the gradient with its part."""
        flow = self.flow.at(prepared[0], n)
        slope = gradient[0] if self.flow.constant else self.flow.no_slope(flow, pair[0])
        if self.kick is None:

            def place(carry, e):
                return self.flow.back(flow, e, *carry), None

            if len(self.flow.sequence) == 1:
                pair, slope = self.flow.back(flow, 0, pair, slope)
            else:
                (pair, slope), _ = jax.lax.scan(place, (pair, slope), self._places()[0], reverse=True)
            return pair, (self._pulled(slope, gradient[0], parameters[0], n), None)
        kick = self.kick.at(prepared[1], n, self.flow.enter)
        turns = gradient[1] if self.kick.constant else self.kick.no_slope(pair[0], self._kicks)

        def place(carry, at):
            pair, slope, turns = carry
            e, later = at
            pair, turns = self.kick.back(kick, later, pair, turns)
            return (*self.flow.back(flow, e, pair, slope), turns), None

        (pair, slope, turns), _ = jax.lax.scan(place, (pair, slope, turns), self._places(), reverse=True)
        pair, turns = self.kick.back(kick, 0, pair, turns)
        if not self.kick.constant:
            turns = jax.tree.map(jnp.add, gradient[1], self._kicked(turns, parameters[1], n))
        return pair, (self._pulled(slope, gradient[0], parameters[0], n), turns)

    def gradient(self, gradient: tuple, parameters: tuple) -> tuple:
        """Return the cotangent of the parameters."""
        flow, kick = gradient
        if self.flow.constant:
            pieces, pull = jax.vjp(lambda p: self.flow.pieces(p, 0), parameters[0])
            (flow,) = pull(self.flow.gradient(flow, pieces))
        if self.kick is not None and self.kick.constant:
            kick = self._kicked(kick, parameters[1], 0)
        return flow, kick

    @property
    def _kicks(self) -> int:
        return len(self.flow.sequence) + 1

    def _kicked(self, turns, parameters, n):
        """Return the cotangent of a kick's parameters, given those of its phases."""
        theta, gamma = turns
        _, pull = jax.vjp(lambda p: self.kick.phases(p, n), parameters)
        return pull((self.flow.leave(theta), gamma))[0]

    def _pulled(self, slope, gradient, parameters, n):
        """Return the gradient so far: of a moving flow in its parameters, of a constant one as it is kept."""
        if self.flow.constant:
            return slope
        pieces, pull = jax.vjp(lambda p: self.flow.pieces(p, n), parameters)
        return jax.tree.map(jnp.add, gradient, *pull(self.flow.gradient(slope, pieces)))

    def _places(self) -> tuple[Array, Array]:
        """Return, for every flow of the step, which one it is and the kick that follows it."""
        sequence = np.array(self.flow.sequence, np.int32)
        return jnp.asarray(sequence), jnp.asarray(1 + np.arange(len(sequence), dtype=np.int32))


def _as_it_is(x: Array) -> Array:
    return x


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


@dataclass(frozen=True)
class Leave:
    """Record the wave function of a state."""

    step: Any

    def __call__(self, state: Any, _prepared: Any) -> Array:
        """Return it at the free points."""
        return self.step.leave(state)
