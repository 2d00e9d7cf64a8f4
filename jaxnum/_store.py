"""How results reach a disk: one `.npz` without pickle, written completely or not at all.

The file is a zip archive of `.npy` members, which NumPy opens as well, and one `meta.json`. It is written beside
its destination, flushed to the disk and renamed, so after a crash the old file is there or the new one, never half.
Reading trusts nothing: no compression, no pickle, no classes, sizes checked before memory is taken.
"""

import contextlib
import json
import os
import platform
import re
import tempfile
import time
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.lib import format as npy

SCHEMA = 1
_STALE = 3600.0  # seconds after which a partial file has no writer any more
_DEEPEST = 200  # levels of a tree; how deep Python itself would go changes from version to version
SIZE_LIMIT = 1 << 36  # bytes a file may declare; 64 GiB is beyond every run that fits in memory


class StoreError(ValueError):
    """A file is not what jaxnum wrote."""


def save(path: str | Path, tree: Any, *, kind: str, configuration: dict | None = None) -> Path:
    """Write a tree of arrays (nested dicts, lists, tuples, modules) and its metadata to `path`."""
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    structure = _describe(tree, "", arrays)
    dtypes = sorted({str(a.dtype) for a in arrays.values() if a.dtype.kind in "fc"})
    meta = {
        "schema": SCHEMA,
        "kind": kind,
        "structure": structure,
        "versions": versions(),
        "device": _device(tree),
        "dtype": dtypes,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "configuration": configuration or {},
    }
    write(path, arrays, meta)
    return path


