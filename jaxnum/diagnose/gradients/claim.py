"""A claimed gradient as one vector: called, given the shape of the parameters, and watched for side effects."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxnum.diagnose.report import Finding, Table
from jaxnum.diagnose.truth import Parameters, caller

_WATCHED = 4  # first calls in which it is watched whether parameters are written into


class Unusable(Exception):
    """What the claimed gradient gives cannot be compared with anything; holds the finding."""

    def __init__(self, finding: Finding, table: Table | None = None):
        super().__init__(finding.message)
        self.finding, self.table = finding, table


@dataclass(frozen=True)
class Step:
    """That the claim is a training step, old parameters in and new ones out.

    Attributes:
        rate: Its learning rate, None where it is not known.
    """

    rate: float | None


@dataclass
class Claim:
    """A claimed gradient that is called like the user would call it: the loss first, then the gradient.

    Attributes:
        function: The claimed gradient as a function of one tree.
        loss: The loss as a function of one tree, called before each gradient: some backward passes use what the
            forward pass left behind.
        at: The parameters.
        findings: What is wrong with the shapes, by code and leaf.
        shapes: Shape of each leaf as returned, once it is known.
        single: Whether numbers come in single precision.
        changes: Whether parameters were written into.
        changed: Largest change that was then made.
        inside: Whether the gradient comes in a pair with the loss.
        own_dtype: Whether parameters are handed over in their own dtype instead of in doubles.
        step: Whether the function is a training step; what is claimed is then (old − new)/rate.
        calls: Number of calls so far.
    """

    function: Callable
    loss: Callable
    at: Parameters
    findings: dict[str, Finding] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    single: bool = False
    changes: bool = False
    changed: float = 0.0
    inside: bool = False
    own_dtype: bool = False
    step: Step | None = None
    calls: int = 0

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        """Return the claimed gradient at a point as one vector of doubles, whatever its structure.

        A complex point, one step of differentiation, goes to the claim alone.
        """
        if flat.dtype.kind != "c":
            self.loss(self.at.tree(flat))
        told = self.read(self.raw(flat), complex_ok=flat.dtype.kind == "c")
        return told if self.step is None else (flat - told) / (self.step.rate or 1.0)

    def raw(self, flat: np.ndarray) -> Any:
        """Return what the user's function returns."""
        tree = self.at.tree(flat, own_dtype=self.own_dtype)
        before = [np.array(leaf) for leaf in jax.tree.leaves(tree)] if self.calls < _WATCHED else []
        self.calls += 1
        try:
            result = self.function(tree)
        except Exception as error:
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            where = _line(error)
            message = f"{self._what} fails{where}: {what}."
            raise Unusable(Finding("gradient-fails", message, {"error": type(error).__name__}, _FAILS)) from error
        after = jax.tree.leaves(tree)
        same = all(np.array_equal(a, np.asarray(b), equal_nan=True) for a, b in zip(before, after, strict=False))
        if not same and not self.changes:
            self.changes, gaps = True, zip(before, after, strict=False)
            self.changed = max(float(np.max(np.abs(np.asarray(b, float) - a), initial=0.0)) for a, b in gaps)
        return tree if result is None and self.step is not None else result

    @property
    def _noun(self) -> str:
        return "The gradient of" if self.step is None else "The new value of"

    @property
    def _what(self) -> str:
        return "The claimed gradient" if self.step is None else "The step"

    def read(self, result: Any, *, complex_ok: bool = False) -> np.ndarray:
        """Return a gradient as one vector in the order of the parameters."""
        pieces = self._pieces(result)
        if not complex_ok and any(p.dtype.kind == "c" for p in pieces):
            message = f"{self._what} is complex, and the parameters are real."
            raise Unusable(Finding("complex-gradient", message, {}, "Take the real part where that is meant."))
        self.shapes = [np.shape(p) for p in pieces]
        leaves = []
        for i, (piece, shape) in enumerate(zip(pieces, self.at.shapes, strict=True)):
            if piece.dtype in (np.float32, np.float16):
                self.single = True
            wide = complex if piece.dtype.kind == "c" else float
            leaves.append(self._fit(i, np.asarray(piece, dtype=wide), shape).ravel())
        flat = np.concatenate(leaves)
        if not np.all(np.isfinite(flat)):
            i = next(i for i, s in enumerate(self.at.slices) if not np.all(np.isfinite(flat[s])))
            message = f"{self._what} is not finite{self._of(i)}, where the loss and its gradient are."
            cure = "Look for a division by zero, a logarithm of zero, or exp of something large."
            raise Unusable(Finding("nonfinite-gradient", message, {"leaf": self.at.names[i]}, cure))
        return flat

    def _of(self, i: int) -> str:
        return f" in {self.at.names[i]}" if self.at.names[i] else ""

    def _pieces(self, result: Any) -> list[np.ndarray]:
        """Return one array for each leaf of the parameters."""
        at, count = self.at, len(self.at.shapes)
        size = sum(int(np.prod(s)) for s in at.shapes)
        if _is_array(result):
            array = np.asarray(result)
            if count == 1:
                return [_numbers(array)]
            if array.size == size and array.dtype != object:
                flat = _numbers(array).ravel()
                return [flat[s].reshape(shape) for s, shape in zip(at.slices, at.shapes, strict=True)]
        parts = _up_to(result, at)
        if parts is None and isinstance(result, tuple) and len(result) == 2:
            # `return loss, gradients` and `return gradients, loss` are both common.
            for first, second in ((0, 1), (1, 0)):
                if np.ndim(_try_array(result[first])) == 0 and _try_array(result[first]) is not None:
                    parts = _up_to(result[second], at)
                    if parts is not None:
                        self.inside = True
                        break
        if parts is None:
            got = len(jax.tree.leaves(result))
            message = f"{self._what} has {got} array{'s' * (got != 1)} for {count} parameter{'s' * (count != 1)}."
            shapes = [np.shape(x) for x in jax.tree.leaves(result)][:20]
            rows = [
                (at.names[i] if i < count else "", str(at.shapes[i]) if i < count else "", str(s))
                for i, s in enumerate(shapes)
            ]
            cure = "Return one array for each parameter, in the same structure."
            raise Unusable(
                Finding("missing-leaf", message, {"given": got, "needed": count}, cure),
                Table("Shapes", ("parameter", "must be", "yours"), tuple(rows)),
            )
        return parts

    def _fit(self, i: int, piece: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a leaf in the shape of its parameter; say what its own shape does."""
        if piece.shape == shape:
            return piece
        name = self.at.names[i] or "the parameters"
        updated = _broadcast(shape, piece.shape)
        squeezed = tuple(d for d in piece.shape if d != 1) == tuple(d for d in shape if d != 1)
        evidence = {"leaf": self.at.names[i], "number": i, "shape": list(shape), "given": list(piece.shape)}
        if piece.shape == shape[::-1]:
            message = f"{self._noun} {name} is transposed: it has shape {piece.shape} and must have {shape}."
            self._say("transposed-leaf", i, message, evidence, _TRANSPOSED)
            return piece.T
        if squeezed and piece.size == int(np.prod(shape)):
            if updated is not None and int(np.prod(updated)) == piece.size:
                self.notes[f"shape {i}"] = (
                    f"{self._noun} {name} has shape {piece.shape} instead of {shape}; an update keeps its size."
                )
            else:
                words = f"makes an array of shape {updated} of it" if updated else "fails"
                message = f"{self._noun} {name} has shape {piece.shape} and must have {shape}: an update {words}."
                self._say("wrong-shape", i, message, evidence, f"Reshape it to {shape}.")
            return piece.reshape(shape)
        stacked = piece.ndim > len(shape) and piece.shape[piece.ndim - len(shape) :] == shape
        if stacked or _rows(piece.shape, shape):
            total = piece.reshape(-1, *shape).sum(0)
            count = piece.size // max(1, int(np.prod(shape)))
            message = (
                f"{self._noun} {name} has shape {piece.shape} and must have {shape}: one for each of {count} "
                "samples, not added up."
            )
            self._say("not-summed", i, message, evidence, "Sum over the samples: axis 0.")
            return total
        if piece.size == 1:
            message = f"{self._noun} {name} is one number and must have shape {shape}."
            self._say("wrong-shape", i, message, evidence, "Sum over samples alone (axis 0), not over units.")
            return np.full(shape, piece.ravel()[0])
        message = f"{self._noun} {name} has shape {piece.shape} and must have {shape}."
        cure = "Write the shape of every factor beside the line: (inputs, samples) @ (samples, outputs)."
        raise Unusable(Finding("wrong-shape", message, evidence, cure), self.table())

    def _say(self, code: str, i: int, message: str, evidence: dict, cure: str) -> None:
        self.findings.setdefault(f"{code} {i}", Finding(code, message, evidence, cure))

    def table(self) -> Table:
        """Shapes as they are and as they must be."""
        rows = zip(self.at.names, map(str, self.at.shapes), map(str, self.shapes), strict=True)
        return Table("Shapes", ("parameter", "must be", "yours"), tuple((n or "at", a, b) for n, a, b in rows))


_FAILS = "Print the shapes just before the line; an elementwise product and a matrix product fit different ones."
_TRANSPOSED = "Exchange the factors of the product: (A B)ᵀ = Bᵀ Aᵀ."


def claim(claimed: Any, loss: Callable, at: Parameters, step: Step | None = None) -> Claim:
    """Check the claimed gradient, or the training step, and dress it."""
    function = caller("claimed_gradient" if step is None else "step", claimed, at.at)
    found = Claim(function, caller("loss", loss, at.at), at, step=step)
    if any(d != np.dtype(float) for d in at.dtypes):
        # Code that mixes its own float32 constants strictly may not take doubles.
        try:
            found(at.flat())
        except Unusable:
            found = Claim(function, caller("loss", loss, at.at), at, own_dtype=True, step=step)
    return found


def _line(error: Exception) -> str:
    """Say in which line of the user's own code an error came up."""
    trace, line = error.__traceback__, None
    while trace is not None:
        frame = trace.tb_frame
        if "site-packages" not in frame.f_code.co_filename and frame.f_globals.get("__name__", "") not in _OURS:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" in line {line}" if line else ""


_OURS = (__name__, caller.__module__)


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | jax.Array | np.generic | int | float)


