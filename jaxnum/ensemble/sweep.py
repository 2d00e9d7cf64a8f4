"""Sweep: one pure function of many parameters, on whatever hardware is there, interrupted at will.

    value[i] = fn(parameters[i]),    i = 0 ... n - 1

`jit(vmap(fn))` over chunks of members, the leading axis of each chunk spread over a mesh of devices, each of which
goes through its own members and waits for no other. Every chunk has the same shape, the last one being filled up with
copies that are cut off again, so there is one compilation. With a folder, a chunk is on the disk before the next one
starts, and a sweep that was killed goes on where it was.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxnum import _folder, _store
from jaxnum._checks import as_count, refuse
from jaxnum._progress import Progress, track
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum.ensemble import devices, identity
from jaxnum.ensemble.members import Members, as_members
from jaxnum.ensemble.outcomes import outcomes

# A chunk is what a kill can cost and what a progress bar shows: with either, no less than this many and no larger than
# the memory allows.
_CHUNKS = 32
_SMALLEST = 64  # members per device below which many chunks would only cost time


def sweep(
    fn: Callable[[Any], Any],
    parameters: Any,
    *,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    directory: str | Path | None = None,
    progress: Progress = False,
    configuration: dict | None = None,
) -> Solution:
    """Evaluate a pure function for many parameters, on every device, and on every host that runs the same program.

    Members that fail do not stop the others. What is random must come from a key in the parameters. For gradients of
    a sweep, differentiate `fn` and sweep that: the sweep itself is a loop on the host, outside `jit`.

    Args:
        fn: Pure function of one member's parameters that JAX can trace, returning arrays, any pytree of them, or a
            Solution; every verb of jaxnum works inside. A new lambda is compiled anew.
        parameters: Array or pytree of arrays whose leading axis counts the members; or `ensemble.grid(...)`, and `fn`
            is given a dict with one value of each axis; or `ensemble.draws(key, num, sampler)`.
        chunk_size: Members computed at once, over all devices; by default what the memory holds. When memory runs
            out it is halved, which is said in a warning, once.
        mesh: Devices to use; by default all there are, of all processes. On a CPU a function that calls LAPACK or the
            FFT takes the first device of each process.
        directory: Folder to keep finished chunks in. The same call with the same folder goes on where a killed one
            was, on any number of devices; a changed function, changed parameters or a changed configuration is
            refused. Its results are read with `jaxnum.load(directory)`.
        progress: True for a bar and, at the end, a table of outcomes; or a function `progress(done, total)`.
        configuration: Anything JSON can hold; kept in the folder, and part of what must be the same to go on.

    Returns:
        Solution with NumPy arrays whose leading axes are those of the sweep, named by `axes`: one for each axis of a
        grid, or one called `member` or `draw`. `value` is what `fn` returned, or the values of its Solutions, whose
        histories, residuals and steps are stacked likewise. `history.parameters` holds what stands along the axes.
        `status` is that of each member; a value that is not finite is `nonfinite` whatever it says of itself. For a
        function that returns no Solution the residual is 0, or infinity where the value is not finite.
        `ensemble.outcomes(solution)` counts how members ended.

    Raises:
        ValueError: If an argument makes no sense, or `directory` holds another sweep.
        jaxnum.StoreError: If a file in `directory` is damaged.
        OSError: If `directory` cannot be written, or another process is using it.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jaxnum import ensemble
        >>> from jaxnum.optimize import landscapes, minimize
        >>> bowl = landscapes.quadratic((1.0, 10.0))
        >>> def run(p):
        ...     return minimize(bowl.fn, optax.sgd(p["rate"], momentum=p["beta"]), bowl.y0, num_steps=500)
        >>> axes = ensemble.grid(rate=jnp.array([0.01, 0.1, 0.5]), beta=jnp.array([0.0, 0.5]))
        >>> solution = ensemble.sweep(run, axes)
        >>> print(solution.status, solution.value.shape, solution.axes)
        ok: 4, nonfinite: 2 (3, 2, 2) ('rate', 'beta')
    """
    if not callable(fn):
        refuse("fn", "be a function of one member's parameters", f"is {type(fn).__name__}")
    members = as_members(parameters)
    if chunk_size is not None:
        chunk_size = min(as_count("chunk_size", chunk_size), members.size)
    mesh = devices.as_mesh(mesh)
    try:
        hash(fn)
    except TypeError:
        fn = partial(fn)  # compared by identity
    jaxpr, out = _look(fn, members, mesh)
    alone = devices.has_calls(jaxpr, mesh)
    if alone:
        mesh = devices.one_of_each(mesh)
    leaves, structure = jax.tree.flatten(out)
    results = [np.zeros((members.size, *x.shape), x.dtype) for x in leaves]
    patient = directory is not None or bool(progress)
    start_size = chunk_size or _first_guess(members, leaves, mesh, patient)
    run = _Runner(fn, members, mesh, start_size, alone=alone, fixed=chunk_size is not None)
    if directory is None:
        _compute(run, [(0, members.size)], results, None, [], progress)
    else:
        _resume(run, jaxpr, out, results, directory, configuration, progress)
    shaped = [x.reshape(members.shape + x.shape[1:]) for x in results]
    solution = _as_solution(jax.tree.unflatten(structure, shaped), members)
    if progress is True and devices.is_first():
        print(outcomes(solution), file=sys.stderr)
    return solution


# One member -----------------------------------------------------------------------------------------------------------


def _one(fn: Callable, members_pick: Callable, drawn: bool, row: Any, constants: Any) -> dict[str, Any]:
    """Compute one member, and what there is to say about it."""
    parameters = members_pick(row, constants)
    # The inner jit keeps the trace: the function runs once for the shapes and never again, whatever the chunk.
    out = jax.jit(fn)(parameters)
    result = _report(out)
    if drawn:
        rows = dict(result["history"].items())
        result["history"] = History(parameters=jax.tree.map(_plain, parameters), **rows)
    return result


def _report(out: Any) -> dict[str, Any]:
    if isinstance(out, Solution):
        value, rows = out.value, out.history
        residual, num_steps, code = out.residual, out.num_steps, out.status.code
    else:
        value, rows, residual, num_steps = out, History(), None, jnp.int32(1)
        inner = [x for x in jax.tree.leaves(out, is_leaf=_is_status) if _is_status(x)]
        # The worst of all that is in it.
        codes = [jnp.max(jnp.asarray(s.code, jnp.int32)) for s in inner]
        code = jnp.max(jnp.stack(codes)) if codes else jnp.int32(Status.ok.code)
    value, rows = jax.tree.map(_plain, value), jax.tree.map(_plain, rows)
    floats = [x for x in map(jnp.asarray, jax.tree.leaves(value)) if jnp.issubdtype(x.dtype, jnp.inexact)]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats])) if floats else jnp.bool_(True)
    if residual is None:
        dtype = jnp.finfo(floats[0].dtype).dtype if floats else jnp.zeros(()).dtype
        residual = jnp.where(finite, jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype))
    code = jnp.asarray(code, jnp.int32)
    code = jnp.where((code == Status.ok.code) & ~finite, jnp.int32(Status.nonfinite.code), code)
    return {"value": value, "history": rows, "residual": residual, "num_steps": num_steps, "status": code}


def _is_status(x: Any) -> bool:
    return isinstance(x, Status)


def _plain(x: Any) -> Any:
    """Return an array; a random key as its bits."""
    x = jnp.asarray(x)
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def _look(fn: Callable, members: Members, mesh: Mesh) -> tuple[Any, Any]:
    """Return the program of one member, and the shapes and dtypes of what it returns."""
    row = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in members.rows(np.arange(1))]
    constants = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in members.constants]
    one = partial(_one, fn, members.pick, members.known is None)
    # On the mesh, as in `_chunk`, or the function would be traced once more there.
    same = devices.everywhere(mesh).spec
    one = jax.shard_map(one, mesh=mesh, in_specs=(same, same), out_specs=same, check_vma=False)
    try:
        jaxpr, out = jax.make_jaxpr(one, return_shape=True)(row, constants)
    except TypeError as error:
        if "valid JAX type" in str(error):
            refuse("fn", "return arrays, a pytree of arrays or a Solution", str(error).splitlines()[0])
        raise
    if not jax.tree.leaves(out["value"]):
        refuse("fn", "return at least one array", "returns none")
    if "parameters" in out["history"] and members.known is not None:
        refuse("fn", "return a history without a row `parameters`", "has one; the sweep needs the name")
    return jaxpr, out


# Chunks ---------------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("fn", "pick", "drawn", "mesh"))
def _chunk(rows, constants, fn, pick, drawn, mesh):
    def mine(rows, constants):
        return jax.vmap(lambda row: _one(fn, pick, drawn, row, constants))(rows)

    # Left to the compiler, a loop over members would have every device go through the members of all.
    spread, everywhere = devices.spread(mesh).spec, devices.everywhere(mesh).spec
    return jax.shard_map(mine, mesh=mesh, in_specs=(spread, everywhere), out_specs=spread, check_vma=False)(
        rows, constants
    )


def _first_guess(members: Members, leaves: list[Any], mesh: Mesh, patient: bool) -> int:
    """Return a chunk size from what a member returns; what it needs on the way is known after compiling."""
    rows = members.rows(np.arange(1))
    bytes_each = sum(x.nbytes for x in rows) + sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in leaves)
    fits = mesh.size * max(1, devices.free_memory(mesh) // (4 * bytes_each))
    if patient:
        fits = min(fits, max(math.ceil(members.size / _CHUNKS), _SMALLEST * mesh.size))
    return int(devices.from_first(np.int64(min(fits, members.size))[None])[0])


class _Runner:
    """Runs chunks; remembers how many members fit at once."""

    def __init__(self, fn: Callable, members: Members, mesh: Mesh, size: int, *, alone: bool, fixed: bool) -> None:
        self.fn, self.members, self.mesh, self.size = fn, members, mesh, size
        self._fixed, self._said, self._checked = fixed, False, False
        # Alone, every process runs a program of its own.
        self._alone, self._where = alone, devices.own(mesh) if alone else mesh
        self._settings = {"fn": fn, "pick": members.pick, "drawn": members.known is None, "mesh": self._where}

    def __call__(self, start: int, stop: int) -> list[np.ndarray]:
        """Compute members `start` up to `stop`, at most `size` of them; return their leaves on the host."""
        padded = -(-self.size // self.mesh.size) * self.mesh.size
        numbers = np.minimum(np.arange(start, start + padded), stop - 1)
        if self._alone:
            numbers = devices.share(self.mesh, numbers)
        rows = [devices.put(x, devices.spread(self._where)) for x in self.members.rows(numbers)]
        constants = [devices.put(x, devices.everywhere(self._where)) for x in self.members.constants]
        if not self._fixed and not self._checked and self._too_large(rows, constants):
            return []
        out, full = None, None
        try:
            out = jax.block_until_ready(_chunk(rows, constants, **self._settings))
            self._checked = True
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not _is_full(error):
                raise
            full = error
        if devices.anywhere(full is not None):
            if self.size == 1:
                raise full or MemoryError("Another process ran out of memory.")
            self._halve("memory ran out")
            return []
        return [np.asarray(x)[: stop - start] for x in jax.tree.leaves(devices.gather(out))]

    def _too_large(self, rows: Any, constants: Any) -> bool:
        """Compile, and ask the compiler how much memory the chunk needs; the call that follows compiles no more."""
        sizes = _chunk.lower(rows, constants, **self._settings).compile().memory_analysis()
        if sizes is None:  # not every backend tells
            return False
        needed = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
        free = devices.free_memory(self.mesh)
        times = 0
        while needed > free * 2**times and self.size >> times > 1:
            times += 1
        if not devices.anywhere(times > 0):
            return False
        self._halve(f"it would need {needed / 2**30:.3g} GiB on a device where {free / 2**30:.3g} are to be had", times)
        return True

    def _halve(self, why: str, times: int = 1) -> None:
        for _ in range(max(1, times)):
            self.size = -(-self.size // 2)
        if not self._said and devices.is_first():
            self._said = True
            warnings.warn(
                f"The chunk was too large ({why}); going on with {self.size} members at once. "
                f"Pass chunk_size={self.size} next time.",
                RuntimeWarning,
                stacklevel=5,
            )


def _is_full(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")
    )


def _compute(
    run: _Runner,
    gaps: list[tuple[int, int]],
    results: list[np.ndarray],
    folder: _folder.Folder | None,
    names: list[str],
    progress: Progress,
) -> None:
    """Compute the members in the gaps, chunk by chunk, and write each chunk before the next one starts."""
    total, done = run.members.size, run.members.size - sum(b - a for a, b in gaps)
    note = {"versions": _store.versions(), **devices.describe(run.mesh)} if gaps else {}
    with track(progress if devices.is_first() else False, total, "members") as show:
        show(done)
        for start, end in gaps:
            while start < end:
                stop = min(start + run.size, end)
                leaves = run(start, stop)
                if not leaves:  # too large; smaller now
                    continue
                for whole, part in zip(results, leaves, strict=True):
                    whole[start:stop] = part
                if names:
                    arrays = dict(zip(names, leaves, strict=True))
                    devices.on_first(partial(_write, folder, start, stop, arrays, note))
                done += stop - start
                start = stop
                show(done)


def _write(folder: Any, start: int, stop: int, arrays: Any, note: Any) -> None:
    folder.write(start, stop, arrays, note)


def _resume(
    run: _Runner,
    jaxpr: Any,
    out: Any,
    results: list[np.ndarray],
    directory: str | Path,
    configuration: dict | None,
    progress: Progress,
) -> None:
    """Take what is on the disk, compute what is not."""
    members, first = run.members, devices.is_first()
    try:
        json.dumps(configuration, allow_nan=False)
    except (TypeError, ValueError) as error:
        refuse("configuration", "be what JSON can hold", str(error))
    layout, names = _store.layout(out)
    who = {
        "function": identity.name_of(run.fn),
        "source": identity.source_of(run.fn),
        "program": identity.program_of(jaxpr),
        "parameters": members.digest,
        "shape": list(members.shape),
        "axes": list(members.names),
        "outputs": _folder.outputs(names, jax.tree.leaves(out)),
        "configuration": configuration,
    }
    facts = {
        "structure": layout,
        "drawn": members.known is None,
        "dtype": sorted({o[2] for o in who["outputs"] if np.dtype(o[2]).kind in "fc"}),
        "chunk_size": run.size,
        "versions": _store.versions(),
        **devices.describe(run.mesh),
    }
    holding = devices.on_first(lambda: _enter(_folder.writing(directory, who, facts, members.known)))
    folder, leave = holding if first else (None, None)
    try:
        devices.on_first(lambda: _fill(folder, names, results))
        gaps = np.zeros((0, 2), np.int64)
        if first:
            gaps = np.asarray(folder.missing(), np.int64).reshape(-1, 2)
            if not run._fixed:
                # Chunks of the same size give the same bits; a smaller one may be what the memory asks for by now.
                then = folder.manifest.get("chunk_size")
                run.size = min(then, run.size) if isinstance(then, int) and then > 0 else run.size
        run.size = int(devices.from_first(np.asarray([run.size], np.int64))[0])
        gaps = _share(gaps)
        if sum(b - a for a, b in gaps) < members.size:
            results[:] = [devices.from_first(x) for x in results]
        _compute(run, [(int(a), int(b)) for a, b in gaps], results, folder, names, progress)
    finally:
        if leave is not None:
            leave()


def _share(gaps: np.ndarray) -> np.ndarray:
    """Tell every process what is missing."""
    count = int(devices.from_first(np.asarray([len(gaps)], np.int64))[0])
    return devices.from_first(gaps if devices.is_first() else np.zeros((count, 2), np.int64))


def _enter(manager: Any) -> tuple[Any, Callable[[], None]]:
    return manager.__enter__(), lambda: manager.__exit__(None, None, None)


def _fill(folder: Any, names: list[str], results: list[np.ndarray]) -> None:
    """Read the chunks that are there into the results."""
    for start, stop in folder.intervals():
        arrays = folder.read(start, stop)
        for name, whole in zip(names, results, strict=True):
            whole[start:stop] = arrays[name]


def _as_solution(tree: dict[str, Any], members: Members) -> Solution:
    rows = tree["history"]
    if members.known is not None:
        rows = History(parameters=members.known, **dict(rows.items()))
    return Solution(tree["value"], rows, tree["residual"], tree["num_steps"], Status(tree["status"]), members.names)
