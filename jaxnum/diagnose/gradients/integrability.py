"""Is a field the gradient of anything, and if it is, of what?

    u = ∇F for some F   ⟺   J = ∂u/∂p is symmetric                       s = ‖J − Jᵀ‖ / ‖J‖
    F(p) − F(p₀) = ∫₀¹ u(p₀ + t(p − p₀)) · (p − p₀) dt                   where it is

No loss is needed for the first question. A mistake either goes down another hill, or goes down none at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxnum.numerics import differences

_MOST_DIRECTIONS = 24  # above so many parameters the Jacobian is looked at along random directions
_RESOLUTION = 1e-5  # asymmetry below which nobody speaks of one, whatever differences claim of themselves


@dataclass(frozen=True)
class Symmetry:
    """How symmetric the Jacobian of a field is.

    Attributes:
        asymmetry: ‖J − Jᵀ‖/‖J‖, the median over the points.
        error: What the differences leave uncertain in it.
        method: How the Jacobian was found.
        directions: Number of directions looked along.
    """

    asymmetry: float
    error: float
    method: str
    directions: int

    @property
    def symmetric(self) -> bool | None:
        """Whether it is; None where the numbers do not decide."""
        if not np.isfinite(self.asymmetry) or self.error > 0.1:
            return None
        return self.asymmetry <= max(10 * self.error, _RESOLUTION)


def symmetry(field: Callable[[np.ndarray], np.ndarray], points: np.ndarray, single: bool = False) -> Symmetry:
    """Measure the asymmetry of the Jacobian of a field at each point.

    Args:
        field: Function of a vector (n,) returning a vector (n,).
        points: Points, (k, n).
        single: Whether values are in single precision only, so that differences need long steps.
    """
    found, errors, method = [], [], ""
    n = points.shape[1]
    rng = np.random.default_rng(1)
    for x in points:
        frame = None
        if n > _MOST_DIRECTIONS:
            frame, _ = np.linalg.qr(rng.normal(size=(n, min(n, 10))))
            frame = frame * np.linalg.norm(x) / np.sqrt(n) if np.any(x) else frame
        if single:
            estimate = differences.richardson(field, x, frame, step=0.2, num_levels=4)
        else:
            estimate = differences.derivative(field, x, frame, num_levels=6)
        jacobian, doubt, method = estimate.value, estimate.error, estimate.method
        if frame is not None:
            jacobian, doubt = frame.T @ jacobian, np.abs(frame.T) @ doubt
        size = np.linalg.norm(jacobian)
        if size > 0:
            found.append(np.linalg.norm(jacobian - jacobian.T) / size)
            errors.append(2 * np.linalg.norm(doubt) / size)
    if not found:
        return Symmetry(0.0, 0.0, method, n)
    directions = n if n <= _MOST_DIRECTIONS else min(n, 10)
    return Symmetry(float(np.median(found)), float(np.median(errors)), method, directions)


def rise(field: Callable[[np.ndarray], np.ndarray], start: np.ndarray, end: np.ndarray) -> float:
    """Return F(end) − F(start) for the F of which the field is the gradient, by Gauss-Legendre along a line."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    step = end - start
    return float(sum(w * (field(start + (1 + t) / 2 * step) @ step) for t, w in zip(nodes, weights, strict=True)) / 2)
