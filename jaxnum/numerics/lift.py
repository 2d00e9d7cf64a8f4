"""Lift: a pure NumPy function retold in JAX, so that it can be differentiated, vectorized and compiled.

The function is rebuilt around its own bytecode: where its globals, closure or imports say `numpy` or `math`, the copy
finds `jax.numpy`; helpers, methods and objects of the user's own are rebuilt the same way. Originals are not touched,
and every call with known numbers is compared with the original.

What writes into arrays in place, draws random numbers, reads files or calls SciPy cannot be retold and is refused.
"""

import ast
import builtins
import dis
import functools
import inspect
import math
import sysconfig
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import refuse
from jaxnum._typing import is_traced

# Functions of `math` that are smooth; the others return integers or Python objects and stay what they are.
_SMOOTH = (
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "sin", "sinh", "tan", "tanh"),
    *("cbrt", "exp", "exp2", "expm1", "log10", "log1p", "log2", "pow", "sqrt", "hypot"),
    *("fabs", "copysign", "isnan", "isinf", "isfinite"),
)
_FORBIDDEN = {"open": "reads or writes a file", "input": "asks for input", "exec": "runs text", "eval": "runs text"}
_LIBRARIES = ("jax", "jaxlib", "numpy", "optax", "equinox", "diffrax", "lineax", "optimistix")


class LiftError(ValueError):
    """The function cannot be retold in JAX; the message says which line stands in the way."""


