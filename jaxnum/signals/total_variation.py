"""Total variation: a curve with few jumps, or with few kinks.

    minimize  ½ Σ_j w_j (y_j - z_j)² + λ Σ_i √(t_i² + ε²),    t_i: jump of the derivative of order m - 1 of z

The absolute value is rounded off at ε, far below the noise. What is left of a jump between two long plateaus of K and
L samples is its height less λ/K + λ/L, so that edges stay where they are and lose a little height.

The minimum is found by the primal-dual Newton method, whose equation v √(t² + ε²) = t is nearly linear in z and v
together; each step is one banded solve. Derivatives are those of the equation at the minimum, and not of the way
there.

References:
    Rudin, Osher & Fatemi (1992), https://doi.org/10.1016/0167-2789(92)90242-F
    Chan, Golub & Mulet (1999), https://doi.org/10.1137/S1064827596299767
    Chartrand (2011), https://doi.org/10.5402/2011/164564
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_count, refuse
from jaxnum._typing import is_traced
from jaxnum.numerics import banded
from jaxnum.signals import penalized
from jaxnum.signals.local import Fit
from jaxnum.signals.penalized import Plan

_CORNER = 1e-4  # ε in units of λ: a plateau is flat to ε times its length
_MOST_STEPS = 100


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["order"])
@dataclass(frozen=True)
class TotalVariation:
    """Least squares with a penalty on jumps: of the curve (order 1), of its slope (order 2), and so on; any samples.

    Order 1 gives plateaus, order 2 straight pieces with kinks, whose slope jumps: the right model where edges are
    real, and the wrong one where the curve is smooth. The answer is not linear in the samples. Standard errors are
    those of its linearization, with the jumps where they were found: the scatter around what it makes of samples
    without noise. What it bends itself, λ over the length of a plateau, is not in them, and is often the larger part.

    Attributes:
        strength: λ, in units of y times x to the power m - 1 (and of one over the weights).
        order: m, order of the derivative whose absolute values are summed.
    """

    strength: ArrayLike
    order: int = 1

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["TotalVariation", Plan]:
        """Check the settings against the samples; return them in the dtype of `x`, and what is known beforehand."""
        order = as_count("method.order", self.order)
        strength = penalized.as_strength(self.strength, x)
        if derivative >= order:
            refuse("derivative", f"be below the order of the penalty, {order}", f"is {derivative}; raise method.order")
        penalized.check_samples(weights, len(x), order + 1)
        if not is_traced(x):
            # At a kink the penalty bends as λ/ε does: that is the stiffness rounding has to resolve.
            rows = penalized.known_rows(self._rows, x)
            limit = penalized.precision_limit(rows.entries, weights, x.dtype)
            stiffest = 1 / (_CORNER * self._unit(np.asarray(x, float)))
            if stiffest > limit:
                must = f"have a spacing that penalties of order {order} can resolve in {x.dtype}"
                refuse("x", must, f"its smallest is {float(np.min(np.diff(np.asarray(x)))):.3g}")
        return replace(self, strength=strength), Plan()

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, plan: Plan) -> Fit:
        """Fit all samples; traced."""
        del plan  # every sample is treated differently
        rows, strength = self._rows(x), self.strength
        corner = _CORNER * strength * self._unit(x)
        # Two steps of Newton's method from the minimum, which is held fixed: no change of the value, and derivatives
        # that are right up to the third.
        fixed = jax.lax.stop_gradient((y, weights, rows.entries, strength, corner))
        z = _minimum(*fixed[:2], penalized.Rows(fixed[2], 1), *fixed[3:])
        for _ in range(2):
            z = z + banded.solve(*_newton(z, y, weights, rows, strength, corner))
        bands, error = _newton(z, y, weights, rows, strength, corner)
        readout = penalized.stencil(x, derivative) if derivative else None
        return penalized.describe(z, bands, weights, rows, readout, penalized.missed(error, weights * y))

    def search(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[str, float, float]:
        """Return the parameter that sets the smoothness, and the range of it that makes sense for these samples."""
        rows = penalized.known_rows(self._rows, x)
        if is_traced(y):
            refuse("y", "be known outside `jit` for TotalVariation: the range of strengths depends on it", "is traced")
        y = np.asarray(y)
        # Above this strength the curve is one polynomial: the largest v that holds w (y - polynomial) = λ Dᵀ v.
        polynomial = np.polynomial.Polynomial.fit(x, np.where(weights > 0, y, 0), self.order - 1, w=np.sqrt(weights))
        rest = weights * np.where(weights > 0, y - polynomial(x), 0)
        entries = np.asarray(rows.entries[0], float)
        held = np.zeros(len(entries))
        for i in range(len(held)):  # forward substitution: Dᵀ is lower triangular in its first rows
            before = sum(entries[i - a, a] * held[i - a] for a in range(1, min(self.order, i) + 1))
            held[i] = (rest[i] - before) / entries[i, 0]
        top = float(np.max(np.abs(held)))
        return "strength", 1e-4 * top, top

    def _rows(self, x) -> penalized.Rows:
        x = jnp.asarray(x)
        m = self.order
        length = (x[m:] - x[:-m]) / m if m > 1 else jnp.ones(len(x) - 1, x.dtype)
        rows = penalized.divided_differences(x, m)
        # Of first order the sum of |differences| is the total variation, wherever the samples are.
        rows = jnp.stack([-length, length], axis=1) if m == 1 else rows * length[:, None]
        return penalized.Rows(rows[None], 1)

    def _unit(self, x):
        """Return what turns a strength into the unit of jumps: 1/h to the power 2 (m - 1)."""
        return ((len(x) - 1) / (x[-1] - x[0])) ** (2 * (self.order - 1))


def _newton(z, y, weights, rows, strength, corner) -> tuple[Array, Array]:
    """Return the matrix of the equation at `z`, and by how much `z` misses it."""
    t = rows.apply(z)
    root = jnp.sqrt(t**2 + corner**2)
    bands = penalized.matrix(weights, rows, strength, corner**2 / root**3)
    return bands, weights * (y - z) - strength * rows.transposed(t / root)


def _minimum(y, weights, rows, strength, corner) -> Array:
    """Return the minimum, by the primal-dual Newton method."""
    eps = float(jnp.finfo(y.dtype).eps)
    size = jnp.max(jnp.abs(y))

    def step(state):
        z, v, _, count = state
        t = rows.apply(z)
        root = jnp.sqrt(t**2 + corner**2)
        slope = t / root
        bands = penalized.matrix(weights, rows, strength, (1 - v * slope) / root)
        error = weights * (y - z) - strength * rows.transposed(slope)
        change = banded.substitute(banded.factor(bands), error)
        dv = slope - v + (1 - v * slope) / root * rows.apply(change)
        # The dual stays inside [-1, 1], where the matrix is positive definite.
        room = jnp.where(dv > 0, 1 - v, 1 + v) / jnp.maximum(jnp.abs(dv), jnp.finfo(v.dtype).tiny)
        length = jnp.minimum(1.0, 0.99 * jnp.min(room)).astype(v.dtype)
        return z + change, v + length * dv, jnp.max(jnp.abs(change)), count + 1

    def goes_on(state):
        _, _, change, count = state
        # The steps shrink quadratically at last: after one of this size the next is rounding.
        return (change > eps**0.6 * size) & (count < _MOST_STEPS)

    start = (y, jnp.zeros_like(rows.apply(y)), jnp.asarray(jnp.inf, y.dtype), 0)
    return jax.lax.while_loop(goes_on, step, start)[0]
