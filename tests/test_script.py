import json
import sys

import numpy as np
import pytest

from jaxnum import cli, script

SCRIPT = """
import numpy as np
print("the script talks")
data = np.array([1.0, 2.0, 4.0])
start = np.array([0.3, 0.1])
def loss(w):
    return np.mean((w[0] * data + w[1] - 1.0) ** 2)
def by_hand(w):
    error = w[0] * data + w[1] - 1.0
    return np.array([np.mean(error * data), np.mean(error)])
def right(w):
    return 2 * by_hand(w)
if __name__ == "__main__":
    raise SystemExit("this must not run")
"""
NAMES = {"loss": "loss", "gradient": "by_hand", "at": "start"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "random.py"  # the name of a module that others need
    path.write_text(SCRIPT)
    return str(path)


def diagnosed(monkeypatch, capsys, kind, file, names, plain=True):
    """Run what the process of its own runs, here."""
    order = {"kind": kind, "file": file, "names": names, "plain": plain}
    monkeypatch.setattr(sys, "argv", ["script", json.dumps(order)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        script.main()
    return stop.value.code, capsys.readouterr()


def test_a_script_is_diagnosed_in_a_process_of_its_own(file, capfd):
    with pytest.raises(SystemExit) as stop:
        cli.main(["diagnose", "gradient", file, "--loss=loss", "--gradient", "by_hand", "--at", "start", "--json"])
    assert stop.value.code == 1
    out, err = capfd.readouterr()
    found = json.loads(out)  # nothing but the report, although the script prints
    assert found["findings"][0]["code"] == "constant-factor"
    assert "process of its own, for at most 60 s" in err
    assert "the script talks" in err


def test_a_script_that_takes_too_long_is_stopped(tmp_path, capfd):
    path = tmp_path / "slow.py"
    path.write_text("import time\ntime.sleep(1000)\n")
    words = ["--loss=a", "--gradient=b", "--at=c", "--time-limit=0.2"]
    with pytest.raises(SystemExit) as stop:
        cli.main(["diagnose", "gradient", str(path), *words])
    assert stop.value.code == 2
    assert "was stopped after 0.2 s" in capfd.readouterr().err.splitlines()[-1]


def test_the_report_in_a_terminal(monkeypatch, capsys, file):
    code, said = diagnosed(monkeypatch, capsys, "gradient", file, NAMES, plain=False)
    assert code == 1
    assert "constant-factor" in said.out
    assert "Cure:" in said.out
    code, said = diagnosed(monkeypatch, capsys, "gradient", file, NAMES | {"gradient": "right"})
    assert (code, json.loads(said.out)["ok"]) == (0, True)


def test_a_step_size_of_a_script(monkeypatch, capsys, file):
    names = {"loss": "loss", "at": "start", "rate": "0.3"}
    code, said = diagnosed(monkeypatch, capsys, "step_size", file, names)
    assert code == 1
    x = np.array([1.0, 2.0, 4.0])
    largest = np.linalg.eigvalsh(2 * np.array([[np.mean(x**2), np.mean(x)], [np.mean(x), 1.0]]))[-1]
    np.testing.assert_allclose(json.loads(said.out)["findings"][0]["evidence"]["limit"], 2 / largest, rtol=1e-9)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"gradient": "by_hnd"}, "did you mean by_hand?"),
        ({"at": "strat"}, "did you mean start?"),
        ({"loss": "start"}, "must name a function"),
    ],
)
def test_a_misspelt_name_gets_one_line(monkeypatch, capsys, file, names, says):
    code, said = diagnosed(monkeypatch, capsys, "gradient", file, NAMES | names)
    assert code == 2
    assert says in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


def test_a_script_that_fails_is_told_with_its_line(monkeypatch, capsys, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import math\n\nx = math.sqrt(-1)\n")
    code, said = diagnosed(monkeypatch, capsys, "gradient", str(path), NAMES)
    assert code == 2
    [line] = said.err.strip().splitlines()
    assert "line 3" in line
    assert "ValueError: math domain error" in line


def test_several_parameters_by_name_and_by_function(monkeypatch, capsys, tmp_path):
    path = tmp_path / "two.py"
    path.write_text(
        "import numpy as np\na, b = 2.0, np.array([1.0, 3.0])\n"
        "def loss(a, b): return a**2 * np.sum(b**2)\n"
        "def gradient(a, b): return 2 * a * np.sum(b**2), 2 * a**2 * b\n"
        "def both(): return a, b\n"
    )
    for at in ("a,b", "both"):
        code, said = diagnosed(
            monkeypatch, capsys, "gradient", str(path), {"loss": "loss", "gradient": "gradient", "at": at}
        )
        assert code == 0, said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("gradint x.py", "did you mean gradient?"),
        ("gradient", "say what to diagnose"),
        ("gradient x.py --lss a", "did you mean --loss?"),
        ("gradient x.py --loss a", "needs --gradient, --at"),
        ("gradient x.py --loss a --gradient b --at c --time-limit soon", "need numbers"),
        ("gradient x.py --loss a --gradient b --at c --time-limit 0", "a positive --time-limit"),
        ("gradient no-such-file.py --loss a --gradient b --at c", "there is no file"),
    ],
)
def test_a_slip_gets_one_line(words, says, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["diagnose", *words.split()])
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert says in line
