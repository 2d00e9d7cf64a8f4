"""Names for the types that appear in public signatures, and the one question about types that is asked often."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

Params = PyTree[Any]
"""Parameters: an array or any nesting of arrays in tuples, lists, dicts and modules."""

Objective = Callable[..., Any]
"""A function `fn(y, args) -> scalar`; `fn(y)` is accepted while `args` is None."""


def is_traced(x: Any) -> bool:
    """Tell whether the values in `x` are unknown because a JAX transformation is looking at them."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))


def is_real_number(x: Any) -> bool:
    """Tell whether `x` is one real number that fits a float: no bool, no text, no array with axes."""
    if isinstance(x, bool | np.bool_) or not isinstance(x, int | float | np.number | np.ndarray | jax.Array):
        return False
    if not isinstance(x, int | float) and (np.ndim(x) or x.dtype.kind not in "iuf"):
        # jnp's own small floats (bfloat16) are of no NumPy kind.
        return np.ndim(x) == 0 and jnp.issubdtype(x.dtype, jnp.floating)
    try:
        float(x)
    except OverflowError:
        return False
    return True