def _numbers(x: Any) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype.kind not in "biufc":
        message = f"It returns {array.dtype} instead of numbers."
        raise Unusable(Finding("not-numbers", message, {"dtype": str(array.dtype)}, "Return arrays of numbers."))
    return array


def _try_array(x: Any) -> np.ndarray | None:
    try:
        array = np.asarray(x)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biufc" else None


def _up_to(result: Any, at: Parameters) -> list[np.ndarray] | None:
    """Split a result at the leaves of the parameters; None where it does not split that way."""
    count = len(at.shapes)
    parts = None
    try:
        parts = at.structure.flatten_up_to(result)
    except (ValueError, TypeError, KeyError):
        if isinstance(result, list | tuple) and len(result) == count:
            parts = list(result)
        elif isinstance(result, dict) and len(result) == count:
            parts = [result[k] for k in sorted(result, key=str)]
        else:
            leaves = jax.tree.leaves(result, is_leaf=lambda x: x is None)
            parts = leaves if len(leaves) == count else None
    if parts is None:
        return None
    arrays = []
    for part, shape in zip(parts, at.shapes, strict=True):
        if part is None:
            arrays.append(np.zeros(shape))
            continue
        array = _try_array(part)
        if array is None:
            return None
        arrays.append(_numbers(array))
    return arrays


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _rows(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether rows of samples stand where a row or a column with one sample belongs."""
    return len(given) == len(shape) == 2 and shape[0] == 1 and given[1] == shape[1] and given[0] > 1
