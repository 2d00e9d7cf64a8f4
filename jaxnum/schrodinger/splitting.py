"""Splitting: two flows that are easy one by one, composed to the flow of their sum.

    iħ ∂ψ/∂t = (A + B) ψ:    ψ(t + τ) ≈ K(b_0 τ) F(a_0 τ) K(b_1 τ) ... F(a_s τ) K(b_{s+1} τ) ψ(t)

F is the flow of A (kinetic energy, or all that is linear), K the flow of B, here a *kick*

    ψ ← ψ exp(-i [θ + γ |ψ|²]),    θ = b τ V / ħ,  γ = b τ g / ħ

which is exact, because a phase does not change |ψ|. Both flows keep the norm, so every composition does, up to
rounding; the energy is not kept exactly but oscillates within an error of the order of the scheme and does not drift.
Every scheme here is symmetric, so the inverse of a step is the step with -τ.

Where B is a potential and A = -(ħ²/2m) ∂²/∂x², the commutator [B, [A, B]] = ħ² V'²/m is a potential too, and a kick may
contain it, θ = (τ/ħ) (b V - d τ² V'²/m). Two flows are then enough for order four, without a step backwards in time.
Six are enough for order six with room to spare: nine coefficients are free in a palindrome, and the logarithm of a step
has two terms of third and, as [B, [B, [B, A]]] = 0, four of fifth order in τ. Ours make the ten terms of seventh order
as small as a search from many places made them. For equal errors it takes 0.6 to 0.75 of the flows of the best scheme
without V'² (the eleven of Blanes and Moan).

References:
    Strang (1968), https://doi.org/10.1137/0705041;
    Chin (1997), https://doi.org/10.1016/S0375-9601(97)00003-0;
    Blanes & Moan (2002), https://doi.org/10.1016/S0377-0427(01)00492-7
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


@dataclass(frozen=True)
class Splitting:
    """Coefficients of a symmetric scheme that begins and ends with a kick.

    Attributes:
        kicks: b_0 ... b_{s+1}.
        flows: a_0 ... a_s.
        bends: d_0 ... d_{s+1}, what a kick has of the squared slope of the potential; empty where none has any.
    """

    kicks: tuple[float, ...]
    flows: tuple[float, ...]
    bends: tuple[float, ...] = ()

    @property
    def times(self) -> tuple[float, ...]:
        """Time within the step at which each kick is given."""
        return tuple(sum(self.flows[:e]) for e in range(len(self.kicks)))

    @property
    def distinct(self) -> tuple[float, ...]:
        """The flows that differ: the scheme is a palindrome."""
        return self.flows[: (len(self.flows) + 1) // 2]

    @property
    def sequence(self) -> tuple[int, ...]:
        """Which of the distinct flows acts at each place."""
        last = len(self.flows) - 1
        return tuple(min(e, last - e) for e in range(last + 1))


def _palindrome(kicks: tuple[float, ...], flows: tuple[float, ...], num_flows: int) -> Splitting:
    """Complete a scheme from its first coefficients: both kinds sum to one, and read the same backwards."""
    if num_flows % 2:
        kicks = (*kicks, 0.5 - sum(kicks))
        middle = 1 - 2 * sum(flows)
        return Splitting(kicks + kicks[::-1], (*flows, middle, *flows[::-1]))
    flows = (*flows, 0.5 - sum(flows))
    return Splitting((*kicks, 1 - 2 * sum(kicks), *kicks[::-1]), flows + flows[::-1])


_STRANG = _palindrome((), (), 1)

# For any two flows: S6 of order 4 and S10 of order 6, with what the paper calls A in the place of the kicks.
GENERAL = {
    2: _STRANG,
    4: _palindrome(
        (0.0792036964311957, 0.353172906049774, -0.0420650803577195), (0.209515106613362, -0.143851773179818), 6
    ),
    6: _palindrome(
        (0.0502627644003922, 0.413514300428344, 0.0450798897943977, -0.188054853819569, 0.541960678450780),
        (0.148816447901042, -0.132385865767784, 0.067307604692185, 0.432666402578175),
        10,
    ),
}

# For a kinetic energy that is quadratic in the momentum: [B, [B, [B, A]]] = 0 leaves room for a smaller error,
# four and ten times smaller here. A finite difference is not quadratic, and these would lose their order with it.
QUADRATIC = {
    2: _STRANG,
    4: _palindrome(
        (0.0829844064174052, 0.396309801498368, -0.0390563049223486), (0.245298957184271, 0.604872665711080), 6
    ),
    6: _palindrome(
        (0.0414649985182624, 0.198128671918067, -0.0400061921041533, 0.0752539843015807, -0.0115113874206879),
        (0.123229775946271, 0.290553797799558, -0.127049212625417, -0.246331761062075, 0.357208872795928),
        11,
    ),
}


# For a potential alone: Chin's 4A, and six flows whose terms of orders three and five are below 1e-16.
_BENDS = (-4.871128691209163e-05, 0.001028807804853888, -0.00012550436164545831)
GRADIENT = {
    2: _STRANG,
    4: Splitting((1 / 6, 2 / 3, 1 / 6), (0.5, 0.5), (0.0, 1 / 72, 0.0)),
    6: replace(
        _palindrome(
            (0.04851317503755153, 0.2666266757480124, 0.009635583873574624),
            (0.16876799623999264, 0.5033719215686978),
            6,
        ),
        bends=(*_BENDS, 0.002942420460211608, *_BENDS[::-1]),
    ),
}

_REACH = 32


def difference(values: Array) -> Array:
    """Return Δx ∂/∂x of real values on a ring, (..., n).

    The central difference over 32 neighbors on each side: for what a grid resolves as good as the derivative of
    Fourier's series, but local, so that a kink where the ring closes, as that of a parabola, is not felt elsewhere.
    """
    n = values.shape[-1]
    reach = min(_REACH, (n - 1) // 2)
    j = np.arange(1, reach + 1)
    weights = np.cumprod((reach + 1 - j) / (reach + j)) * (-1.0) ** (j + 1) / j
    turns = 2 * np.pi * np.arange(n // 2 + 1) / n
    symbol = jnp.asarray(2j * np.sin(np.outer(turns, j)) @ weights, np.result_type(values.dtype, np.complex64))
    symbol = symbol.reshape((1,) * (values.ndim - 1) + symbol.shape)
    return jnp.fft.irfft(symbol * jnp.fft.rfft(values), n)


def angles(scheme: Splitting, potentials: Array, turn: Array, kinetic: Array) -> Array:
    """Return θ of every kick, (kicks, n).

    Args:
        scheme: Coefficients.
        potentials: V at each kick, (kicks, n), or (1, n) where it is the same for all.
        turn: τ/ħ.
        kinetic: ħ²/(2mΔx²).
    """
    theta = (jnp.asarray(scheme.kicks, turn.dtype) * turn)[:, None] * potentials
    if not scheme.bends:
        return theta
    bends = jnp.asarray(scheme.bends, turn.dtype) * (2 * kinetic * turn**3)
    return theta - bends[:, None] * difference(potentials) ** 2


@dataclass(frozen=True)
class Kick:
    """The flow of a potential and of the nonlinearity, compared by value.

    Attributes:
        phases: Function `phases(parameters, n)` giving θ, (kicks, points), and γ, (kicks,), of step n.
        constant: Whether they are the same for every step: then the phase factors are made once.
        nonlinear: Whether there is a γ.
    """

    phases: Callable
    constant: bool
    nonlinear: bool

    def prepare(self, parameters: Any, enter: Callable) -> Any:
        """Return what every step needs; `enter` lays the points out as the flow wants them."""
        return _factors(*self.phases(parameters, 0), enter) if self.constant else parameters

    def at(self, prepared: Any, n: Any, enter: Callable) -> tuple[Array, Array]:
        """Return the factors exp(-iθ), and γ, of step n."""
        return prepared if self.constant else _factors(*self.phases(prepared, n), enter)

    def forward(self, now: tuple[Array, Array], e: Any, psi: Array) -> Array:
        """Give kick e."""
        return self._turn(now, e, psi) * psi

    def no_slope(self, psi: Array, kicks: int) -> tuple[Array, Array]:
        """Return the cotangents of θ and γ of nothing, for all kicks."""
        return jnp.zeros((kicks, *psi.shape), psi.real.dtype), jnp.zeros((kicks,), psi.real.dtype)

    def back(self, now: tuple[Array, Array], e: Any, pair: Any, slope: tuple) -> tuple[Any, tuple]:
        """Undo kick e: return ψ* and the cotangent before it, and add to those of θ and γ."""
        (back, g), (theta, gamma) = pair, slope
        turn = self._turn(now, e, back)
        # With φ = θ + γ|ψ|² and ψ' = exp(-iφ) ψ:  Re(g' dψ') = Re(g' exp(-iφ) dψ) + Im(g' ψ') dφ.
        more = g.imag * back.real - g.real * back.imag
        theta = added(theta, e, more)
        pair = jax.tree.map(lambda x: jnp.broadcast_to(turn, x.shape) * x, pair)
        if not self.nonlinear:
            return pair, (theta, gamma)
        back, g = pair
        density = back.real**2 + back.imag**2
        g = g + (2 * now[1][e] * more).astype(g.dtype) * back
        pair = (back, g) if isinstance(pair, tuple) else jnp.stack([back, g])
        return pair, (theta, added(gamma, e, jnp.sum(more * density)))

    def _turn(self, now: tuple[Array, Array], e: Any, psi: Array) -> Array:
        factors, gamma = now
        if not self.nonlinear:
            return factors[e]
        return factors[e] * phase(gamma[e] * (psi.real**2 + psi.imag**2))


def _factors(theta: Array, gamma: Array, enter: Callable) -> tuple[Array, Array]:
    return phase(enter(theta)), gamma


def added(x: Array, e: Any, more: Array) -> Array:
    """Return x with something added to its row e."""
    if x.shape[0] == 1:
        return x + more[None]  # in place; the general form, once simplified, is not
    return jax.lax.dynamic_update_index_in_dim(x, x[e] + more, e, 0)


def phase(angle: Array) -> Array:
    """Return exp(-i angle)."""
    return jax.lax.complex(jnp.cos(angle), -jnp.sin(angle))
