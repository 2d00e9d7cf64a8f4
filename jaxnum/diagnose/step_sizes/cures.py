"""What would make descent converge, and how soon: rates, momentum and better coordinates, predicted and then run.

Near a minimum, f − f* = ½ Σ λᵢ cᵢ² along the eigenvectors of the Hessian, and a linear rule multiplies each cᵢ by a
number of its own per step. In other coordinates x = M u the curvature is MᵀHM: what M makes alike needs fewer steps.

    diagonal     M = diag(Hᵢᵢ)^(−1/2)       every parameter at its own rate
    standardize  X M = (X − mean)/deviation  every feature on the same scale
    orthogonal   X M = √n Q, X = QR          no feature looks like another
"""

from dataclasses import dataclass

import numpy as np

from jaxnum.diagnose.step_sizes.follow import LONGEST, count_steps
from jaxnum.diagnose.step_sizes.response import Response, of_family, steps_needed
from jaxnum.diagnose.step_sizes.surface import Surface
from jaxnum.optimize import Momentum, Sgd, optimal_momentum, optimal_rate

FACTOR = 1e-6  # a run has arrived when this part of the loss's excess over its minimum is left
_ALIVE = 1e-13  # curvature, relative to the largest and per parameter, below which a direction is flat to rounding


@dataclass(frozen=True)
class Features:
    """Columns of which the loss sees linear combinations, one for each parameter.

    Attributes:
        columns: (n, p).
        names: Name of each.
    """

    columns: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Cure:
    """One way to descend.

    Attributes:
        code: One word for it: `given`, `rate`, `momentum`, `diagonal`, `standardize` or `orthogonal`.
        name: What it is, in a few words.
        response: Rule that descends.
        condition: Ratio of the largest to the smallest curvature that it meets.
        predicted: Steps that theory needs.
        counted: Steps that a run took; NaN when it was not run.
        factor: What it multiplies the learning rate that was given by; NaN where it is another method.
    """

    code: str
    name: str
    response: Response
    condition: float
    predicted: float
    counted: float
    factor: float = float("nan")


@dataclass(frozen=True)
class Bowl:
    """The quadratic that a loss is near its minimum.

    Attributes:
        minimum: Where it is, (n,).
        value: The loss there.
        hessian: Its Hessian, (n, n).
        exact: Whether the loss is this quadratic everywhere.
    """

    minimum: np.ndarray
    value: float
    hessian: np.ndarray
    exact: bool

    def spectrum(self, x: np.ndarray, basis: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the curvatures in coordinates u, x = M u, that are not flat, and the excess of `x` along each."""
        away = x - self.minimum
        hessian = self.hessian if basis is None else basis.T @ self.hessian @ basis
        curvatures, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
        alive = curvatures > _ALIVE * len(x) * curvatures[-1]
        slopes = vectors.T @ (self.hessian @ away if basis is None else basis.T @ (self.hessian @ away))
        return curvatures[alive], slopes[alive] ** 2 / (2 * curvatures[alive])


def cures(seen: Surface, given: Response | None, x0: np.ndarray, bowl: Bowl, features: Features | None) -> list[Cure]:
    """Return what was given and what would be better, each with its steps predicted and counted."""
    found = []
    curvatures, _ = bowl.spectrum(x0)
    if not len(curvatures):
        return found
    low, high = float(curvatures[0]), float(curvatures[-1])
    family = None if given is None else given.family
    if given is not None:
        found.append(_tried(seen, "given", "what was given", given, x0, bowl, factor=1.0))
    if family is not None and not isinstance(family, Sgd):
        rate = float(optimal_rate(low, high, family))
        best = of_family(family, rate)
        found.append(_tried(seen, "rate", "the same at its best rate", best, x0, bowl, factor=rate / given.rate))
    rate = float(optimal_rate(low, high))
    factor = rate / given.rate if isinstance(family, Sgd) else float("nan")
    code = "rate" if isinstance(family, Sgd) or family is None else "descent"
    name = "gradient descent at its best rate"
    found.append(_tried(seen, code, name, of_family(Sgd(), rate), x0, bowl, factor=factor))
    if high > 1.0001 * low:
        quick, beta = (float(v) for v in optimal_momentum(low, high))
        momentum = of_family(Momentum(beta), quick)
        found.append(_tried(seen, "momentum", f"momentum {beta:.4g}", momentum, x0, bowl))
    for code, name, basis in _bases(bowl, features):
        inside, _ = bowl.spectrum(x0, basis)
        if len(inside) == len(curvatures) and inside[-1] / inside[0] < 0.99 * high / low:
            rate = float(optimal_rate(float(inside[0]), float(inside[-1])))
            found.append(_tried(seen, code, name, of_family(Sgd(), rate), x0, bowl, basis=basis))
    return found


def _bases(bowl: Bowl, features: Features | None) -> list[tuple[str, str, np.ndarray]]:
    """Return coordinates in which descent may be easier."""
    diagonal = np.diag(bowl.hessian)
    found = []
    if np.all(diagonal > 0):
        found.append(("diagonal", "parameters in units of 1/√Hᵢᵢ", np.diag(diagonal**-0.5)))
    if features is None:
        return found
    x = features.columns
    scale, mean = x.std(axis=0), x.mean(axis=0)
    steady = scale <= 1e-12 * np.max(np.abs(x), axis=0)
    if steady.sum() <= 1 and np.all(x.any(axis=0)):
        basis = np.diag(np.where(steady, 1.0, 1 / np.where(steady, 1.0, scale)))
        if steady.any():
            constant = int(np.argmax(steady))
            shift = -mean / np.where(steady, 1.0, scale) / mean[constant]
            basis[constant] += np.where(steady, 0.0, shift)
        name = "standardized features" if steady.any() else "features scaled to deviation 1"
        found.append(("standardize", name, basis))
    if len(x) >= x.shape[1] and np.linalg.matrix_rank(x) == x.shape[1]:
        basis = np.sqrt(len(x)) * np.linalg.inv(np.linalg.qr(x)[1])
        found.append(("orthogonal", "an orthogonal basis", basis))
    return found


def _tried(
    seen: Surface,
    code: str,
    name: str,
    response: Response,
    x0: np.ndarray,
    bowl: Bowl,
    *,
    basis: np.ndarray | None = None,
    factor: float = float("nan"),
) -> Cure:
    """Predict and count the steps of one way to descend."""
    curvatures, shares = bowl.spectrum(x0, basis)
    condition = float(curvatures[-1] / curvatures[0])
    predicted = steps_needed(response, curvatures, shares, FACTOR)
    counted = float("nan")
    afford = LONGEST if seen.flat is not None else seen.affordable
    if predicted < afford / 2:
        target = bowl.value + FACTOR * (seen.value(x0) - bowl.value)
        counted = count_steps(seen, response, x0, target, basis=basis, at_most=int(min(afford, 4 * predicted + 100)))
    elif np.isinf(predicted):
        counted = float("inf")
    return Cure(code, name, response, condition, predicted, counted, factor)
