"""How arguments are refused: one wording, "Argument `name` must ..., but ...".

Shapes and dtypes are checked always; values (finite, positive, increasing) only where they can be seen, that is
outside `jit`: a traced value passes and shows up in `residual` and `status` instead.
"""

import inspect
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum._precision import warn_if_narrowed
from jaxnum._typing import is_real_number, is_traced

_LONGEST = 240  # characters of what an argument is; an array of junk must not fill the screen


def refuse(name: str, must: str, but: str) -> NoReturn:
    """Raise the one kind of `ValueError` that jaxnum raises for a bad argument: one line, whatever the argument is."""
    but = " ".join(but.split())
    if len(but) > _LONGEST:
        but = but[: _LONGEST - 4] + " ..."
    raise ValueError(f"Argument `{name}` must {must}, but {but}.")


def as_array(
    name: str,
    x: Any,
    *,
    shape: tuple[int | None, ...] | None = None,
    ndim: int | None = None,
    complex_ok: bool = False,
    finite: bool = True,
    min_size: int = 1,
) -> Array:
    """Return `x` as a floating-point JAX array, or refuse it by name.

    Args:
        name: Name of the argument as the caller wrote it.
        x: Array, NumPy array, number or nested list; Python integers become floats, integer arrays are refused.
        shape: Required shape; None stands for any length.
        ndim: Required number of axes, when the lengths do not matter.
        complex_ok: Whether complex values make sense here.
        finite: Whether NaN and infinity are refused.
        min_size: Smallest number of elements that makes sense.

    Raises:
        ValueError: In one line that names the argument, the cause and, where there is one, the cure.
    """
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        try:
            x = np.asarray(x)
        except (ValueError, TypeError):
            refuse(name, "be an array of numbers", "its rows differ in length or hold something else")
        if x.dtype.kind in "iub" and x.size:
            x = x.astype(np.float64 if jax.config.jax_enable_x64 else np.float32)
        elif x.dtype.kind in "fc" and not jax.config.jax_enable_x64:
            x = x.astype(np.complex64 if x.dtype.kind == "c" else np.float32)
        dtype = x.dtype
    if not (jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_)):
        refuse(name, "be an array of numbers", f"has dtype {dtype}")
    if math.prod(np.shape(x)) < min_size:
        what = "is empty" if math.prod(np.shape(x)) == 0 else f"has {math.prod(np.shape(x))}"
        refuse(name, f"have at least {min_size} element{'s' * (min_size > 1)}", what)
    if not jnp.issubdtype(dtype, np.inexact):
        refuse(name, "be floating point", f"has dtype {dtype}; pass `{name}.astype(float)`")
    if jnp.issubdtype(dtype, np.complexfloating) and not complex_ok:
        refuse(name, "be real", f"has dtype {dtype}; pass `{name}.real` if that is meant")
    if ndim is not None and np.ndim(x) != ndim:
        refuse(name, f"have {ndim} ax{'i' if ndim == 1 else 'e'}s", f"has shape {np.shape(x)}")
    if shape is not None:
        fits = len(shape) == np.ndim(x) and all(
            want is None or want == have for want, have in zip(shape, np.shape(x), strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join("n" if n is None else str(n) for n in shape) + ("," * (len(shape) == 1)) + ")"
            refuse(name, f"have shape {wanted}", f"has shape {np.shape(x)}")
    if finite and not is_traced(x):
        bad = ~np.isfinite(np.asarray(x))
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            place = f" at index {where[0] if len(where) == 1 else where}" if where else ""
            refuse(name, "be finite", f"holds {np.asarray(x)[where]}{place}")
    warn_if_narrowed(name, x)
    # What is an array already goes through JAX's own checks for longer than a small run takes.
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def as_tree(name: str, tree: Any, *, complex_ok: bool = False) -> Any:
    """Return a pytree of parameters with every leaf passed through `as_array`, or refuse the leaf by its path."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    if not leaves:
        refuse(name, "hold at least one array", "is empty")
    if isinstance(tree, list) and all(isinstance(x, int | float | complex) for x in tree):
        return as_array(name, tree, complex_ok=complex_ok)  # a list of numbers is a vector, not a pytree of scalars
    return jax.tree.unflatten(
        structure,
        [as_array(name + jax.tree_util.keystr(path), leaf, complex_ok=complex_ok) for path, leaf in leaves],
    )


def check_positive(name: str, x: Any, *, zero_ok: bool = False) -> None:
    """Refuse a number that is not finite and positive (or zero, where that makes sense)."""
    wanted = "be a finite number that is not negative" if zero_ok else "be a finite positive number"
    if is_traced(x):
        return
    if not is_real_number(x):
        refuse(name, wanted, f"is {x!r}")
    value = float(x)
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero_ok):
        refuse(name, wanted, f"is {value:g}")


def check_finite(name: str, x: Any) -> None:
    """Refuse a scalar that is not a finite real number."""
    if is_traced(x):
        return
    if not is_real_number(x):
        refuse(name, "be a finite number", f"is {x!r}")
    if not math.isfinite(float(x)):
        refuse(name, "be a finite number", f"is {x}")


def as_count(name: str, n: Any, *, at_least: int = 1) -> int:
    """Return `n` as a Python integer, or refuse it; a number of steps or points is static and cannot be traced."""
    if is_traced(n):
        refuse(name, "be a Python integer", "is traced; pass it outside `jit` or mark it static")
    try:
        value = operator.index(n)
    except TypeError:
        value = None
    if value is None or isinstance(n, bool | np.bool_):
        refuse(name, f"be an integer of at least {at_least}", f"is {n!r}")
    if value < at_least:
        refuse(name, f"be an integer of at least {at_least}", f"is {value}")
    return value


def check_increasing(name: str, x: Array) -> None:
    """Refuse sample positions that do not strictly increase."""
    if is_traced(x):
        return
    steps = np.diff(np.asarray(x))
    if not (steps > 0).all():
        at = int(np.argmin(steps > 0))
        refuse(
            name,
            "increase strictly",
            f"goes from {x[at]:g} to {x[at + 1]:g} at index {at + 1}; sort it first",
        )


def check_uniform(name: str, x: Array) -> None:
    """Refuse sample positions whose spacing varies by more than rounding allows."""
    check_increasing(name, x)
    if is_traced(x) or len(x) < 3:
        return
    x = np.asarray(x)
    steps = np.diff(x)
    # Positions are rounded to eps |x|, so an honest uniform grid shows spacings that differ by a few such units.
    slack = 8 * np.finfo(x.dtype).eps * np.max(np.abs(x)) + 1e-9 * abs(steps.mean())
    if np.max(np.abs(steps - steps.mean())) > slack:
        refuse(name, "be uniformly spaced", f"its spacing runs from {steps.min():g} to {steps.max():g}")


@dataclass(frozen=True)
class _IgnoresArgs:
    """A function of `y` alone, dressed as a function of `(y, args)`; equal to another dressing of the same one."""

    fn: Callable

    def __call__(self, y: Any, _args: Any) -> Any:
        return self.fn(y)


def with_args(name: str, fn: Any, args: Any) -> Callable[[Any, Any], Any]:
    """Return `fn` as a function of `(y, args)`; a function of `y` alone is accepted while `args` is None."""
    if not callable(fn):
        refuse(name, "be a function `fn(y, args)`", f"is {type(fn).__name__}")
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return fn
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) >= 2 or any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return fn
    if args is not None:
        refuse(name, "take `(y, args)` because `args` was given", "takes one argument")
    return _IgnoresArgs(fn)
