"""The split-operator method: kinetic energy in momentum space, potential in position space.

    ψ(t + τ) ≈ Π_j  exp(-i b_j τ V/ħ)  F⁻¹ exp(-i a_j τ ħk²/2m) F  ψ(t)

with the fast Fourier transform F and the coefficients of `splitting.py`; orders four and six add the squared slope of V
to their kicks, and need two and six transforms forth and back. On a ring, and with a smooth potential, its error in
space falls faster than any power of the spacing; a jump in the potential spoils that, and walls are not its business.
Unitary for every step.

References:
    Feit, Fleck & Steiger (1982), https://doi.org/10.1016/0021-9991(82)90091-2;
    Chin (1997), https://doi.org/10.1016/S0375-9601(97)00003-0;
    Blanes & Moan (2002), https://doi.org/10.1016/S0377-0427(01)00492-7
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum._checks import refuse
from jaxnum.schrodinger.splitting import added


@dataclass(frozen=True)
class SplitOperator:
    """Fourier splitting on a ring, for `boundary=Periodic()`.

    The right tool for a smooth potential; with a jump in it, or a wall, take `Cayley`. A potential that depends on
    time and a nonlinearity keep the order. A step costs 1, 2 or 6 pairs of Fourier transforms, and 1, 6 or 11 with a
    nonlinearity.

    Attributes:
        order: In time: 2 (Strang), 4 (Chin; with a nonlinearity Blanes and Moan), the best bargain down to errors of
            some 1e-5, or 6 (jaxnum's own, see `splitting.py`; with a nonlinearity Blanes and Moan).
    """

    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (2, 4, 6):
            refuse("order", "be 2, 4 or 6", f"is {self.order!r}")


def wave_numbers(num_points: int, dtype: Any) -> Array:
    """Return k Δx of the discrete Fourier transform, (num_points,)."""
    return jnp.asarray(2 * np.pi * np.fft.fftfreq(num_points), dtype)


@dataclass(frozen=True)
class FourierFlow:
    """The flow of the kinetic energy: one multiplier for each wave number.

    Attributes:
        sequence: Which of the multipliers acts at each place of a step.
    """

    sequence: tuple[int, ...]

    constant: ClassVar[bool] = True

    def enter(self, x: Array) -> Array:
        """Return values at the points as they are."""
        return x

    def leave(self, x: Array) -> Array:
        """Return values at the points as they are."""
        return x

    def pieces(self, multipliers: Array, _n: Any) -> Array:
        """Return the multipliers exp(-i a τ ħk²/2m), (flows, points)."""
        return multipliers

    def prepare(self, multipliers: Array) -> Array:
        """Return what every step needs."""
        return multipliers

    def at(self, multipliers: Array, _n: Any) -> Array:
        """Return what step n needs."""
        return multipliers

    def forward(self, multipliers: Array, e: Any, psi: Array) -> Array:
        """Let flow e act."""
        return jnp.fft.ifft(multipliers[e] * jnp.fft.fft(psi))

    def differentiable(self, multipliers: Array, e: Any, psi: Array) -> Array:
        """Let flow e act."""
        return self.forward(multipliers, e, psi)

    def asked(self, perturbed: bool) -> bool:
        """Return whether anybody differentiates by its motion, which is all that it has."""
        return perturbed

    def no_slope(self, multipliers: Array, _psi: Array) -> Array:
        """Return a gradient of nothing, in the phases of the multipliers."""
        return jnp.zeros_like(multipliers.real)

    def pair(self, back: Array, g: Array) -> Array:
        """Return ψ* and g as they go back: in one array, for two transforms at once cost less than twice one."""
        return jnp.stack([back, g])

    def back(self, multipliers: Array, e: Any, pair: Array, slope: Array, motion: bool) -> tuple[Array, Array]:
        """Let flow e act backwards on the pair, and add to the cotangent of the phases if it is asked for."""
        # The transform is symmetric and unitary, so both go as ψ went.
        waves = multipliers[e][None] * jnp.fft.fft(pair)
        if not motion:
            return jnp.fft.ifft(waves), slope
        # That of wave number -k, in truth; but k and -k have one phase.
        more = (waves[0].real * waves[1].imag - waves[0].imag * waves[1].real) / pair.shape[1]
        return jnp.fft.ifft(waves), added(slope, e, more)

    def gradient(self, slope: Array, multipliers: Array) -> Array:
        """Return the cotangent of the multipliers exp(-iφ), which move along the circle alone."""
        return jax.lax.complex(jnp.zeros_like(slope), slope) * multipliers.conj()