@dataclass(frozen=True)
class Lifted:
    """A NumPy function that computes with JAX arrays; what `lift` returns.

    Attributes:
        function: The original.
    """

    function: Callable[..., Any]

    @property
    def __name__(self) -> str:
        return _name(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the original returns, in JAX arrays, and refuse to if the two differ."""
        if not is_traced((args, kwargs)):
            value = self.retold(*args, **kwargs)
            self._compare(value, self.function(*_numpy(args), **_numpy(kwargs)))
            return value
        value = self.retold(*args, **kwargs)
        # Numbers are unknown here, shapes are not: the two stories are compared at a made-up point.
        with jax.ensure_compile_time_eval():
            made_up = jax.tree.map(_made_up, (args, kwargs))
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    wanted = self.function(*made_up[0], **made_up[1])
                found = self.retold(*made_up[0], **made_up[1])
            except Exception:
                return value  # a made-up point may lie outside the domain; only a difference is a fault
            self._compare(found, wanted)
        return value

    def retold(self, *args: Any, **kwargs: Any) -> Any:
        """Call the retold function without comparing it with the original."""
        teller = _Teller(_name(self.function), getattr(_plain(self.function), "__module__", None))
        # Rebuilt for every call: globals may have changed, and what an object stores on itself must not stay.
        function = teller.retell(self.function)
        args, kwargs = jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, (args, kwargs))
        try:
            # NumPy promotes and broadcasts freely; so does its copy, whatever the session demands.
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*requested dtype.*", category=UserWarning)
                return function(*args, **kwargs)
        except LiftError:
            raise
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, TypeError, AttributeError, ValueError) as error:
            raise LiftError(f"{teller.prefix}{_reason(error, teller)}.") from error

    def _compare(self, found: Any, wanted: Any) -> None:
        found, wanted = jax.tree.leaves(found), jax.tree.leaves(wanted)
        if len(found) != len(wanted):
            raise LiftError(f"`{_name(self.function)}` retold in JAX returns another number of values.")
        for a, b in zip(found, wanted, strict=True):
            a, b = np.asarray(a), np.asarray(b)
            if a.dtype.kind not in "biufc" or b.dtype.kind not in "biufc":
                continue
            shapes = a.shape == b.shape
            coarse = [np.finfo(v.dtype).eps for v in (a, b) if v.dtype.kind in "fc"]
            size = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
            slack = math.sqrt(max(coarse, default=0.0)) * max(float(size), np.finfo(float).tiny)
            if not (shapes and np.allclose(a, b, rtol=0, atol=slack, equal_nan=True)):
                what = f"shape {a.shape} instead of {b.shape}"
                if shapes:
                    at = np.unravel_index(np.argmax(~np.isclose(a, b, rtol=0, atol=slack, equal_nan=True)), a.shape)
                    what = f"{a[at]:.6g} instead of {b[at]:.6g}"
                raise LiftError(
                    f"`{_name(self.function)}` retold in JAX gives {what}: it is not a pure function of its arguments, "
                    "or changes an array that another name still holds."
                )


def lift(function: Callable[..., Any]) -> Callable[..., Any]:
    """Retell a pure NumPy function in JAX; it can then be differentiated, vectorized and compiled.

    Helpers, closures, methods, `functools.partial`, callable objects and imports inside the function are followed;
    arrays found there are constants. A function that already is JAX, or uses no library at all, is returned as it is.
    Each call with known numbers is checked against the original, which costs a call of it; inside `jax.grad` or
    `jax.jit` the check is made at a made-up point of the same shapes.

    Args:
        function: Function of NumPy arrays that only computes: no in-place writes into arrays, no random numbers, no
            files, no SciPy, no `np.matrix`. Printing is allowed and dropped.

    Returns:
        The same function of JAX arrays. Branches on values work under `jax.grad`, not under `jax.jit`.

    Raises:
        ValueError: If `function` is no function.
        LiftError: A `ValueError` that says which line cannot be retold, here where that shows in the code, otherwise
            at the call.

    Example:
        >>> import jax, numpy as np
        >>> from jaxnum import lift
        >>> data = np.array([1.0, 2.0, 4.0])
        >>> def loss(w):
        ...     return np.mean((np.tanh(w * data) - 0.5) ** 2)
        >>> print(f"{float(jax.grad(lift(loss))(0.3)):.6f}")
        0.179223
    """
    if not callable(function):
        refuse("function", "be a function", f"is {type(function).__name__}")
    if isinstance(function, Lifted):
        return function
    teller = _Teller(_name(function), getattr(_plain(function), "__module__", None))
    teller.retell(function)
    if not teller.uses_numpy and (teller.uses_jax or not teller.uses_arrays):
        return function
    return Lifted(function)


class _Teller:
    """One retelling: remembers what was already rebuilt, so that cycles close."""

    def __init__(self, name: str, module: str | None):
        self.prefix = f"`{name}` cannot be retold in JAX: "
        self.module = module
        self.memo: dict[int, Any] = {}
        self.keep: list[Any] = []  # what `memo` knows by its id must stay alive
        self.codes: set[types.CodeType] = set()
        self.uses_numpy = self.uses_jax = self.uses_arrays = False

    def retell(self, value: Any) -> Any:
        """Return the JAX counterpart of a value that a function refers to, or the value itself."""
        if id(value) in self.memo:
            return self.memo[id(value)]
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if id(value) in _table():
            self.uses_numpy = True
            return _table()[id(value)]
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "biufc":
                return value
            if isinstance(value, np.matrix):
                self._refuse("it holds an np.matrix; use a two-dimensional array and @")
            self.uses_arrays = True
            return self._remember(value, jnp.asarray(value))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return types.MethodType(self.retell(value.__func__), self.retell(value.__self__))
        if isinstance(value, functools.partial):
            kwargs = {k: self.retell(v) for k, v in value.keywords.items()}
            return functools.partial(self.retell(value.func), *map(self.retell, value.args), **kwargs)
        if type(value) in (list, tuple, set):
            return type(value)([self.retell(v) for v in value])
        if type(value) is dict:
            return {k: self.retell(v) for k, v in value.items()}
        if isinstance(value, staticmethod | classmethod):
            return type(value)(self.retell(value.__func__))
        if type(value) is property:
            return property(*(f and self.retell(f) for f in (value.fget, value.fset, value.fdel)))
        if isinstance(value, type):
            return self._class(value) if self._is_own(value) and type(value) is type else value
        if self._is_own(type(value)) and type(type(value)) is type and hasattr(value, "__dict__"):
            return self._object(value)
        origin = getattr(value, "__module__", None) or getattr(type(value), "__module__", None) or ""
        if _top(origin) == "scipy":
            self._refuse(f"it calls SciPy's `{_name(value)}`")
        if isinstance(value, np.ufunc) and getattr(np, _name(value), None) is not value:
            self._refuse(f"it calls the compiled function `{_name(value)}`, SciPy's perhaps")
        if _top(origin) == "numpy" and callable(value) and not isinstance(value, np.generic):
            self._refuse(f"it calls `np.{_name(value)}`, which jax.numpy does not have")
        self.uses_jax |= _top(origin) in ("jax", "jaxlib")
        return value

    def _remember(self, value, new):
        self.memo[id(value)] = new
        self.keep.append(value)
        return new

    def _refuse(self, why: str) -> None:
        raise LiftError(f"{self.prefix}{why}.")

    def _module(self, module: types.ModuleType) -> Any:
        top = _top(module.__name__)
        if module.__name__ in ("numpy", "numpy.linalg", "numpy.fft"):
            self.uses_numpy = True
            return _Numpy(self, module, _counterpart(module.__name__))
        if module is math:
            self.uses_numpy = True
            return _MATH
        if top == "scipy":
            self._refuse(f"it calls SciPy (`{module.__name__}`)")
        if top == "random" or module.__name__ == "numpy.random":
            self._refuse("it draws random numbers")
        self.uses_jax |= top == "jax"
        return module

    def _is_own(self, thing: Any) -> bool:
        """Tell the user's own code from a library's."""
        module = getattr(thing, "__module__", None) or ""
        if isinstance(thing, type) and module == "builtins":
            return False
        if module in (self.module, "builtins", ""):  # Python code run by `exec` claims to be of `builtins`
            return True
        if _top(module) in _LIBRARIES:
            return False
        try:
            path = inspect.getfile(thing)
        except (TypeError, OSError):
            return True  # typed at a prompt
        return not path.startswith(_LIBRARY_PATHS) and "site-packages" not in path

    def _function(self, function: types.FunctionType) -> Any:
        code = function.__code__
        if not self._is_own(function):
            self.uses_jax |= _top(function.__module__ or "") == "jax"
            if _top(function.__module__ or "") in ("scipy", "numpy"):
                self._refuse(f"it calls `{_name(function)}` of {_top(function.__module__)}")
            return function
        cells = None if function.__closure__ is None else tuple(types.CellType() for _ in function.__closure__)
        scope: dict[str, Any] = {"__name__": function.__module__}
        new = types.FunctionType(code, scope | {"__builtins__": self._builtins(code)}, code.co_name, None, cells)
        scope = new.__globals__
        self._remember(function, new)
        self.codes.add(code)
        _inspect(function, self)
        for name in _names(code):
            if name in function.__globals__:
                scope[name] = self.retell(function.__globals__[name])
        for cell, old in zip(cells or (), function.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self.retell(old.cell_contents)
            except ValueError as error:
                if isinstance(error, LiftError):
                    raise
        new.__defaults__ = self.retell(function.__defaults__) if function.__defaults__ else None
        new.__kwdefaults__ = self.retell(function.__kwdefaults__) if function.__kwdefaults__ else None
        new.__dict__.update({k: v for k, v in function.__dict__.items() if k != "__wrapped__"})
        return new

    def _class(self, cls: type) -> type:
        if any(not self._is_own(base) and base is not object for base in cls.__mro__):
            return cls
        skip = ("__dict__", "__weakref__", "__slots__")
        new = type(cls.__name__, tuple(self.retell(b) for b in cls.__bases__), {})
        self._remember(cls, new)
        for name, value in vars(cls).items():
            if name not in skip and name != "__doc__":
                setattr(new, name, self.retell(value))
        return new

    def _object(self, value: Any) -> Any:
        cls = self.retell(type(value))
        if cls is type(value):
            return value
        new = self._remember(value, object.__new__(cls))
        for name, held in vars(value).items():
            object.__setattr__(new, name, self.retell(held))
        return new

    def _builtins(self, code: types.CodeType) -> dict[str, Any]:
        def bring(name, *args, **kwargs):
            module = builtins.__import__(name, *args, **kwargs)
            return self.retell(module) if _top(name) in ("numpy", "math", "scipy", "random") else module

        scope = dict(vars(builtins)) | {"__import__": bring, "print": lambda *_, **__: None}
        loads = [i for i in _instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME") and i.argval == "float"]
        if loads and all("NULL" in i.argrepr for i in loads):  # called everywhere, nowhere a dtype
            scope["float"] = lambda x=0.0: jnp.reshape(x, ()) * 1.0 if isinstance(x, jax.Array) else float(x)
        return scope


class _Numpy:
    """What a retold function sees as `numpy`: jax.numpy, and a plain word where it has no counterpart."""

    def __init__(self, teller: _Teller, module: types.ModuleType, jax_module: Any):
        self._teller, self._module, self._jax = teller, module, jax_module

    def __getattr__(self, name: str) -> Any:
        if name == "random":
            self._teller._refuse("it draws random numbers")
        if name in ("linalg", "fft") and self._module is np:
            return self._teller.retell(getattr(np, name))
        if name in _UNLIFTABLE:
            self._teller._refuse(_UNLIFTABLE[name])
        if name == "errstate":
            return np.errstate
        if not hasattr(self._jax, name):
            if not hasattr(self._module, name):
                raise AttributeError(f"module '{self._module.__name__}' has no attribute '{name}'")
            self._teller._refuse(f"it calls `np.{name}`, which jax.numpy does not have")
        return getattr(self._jax, name)


_UNLIFTABLE = (
    {
        "matrix": "it uses np.matrix; use a two-dimensional array and @",
        "mat": "it uses np.matrix; use a two-dimensional array and @",
        "asmatrix": "it uses np.matrix; use a two-dimensional array and @",
        "bmat": "it uses np.matrix; use np.block",
    }
    | {
        name: f"np.{name} reads or writes a file"
        for name in ("load", "save", "savez", "savetxt", "loadtxt", "genfromtxt", "fromfile", "memmap")
    }
    | {
        name: f"np.{name} writes into an array in place"
        for name in ("put", "copyto", "place", "putmask", "fill_diagonal")
    }
)


class _Math:
    """What a retold function sees as `math`: smooth functions from jax.numpy, everything else unchanged."""

    def __getattr__(self, name: str) -> Any:
        if name == "log":
            return lambda x, base=None: jnp.log(x) if base is None else jnp.log(x) / jnp.log(base)
        return getattr(jnp, name) if name in _SMOOTH and hasattr(jnp, name) else getattr(math, name)


_MATH = _Math()
_LIBRARY_PATHS = tuple({sysconfig.get_path(k) for k in ("stdlib", "platstdlib", "purelib", "platlib")})


@functools.cache
def _table() -> dict[int, Any]:
    """NumPy's and math's functions by identity, for those imported by name."""
    found = {}
    for name in ("numpy", "numpy.linalg", "numpy.fft"):
        module, other = {"numpy": np, "numpy.linalg": np.linalg, "numpy.fft": np.fft}[name], _counterpart(name)
        for key in dir(module):
            value = getattr(module, key)
            if key not in _UNLIFTABLE and callable(value) and hasattr(other, key) and not key.startswith("_"):
                if getattr(value, "__module__", "") == "builtins":
                    continue
                found[id(value)] = getattr(other, key)
    for key in (*_SMOOTH, "log"):
        if hasattr(math, key):
            found[id(getattr(math, key))] = getattr(_MATH, key)
    return found


def _counterpart(name: str) -> Any:
    return {"numpy": jnp, "numpy.linalg": jnp.linalg, "numpy.fft": jnp.fft}[name]


def _numpy(tree: Any) -> Any:
    """Arrays as the original expects them, and its own copies of them: it may write into what it is given."""
    return jax.tree.map(lambda a: np.array(a) if isinstance(a, jax.Array | np.ndarray) else a, tree)


def _made_up(leaf: Any) -> Any:
    """A number or array like `leaf`, with values that mean nothing."""
    if not isinstance(leaf, jax.core.Tracer):
        return np.array(leaf) if isinstance(leaf, jax.Array | np.ndarray) else leaf
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return np.ones(leaf.shape, leaf.dtype)
    return (0.4 + 0.3 * np.sin(1.0 + np.arange(leaf.size))).reshape(leaf.shape).astype(leaf.dtype)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _plain(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name(function: Any) -> str:
    function = _plain(function)
    return getattr(function, "__name__", None) or type(function).__name__


@functools.lru_cache(maxsize=512)
def _instructions(code: types.CodeType) -> tuple[dis.Instruction, ...]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return (*dis.get_instructions(code), *(i for c in inner for i in _instructions(c)))


def _names(code: types.CodeType) -> set[str]:
    return {i.argval for i in _instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def _inspect(function: types.FunctionType, teller: _Teller) -> None:
    """Refuse before running what can be seen not to work."""
    chain, line = None, function.__code__.co_firstlineno
    scope = inspect.getclosurevars(function) if not inspect.isbuiltin(function) else None
    known = function.__globals__ | (scope.nonlocals if scope else {})
    for step in _instructions(function.__code__):
        at = getattr(step, "positions", None)
        line = at.lineno if at and at.lineno else line
        if step.opname in ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME"):
            chain = known.get(step.argval)
            if chain is None and step.argval in _FORBIDDEN and step.argval not in known:
                teller._refuse(f"line {line} {_FORBIDDEN[step.argval]}")
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(chain, types.ModuleType):
            if chain is np and step.argval in _UNLIFTABLE:
                teller._refuse(f"line {line}: {_UNLIFTABLE[step.argval]}")
            chain = getattr(chain, step.argval, None)
            if chain is np.random:
                teller._refuse(f"line {line} draws random numbers")
            if chain is not None and _top(getattr(chain, "__module__", None) or "") == "scipy":
                teller._refuse(f"line {line} calls SciPy")
        elif step.opname == "IMPORT_NAME" and _top(step.argval) in ("numpy", "math"):
            teller.uses_numpy = True
        elif step.opname == "IMPORT_NAME" and _top(step.argval) in ("scipy", "random"):
            what = "calls SciPy" if _top(step.argval) == "scipy" else "draws random numbers"
            teller._refuse(f"line {line} {what}")
        elif step.opname in ("STORE_GLOBAL", "DELETE_SUBSCR"):
            what = f"writes the global `{step.argval}`" if step.opname == "STORE_GLOBAL" else "deletes entries in place"
            teller._refuse(f"line {line} {what}")
        elif step.opname not in ("PUSH_NULL", "CACHE", "PRECALL", "NOP"):
            chain = None
    for number in _writes(function):
        teller._refuse(f"line {number} writes into an array in place")


def _writes(function: types.FunctionType) -> Iterator[int]:
    """Lines that store into `name[...]` where the name is not plainly a list or dict of the function's own."""
    if not any(i.opname in ("STORE_SUBSCR", "STORE_SLICE") for i in _instructions(function.__code__)):
        return
    try:
        lines, first = inspect.getsourcelines(function)
        [tree] = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return  # no source to read: an array that cannot be written to will say so at the call
    containers = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_container(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            containers |= {t.id for t in targets if isinstance(t, ast.Name)}
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
                if isinstance(part, ast.Subscript):
                    root = part.value
                    if not (isinstance(root, ast.Name) and root.id in containers):
                        yield first + part.lineno - 1


def _is_container(node: ast.AST | None) -> bool:
    if isinstance(node, ast.List | ast.Dict | ast.ListComp | ast.DictComp):
        return True
    if isinstance(node, ast.BinOp):
        return _is_container(node.left) or _is_container(node.right)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("list", "dict")


def _reason(error: Exception, teller: _Teller) -> str:
    """Say in a few words why a call failed, and in which line of the user's own code."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in teller.codes:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"line {line} " if line else "it "
    text = str(error)
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return where + "branches on a value that is not known yet"
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return where + "hands a value to NumPy that is not known yet"
    if isinstance(error, jax.errors.ConcretizationTypeError):
        return where + "needs the value of something that is not known yet"
    if "setting an array element" in text or "immutable" in text or "does not support item assignment" in text:
        return where + "writes into an array in place"
    return where + "fails: " + text.strip().splitlines()[0].rstrip(".")
