"""A sweep in a folder: killed, crowded out, shut out or tampered with, it loses nothing and mixes nothing."""

import functools
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxnum
from jaxnum import StoreError, _folder, _store, ensemble
from jaxnum.ensemble import identity

KILLER = Path(__file__).with_name("kill_sweep.py")
AXES = {"a": np.linspace(0.0, 1.0, 5), "b": np.linspace(-1.0, 2.0, 3)}


def wave(p):
    return {"wave": jnp.repeat(jnp.exp(jax.lax.complex(p["a"], p["b"]))[None], 4), "sum": p["a"] + p["b"]}


def sweep(directory, fn=wave, axes=AXES, **options):
    return ensemble.sweep(fn, ensemble.grid(**axes), **{"chunk_size": 4, "directory": directory, **options})


def chunks(directory):
    return sorted(p.name for p in directory.glob("chunk-*"))


@pytest.fixture
def done(tmp_path):
    sweep(tmp_path / "sweep")
    return tmp_path / "sweep"


def test_what_is_loaded_is_what_was_returned(tmp_path):
    there = sweep(tmp_path / "new" / "sweep", configuration={"n": 3})
    back = jaxnum.load(tmp_path / "new" / "sweep")
    assert back.axes == there.axes == ("a", "b")
    assert_array_equal(back.value["wave"], there.value["wave"])
    assert back.value["wave"].shape == (5, 3, 4)
    assert back.value["wave"].dtype == np.complex128
    assert_array_equal(back.history.parameters["a"], AXES["a"])
    assert back.status == there.status
    note = _store.read(tmp_path / "new" / "sweep" / chunks(tmp_path / "new" / "sweep")[0])[1]
    assert note["num_devices"] == 1
    assert note["versions"]["jax"] == jax.__version__
    # The solution of a sweep is also a file like any other.
    assert jaxnum.load(back.save(tmp_path / "one.npz")).axes == ("a", "b")


def test_trees_models_and_draws_come_back(tmp_path):
    def fn(p):
        return jaxnum.Solution(
            (p["x"], [p["x"] + 1]), jaxnum.History(t=p["x"], s=jnp.int32(1)), 0.0, 3, jaxnum.Status.ok
        )

    given = ensemble.draws(jax.random.key(0), 7, lambda key: {"x": jax.random.normal(key, (2,), jnp.float64)})
    there = ensemble.sweep(fn, given, chunk_size=3, directory=tmp_path)
    again = ensemble.sweep(fn, given, chunk_size=3, directory=tmp_path)
    back = jaxnum.load(tmp_path)
    for solution in (there, again, back):
        assert_array_equal(solution.value[0], there.value[0])
        # The compiler may compute a draw twice, for its use and for the record, and round it otherwise.
        assert_allclose(solution.value[1][0], there.value[0] + 1, rtol=1e-14)
        assert_allclose(solution.history.parameters["x"], there.value[0], rtol=1e-15)
        assert list(solution.history) == ["parameters", "t", "s"]


def test_what_is_there_is_not_computed_again(done):
    (done / chunks(done)[1]).unlink()
    seen = []
    solution = sweep(done, chunk_size=2, progress=lambda n, _: seen.append(n))  # in chunks of another size
    assert seen == [11, 13, 15]
    assert len(chunks(done)) == 5
    assert_array_equal(solution.value["sum"], AXES["a"][:, None] + AXES["b"])
    sweep(done, progress=lambda n, _: seen.append(n))
    assert seen[3:] == [15]


