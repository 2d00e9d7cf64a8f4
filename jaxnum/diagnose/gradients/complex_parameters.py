"""Complex parameters z = a + ib, looked at as pairs of real ones, and the two conventions for their gradient.

    steepest ascent of a real loss:  ∂L/∂a + i ∂L/∂b   (PyTorch; subtract it to descend)
    its conjugate:                   ∂L/∂a − i ∂L/∂b   (what `jax.grad` returns; subtract its conjugate)

A gradient in the other convention than the update expects goes the wrong way in every imaginary part.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnum._checks import as_tree


def is_complex(at: Any) -> bool:
    """Whether any of the parameters is complex."""
    return any(np.iscomplexobj(leaf) for leaf in jax.tree.leaves(at))


def real_view(loss: Callable, claimed: Callable, at: Any, *, conjugate: bool = False) -> tuple[Callable, Callable, Any]:
    """Return loss, claimed gradient and parameters with a last axis (real, imaginary) in the place of complex numbers.

    Args:
        loss: Function of complex parameters.
        claimed: Its gradient.
        at: Parameters, some of them complex.
        conjugate: Whether the claim is in JAX's convention, ∂L/∂a − i ∂L/∂b.
    """
    at = as_tree("at", at, complex_ok=True) if isinstance(at, list) else at
    leaves, structure = jax.tree.flatten(at)
    which = [np.iscomplexobj(leaf) for leaf in leaves]

    def together(tree):
        parts = structure.flatten_up_to(tree)
        return structure.unflatten([p[..., 0] + 1j * p[..., 1] if c else p for p, c in zip(parts, which, strict=True)])

    def apart(result):
        parts = jax.tree.leaves(result)
        if len(parts) != len(which):
            return result
        sign = -1.0 if conjugate else 1.0
        pairs = [
            np.stack([np.real(p), sign * np.imag(p)], axis=-1) if c else p for p, c in zip(parts, which, strict=True)
        ]
        return structure.unflatten(pairs)

    def viewed(fn, after):
        @functools.wraps(fn)
        def call(*args):
            whole = len(args) > 1 or (isinstance(at, tuple) and len(at) == 1 and not isinstance(args[0], tuple))
            tree = together(args if whole else args[0])
            return after(fn(*tree) if whole else fn(tree))

        return call

    pairs = [
        np.stack([np.real(p), np.imag(p)], axis=-1).astype(float) if c else p
        for p, c in zip(leaves, which, strict=True)
    ]
    return viewed(loss, lambda value: value), viewed(claimed, apart), structure.unflatten(pairs)
