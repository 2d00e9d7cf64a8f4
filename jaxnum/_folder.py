"""A sweep on disk: chunks that are whole or absent, which anybody who asks the same question can finish.

    manifest.json             what is computed: function, program, parameters, axes, and the layout of the results
    parameters.npz            the values along the axes, or every member's parameters
    chunk-START-STOP.npz      members START up to STOP, with a checksum and a note of where they were computed
    .lock                     held while somebody writes; the kernel lets go of it when that process dies

The manifest is written last, so a folder with a manifest is complete apart from chunks. Chunks may have any lengths:
what is missing is computed in whatever chunks the next process likes. Reading trusts nothing, as in `_store.py`.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxnum import _store
from jaxnum._checks import refuse
from jaxnum._store import SIZE_LIMIT, StoreError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

SCHEMA = 1
_MANIFEST_LIMIT = 1 << 24  # bytes; a manifest holds names and hashes, never data
_MEMBERS_LIMIT = 1 << 40
_CHUNK = re.compile(r"chunk-(\d{12})-(\d{12})\.npz")

# What makes two sweeps the same one, and how a difference is said.
_IDENTITY = {
    "configuration": "another configuration",
    "program": "another function, or the same one with other code or constants",
    "parameters": "other parameters",
    "axes": "other axes",
    "shape": "another number of members",
    "outputs": "results of other shapes or dtypes",
}


@dataclass(frozen=True)
class Folder:
    """A folder that holds a sweep, whole or in parts.

    Attributes:
        path: Where it is.
        manifest: What it holds.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Number of members of the whole sweep."""
        return int(np.prod(self.manifest["shape"], dtype=object))

    def intervals(self) -> list[tuple[int, int]]:
        """Return the members that are there, as half-open intervals in order."""
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                if match := _CHUNK.fullmatch(entry.name):
                    found.append((int(match[1]), int(match[2])))
        found.sort()
        last = 0
        for start, stop in found:
            if not last <= start < stop <= self.size:
                raise StoreError(f"{self._chunk(start, stop)} does not fit: its members are there twice or never were.")
            last = stop
        return found

    def missing(self) -> list[tuple[int, int]]:
        """Return the members that are not there, as half-open intervals in order."""
        edges = [0, *(edge for interval in self.intervals() for edge in interval), self.size]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]

    def write(self, start: int, stop: int, arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> None:
        """Write the results of members `start` up to `stop`, completely or not at all."""
        meta = {
            "schema": SCHEMA,
            "kind": "sweep chunk",
            "sweep": self.manifest["sweep"],
            "start": start,
            "stop": stop,
            "checksum": checksum(arrays),
            "time": _now(),
            **note,
        }
        try:
            _store.write(self._chunk(start, stop), dict(arrays), meta)
        except OSError as error:
            done = sum(b - a for a, b in self.intervals())
            why = error.strerror or str(error)
            raise OSError(
                error.errno,
                f"Members {start} to {stop - 1} could not be written ({why}); {self.path} keeps the {done} of "
                f"{self.size} that are finished: make room and call again to go on",
            ) from error

    def read(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Read one chunk, refusing what is damaged or belongs to another sweep."""
        path = self._chunk(start, stop)
        arrays, meta = _store.read(path)
        cure = "delete it to have its members computed again"
        if meta.get("kind") != "sweep chunk" or (meta.get("start"), meta.get("stop")) != (start, stop):
            raise StoreError(f"{path} is not the chunk that its name says; {cure}.")
        if meta.get("sweep") != self.manifest["sweep"]:
            raise StoreError(f"{path} belongs to another sweep; {cure}.")
        if meta.get("checksum") != checksum(arrays):
            raise StoreError(f"{path} is damaged: its checksum does not match; {cure}.")
        for name, shape, dtype in self.manifest["outputs"]:
            array = arrays.get(name)
            if array is None or array.shape != (stop - start, *shape) or str(array.dtype) != dtype:
                raise StoreError(f"{path} is damaged: `{name}` is not what the manifest says; {cure}.")
        return arrays

    def read_all(self) -> dict[str, np.ndarray]:
        """Read every chunk and put the members together; refused while some are missing."""
        intervals = self.intervals()
        done = sum(b - a for a, b in intervals)
        if done < self.size:
            raise StoreError(
                f"{self.path} holds {done} of {self.size} members; call ensemble.sweep again with the same arguments "
                "to finish it."
            )
        if sum(self._chunk(*i).stat().st_size for i in intervals) > SIZE_LIMIT:
            raise StoreError(f"{self.path} holds more than {SIZE_LIMIT >> 30} GiB; read its chunks one by one.")
        chunks = [self.read(*interval) for interval in intervals]
        return {name: np.concatenate([c[name] for c in chunks]) for name, _, _ in self.manifest["outputs"]}

    def parameters(self) -> Any:
        """Read the parameters of the sweep; None where they were drawn and stand in the chunks."""
        path = self.path / "parameters.npz"
        tree, meta = _store.load(path, kind="sweep parameters")
        if meta.get("sweep") != self.manifest["sweep"]:
            raise StoreError(f"{path} belongs to another sweep.")
        return tree

    def _chunk(self, start: int, stop: int) -> Path:
        return self.path / f"chunk-{start:012d}-{stop:012d}.npz"


def is_folder(path: str | Path) -> bool:
    """Tell whether `path` is a folder, and therefore a sweep or nothing that jaxnum wrote."""
    return Path(path).is_dir()


