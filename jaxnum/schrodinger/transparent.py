"""Transparent boundaries: the grid ends, the wave does not notice.

Outside the grid the potential is constant and the wave function zero at the start. There the scheme can be solved:
after a transform in time, Σ_n φⁿ z⁻ⁿ, its solutions that decay are φ_{j+1} = ν φ_j, with

    ν + 1/ν = 2 + D,    D = u  (order 2)  or  u / (1 - u/12)  (Numerov),    u = (V - E) / κ,  κ = ħ²/2mΔx²

and E the energy that belongs to z. So the last two points are tied to each other by a convolution in time,

    φⁿ_{J-1} = Σ_{k ≤ n} K_{n-k} φᵏ_J,        Σ_n K_n z⁻ⁿ = 1/ν(z)

which replaces the row of the last point and is exact for the scheme: nothing is reflected. φ = (ψ' + ψ)/2 is the mean
over a factor, the quantity that the factor solves for. With several Padé factors in a step the means of all of them
make a vector, E is a matrix, and so is K = 1/ν(E): with φ_s = (1 + c_s H)⁻¹ ψ_{s-1}, ψ_s = 2 φ_s - ψ_{s-1} and
ψ_0 = z⁻¹ ψ_S,

    H φ_s = (ψ_{s-1} - φ_s) / c_s,    every ψ_{s-1} a combination of φ_1 ... φ_S.

K_0 is lower triangular, because factor s only knows those before it. For one factor this is the boundary of Arnold and
Ehrhardt, and of Moyer with Numerov's rows.

References:
    Arnold (1998), https://doi.org/10.1155/1998/38298;
    Ehrhardt & Arnold (2001), Riv. Mat. Univ. Parma 6(4), 57;
    Moyer (2004), https://doi.org/10.1119/1.1619141
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum.numerics import tridiagonal
from jaxnum.numerics.march import march
from jaxnum.schrodinger.cayley import pade_roots
from jaxnum.schrodinger.cayley_flow import averaged
from jaxnum.schrodinger.steps import Leave


def kernel(potential: Array, kinetic: Array, dt_over_hbar: Array, time_order: int, space_order: int, count: int):
    """Return K_0 ... K_{count-1}, (count, factors, factors), for a constant potential outside.

    The coefficients are read off a circle a little outside the unit circle by a Fourier transform: with 8 points for
    each coefficient and a radius that damps the last point by 1e-16, what is folded back is rounding, and rounding is
    amplified by 100 at most.

    Args:
        potential: V outside.
        kinetic: ħ²/(2mΔx²).
        dt_over_hbar: τ/ħ.
        time_order: 2 or 4: one or two factors.
        space_order: 2 or 4.
        count: How many.
    """
    points = 8 * count
    log_radius = np.log(10) * (16 if kinetic.dtype == jnp.float64 else 7) / points
    # 1/z on the circle.
    back = np.exp(-log_radius - 2j * np.pi * np.arange(points) / points)
    dtype = np.result_type(kinetic.dtype, np.complex64)
    roots = pade_roots(time_order)
    factors = len(roots)
    shifts = jnp.asarray(-1j / roots, dtype) * dt_over_hbar.astype(dtype)
    # ψ_{s-1} as combinations of φ_1 ... φ_S, (points, S, S).
    place = np.arange(factors)
    sign = (-1.0) ** (place[:, None] - place[None, :])
    known = np.where(place[None, :] < place[:, None], -2 * sign, 0)
    loop = 2 * back / (1 - (-1) ** factors * back)
    before = known + loop[:, None, None] * (-1.0) ** (place[:, None] + factors - 1 - place[None, :])
    energy = jnp.asarray(before - np.eye(factors), dtype) / shifts[None, :, None]
    if factors == 1:
        values = _growth(energy, potential, kinetic, space_order)
    else:
        # A function of a 2 x 2 matrix is the straight line through its two eigenvalues.
        half = (energy[:, 0, 0] + energy[:, 1, 1]) / 2
        determinant = energy[:, 0, 0] * energy[:, 1, 1] - energy[:, 0, 1] * energy[:, 1, 0]
        apart = jnp.sqrt(half**2 - determinant)
        high, low = (_growth(half + s * apart, potential, kinetic, space_order) for s in (1, -1))
        slope = ((high - low) / (2 * apart))[:, None, None]
        one = jnp.eye(factors, dtype=dtype)[None]
        values = ((high + low) / 2)[:, None, None] * one + slope * (energy - half[:, None, None] * one)
    damping = jnp.asarray(np.exp(log_radius * np.arange(count)), dtype)
    return damping[:, None, None] * jnp.fft.ifft(values, axis=0)[:count]


def _growth(energy: Array, potential: Array, kinetic: Array, space_order: int) -> Array:
    """Return 1/ν, |ν| < 1, of an energy."""
    u = (potential.astype(energy.dtype) - energy) / kinetic.astype(energy.dtype)
    bend = u if space_order == 2 else u / (1 - u / 12)
    # 1/ν = a + √(a² - 1) with a = 1 + D/2: in this form the larger root, without subtraction.
    return 1 + bend / 2 + jnp.sqrt(bend / 2) * jnp.sqrt(2 + bend / 2)


def _flow_of(tree: Any, e: int) -> Any:
    """Return what belongs to flow e."""
    return jax.tree.map(lambda leaf: leaf[e], tree)


@dataclass(frozen=True)
class OpenStep:
    """One step between transparent ends, compared by value.

    Its state is ψ and the past: the means φ at the two end points for every factor so far, (2, factors, count).
    Its parameters are those of `bands` and the kernels of both ends, (2, count, factors, factors).

    Attributes:
        bands: Function `bands(parameters, n)` giving the left matrices of step n, for each factor (flows, 3, points).
        constant: Whether the matrices are the same for every step.
        averaging: Whether M is Numerov's, 1 + δ²/12, or one.
        flows: Exponentials in a step, each of which counts in the convolution.
    """

    bands: Callable
    constant: bool
    averaging: bool
    flows: int

    def prepare(self, parameters: tuple) -> tuple:
        """Return what every step needs."""
        flow, kernels = parameters
        if self.constant:
            matrices = [tridiagonal.factor_all(one) for one in _with_ends(self.bands(flow, 0), kernels[:, 0])]
        else:
            matrices = flow
        return matrices, kernels[:, 0], _backwards(kernels)

    def __call__(self, state: tuple[Array, Array], prepared: tuple, n: Any) -> tuple[Array, Array]:
        """Take step n."""
        psi, past = state
        matrices, now, weights = prepared
        solve = tridiagonal.solve_factored if self.constant else tridiagonal.solve
        if not self.constant:
            matrices = _with_ends(self.bands(matrices, n), now)
        for e in range(self.flows):
            m = n * self.flows + e
            gone = jnp.sum(_shifted(weights, m) * past[:, None], axis=(2, 3))
            means = []
            for s in range(past.shape[1]):
                here = gone[:, s] + sum((now[:, s, r] * means[r] for r in range(s)), jnp.zeros_like(gone[:, s]))
                right = self._average(psi).at[np.array([0, -1])].set(here)
                phi = solve(_flow_of(matrices[s], e), right)
                means.append(jnp.stack([phi[0], phi[-1]]))
                psi = 2 * phi - psi
            past = jax.lax.dynamic_update_slice_in_dim(past, jnp.stack(means, axis=1)[..., None], m, axis=2)
        return psi, past

    def prepare_back(self, parameters: tuple) -> Any:
        """Return what every step backwards needs: the matrices of the inner points."""
        if not self.constant:
            return None
        return [tridiagonal.factor_all(_inner(one)) for one in self.bands(parameters[0], 0)]

    def back(self, psi: Array, past: Array, prepared: Any, parameters: tuple, n: Any) -> Array:
        """Undo step n: the inner points are a problem of their own whose ends, the past, are known."""
        bands = self.bands(parameters[0], n)
        inner = prepared if self.constant else [_inner(one) for one in bands]
        solve = tridiagonal.solve_factored if self.constant else tridiagonal.solve
        factors = past.shape[1]
        for e in reversed(range(self.flows)):
            ends = jax.lax.dynamic_index_in_dim(past, n * self.flows + e, axis=2, keepdims=False)
            for s in reversed(range(factors)):
                # The inverse of a factor has the matrix of the conjugate root.
                other = bands[factors - 1 - s][e]
                left, right = ends[0, s].conj(), ends[1, s].conj()
                given = self._average(psi.conj())[1:-1]
                given = given.at[0].add(-other[0, 1] * left).at[-1].add(-other[2, -2] * right)
                middle = solve(_flow_of(inner[factors - 1 - s], e), given)
                phi = jnp.concatenate([left[None], middle, right[None]]).conj()
                psi = 2 * phi - psi
        return psi

    def enter(self, psi: Array, prepared: tuple) -> tuple[Array, Array]:
        """Return the state before the first step: an empty past."""
        weights = prepared[2]
        return psi, jnp.zeros((2, weights.shape[1], weights.shape[3] // 2), psi.dtype)

    def leave(self, state: tuple[Array, Array]) -> Array:
        """Return the wave function of a state."""
        return state[0]

    def prepare_differentiable(self, parameters: tuple) -> tuple:
        """Return what every step needs."""
        return self.prepare(parameters)

    def start_differentiable(self, psi: Array, prepared: tuple) -> tuple[Array, Array]:
        """Return the state that `differentiable` begins with."""
        return self.enter(psi, prepared)

    def differentiable(self, state: tuple[Array, Array], prepared: tuple, n: Any) -> tuple[Array, Array]:
        """Take step n."""
        return self(state, prepared, n)

    def _average(self, psi: Array) -> Array:
        return averaged(psi, cyclic=False) if self.averaging else psi


def _with_ends(bands: list[Array], now: Array) -> list[Array]:
    """Return the matrices with the rows of the two end points: φ_1 - K_0 φ_0 and φ_{J-1} - K_0 φ_J."""
    done = []
    for s, one in enumerate(bands):
        one = one.at[:, 0, 0].set(0).at[:, 2, 0].set(1).at[:, 1, 0].set(-now[0, s, s])
        done.append(one.at[:, 0, -1].set(1).at[:, 2, -1].set(0).at[:, 1, -1].set(-now[1, s, s]))
    return done


def _inner(bands: Array) -> Array:
    return bands[..., 1:-1].at[..., 0, 0].set(0).at[..., 2, -1].set(0)


def _backwards(kernels: Array) -> Array:
    """Return K_count ... K_1 followed by zeros, (2, factors, factors, 2 count): a window on it weighs the past."""
    flipped = jnp.moveaxis(kernels, 1, -1)[..., ::-1]
    return jnp.pad(flipped[..., :-1], [(0, 0)] * 3 + [(1, flipped.shape[-1])])


def _shifted(weights: Array, m: Any) -> Array:
    """Return K_{m-k} for the past k < m, and zero for what is to come, (2, factors, factors, count)."""
    count = weights.shape[-1] // 2
    return jax.lax.dynamic_slice_in_dim(weights, count - m, count, axis=3)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def walk_between(step: OpenStep, num_steps: int, save_every: int | None, parameters: tuple, psi: Array) -> tuple:
    """Take all steps; in reverse mode walk them back between the ends, whose past is kept.

    Returns:
        The last ψ and the past, and the recorded rows.
    """
    return _forward(step, num_steps, save_every, parameters, psi)[0]


def _forward(step, num_steps, save_every, parameters, psi):
    prepared = step.prepare(parameters)
    start = step.enter(psi, prepared)
    (psi, past), rows = march(step, Leave(step), start, prepared, num_steps=num_steps, save_every=save_every)
    return ((psi, past), rows), (parameters, psi, past)


def _backward(step, num_steps, save_every, saved, cotangents):
    parameters, psi, past = saved
    (g, g_past), rows = cotangents
    every = min(save_every or num_steps, num_steps)
    count, rest = divmod(num_steps, every)
    inner = step.prepare_back(parameters)
    prepared, unprepare = jax.vjp(step.prepare, parameters)

    def back(carry, _):
        psi, g, gradient, n = carry
        psi = step.back(psi, past, inner, parameters, n)
        # The step is linear in ψ and in the past; what lies ahead of n in the past has no weight in it.
        _, pull = jax.vjp(lambda psi, past, prepared: step((psi, past), prepared, n), psi, past, prepared)
        *g, more = pull(g)
        return (psi, tuple(g), jax.tree.map(jnp.add, gradient, more), n - 1), None

    def segment(carry, row, length):
        psi, (g, g_past), gradient, n = carry
        carry, _ = jax.lax.scan(back, (psi, (g + row, g_past), gradient, n), length=length)
        return carry, None

    carry = (psi, (g, g_past), jax.tree.map(jnp.zeros_like, prepared), jnp.int32(num_steps - 1))
    if rest:
        carry, _ = segment(carry, rows[count + 1], rest)
    carry, _ = jax.lax.scan(partial(segment, length=every), carry, rows[1 : count + 1], reverse=True)
    _, (g, _), gradient, _ = carry
    return (*unprepare(gradient), g + rows[0])


walk_between.defvjp(_forward, _backward)


def walk_home_between(step: OpenStep, num_steps: int, parameters: tuple, state: tuple[Array, Array]) -> Array:
    """Undo all steps and return the wave function that the walk back takes for the first one."""
    inner = step.prepare_back(parameters)
    psi, past = state

    def back(carry, _):
        psi, n = carry
        return (step.back(psi, past, inner, parameters, n), n - 1), None

    (psi, _), _ = jax.lax.scan(back, (psi, jnp.int32(num_steps - 1)), length=num_steps)
    return psi
