"""Fitting features to data: by descent, in the way it is taught, and by least squares, in the way it is done.

    L(c) = mean (Xc − y)²,    ∇L = 2Xᵀ(Xc − y)/n,    H = 2XᵀX/n

The loss is the mean of the squares, WITHOUT a factor ½. That is a convention, and it moves every learning rate: with
½ in front the largest stable rate doubles, with the sum for the mean it falls by n.

Descent at rate η multiplies the error along an eigenvector of H by 1 − ηλ in every step. It is stable below 2/λmax,
fastest at 2/(λmin + λmax), and then needs about κ/2 · ln(1/ε) steps, κ = λmax/λmin: the condition number decides.

References:
    Björck, Numerical Methods for Least Squares Problems (1996), https://doi.org/10.1137/1.9781611971484
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_array, as_count, check_positive, refuse
from jaxnum._progress import Progress
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum.numerics import descent


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Curvature:
    """Ends of the spectrum of H = 2XᵀX/n, and what follows from them.

    Attributes:
        smallest: Smallest eigenvalue; directions that the features do not see at all, where it is zero to rounding,
            are left out, because descent never moves along them.
        largest: Largest eigenvalue.
        rank: Number of directions that the features see.
    """

    smallest: Array
    largest: Array
    rank: Array

    @property
    def condition(self) -> Array:
        """κ = largest/smallest, the square of the condition number of the features."""
        return self.largest / self.smallest

    @property
    def limit(self) -> Array:
        """Learning rate at which gradient descent on the mean squared error turns unstable."""
        return 2 / self.largest

    @property
    def optimal_rate(self) -> Array:
        """Learning rate of the fastest gradient descent; the error then shrinks by (κ−1)/(κ+1) per step."""
        return 2 / (self.smallest + self.largest)

    @property
    def optimal_momentum(self) -> tuple[Array, Array]:
        """Learning rate and momentum of the fastest heavy ball; the error shrinks by about (√κ−1)/(√κ+1) per step."""
        low, high = jnp.sqrt(self.smallest), jnp.sqrt(self.largest)
        return (2 / (high + low)) ** 2, ((high - low) / (high + low)) ** 2


def curvature(features: ArrayLike) -> Curvature:
    """Return the curvature of the mean squared error over the coefficients: limits and condition of descent.

    It comes from the singular values of the features, since the eigenvalues of XᵀX are rounding noise beyond
    κ of 1e15.

    Args:
        features: Columns, (n, p).

    Raises:
        ValueError: If `features` is not a finite real matrix.

    Example:
        >>> import numpy as np
        >>> from jaxnum.regression import curvature, monomials
        >>> line = curvature(monomials(np.linspace(0.0, 100.0, 100), 1))
        >>> f"{float(line.limit):.3g}"  # a rate of 0.01 blows up
        '0.000298'
    """
    return _curvature(as_array("features", features, ndim=2))


def descend(
    features: ArrayLike,
    y: ArrayLike,
    *,
    learning_rate: ArrayLike | None = None,
    optimizer: optax.GradientTransformation | None = None,
    accelerate: bool = False,
    num_steps: int,
    start: ArrayLike | None = None,
    save_every: int = 1,
    progress: Progress = False,
) -> Solution:
    """Fit features to data by descent on the mean squared error (without ½).

    `least_squares` gives the limit of this at once and more accurately: descend to see descent.

    Args:
        features: Columns, (n, p).
        y: Data, (n,).
        learning_rate: Rate of plain gradient descent; a new value costs no compilation. None, with no `optimizer`,
            takes the best stable one, 2/(λmin + λmax).
        optimizer: Optax transformation instead; a new one is compiled anew.
        accelerate: Take the heavy ball with the rate and momentum that the spectrum asks for, instead of descent: the
            error then shrinks by about (√κ−1)/(√κ+1) per step instead of (κ−1)/(κ+1).
        num_steps: Number of steps.
        start: Coefficients to start from, (p,); None means zeros.
        save_every: Steps between rows of `history`.
        progress: False, True for a bar, or a function `progress(done, total)`.

    Returns:
        Solution with `value` = the coefficients, (p,); `residual` = length of the Newton step that is left, relative
        to the coefficients, which is their relative distance from least squares (a gradient alone would flatter: it
        is small along flat directions long before their coefficients are right); `history` with `step`,
        `coefficients`, `value` (the loss) and `gradient_norm`. Status `nonfinite` or `diverged` when the run blew
        up; `ill_conditioned` when κ times the rounding unit leaves less than a quarter of the digits; `max_steps`
        when the residual is still above √eps and above what rounding allows.

    Raises:
        ValueError: If shapes do not fit, something is not finite and real, the rate is not positive, or more than one
            of rate, optimizer and `accelerate` is given.

    Example:
        >>> import numpy as np
        >>> from jaxnum.regression import descend, legendre
        >>> x = np.linspace(0.0, 10.0, 50)
        >>> fit = descend(legendre(x, 2), x**2, num_steps=100)
        >>> print(fit.status, np.round(fit.value, 6))
        ok [33.333333 50.       16.666667]
    """
    features, y = _data(features, y)
    num_steps, save_every = as_count("num_steps", num_steps), as_count("save_every", save_every)
    if not (isinstance(progress, bool) or callable(progress)):
        refuse("progress", "be True, False or a function `progress(done, total)`", f"is {progress!r}")
    p = features.shape[1]
    start = jnp.zeros(p, features.dtype) if start is None else as_array("start", start, shape=(p,))
    ends = _curvature(jax.lax.stop_gradient(features))
    if not isinstance(accelerate, bool):
        refuse("accelerate", "be True or False", f"is {accelerate!r:.40}")
    if accelerate:
        if learning_rate is not None or optimizer is not None:
            refuse("accelerate", "be False when a rate or an optimizer is given", "is True")
        optimizer = _heavy_ball(jnp.stack(ends.optimal_momentum))
    elif optimizer is None:
        if learning_rate is not None:
            check_positive("learning_rate", learning_rate)
        rate = ends.optimal_rate if learning_rate is None else learning_rate
        optimizer = _gradient_descent(jnp.asarray(rate, features.dtype))
    elif learning_rate is not None:
        refuse("learning_rate", "be None when `optimizer` is given", "both are given")
    elif not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        refuse("optimizer", "be an Optax transformation such as `optax.adam(0.1)`", f"is {optimizer!r:.60}")
    run = descent.descend(
        mean_squared_error,
        optimizer,
        start.astype(features.dtype),
        (features, y),
        num_steps=num_steps,
        save_every=save_every,
        progress=progress,
        label="regression",
    )
    rows = dict(run.history.items())
    rows["coefficients"] = rows.pop("y")
    history = History(**{name: rows[name] for name in ("step", "coefficients", "value", "gradient_norm")})
    residual, status = _judge(features, y, run.value, ends, run.status.code)
    return Solution(run.value, history, residual, run.num_steps, status)


def mean_squared_error(coefficients: Array, data: tuple[Array, Array]) -> Array:
    """Mean of the squared misfits (without ½) of `data` = (features, y)."""
    features, y = data
    return jnp.mean((features @ coefficients - y) ** 2)


def least_squares(features: ArrayLike, y: ArrayLike, *, ridge: ArrayLike = 0.0) -> Float[Array, " p"]:
    """Return the coefficients c that minimize ‖Xc − y‖² + ridge ‖c‖².

    By singular values, never by the normal equations, which square the condition number. Without a ridge, features
    that depend on each other get the shortest of all solutions. Differentiable in all arguments.

    Args:
        features: Columns X, (n, p).
        y: Data, (n,).
        ridge: Weight of the squared coefficients against the SUM of squared misfits (not their mean): the convention
            of scikit-learn's `Ridge(alpha=ridge, fit_intercept=False)`. Every column is held down, a constant one
            too. To leave the intercept free, as scikit-learn does with `fit_intercept=True`, fit centered columns
            to centered data.

    Raises:
        ValueError: If shapes do not fit, something is not finite and real, or `ridge` is negative.

    Example:
        >>> import numpy as np
        >>> from jaxnum.regression import least_squares, monomials
        >>> x = np.array([0.0, 1.0, 2.0])
        >>> np.round(least_squares(monomials(x, 1), 3 + 2 * x), 12).tolist()
        [3.0, 2.0]
    """
    features, y = _data(features, y)
    check_positive("ridge", ridge, zero_ok=True)
    return solve_least_squares(features, y, jnp.asarray(ridge, features.dtype))


# Jitted cores -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rate:
    """Puts the learning rate into the optimizer's memory, where it is traced; equal to every other rate."""

    rate: Any = field(compare=False)

    def __call__(self, _parameters: Any) -> Any:
        return self.rate


