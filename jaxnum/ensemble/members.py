"""Who takes part in a sweep: the rows of given arrays, the points of a grid, or random draws.

A member is known by its number. Its parameters are looked up or drawn from that number alone, so they do not depend
on chunks, devices or hosts.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnum._checks import as_count, refuse
from jaxnum._precision import warn_if_narrowed
from jaxnum._typing import is_traced


@dataclass(frozen=True, eq=False)
class Grid:
    """Every combination of the values along some axes; made by `grid`.

    Attributes:
        axes: Name of each axis -> its values.
    """

    axes: Mapping[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis."""
        return tuple(len(values) for values in self.axes.values())


@dataclass(frozen=True, eq=False)
class Draws:
    """Random members; made by `draws`.

    Attributes:
        key: Key from which all of them are drawn.
        num: Number of members.
        sampler: Function from a key to the parameters of one member, or None when the key is the parameter.
    """

    key: Any
    num: int
    sampler: Callable[[Any], Any] | None


def grid(**axes: ArrayLike) -> Grid:
    """Take every combination of the values along some axes.

    Args:
        axes: Values of each parameter by its name. The function of the sweep is given a dict with one value of each.

    Raises:
        ValueError: If there is no axis, or an axis holds no values.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxnum import ensemble
        >>> ensemble.grid(rate=jnp.geomspace(1e-3, 1.0, 64), momentum=jnp.linspace(0.0, 0.99, 32)).shape
        (64, 32)
    """
    if not axes:
        refuse("axes", "hold the values of at least one parameter", "there is none")
    checked = {name: _leaf(name, values) for name, values in axes.items()}
    # Random keys are kept as they are: their bits alone do not say of what kind they are.
    return Grid({name: x if kind is None else axes[name] for name, (x, kind) in checked.items()})


def draws(key: Any, num: int, sampler: Callable[[Any], Any] | None = None) -> Draws:
    """Draw the parameters of many members at random.

    Member i draws from `jax.random.fold_in(key, i)`: more members never change the first ones.

    Args:
        key: Random key, from `jax.random.key`.
        num: Number of members.
        sampler: Function from a key to the parameters of one member; by default the member is given the key itself.

    Raises:
        ValueError: If `key` is no single key.

    Example:
        >>> import jax
        >>> from jaxnum import ensemble
        >>> coins = ensemble.draws(jax.random.key(0), 1000, lambda key: jax.random.bernoulli(key))
        >>> print(ensemble.sweep(lambda coin: coin, coins).value.shape)
        (1000,)
    """
    num = as_count("num", num)
    dtype = getattr(key, "dtype", None)
    if dtype is not None and not jnp.issubdtype(dtype, jax.dtypes.prng_key) and np.shape(key) == (2,):
        key = jax.random.wrap_key_data(key)  # a key of the older kind
    if not jnp.issubdtype(getattr(key, "dtype", None) or float, jax.dtypes.prng_key) or np.shape(key) != ():
        refuse("key", "be one random key such as `jax.random.key(0)`", f"is {key!r:.60}")
    if sampler is not None and not callable(sampler):
        refuse("sampler", "be a function of a random key", f"is {sampler!r:.60}")
    return Draws(key, num, sampler)


@dataclass(frozen=True, eq=False)
class Members:
    """Members by number, ready to be cut into chunks.

    Attributes:
        shape: Shape of the sweep; its product is the number of members.
        names: Names of its axes.
        rows: Function from member numbers to what the device is given of them, a list of arrays with a leading axis.
        constants: What all members share, a list of arrays.
        pick: Function `pick(row, constants)` returning the parameters of one member; traced, compared by equality.
        known: Tree of the parameters, or None where they are drawn on the device.
        digest: Hash of everything that decides who the members are, apart from the code of a sampler.
    """

    shape: tuple[int, ...]
    names: tuple[str, ...]
    rows: Callable[[np.ndarray], list[np.ndarray]]
    constants: list[np.ndarray]
    pick: Callable[[Any, Any], Any]
    known: Any
    digest: str

    @property
    def size(self) -> int:
        """Number of members."""
        return math.prod(self.shape)


def as_members(parameters: Any) -> Members:
    """Return the members that `parameters` stands for, or refuse it."""
    if isinstance(parameters, Draws):
        return _drawn(parameters)
    if isinstance(parameters, Grid):
        return _crossed(parameters)
    return _listed(parameters)


