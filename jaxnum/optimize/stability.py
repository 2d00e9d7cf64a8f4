"""Stability: the largest learning rate that does not blow up, known before the first step.

On a quadratic with curvature λ every method here is a linear map of (parameter, memory). With h = ηλ, and the memory
measured in units of one step, its trace T and determinant D are

    gradient descent   x ← x − ηg                           T = 1 − h           D = 0         h < 2
    momentum           v ← βv + g,       x ← x − ηv         T = 1 + β − h       D = β         h < 2(1+β)
    Nesterov           v ← βv + g,       x ← x − η(g + βv)  T = (1 + β)(1 − h)  D = β(1 − h)  h < 2(1+β)/(1+2β)
    averaged momentum  m ← βm + (1−β)g,  x ← x − ηm         T = 1 + β − (1−β)h  D = β         h < 2(1+β)/(1−β)

The error is multiplied, in the long run, by the spectral radius ρ of that map in every step; the method is stable
while ρ < 1. Momentum that averages the gradients instead of adding them allows a rate 1/(1−β) times larger for the
same motion: mixing up the two is a hidden tenfold learning rate at β = 0.9.

Away from a quadratic all this is a local statement: the curvature changes along the path.

References:
    Polyak (1964), https://doi.org/10.1016/0041-5553(64)90137-5
    Goh, Why momentum really works (2017), https://doi.org/10.23915/distill.00006
    Cohen et al., Adaptive gradient methods at the edge of stability (2022), https://arxiv.org/abs/2207.14484
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, refuse
from jaxnum._typing import is_traced


@dataclass(frozen=True)
class Sgd:
    """Gradient descent, as `optax.sgd(learning_rate)`."""

    def trace_and_determinant(self, h: Array) -> tuple[Array, Array]:
        """Trace and determinant of one step, at h = learning rate times curvature."""
        return 1 - h, jnp.zeros_like(h)

    def limit(self) -> Any:
        """Product of learning rate and curvature at which the method turns unstable."""
        return 2.0


@dataclass(frozen=True)
class Momentum:
    """Heavy-ball momentum, which adds up gradients, as `optax.sgd(learning_rate, momentum=beta)`.

    Attributes:
        beta: Share of the memory kept at each step, at least 0 and below 1.
    """

    beta: float

    def __post_init__(self) -> None:
        check_share("beta", self.beta)

    def trace_and_determinant(self, h: Array) -> tuple[Array, Array]:
        """Trace and determinant of one step, at h = learning rate times curvature."""
        return 1 + self.beta - h, self.beta * jnp.ones_like(h)

    def limit(self) -> Any:
        """Product of learning rate and curvature at which the method turns unstable."""
        return 2 * (1 + self.beta)


@dataclass(frozen=True)
class Nesterov:
    """Nesterov's momentum, as `optax.sgd(learning_rate, momentum=beta, nesterov=True)`.

    Attributes:
        beta: Share of the memory kept at each step, at least 0 and below 1.
    """

    beta: float

    def __post_init__(self) -> None:
        check_share("beta", self.beta)

    def trace_and_determinant(self, h: Array) -> tuple[Array, Array]:
        """Trace and determinant of one step, at h = learning rate times curvature."""
        return (1 + self.beta) * (1 - h), self.beta * (1 - h)

    def limit(self) -> Any:
        """Product of learning rate and curvature at which the method turns unstable."""
        return 2 * (1 + self.beta) / (1 + 2 * self.beta)


@dataclass(frozen=True)
class AveragedMomentum:
    """Momentum that averages gradients, as `optax.chain(optax.ema(beta, debias=False), optax.scale(-learning_rate))`.

    Attributes:
        beta: Share of the memory kept at each step, at least 0 and below 1.
    """

    beta: float

    def __post_init__(self) -> None:
        check_share("beta", self.beta)

    def trace_and_determinant(self, h: Array) -> tuple[Array, Array]:
        """Trace and determinant of one step, at h = learning rate times curvature."""
        return 1 + self.beta - (1 - self.beta) * h, self.beta * jnp.ones_like(h)

    def limit(self) -> Any:
        """Product of learning rate and curvature at which the method turns unstable."""
        return 2 * (1 + self.beta) / (1 - self.beta)


@dataclass(frozen=True)
class Adam:
    """Adam after many steps, when its second moment v hardly changes: averaged momentum in rescaled coordinates.

    The curvature that counts is that of P⁻¹H with P = diag(√v + ε): where gradients are small, P is small and the
    curvature large. The limit is 2(1+b1)/(1−b1), 38 over the learning rate at b1 = 0.9.

    Attributes:
        b1: Share of the first moment kept at each step, at least 0 and below 1.
    """

    b1: float = 0.9

    def __post_init__(self) -> None:
        check_share("b1", self.b1)

    def trace_and_determinant(self, h: Array) -> tuple[Array, Array]:
        """Trace and determinant of one step, at h = learning rate times preconditioned curvature."""
        return AveragedMomentum(self.b1).trace_and_determinant(h)

    def limit(self) -> Any:
        """Product of learning rate and preconditioned curvature at which the method turns unstable."""
        return AveragedMomentum(self.b1).limit()


Family = Sgd | Momentum | Nesterov | AveragedMomentum | Adam


def stability_limit(family: Family, curvature: ArrayLike) -> Array:
    """Return the learning rate above which a method diverges where the largest curvature is `curvature`.

    Args:
        family: Method and its momentum, such as `Sgd()` or `Momentum(0.9)`.
        curvature: Largest eigenvalue of the Hessian of the loss that is descended, positive; for `Adam` that of the
            Hessian divided by √v + ε. Mind the loss: a sum over n samples has n times the curvature of the mean.
            An array gives a limit each.

    Returns:
        Learning rate, in the shape of `curvature`.

    Raises:
        ValueError: If `curvature` is not positive: a quadratic that opens downwards has no stable learning rate.

    Example:
        >>> from jaxnum.optimize import Momentum, Sgd, stability_limit
        >>> float(stability_limit(Sgd(), 10.0)), float(stability_limit(Momentum(0.5), 10.0))
        (0.2, 0.3)
    """
    _check_family(family)
    curvature = _positive("curvature", curvature)
    return family.limit() / curvature


def growth_factor(family: Family, learning_rate: ArrayLike, curvature: ArrayLike) -> Array:
    """Return the factor by which the error along one curvature grows per step, in the long run.

    It is the spectral radius of one step on a quadratic: below 1 the error dies out, above 1 the run blows up. At the
    best momentum the map has a double eigenvalue and the error falls like k ρᵏ, a little slower than ρᵏ.

    Args:
        family: Method and its momentum.
        learning_rate: Learning rate, positive or zero.
        curvature: Eigenvalue of the Hessian, of either sign; broadcasts with `learning_rate`.

    Returns:
        Growth factor, in the common shape.

    Raises:
        ValueError: If an argument is not real and finite, or the learning rate is negative.

    Example:
        >>> from jaxnum.optimize import Sgd, growth_factor
        >>> print(growth_factor(Sgd(), 0.5, [1.0, 3.0, 5.0]))
        [0.5 0.5 1.5]
    """
    _check_family(family)
    learning_rate, curvature = _numbers(learning_rate=learning_rate, curvature=curvature)
    if not is_traced(learning_rate) and bool(np.any(np.asarray(learning_rate) < 0)):
        refuse("learning_rate", "not be negative", f"is {np.min(np.asarray(learning_rate)):g}")
    trace, determinant = family.trace_and_determinant(learning_rate * curvature)
    square = trace**2 / 4 - determinant
    # Both roots are computed from safe arguments, so that the derivative of the one not taken is finite too.
    spiral = square < 0
    real = jnp.abs(trace) / 2 + jnp.sqrt(jnp.where(spiral | (square == 0), jnp.ones_like(square), square))
    real = jnp.where(square == 0, jnp.abs(trace) / 2, real)
    complex_pair = jnp.sqrt(jnp.where(spiral, determinant, jnp.ones_like(determinant)))
    return jnp.where(spiral, complex_pair, real)


def optimal_rate(smallest: ArrayLike, largest: ArrayLike, family: Family | None = None) -> Array:
    """Return the learning rate that shrinks the slowest part of the error the most.

    Args:
        smallest: Smallest eigenvalue of the Hessian, positive.
        largest: Largest eigenvalue of the Hessian.
        family: Method and its momentum; gradient descent when None, whose best rate is 2/(smallest + largest).

    Returns:
        Learning rate at which the growth factors at both ends of the spectrum are equal.

    Raises:
        ValueError: If the eigenvalues are not positive or in the wrong order.

    Example:
        >>> from jaxnum.optimize import optimal_rate
        >>> float(optimal_rate(1.0, 3.0))
        0.5
    """
    family = Sgd() if family is None else family
    _check_family(family)
    smallest, largest = _spectrum(smallest, largest)
    if not isinstance(family, Nesterov):
        # |T| decides, and T falls linearly from 1+β: best is to center it, half of the limit for the mean of the ends.
        return family.limit() / (smallest + largest)

    def slower(rate):
        return jnp.maximum(growth_factor(family, rate, smallest), growth_factor(family, rate, largest))

    # Growth falls and then rises with the rate, so thirds close in on the best: (2/3)^100 is below any rounding.
    def third(_, ends):
        low, high = ends
        left, right = low + (high - low) / 3, high - (high - low) / 3
        keep_left = slower(left) < slower(right)
        return jnp.where(keep_left, low, left), jnp.where(keep_left, right, high)

    low, high = jax.lax.fori_loop(0, 100, third, (jnp.zeros_like(largest), family.limit() / largest))
    return (low + high) / 2


def optimal_momentum(smallest: ArrayLike, largest: ArrayLike) -> tuple[Array, Array]:
    """Return the learning rate and momentum of the fastest heavy ball on a quadratic with this spectrum.

    Args:
        smallest: Smallest eigenvalue of the Hessian, positive.
        largest: Largest eigenvalue of the Hessian.

    Returns:
        Learning rate (2/(√largest + √smallest))² and beta ((√κ−1)/(√κ+1))², κ = largest/smallest; the error then
        shrinks by √beta per step, against (κ−1)/(κ+1) for gradient descent at its best.

    Raises:
        ValueError: If the eigenvalues are not positive or in the wrong order.

    Example:
        >>> from jaxnum.optimize import optimal_momentum
        >>> rate, beta = optimal_momentum(1.0, 9.0)
        >>> float(rate), float(beta)
        (0.25, 0.25)
    """
    smallest, largest = _spectrum(smallest, largest)
    low, high = jnp.sqrt(smallest), jnp.sqrt(largest)
    return (2 / (high + low)) ** 2, ((high - low) / (high + low)) ** 2


def predicted_steps(
    family: Family, learning_rate: ArrayLike, smallest: ArrayLike, largest: ArrayLike, *, factor: ArrayLike = 1e-6
) -> Array:
    """Return the number of steps after which the error is `factor` times what it was, from the spectrum alone.

    Args:
        family: Method and its momentum.
        learning_rate: Learning rate.
        smallest: Smallest eigenvalue of the Hessian, positive.
        largest: Largest eigenvalue of the Hessian.
        factor: Ratio of the error in the parameters after to before, below 1 for convergence. Above 1 it asks when a
            diverging run has grown that much. An excess of the loss shrinks with the square of the error.

    Returns:
        ln(factor)/ln(ρ), infinite where it never happens; ρ is the larger growth factor of the two ends.

    Raises:
        ValueError: If the eigenvalues are not positive or in the wrong order, or `factor` is not positive.

    Example:
        >>> from jaxnum.optimize import Sgd, predicted_steps
        >>> round(float(predicted_steps(Sgd(), 0.5, 1.0, 3.0, factor=2.0**-10)), 9)
        10.0
    """
    smallest, largest = _spectrum(smallest, largest)
    learning_rate, factor = as_array("learning_rate", learning_rate), _positive("factor", factor)
    ends = [growth_factor(family, learning_rate, end) for end in (smallest, largest)]
    steps = jnp.log(factor) / jnp.log(jnp.maximum(*ends))
    return jnp.where(steps >= 0, steps, jnp.full_like(steps, jnp.inf))


def check_share(name: str, x: Any) -> None:
    """Refuse a share of memory that is not a number of at least 0 and below 1."""
    if is_traced(x):
        return
    if isinstance(x, bool) or not isinstance(x, int | float | np.number | np.ndarray | jax.Array) or np.ndim(x) != 0:
        refuse(name, "be a number of at least 0 and below 1", f"is {x!r}")
    if np.iscomplexobj(x) or not 0 <= float(x) < 1:
        refuse(name, "be a number of at least 0 and below 1", f"is {x}")


def _check_family(family: Any) -> None:
    if not isinstance(family, Family):
        refuse("family", "be Sgd(), Momentum(beta), Nesterov(beta), AveragedMomentum(beta) or Adam()", f"is {family!r}")


def _numbers(**values: Any) -> list[Array]:
    arrays = [as_array(name, x) for name, x in values.items()]
    dtype = np.result_type(*(x.dtype for x in arrays))
    return [x.astype(dtype) for x in arrays]


def _positive(name: str, x: Any) -> Array:
    x = as_array(name, x)
    if not is_traced(x) and bool(np.any(np.asarray(x) <= 0)):
        refuse(name, "be positive", f"is {np.min(np.asarray(x)):g}")
    return x


def _spectrum(smallest: Any, largest: Any) -> list[Array]:
    smallest, largest = _numbers(smallest=_positive("smallest", smallest), largest=_positive("largest", largest))
    if not is_traced((smallest, largest)) and bool(np.any(np.asarray(smallest) > np.asarray(largest))):
        refuse("smallest", "not exceed `largest`", f"{smallest} exceeds {largest}")
    return [smallest, largest]
