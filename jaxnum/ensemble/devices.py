"""Where a sweep runs: a mesh of devices, how much fits on it, and how its hosts agree.

The engine is JAX's own. A chunk of members is one array whose leading axis is spread over a mesh with `Auto` axis
types, so one program serves a laptop, a GPU and a cluster. Members do not talk to each other: nothing crosses between
hosts but the results, once, when a chunk is gathered.

A program that calls LAPACK or the FFT is another matter on a CPU. Several devices of one processor share one pool of
threads, in which XLA runs those calls; given a batch they wait for more of its threads, and when as many devices wait
as there are threads, they wait forever. So each process takes one device, whose batches use all threads all the same,
and a program of its own: one that is spread over devices is compiled to other roundings, which an ill-conditioned
matrix amplifies.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxnum._checks import refuse
from jaxnum.ensemble import identity

_CALLS = {
    *("cholesky", "eig", "eigh", "fft", "geqp3", "geqrf", "hessenberg", "householder_product", "lu", "ormqr", "qr"),
    *("schur", "svd", "triangular_solve", "tridiagonal", "tridiagonal_solve"),
}
_SHARE = 0.5  # of the free memory: the other half is for what the allocator rounds up and the user keeps


def as_mesh(mesh: Any) -> Mesh:
    """Return a mesh over all devices, or the given one, with axes along which the compiler places data by itself."""
    if mesh is None:
        return jax.make_mesh((jax.device_count(),), ("members",), (AxisType.Auto,), devices=jax.devices())
    if not isinstance(mesh, Mesh):
        refuse("mesh", "be a `jax.sharding.Mesh`", f"is {type(mesh).__name__}")
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def has_calls(program: Any, mesh: Mesh) -> bool:
    """Tell whether a jaxpr, on the devices of a mesh, calls LAPACK or the FFT of a CPU."""
    if mesh.devices.flat[0].platform != "cpu":
        return False
    return any(e.primitive.name in _CALLS for e in identity.equations(program, "cpu"))


def one_of_each(mesh: Mesh) -> Mesh:
    """Return the mesh of the first device of every process."""
    first = {d.process_index: d for d in reversed(list(mesh.devices.flat))}
    return Mesh(np.array([first[i] for i in sorted(first)]), ("members",), axis_types=(AxisType.Auto,))


def own(mesh: Mesh) -> Mesh:
    """Return the mesh of those devices that this process has."""
    mine = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    return Mesh(np.array(mine), ("members",), axis_types=(AxisType.Auto,))


def share(mesh: Mesh, numbers: np.ndarray) -> np.ndarray:
    """Return which of these a process has where every device has as many, in the order of the mesh."""
    parts = np.split(numbers, mesh.size)
    mine = [p for p, d in zip(parts, mesh.devices.flat, strict=True) if d.process_index == jax.process_index()]
    return np.concatenate(mine)


def spread(mesh: Mesh) -> NamedSharding:
    """Return the placement that spreads a leading axis over all devices of a mesh."""
    return NamedSharding(mesh, PartitionSpec(tuple(mesh.axis_names)))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Return the placement of one copy on every device of a mesh."""
    return NamedSharding(mesh, PartitionSpec())


def put(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Place an array that every process holds; each process fills its own devices."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def gather(tree: Any) -> Any:
    """Bring arrays to every host as NumPy arrays."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)


def is_first() -> bool:
    """Tell whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def on_first(action: Callable[[], Any]) -> Any:
    """Let the first process act; when it fails, fail everywhere instead of waiting for it forever."""
    if jax.process_count() == 1:
        return action()
    result, failure = None, None
    if is_first():
        try:
            result = action()
        except Exception as error:
            failure = error
    failed = multihost_utils.broadcast_one_to_all(np.int32(failure is not None))
    if failure is not None:
        raise failure
    if failed:
        raise RuntimeError("Process 0 could not go on; its own message says why.")
    return result


def anywhere(flag: bool) -> bool:
    """Tell whether something is true in any process."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.int32(flag)).any())


def from_first(array: np.ndarray) -> np.ndarray:
    """Return the array that the first process holds; every process gives one of the same shape and dtype."""
    if jax.process_count() == 1:
        return array
    # Bits travel, not numbers: the broadcast is a sum, and 64-bit numbers would be narrowed where x64 is off.
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return np.array(multihost_utils.broadcast_one_to_all(flat)).view(array.dtype).reshape(array.shape)


def free_memory(mesh: Mesh) -> int:
    """Return the bytes that a sweep may use on each device of a mesh."""
    local = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    stats = [d.memory_stats() for d in local]
    if stats and all(s and "bytes_limit" in s for s in stats):
        return int(_SHARE * min(s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats))
    return int(_SHARE * _free_on_host() / max(1, len(local)))


def _free_on_host() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 1 << 32  # nobody says; 4 GiB is what small machines have


def describe(mesh: Mesh) -> dict[str, Any]:
    """Return a note of where something was computed."""
    first = mesh.devices.flat[0]
    return {
        "device": f"{first.platform}: {first.device_kind}",
        "num_devices": int(mesh.size),
        "num_processes": jax.process_count(),
    }
