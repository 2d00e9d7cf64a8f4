"""What a smoother does to a wave.

    H(k) = Σ_j S_ij exp(ik (x_j - x_i)),    i the sample in the middle

For uniform samples, away from the ends, this is the transfer function: a wave exp(ikx) comes out as H(k) exp(ikx).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex

from jaxnum._checks import as_array, check_positive, refuse
from jaxnum._typing import is_traced
from jaxnum.signals.smooth import checked
from jaxnum.signals.total_variation import TotalVariation


def transfer_function(
    method: Any, wavenumber: ArrayLike, x: ArrayLike, *, derivative: int = 0, weights: ArrayLike | None = None
) -> Complex[Array, " k"]:
    """Return what becomes of a wave in the middle of the samples.

    Differentiable in the bandwidth or strength. On irregular samples it is the answer at the middle one only.

    Args:
        method: Any linear method, as for `smooth`.
        wavenumber: 2π over the wavelength, in radians per unit of x, (k,).
        x: Positions of the samples, (n,); enough of them for the middle not to feel the ends.
        derivative: Order of the derivative taken of the smooth curve: its ideal is (ik) to this power.
        weights: As for `smooth`.

    Returns:
        H(k), complex, (k,).

    Raises:
        ValueError: If an argument makes no sense; the message names it.

    Example:
        >>> import numpy as np
        >>> from jaxnum import signals
        >>> h = signals.transfer_function(signals.GaussianKernel(0.1), [0.0, 10.0], np.linspace(-2, 2, 401))
        >>> print(np.abs(h).round(4))
        [1.     0.6065]
    """
    wavenumber = as_array("wavenumber", wavenumber, ndim=1)
    if isinstance(method, TotalVariation):
        refuse("method", "be linear", "is TotalVariation, which treats every signal differently")
    x = as_array("x", x, ndim=1)
    _, x, method, weights, _, derivative, plan = checked(jnp.zeros_like(x), x, method, derivative, weights, None)
    middle = len(x) // 2
    if not is_traced(weights):
        check_positive("weights[middle]", weights[middle])

    row = _row(jnp.asarray(x), jnp.asarray(weights), method, derivative=derivative, plan=plan)
    phase = wavenumber.astype(x.dtype)[:, None] * (jnp.asarray(x) - x[middle])[None]
    return jax.lax.complex(jnp.cos(phase) @ row, jnp.sin(phase) @ row)


@partial(jax.jit, static_argnames=("derivative", "plan"))
def _row(x, weights, method, *, derivative, plan) -> Array:
    """Return the row of the smoother that belongs to the sample in the middle."""

    def value(y):
        return method.fit(y, x, weights, derivative, plan).value[len(x) // 2]

    return jax.grad(value)(jnp.zeros_like(x))
