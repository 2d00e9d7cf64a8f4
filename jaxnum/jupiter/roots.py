"""All magnetospheres that satisfy a condition of one's own at the outer edge: found one by one, or excluded.

Where the conductance increases with the current, exactly one magnetosphere belongs to each current density at the outer
edge (see `coupled`). So the magnetospheres are a line, with that current density as its coordinate, and a condition at
the edge is a function on it: its zeros are all there is. A condition that is monotone along the line, such as a given
radial current, has one; one that is not may have several or none. "d²I/dρ² = 0 at the edge" is of that kind: it is what
`np.gradient` imposes on who gives no condition, and in a dipole it says dj/d ln x = 2 j.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnum._checks import as_count, check_finite, refuse
from jaxnum._precision import check_tolerance
from jaxnum._progress import Progress, track
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.jupiter.conductance import check_law, smallest_slope
from jaxnum.jupiter.corotation import check_progress, check_range
from jaxnum.jupiter.coupled import coupled
from jaxnum.jupiter.outer import CurrentDensity
from jaxnum.jupiter.sweeps import coupled_slopes
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype

_ROUNDS = 40  # each narrows a bracket at least by half


class Edge(NamedTuple):
    """The outer edge of many magnetospheres, each entry (n,)."""

    omega: Array
    """ω/Ω."""
    current: Array
    """I_ρ in A."""
    current_density: Array
    """j in A/m²."""
    slope: Array
    """dj/d ln x in A/m²."""
    conductance: Array
    """Σ in mho."""


def roots(
    condition: Callable[[Edge], Any],
    system: Any,
    field: Any,
    law: Any,
    *,
    j_min: float = -5e-8,
    j_max: float = 1e-7,
    x0: float = 5.0,
    x1: float = 100.0,
    num_samples: int = 32,
    num_nodes: int = 96,
    tol: float = 1e-4,
    progress: Progress = False,
) -> Solution:
    """Return every magnetosphere with an outer current density in a range that satisfies a condition at the outer edge.

    Two roots between neighboring samples, where the condition changes its sign twice, are not seen: take more samples.

    Args:
        condition: Function of an `Edge` of n magnetospheres that returns n numbers, zero where it is satisfied.
        system: Planet.
        field: Magnetic field: `Dipole()`, `CurrentSheet()`, or anything with `flux(x)`.
        law: Conductance law, with a slope wherever the outer edge may be.
        j_min: Lowest outer current density, in A/m².
        j_max: Highest outer current density, in A/m².
        x0: Inner edge in planetary radii.
        x1: Outer edge in planetary radii.
        num_samples: Magnetospheres that are solved at once, first evenly spaced over the range, then between two where
            the condition changes its sign.
        num_nodes: Collocation points of each; see `coupled`.
        tol: Largest `residual` of a magnetosphere that counts as solved; a sign needs no more digits than this.
        progress: False, True for a bar, or a function `progress(done, total)`.

    Returns:
        Solution with `value` = the outer current densities of the roots in A/m², increasing, (roots,): hand them to
        `coupled` as `CurrentDensity(j)`. `history` holds the Edge of the roots by name; sample_density and
        sample_condition, (num_samples,), what was seen on the way; and excluded, whether there is no other root in the
        range (but for pairs between samples): the law increases strictly and every sample was solved. `residual` is the
        largest |condition| at a root over the largest at a sample. `num_steps` counts magnetospheres solved.

    Raises:
        ValueError: If an argument is not what it should be.

    Example:
        >>> from jaxnum.jupiter import JUPITER, Dipole, SmoothRamp, roots
        >>> found = roots(lambda edge: edge.current - 8e6, JUPITER, Dipole(), SmoothRamp())
        >>> print(len(found.value), bool(found.history.excluded))
        1 True
    """
    if not callable(condition):
        refuse("condition", "be a function of an `Edge`", f"is {type(condition).__name__}")
    check_system(system)
    check_record("field", field, "flux")
    check_law("law", law)
    check_range(x0, x1)
    check_finite("j_min", j_min)
    check_finite("j_max", j_max)
    if is_traced((system, field, law, j_min, j_max, x0, x1)):
        refuse("system", "be known", "something is traced; how many roots there are cannot be")
    if not j_min < j_max:
        refuse("j_max", f"lie above `j_min`, {j_min:g}", f"is {j_max:g}")
    num_samples = as_count("num_samples", num_samples, at_least=8)
    num_nodes = as_count("num_nodes", num_nodes, at_least=8)
    check_progress(progress)
    system, field, law, j_min, j_max, x0, x1 = in_one_dtype(system, field, law, j_min, j_max, x0, x1)
    check_tolerance("tol", tol, x0.dtype)
    solve = partial(_edges, system, field, law, x0, x1, tol, num_nodes)

    def at(density):
        edge, solved = solve(jnp.asarray(density))
        value = np.asarray(condition(edge))
        if value.shape != density.shape:
            refuse("condition", f"return an array of shape {density.shape}", f"returns shape {value.shape}")
        return edge, value, np.asarray(solved)

    with track(progress, _ROUNDS, "roots") as show:
        show(0)
        samples = np.linspace(j_min, j_max, num_samples)
        edge, seen, solved = at(samples)
        usable = solved & np.isfinite(seen)
        change = np.flatnonzero(usable[:-1] & usable[1:] & (np.sign(seen[:-1]) != np.sign(seen[1:])))
        brackets = np.stack([samples[change], samples[change + 1]])
        signs, used = np.sign(seen[change]), num_samples
        if change.size > num_samples // 2:
            refuse("num_samples", f"be at least {2 * change.size}", f"is {num_samples}, and that many roots are there")
        for done in range(1, _ROUNDS + 1):
            if not change.size or np.ptp(brackets, axis=0).max() <= 8 * np.finfo(samples.dtype).eps * np.ptp(samples):
                break
            each = num_samples // change.size
            inside = brackets[0] + (brackets[1] - brackets[0]) * (np.arange(1, each + 1) / (each + 1))[:, None]
            trial = np.full(num_samples, inside.flat[0])
            trial[: inside.size] = inside.ravel()
            _, value, ok = at(trial)
            # The first place with another sign than the left end closes the bracket; what failed has no sign.
            value = np.where(ok, np.sign(value), np.nan)[: inside.size].reshape(inside.shape)
            brackets = np.stack([_narrowed(*c) for c in zip(brackets.T, signs, inside.T, value.T, strict=True)], axis=1)
            used += num_samples
            show(done)
    found = brackets.mean(axis=0)
    padded = np.full(num_samples, j_min)
    padded[: found.size] = found
    edge, value, _ = at(padded)
    scale = float(np.max(np.abs(seen[usable]), initial=np.finfo(samples.dtype).tiny))
    residual = float(np.max(np.abs(value[: found.size]), initial=0.0)) / scale
    increases = bool(smallest_slope(law, min(-1e-6, float(2 * j_min)), max(2e-6, float(2 * j_max))) > 0)
    history = History(
        **{name: row[: found.size] for name, row in edge._asdict().items()},
        sample_density=jnp.asarray(samples),
        sample_condition=jnp.asarray(seen),
        excluded=jnp.asarray(increases and bool(usable.all())),
    )
    status = Status.first((bool((~usable).any()), Status.not_converged), (residual > 1e-6, Status.not_converged))
    return Solution(jnp.asarray(found), history, jnp.asarray(residual, x0.dtype), jnp.int32(used), status)


def _narrowed(bracket, sign, inside, signs):
    """Return the ends of a bracket after looking at places inside of it."""
    inside, signs = inside[np.isfinite(signs)], signs[np.isfinite(signs)]
    other = np.flatnonzero(signs != sign)
    stop = int(other[0]) if other.size else signs.size
    return np.array([inside[stop - 1] if stop else bracket[0], inside[stop] if stop < signs.size else bracket[1]])


@partial(jax.jit, static_argnames="num_nodes")
def _edges(system, field, law, x0, x1, tol, num_nodes, densities):
    """Return the outer edges of magnetospheres with these outer current densities, and which of them are solved."""

    def one(density):
        s = coupled(
            system, field, law, outer=CurrentDensity(density), x0=x0, x1=x1, num_nodes=num_nodes, at=x1[None], tol=tol
        )
        h = jax.tree.map(lambda a: a[0] if a.ndim else a, s.history)
        state = jnp.stack([h.omega, density / 1e-8])
        slope = 1e-8 * x1 * coupled_slopes(x1, state, (system, field, law))[1]
        return Edge(h.omega, h.current, density, slope, h.conductance), s.status.code == Status.ok.code

    return jax.vmap(one)(densities)
