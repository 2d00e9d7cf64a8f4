"""Results on disk: the same values back, old or new after a crash, and nothing believed that a file says of itself."""

import io
import json
import os
import pickle
import subprocess
import sys
import time
import tracemalloc
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.testing import assert_array_equal

import jaxnum
from jaxnum import History, Solution, Status, StoreError, _store

DTYPES = ["?", "i1", "u1", "i2", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


def solution(value):
    return Solution(value, History(t=np.arange(3.0)), 1e-9, 3, Status.ok)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_comes_back_bit_for_bit(dtype, tmp_path, rng):
    value = np.frombuffer(rng.bytes(16 * 24), np.uint8)
    value = (value % 2).astype(bool) if dtype == "?" else value.view(dtype).reshape(2, 3, -1)
    shapes = {"whole": value, "scalar": value.flat[0], "none": value[..., :0], "columns": np.asfortranarray(value)}
    path = _store.save(tmp_path / "a.npz", shapes, kind="test")
    tree, _ = _store.load(path, kind="test")
    for name, array in shapes.items():
        assert np.asarray(tree[name]).dtype == np.dtype(dtype), name
        assert np.asarray(tree[name]).tobytes() == np.asarray(array).tobytes(), name
        assert np.shape(tree[name]) == np.shape(array), name


def test_numpy_opens_the_file_too(tmp_path):
    path = _store.save(tmp_path / "a.npz", {"psi": np.arange(3.0)}, kind="test")
    with np.load(path) as archive:
        assert_array_equal(archive["psi"], [0, 1, 2])


def test_nested_trees_and_modules(tmp_path):
    tree = {"a": [np.ones(2), ({"b": 3.5}, None, [])], "i": 7, "yes": True, "z": 1 - 2j, "": np.zeros(1), "x.y": 1.0}
    tree["x"] = {"y": 2.0}  # dotted names must not collide with nested ones
    back, _ = _store.load(_store.save(tmp_path / "a.npz", tree, kind="test"), kind="test")
    assert_array_equal(back["a"][0], [1, 1])
    assert back["a"][1] == [{"b": 3.5}, None, []]
    assert (back["i"], back["yes"], back["z"], back["x.y"], back["x"]["y"]) == (7, True, 1 - 2j, 1.0, 2.0)

    model = eqx.nn.MLP(2, 1, 4, 2, key=jax.random.key(0))
    back = jaxnum.load(solution(model).save(tmp_path / "model.npz")).value
    # An array of a module comes back under the path it has in the module.
    for place, leaf in jax.tree_util.tree_leaves_with_path(model):
        if eqx.is_array(leaf):
            assert_array_equal(back[jax.tree_util.keystr(place).lstrip(".")], leaf)
    assert_array_equal(back["layers[0].weight"], model.layers[0].weight)


def test_a_replaced_file_is_as_readable_as_any_other(tmp_path):
    path = _store.save(tmp_path / "a.npz", {"a": 1.0}, kind="test")
    (tmp_path / "plain").write_text("x")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    _store.write_text(tmp_path / "text", "Größe ψ")
    assert (tmp_path / "text").read_text(encoding="utf-8") == "Größe ψ"


def test_a_missing_folder_and_a_file_in_its_place_are_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "no" / "a.npz", tmp_path / "file" / "a.npz"):
        with pytest.raises(OSError, match="There is no folder") as failure:
            _store.save(path, {"a": 1.0}, kind="test")
        assert "\n" not in str(failure.value)
        with pytest.raises(FileNotFoundError, match="There is no file"):
            _store.load(path, kind="test")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises((OSError, StoreError)) as failure:
        _store.save(tmp_path / "folder.npz", {"a": 1.0}, kind="test")
    assert "\n" not in str(failure.value)
    with pytest.raises(StoreError):
        _store.load(tmp_path / "folder.npz", kind="test")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.npz"]  # and no partial file


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = _store.save(tmp_path / "a.npz", {"a": np.ones(3)}, kind="test")
    before = path.read_bytes()

    def fill(file):
        file.write(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        _store.write_atomically(path, fill)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# One process imports everything once and forks a writer for every kill; the writer saves as fast as it can.
KILLER = """
import os, random, signal, sys, time
import numpy as np
from jaxnum import _store
path, random = sys.argv[1], random.Random(0)
start = time.perf_counter()
for _ in range(3):
    _store.save(path, {"n": np.full(200_000, 0.0)}, kind="test")
pace = (time.perf_counter() - start) / 3  # a busy disk makes slow saves: kill within the first few of them
partial = 0
for trial in range(40):
    child = os.fork()
    if not child:
        generation = 0
        while True:
            generation += 1
            _store.save(path, {"n": np.full(200_000, float(generation))}, kind="test")
    time.sleep(random.uniform(0, 3 * pace))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    n = _store.load(path, kind="test")[0]["n"]
    assert len(n) == 200_000 and np.ptp(n) == 0, n
    partial = len([f for f in os.listdir(os.path.dirname(path)) if f.endswith(".partial")])
assert n[0] > 0, "no save ever finished"
print(partial)
"""


def test_killed_while_saving_the_old_or_the_new_file_is_there(tmp_path):
    command = [sys.executable, "-c", KILLER, str(tmp_path / "a.npz")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stderr
    # The kills did strike in the middle of saves: they left partial files behind.
    assert int(done.stdout) >= 5, done.stdout


def test_what_a_killed_save_left_behind_is_swept_up(tmp_path):
    path = tmp_path / "a.npz"
    stale = tmp_path / ".a.npz.abc123.partial"
    young = tmp_path / ".a.npz.def456.partial"
    other = tmp_path / ".b.npz.abc123.partial"
    for file in (stale, young, other):
        file.write_bytes(b"half")
    os.utime(stale, (time.time() - 7200,) * 2)
    os.utime(other, (time.time() - 7200,) * 2)
    _store.save(path, {"a": 1.0}, kind="test")
    assert not stale.exists()
    assert young.exists()  # somebody may be writing it at this moment
    assert other.exists()  # belongs to another result


# What follows believes nothing.


class Bomb:
    fired = False

    def __reduce__(self):
        return (_fire, ())


def _fire():
    Bomb.fired = True


def reads_or_refuses(path, wanted):
    """Load a file that may be damaged: a StoreError or right values; nothing else may come out."""
    try:
        tree, _ = _store.load(path, kind="test")
    except StoreError:
        return False
    for name, array in wanted.items():
        assert name in tree, sorted(tree)
        assert_array_equal(tree[name], array)
    return True


def test_mutated_files_give_errors_or_right_values(tmp_path, rng):
    wanted = {"psi": rng.normal(size=40) + 1j, "n": np.arange(6).reshape(2, 3)}
    whole = _store.save(tmp_path / "whole.npz", wanted, kind="test").read_bytes()
    path, refused = tmp_path / "bad.npz", 0
    for trial in range(240):
        data = bytearray(whole)
        kind = trial % 4
        if kind == 0:
            data = data[: rng.integers(len(data))]
        elif kind == 1:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        elif kind == 2:
            at = rng.integers(len(data) - 8)
            data[at : at + 8] = rng.bytes(8)
        else:
            a, b = sorted(rng.integers(len(data), size=2))
            data = data[:a] + data[b:] if rng.random() < 0.5 else data[:b] + data[a:]
        path.write_bytes(bytes(data))
        refused += not reads_or_refuses(path, wanted)
    assert refused > 180, refused  # most damage is seen; the rest lies in bytes that mean nothing


def archive(path, members, *, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def meta(structure, **change):
    return json.dumps({"schema": 1, "kind": "test", "structure": structure} | change)


def member(array, **options):
    file = io.BytesIO()
    npy.write_array(file, np.asarray(array), **options)
    return file.getvalue()


def header(shape, descr="<f8"):
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": descr})
    return file.getvalue()


ONE = {"dict": {"a": {"array": "a"}}}
GOOD = member(np.ones(3))
HOSTILE = {
    "pickle in an array": [("meta.json", meta(ONE)), ("a.npy", member(np.array([Bomb()], object), allow_pickle=True))],
    "pickle for a file": [("meta.json", meta(ONE)), ("a.npy", pickle.dumps(Bomb()))],
    "a trillion doubles": [("meta.json", meta(ONE)), ("a.npy", header((10**12,)) + b"\0" * 64)],
    "overflowing shape": [("meta.json", meta(ONE)), ("a.npy", header((2**40, 2**40)))],
    "negative shape": [("meta.json", meta(ONE)), ("a.npy", header((-1,)) + b"\0" * 64)],
    "negative pair": [("meta.json", meta(ONE)), ("a.npy", header((-4, -2)) + b"\0" * 64)],
    "object header": [("meta.json", meta(ONE)), ("a.npy", header((1,), "|O") + b"\0" * 64)],
    "code in the header": [
        ("meta.json", meta(ONE)),
        ("a.npy", b"\x93NUMPY\x01\x00\x46\x00" + b"__import__('os').system('touch /tmp/jaxnum-was-here')".ljust(70)),
    ],
    "huge header": [("meta.json", meta(ONE)), ("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"(" * 100_000)],
    "nested header": [("meta.json", meta(ONE)), ("a.npy", b"\x93NUMPY\x01\x00\x60\xea" + b"(" * 60_000)],
    "no metadata": [("a.npy", GOOD)],
    "metadata is a list": [("meta.json", "[]"), ("a.npy", GOOD)],
    "metadata is no JSON": [("meta.json", "{"), ("a.npy", GOOD)],
    "metadata is not UTF-8": [("meta.json", b"\xff\xfe\xff"), ("a.npy", GOOD)],
    "deep metadata": [("meta.json", "[" * 200_000), ("a.npy", GOOD)],
    "deep structure": [
        ("meta.json", '{"schema": 1, "kind": "test", "structure": ' + '{"list": [' * 900 + "null" + "]}" * 900 + "}")
    ],
    "newer schema": [("meta.json", meta(ONE, schema=2)), ("a.npy", GOOD)],
    "schema of no sense": [("meta.json", meta(ONE, schema="1")), ("a.npy", GOOD)],
    "other kind": [("meta.json", meta(ONE, kind="virus")), ("a.npy", GOOD)],
    "no structure": [("meta.json", '{"schema": 1, "kind": "test"}'), ("a.npy", GOOD)],
    "array that is not there": [("meta.json", meta({"dict": {"a": {"array": "b"}}})), ("a.npy", GOOD)],
    "structure is a number": [("meta.json", meta(3)), ("a.npy", GOOD)],
    "structure of two kinds": [("meta.json", meta({"dict": {}, "list": []})), ("a.npy", GOOD)],
    "structure of an unknown kind": [("meta.json", meta({"class": "os.system"})), ("a.npy", GOOD)],
    "array name is a list": [("meta.json", meta({"dict": {"a": {"array": ["a"]}}})), ("a.npy", GOOD)],
    "dict is a list": [("meta.json", meta({"dict": [1]})), ("a.npy", GOOD)],
    "list is a number": [("meta.json", meta({"list": 3})), ("a.npy", GOOD)],
    "empty archive": [],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, tmp_path):
    path = archive(tmp_path / "a.npz", HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(StoreError) as refusal:
        _store.load(path, kind="test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(refusal.value)
    assert peak < 64e6, peak
    assert not Bomb.fired
    assert not os.path.exists("/tmp/jaxnum-was-here")


def test_no_archive_at_all_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    for data in (b"", b"PK", pickle.dumps(Bomb()), b"\x93NUMPY\x01\x00", member(np.ones(3)), os.urandom(5000)):
        path.write_bytes(data)
        with pytest.raises(StoreError):
            _store.load(path, kind="test")
    assert not Bomb.fired


def test_compressed_and_repeated_members_are_refused(tmp_path):
    members = [("meta.json", meta(ONE)), ("a.npy", member(np.zeros(10**6)))]
    with pytest.raises(StoreError, match="compressed"):
        _store.load(archive(tmp_path / "a.npz", members, compression=zipfile.ZIP_DEFLATED), kind="test")
    with pytest.warns(UserWarning, match="Duplicate"):
        archive(tmp_path / "b.npz", [("meta.json", meta(ONE)), ("a.npy", GOOD), ("a.npy", member(np.zeros(3)))])
    with pytest.raises(StoreError, match="twice"):
        _store.load(tmp_path / "b.npz", kind="test")


def test_a_solution_of_damaged_structure_is_refused(tmp_path):
    for structure in (
        {"dict": {}},
        {"list": []},
        None,
        {"array": "a"},
        {"dict": {"value": {"array": "a"}, "history": None}},
    ):
        text = json.dumps({"schema": 1, "kind": "solution", "structure": structure})
        with pytest.raises(StoreError):
            jaxnum.load(archive(tmp_path / "a.npz", [("meta.json", text), ("a.npy", GOOD)]))


def test_what_the_format_cannot_hold_is_refused_by_name(tmp_path):
    # NumPy's format has no name for bfloat16, and would give its bits back as bytes.
    for value in (jnp.ones(3, jnp.bfloat16), np.array([None]), 10**40, jax.random.key(0), np.zeros(2, "i4,f8")):
        with pytest.raises(ValueError, match="Argument `a` must be an array of numbers") as refusal:
            _store.save(tmp_path / "a.npz", {"a": value}, kind="test")
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="keys that differ as text"):
        _store.save(tmp_path / "a.npz", {1: 1.0, "1": 2.0}, kind="test")
    assert list(tmp_path.iterdir()) == []


def test_names_of_any_kind_come_back(tmp_path):
    names = ["a/b", "../c", "\0", "ψ", "", "a_b", "array", "\ud800", "x" * 70_000, "meta.json", "a\nb"]
    tree = {name: float(i) for i, name in enumerate(names)}
    assert _store.load(_store.save(tmp_path / "a.npz", tree, kind="test"), kind="test")[0] == tree
