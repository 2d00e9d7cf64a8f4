"""How does this update rule want to be called?

People write `update(grad, state) -> (step, state)`, `step(grad)`, `update(params, grads)` that changes the parameters
in place, objects with a `step` method, classes of such objects, lists and dicts of arrays. Nobody should have to
rewrite an optimizer to have it looked at, so the forms are tried in turn, each on fresh copies, and where two arguments
could be either of two things, a gradient of zero tells them apart: it moves nothing.
"""

import copy
import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_METHODS = ("step", "update", "apply", "apply_gradients", "get_update", "__call__")
_CONTAINERS: dict[str, tuple[Callable, Callable]] = {
    "": (lambda x: x, lambda x: x),
    "a list of arrays": (lambda x: [x], lambda x: x[0]),
    "a dict of arrays": (lambda x: {"w": x}, lambda x: x["w"]),
}


@dataclass(frozen=True)
class Way:
    """A way to call a rule and to read its step.

    Attributes:
        open: Function of a fresh copy of the rule giving what is called.
        update: The rule.
        roles: What the arguments are, in order: "grad", "params", "state".
        reads: Where the step stands: "step" is returned, "params" are returned, "changed" parameters are found in the
            argument, "returned after" means the parameters live in the rule and are returned.
        returns_state: Whether a pair (answer, state) is returned.
        make: Function of a zero of the right shape giving the first state.
        shape: Shape of the arrays; None for plain numbers.
        container: Key of what the arrays are wrapped in.
        any_shape: Whether arrays of another shape may be tried.
        words: The call, for people.
    """

    open: Callable[[Any], Callable]
    update: Any
    roles: tuple[str, ...]
    reads: str
    returns_state: bool
    make: Callable[[Any], Any]
    shape: tuple[int, ...] | None
    container: str = ""
    any_shape: bool = False
    words: str = ""

    @property
    def sees_parameters(self) -> bool:
        """Whether parameters are handed to the rule."""
        return "params" in self.roles

    def run(self, fresh: Callable, gradients: np.ndarray, value: float = 0.0) -> tuple[np.ndarray, np.dtype]:
        """Take one step for each row of `gradients`, with the parameters held at `value`.

        Returns:
            Steps in the shape of `gradients`, and their dtype.
        """
        call = self.open(fresh(self.update))
        many = gradients.ndim == 2
        shape = gradients.shape[1:] if many else self.shape
        zero = 0.0 if shape is None else np.zeros(shape)
        memory = copy.deepcopy(self.make(zero)) if "state" in self.roles else None
        wrap, unwrap = _CONTAINERS[self.container]
        params, taken, dtype = zero + value, [], np.dtype(float)
        before = self.origin(fresh) if self.reads == "returned after" else 0.0
        for row in gradients:
            g = float(row) if shape is None else np.broadcast_to(row, shape).astype(float)
            if shape is not None:
                params[...] = value  # in the same array: some rules keep their memory by its identity
            held, given = wrap(params), wrap(g)
            out = call(*({"grad": given, "params": held, "state": memory}[role] for role in self.roles))
            if self.returns_state:
                out, memory = out
            if self.reads == "changed":
                out = np.array(unwrap(held)) - value
            elif self.reads == "params":
                out = np.array(unwrap(out)) - value
            elif self.reads == "returned after":
                now = np.array(unwrap(out))
                out, before = now - before, now
            else:
                out = np.array(unwrap(out))  # a copy: rules that work in place write into what they returned
            if out.size != np.size(g) or out.dtype.kind not in "fiu":
                raise TypeError(f"the step has shape {out.shape} and dtype {out.dtype} for a gradient of {np.shape(g)}")
            dtype = out.dtype if out.dtype.kind == "f" else dtype
            out = out.astype(float)
            taken.append(out.reshape(gradients.shape[1:]) if many else np.float64(out.flat[0]))
        return np.stack(taken), dtype

    def origin(self, fresh: Callable) -> np.ndarray:
        """Return the parameters that live in the rule: what a gradient of zero leaves them at."""
        wrap, unwrap = _CONTAINERS[self.container]
        zero = 0.0 if self.shape is None else np.zeros(self.shape)
        return np.array(unwrap(self.open(fresh(self.update))(wrap(zero))), float)


# A plain zero comes before the tuples: it is what momentum starts from, and a tuple times 0.9 can be taken for it.
_STARTS: tuple[Callable[[Any], Any], ...] = (
    lambda _: None,
    lambda _: {},
    lambda zero: {"m": zero, "v": zero, "t": 0},
    lambda zero: zero,
    lambda zero: (zero, zero, 0.0 * zero),
    lambda zero: (zero, zero),
)


def plainly(way: Way) -> str:
    """Return the state that a plain function `update(grad, state)` on arrays starts from, as text; else nothing."""
    plain = isinstance(way.update, types.FunctionType) and way.roles == ("grad", "state") and way.shape == (1,)
    starts = {_STARTS[0]: "None", _STARTS[1]: "{}"}
    return starts.get(way.make, "") if plain and not way.container else ""


def find(update: Any, state: Any, few: np.ndarray, fresh: Callable) -> tuple[Way | None, Exception | None]:
    """Find a way to call a rule.

    Args:
        update: Function, object or class.
        state: State before the first step, or None to try the usual ones.
        few: A few gradients to try with, (steps,).
        fresh: Function giving a copy of a rule with a memory of its own.

    Returns:
        The way and None, or None and the most telling exception (None if there was nothing to call).
    """
    first: Exception | None = None
    makes = (lambda _: state,) if state is not None else _STARTS
    for method, opened in _opened(update):
        for way in _classic(update, opened, makes):
            try:
                way.run(fresh, few)
            except Exception as error:
                # A division by zero means that the rule got so far as to divide: more telling than the other errors.
                if first is None or isinstance(error, ZeroDivisionError):
                    first = error
                continue
            return replace(way, words=_words(method, way)), None
        if way := _other(update, opened, makes, few, fresh):
            return replace(way, words=_words(method, way)), None
    return None, first


