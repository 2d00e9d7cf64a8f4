"""Minimize: follow any Optax transformation downhill, and record the way.

    y_{n+1} = y_n + Δ_n,    (Δ_n, s_{n+1}) = optimizer.update(∇f(y_n), s_n, y_n)

For a least-squares problem or a root use Optimistix, whose second-order methods need far fewer steps; this verb is for
first-order methods (and Optax's L-BFGS), and for seeing what they do.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnum._checks import as_count, as_tree, refuse, with_args
from jaxnum._progress import Progress
from jaxnum._solution import Solution
from jaxnum._typing import Objective, Params
from jaxnum.numerics.descent import descend


def minimize(
    fn: Objective,
    optimizer: optax.GradientTransformation,
    y0: Params,
    args: Any = None,
    *,
    num_steps: int,
    save_every: int = 1,
    progress: Progress = False,
) -> Solution:
    """Minimize a scalar function with an Optax transformation.

    All `num_steps` steps are taken: a run near its stability limit can touch the minimum and leave again, so what
    counts is where it is at the end. A new optimizer or a new lambda is compiled anew: build them once, outside loops.

    Args:
        fn: Function `fn(y, args)` (or `fn(y)` while `args` is None) returning a real scalar.
        optimizer: Optax transformation such as `optax.adam(0.1)`. Gradients are handed to it as they are.
        y0: Start: an array or a pytree of floating-point arrays.
        args: Pytree of arrays and numbers for `fn`; new values cost no compilation.
        num_steps: Number of steps.
        save_every: Steps between rows of `history`.
        progress: False, True for a bar, or a function `progress(done, total)`.

    Returns:
        Solution with `value` = the last point, `residual` = norm of the gradient there, and `history` with `step`,
        `y`, `value`, `gradient_norm` at the start, every `save_every` steps and the end. Status `nonfinite` when a
        value or a point stopped being finite (`num_steps` then says at which step), `diverged` when the value ended
        above its start. A residual that is not small means that the budget ended before the descent did.

    Raises:
        ValueError: If `fn` does not return a real scalar, `y0` is not finite and floating point, or a count is not
            a positive integer.

    Example:
        >>> import optax
        >>> from jaxnum.optimize import landscapes, minimize
        >>> valley = landscapes.rosenbrock()
        >>> solution = minimize(valley.fn, optax.lbfgs(), valley.y0, num_steps=50)
        >>> solution.ok, bool(solution.residual < 1e-10)
        (True, True)
    """
    fn, y0 = check_objective(fn, y0, args)
    check_optimizer("optimizer", optimizer)
    num_steps, save_every = as_count("num_steps", num_steps), as_count("save_every", save_every)
    if not (isinstance(progress, bool) or callable(progress)):
        refuse("progress", "be True, False or a function `progress(done, total)`", f"is {progress!r}")
    return descend(
        fn, optimizer, y0, args, num_steps=num_steps, save_every=save_every, progress=progress, label="minimize"
    )


def check_objective(fn: Any, y0: Any, args: Any) -> tuple[Any, Any]:
    """Return `fn` as a function of `(y, args)` and `y0` as arrays, or refuse them by name."""
    y0, fn = as_tree("y0", y0), with_args("fn", fn, args)
    for leaf in jax.tree.leaves(args):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            refuse("args", "be a pytree of arrays and numbers", f"holds {leaf!r:.60}")
    value = jax.eval_shape(fn, y0, args)
    if not hasattr(value, "shape"):
        refuse("fn", "return a real scalar", f"returns a {type(value).__name__}")
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        refuse("fn", "return a real scalar", f"returns {value.dtype} of shape {value.shape}")
    return fn, y0


def check_optimizer(name: str, optimizer: Any) -> None:
    """Refuse what is not an Optax transformation."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        refuse(name, "be an Optax transformation such as `optax.adam(0.1)`", f"is {optimizer!r:.60}")