OTHERS = {
    "function": {
        "fn": lambda p: {"wave": jnp.repeat(jnp.exp(jax.lax.complex(p["a"], p["b"]))[None], 4), "sum": p["a"]}
    },
    "constant": {
        "fn": lambda p: {"wave": jnp.repeat(jnp.exp(jax.lax.complex(p["a"], p["b"]))[None], 4) * 2, "sum": p["a"]}
    },
    "results": {"fn": lambda p: p["a"]},
    "values": {"axes": AXES | {"a": np.linspace(0.0, 1.1, 5)}},
    "dtype": {"axes": {k: v.astype(np.float32) for k, v in AXES.items()}},
    "length": {"axes": AXES | {"a": np.linspace(0.0, 1.0, 6)}},
    "configuration": {"configuration": {"n": 4}},
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_sweep_is_refused_and_nothing_is_touched(what, done):
    before = {p.name: p.read_bytes() for p in done.iterdir() if p.suffix in (".npz", ".json")}
    with pytest.raises(ValueError, match=r"`directory` must hold this sweep or nothing.*use another folder") as refusal:
        sweep(done, **({"fn": wave} | OTHERS[what]))
    assert "\n" not in str(refusal.value)
    assert before == {p.name: p.read_bytes() for p in done.iterdir() if p.suffix in (".npz", ".json")}


def make(scale, table):
    helper = lambda x: scale * x  # noqa: E731
    return lambda p: jax.lax.cond(p["a"] > 0, helper, lambda x: -x, p["b"]) + jnp.sum(jnp.asarray(table))


def program(fn):
    return identity.program_of(jax.make_jaxpr(jax.jit(fn))({"a": 1.0, "b": 2.0}))


def test_a_program_is_known_by_its_helpers_and_constants_and_not_by_its_comments():
    table = np.arange(5000.0)  # too long to be printed in full
    changed = table.copy()
    changed[2500] += 1e-9
    one = program(make(1.0, table))
    assert one == program(make(1.0, table.copy()))
    assert one != program(make(1.5, table))
    assert one != program(make(1.0, changed))
    assert one != program(make(1.0, table.astype(np.float32).astype(float)[:-1]))
    assert identity.name_of(functools.partial(make, 1.0)).endswith(".make")
    assert identity.source_of(make) != identity.source_of(program)


FINGERPRINT = """
import sys; sys.path.insert(0, sys.argv[1])
import jax; jax.config.update("jax_enable_x64", True)
from worker import VERBS, parameters
from jaxnum.ensemble import identity, members, devices
sweep = sys.modules["jaxnum.ensemble.sweep"]
who = members.as_members(parameters(3))
print(identity.program_of(sweep._look(VERBS["train"], who, devices.as_mesh(None))[0]))
"""


def test_a_program_has_one_fingerprint_in_every_process_on_any_number_of_devices():
    found = []
    for seed in (1, 2):
        more = {"PYTHONHASHSEED": str(seed), "JAX_NUM_CPU_DEVICES": str(seed), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", FINGERPRINT, str(KILLER.parent)]
        found.append(subprocess.run(command, capture_output=True, text=True, env=os.environ | more, timeout=600))
    assert found[0].returncode == 0, found[0].stderr
    assert len(found[0].stdout) == 65
    assert found[0].stdout == found[1].stdout


def test_under_another_jax_the_source_vouches_for_the_program(done):
    file = done / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["versions"]["jax"] = "0.9.0"
    manifest["program"] = "written otherwise"
    file.write_text(json.dumps(manifest))
    sweep(done)
    manifest["source"] = "changed"
    file.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="another function"):
        sweep(done)


def test_killed_at_random_moments_every_chunk_is_whole_and_every_resume_is_the_whole_sweep():
    command = [sys.executable, str(KILLER), "5"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stderr
    trials, found, _ = map(int, done.stdout.split())
    assert trials == 5
    assert 0 < found < 5 * 16, found  # some were killed before the end, and some chunks were there by then


# A limit on the size of files stops a write in the middle, as a full disk does.
FULL = """
import resource, signal, sys
import jax.numpy as jnp, numpy as np
from jaxnum import ensemble
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # two members fit, nine do not

def fn(n):
    return jnp.zeros(1000, jnp.float32) + n

def sweep(**options):
    return ensemble.sweep(fn, np.arange(9, dtype=np.float32), directory=sys.argv[1], **options)

try:
    sweep(chunk_size=2, progress=lambda done, _: 1 / (4 - done))  # stopped after two chunks
except ZeroDivisionError:
    pass
try:
    sweep(chunk_size=9)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sweep(chunk_size=2).value[:, 0].tolist())
"""


def test_a_full_disk_is_a_line_and_what_was_finished_stays(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "sweep")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stderr
    line, values = done.stdout.splitlines()
    assert "Members 4 to 8 could not be written" in line
    assert "keeps the 4 of 9" in line
    assert values == str([float(i) for i in range(9)])
    assert not list((tmp_path / "sweep").glob(".*.partial"))


def test_a_folder_that_cannot_be_written_or_made_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="is a file; give the name of a folder"):
        sweep(tmp_path / "file")
    with pytest.raises(OSError, match="cannot be made"):
        sweep(tmp_path / "file" / "sweep")
    (tmp_path / "shut").mkdir(mode=0o500)

    def refuse(path, *_args):  # whoever runs the tests as root may write everywhere
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=r"Nothing can be written into .*Permission denied") as refusal:
        sweep(tmp_path / "shut")
    assert "\n" not in str(refusal.value)