def load(path: str | Path, *, kind: str) -> tuple[Any, dict]:
    """Read what `save` wrote: the tree, with NumPy arrays, and the metadata."""
    path = Path(path)
    arrays, meta = read(path)
    if meta.get("kind") != kind:
        raise StoreError(f"{path} holds {meta.get('kind')!r}, not {kind!r}.")
    try:
        return rebuild(meta["structure"], arrays), meta
    except (KeyError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: its structure cannot be put together.") from error


def layout(tree: Any) -> tuple[Any, list[str]]:
    """Return the structure of a tree as JSON, and the name under which each of its leaves stands there, in order.

    The leaves need shapes and dtypes only: nothing is computed and no memory is taken.
    """
    leaves, treedef = jax.tree.flatten(tree)
    stand_ins = [np.broadcast_to(np.zeros((), x.dtype), x.shape) for x in leaves]
    arrays: dict[str, np.ndarray] = {}
    structure = _describe(jax.tree.unflatten(treedef, stand_ins), "", arrays)
    names = {id(array): name for name, array in arrays.items()}
    return structure, [names[id(x)] for x in stand_ins]


def describe(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return the structure of a tree as JSON, and put its arrays under the names that stand there."""
    return _describe(tree, "", arrays)


def write(path: Path, arrays: dict[str, np.ndarray], meta: dict) -> None:
    """Write arrays and metadata as one file, completely or not at all."""
    try:
        text = json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Argument `configuration` must be what JSON can hold, but {error}.") from error

    def fill(file: Any) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("meta.json", text)
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    npy.write_array(member, array, allow_pickle=False)

    write_atomically(path, fill)


def write_atomically(path: Path, fill: Any) -> None:
    """Call `fill(file)` on a temporary file beside `path`, then put it in place in one stroke."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write {path.name} into; make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    _sweep(path)
    handle, partial = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644 & ~_umask())  # mkstemp makes private files; results are as readable as any other
        os.replace(partial, path)
        _settle(path.parent)
    finally:
        Path(partial).unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file completely or not at all."""
    write_atomically(Path(path), lambda file: file.write(text.encode("utf-8")))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read arrays and metadata, refusing whatever `write` would not have written."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device could be read forever
            raise StoreError(f"{path} is damaged or not a jaxnum file: it is no regular file.")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise StoreError(f"{path} is compressed; jaxnum writes and reads plain archives only.")
            if sum(m.file_size for m in members) > min(SIZE_LIMIT, path.stat().st_size):
                raise StoreError(f"{path} declares more bytes than it has.")
            meta = json.loads(archive.read("meta.json"))
            if not isinstance(meta, dict) or not isinstance(meta.get("schema"), int):
                raise StoreError(f"{path} has no jaxnum metadata.")
            if meta["schema"] > SCHEMA:
                raise StoreError(f"{path} was written by a newer jaxnum (schema {meta['schema']}); update jaxnum.")
            if len({m.filename for m in members}) < len(members):
                raise StoreError(f"{path} holds a member twice.")
            names = [m for m in members if m.filename.endswith(".npy")]
            return {m.filename.removesuffix(".npy"): _member(archive, m) for m in names}, meta
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"There is no file {path}.") from None
    except StoreError:
        raise
    except (
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        OSError,
        RuntimeError,
        RecursionError,
        MemoryError,
        OverflowError,
        SyntaxError,
        TypeError,
        tokenize.TokenError,
    ) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise StoreError(f"{path} is damaged or not a jaxnum file: {said}.") from error


def versions() -> dict[str, str]:
    """Versions of everything a number may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("jaxnum", "jax", "jaxlib", "numpy", "optax", "diffrax", "equinox", "optimistix", "lineax"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        major, _ = npy.read_magic(file)
        header = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}.get(major)
        if header is None:
            raise StoreError(f"{info.filename} has an unknown format.")
        shape, _, dtype = header(file)
        if dtype.hasobject or any(n < 0 for n in shape):
            raise StoreError(f"{info.filename} is not a plain array.")
        if np.prod(shape, dtype=object) * dtype.itemsize > info.file_size:
            raise StoreError(f"{info.filename} declares more bytes than it has.")
    with archive.open(info) as file:
        return npy.read_array(file, allow_pickle=False)


def _describe(tree: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return the shape of the tree as JSON, and put its arrays under the names that stand there."""
    if tree is None:
        return None
    if hasattr(tree, "keys") and hasattr(tree, "items"):  # a dict, or a History, whose rows have an order
        if len({str(k) for k in tree}) < len(tree):
            raise ValueError(f"Argument `{name}` must have keys that differ as text to be saved, but has {list(tree)}.")
        return {"dict": {str(k): _describe(v, f"{name}.{k}".lstrip("."), arrays) for k, v in tree.items()}}
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return {"list": [_describe(v, f"{name}.{i}".lstrip("."), arrays) for i, v in enumerate(tree)]}
    if not isinstance(tree, jax.Array | np.ndarray | np.generic | int | float | complex | bool):
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        if len(leaves) == 1 and leaves[0][1] is tree:
            if callable(tree):  # an activation function inside a model: code, not data
                return None
            raise ValueError(f"Argument `{name}` must be an array to be saved, but is {type(tree).__name__}.")
        return {"dict": {_key(p): _describe(v, f"{name}.{_key(p)}", arrays) for p, v in leaves}}
    if isinstance(tree, jax.Array) and not tree.is_fully_addressable:
        raise ValueError(f"Argument `{name}` must be on this host to be saved, but is spread over several.")
    try:
        array = np.asarray(tree)
    except TypeError:  # a typed random key
        raise ValueError(f"Argument `{name}` must be an array of numbers to be saved, but is {tree.dtype}.") from None
    if array.dtype.kind not in "biufcSU":
        # The format has no name for bfloat16 and its like, and objects would need pickle.
        must = "be an array of numbers NumPy knows to be saved"
        raise ValueError(f"Argument `{name}` must {must}, but has dtype {array.dtype}; cast it first.")
    # Member names are for people who open the file; the structure says which array is which, so any will do.
    key = re.sub(r"[^\w.\[\]' -]", "_", name)[:100] or "array"
    if key in arrays:
        key = f"{key}~{len(arrays)}"
    arrays[key] = array
    return {"array": key}


def rebuild(structure: Any, arrays: dict[str, np.ndarray], depth: int = 0) -> Any:
    """Put a tree together again from its structure and its arrays; a KeyError says that they do not fit."""
    if depth > _DEEPEST:
        raise KeyError("depth")
    if structure is None:
        return None
    if isinstance(structure, dict) and len(structure) == 1:
        [(kind, content)] = structure.items()
        if kind == "dict" and isinstance(content, dict):
            return {k: rebuild(v, arrays, depth + 1) for k, v in content.items()}
        if kind == "list" and isinstance(content, list):
            return [rebuild(v, arrays, depth + 1) for v in content]
        if kind == "array" and isinstance(content, str):
            array = arrays[content]
            return array[()] if array.ndim == 0 else array
    raise KeyError("structure")


def _sweep(path: Path) -> None:
    """Remove what a killed save of the same file left behind; a young one may be somebody's who is still writing."""
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f".{path.name}.") and entry.name.endswith(".partial"):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime > _STALE:
                        os.unlink(entry.path)


def _key(path: tuple) -> str:
    return jax.tree_util.keystr(path).lstrip(".").replace("/", "_") or "value"


def _device(tree: Any) -> str:
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array):
            device = next(iter(leaf.devices()))
            return f"{device.platform}: {device.device_kind}"
    return "host"


def _settle(folder: Path) -> None:
    """Flush the name of a new file to the disk as well; where folders cannot be flushed, the system does it later."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