@dataclass(frozen=True)
class _Unpack:
    """Put the parameters of one member together from its row; random keys travel as their bits."""

    structure: Any
    kinds: tuple[str | None, ...]

    def __call__(self, row: Any, _constants: Any) -> Any:
        leaves = [x if k is None else jax.random.wrap_key_data(x, impl=k) for x, k in zip(row, self.kinds, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


@dataclass(frozen=True)
class _Draw:
    kind: str
    sampler: Callable[[Any], Any] | None

    def __call__(self, row: Any, constants: Any) -> Any:
        key = jax.random.fold_in(jax.random.wrap_key_data(constants[0], impl=self.kind), row[0])
        return key if self.sampler is None else self.sampler(key)


def _listed(parameters: Any) -> Members:
    if isinstance(parameters, list) and parameters and all(isinstance(x, int | float | complex) for x in parameters):
        parameters = _leaf("parameters", parameters)[0]  # a list of numbers is one array, not a tree of scalars
    paths, structure = jax.tree_util.tree_flatten_with_path(parameters)
    if not paths:
        refuse("parameters", "hold at least one array", "is empty")
    leaves, kinds = zip(*(_leaf("parameters" + jax.tree_util.keystr(p), x) for p, x in paths), strict=True)
    lengths = [len(x) for x in leaves]
    if len(set(lengths)) > 1:
        other = next(i for i, n in enumerate(lengths) if n != lengths[0])
        where = jax.tree_util.keystr(paths[other][0])
        refuse(
            "parameters",
            "have one leading axis in all its arrays",
            f"its lengths differ: {lengths[0]}, and {lengths[other]} at {where}; use ensemble.grid for combinations",
        )
    return Members(
        (lengths[0],),
        ("member",),
        lambda numbers: [x[numbers] for x in leaves],
        [],
        _Unpack(structure, kinds),
        jax.tree.unflatten(structure, leaves),
        _digest("rows", str(structure), kinds, leaves),
    )


def _crossed(parameters: Grid) -> Members:
    names, values = tuple(parameters.axes), list(parameters.axes.values())
    values, kinds = zip(*(_leaf(n, v) for n, v in zip(names, values, strict=True)), strict=True)
    shape = tuple(len(v) for v in values)

    def rows(numbers: np.ndarray) -> list[np.ndarray]:
        return [v[i] for v, i in zip(values, np.unravel_index(numbers, shape), strict=True)]

    # Dicts are flattened in the order of their sorted keys.
    order = sorted(range(len(names)), key=lambda i: names[i])
    structure = jax.tree.structure(dict.fromkeys(names, 0))
    return Members(
        shape,
        names,
        lambda numbers: [rows(numbers)[i] for i in order],
        [],
        _Unpack(structure, tuple(kinds[i] for i in order)),
        dict(zip(names, values, strict=True)),
        _digest("grid", names, kinds, values),
    )


def _drawn(parameters: Draws) -> Members:
    kind, data = str(jax.random.key_impl(parameters.key)), np.asarray(jax.random.key_data(parameters.key))
    return Members(
        (parameters.num,),
        ("draw",),
        lambda numbers: [numbers.astype(np.uint32)],
        [data],
        _Draw(kind, parameters.sampler),
        None,
        _digest("draws", kind, parameters.num, [data]),
    )


def _leaf(name: str, x: Any) -> tuple[np.ndarray, str | None]:
    """Return an array with a leading axis as NumPy has it and JAX will, and the kind of the keys that it holds."""
    if is_traced(x):
        refuse(name, "be known", "is traced; call the sweep outside `jit`, or use `jax.vmap` inside")
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        try:
            x = np.asarray(x)
        except (ValueError, TypeError):
            refuse(name, "be an array of numbers", "its rows differ in length or hold something else")
        if x.dtype.kind in "iu":  # Python's integers are numbers, as everywhere; arrays of integers stay what they are
            x = x.astype(float)
    elif not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        warn_if_narrowed(name, x)
    kind = None
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        kind, x = str(jax.random.key_impl(x)), jax.random.key_data(x)
        if x.ndim < 2:
            refuse(name, "have a leading axis", "is one random key; use ensemble.draws(key, num)")
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        refuse(name, "be on this host", "is spread over several; give every process the whole array")
    x = np.asarray(x)
    if not (jnp.issubdtype(x.dtype, np.number) or jnp.issubdtype(x.dtype, np.bool_)):
        refuse(name, "be an array of numbers", f"has dtype {x.dtype}")
    if x.ndim == 0:
        refuse(name, "have a leading axis, one entry for each member", f"is the number {x}")
    if len(x) == 0:
        refuse(name, "have at least one entry", "is empty")
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype)), kind


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, list | tuple) and any(isinstance(x, np.ndarray) for x in part):
            for x in part:
                digest.update(f"{x.dtype} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()