def _opened(update: Any) -> Iterator[tuple[str, Callable[[Any], Callable]]]:
    """Yield what could be called: the function itself, or the methods of the object."""
    if isinstance(update, type):
        made = lambda rule: rule() if isinstance(rule, type) else rule  # noqa: E731
        for name in _METHODS:
            if callable(getattr(update, name, None)) and (name != "__call__" or "__call__" in vars(update)):
                yield name, lambda rule, name=name: getattr(made(rule), name)
        return
    if callable(update):
        yield getattr(update, "__name__", "update"), lambda rule: rule
    if not isinstance(update, types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        for name in _METHODS[:-1]:
            if callable(getattr(update, name, None)):
                yield name, lambda rule, name=name: getattr(rule, name)


def _classic(update: Any, opened: Callable, makes: tuple) -> Iterator[Way]:
    """Yield the forms with a gradient and a state, and the pair returned, on arrays and on numbers."""
    for shape in ((1,), None):
        for make in makes:
            yield Way(opened, update, ("grad", "state"), "step", True, make, shape, any_shape=shape is not None)


def _other(update: Any, opened: Callable, makes: tuple, few: np.ndarray, fresh: Callable) -> Way | None:
    """Find the other forms: what the arguments and the answer are is told by what a gradient of zero does."""
    shapes = [(1,), None, *_shapes_in_sight(update)]
    counts = [count for count in (1, 2, 3) if _takes(opened, update, count)]
    for container in _CONTAINERS:
        for shape in shapes:
            if shape is None and container:
                continue
            for count in counts:
                for make in makes if count == 3 else makes[:1]:
                    for reads, orders in _READINGS[count]:
                        ways = [
                            Way(opened, update, roles, reads, count == 3, make, shape, container, shape == (1,))
                            for roles in orders
                        ]
                        # With a weight decay both orders of the arguments look possible; the gradient moves more.
                        moves = [_moves(way, few, fresh) for way in ways]
                        if max(moves) > 0:
                            return ways[int(np.argmax(moves))]
    return None


_PAIRS = (("params", "grad"), ("grad", "params"))
_TRIPLES = (("params", "grad", "state"), ("grad", "state", "params"), ("grad", "params", "state"))
_READINGS = {
    1: (("returned after", (("grad",),)), ("step", (("grad",),))),
    2: tuple((reads, _PAIRS) for reads in ("params", "changed", "step")),
    3: tuple((reads, _TRIPLES) for reads in ("params", "step", "changed")),
}


def _moves(way: Way, few: np.ndarray, fresh: Callable) -> float:
    """Return how far the rule moves if it is read this way; 0 where zero gradients move it or the reading is absurd."""
    try:
        if way.reads == "returned after" and not np.any(np.abs(way.origin(fresh)) > 1e-12):
            return 0.0  # nothing tells parameters that start from zero from a step
        still, moving = way.run(fresh, np.zeros(2))[0], way.run(fresh, few)[0]
        moved = float(np.max(np.nan_to_num(np.abs(moving), nan=1.0)))
        if np.max(np.abs(still)) > 0 or moved == 0:
            return 0.0
        if way.sees_parameters:
            # Held at 8, a decay may shrink them a little, and the gradient must still be seen.
            still, moving = way.run(fresh, np.zeros(2), 8.0)[0], way.run(fresh, few, 8.0)[0]
            seen = np.nan_to_num(np.abs(moving - still[0]), nan=1.0)
            if np.max(np.abs(still)) >= 4 or not np.any(seen > 0):
                return 0.0
        return moved
    except Exception:
        return 0.0


def _shapes_in_sight(update: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the arrays that a rule holds: its moments have the shape that its gradients must have."""
    held: list[Any] = []
    if isinstance(update, type):
        try:
            update = update()
        except Exception:  # it needs arguments, which nobody knows
            return []
    if isinstance(update, types.MethodType):
        update = update.__self__
    held += list(getattr(update, "__dict__", {}).values())
    for cell in getattr(update, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # a name that is not bound yet
            continue
    if hasattr(update, "__code__"):
        held += [update.__globals__.get(name) for name in update.__code__.co_names]
    shapes: list[tuple[int, ...]] = []
    for x in held:
        items = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else [x]
        for item in items:
            shape = getattr(item, "shape", None)
            if isinstance(item, np.ndarray) and shape and shape != (1,) and item.size < 10_000 and shape not in shapes:
                shapes.append(shape)
    return shapes[:4]


def _words(name: str, way: Way) -> str:
    answer = {"step": "step", "params": "params", "returned after": "params", "changed": "None"}[way.reads]
    answer = f"({answer}, state)" if way.returns_state else answer
    inside = f" on {way.container}" if way.container else ""
    changed = ", params changed in place" if way.reads == "changed" else ""
    return f"{name}({', '.join(way.roles)}) -> {answer}{changed}{inside}"


def _takes(opened: Callable, update: Any, count: int) -> bool:
    """Tell whether the rule can be called with `count` positional arguments; True where nobody knows."""
    try:
        inspect.signature(opened(update)).bind(*[None] * count)
    except ValueError:
        return True
    except Exception:
        return False
    return True
