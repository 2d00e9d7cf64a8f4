"""How a solve ended: a small closed set of outcomes, computed from the values.

A status is a pytree with one integer leaf, so it travels through `jit`, `vmap` and `scan`; on the host it prints
as a word and compares with `Status.ok` and its like.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnum._typing import is_traced

# name -> (cause, cure); the place in this table is the code, so names are only ever appended.
_OUTCOMES = {
    "ok": ("the solve met its own equation", "nothing to do"),
    "diverged": (
        "the iterates grew beyond where they started",
        "take a smaller step or a better starting point",
    ),
    "nonfinite": (
        "a value became NaN or infinite",
        "look at the first non-finite row of `history`; reduce the step",
    ),
    "max_steps": (
        "the step budget ran out before the tolerance was met",
        "allow more steps or a larger tolerance",
    ),
    "tolerance_unreachable": (
        "the tolerance is below what this dtype can hold",
        "call jaxnum.enable_x64() before creating arrays, or ask for less",
    ),
    "no_steady_state": ("no steady state was reached", "look for a limit cycle or a drift in `history`"),
    "not_converged": (
        "the residual stayed above the tolerance",
        "give a better starting point, more iterations or a finer grid",
    ),
    "ill_conditioned": (
        "rounding errors are amplified to the size of the answer",
        "standardize, or change to an orthogonal basis",
    ),
    "infeasible": (
        "no solution can satisfy the conditions given",
        "change the boundary condition that is named",
    ),
    "interrupted": (
        "the run was interrupted from the keyboard",
        "take it up again from what it returned",
    ),
    "failed": ("the run stopped with an error", "read the error, which is kept beside the results"),
}
_NAMES = tuple(_OUTCOMES)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Status:
    """How a solve ended; compare with `Status.ok`, `Status.nonfinite` and so on.

    Attributes:
        code: Place of the outcome in the closed list of outcomes; an array when the solve was batched.

    Example:
        >>> from jaxnum import Status
        >>> print(Status.ok, Status.ok == Status.nonfinite)
        ok False
    """

    code: ArrayLike

    ok: ClassVar["Status"]
    diverged: ClassVar["Status"]
    nonfinite: ClassVar["Status"]
    max_steps: ClassVar["Status"]
    tolerance_unreachable: ClassVar["Status"]
    no_steady_state: ClassVar["Status"]
    not_converged: ClassVar["Status"]
    ill_conditioned: ClassVar["Status"]
    infeasible: ClassVar["Status"]
    failed: ClassVar["Status"]
    interrupted: ClassVar["Status"]

    @staticmethod
    def first(*cases: tuple[ArrayLike, "Status"]) -> "Status":
        """Return the status of the first true condition, or `ok` when none is true; works under `jit`."""
        code = jnp.int32(0)
        for condition, status in reversed(cases):
            code = jnp.where(condition, jnp.int32(status.code), code)
        return Status(code)

    @staticmethod
    def knows(codes: ArrayLike) -> bool:
        """Tell whether all codes stand for an outcome."""
        codes = np.asarray(codes)
        return bool(((codes >= 0) & (codes < len(_NAMES))).all())

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the names of all outcomes in the order of their codes."""
        return _NAMES

    @property
    def name(self) -> str:
        """The outcome as a word; for a batch, how many members ended in each way."""
        codes = np.asarray(self.code)
        if codes.ndim == 0:
            return _NAMES[int(codes)]
        values, counts = np.unique(codes, return_counts=True)
        return ", ".join(f"{_NAMES[v]}: {n}" for v, n in zip(values, counts, strict=True))

    @property
    def message(self) -> str:
        """Cause, then cure, in one line: of the worst member when the solve was batched."""
        cause, cure = _OUTCOMES[_NAMES[int(np.max(self.code))]]
        return f"{cause}; {cure}"

    def __eq__(self, other: object) -> bool:
        # One answer also for a batch: are all members equal?
        if isinstance(other, str):
            return other in _OUTCOMES and self == Status(_NAMES.index(other))
        if not isinstance(other, Status):
            return NotImplemented
        return bool(np.all(np.asarray(self.code) == np.asarray(other.code)))

    def __hash__(self) -> int:
        # Equal statuses hash alike whatever the integer type, and so does a batch whose members all ended one way.
        return hash(np.unique(np.asarray(self.code, np.int32)).tobytes())

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Status({self.name if not is_traced(self.code) else 'traced'})"


for _code, _name in enumerate(_NAMES):
    setattr(Status, _name, Status(_code))
