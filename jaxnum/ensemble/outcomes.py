"""How the members of a sweep ended, as a table."""

from typing import Any

import jax
import numpy as np

from jaxnum._solution import Solution
from jaxnum._status import Status


def outcomes(solution: Solution) -> str:
    """Return how many members ended in which way, where the first of each is, and what helps.

    Args:
        solution: What `ensemble.sweep` returned, or any batch of solves.

    Returns:
        One line for each outcome that occurred, the most frequent first.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum import ensemble
        >>> print(ensemble.outcomes(ensemble.sweep(lambda x: jnp.log(x), jnp.array([1.0, 0.0, 2.0]))))
        outcome    members  first         what helps
        ok         2
        nonfinite  1        member 1 (0)  look at the first non-finite row of `history`; reduce the step
    """
    codes = np.asarray(solution.status.code)
    depth = len(solution.axes) or codes.ndim
    # A member that is itself a batch counts once, as its worst part.
    codes = codes.reshape(*codes.shape[:depth], -1).max(axis=-1, initial=0)
    values, counts = np.unique(codes, return_counts=True)
    lines = [("outcome", "members", "first", "what helps")]
    for i in np.argsort(-counts, kind="stable"):
        status = Status(values[i])
        if status == Status.ok:
            lines.append((status.name, str(counts[i]), "", ""))
            continue
        first = np.unravel_index(int(np.argmax(codes == values[i])), codes.shape)
        lines.append((status.name, str(counts[i]), _place(solution, first), status.message.partition("; ")[2]))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _place(solution: Solution, index: tuple[Any, ...]) -> str:
    known = dict(solution.history.items()).get("parameters")
    axes = solution.axes
    if len(axes) > 1 or (isinstance(known, dict) and tuple(known) == axes):
        return ", ".join(f"{name} {_short(known[name][i])}" for name, i in zip(axes, index, strict=True))
    number = int(np.ravel_multi_index(index, np.shape(solution.status.code)[: len(index)])) if index else 0
    leaves = [] if known is None else jax.tree.leaves(known)
    numbers = [_short(x[number]) for x in leaves if np.ndim(x) == 1]
    return f"{axes[0] if axes else 'member'} {number}" + (f" ({', '.join(numbers[:4])})" if numbers else "")


def _short(x: Any) -> str:
    return f"{x:.4g}" if np.ndim(x) == 0 else f"array {np.shape(x)}"
