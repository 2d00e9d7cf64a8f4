"""A sweep is the Python loop it replaces: on any devices, in any chunks, whatever becomes of single members."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from numpy.testing import assert_allclose, assert_array_equal

import jaxnum
from jaxnum import Solution, Status, ensemble, optimize
from jaxnum.ensemble import devices

WORKER = Path(__file__).with_name("worker.py")
# Every verb rounds alike in every batch; what is left are a few roundings where the compiler vectorizes otherwise.
SAME = 1e-14
module = sys.modules[ensemble.sweep.__module__]


def start(*words, num_devices):
    # As users compile: the shortcuts of this suite round otherwise in a loop than outside.
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(num_devices), "XLA_FLAGS": ""}
    env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
    command = [sys.executable, str(WORKER), *map(str, words)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process):
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return [line for line in out.splitlines() if not line.startswith("[Gloo]")]


def sine(p):
    return jnp.sin(p["a"]) * p["b"]


AXES = {"a": np.linspace(0.0, 1.0, 5), "b": np.linspace(-1.0, 2.0, 3)}


@pytest.mark.parametrize(("what", "num_devices"), [("sizes", 2), ("sizes and verbs", 8)])
def test_any_verb_with_any_number_of_members_in_any_chunks_equals_a_loop(what, num_devices):
    distances = [(name, float(d)) for name, d in map(str.split, finish(start(what, num_devices=num_devices)))]
    assert len(distances) >= 9
    for name, distance in distances:
        assert distance <= SAME, name


def test_two_processes_compute_one_sweep_keep_it_in_one_folder_and_finish_it(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [start(tmp_path / "sweep", rank, 2, port, num_devices=1) for rank in range(2)]
    first, second = (finish(rank) for rank in ranks)
    # Both see everything; where the first one refuses, the second does not wait for it forever.
    assert first[-1] == "ValueError"
    assert second[-1] == "RuntimeError"
    assert first[:-1] == second[:-1]
    assert max(map(float, first[:-1])) <= SAME, first
    assert jaxnum.load(tmp_path / "sweep").ok


def test_a_grid_has_named_axes_and_the_order_of_a_double_loop():
    solution = ensemble.sweep(sine, ensemble.grid(**AXES), chunk_size=4)
    assert solution.axes == ("a", "b")
    assert solution.value.shape == (5, 3)
    assert_allclose(solution.value, np.sin(AXES["a"])[:, None] * AXES["b"], rtol=1e-15)
    assert_array_equal(solution.history.parameters["b"], AXES["b"])


def test_axes_may_come_in_any_order_of_names():
    solution = ensemble.sweep(lambda p: p["z"] - p["a"], ensemble.grid(z=[1.0, 2.0], a=[0.5, 0.25, 0.125]))
    assert_array_equal(solution.value, np.array([[1.0], [2.0]]) - np.array([0.5, 0.25, 0.125]))


def test_there_is_one_compilation_and_one_trace():
    compiled, traced = [], []
    listen = lambda event, _, **what: compiled.append(what.get("fun_name")) if "backend_compile" in event else None  # noqa: E731

    def fn(x):
        traced.append(None)
        return x**3

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(2):  # a second sweep of the same function costs nothing
            ensemble.sweep(fn, np.arange(11.0), chunk_size=4)
            assert compiled.count("jit(_chunk)") == 1, compiled
            assert len(traced) == 1
        ensemble.sweep(jax.jit(eqx.debug.assert_max_traces(lambda x: x**5, max_traces=1)), np.arange(11.0))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_draws_depend_on_the_number_of_the_member_alone():
    key = jax.random.key(7)

    def sampler(key):
        return {"x": jax.random.normal(key, (2,), jnp.float64)}

    def fn(p):
        return p["x"]

    long = ensemble.sweep(fn, ensemble.draws(key, 11, sampler), chunk_size=4)
    short = ensemble.sweep(fn, ensemble.draws(key, 3, sampler), chunk_size=2)
    assert long.axes == ("draw",)
    assert_array_equal(long.value[:3], short.value)
    assert_allclose(long.history.parameters["x"], long.value, rtol=1e-15)
    alone = [sampler(jax.random.fold_in(key, i))["x"] for i in range(11)]
    assert_allclose(long.value, alone, rtol=SAME)
    # Without a sampler the member is given its key; what is recorded are its bits.
    bare = ensemble.sweep(lambda key: jax.random.normal(key, (2,), jnp.float64), ensemble.draws(key, 11))
    assert_allclose(bare.value, alone, rtol=SAME)
    assert bare.history.parameters.dtype == np.uint32


def test_failed_members_say_so_and_do_not_stop_the_others():
    valley = optimize.landscapes.rosenbrock(1.0, 2.0)

    def fn(p):
        return optimize.minimize(valley.fn, optax.sgd(p["rate"]), valley.y0, num_steps=20)

    solution = ensemble.sweep(fn, ensemble.grid(rate=[1e-3, 1e3, 1e-2, 1e3]))
    assert [Status(c).name for c in solution.status.code] == ["ok", "nonfinite", "ok", "nonfinite"]
    assert not solution.ok
    assert np.isfinite(solution.value[[0, 2]]).all()
    assert solution.history.value.shape == (4, 21)
    lines = ensemble.outcomes(solution).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["ok", "2"], ["nonfinite", "2"]]
    assert "rate 1000" in lines[2]


def test_a_value_that_is_not_finite_is_not_ok_whatever_it_says():
    def flatterer(x):
        return Solution(1 / x, jaxnum.History(), 0.0, 1, Status.ok)

    def nested(x):
        return {"inner": Solution(x, jaxnum.History(), 0.0, 1, Status.first((x > 1, Status.max_steps))), "n": 3}

    assert str(ensemble.sweep(flatterer, np.array([1.0, 0.0])).status) == "ok: 1, nonfinite: 1"
    assert str(ensemble.sweep(nested, np.array([1.0, 2.0])).status) == "ok: 1, max_steps: 1"
    plain = ensemble.sweep(lambda x: jnp.log(x), np.array([1.0, 0.0]))
    assert_array_equal(plain.residual, [0, np.inf])


def test_dtypes_stay_what_they_are():
    for dtype in (np.float32, np.float64, np.complex64, np.int32, bool):
        solution = ensemble.sweep(lambda x: x, np.ones(3, dtype))
        assert solution.value.dtype == dtype
        assert solution.residual.dtype == (np.float32 if dtype in (np.float32, np.complex64) else np.float64)


def test_a_given_mesh_is_used_whatever_its_axis_types():
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((1,), ("x",), (kind,))
        assert_array_equal(ensemble.sweep(jnp.square, np.arange(3.0), mesh=mesh).value, [0, 1, 4])


def test_progress_counts_members():
    seen = []
    ensemble.sweep(jnp.square, np.arange(10.0), chunk_size=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_a_table_of_outcomes_ends_a_sweep_with_a_bar(capsys):
    ensemble.sweep(lambda x: 1 / x, np.array([1.0, 0.0]), progress=True)
    assert "nonfinite  1        member 1 (0)" in capsys.readouterr().err


def test_when_memory_runs_out_the_chunk_is_halved_and_it_is_said_once(monkeypatch):
    real, sizes = module._chunk, []

    def full(rows, constants, **settings):
        sizes.append(len(rows[0]))
        if len(rows[0]) > 3:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return real(rows, constants, **settings)

    monkeypatch.setattr(module, "_chunk", full)
    with pytest.warns(RuntimeWarning, match="memory ran out.*chunk_size=") as said:
        solution = ensemble.sweep(jnp.square, np.arange(21.0), chunk_size=13)
    assert len(said) == 1
    assert sizes[:4] == [13, 7, 4, 2]
    assert_array_equal(solution.value, np.arange(21.0) ** 2)


def test_a_chunk_that_cannot_fit_is_never_started(monkeypatch):
    # Each member needs a matrix of 2 MB on the way that it does not return.
    def fn(x):
        matrix = jnp.sin(jnp.arange(250_000.0).reshape(500, 500) * x)
        return jnp.trace(matrix @ matrix @ matrix)

    monkeypatch.setattr(devices, "free_memory", lambda _mesh: 20_000_000)
    with pytest.warns(RuntimeWarning, match="GiB on a device"):
        solution = ensemble.sweep(fn, np.linspace(0.0, 1.0, 16))
    assert solution.ok


def test_an_error_that_is_not_about_memory_is_left_alone(monkeypatch):
    def broken(*_inputs, **_settings):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(module, "_chunk", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        ensemble.sweep(jnp.square, np.arange(3.0), chunk_size=2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ensemble.sweep(3, np.ones(2)), "`fn` must be a function"),
        (lambda: ensemble.sweep(jnp.square, {}), "`parameters` must hold at least one array"),
        (lambda: ensemble.sweep(jnp.square, 3.0), "`parameters` must have a leading axis"),
        (lambda: ensemble.sweep(jnp.square, np.ones(0)), "`parameters` must have at least one entry"),
        (lambda: ensemble.sweep(jnp.square, {"a": np.ones(2), "b": np.ones(3)}), "lengths differ: 2, and 3 at"),
        (lambda: ensemble.sweep(jnp.square, np.array(["x"])), "must be an array of numbers"),
        (lambda: ensemble.sweep(jnp.square, [[1.0], [1.0, 2.0]]), "leading axis"),
        (lambda: ensemble.sweep(jnp.square, jax.random.key(0)), "ensemble.draws"),
        (lambda: ensemble.sweep(jnp.square, np.ones(2), chunk_size=0), "`chunk_size` must be an integer"),
        (lambda: ensemble.sweep(jnp.square, np.ones(2), mesh=3), "`mesh` must be"),
        (lambda: ensemble.sweep(lambda _: "word", np.ones(2)), "`fn` must return arrays"),
        (lambda: ensemble.sweep(lambda _: None, np.ones(2)), "`fn` must return at least one array"),
        (lambda: ensemble.grid(), "`axes` must hold"),
        (lambda: ensemble.grid(a=[]), "`a` must have at least one entry"),
        (lambda: ensemble.draws(3, 2), "`key` must be one random key"),
        (lambda: ensemble.draws(jax.random.key(0), 0), "`num` must be"),
        (lambda: ensemble.draws(jax.random.key(0), 2, 3), "`sampler` must be a function"),
        (lambda: jax.jit(lambda x: ensemble.sweep(jnp.square, x).value)(np.ones(2)), "is traced"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(call, words):
    with pytest.raises(ValueError, match="must") as refusal:
        call()
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
