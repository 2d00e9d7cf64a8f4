"""What makes a sweep the one it is: the function as JAX sees it, and as it is written.

The fingerprint of a program is the hash of its jaxpr and of the constants in it. It changes with a helper that the
function calls and with a number that it closes over, and it does not change with a comment, the number of devices or
the platform. Another version of JAX may write the same program differently; then the source has to vouch for it.
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def name_of(fn: Callable) -> str:
    """Return the module and the name of a function, as far as it has them."""
    inner = fn
    while hasattr(inner, "func"):  # functools.partial
        inner = inner.func
    inner = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{getattr(inner, '__module__', None) or '?'}.{inner.__qualname__}"


def source_of(fn: Callable) -> str:
    """Return a hash of the code of a function as it is written."""
    inner = inspect.unwrap(fn)
    while hasattr(inner, "func"):
        inner = inner.func
    for thing in (inner, type(inner)):
        try:
            return _hash(inspect.getsource(thing))
        except (TypeError, OSError):
            continue
    return _hash(name_of(fn))


def program_of(jaxpr: Any) -> str:
    """Return a hash of a closed jaxpr: what is computed, and with which constants."""
    # The outermost call, of `shard_map` for a sweep, tells on which devices; what it calls does not.
    text = "\n".join(str(equation.params.get("jaxpr", equation)) for equation in jaxpr.eqns)
    # Some primitives print the Python functions they carry, with addresses that differ from process to process.
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    # And the devices on which an intermediate result might live: not what is computed, but where.
    text = re.sub(r"mesh=AbstractMesh\(.*?\), spec=", "spec=", text)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for constant in _constants(jaxpr):
        array = np.asarray(constant)
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def equations(jaxpr: Any, platform: str | None = None) -> Iterator[Any]:
    """Yield the equations of a jaxpr, open or closed, at every depth: all, or those that one platform computes."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for inner in _inside(equation, platform):
            yield from equations(inner, platform)


def _constants(jaxpr: Any) -> Iterator[Any]:
    """Yield the arrays that a jaxpr carries along, at every depth."""
    whole = [jaxpr]
    for equation in equations(jaxpr):
        whole += _inside(equation)
        for variable in equation.invars:
            value = getattr(variable, "val", None)  # a literal; arrays among them are not printed in full
            if getattr(value, "ndim", 0):
                yield value
    for part in whole:
        for constant in getattr(part, "consts", ()):
            if hasattr(constant, "dtype") and not np.issubdtype(type(constant), np.void):
                yield constant


def _inside(equation: Any, platform: str | None = None) -> list[Any]:
    """Return the jaxprs that an equation calls, those of `platform_dependent` for one platform if one is named."""
    meant = equation.params.get("branches_platforms")
    if platform and meant:
        mine = next((i for i, names in enumerate(meant) if names is None or platform in names), None)
        return [] if mine is None else [equation.params["branches"][mine]]
    found = []
    for parameter in equation.params.values():
        for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                found.append(inner)
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
