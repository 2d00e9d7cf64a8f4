"""Watch an update rule take steps, whatever way it keeps its memory.

No source is read: the rule is fed sequences of gradients chosen so that rules which differ take different steps.
Memory may be passed along, written in place, kept in a closure, an object or a global: every sequence starts from a
fresh copy, and the first one is repeated at the end to see that nothing leaked from run to run. How a rule wants to be
called (`calling.py`) is found by trying, too.
"""

import copy
import functools
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnum._checks import refuse
from jaxnum.diagnose.truth import QUICK
from jaxnum.diagnose.updates import calling

NUM_STEPS = 20
NAMES = ("1, 1, 1, ...", "0.01, 0.01, ...", "1e-6, 1e-6, ...", "+1, -1, +1, ...", "ten ones, then zeros")


def sequences() -> np.ndarray:
    """Return the five probe sequences as columns, shape (20, 5).

    Gradients far above, near and below √ε and ε show where ε stands; alternation shows what is averaged; ones and then
    zeros show how fast either moment forgets.
    """
    t = np.arange(NUM_STEPS)
    ones = np.ones(NUM_STEPS)
    return np.stack([ones, 1e-2 * ones, 1e-6 * ones, np.where(t % 2, -1.0, 1.0), np.where(t < 10, 1.0, 0.0)], axis=1)


def together() -> np.ndarray:
    """Return gradients of three coordinates at once, shape (6, 3): do the coordinates know of each other?"""
    t = np.arange(6)[:, None]
    return np.array([[3.0, -4.0, 0.02]]) * (1 + 0.5 * np.cos(t))


@dataclass(frozen=True)
class Watched:
    """Steps that a rule took.

    Attributes:
        steps: One column for each probe sequence, shape (20, 5); NaN where the rule gave no number.
        joint: Steps for three coordinates at once, shape (6, 3); None if it takes single numbers only.
        apart: Steps for the same three coordinates one by one, shape (6, 3).
        decay: Change of the first joint step when the parameters are ones instead of zeros; None if it sees none.
        double: Whether the steps came in double precision.
        leaks: Whether a second run from a fresh copy took other steps than the first.
        failure: Exception that kept it from taking a single step; None when it took some.
        held: Steps for the five sequences with the parameters held at one, shape (20, 5); None if it sees none.
        way: How it was called, in words.
        start: State that the first plain call is given, as text; "optax" for a transformation, else empty.
    """

    steps: np.ndarray
    joint: np.ndarray | None
    apart: np.ndarray
    decay: float | None
    double: bool
    leaks: bool
    failure: Exception | None = None
    held: np.ndarray | None = None
    way: str = ""
    start: str = ""


def watch(name: str, update: Any, state: Any = None) -> Watched:
    """Feed the probe sequences to an update rule.

    Args:
        name: Name of the argument that holds the rule, for error messages.
        update: Optax transformation, function, object with a method that takes steps, or class of such objects.
        state: State before the first step of a function; by default None and then the usual zeros are tried.

    Raises:
        ValueError: If it is not a rule, or no way was found to call it.
    """
    pair = callable(getattr(update, "update", None)) and callable(getattr(update, "init", None))
    if isinstance(update, optax.GradientTransformation) or (pair and type(update).__module__.startswith("optax")):
        return _watch_transformation(name, update)
    return _watch_function(name, update, state)


def _watch_transformation(name: str, optimizer: Any) -> Watched:
    def run(gradients, values):
        """Rows of `gradients` are independent problems, (problems, time, coordinates), each with its parameters."""

        def alone(g, value):
            params = jnp.zeros_like(g[0]) + value

            def body(memory, g):
                step, memory = optimizer.update(g, memory, params)
                return memory, step

            return jax.lax.scan(body, optimizer.init(params), g)[1]

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return jax.vmap(alone)(gradients, values)

    # What one coordinate at a time shows, with the parameters at zero and at one, and what three at once show.
    count, short = sequences().shape[1], np.concatenate([together(), np.zeros((NUM_STEPS - len(together()), 3))])
    single = np.concatenate([sequences(), short, sequences()], axis=1).T[:, :, None]
    values = np.concatenate([np.zeros(count + 3), np.ones(count)])
    several, ends = np.stack([together(), together()]), np.array([0.0, 1.0])
    try:
        both = jax.jit(lambda a, b, c, d: (run(a, b), run(c, d)), compiler_options=QUICK)
        found, pair = both(*map(jnp.asarray, (single, values, several, ends)))
    except Exception as error:
        reason = f"fails with {type(error).__name__}: {str(error).splitlines()[0]:.100}"
        refuse(name, "be an Optax transformation that can be run under `jit`", reason)
    double = found.dtype == jnp.float64
    found, (joint, moved) = np.asarray(found, float)[:, :, 0].T, np.asarray(pair, float)
    decay = float(np.max(np.abs(moved[0] - joint[0])))
    steps, apart, held = found[:, :count], found[: len(together()), count : count + 3], found[:, count + 3 :]
    return Watched(
        steps, joint, apart, decay, double, leaks=False, held=held, way="an Optax transformation", start="optax"
    )


