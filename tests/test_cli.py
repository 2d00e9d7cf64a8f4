import json
from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from jaxnum import Diagnosis, Finding, _store, cli
from jaxnum.cases import CASES
from jaxnum.cases.story import Chapter, Picture, Story
from jaxnum.plot import canvas


def refusal(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


def test_list_names_every_case_on_a_line(capsys):
    cli.main(["list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(CASES)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rum", "all"], "did you mean run?"),
        (["run", "adam_rosenbruck"], "did you mean adam_rosenbrock?"),
        (["run", "adam_rosenbrock", "--num-step", "3"], "did you mean --num-steps?"),
        (["run", "adam_rosenbrock", "--num-steps", "-3"], "num_steps"),
        (["run"], "say which case"),
        (["run", "all", "--num-steps", "3"], "flags belong to one case"),
        (["run", "all", "--out"], "needs a folder"),
        (["list", "more"], "nothing can follow"),
        (["info", "more"], "nothing can follow"),
    ],
)
def test_a_slip_gets_one_line_with_the_nearest_right_word(words, hint, capsys):
    assert hint in refusal(capsys, *words)


def test_info_says_versions_devices_and_precision(capsys):
    cli.main(["info"])
    out = capsys.readouterr().out
    for word in ("jax ", "devices", "precision", "python"):
        assert word in out


def small_story(name, _config, _tell):
    def draw():
        paper, ax = canvas.figure()
        ax.plot([0, 1], [0, 1])
        return paper

    chapter = Chapter(
        ("Some <words>.",), {"a number": 1.5, "three": (1.0, 2.0, 3.0)}, (), (Picture("p", "A line.", draw),)
    )
    diagnosis = Diagnosis("a thing", (Finding("broken", "It is < broken.", {"x": float("nan")}, "Mend it."),), ("n",))
    plain = Chapter(("Words.",))
    return Story(name, "A title", chapter, plain, plain, (diagnosis,), {"x": np.arange(3.0)})


@pytest.fixture
def two_small_cases(monkeypatch):
    config = CASES["adam_rosenbrock"].Config
    small = {n: SimpleNamespace(Config=config, run=partial(small_story, n)) for n in ("one", "two")}
    monkeypatch.setattr(cli, "CASES", small)
    return small


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, _tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href")]


def test_a_run_leaves_arrays_findings_settings_figures_and_one_page(two_small_cases, tmp_path, capsys):
    cli.main(["run", "all", "--out", str(tmp_path / "runs")])
    out = capsys.readouterr().out
    assert "compiling" in out
    assert "broken" in out
    for name in two_small_cases:
        folder = tmp_path / "runs" / name
        files = {p.name for p in folder.iterdir()}
        assert files == {"arrays.npz", "findings.json", "configuration.json", "configuration.toml", "p.png"}
        assert (folder / "p.png").read_bytes()[:4] == b"\x89PNG"
        assert json.loads((folder / "findings.json").read_text())["diagnoses"][0]["findings"][0]["code"] == "broken"
        np.testing.assert_array_equal(_store.load(folder / "arrays.npz", kind="story")[0]["x"], np.arange(3.0))
    page = (tmp_path / "runs" / "report.html").read_text()
    links = Links()
    links.feed(page)
    # Self-contained: every link stays on the page or is the picture itself.
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links.found), links.found
    assert "Some &lt;words&gt;." in page


def test_an_interrupted_run_keeps_what_is_finished_and_nothing_half_written(two_small_cases, tmp_path, capsys):
    def interrupted(_config, _tell):
        raise KeyboardInterrupt

    two_small_cases["two"].run = interrupted
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "all", "--out", str(tmp_path)])
    assert stop.value.code == 130
    assert "stopped" in capsys.readouterr().err
    assert (tmp_path / "one" / "arrays.npz").exists()
    assert not (tmp_path / "two").exists()
    assert not list(tmp_path.rglob("*.partial"))
