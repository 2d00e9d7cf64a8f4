"""Minimize: follow a method downhill, and record the way.

    y_{n+1} = y_n + Δ_n,    (Δ_n, s_{n+1}) = optimizer.update(∇f(y_n), s_n, y_n)

Any Optax transformation is a method, L-BFGS with its line search included; so is Optimistix's BFGS. Where the function
is a sum of squares, f = Σ rᵢ², `least_squares` uses what is known about it: the Jacobian of r gives the curvature
near a minimum for nothing, and Levenberg-Marquardt needs ten steps where descent needs ten thousand.

Reference:
    Nocedal & Wright, Numerical Optimization (2006), https://doi.org/10.1007/978-0-387-40065-5
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix

from jaxnum._checks import as_count, as_tree, check_positive, refuse, with_args
from jaxnum._progress import Progress
from jaxnum._solution import Solution
from jaxnum._typing import Objective, Params
from jaxnum.numerics.descent import Sample, descend, descend_by_solver


@dataclass(frozen=True)
class BFGS:
    """Optimistix's BFGS: a quasi-Newton method with a backtracking line search; each step is one evaluation."""

    def solver(self) -> Any:
        """Return the Optimistix solver. Its own tolerances play no part here."""
        return optimistix.BFGS(rtol=1e-8, atol=1e-8)


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Optimistix's Levenberg-Marquardt: Gauss-Newton, damped until the step helps; each step is one evaluation."""

    def solver(self) -> Any:
        """Return the Optimistix solver. Its own tolerances play no part here."""
        return optimistix.LevenbergMarquardt(rtol=1e-8, atol=1e-8)


@dataclass(frozen=True)
class Dogleg:
    """Optimistix's dogleg: Gauss-Newton within a trust region; each step is one evaluation."""

    def solver(self) -> Any:
        """Return the Optimistix solver. Its own tolerances play no part here."""
        return optimistix.Dogleg(rtol=1e-8, atol=1e-8)


_LEVENBERG_MARQUARDT = LevenbergMarquardt()


def minimize(
    fn: Objective,
    optimizer: optax.GradientTransformation | BFGS,
    y0: Params,
    args: Any = None,
    *,
    num_steps: int,
    save_every: int = 1,
    tolerance: Any = None,
    sample: Sample | None = None,
    progress: Progress = False,
) -> Solution:
    """Minimize a scalar function.

    Unless a tolerance is given all `num_steps` steps are taken: a run near its stability limit can touch the minimum
    and leave again, so what counts is where it is at the end. A new optimizer or a new lambda is compiled anew: build
    them once, outside loops, or try rates by `tunable(optax.adam, rate)`, which is compiled once.
    Memory holds the rows of `history` and nothing else that grows with the run.

    Args:
        fn: Function `fn(y, args)` (or `fn(y)` while `args` is None) returning a real scalar.
        optimizer: Optax transformation such as `optax.adam(0.1)` or `optax.lbfgs()`, handed the gradients as they are;
            or `BFGS()`, or another minimizer of Optimistix.
        y0: Start: an array or a pytree of floating-point arrays.
        args: Pytree of arrays and numbers for `fn`; new values cost no compilation.
        num_steps: Number of steps; with a tolerance, the most that are taken.
        save_every: Steps between rows of `history`.
        tolerance: Norm of the gradient at which to stop. Above the stability limit a run can meet it in transit.
        sample: Function `sample(args, n)` giving the arguments that step n sees, such as a mini-batch or noise. The
            rows of `history` are those of `fn(y, args)`.
        progress: False, True for a bar, or a function `progress(done, total)`.

    Returns:
        Solution with `value` = the last point, `residual` = norm of the gradient there, and `history` with `step`,
        `y`, `value`, `gradient_norm` at the start, every `save_every` steps and the end. Status `nonfinite` when a
        value or a point stopped being finite (`num_steps` then says at which step), `diverged` when the value ended
        above its start, `max_steps` when a tolerance was given and not met. After a stop `num_steps` is the number of
        steps taken, and the rows that are left repeat the end. Without a tolerance a residual that is not small means
        that the budget ended before the descent did.

    Raises:
        ValueError: If `fn` does not return a real scalar, `y0` is not finite and floating point, a count is not
            a positive integer, or `tolerance` and `sample` are both given.

    Example:
        >>> import optax
        >>> from jaxnum.optimize import landscapes, minimize
        >>> valley = landscapes.rosenbrock()
        >>> solution = minimize(valley.fn, optax.lbfgs(), valley.y0, num_steps=50, tolerance=1e-8)
        >>> solution.ok, bool(solution.num_steps < 50)
        (True, True)
    """
    fn, y0 = check_objective(fn, y0, args)
    method = _solver("optimizer", optimizer, BFGS, optimistix.AbstractMinimiser)
    if method is None:
        check_optimizer("optimizer", optimizer)
    num_steps, save_every = _check_run(num_steps, save_every, tolerance, progress)
    if sample is not None:
        _check_sample(sample, args, method, tolerance)
    options = {"num_steps": num_steps, "save_every": save_every, "tolerance": tolerance, "progress": progress}
    if method is not None:
        return descend_by_solver(fn, method, y0, args, label="minimize", **options)
    return descend(fn, optimizer, y0, args, sample=sample, label="minimize", **options)


