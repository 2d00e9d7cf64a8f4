"""A user's own script on the bench: imported in a process of its own, with a time limit, and diagnosed there.

A script may do anything when it is imported, also compute for an hour or change how NumPy warns. So the command line
starts a second Python for it, stops that when the time is up, and only passes on what it says. What stands behind
`if __name__ == "__main__":` does not run.
"""

import contextlib
import difflib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from rich.console import Console

from jaxnum._precision import enable_x64
from jaxnum.diagnose import Diagnosis, gradient, step_size

# What each diagnosis asks a script for: flag and whether it can be left out.
WANTED = {
    "gradient": {"loss": True, "gradient": True, "at": True},
    "step_size": {"loss": True, "at": True, "rate": True, "gradient": False, "num-steps": False},
}
TIME_LIMIT = 60.0


def diagnose(
    kind: str, file: str, names: Mapping[str, str], *, time_limit: float = TIME_LIMIT, plain: bool = False
) -> int:
    """Diagnose a script in a process of its own and pass on what it says.

    Args:
        kind: Which diagnosis, a key of `WANTED`.
        file: Path of the script.
        names: What its objects are called, by flag.
        time_limit: Seconds after which the process is stopped.
        plain: Whether to print JSON instead of a report.

    Returns:
        Exit status: 0 when nothing is wrong, 1 when something is, 2 when it could not be told.
    """
    if not Path(file).is_file():
        _refuse(f"there is no file {file}")
    order = {"kind": kind, "file": file, "names": dict(names), "plain": plain}
    print(f"importing {file} in a process of its own, for at most {time_limit:g} s", file=sys.stderr)
    # A session of its own, so that what the script starts can be stopped with it.
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxnum.script", json.dumps(order)], start_new_session=os.name == "posix"
    )
    try:
        return process.wait(timeout=time_limit)
    except subprocess.TimeoutExpired:
        print(
            f'jaxnum: {file} was stopped after {time_limit:g} s; put its work behind `if __name__ == "__main__":`, '
            "or raise --time-limit",
            file=sys.stderr,
        )
        return 2
    finally:
        if process.poll() is None:
            _stop(process)


def _stop(process: subprocess.Popen) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


# In the process of its own --------------------------------------------------------------------------------------------


def main() -> None:
    """Import the script, diagnose what was asked for, and print it."""
    order = json.loads(sys.argv[1])
    enable_x64()
    # What the script prints must not get between the lines of the report.
    with contextlib.redirect_stdout(sys.stderr):
        module = _imported(order["file"])
        found = _diagnosed(order["kind"], module, order["names"], order["file"])
    if order["plain"]:
        print(found.to_json())
    else:
        Console().print(found)
    raise SystemExit(0 if found.ok else 1)


def _imported(file: str) -> dict[str, Any]:
    path = Path(file)
    sys.path.insert(0, str(path.parent.absolute()))
    # A name of its own: a script called random.py must not become everybody's `random`.
    name = f"_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        _refuse(f"{file} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        _refuse(f"{_where(error, path)} while it was imported: {_told(error)}")
    return vars(module)


def _where(error: BaseException, path: Path) -> str:
    """Return the last line of the script that an error passed through."""
    if isinstance(error, SyntaxError):
        return f"{path}, line {error.lineno},"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    return f"{path}, line {lines[-1]}, failed" if lines else f"{path} failed"


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _diagnosed(kind: str, module: dict[str, Any], names: Mapping[str, str], file: str) -> Diagnosis:
    loss = _function(module, "loss", names["loss"], file)
    at = _parameters(module, names["at"], file)
    try:
        if kind == "gradient":
            return gradient(loss, _function(module, "gradient", names["gradient"], file), at)
        claimed = _function(module, "gradient", names["gradient"], file) if "gradient" in names else None
        steps = int(names["num-steps"]) if "num-steps" in names else None
        return step_size(loss, at, _rate(module, names["rate"], file), gradient=claimed, num_steps=steps)
    except ValueError as error:
        _refuse(" ".join(str(error).split()))
    except Exception as error:
        _refuse(f"{_where(error, Path(file))}: {_told(error)}")


def _function(module: dict[str, Any], flag: str, name: str, file: str) -> Any:
    value = _found(module, flag, name, file, callable)
    if not callable(value):
        _refuse(f"--{flag} must name a function of {file}, but {name} is a {type(value).__name__}")
    return value


def _parameters(module: dict[str, Any], names: str, file: str) -> Any:
    """Return the parameters: one object, several as a tuple, or what a function without arguments returns."""
    found = []
    for name in names.split(","):
        value = _found(
            module, "at", name.strip(), file, lambda v: isinstance(v, np.ndarray | tuple | list | dict | float)
        )
        found.append(value() if callable(value) and not hasattr(value, "shape") else value)
    return tuple(found) if len(found) > 1 else found[0]


def _rate(module: dict[str, Any], text: str, file: str) -> Any:
    """Return a number, or the object of that name: a rate, an Optax transformation, an update function."""
    try:
        return float(text)
    except ValueError:
        return _found(module, "rate", text, file, lambda v: callable(v) or isinstance(v, float))


def _found(module: dict[str, Any], flag: str, name: str, file: str, likely: Any) -> Any:
    if name in module:
        return module[name]
    known = [k for k, v in module.items() if not k.startswith("_") and likely(v)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}."
    return _refuse(f"{file} has no {name!r} for --{flag}; {hint}")


def _refuse(words: str) -> NoReturn:
    print(f"jaxnum: {words}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
