"""What every solve returns: the answer, the path to it, and how far to trust it."""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnum import _folder, _store, _xarray
from jaxnum._status import Status
from jaxnum._typing import is_traced


class SolveError(RuntimeError):
    """A solve did not end well, and its value was asked for all the same."""


@jax.tree_util.register_pytree_with_keys_class
class History:
    """Named rows recorded along a solve: `history.psi` and `history["psi"]` are the same array.

    Example:
        >>> from jaxnum import History
        >>> history = History(t=[0.0, 1.0], norm=[1.0, 1.0])
        >>> history.t is history["t"], list(history)
        (True, ['t', 'norm'])
    """

    __slots__ = ("_rows",)

    def __init__(self, **rows: Any) -> None:
        object.__setattr__(self, "_rows", rows)

    def __setattr__(self, name: str, _value: Any) -> None:
        raise AttributeError(f"a History is frozen; `{name}` cannot be set")

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_rows")[name]
        except KeyError:
            raise AttributeError(f"this history has {', '.join(self._rows)}; not `{name}`") from None

    def __getitem__(self, name: str) -> Any:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def keys(self) -> Any:
        """Names of the recorded quantities."""
        return self._rows.keys()

    def items(self) -> Any:
        """Pairs of name and rows."""
        return self._rows.items()

    def __repr__(self) -> str:
        return "History(" + ", ".join(f"{k}={_describe(v)}" for k, v in self._rows.items()) + ")"

    def __reduce__(self) -> tuple:
        return _history, (dict(self._rows),)

    def tree_flatten_with_keys(self) -> tuple:
        """Tell JAX what is inside."""
        return [(jax.tree_util.DictKey(k), v) for k, v in self._rows.items()], tuple(self._rows)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], rows: Any) -> "History":
        """Let JAX put it together again."""
        return cls(**dict(zip(names, rows, strict=True)))


def _history(rows: dict) -> History:
    return History(**rows)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """An answer, and how far to trust it.

    Attributes:
        value: What was asked for.
        history: Rows recorded on the way, by name.
        residual: One number that says how badly `value` fails its own equation; what is measured stands in the
            docstring of the function that solved.
        num_steps: Steps taken.
        status: How the solve ended, computed from the values.
        axes: Names of the leading axes of every array in a sweep of many solves; empty for a single one.
    """

    value: Any
    history: History
    residual: Any
    num_steps: Any
    status: Status
    axes: tuple[str, ...] = field(default=(), metadata={"static": True})

    @property
    def ok(self) -> bool:
        """Whether the solve, or every member of a batch of solves, ended well."""
        return self.status == Status.ok

    def unwrap(self) -> Any:
        """Return `value`, or raise when the solve did not end well.

        Raises:
            SolveError: In one line, cause, then cure. Only outside `jit`, where the status can be read.
        """
        if self.ok:
            return self.value
        raise SolveError(
            f"{self.status}: {self.status.message} (residual {_worst(self.residual):.3g}, {self._steps()} steps)."
        )

    def save(self, path: str | Path, *, configuration: dict | None = None) -> Path:
        """Write the solution to one `.npz` file, completely or not at all; read it back with `jaxnum.load`.

        Args:
            path: File to write; an existing file is replaced in one stroke.
            configuration: Anything JSON can hold, kept beside versions, device and dtype.

        Returns:
            Path of the file.

        Raises:
            ValueError: If something in the solution is not an array.
        """
        tree = {"value": self.value, "history": dict(self.history.items())}
        tree |= {"residual": self.residual, "num_steps": self.num_steps, "status": self.status.code}
        if self.axes:
            tree["axes"] = {name: None for name in self.axes}
        return _store.save(path, tree, kind="solution", configuration=configuration)

    def to_xarray(self) -> Any:
        """Return all arrays as one `xarray.Dataset`, with the axes of a sweep as named dimensions.

        Returns:
            Dataset with `value`, `residual`, `num_steps`, `status` (codes; the attribute `flag_meanings` holds their
            names) and the rows of the history. Complex arrays stay complex; netCDF holds them with
            `to_netcdf(path, engine="netcdf4", auto_complex=True)`.

        Raises:
            ImportError: If xarray is not installed.
        """
        return _xarray.dataset(self)

    def _steps(self) -> int:
        return int(np.max(np.asarray(self.num_steps)))

    def __repr__(self) -> str:
        if is_traced((self.status, self.residual, self.num_steps)):
            return f"Solution(traced, value={_describe(self.value)})"
        return (
            f"Solution({self.status}, value={_describe(self.value)}, residual={_worst(self.residual):.3g}, "
            f"num_steps={self._steps()}, history={', '.join(self.history)})"
        )

    def _repr_html_(self) -> str:
        rows = {
            "status": f"{self.status} ({self.status.message})",
            "value": _describe(self.value),
            "residual": f"{_worst(self.residual):.3g}",
            "steps": str(self._steps()),
            **{f"history.{name}": _describe(rows) for name, rows in self.history.items()},
        }
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"


