"""The command line as an experiment runner: files, flags, sweeps, and what becomes of slips."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxnum
from jaxnum import Diagnosis, _flags, cli, experiment
from jaxnum._checks import check_positive
from jaxnum.cases import CASES
from jaxnum.cases.measures import MEASURES, Measure
from jaxnum.cases.story import Chapter, Story


@dataclass(frozen=True)
class Config:
    rate: float = 0.1
    """A rate."""
    num: int = 3
    """A number."""
    loud: bool = False
    """Whether."""
    word: str = 'a "b" \\ ψ'
    """A word."""
    pair: tuple[float, float] = (1.0, 2.0)
    """Two."""

    def __post_init__(self):
        check_positive("rate", self.rate)


def measure(config):
    return {
        "power": jnp.asarray(config.rate, float) ** config.num,
        "root": jnp.sqrt(1 - jnp.asarray(config.rate, float)),
    }


def run(config, _tell):
    if config.rate == 0.25:
        raise ValueError("a quarter\nis too much")
    facts = {f"at {config.rate:g}: power": config.rate**config.num, "words": "none", "many": (1.0, 2.0), "flag": True}
    return Story("toy", "Toy", Chapter(("x",), facts), Chapter(("y",)), Chapter(("z",)), (Diagnosis("d", ()),), {})


@pytest.fixture(params=["measured", "told"])
def toy(request, monkeypatch):
    monkeypatch.setattr(cli, "CASES", {"toy": SimpleNamespace(Config=Config, run=run)})
    known = {"toy": Measure(measure, frozenset({"rate"}))} if request.param == "measured" else {}
    monkeypatch.setattr(cli, "MEASURES", known)
    return request.param


def refusal(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    [line] = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith("members:")]
    return line


def test_a_sweep_over_two_fields_leaves_numbers_maps_and_settings(toy, tmp_path, capsys):
    words = ["run", "toy", "--out", str(tmp_path), "--sweep", "num=2,3", "--sweep", "rate=0.01:1:3:log"]
    cli.main(words)
    said = capsys.readouterr()
    assert "6 members" in said.out
    assert "members: 6 of 6" in said.err
    back = jaxnum.load(tmp_path / "toy" / "sweep.npz")
    assert back.axes == ("num", "rate")
    power = back.value["power" if toy == "measured" else "at #: power"]
    assert_allclose(power, np.geomspace(0.01, 1.0, 3) ** np.array([[2], [3]]), rtol=1e-14)
    assert back.ok
    pictures = [p.read_bytes()[:4] for p in (tmp_path / "toy").glob("sweep-*.png")]
    assert pictures == [b"\x89PNG"] * (2 if toy == "measured" else 1)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "toy" / "sweep").rglob("*-*")}
    # What is finished is not computed again, and the effective settings are a file that says the same once more.
    cli.main(["run", "toy", "--out", str(tmp_path), "--config", str(tmp_path / "toy" / "sweep.toml")])
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "toy" / "sweep").rglob("*-*")}
    assert_array_equal(
        jaxnum.load(tmp_path / "toy" / "sweep.npz").value["power" if toy == "measured" else "at #: power"], power
    )
    assert "another" in refusal(capsys, *words, "--word", "other")


def test_members_that_fail_do_not_stop_the_others(toy, tmp_path, capsys):
    cli.main(["run", "toy", "--out", str(tmp_path), "--sweep", "rate=0.25,0.5,2"])
    said = capsys.readouterr()
    back = jaxnum.load(tmp_path / "toy" / "sweep.npz")
    assert str(back.status) == ("ok: 2, nonfinite: 1" if toy == "measured" else "ok: 2, failed: 1")
    assert f"{'ok':9}  2" in said.out or "ok       2" in said.out
    assert ("first error: a quarter is too much" in said.err) == (toy == "told")


def test_the_precision_is_that_of_the_flag(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "CASES", {"toy": SimpleNamespace(Config=Config, run=run)})
    monkeypatch.setattr(cli, "MEASURES", {"toy": Measure(measure, frozenset({"rate"}))})
    cli.main(
        ["run", "toy", "--out", str(tmp_path), "--precision", "float32", "--device", "cpu", "--sweep", "rate=0.5,1"]
    )
    assert jaxnum.load(tmp_path / "toy" / "sweep.npz").value["power"].dtype == np.float32
    assert jax.config.jax_enable_x64  # here as before


def test_a_file_says_what_flags_may_override(tmp_path):
    path = tmp_path / "run.toml"
    settings = Config(rate=0.3, num=7, loud=True, pair=(3.0, 4.5))
    path.write_text(experiment.write_config(settings, {"run": {"out": "x"}, "sweep": {}}), encoding="utf-8")
    back, tables = experiment.read_config(path, Config)
    assert back == settings
    assert tables == {"run": {"out": "x"}, "sweep": {}}
    record = CASES["adam_rosenbrock"].Config
    assert _flags.configuration("adam_rosenbrock", record, ["--num-steps", "7"], record(x0=1.0)).x0 == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ratee = 0.1", "there is no setting 'ratee'; did you mean rate?"),
        ("rate = 'x'", "`rate` must be a number, but is 'x'"),
        ("num = 2.5", "`num` must be an integer, but is 2.5"),
        ("num = true", "`num` must be an integer, but is True"),
        ("loud = 1", "`loud` must be true or false, but is 1"),
        ("rate = nan", "`rate` must be a finite positive number"),
        ("rate = ", "is no TOML"),
        ("[run]\nprecison = 'float32'", "there is no run setting 'precison'; did you mean precision?"),
        ("[run]\nprecision = 'half'", "`precision` must be float64 or float32, but is 'half'"),
        ("[run]\nout = 3", "`out` must be text, but is 3"),
        ("run = 3", "`run` must be a table"),
        ("[sweep]\nrat = '0:1:3'", "there is no numeric setting 'rat' to sweep; did you mean rate?"),
        ("[" * 5000, "is no TOML"),
    ],
)
def test_a_slip_in_a_file_is_a_line(text, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "CASES", {"toy": SimpleNamespace(Config=Config, run=run)})
    (tmp_path / "run.toml").write_text(text)
    assert words in refusal(capsys, "run", "toy", "--config", str(tmp_path / "run.toml"))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--sweep", "rat=0:1:3"], "did you mean rate?"),
        (["--sweep", "loud=0,1"], "there is no numeric setting 'loud'"),
        (["--sweep", "rate"], "--sweep needs field=start:stop:num"),
        (["--sweep", "rate=1:2"], "say start:stop:num"),
        (["--sweep", "rate=0:1:3:log"], "positive ends"),
        (["--sweep", "rate=1:2:3:lin"], "say start:stop:num"),
        (["--sweep", "rate=1:2:99999999999"], "say start:stop:num"),
        (["--sweep", "rate=1,nan"], "say start:stop:num"),
        (["--sweep", "num=1,2.5"], "num takes integers"),
        (["--sweep", "rate=-1,1"], "`rate` must be a finite positive number, but is -1"),
        (["--sweep", "rate=1,2", "--sweep", "rate=1,2"], "names `rate` twice"),
        (["--sweep", "rate=1:2:9999", "--sweep", "num=1:9999:9999"], "at most"),
        (["--sweep"], "--sweep needs FIELD=START:STOP:NUM"),
        (["--precision", "half"], "--precision takes float64 or float32, not 'half'"),
        (["--device", "tpu"], "--device takes cpu or gpu, not 'tpu'"),
        (["--device", "gpu", "--sweep", "rate=1,2"], "--device gpu: JAX finds none here"),
        (["--distributed"], "--distributed shares a --sweep out"),
        (["--coordinator", "a:1"], "--coordinator goes with --distributed"),
        (["--distributed", "--process-id", "x"], "--process-id needs a number"),
        (["--config", "nowhere.toml"], "There is no file nowhere.toml"),
        (["--swep", "rate=1,2"], "did you mean --sweep?"),
    ],
)
def test_a_slip_in_a_flag_is_a_line(words, hint, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cli, "CASES", {"toy": SimpleNamespace(Config=Config, run=run)})
    monkeypatch.chdir(tmp_path)
    if "gpu" in words and any(d.platform != "cpu" for d in jax.devices()):
        pytest.skip("there is one")
    assert hint in refusal(capsys, "run", "toy", *words)


def test_a_damaged_result_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "CASES", {"toy": SimpleNamespace(Config=Config, run=run)})
    words = ["run", "toy", "--out", str(tmp_path), "--sweep", "rate=0.5,1"]
    cli.main(words)
    capsys.readouterr()
    member = tmp_path / "toy" / "sweep" / "member-00000001.json"
    for text in ("{", json.dumps({"facts": [1]}), json.dumps({"facts": {"a": "b"}, "error": None}), "[]"):
        member.write_text(text)
        assert "is damaged; delete it" in refusal(capsys, *words)


def test_the_cache_is_kept_where_it_is_said(tmp_path, monkeypatch):
    names = ("cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    keys = ["jax_compilation_" + names[0], *("jax_" + n for n in names[1:])]
    before = {k: getattr(jax.config, k) for k in keys}
    monkeypatch.setattr(cli, "CASES", {"toy": SimpleNamespace(Config=Config, run=run)})
    try:
        with _flags.prepared({"--cache": str(tmp_path / "cache")}):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
    finally:
        for key, value in before.items():
            jax.config.update(key, value)


def by_hand(name, config):
    """Return what the NumPy script of a story finds for some of the numbers that are measured."""
    story = CASES[name]
    if name == "adam_rosenbrock":

        def last(update, **settings):
            x, y = story.script(update, (config.x0, config.y0), config.num_steps, **settings)[-1]
            return (1 - x) ** 2 + 2 * (y - x**2) ** 2

        momentum = last(story.momentum_update, rate=config.momentum_rate, beta=config.momentum)
        adam = last(story.adam_update, rate=config.adam_rate)
        return {"last value of Adam": adam, "last value of momentum": momentum}
    if name == "momentum_network":
        rules = {"as the script": story.claimed_gradients, "along the gradient": story.right_gradients}
        settings = config.step, config.momentum, config.num_steps
        return {f"last loss, {k}": story.loss(*story.script(*story.weights(0), g, *settings)) for k, g in rules.items()}
    if name == "polynomial_descent":
        x, y = story.samples(config.num_samples, config.seed)
        features = np.vander(x, config.degree + 1, increasing=True)
        c = story.script(features, y, config.learning_rate, config.num_steps)[-1]
        return {"last loss": np.mean((features @ c - y) ** 2)}
    return {}


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_the_same_traced_and_plain(name):
    record, known = CASES[name].Config, MEASURES[name]
    small = {
        "free_packet": {"num_points": 101, "num_steps": 8, "half_length": 20.0, "t1": 1.0},
        "adam_rosenbrock": {"num_steps": 10},
        "polynomial_descent": {"num_steps": 10},
        "momentum_network": {"num_steps": 200},
        "noisy_iteration": {"num_points": 1000, "num_passes": 4},
    }[name]
    config = record(**small)
    fields = {k: jnp.asarray(getattr(config, k), float) for k in known.traced}
    traced = jax.jit(lambda p: known.fn(experiment._with(config, p)))(fields)
    if name == "free_packet":  # two propagations, which take long to compile once more
        assert traced["distance from the exact packet, order 4"] < traced["distance from the exact packet, order 2"]
        return
    plain = known.fn(config)
    assert traced.keys() == plain.keys()
    for words in plain:
        assert_allclose(traced[words], plain[words], rtol=1e-9, atol=1e-14, err_msg=words)
        assert np.isfinite(plain[words]), words
    for words, number in by_hand(name, config).items():
        # Rounding grows along an unstable descent: ten steps of the polynomial multiply it by a few thousand.
        assert_allclose(plain[words], number, rtol=1e-11, err_msg=words)
