"""How many conditions a boundary-value problem needs at which end, read off its linearization.

For dy/dx = F(x, y) a mode that grows outward has to be held at the outer end, one that decays outward at the inner
end. Marching from one end multiplies an error in a mode that grows in that direction by exp ∫ Re μ dx: the
amplification of single shooting.

References:
    Ascher, Mattheij & Russell (1995), Numerical Solution of Boundary Value Problems,
    https://doi.org/10.1137/1.9781611971231
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnum._checks import as_array, as_count, check_increasing, refuse
from jaxnum.diagnose.iterations.reproduce import of_boundary_conditions
from jaxnum.diagnose.report import Diagnosis, Finding
from jaxnum.diagnose.reproduce import with_lines

_HOPELESS = 36.0  # ln 1/eps in double precision: beyond it rounding alone reaches order one


def boundary_conditions(
    vector_field: Callable[..., Any], x: Any, y: Any, args: Any = None, *, inner: int, outer: int
) -> Diagnosis:
    """Say whether a boundary-value problem has the conditions it needs, each at the right end.

    Args:
        vector_field: JAX function `vector_field(x, y, args)`, or of `(x, y)` while `args` is None, giving dy/dx.
        x: Increasing positions along a solution, or a guess of it, (n,).
        y: Values there, (n, k).
        args: Anything the vector field needs.
        inner: Number of conditions imposed at the first position.
        outer: Number of conditions imposed at the last position.

    Returns:
        Diagnosis with findings `missing-boundary-condition`, `too-many-boundary-conditions`, or `nonfinite-derivative`
        or `inconclusive` where nothing can be said; the notes tell by how much single shooting would amplify errors
        either way.

    Raises:
        ValueError: If an argument is not what it should be.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum import diagnose
        >>> x = jnp.linspace(0.0, 3.0, 31)
        >>> y = jnp.stack([jnp.exp(-x), -jnp.exp(-x)], axis=1)
        >>> found = diagnose.boundary_conditions(lambda x, y: jnp.stack([y[1], y[0]]), x, y, inner=2, outer=0)
        >>> [finding.code for finding in found.findings]
        ['missing-boundary-condition', 'too-many-boundary-conditions']
    """
    if not callable(vector_field):
        refuse("vector_field", "be a function `vector_field(x, y, args)`", f"is {type(vector_field).__name__}")
    x = as_array("x", x, ndim=1, min_size=2)
    check_increasing("x", x)
    y = as_array("y", y, ndim=2)
    if y.shape[0] != x.shape[0]:
        refuse("y", f"have shape ({x.shape[0]}, k)", f"has shape {y.shape}")
    inner, outer = as_count("inner", inner, at_least=0), as_count("outer", outer, at_least=0)
    fn = vector_field if _takes_args(vector_field) else lambda x, y, _: vector_field(x, y)
    found = _examined(fn, x, y, args, inner, outer)
    return with_lines(found, of_boundary_conditions(vector_field, _takes_args(vector_field)))


def _examined(fn, x, y, args, inner, outer) -> Diagnosis:
    matrices = np.asarray(jax.jit(jax.vmap(jax.jacfwd(lambda y, x: fn(x, y, args))))(y, x))
    if not np.isfinite(matrices).all():
        at = int(np.argwhere(~np.isfinite(matrices))[0, 0])
        finding = Finding(
            "nonfinite-derivative",
            f"The derivative of the vector field is not finite at x = {float(x[at]):g}.",
            {"index": at},
            "Look for a division by zero there.",
        )
        return Diagnosis("a boundary-value problem", (finding,))
    exponents = exponents_of(matrices, np.diff(np.asarray(x)))
    if not np.isfinite(exponents).all():
        # A NaN compares false with everything, so without this it would read as "nothing is wrong".
        finding = Finding(
            "inconclusive",
            "How much the modes grow could not be computed: the linearized problem overflows between two positions.",
            {"log_growth": exponents},
            "Give positions that are closer together where the problem is stiff.",
        )
        return Diagnosis("a boundary-value problem", (finding,))
    count = y.shape[1]
    # A mode that changes by less than a factor e can be held at either end.
    needed = {"inner": int((exponents < -1).sum()), "outer": int((exponents > 1).sum())}
    given = {"inner": inner, "outer": outer}
    outward, inward = max(float(exponents.max()), 0.0), max(-float(exponents.min()), 0.0)
    evidence = {"needed": needed, "given": given, "log_growth_outward": outward, "log_growth_inward": inward}
    findings = []
    for end in ("inner", "outer"):
        if given[end] < needed[end]:
            findings.append(
                Finding(
                    "missing-boundary-condition",
                    f"At the {end} end {needed[end]} condition{'s are' if needed[end] > 1 else ' is'} needed, one for "
                    f"each mode that only that end can hold, and {given[end] or 'none'} is given.",
                    evidence,
                    f"Say what is known at the {end} end; until then a stencil or a starting guess decides it.",
                )
            )
    for end, other in (("inner", "outer"), ("outer", "inner")):
        if given[end] > count - needed[other]:
            findings.append(
                Finding(
                    "too-many-boundary-conditions",
                    f"At the {end} end {given[end]} conditions are given, but only {count - needed[other]} can be met.",
                    evidence,
                    f"Drop {given[end] - count + needed[other]} there.",
                )
            )
    both = outward > _HOPELESS and inward > _HOPELESS
    notes = (
        "Between the ends the modes change by exp of " + ", ".join(f"{e:.3g}" for e in exponents) + ".",
        f"Marching outward multiplies errors by exp({outward:.3g}), inward by exp({inward:.3g})"
        + (": neither direction of single shooting is possible." if both else "."),
    )
    return Diagnosis("a boundary-value problem", tuple(findings), notes)


def exponents_of(matrices: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the logarithms of the singular values of the propagator between the ends, largest first."""
    matrices = matrices.astype(np.float64)
    middles = (matrices[1:] + matrices[:-1]) / 2
    # A stiff cell is crossed in parts: an exponential of more than e^16 would lose the mode that decays.
    stiffness = _perron(np.abs(middles)) * steps
    parts = np.clip(np.ceil(stiffness / 4), 1, 10_000).astype(int)
    with np.errstate(all="ignore"):
        cells = [(_exponential(m * (step / n)), n) for m, step, n in zip(middles, steps, parts.tolist(), strict=True)]
        frame, _ = _orthonormal(_generic(matrices.shape[1]))
        # Out, back through the transposed cells, and out again: a power iteration that turns the frame into the
        # singular directions. A frame that was first met could lie along a decaying mode, and the growing one would
        # hardly be seen over a short range.
        frame, _ = _carry(cells, frame)
        frame, _ = _carry([(growth.T, n) for growth, n in reversed(cells)], frame)
        _, total = _carry(cells, frame)
    return np.sort(total)[::-1]


