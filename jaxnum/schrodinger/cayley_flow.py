"""The Cayley flow: how the factors of a Cayley step act on a wave function, there and back.

A factor of a Padé approximation is  ψ' = 2 S ψ - ψ  with  S = A⁻¹ M,  A = M + c (K + MV). Its mean is
φ = S ψ = (ψ + ψ')/2, and it is undone and differentiated by the same solve, dL = Re Σ g dψ:

    reversal     φ* = S ψ'*,  ψ* = 2φ* - ψ'*,  because the complex conjugate of time is time backwards
    adjoint      μ = S g',    g = 2μ - g',     because K and M commute, so that S = (1 + c (M⁻¹K + V))⁻¹ is symmetric
    gradient     dL = Re [-2 Σ_j c μ_j φ_j dV_j],  and with  t = μᵀ(ψ - φ) = c μᵀ(M⁻¹K + V) φ
                 dL = Re [-2 t dτ/τ]  and  Re [-2 (t - c Σ_j μ_j φ_j V_j) dκ/κ],  κ = ħ²/2mΔx²

The roots w of a higher order come in conjugate pairs, and the two factors of a pair act side by side on one averaged
right-hand side, by partial fractions:

    f₁ f₂ = 1 + i a (S₁ - S₂),   a = 2 Re w / Im w

    reversal     y = S ψ'*,  ψ* = ψ'* + i a (y₁ - y₂)
    adjoint      μ = S g',   g  = g'  + i a (μ₁ - μ₂)
    gradient     as above with (φ)* = y + (ψ* - ψ'*)/2, the means S ψ, and i a/2 times the first less the second for μφ

so ψ* and g, a pair on the way back, take the same solves, and the gradient is one product at each point. The same idea
in dense matrices: Narayanan et al. (2022), arXiv:2203.12717.

Vectors stay cut into the blocks of `tridiagonal.solve_rows` from the first step to the last: `enter` and `leave`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum.numerics import blocks, tridiagonal
from jaxnum.schrodinger.cayley import Cayley, averaging_bands, energy_bands, pade_roots, shifted_bands, shifts
from jaxnum.schrodinger.splitting import added


def averaged(psi: Array, *, cyclic: bool) -> Array:
    """Return Numerov's average (ψ_{j-1} + 10 ψ_j + ψ_{j+1}) / 12."""
    before, after = tridiagonal.neighbors(psi, cyclic=cyclic)
    return psi * (10 / 12) + (before + after) * (1 / 12)


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
        return blocks.to_rows(x)

    def leave(self, x: Array) -> Array:
        """Return the values at the free points."""
        return blocks.from_rows(x, self.points)

    def prepare(self, parameters: Any) -> Any:
        """Return what every step needs."""
        return self._made(self.pieces(parameters, 0)) if self.constant else parameters

    def at(self, prepared: Any, n: Any) -> Any:
        """Return what step n needs: all factors, flow by flow and root by root, and their shifts c."""
        return prepared if self.constant else self._made(self.pieces(prepared, n))

    def forward(self, now: tuple, e: Any, psi: Array) -> Array:
        """Let flow e act on blocks, without derivatives."""
        factors, first = now[0], e * self.roots

        def pair(p, psi):
            k, right = first + 2 * p, self._averaged(psi)
            y, other = tridiagonal.solve_rows(factors, (k, k + 1), (right, right))
            return psi + self._turned(p, y - other)

        if self.roots > 1:
            psi = jax.lax.fori_loop(0, self.roots // 2, pair, psi)
        if self.roots % 2 == 0:
            return psi
        (phi,) = tridiagonal.solve_rows(factors, (first + self.roots - 1,), (self._averaged(psi),))
        return 2 * phi - psi

    def differentiable(self, now: tuple, e: Any, psi: Array) -> Array:
        """Let flow e act on the free points themselves, in a form that JAX differentiates."""

        def factor(psi, one):
            right = averaged(psi, cyclic=self.cyclic) if self.method.space_order == 4 else psi
            return 2 * tridiagonal.solve_factored(one, right) - psi, None

        mine = jax.tree.map(lambda x: x.reshape(-1, self.roots, *x.shape[1:])[e], now[0])
        return jax.lax.scan(factor, psi, mine)[0]

    def asked(self, perturbed: Any) -> bool:
        """Return whether anybody differentiates by its motion, the kinetic energy and the durations.

        Args:
            perturbed: For each of the parameters, whether anybody differentiates by it.
        """
        return not self.constant or perturbed.kinetic or perturbed.turns

    def no_slope(self, now: tuple, psi: Array) -> tuple:
        """Return a gradient of nothing, Re Σ c μφ at every point and Re Σ t for every flow, and room for the solves."""
        flows = now[1].shape[0] // self.roots
        real = psi.real.dtype
        room = (jnp.concatenate([psi] * min(self.roots, 2)),) * 2
        return jnp.zeros((flows, *psi.shape), real), jnp.zeros((flows,), real), room

    def pair(self, back: Array, g: Array) -> tuple[Array, Array]:
        """Return ψ* and g as they go back."""
        return back, g

    def back(
        self, now: tuple, e: Any, pair: tuple[Array, Array], slope: tuple, motion: bool
    ) -> tuple[tuple[Array, Array], tuple]:
        """Let flow e act backwards on the pair, and add to the gradient, that by its motion only if asked for."""

        def two(i, carry):
            return self._two_back(now, e, self.roots // 2 - 1 - i, *carry, motion)

        if self.roots % 2:
            pair, slope = self._one_back(now, e, pair, slope, motion)
        if self.roots == 1:
            return pair, slope
        return jax.lax.fori_loop(0, self.roots // 2, two, (pair, slope))

    def _one_back(self, now, e, pair, slope, motion):
        (factors, c), (back, g), (local, total, room) = now, pair, slope
        k = (e + 1) * self.roots - 1
        mine = tuple(x[: back.shape[0]] for x in room)  # there is more where there are pairs of roots
        means, mine = tridiagonal.solve_rows_in(mine, factors, (k, k), tuple(map(self._averaged, pair)))
        room = mine if self.roots == 1 else room
        before, pulled = (2 * mean - was for (mean,), was in zip(means, pair, strict=True))
        # 2φ and 2μ as sums of what is there already: no compiler then solves for them a second time.
        local = added(local, e, _real_inner(c[k] / 4 * (pulled + g), before + back))
        if motion:
            total = added(total, e, jnp.sum(_real_inner(pulled + g, before - back)) / 4)
        return (before, pulled), (local, total, room)

    def _two_back(self, now, e, p, pair, slope, motion):
        (factors, c), (back, _), (local, total, room) = now, pair, slope
        k = e * self.roots + 2 * p
        (y, mu), room = tridiagonal.solve_rows_in(room, factors, (k, k), tuple(map(self._averaged, pair)))
        before, pulled = (was + self._turned(p, x[0] - x[1]) for was, x in zip(pair, (y, mu), strict=True))
        half = self._turned(p, (y[0] - y[1]) / 2)

        def difference(weights, phi):
            first, second = (_real_inner(self._turned(p, weights[s] / 2 * mu[s]), phi(y[s])) for s in (0, 1))
            return first - second

        local = added(local, e, difference((c[k], c[k + 1]), lambda y: y + half))
        if motion:
            total = added(total, e, jnp.sum(difference((1, 1), lambda y: back + half - y)))
        return (before, pulled), (local, total, room)

    def gradient(self, slope: tuple, pieces: Pieces) -> Pieces:
        """Return the cotangent of the pieces."""
        local, total = self.leave(slope[0]), slope[1]
        moving = jnp.sum(total) - jnp.sum(local * pieces.potential)
        return Pieces(-2 * local, -2 * moving / pieces.kinetic, -2 * total / pieces.turns)

    def _made(self, pieces: Pieces) -> tuple:
        bands = bands_of(pieces, self.method, cyclic=self.cyclic)
        c = jax.vmap(lambda turn: shifts(turn, self.method.time_order, bands.dtype))(pieces.turns)
        # Conjugate roots side by side, and what has no partner last.
        order = np.array([k for s in range((self.roots + 1) // 2) for k in sorted({s, self.roots - 1 - s})])
        bands = bands[:, order].reshape(-1, *bands.shape[2:])
        return tridiagonal.factor_all(bands, cyclic=self.cyclic), c[:, order].reshape(-1)

    def _averaged(self, psi: Array) -> Array:
        if self.method.space_order == 2:
            return psi
        return blocks.toeplitz(10 / 12, 1 / 12, psi, self.points, cyclic=self.cyclic)

    def _turned(self, p: Any, x: Array) -> Array:
        """Return i a x, with the weight a of pair p of conjugate roots."""
        roots = pade_roots(self.method.time_order)[: self.roots // 2]
        a = jnp.asarray(2 * roots.real / roots.imag, x.real.dtype)[p]
        return jax.lax.complex(-a * x.imag, a * x.real)


def _real_inner(x: Array, y: Array) -> Array:
    """Return Re x y*, by real products alone: complex ones would take twice as long."""
    return x.real * y.real + x.imag * y.imag
