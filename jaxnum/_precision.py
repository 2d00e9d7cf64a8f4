"""Which precision an answer needs, and how its absence is noticed.

JAX computes in single precision until told otherwise, and narrows NumPy's float64 without a word. jaxnum never
sets that flag by itself: it warns at the door, and refuses a tolerance that the working dtype cannot hold.
"""

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxnum._typing import is_real_number, is_traced


class PrecisionWarning(UserWarning):
    """Double-precision input is about to be narrowed to single precision."""


class PrecisionError(ValueError):
    """The working precision cannot hold the accuracy that was asked for."""


def enable_x64() -> None:
    """Let JAX compute in double precision from here on; call it before creating arrays.

    Example:
        >>> import jaxnum
        >>> jaxnum.enable_x64()
    """
    jax.config.update("jax_enable_x64", True)


def warn_if_narrowed(name: str, x: Any) -> None:
    """Warn when `x` holds 64-bit numbers that JAX would narrow because x64 is off."""
    if getattr(x, "dtype", None) in (np.float64, np.complex128) and not jax.config.jax_enable_x64:
        warnings.warn(
            f"Argument `{name}` is {x.dtype} but JAX computes in single precision here and will narrow it; "
            "call jaxnum.enable_x64() before creating arrays.",
            PrecisionWarning,
            stacklevel=4,
        )


def check_tolerance(name: str, tolerance: Any, dtype: DTypeLike) -> None:
    """Refuse a tolerance that is not positive or that `dtype` cannot hold; a traced one is left to the status."""
    if is_traced(tolerance):
        return
    if not is_real_number(tolerance):
        shown = " ".join(repr(tolerance).split())
        raise ValueError(f"Argument `{name}` must be a finite positive number, but is {shown}.")
    value = float(tolerance)
    if not 0 < value < math.inf:  # catches NaN too
        raise ValueError(f"Argument `{name}` must be a finite positive number, but is {value:g}.")
    floor = 100 * float(jnp.finfo(dtype).eps)
    if value < floor:
        raise PrecisionError(
            f"Argument `{name}` must be at least {floor:.1e} in {jnp.dtype(dtype).name}, but is {value:g}; "
            "call jaxnum.enable_x64() before creating arrays, or ask for less."
        )
