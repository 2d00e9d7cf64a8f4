"""A solution as an xarray Dataset, where xarray is installed.

The axes of a sweep become named dimensions; along an axis of numbers stand those numbers as its coordinate. Complex
arrays stay complex; netCDF holds them through `dataset.to_netcdf(path, engine="netcdf4", auto_complex=True)`, and
`xarray.open_dataset` needs both words again.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxnum._status import Status


def dataset(solution: Any) -> Any:
    """Return the arrays of a solution as one `xarray.Dataset`."""
    try:
        import xarray  # an extra that nothing else needs
    except ImportError as error:
        raise ImportError("to_xarray needs xarray; install it with `pip install 'jaxnum[io]'`.") from error
    axes = solution.axes
    shape = np.shape(solution.status.code)[: len(axes)]
    parameters = solution.history["parameters"] if axes and "parameters" in solution.history else None
    variables, coordinates = {}, {}
    for name, x in _named("", parameters):
        x = np.asarray(x)
        if name in axes and len(axes) > 1 and len(x) == shape[axes.index(name)]:
            own = (name,)  # an axis of a grid
        else:
            own = axes if x.shape[: len(axes)] == shape else (axes if len(axes) == 1 else (name,))
        target = coordinates if x.ndim == len(own) else variables
        target[name] = (_dims(name, x.ndim, own), x)
    rows = {k: v for k, v in solution.history.items() if not (axes and k == "parameters")}
    parts = {"value": solution.value, "residual": solution.residual, "num_steps": solution.num_steps, "history": rows}
    for part, tree in parts.items():
        for name, x in _named("" if part == "history" else part, tree):
            x = np.asarray(x)
            own = axes if x.shape[: len(shape)] == shape else ()
            unused = name if name not in variables and name not in coordinates else f"history_{name}"
            variables[unused] = (_dims(unused, x.ndim, own), x)
    code = np.asarray(solution.status.code)
    variables["status"] = (_dims("status", code.ndim, axes), code, {"flag_meanings": " ".join(Status.names())})
    return xarray.Dataset(variables, coordinates)


def _dims(name: str, ndim: int, axes: tuple[str, ...]) -> tuple[str, ...]:
    return axes + tuple(f"{name}_{i}" for i in range(ndim - len(axes)))


def _named(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a tree with names that say where they are in it."""
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from _named(f"{name}.{key}".lstrip("."), part)
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield (name + jax.tree_util.keystr(path)).lstrip(".") or "parameters", leaf