def least_squares(
    residuals: Callable[..., Any],
    y0: Params,
    args: Any = None,
    *,
    method: LevenbergMarquardt | Dogleg = _LEVENBERG_MARQUARDT,
    num_steps: int = 200,
    save_every: int = 1,
    tolerance: Any = None,
    progress: Progress = False,
) -> Solution:
    """Minimize a sum of squares Σ rᵢ² (without a factor ½) of nonlinear residuals.

    Args:
        residuals: Function `residuals(y, args)` (or of `y` alone while `args` is None) returning a real array, or a
            pytree of them.
        y0: Start: an array or a pytree of floating-point arrays.
        args: Pytree of arrays and numbers for `residuals`; new values cost no compilation.
        method: `LevenbergMarquardt()`, `Dogleg()`, or another least-squares solver of Optimistix.
        num_steps: Evaluations of residuals and Jacobian; with a tolerance, the most that are made.
        save_every: Steps between rows of `history`.
        tolerance: Norm of the gradient of Σ rᵢ² at which to stop.
        progress: False, True for a bar, or a function `progress(done, total)`.

    Returns:
        Solution as that of `minimize`; `history.value` is the sum of squares.

    Raises:
        ValueError: If `residuals` does not return real arrays, or another argument makes no sense.

    Example:
        >>> from jaxnum.optimize import landscapes, least_squares
        >>> problem = landscapes.meyer()
        >>> solution = least_squares(problem.residuals, problem.y0, num_steps=400, save_every=400)
        >>> round(float(solution.history.value[-1]), 4)
        87.9459
    """
    y0, fn = as_tree("y0", y0), with_args("residuals", residuals, args)
    _check_args(args)
    out = jax.eval_shape(fn, y0, args)
    leaves = jax.tree.leaves(out)
    if not leaves or not all(hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) for x in leaves):
        refuse("residuals", "return real arrays", f"returns {out!r:.80}")
    solver = _solver("method", method, LevenbergMarquardt | Dogleg, optimistix.AbstractLeastSquaresSolver)
    if solver is None:
        refuse("method", "be LevenbergMarquardt(), Dogleg() or a solver of Optimistix", f"is {method!r:.60}")
    num_steps, save_every = _check_run(num_steps, save_every, tolerance, progress)
    options = {"num_steps": num_steps, "save_every": save_every, "tolerance": tolerance, "progress": progress}
    return descend_by_solver(fn, solver, y0, args, squares=True, label="least squares", **options)


def check_objective(fn: Any, y0: Any, args: Any) -> tuple[Any, Any]:
    """Return `fn` as a function of `(y, args)` and `y0` as arrays, or refuse them by name."""
    y0, fn = as_tree("y0", y0), with_args("fn", fn, args)
    _check_args(args)
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


def _check_args(args: Any) -> None:
    for leaf in jax.tree.leaves(args):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            refuse("args", "be a pytree of arrays and numbers", f"holds {leaf!r:.60}")


def _check_run(num_steps: Any, save_every: Any, tolerance: Any, progress: Any) -> tuple[int, int]:
    num_steps, save_every = as_count("num_steps", num_steps), as_count("save_every", save_every)
    if tolerance is not None:
        check_positive("tolerance", tolerance)
    if not (isinstance(progress, bool) or callable(progress)):
        refuse("progress", "be True, False or a function `progress(done, total)`", f"is {progress!r}")
    return num_steps, save_every


def _check_sample(sample: Any, args: Any, method: Any, tolerance: Any) -> None:
    if not callable(sample):
        refuse("sample", "be a function `sample(args, n)`", f"is {sample!r:.60}")
    if method is not None:
        refuse("sample", "be None with this optimizer, which needs the same function at every step", "is given")
    if tolerance is not None:
        refuse("tolerance", "be None when `sample` is given: the gradient of a sample is not the gradient", "is given")
    seen, whole = jax.eval_shape(sample, args, jnp.int32(0)), jax.eval_shape(lambda a: a, args)
    if jax.tree.structure(seen) != jax.tree.structure(whole):
        refuse("sample", "return arguments like `args`", f"returns {jax.tree.structure(seen)}")


def _solver(name: str, method: Any, records: Any, solvers: Any) -> Any:
    """Return the Optimistix solver that is meant, or None if none is."""
    if isinstance(method, records):
        return method.solver()
    if isinstance(method, solvers):
        return method
    if isinstance(method, optimistix.AbstractIterativeSolver):
        refuse(name, "minimize what this function minimizes", f"is a {type(method).__name__}")
    return None