def _downhill(gradient: Array, rate: Array, _parameters: Any = None) -> tuple[Array, Array]:
    return -rate * gradient, rate


def _gradient_descent(rate: Array) -> optax.GradientTransformation:
    """Gradient descent whose rate is data: all rates share one compilation."""
    return optax.GradientTransformation(_Rate(rate), _downhill)


@dataclass(frozen=True)
class _Ball:
    """Puts rate, momentum and velocity into the optimizer's memory; equal to every other such."""

    numbers: Any = field(compare=False)

    def __call__(self, parameters: Any) -> Any:
        return self.numbers, jnp.zeros_like(parameters)


def _roll(gradient: Array, memory: Any, _parameters: Any = None) -> tuple[Array, Any]:
    numbers, velocity = memory
    velocity = numbers[1] * velocity + gradient
    return -numbers[0] * velocity, (numbers, velocity)


def _heavy_ball(numbers: Array) -> optax.GradientTransformation:
    """Heavy ball whose rate and momentum are data: all share one compilation."""
    return optax.GradientTransformation(_Ball(numbers), _roll)


@jax.jit
def _curvature(features: Array) -> Curvature:
    values = jnp.linalg.svd(features, compute_uv=False)
    seen = values > _cutoff(features) * values[0]
    largest = 2 * values[0] ** 2 / features.shape[0]
    smallest = jnp.min(jnp.where(seen, values, values[0]))
    return Curvature(2 * smallest**2 / features.shape[0], largest, jnp.sum(seen))


