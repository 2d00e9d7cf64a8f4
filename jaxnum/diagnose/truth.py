"""The true gradient of somebody's function, by whatever way leads there, and how far it can be trusted.

Autodiff of the function retold in JAX comes first; where that cannot be done, a complex step or extrapolated
differences. Either is doubted twice: against differences along random directions, and against the gradient theorem

    f(b) − f(a) = ∫₀¹ ∇f(a + s(b − a)) · (b − a) ds

which a function with steps in it (rounding, counting, casting) breaks although every slope looks right.
"""

import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import as_array, as_tree, refuse
from jaxnum.numerics import differences
from jaxnum.numerics.lift import Lifted, LiftError, lift

_NODES = (7, 12, 16)  # Gauss-Legendre; three of them, because two may agree by chance across a kink
_SMALL = 20_000  # numbers in parameters and samples together below which a program is compiled in a hurry
QUICK = {"xla_backend_optimization_level": 0}
_LONGEST_GRADIENT = 40_000  # calls of a function that one gradient by differences may cost


@contextmanager
def double_precision() -> Iterator[None]:
    """Compute in double precision, promoting as NumPy does, whatever the session demands."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
    ):
        for nuisance in (RuntimeWarning, PendingDeprecationWarning):  # the second is what every np.matrix says
            warnings.filterwarnings("ignore", category=nuisance)
        yield


@dataclass(frozen=True)
class Parameters:
    """How parameters travel between the user's own structure and one flat vector.

    Attributes:
        at: Parameters as given.
        structure: Their tree structure.
        names: Name of each leaf.
        shapes: Shape of each leaf.
        dtypes: Floating dtype of each leaf, as NumPy knows it.
        kinds: `jax.Array`, `float` or `np.ndarray`: what the user's functions are handed.
        splat: Whether a tuple is handed over as positional arguments.
    """

    at: Any
    structure: Any
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    kinds: tuple[type, ...]

    @cached_property
    def slices(self) -> list[slice]:
        """Where each leaf lies in the flat vector."""
        ends = np.cumsum([0, *[int(np.prod(s)) for s in self.shapes]])
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]

    def flat(self, tree: Any = None) -> np.ndarray:
        """Return parameters as a vector of doubles."""
        leaves = jax.tree.leaves(self.at if tree is None else tree)
        return np.concatenate([np.asarray(leaf, dtype=float).ravel() for leaf in leaves])

    def rounded(self, flat: np.ndarray) -> np.ndarray:
        """Return the vector as its leaves can hold it in their own precision."""
        pieces = [flat[s].astype(d).astype(float) for s, d in zip(self.slices, self.dtypes, strict=True)]
        return np.concatenate(pieces)

    def tree(self, flat: Any, *, own_dtype: bool = False) -> Any:
        """Return a vector in the user's structure; fresh arrays, which the user may write into."""
        leaves = []
        for piece, shape, dtype, kind in zip(self.slices, self.shapes, self.dtypes, self.kinds, strict=True):
            leaf = flat[piece].reshape(shape)
            if isinstance(flat, np.ndarray):
                leaf = leaf.astype(dtype) if own_dtype else leaf.copy()
                if kind is float:
                    leaf = leaf[()].item()
                elif kind is jax.Array:
                    leaf = jnp.asarray(leaf)
            leaves.append(leaf)
        return jax.tree.unflatten(self.structure, leaves)


def parameters(at: Any, *functions: Any, name: str = "at") -> Parameters:
    """Check the parameters and learn their structure; leaves are named after the arguments of the first function."""
    with double_precision():
        checked = as_tree(name, at)
    if isinstance(at, list) and not isinstance(checked, list):
        at = np.asarray(at, dtype=float)
    paths, structure = jax.tree_util.tree_flatten_with_path(at)
    leaves = [leaf for _, leaf in paths]
    names = [_leaf_name(path) for path, _ in paths]
    if isinstance(at, tuple | list):
        arguments = _positional(functions[0]) if functions else None
        if isinstance(at, tuple) and arguments and len(arguments) >= len(at) > 1 and len(at) == len(leaves):
            names = [p.name for p in arguments[: len(at)]]
        else:
            names = [f"leaf {name}" if name[:1].isdigit() else name for name in names]
    elif len(leaves) == 1:
        names = [""]
    kinds = tuple(
        jax.Array if isinstance(x, jax.Array) else float if isinstance(x, int | float) else np.ndarray for x in leaves
    )
    dtypes = tuple(
        np.dtype(x.dtype) if getattr(x, "dtype", None) in (np.float32, np.float16) else np.dtype(float) for x in leaves
    )
    shapes = tuple(np.shape(x) for x in leaves)
    return Parameters(at, structure, tuple(names), shapes, dtypes, kinds)