def load(path: str | Path) -> Solution:
    """Read a solution written by `Solution.save`, or a sweep written by `ensemble.sweep`; its arrays are NumPy's.

    A pytree value comes back as nested dicts, lists and arrays: classes named in a file are never instantiated.

    Args:
        path: File written by `Solution.save`, or folder of a finished sweep.

    Returns:
        Solution with NumPy arrays; for a sweep `axes` names their leading axes, and `history.parameters` holds what
        stands along them.

    Raises:
        FileNotFoundError: If there is no such file.
        jaxnum.StoreError: If the file is damaged, hostile or from a newer jaxnum, or members of the sweep are missing.

    Example:
        >>> import jax.numpy as jnp, optax, tempfile, pathlib, jaxnum
        >>> solution = jaxnum.optimize.minimize(lambda y: jnp.sum(y**2), optax.sgd(0.1), [1.0], num_steps=3)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.npz"
        >>> jaxnum.load(solution.save(path)).history.y.shape
        (4, 1)
    """
    if _folder.is_folder(path):
        return _load_sweep(path)
    tree, _ = _store.load(path, kind="solution")
    axes = tree.pop("axes", {}) if isinstance(tree, dict) else {}
    if not isinstance(axes, dict):
        raise _store.StoreError(f"{path} is damaged: its axes have no names.")
    return _from_tree(path, tree, tuple(axes))


def _load_sweep(path: str | Path) -> Solution:
    folder = _folder.look(path)
    arrays, axes, shape = folder.read_all(), tuple(folder.manifest["axes"]), tuple(folder.manifest["shape"])
    shaped = {name: array.reshape(shape + array.shape[1:]) for name, array in arrays.items()}
    try:
        tree = _store.rebuild(folder.manifest.get("structure"), shaped)
    except (KeyError, RecursionError) as error:
        raise _store.StoreError(f"{path} is damaged: its structure cannot be put together.") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("history"), dict):
        raise _store.StoreError(f"{path} is damaged: it does not hold solutions.")
    if folder.manifest.get("drawn") is not True:
        tree["history"] = {"parameters": folder.parameters(), **tree["history"]}
    return _from_tree(path, tree, axes)


def _from_tree(path: Any, tree: Any, axes: tuple[str, ...]) -> Solution:
    if not isinstance(tree, dict) or set(tree) != {"value", "history", "residual", "num_steps", "status"}:
        raise _store.StoreError(f"{path} is damaged: it does not hold the five parts of a solution.")
    code, rows = np.asarray(tree["status"]), tree["history"]
    if code.dtype.kind not in "iu" or code.ndim < len(axes) or not Status.knows(code):
        raise _store.StoreError(f"{path} is damaged or newer: it holds a status that is not known.")
    if not isinstance(rows, dict) or "self" in rows:
        raise _store.StoreError(f"{path} is damaged: its history has no names.")
    if any(np.asarray(tree[name]).dtype.kind not in "biuf" for name in ("residual", "num_steps")):
        raise _store.StoreError(f"{path} is damaged: its residual or number of steps is no number.")
    return Solution(tree["value"], History(**rows), tree["residual"], tree["num_steps"], Status(tree["status"]), axes)


def load_metadata(path: str | Path) -> dict:
    """Read what `Solution.save` wrote beside the arrays: versions, device, dtype, time and configuration."""
    return _store.load(path, kind="solution")[1]


def _describe(x: Any) -> str:
    leaves = jax.tree.leaves(x)
    if len(leaves) == 1 and leaves[0] is x:
        shape = np.shape(x)
        return f"{getattr(x, 'dtype', type(x).__name__)}[{','.join(map(str, shape))}]"
    return f"{type(x).__name__} of {len(leaves)} arrays"


def _worst(x: Any) -> float:
    return float(np.max(np.asarray(x)))
