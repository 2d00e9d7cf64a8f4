"""The flags of the command line: those of every run, those of a case, and how JAX starts by them."""

import contextlib
import difflib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import jax
import tyro
from jax.sharding import AxisType

from jaxnum import experiment

# Flags that belong to every run, with the word for what they need; the rest belong to a case.
_NEEDS = {
    "--out": "a folder",
    "--config": "a file",
    "--sweep": "FIELD=START:STOP:NUM",
    "--precision": "float64 or float32",
    "--device": "cpu or gpu",
    "--cache": "a folder",
    "--coordinator": "HOST:PORT",
    "--num-processes": "a number",
    "--process-id": "a number",
}
CHOICES = {"--precision": ("float64", "float32"), "--device": ("cpu", "gpu")}


def split(flags: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Take the flags that belong to every run from those of a case."""
    options: dict[str, Any] = {}
    rest, left = [], list(flags)
    while left:
        word, equals, value = left.pop(0).partition("=")
        flag = word.replace("_", "-")
        if flag == "--distributed":
            options[flag] = True
        elif flag in _NEEDS:
            if not equals:
                if not left or left[0].startswith("--"):
                    refuse(f"{flag} needs {_NEEDS[flag]}")
                value = left.pop(0)
            if flag == "--sweep":
                options.setdefault(flag, []).append(value)
            else:
                options[flag] = value
        else:
            rest.append(f"{word}{equals}{value}")
    for flag, known in CHOICES.items():
        if flag in options and options[flag] not in known:
            refuse(f"{flag} takes {' or '.join(known)}, not {options[flag]!r}")
    for flag in ("--coordinator", "--num-processes", "--process-id"):
        if flag in options and "--distributed" not in options:
            refuse(f"{flag} goes with --distributed")
        if flag in options and flag != "--coordinator" and not str(options[flag]).isdigit():
            refuse(f"{flag} needs a number, not {options[flag]!r}")
    return options, rest


def merged(options: dict[str, Any], table: dict[str, Any], file: str) -> dict[str, Any]:
    """Return the options with those that the file adds; flags win."""
    known = ("out", "precision", "device", "cache")
    for key, value in table.items():
        if key not in known:
            refuse(f"{file}: there is no run setting {key!r}; {experiment.nearest(key, known)}")
        if not isinstance(value, str):
            refuse(f"{file}: `{key}` must be text, but is {value!r}")
        choices = CHOICES.get(f"--{key}", (value,))
        if value not in choices:
            refuse(f"{file}: `{key}` must be {' or '.join(choices)}, but is {value!r}")
    return {f"--{k}": v for k, v in table.items()} | options


def read_axes(words: list[str] | None, table: dict[str, Any], record: type) -> list[experiment.Axis]:
    """Return the axes of a sweep: those of the flags, or, when there are none, those of the file."""
    if words is None:
        lists = {k: ",".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in table.items()}
        words = [f"{k}={v}" for k, v in lists.items()]
    return [experiment.read_axis(w, record) for w in words]


def configuration(name: str, record: type, flags: list[str], base: Any = None) -> Any:
    """Return the frozen configuration of a case, or the one of a file, with its flags applied."""
    known = [f"--{f.name.replace('_', '-')}" for f in fields(record)]
    known += [f"--no-{f.name.replace('_', '-')}" for f in fields(record) if f.type is bool]
    for flag in flags:
        word = flag.split("=")[0].replace("_", "-")
        if flag.startswith("--") and word not in (*known, "--help"):
            refuse_word(f"flag of {name}", word, (*known, *_NEEDS, "--distributed"))
    boxed = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxed):
            return tyro.cli(record, args=flags, prog=f"jaxnum run {name}", default=record() if base is None else base)
    except SystemExit as stop:
        if stop.code in (0, None):  # --help
            raise
    # tyro explains in a box of several lines; the house says it in one.
    lines = [line.strip("│╭╮╰╯─ \t") for line in boxed.getvalue().splitlines()]
    words = [line for line in lines if line and "options" not in line.lower() and "--help" not in line]
    return refuse(" ".join(words).removeprefix("Value error Error parsing Config: "))


@contextlib.contextmanager
def prepared(options: dict[str, Any]) -> Iterator[Any]:
    """Start JAX as the options say, and give the mesh of the devices that are meant."""
    if "--distributed" in options:
        given = {
            "coordinator_address": options.get("--coordinator"),
            "num_processes": _whole(options.get("--num-processes")),
            "process_id": _whole(options.get("--process-id")),
        }
        try:
            jax.distributed.initialize(**{k: v for k, v in given.items() if v is not None})
        except (ValueError, RuntimeError) as error:
            refuse(f"--distributed: {' '.join(str(error).split())[:300]}")
    if "--cache" in options:
        jax.config.update("jax_compilation_cache_dir", str(Path(options["--cache"]).absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    mesh = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(options.get("--precision") != "float32"))
        if device := options.get("--device"):
            try:
                found, here = jax.devices(device), jax.local_devices(backend=device)
            except RuntimeError:
                refuse(f"--device {device}: JAX finds none here; it has {', '.join(map(str, jax.devices()))}")
            mesh = jax.make_mesh((len(found),), ("members",), (AxisType.Auto,), devices=found)
            stack.enter_context(jax.default_device(here[0]))
        yield mesh


def _whole(text: str | None) -> int | None:
    return None if text is None else int(text)


def refuse_word(kind: str, word: str, known: Sequence[str]) -> NoReturn:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    refuse(f"there is no {kind} {word!r}; {hint}")


def refuse(words: str) -> NoReturn:
    print(f"jaxnum: {words}", file=sys.stderr)
    raise SystemExit(2)