def _watch_function(name: str, update: Callable, state: Any) -> Watched:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        way, failure = calling.find(update, state, sequences()[:3, 0], fresh)
        if way is None:
            if isinstance(failure, ZeroDivisionError):
                nothing = np.full((NUM_STEPS, len(NAMES)), np.nan)
                return Watched(nothing, None, together() * np.nan, None, True, False, failure)
            if failure is None:
                must = (
                    "be a function `update(grad, state) -> (step, state)`, an object with a method that takes steps, "
                )
                refuse(name, must + "or an Optax transformation", f"is {update!r:.60}")
            what = f"update(grad, {'state' if state is not None else 'None'}) fails with {failure!r:.100}"
            refuse("state" if state is None else name, "be what the rule can start from", what)
        run = functools.partial(way.run, fresh)
        columns = [run(column) for column in sequences().T]
        leaks = not np.array_equal(run(sequences()[:, 0])[0], columns[0][0], equal_nan=True)
        apart = np.stack([run(column)[0] for column in together().T], axis=1)
        joint = held = decay = None
        if way.any_shape:
            try:
                joint = run(together())[0]
            except Exception:
                joint = None
        if way.sees_parameters:
            held = np.stack([run(column, 1.0)[0] for column in sequences().T], axis=1)
            decay = float(np.max(np.abs(run(together()[:, 0], 1.0)[0][0] - apart[0, 0])))
    steps = np.stack([steps for steps, _ in columns], axis=1)
    double = all(dtype.itemsize >= 8 for _, dtype in columns)
    return Watched(steps, joint, apart, decay, double, leaks, held=held, way=way.words, start=calling.plainly(way))


def fresh(function: Callable) -> Callable:
    """Return a copy of a function whose memory (closure, defaults, object, globals it names) is its own."""
    return _Copier().callable(function)


class _Copier:
    """One copy of everything that is reached, so that what was shared stays shared."""

    def __init__(self) -> None:
        self.memo: dict[int, Any] = {}
        self.made: dict[int, Any] = {}
        self.filled: set[int] = set()

    def callable(self, function: Any) -> Any:
        if isinstance(function, types.FunctionType):
            return self.function(function)
        if isinstance(function, types.MethodType):
            return types.MethodType(self.function(function.__func__), self.data(function.__self__))
        if isinstance(function, type):
            return function
        if isinstance(function, functools.partial):
            words = {k: self.data(v) for k, v in function.keywords.items()}
            return functools.partial(self.callable(function.func), *map(self.data, function.args), **words)
        return self.data(function)

    def data(self, x: Any) -> Any:
        if isinstance(x, types.FunctionType | types.MethodType | functools.partial):
            return self.callable(x)
        try:
            return copy.deepcopy(x, self.memo)
        except Exception:  # modules, compiled functions and the like hold no memory of ours
            return x

    def function(self, f: types.FunctionType) -> types.FunctionType:
        if id(f) in self.made:
            return self.made[id(f)]
        cells = tuple(self.cell(c) for c in f.__closure__ or ())
        twin = types.FunctionType(f.__code__, self.globals(f.__globals__), f.__name__, None, cells or None)
        self.made[id(f)] = twin
        twin.__defaults__, twin.__kwdefaults__ = self.data(f.__defaults__), self.data(f.__kwdefaults__)
        twin.__dict__.update({k: self.data(v) for k, v in f.__dict__.items()})
        for original, copied in zip(f.__closure__ or (), cells, strict=True):
            if id(copied) not in self.filled:
                self.filled.add(id(copied))
                try:
                    copied.cell_contents = self.data(original.cell_contents)
                except ValueError:  # a name that is not bound yet
                    continue
        names = twin.__globals__
        for name in f.__code__.co_names:
            if name not in names:  # a builtin
                continue
            value = names[name]
            if isinstance(value, types.FunctionType) and value.__globals__ is f.__globals__:
                names[name] = self.function(value)
            elif not callable(value) and not isinstance(value, types.ModuleType):
                names[name] = self.data(value)
        return twin

    def cell(self, original: Any) -> Any:
        return self.made.setdefault(id(original), types.CellType())

    def globals(self, names: dict) -> dict:
        # A copy of the dictionary alone already keeps `global t; t += 1` from reaching the user's module.
        return self.made.setdefault(id(names), dict(names))
