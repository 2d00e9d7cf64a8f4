"""A loss as a surface over one flat vector: its height, slope and curvature, and where it leads.

    f(x + d) ≈ f + g·d + ½ dᵀH d

Curvature comes from derivatives of the derivative: up to a few hundred parameters the whole Hessian, beyond that its
two ends by Lanczos from Hessian-vector products. Where the loss cannot be retold in JAX, it comes from differences of
whatever gradient there is. Everything is computed in double precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import refuse
from jaxnum.diagnose.truth import QUICK, Parameters, Truth, caller, number, truth
from jaxnum.numerics import differences
from jaxnum.numerics.krylov import lanczos_ends
from jaxnum.numerics.lift import Lifted, lift

DENSE = 300  # parameters up to which the whole Hessian is formed: 300 gradients and 0.7 MB
_KRYLOV = 64  # first size of the Krylov space; doubled until both ends are certain
_CERTAIN = 1e-4  # ‖Av − λv‖ relative to λ: the error of λ is about its square over the gap to the next
_NEWTON = 300


@dataclass(frozen=True)
class Flat:
    """A traceable loss of one flat vector; equal losses share a compilation.

    Attributes:
        loss: Function of JAX arrays in the user's own structure.
        structure: That structure.
        shapes: Shapes of its leaves.
    """

    loss: Callable
    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, x: Any) -> Any:
        """Return the loss at a flat vector."""
        leaves, at = [], 0
        for shape in self.shapes:
            size = int(np.prod(shape))
            leaves.append(x[at : at + size].reshape(shape))
            at += size
        tree = jax.tree.unflatten(self.structure, leaves)
        fn = self.loss.retold if isinstance(self.loss, Lifted) else self.loss
        return jnp.asarray(number(caller("loss", fn, tree)(tree))).astype(x.dtype)


@dataclass(frozen=True)
class Ends:
    """Both ends of the curvature at a point.

    Attributes:
        smallest: Smallest eigenvalue of the Hessian.
        largest: Largest one.
        direction: Eigenvector of the largest, (n,).
        error: Bound on the error of both.
    """

    smallest: float
    largest: float
    direction: np.ndarray
    error: float


@dataclass(frozen=True)
class Surface:
    """A loss with its derivatives.

    Attributes:
        parameters: The user's structure.
        truth: Value and gradient.
        flat: The loss as JAX sees it; None where only differences are left.
    """

    parameters: Parameters
    truth: Truth
    flat: Flat | None

    def value(self, x: np.ndarray) -> float:
        """Return the loss."""
        return float(self.truth.value(x))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return its gradient."""
        return np.asarray(self.truth.gradient(x)[0])

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Return the whole Hessian."""
        if self.flat:
            found = np.asarray(_hessian(self.flat, jnp.asarray(x)))
        else:
            slope = lambda y: self.truth.gradient(y)[0]  # noqa: E731
            found = differences.richardson(slope, x, num_levels=4).value
        return (found + found.T) / 2

    @property
    def affordable(self) -> int:
        """Steps of a run in Python that a diagnosis affords: by differences a gradient is many calls."""
        return 2000 if self.truth.method.startswith("autodiff") else 200

    def product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the Hessian at `x` times `v`."""
        return np.asarray(_product(self.flat, jnp.asarray(x), jnp.asarray(v))) if self.flat else self.hessian(x) @ v

    def ends(self, x: np.ndarray, *, certain: bool = True) -> Ends:
        """Return both ends of the curvature at `x`; not `certain`: to a first look, where there are many parameters."""
        if x.size <= DENSE:
            values, vectors = np.linalg.eigh(self.hessian(x))
            rounding = x.size * np.finfo(float).eps * float(np.max(np.abs(values)))
            return Ends(float(values[0]), float(values[-1]), vectors[:, -1], rounding)
        start = np.random.default_rng(0).normal(size=x.size)
        size = min(_KRYLOV, x.size)
        while True:
            found = _told(_lanczos(self.flat, jnp.asarray(x), jnp.asarray(start), size))
            scale = max(abs(found.smallest), abs(found.largest))
            if not certain or size == x.size or size >= 8 * _KRYLOV or not found.error > _CERTAIN * scale:
                return found
            size = min(2 * size, x.size)


