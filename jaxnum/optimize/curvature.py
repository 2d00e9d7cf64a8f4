"""Curvature and stability, measured: both ends of a Hessian's spectrum, and where one real step turns unstable.

    H v = d/dε ∇f(y + ε v)  at ε = 0      no matrix is formed; Lanczos finds both ends from such products
    step: (y, memory) → (y, memory)        stable where every eigenvalue of its Jacobian at the minimum is below 1

The power method finds the eigenvalue of largest magnitude, at a saddle often the wrong end; Lanczos finds both. The
limit that is measured here from the step of an optimizer, whatever is inside, is what `stability_limit` derives.

Reference:
    Saad, Numerical Methods for Large Eigenvalue Problems (2011), https://doi.org/10.1137/1.9781611970739
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum._typing import Objective, Params
from jaxnum.numerics.krylov import lanczos_ends
from jaxnum.optimize.minimize import check_objective, check_optimizer

_KRYLOV = 60  # steps of Lanczos: exact up to that many parameters, beyond it both ends to many digits


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Curvature:
    """Both ends of the spectrum of a Hessian.

    Attributes:
        smallest: Smallest eigenvalue; negative at a saddle.
        largest: Largest eigenvalue, which limits the learning rate.
        smallest_direction: Its eigenvector of length one, like the parameters.
        largest_direction: Its eigenvector of length one, like the parameters.
        error: Bound ‖Hv − λv‖ within which each value is an eigenvalue.
    """

    smallest: Array
    largest: Array
    smallest_direction: Any
    largest_direction: Any
    error: Array

    @property
    def condition(self) -> Array:
        """κ = largest/smallest; meaningful at a minimum."""
        return self.largest / self.smallest


def curvature(
    fn: Objective, y: Params, args: Any = None, *, num_steps: int | None = None, key: Array | None = None
) -> Curvature:
    """Return both ends of the spectrum of the Hessian of a function, from Hessian-vector products.

    Lanczos with full reorthogonalization, so that nothing found is found twice.

    Args:
        fn: Function `fn(y, args)` (or `fn(y)` while `args` is None) returning a real scalar.
        y: Where, an array or a pytree of floating-point arrays.
        args: Pytree of arrays and numbers for `fn`; new values cost no compilation.
        num_steps: Hessian-vector products; by default as many as there are parameters, 60 at most.
        key: Random key for the start vector; `jax.random.key(0)` by default.

    Returns:
        Curvature with `smallest`, `largest`, their directions, and a bound of their error.

    Raises:
        ValueError: If `fn` does not return a real scalar or `y` is not finite and floating point.

    Example:
        >>> from jaxnum.optimize import curvature, landscapes, stability_limit, Sgd
        >>> valley = landscapes.rosenbrock()
        >>> ends = curvature(valley.fn, valley.minima[0])
        >>> round(float(ends.largest), 4), round(float(stability_limit(Sgd(), ends.largest)), 7)
        (1001.6006, 0.0019968)
    """
    fn, y = check_objective(fn, y, args)
    size = sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(y))
    num_steps = min(_KRYLOV if num_steps is None else as_count("num_steps", num_steps), size)
    return _curvature(fn, y, args, jax.random.key(0) if key is None else key, num_steps)


@partial(jax.jit, static_argnames=("fn", "num_steps"))
def _curvature(fn, y, args, key, num_steps):
    flat, back = ravel_pytree(y)
    gradient = jax.grad(lambda p: fn(back(p), args))
    start = jax.random.normal(key, flat.shape, flat.dtype)
    ends = lanczos_ends(lambda v: jax.jvp(gradient, (flat,), (v,))[1], start, num_steps)
    directions = back(ends.smallest_vector), back(ends.largest_vector)
    return Curvature(ends.smallest, ends.largest, *directions, ends.residual)


def measured_limit(
    make_optimizer: Callable[[Any], optax.GradientTransformation],
    curvature: float,
    *,
    between: tuple[float, float],
    state: Any = None,
    rtol: float = 1e-9,
) -> float:
    """Return the learning rate at which one real step of an optimizer turns unstable on a quadratic.

    One step is differentiated in (parameter, memory) at the minimum, and the rate is bisected until the spectral radius
    of that Jacobian crosses 1. It works for every optimizer whose step is smooth there; for Adam give a `state` with
    the second moment that it would have, since at zero there is none.

    Args:
        make_optimizer: Function of the learning rate returning an Optax transformation.
        curvature: Largest eigenvalue of the Hessian, positive.
        between: Rate known to be stable, and rate known to be unstable.
        state: Function of a learning rate returning the optimizer's memory; by default its own at the start.
        rtol: Relative width at which to stop.

    Returns:
        Learning rate.

    Raises:
        ValueError: If the ends of `between` are not what is asked for, or something is no optimizer.

    Example:
        >>> import optax
        >>> from jaxnum.optimize import measured_limit
        >>> heavy_ball = lambda rate: optax.sgd(rate, momentum=0.9)
        >>> round(measured_limit(heavy_ball, 10.0, between=(0.1, 1.0)), 6)
        0.38
    """
    if not callable(make_optimizer):
        refuse("make_optimizer", "be a function of a learning rate", f"is {make_optimizer!r:.60}")
    check_positive("curvature", curvature)
    low, high = (float(x) for x in between)
    check_positive("rtol", rtol)
    radius = _radius(make_optimizer, float(curvature), state)
    found = radius(low), radius(high)
    if not (low < high and found[0] < 1 < found[1]):
        growth = f"({found[0]:.6g}, {found[1]:.6g})"
        refuse("between", "hold a stable rate and a larger unstable one", f"({low:g}, {high:g}) grow by {growth}")
    while high - low > rtol * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if radius(middle) < 1 else (low, middle)
    return (low + high) / 2


def _radius(make_optimizer, curvature, state):
    """Return a function of the rate: the spectral radius of one step about the minimum at 0."""

    @jax.jit
    def jacobian(rate):
        optimizer, origin = make_optimizer(rate), jnp.zeros(())
        check_optimizer("make_optimizer", optimizer)
        memory = optimizer.init(origin) if state is None else state(rate)
        leaves, structure = jax.tree.flatten(memory)
        moving = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
        flat, back = ravel_pytree((origin, [jnp.asarray(leaves[i], origin.dtype) for i in moving]))

        def step(point):
            x, floats = back(point)
            now = list(leaves)
            for i, value in zip(moving, floats, strict=True):
                now[i] = value
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                move, after = optimizer.update(curvature * x, jax.tree.unflatten(structure, now), x)
            after = jax.tree.leaves(after)
            return ravel_pytree((x + move, [jnp.asarray(after[i], x.dtype) for i in moving]))[0]

        return jax.jacfwd(step)(flat)

    return lambda rate: float(np.max(np.abs(np.linalg.eigvals(np.asarray(jacobian(rate))))))