def look(path: str | Path) -> Folder:
    """Open a sweep for reading."""
    path = Path(path)
    if not (path / "manifest.json").exists():
        raise StoreError(f"{path} holds no sweep: there is no manifest.json in it.")
    return Folder(path, _manifest(path / "manifest.json"))


@contextlib.contextmanager
def writing(
    path: str | Path, identity: Mapping[str, Any], facts: Mapping[str, Any], parameters: Any
) -> Iterator[Folder]:
    """Hold a folder for writing: begin the sweep there, or go on with it when it is the same one.

    Args:
        path: The folder; made where it does not exist.
        identity: What makes the sweep this one, under the names in `_IDENTITY`, and `source`, a hash of the code that
            is compared in place of `program` when that was made by another version of JAX.
        facts: What else the manifest says.
        parameters: Tree of the parameters, or None.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is a file; give the name of a folder.")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"The folder {path} cannot be made: {error.strerror}") from error
    with _locked(path):
        for entry in path.iterdir():  # we hold the lock, so nobody is writing these any more
            if re.fullmatch(r"\.(manifest\.json|parameters\.npz|chunk-\d+-\d+\.npz)\..*\.partial", entry.name):
                entry.unlink()
        file = path / "manifest.json"
        if file.exists():
            folder = Folder(path, _manifest(file))
            _same_or_refuse(folder, identity, facts)
        else:
            if any(_CHUNK.fullmatch(entry.name) for entry in path.iterdir()):
                raise StoreError(f"{path} holds chunks of a sweep but no manifest.json; use another folder.")
            sweep = _hash(json.dumps(identity, sort_keys=True))
            manifest = {"schema": SCHEMA, "kind": "sweep", "sweep": sweep, "time": _now(), **identity, **facts}
            meta = {"schema": _store.SCHEMA, "kind": "sweep parameters", "sweep": sweep}
            arrays: dict[str, np.ndarray] = {}
            meta["structure"] = _store.describe(parameters, arrays)
            try:
                _store.write(path / "parameters.npz", arrays, meta)
                _store.write_text(file, json.dumps(manifest, indent=2) + "\n")
            except OSError as error:
                why = error.strerror or str(error)
                raise OSError(error.errno, f"The sweep could not be begun in {path} ({why})") from error
            folder = Folder(path, _manifest(file))
        yield folder


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return one hash of names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{arrays[name].shape}\0".encode("utf-8", "surrogatepass"))
        digest.update(array.tobytes() if array.ndim == 0 else memoryview(array.reshape(-1).view(np.uint8)))
    return digest.hexdigest()


def _same_or_refuse(folder: Folder, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    manifest = folder.manifest
    there, here = manifest.get("versions", {}), facts.get("versions", {})
    same_jax = isinstance(there, dict) and there.get("jax") == here.get("jax")
    for name, words in _IDENTITY.items():
        # A program is the same text only under the same JAX; under another one the source has to vouch for it.
        key = "source" if name == "program" and not same_jax else name
        if manifest.get(key) != json.loads(json.dumps(identity.get(key))):
            if name == "program":
                words = f"{words}, {manifest.get('function')}"
            refuse("directory", "hold this sweep or nothing", f"{folder.path} holds {words}; use another folder")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if fcntl is None:
        raise OSError("a folder can be locked on POSIX systems only; leave `directory` out here")
    try:
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OSError(error.errno, f"Nothing can be written into {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise BlockingIOError(f"{path} is in use by {who}; wait for it, or use another folder.") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(handle)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _MANIFEST_LIMIT:
            raise StoreError(f"{path} is no manifest.")
        manifest = json.loads(path.read_bytes())
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: it is no JSON.") from error
    if not isinstance(manifest, dict) or not _is_count(manifest.get("schema")):
        raise StoreError(f"{path} is no manifest of a sweep.")
    if manifest["schema"] > SCHEMA:
        raise StoreError(f"{path} was written by a newer jaxnum (schema {manifest['schema']}); update jaxnum.")
    shape, axes, outputs = (manifest.get(k) for k in ("shape", "axes", "outputs"))
    if (
        manifest.get("kind") != "sweep"
        or not isinstance(manifest.get("sweep"), str)
        or not _list_of(shape, lambda n: _is_count(n) and 0 < n < _MEMBERS_LIMIT)
        or not 1 <= len(shape) <= 30
        or np.prod(shape, dtype=object) > _MEMBERS_LIMIT
        or not _list_of(axes, lambda a: isinstance(a, str))
        or not len(set(axes)) == len(axes) == len(shape)
        or not _list_of(outputs, _is_output)
    ):
        raise StoreError(f"{path} is damaged: it does not say what a sweep has to say.")
    return manifest


def _is_output(x: Any) -> bool:
    return (
        isinstance(x, list)
        and len(x) == 3
        and isinstance(x[0], str)
        and _list_of(x[1], lambda n: _is_count(n) and 0 <= n < _MEMBERS_LIMIT)
        and isinstance(x[2], str)
    )


def _list_of(x: Any, good: Any) -> bool:
    return isinstance(x, list) and all(good(e) for e in x)


def _is_count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def outputs(names: Sequence[str], leaves: Sequence[Any]) -> list:
    """Return what the manifest says of a member's results: name, shape and dtype of each."""
    return [[n, list(x.shape), str(np.dtype(x.dtype))] for n, x in zip(names, leaves, strict=True)]