def surface(loss: Callable, parameters: Parameters) -> Surface:
    """Look at a loss from a point: retold in JAX if that can be done, by differences otherwise."""
    found = truth(loss, parameters)
    flat = None
    if found.method.startswith("autodiff"):
        flat = Flat(lift(loss), parameters.structure, parameters.shapes)
        try:
            hash(flat)
            jax.eval_shape(flat, jnp.asarray(parameters.flat()))
        except Exception:  # branches on values, or cannot be hashed: differences of the exact gradient still serve
            flat = None
    size = parameters.flat().size
    if flat is None and size > DENSE:
        refuse(
            "loss", f"be compiled by JAX for {size} parameters", f"cannot be: {found.why or 'it branches on values'}"
        )
    return Surface(parameters, found, flat)


def minimum_near(seen: Surface, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return where Newton's method, damped so that it only descends, comes to rest, and whether that is a minimum.

    Args:
        seen: The loss.
        x: Where to start.
    """
    value, damping = seen.value(x), 1e-4
    first = value
    for _ in range(_NEWTON):
        gradient, hessian = seen.gradient(x), seen.hessian(x)
        curvatures, vectors = np.linalg.eigh(hessian)
        scale = float(np.max(np.abs(curvatures))) or 1.0
        slopes = vectors.T @ gradient
        # What is left to gain, where the surface is a bowl; rounding of the gradient ends it as well.
        bowl = curvatures[0] > -1e-9 * scale
        live = curvatures > 1e-13 * x.size * scale
        gain = 0.5 * float(np.sum(slopes[live] ** 2 / curvatures[live]))
        if bowl and gain <= 1e-15 * (abs(value) + 1e-280):
            break
        for _ in range(40):
            step = -vectors @ (slopes / (np.abs(curvatures) + damping * scale))
            tried = seen.value(x + step)
            if tried < value:
                x, value, damping = x + step, tried, max(damping / 10, 1e-14)
                break
            damping = max(10 * damping, 1e-14)
        else:
            break
        if not np.isfinite(value):
            return x, False
    # One full step of Newton where the surface is flat to rounding: f is known to √eps there, x to eps.
    gradient, hessian = seen.gradient(x), seen.hessian(x)
    curvatures, vectors = np.linalg.eigh(hessian)
    scale = float(np.max(np.abs(curvatures))) or 1.0
    live = curvatures > 1e-13 * x.size * scale
    step = -vectors[:, live] @ ((vectors.T @ gradient)[live] / curvatures[live])
    if np.linalg.norm(seen.gradient(x + step)) < np.linalg.norm(gradient):
        x, gradient = x + step, seen.gradient(x + step)
    # What could still be gained: next to nothing of the value, or of the way down to it.
    slopes = vectors.T @ gradient
    rest = 0.5 * float(np.sum(slopes[live] ** 2 / curvatures[live]))
    slope = float(np.linalg.norm(slopes[~live])) * (float(np.linalg.norm(x)) + 1e-9)
    still = max(rest, slope) <= 1e-9 * abs(value) + 1e-18 * (first - value)
    return x, bool(still and live.any() and curvatures[0] > -1e-7 * scale)


def _told(found: Any) -> Ends:
    return Ends(float(found.smallest), float(found.largest), np.asarray(found.largest_vector), float(found.residual))


@partial(jax.jit, static_argnames="flat", compiler_options=QUICK)
def _hessian(flat: Flat, x: Any) -> Any:
    return jax.jacfwd(jax.grad(flat))(x)


@partial(jax.jit, static_argnames="flat")
def _product(flat: Flat, x: Any, v: Any) -> Any:
    return jax.jvp(jax.grad(flat), (x,), (v,))[1]


@partial(jax.jit, static_argnames=("flat", "size"))
def _lanczos(flat: Flat, x: Any, start: Any, size: int) -> Any:
    return lanczos_ends(lambda v: _product(flat, x, v), start, size)
