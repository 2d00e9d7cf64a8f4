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
from jaxnum.diagnose.report import Diagnosis, Finding

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
        Diagnosis with findings `missing-boundary-condition` or `too-many-boundary-conditions`; the notes tell by how
        much single shooting would amplify errors either way.

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
    exponents = _exponents(matrices, np.diff(np.asarray(x)))
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


def _exponents(matrices: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the logarithms by which the modes grow between the ends, largest first (orthonormalized propagation)."""
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal(matrices.shape[1:]))[0]
    total = np.zeros(matrices.shape[1])
    middles = (matrices[1:] + matrices[:-1]) / 2
    # A stiff cell is crossed in parts: an exponential of more than e^16 would lose the mode that decays.
    stiffness = np.abs(np.linalg.eigvals(middles)).max(axis=1) * steps
    parts = np.clip(np.ceil(stiffness / 8), 1, 10_000).astype(int)
    with np.errstate(all="ignore"):
        for middle, step, count in zip(middles, steps, parts, strict=True):
            growth = _exponential(middle * (step / count))
            for _ in range(count):
                frame, triangle = np.linalg.qr(growth @ frame)
                total += np.log(np.abs(np.diag(triangle)))
    return np.sort(total)[::-1]


def _exponential(matrix: np.ndarray) -> np.ndarray:
    """Return the matrix exponential by halving, Taylor series and squaring."""
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).sum(axis=1).max(), 1e-300)))) + 3)
    small = matrix / 2.0**halvings
    term = value = np.eye(matrix.shape[0])
    for n in range(1, 13):
        term = term @ small / n
        value = value + term
    for _ in range(halvings):
        value = value @ value
    return value


def _takes_args(vector_field: Callable) -> bool:
    try:
        return len(inspect.signature(vector_field).parameters) >= 3
    except (TypeError, ValueError):  # some builtins have no signature
        return True