def _leaf_name(path: tuple[Any, ...]) -> str:
    """Return the way to a leaf as it is read: `biases[1]`, `layer.w`, and `1[0]` inside a list or tuple."""
    words = []
    for key in path:
        if isinstance(key, jax.tree_util.SequenceKey):
            words.append(f"[{key.idx}]" if words else str(key.idx))
        else:
            name = str(getattr(key, "key", getattr(key, "name", key)))
            words.append(f".{name}" if words else name)
    return "".join(words)


def _positional(fn: Callable) -> list[inspect.Parameter] | None:
    try:
        found = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return None
    return [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def caller(name: str, fn: Any, at: Any) -> Callable[[Any], Any]:
    """Return `fn` as a function of one tree: a tuple is splatted where the function takes that many arguments."""
    if not callable(fn):
        refuse(name, "be a function of the parameters", f"is {type(fn).__name__}")
    if not isinstance(at, tuple):
        needed = [p for p in _positional(fn) or [] if p.default is p.empty]
        if len(needed) > 1:
            refuse(name, "take the parameters as its one argument", f"needs {len(needed)}; pass `at` as a tuple")
        return fn
    arguments = _positional(fn)
    if arguments is None:
        return lambda tree: fn(*tree)
    needed = [p for p in arguments if p.default is p.empty]
    starred = any(p.kind == p.VAR_POSITIONAL for p in inspect.signature(fn).parameters.values())
    if len(needed) <= len(at) and (starred or len(at) <= len(arguments)):
        if len(at) > 1:
            return lambda tree: fn(*tree)
        return _One(fn)
    if len(needed) <= 1:
        return fn
    return refuse(name, f"take the {len(at)} parameters in `at`, or the tuple of them", f"takes {len(needed)}")


class _One:
    """A function of one argument given a tuple of one: the parameter itself, or if that fails the tuple."""

    def __init__(self, fn: Callable):
        self.fn = fn

    def __call__(self, tree: Any) -> Any:
        try:
            return self.fn(*tree)
        except (TypeError, IndexError, ValueError):
            return self.fn(tree)


@dataclass(frozen=True)
class Truth:
    """A gradient to compare with.

    Attributes:
        value: The function itself, of a flat vector.
        gradient: Its gradient there, and the estimated error of each component.
        method: How it is found, in words.
        why: Why autodiff was not possible, or an empty string.
    """

    value: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    method: str
    why: str = ""


def number(result: Any) -> Any:
    """Return the one number that a loss gives, or refuse what is none."""
    size = getattr(result, "size", None)
    if size is None and isinstance(result, int | float | complex):
        size = 1
    if size != 1:
        what = f"returns shape {np.shape(result)}" if size is not None else f"returns {type(result).__name__}"
        refuse("loss", "return one real number", what)
    if np.iscomplexobj(result):
        refuse("loss", "return one real number", "returns a complex one")
    return result.reshape(()) if hasattr(result, "reshape") else result


def truth(loss: Callable, at: Parameters) -> Truth:
    """Find the best way to the gradient of `loss`."""
    call = caller("loss", loss, at.at)
    x = at.flat()

    def value(flat):
        result = call(at.tree(flat))
        # A complex point is one step of differentiation; its answer is as exact as autodiff where the code takes it.
        return np.asarray(result).reshape(()) if flat.dtype.kind == "c" else float(number(result))

    value(x)  # whatever is wrong with the loss itself is said in the user's own words
    try:
        lifted = lift(loss)
        inner = caller("loss", lifted.retold if isinstance(lifted, Lifted) else lifted, at.at)
        found = _autodiff(lambda flat: jnp.asarray(number(inner(at.tree(flat)))), x)
        told, slope = found(x)
        if not np.allclose(told, value(x), rtol=1e-6, atol=1e-300, equal_nan=True):
            raise LiftError(f"retold in JAX it gives {told:.6g} instead of {value(x):.6g}.")
    except Exception as error:
        why = " ".join(str(error).split())[:200] if isinstance(error, LiftError) else f"{type(error).__name__} in JAX"
        if 16 * x.size > _LONGEST_GRADIENT:
            refuse("loss", f"be retold in JAX for {x.size} parameters", f"cannot be: {why}")

        def estimate(flat):
            found = differences.derivative(value, flat)
            return found.value, found.error

        method = differences.derivative(value, x).method
        return Truth(value, estimate, method, why.rstrip("."))

    tied = _tied(found, value, x)

    def exact(flat):
        if tied and np.array_equal(flat, x):
            there = differences.derivative(value, x)
            return there.value, there.error
        _, slope = found(flat)
        return slope, 64 * np.finfo(float).eps * np.abs(slope)

    del slope
    # Many calls follow: the compiled copy is as fast as NumPy, and was just compared with the original.
    fast = value if isinstance(lifted, Lifted) else (lambda flat: float(found(flat)[0]))
    return Truth(fast, exact, "autodiff of your loss" + (" retold in JAX" if isinstance(lifted, Lifted) else ""))


def _tied(found: Callable, value: Callable, x: np.ndarray) -> bool:
    """Tell whether autodiff errs just at the start, as it does at a tie: max(z, 0) and |z| at z = 0 have no slope.

    A stable cross-entropy, max(z, 0) − t z + ln(1 + e^−|z|), is smooth and made of nothing but ties at zero weights.
    """
    step = 0.1 * (1 + np.abs(x)) * np.cos(np.arange(x.size))

    def apart(point):
        slope = found(point)[1]
        rough = differences.richardson(value, point, step[:, None], num_levels=6)
        slack = 10 * float(rough.error[0]) + 1e-6 * float(np.linalg.norm(slope) * np.linalg.norm(step))
        return not abs(float(slope @ step) - float(rough.value[0])) <= slack

    return apart(x) and not apart(x + 0.03 * step)


def _autodiff(fn: Callable, x: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Compile value and gradient; a function that branches on values is run uncompiled."""

    def real(flat):
        value = fn(flat)
        return value.astype(float) if jnp.issubdtype(value.dtype, jnp.floating) else value

    both = jax.value_and_grad(real)
    try:
        compiled = _compiled(_Program.of(both, x))
        compiled(x)
    except (LiftError, jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        compiled = both
        both(jnp.asarray(x))

    def run(flat):
        value, slope = compiled(jnp.asarray(flat))
        return float(value), np.asarray(slope)

    return run


@dataclass(frozen=True)
class _Program:
    """A traced function; equal to another one that computes the same from the same constants."""

    text: str
    constants: tuple[bytes, ...]
    lowered: Any = field(compare=False)
    size: int = field(compare=False)

    @classmethod
    def of(cls, fn: Callable, x: np.ndarray) -> "_Program":
        traced = jax.jit(fn).trace(jnp.asarray(x))
        constants = tuple(np.asarray(c).tobytes() for c in traced.jaxpr.consts)
        lowered = traced.lower()
        return cls(lowered.as_text(), constants, lowered, x.size + sum(map(len, constants)) // 8)


@lru_cache(maxsize=32)
def _compiled(program: _Program) -> Callable:
    """Compile; asking about the same loss once more, with its gradient mended, compiles nothing."""
    # Compiled for a few dozen calls of something small: half the time of compiling goes into making it faster.
    small = program.size <= _SMALL
    return program.lowered.compile(compiler_options=QUICK if small else None)


def spread(at: Parameters, rng: np.random.Generator, width: float = 0.4) -> np.ndarray:
    """Return a random step away from `at`, in each leaf as long as that leaf is large."""
    flat = at.flat()
    overall = float(np.sqrt(np.mean(flat**2))) or 1.0
    sizes = np.empty_like(flat)
    for piece in at.slices:
        own = float(np.sqrt(np.mean(flat[piece] ** 2))) if flat[piece].size else 0.0
        sizes[piece] = np.maximum(np.abs(flat[piece]), own or overall)
    return width * sizes * rng.normal(size=flat.size)


def doubt(found: Truth, points: np.ndarray, steps: np.ndarray) -> str:
    """Say why a truth cannot be trusted, or nothing.

    Args:
        found: Gradient to be doubted.
        points: Where, (k, n).
        steps: How far to go from each along a straight line, (k, n).
    """
    value = found.value
    if value(points[0]) != value(points[0]) and np.isfinite(value(points[0])):
        return "Two calls of the loss at the same parameters give two values."
    for x, step in zip(points[:2], steps[:2], strict=True):
        slope, error = found.gradient(x)
        if not found.method.startswith("autodiff"):
            size = np.max(np.abs(slope))
            if np.max(error) > 1e-4 * size:
                return f"Differences are the only truth here, and are uncertain by {np.max(error) / size:.1e}."
            continue
        rough = differences.richardson(value, x, step[:, None])
        gap = abs(float(slope @ step) - float(rough.value[0]))
        if not gap <= 10 * float(rough.error[0]) + 1e-6 * float(np.linalg.norm(slope) * np.linalg.norm(step)):
            return (
                f"Along a random direction autodiff gives {slope @ step:.6g} and differences give "
                f"{float(rough.value[0]):.6g} ± {float(rough.error[0]):.1e}."
            )
    # One of four may be the bad luck of a kink; two are not.
    whole, broken = 0, []
    for x, step in zip(points[:4], steps[:4], strict=True):
        why = _broken(found, x, step)
        whole, broken = whole + (not why), broken + [why] * bool(why)
        if len(broken) > 1 or whole > 2:
            break
    return broken[0] if len(broken) > 1 else ""


def _broken(found: Truth, x: np.ndarray, step: np.ndarray) -> str:
    """Compare a finite change of the loss with the integral of its gradient."""
    exact = found.method.startswith("autodiff")

    def slope(s):
        if exact:
            return float(found.gradient(x + s * step)[0] @ step)
        return float(differences.derivative(found.value, x + s * step, step[:, None]).value[0])

    change = found.value(x + step) - found.value(x)
    sums, size = [], 0.0
    for count in _NODES if exact else _NODES[:2]:
        nodes, weights = np.polynomial.legendre.leggauss(count)
        slopes = np.array([slope((1 + t) / 2) for t in nodes])
        sums.append(float(weights @ slopes) / 2)
        size = float(weights @ np.abs(slopes)) / 2
    gap, quadrature = abs(change - sums[-1]), max(sums) - min(sums)
    if not np.isfinite(gap) or gap <= 20 * quadrature + 0.02 * (size + abs(change)):
        return ""
    return (
        f"Over a finite step the loss changes by {change:.6g}, but its gradient adds up to {sums[-1]:.6g}: it moves in "
        "jumps, as rounding or counting do."
    )


def check_points(points: Any, at: Parameters) -> list[np.ndarray]:
    """Return the user's own points as flat vectors, or refuse the one that does not fit."""
    if not isinstance(points, list | tuple):
        refuse("points", "be a list of parameters like `at`", f"is {type(points).__name__}")
    flats = []
    for number_, point in enumerate(points):
        leaves = jax.tree.leaves(point)
        if len(at.shapes) == 1 and isinstance(point, list | tuple):
            leaves = [np.asarray(point, dtype=float).reshape(-1)] if at.shapes[0] != () else leaves
        shapes = tuple(np.shape(leaf) for leaf in leaves)
        if shapes != at.shapes:
            refuse(f"points[{number_}]", f"have the shapes of `at`, {at.shapes}", f"has {shapes}")
        with double_precision():
            leaves = [np.asarray(as_array(f"points[{number_}]", leaf)) for leaf in leaves]
        flats.append(np.concatenate([leaf.astype(float).ravel() for leaf in leaves]))
    return flats
