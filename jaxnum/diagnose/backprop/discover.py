"""Find a network that nobody told among the arrays that a loss can see.

Samples and targets are in globals, closures, defaults and objects; those that make up a network whose loss agrees with
the user's at every point are taken for them.
"""

import itertools
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxnum.diagnose.backprop.functions import IDENTITY, LOGISTIC, RELU, SOFTMAX, TANH
from jaxnum.diagnose.backprop.network import Network, layouts_of, one_hot
from jaxnum.diagnose.backprop.recognize import Recognized, recognize
from jaxnum.numerics.lift import Lifted

_MOST_NUMBERS = 2_000_000  # and numbers in them


_MOST_ARRAYS = 40  # arrays a loss may see before nobody guesses which are samples and targets


# Finding a network that nobody told -----------------------------------------------------------------------------------


def discover(
    loss: Callable, shapes: Sequence[tuple[int, ...]], leaves: list[np.ndarray], values: np.ndarray
) -> Recognized | None:
    """Look for a network among the arrays that a loss can see; its loss must agree with the user's at every point."""
    arrays = list(arrays_in_sight(loss))
    if not arrays or len(arrays) > _MOST_ARRAYS or sum(a.size for a in arrays) > _MOST_NUMBERS:
        return None
    shapes = tuple(shapes)
    tables = [a for a in arrays if a.ndim == 2] + [a.T for a in arrays if a.ndim == 2]
    tables += [a[None] for a in arrays if a.ndim == 1]  # one sample
    inputs = {s for shape in shapes for s in shape}
    for a in [t for t in tables if t.shape[1] + 1 in inputs]:  # a column of ones put in on the way is a bias
        one = np.ones((len(a), 1))
        tables += [np.hstack([a, one]), np.hstack([one, a])]
    finals = (LOGISTIC, SOFTMAX, IDENTITY, TANH, RELU)
    for x in tables:
        targets = [t for t in _targets(arrays, len(x)) if not np.shares_memory(t, x)]
        for y, final in itertools.product(targets, finals):
            target = _labels(y, shapes) if final.name == "softmax" and y.shape[1] == 1 else y
            if target is None:
                continue
            for way in itertools.islice(layouts_of(x.shape[1], target.shape[1], shapes), 4):
                for hidden in (LOGISTIC, TANH, RELU, IDENTITY) if len(way.weights) > 1 else (final,):
                    known = recognize(Network(x, target, hidden, final), (way,), leaves, values)
                    if known is not None:
                        return replace(known, told=False)
    return None


def _labels(y: np.ndarray, shapes) -> np.ndarray | None:
    """Return class numbers as rows with a single one, for as many classes as the last leaf has room for."""
    labels = y[:, 0]
    if np.any(labels != np.round(labels)) or labels.min() < 0 or labels.max() > 1000:
        return None
    for shape in reversed(shapes):
        for size in (shape[-1:], shape[:1]):
            if size and size[0] > max(1, labels.max()):
                return one_hot(labels, size[0])
    return None


def _targets(arrays: list[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    for a in arrays:
        if a.ndim == 1 and samples == 1:
            yield a[None]
        if a.ndim == 1 and len(a) == samples:
            yield a[:, None]
        elif a.ndim == 2 and len(a) == samples:
            yield a
        elif a.ndim == 2 and a.shape[1] == samples:
            yield a.T


def arrays_in_sight(function: Any) -> Iterator[np.ndarray]:
    """Arrays that a function can see: in its globals, closure, defaults, and in the objects and functions there."""
    waiting, seen, count = [function], set(), 0
    while waiting and count < 2000:
        thing, count = waiting.pop(0), count + 1
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray | jax.Array):
            if thing.ndim in (1, 2) and thing.size > 0 and np.asarray(thing).dtype.kind in "biuf":
                values = np.array(thing, dtype=float)
                if np.all(np.isfinite(values)):
                    yield values
        elif isinstance(thing, types.FunctionType):
            names = _global_names(thing.__code__)
            waiting += [thing.__globals__[n] for n in names if n in thing.__globals__]
            waiting += [c.cell_contents for c in thing.__closure__ or () if _filled(c)]
            waiting += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
            waiting += [thing.__wrapped__] if hasattr(thing, "__wrapped__") else []
        elif isinstance(thing, types.MethodType):
            waiting += [thing.__func__, thing.__self__]
        elif isinstance(thing, partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, Lifted):
            waiting.append(thing.function)
        elif isinstance(thing, list | tuple):
            numbers = _numbers(thing)
            waiting += [numbers] if numbers is not None else list(thing)[:50]
        elif isinstance(thing, dict):
            waiting += list(thing.values())[:50]
        elif hasattr(thing, "__wrapped__"):
            waiting.append(thing.__wrapped__)
        elif hasattr(thing, "__dict__") and not isinstance(thing, type | types.ModuleType):
            waiting += list(vars(thing).values())[:50]
            waiting += [f for f in vars(type(thing)).values() if isinstance(f, types.FunctionType)]


def _numbers(values: Any) -> np.ndarray | None:
    """Return a list of numbers, or of rows of numbers, as an array."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biuf" and array.ndim in (1, 2) and array.size > 1 else None


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _global_names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _global_names(constant)
    return names