def _perron(matrices: np.ndarray) -> np.ndarray:
    """Return a bound on the spectral radius of each matrix of positive numbers, ‖A³²‖^(1/32).

    For such a matrix it is the smallest norm that any choice of units for the unknowns can give it: an unknown that is
    counted in large units must not make a cell look stiff.
    """
    power, logarithm = matrices, np.zeros(len(matrices))
    with np.errstate(all="ignore"):
        for _ in range(5):
            size = np.maximum(power.max(axis=(1, 2)), 1e-300)
            power = power / size[:, None, None]
            logarithm = 2 * (logarithm + np.log(size))
            power = (power[:, :, :, None] * power[:, None, :, :]).sum(axis=2)
        norm = np.maximum(power.sum(axis=2).max(axis=1), 1e-300)
        return np.exp((logarithm + np.log(norm)) / 32)


def _carry(cells: list[tuple[np.ndarray, int]], frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame at the other end, and the logarithms of how much each of its vectors grew on the way."""
    total = np.zeros(frame.shape[1])
    for growth, count in cells:
        for _ in range(count):
            frame, lengths = _orthonormal(_product(growth, frame))
            total += np.log(lengths)
        if not np.isfinite(total).all():
            break
    return frame, total


def _generic(k: int) -> np.ndarray:
    """Return a fixed matrix that is aligned with no mode in particular."""
    return np.sin(np.sqrt(2.0) * np.outer(np.arange(1, k + 1), np.arange(1, k + 1)) + 1.0)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a @ b without BLAS: at this size nothing is gained by it, and the answer is the same on every machine."""
    return (a[:, :, None] * b[None, :, :]).sum(axis=1)


def _orthonormal(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns orthonormalized in their order, and how long each was (Gram-Schmidt, twice)."""
    frame, lengths = frame.copy(), np.zeros(frame.shape[1])
    for i in range(frame.shape[1]):
        for _ in range(2):
            for j in range(i):
                frame[:, i] -= (frame[:, j] * frame[:, i]).sum() * frame[:, j]
        lengths[i] = np.sqrt((frame[:, i] ** 2).sum())
        frame[:, i] /= lengths[i]
    return frame, lengths


def _exponential(matrix: np.ndarray) -> np.ndarray:
    """Return the matrix exponential by halving, Taylor series and squaring."""
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).sum(axis=1).max(), 1e-300)))) + 3)
    small = matrix / 2.0**halvings
    term = value = np.eye(matrix.shape[0])
    for n in range(1, 13):
        term = _product(term, small) / n
        value = value + term
    for _ in range(halvings):
        value = _product(value, value)
    return value


def _takes_args(vector_field: Callable) -> bool:
    try:
        return len(inspect.signature(vector_field).parameters) >= 3
    except (TypeError, ValueError):  # some builtins have no signature
        return True