HOLDER = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
os.ftruncate(lock, 0)
os.pwrite(lock, b"process 7 on moon", 0)
print("held", flush=True)
input()
"""


def test_two_processes_on_one_folder_are_told_apart(done):
    command = [sys.executable, "-c", HOLDER, str(done / ".lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OSError, match="is in use by process 7 on moon; wait for it"):
            sweep(done)
        assert jaxnum.load(done).value["sum"].shape == (5, 3)  # reading is free
    finally:
        holder.kill()
        holder.communicate()
    sweep(done)  # the kernel has let go of the dead one's lock


def test_what_a_kill_left_behind_is_removed_at_the_next_start(done):
    left = [done / ".chunk-000000000000-000000000004.npz.abc.partial", done / ".manifest.json.x.partial"]
    for path in (*left, done / ".mine.partial"):
        path.write_bytes(b"half")
    sweep(done)
    assert not any(path.exists() for path in left)
    assert (done / ".mine.partial").exists()


def test_an_unfinished_sweep_says_how_far_it_is(done):
    (done / chunks(done)[1]).unlink()
    with pytest.raises(StoreError, match=r"holds 11 of 15 members; call ensemble.sweep again"):
        jaxnum.load(done)


# What follows believes nothing.


class Bomb:
    fired = False

    def __reduce__(self):
        return (_fire, ())


def _fire():
    Bomb.fired = True


def edited(path, **change):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


DAMAGE = {
    "truncated": lambda _d, c: c.write_bytes(c.read_bytes()[:-50]),
    "empty": lambda _d, c: c.write_bytes(b""),
    "pickle": lambda _d, c: c.write_bytes(pickle.dumps(Bomb())),
    "other members": lambda d, c: shutil.copy(d / chunks(d)[0], c),
    "twice": lambda d, c: shutil.copy(c, d / "chunk-000000000005-000000000007.npz"),
    "beyond the end": lambda d, c: c.rename(d / "chunk-000000000004-000000000999.npz"),
    "a pipe": lambda _d, c: (c.unlink(), os.mkfifo(c)),
    "a folder": lambda _d, c: (c.unlink(), c.mkdir()),
    "no manifest": lambda d, _c: (d / "manifest.json").unlink(),
    "manifest is a pipe": lambda d, _c: ((d / "manifest.json").unlink(), os.mkfifo(d / "manifest.json")),
    "manifest is no JSON": lambda d, _c: (d / "manifest.json").write_text("{"),
    "manifest is a list": lambda d, _c: (d / "manifest.json").write_text("[]"),
    "manifest is deep": lambda d, _c: (d / "manifest.json").write_text("[" * 100_000),
    "manifest is not UTF-8": lambda d, _c: (d / "manifest.json").write_bytes(b"\xff\xfe\xff"),
    "newer": lambda d, _c: edited(d / "manifest.json", schema=2),
    "another kind": lambda d, _c: edited(d / "manifest.json", kind="virus"),
    "huge": lambda d, _c: edited(d / "manifest.json", shape=[10**9, 10**9]),
    "negative": lambda d, _c: edited(d / "manifest.json", shape=[-5, -3]),
    "no axes": lambda d, _c: edited(d / "manifest.json", axes=["a"]),
    "same axes": lambda d, _c: edited(d / "manifest.json", axes=["a", "a"]),
    "no outputs": lambda d, _c: edited(d / "manifest.json", outputs=[["status"]]),
    "other outputs": lambda d, _c: edited(d / "manifest.json", outputs=[["status", [10**9], "float64"]]),
    "no structure": lambda d, _c: edited(d / "manifest.json", structure=None),
    "flat structure": lambda d, _c: edited(d / "manifest.json", structure={"array": "value.sum"}),
    "unknown structure": lambda d, _c: edited(d / "manifest.json", structure={"class": "os.system"}),
    "another sweep": lambda d, _c: edited(d / "manifest.json", sweep="other"),
    "parameters gone": lambda d, _c: (d / "parameters.npz").write_bytes(b""),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_and_hostile_folders_are_refused_in_a_line(what, done):
    DAMAGE[what](done, done / chunks(done)[1])
    with pytest.raises(StoreError) as refusal:
        jaxnum.load(done)
    assert "\n" not in str(refusal.value)
    assert not Bomb.fired


def test_a_chunk_with_other_numbers_is_seen_although_the_archive_is_sound(done):
    path = done / chunks(done)[1]
    arrays, meta = _store.read(path)
    arrays["value.sum"] = arrays["value.sum"] + 1e-16
    arrays["value.sum"][0] += 1.0
    _store.write(path, arrays, meta)
    for read in (jaxnum.load, sweep):
        with pytest.raises(StoreError, match="checksum does not match; delete it"):
            read(done)
    path.unlink()
    assert sweep(done).ok


def test_mutated_folders_give_errors_or_right_values(done, rng, tmp_path):
    right = jaxnum.load(done).value
    refused = 0
    for trial in range(60):
        copy = tmp_path / f"copy{trial}"
        shutil.copytree(done, copy)
        path = copy / (["manifest.json", "parameters.npz", *chunks(done)][trial % 6])
        data = bytearray(path.read_bytes())
        if trial % 3 == 0:
            data = data[: rng.integers(len(data))]
        elif trial % 3 == 1:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        else:
            at = rng.integers(len(data) - 8)
            data[at : at + 8] = rng.bytes(8)
        path.write_bytes(bytes(data))
        try:
            back = jaxnum.load(copy)
        except StoreError:
            refused += 1
            continue
        values = back.value if isinstance(back.value, dict) else {}
        # A name in the manifest may be another one now; a number never is.
        assert all(any(np.array_equal(v, r) for r in right.values()) for v in values.values())
    assert refused > 40, refused


def test_a_long_name_of_a_folder_is_a_line(tmp_path):
    with pytest.raises(OSError, match="cannot be made") as refusal:
        sweep(tmp_path / ("x" * 5000))
    assert "\n" not in str(refusal.value)


def test_folders_are_posix_only_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_folder, "fcntl", None)
    with pytest.raises(OSError, match="POSIX"):
        sweep(tmp_path)