@jax.jit
def _judge(features: Array, y: Array, coefficients: Array, ends: Curvature, code: Array) -> tuple[Array, Status]:
    """Return the relative distance from least squares, and the status that follows."""
    features, y, coefficients = jax.lax.stop_gradient((features, y, coefficients))
    # H⁻¹∇L is the solution of the same least-squares problem for the misfit that is left.
    newton = _solve(features, features @ coefficients - y, jnp.zeros((), features.dtype))
    size = jnp.linalg.norm(coefficients)
    residual = jnp.linalg.norm(newton) / jnp.where(size > 0, size, jnp.ones_like(size))
    eps = jnp.finfo(features.dtype).eps
    rounding = ends.condition * eps
    status = Status.first(
        (code == Status.nonfinite.code, Status.nonfinite),
        (code == Status.diverged.code, Status.diverged),
        (rounding > eps**0.25, Status.ill_conditioned),
        (~(residual <= jnp.maximum(eps**0.5, 10 * rounding)), Status.max_steps),
    )
    return residual, status


def _cutoff(features: Array) -> float:
    return float(jnp.finfo(features.dtype).eps) * max(features.shape)


def _factors(features: Array, ridge: Array) -> tuple[Array, Array, Array, Array]:
    """Return U, s, Vᵀ and 1/(s² + ridge), zero for directions that only rounding sees."""
    u, s, vt = jnp.linalg.svd(features, full_matrices=False)
    seen = (s > _cutoff(features) * s[0]) | (ridge > 0)
    square = jnp.where(seen, s**2 + ridge, jnp.ones_like(s))
    return u, s, vt, jnp.where(seen, 1 / square, jnp.zeros_like(s))


def _solve(features: Array, y: Array, ridge: Array) -> Array:
    u, s, vt, weight = _factors(features, ridge)
    return vt.T @ (s * weight * (u.T @ y))


@jax.custom_jvp
@jax.jit
def solve_least_squares(features: Array, y: Array, ridge: Array) -> Array:
    """`least_squares` behind its checks."""
    return _solve(features, y, ridge)


@solve_least_squares.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # Differentiating the equation XᵀXc + ρc = Xᵀy instead of the singular vectors, whose derivatives are infinite
    # where two singular values meet: exactly what an orthogonal basis makes them do.
    #     dc = (XᵀX + ρ)⁻¹ (Xᵀ(dy − dX c) + dXᵀ(y − Xc) − dρ c)
    features, y, ridge = primals
    d_features, d_y, d_ridge = tangents
    u, s, vt, weight = _factors(features, ridge)
    c = vt.T @ (s * weight * (u.T @ y))
    inner = d_features.T @ (y - features @ c) - d_ridge * c
    dc = vt.T @ (s * weight * (u.T @ (d_y - d_features @ c)) + weight * (vt @ inner))
    # Directions that the features do not see: a ridge holds them at 1/ρ; without one the shortest solution turns.
    dual = d_features.T @ (u @ (weight * (u.T @ y)))
    held = ridge > 0
    unseen = jnp.where(held, inner / jnp.where(held, ridge, jnp.ones_like(ridge)), dual)
    basis = jnp.where(weight[:, None] > 0, vt, jnp.zeros_like(vt))
    return c, dc + unseen - basis.T @ (basis @ unseen)


# At the door --------------------------------------------------------------------------------------------------------


def _data(features: Any, y: Any) -> tuple[Array, Array]:
    features = as_array("features", features, ndim=2)
    return same_dtype(features, as_array("y", y, shape=(features.shape[0],)))


def same_dtype(*arrays: Array) -> list[Array]:
    """Return arrays in the widest of their dtypes."""
    dtype = np.result_type(*(x.dtype for x in arrays))
    return [x.astype(dtype) for x in arrays]
