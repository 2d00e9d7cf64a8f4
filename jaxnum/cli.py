"""The command line: words and flags, nothing else.

jaxnum list                                       the cases, a line each
jaxnum run NAME|all [--out DIR] [--flag value]    arrays, figures, findings and report.html
jaxnum info                                       versions, devices, precision
"""

import contextlib
import difflib
import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn

import jax
import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from jaxnum import _store, report
from jaxnum._precision import enable_x64
from jaxnum.cases import CASES
from jaxnum.cases.story import Story

_USAGE = (
    "usage: jaxnum list | jaxnum run NAME|all [--out DIR] [--flag value ...] | jaxnum info\n"
    "       jaxnum run NAME --help shows the flags of a case"
)
_COMMANDS = ("list", "run", "info")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every refusal is one line on standard error and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return
    command, *rest = words
    if command not in _COMMANDS:
        _refuse_word("command", command, _COMMANDS)
    try:
        {"list": _list, "run": _run, "info": _info}[command](rest)
    except KeyboardInterrupt:
        print("jaxnum: stopped; what was finished is kept, nothing is half-written.", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        _refuse(str(error))


def _list(rest: list[str]) -> None:
    _no_more(rest)
    for name, module in CASES.items():
        print(f"{name:20} {(module.__doc__ or '').strip().splitlines()[0]}")


def _info(rest: list[str]) -> None:
    _no_more(rest)
    enable_x64()
    for name, version in _store.versions().items():
        print(f"{name:12} {version}")
    print(f"{'devices':12} {', '.join(str(d) for d in jax.devices())}")
    print(f"{'precision':12} float64 here; in Python float32 until jaxnum.enable_x64() is called")


def _run(rest: list[str]) -> None:
    if not rest or rest[0].startswith("-"):
        _refuse(f"say which case to run: {', '.join(CASES)} or all")
    name, *flags = rest
    if name != "all" and name not in CASES:
        _refuse_word("case", name, (*CASES, "all"))
    out, flags = _take_out(flags)
    names = tuple(CASES) if name == "all" else (name,)
    configurations = {n: _configuration(n, flags if name != "all" else []) for n in names}
    if name == "all" and flags:
        _refuse(f"`run all` takes --out alone, not {flags[0]}; flags belong to one case")
    enable_x64()
    out.mkdir(parents=True, exist_ok=True)
    compiling = _watch_compilation()
    start = time.perf_counter()
    results = []
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:20}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console) as bar:
        for n in names:
            results.append(_tell(n, configurations[n], out / n, bar))
    page = report.page(results, versions=_store.versions(), device=str(jax.devices()[0].device_kind))
    _store.write_text(out / "report.html", page)
    seconds = time.perf_counter() - start
    _summary(results)
    share = sum(compiling) / seconds
    print(f"{seconds:.1f} s in all, {sum(compiling):.1f} s of it tracing and compiling ({share:.0%})")
    print(f"open {out / 'report.html'}")


def _tell(name: str, configuration: Any, folder: Path, bar: Progress) -> report.Result:
    """Run one story and write its folder."""
    start = time.perf_counter()
    task = bar.add_task(name, total=1.0, doing="starting")

    def tell(fraction: float, doing: str) -> None:
        bar.update(task, completed=0.85 * fraction, doing=escape(doing))

    story = CASES[name].run(configuration, tell)
    bar.update(task, completed=0.85, doing="drawing")
    pictures = {p.name: _png(p.draw()) for c in _chapters(story) for p in c.pictures}
    bar.update(task, completed=0.95, doing="writing")
    settings = {k: _plain(v) for k, v in asdict(configuration).items()}
    folder.mkdir(exist_ok=True)
    _store.save(folder / "arrays.npz", dict(story.arrays), kind="story", configuration=settings)
    findings = {"case": name, "title": story.title, "diagnoses": [d.to_dict() for d in story.diagnoses]}
    _store.write_text(folder / "findings.json", json.dumps(findings, indent=2, ensure_ascii=False) + "\n")
    _store.write_text(folder / "configuration.json", json.dumps(settings, indent=2) + "\n")
    for file, png in pictures.items():
        _store.write_atomically(folder / f"{file}.png", lambda f, png=png: f.write(png))
    bar.update(task, completed=1.0, doing="done")
    return report.Result(story, pictures, settings, time.perf_counter() - start)


def _summary(results: list[report.Result]) -> None:
    table = RichTable("case", "what was found", "seconds", title=None)
    for result in results:
        codes = [f.code for d in result.story.diagnoses for f in d.findings]
        table.add_row(result.story.name, ", ".join(dict.fromkeys(codes)) or "nothing", f"{result.seconds:.1f}")
    Console().print(table)


def _configuration(name: str, flags: list[str]) -> Any:
    """Return the frozen configuration of a case with its flags applied."""
    record = CASES[name].Config
    known = [f"--{f.name.replace('_', '-')}" for f in fields(record)]
    known += [f"--no-{f.name.replace('_', '-')}" for f in fields(record) if f.type is bool]
    for flag in flags:
        word = flag.split("=")[0].replace("_", "-")
        if flag.startswith("--") and word not in (*known, "--help"):
            _refuse_word(f"flag of {name}", word, (*known, "--out"))
    boxed = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxed):
            return tyro.cli(record, args=flags, prog=f"jaxnum run {name}")
    except SystemExit as stop:
        if stop.code in (0, None):  # --help
            raise
    # tyro explains in a box of several lines; the house says it in one.
    lines = [line.strip("│╭╮╰╯─ \t") for line in boxed.getvalue().splitlines()]
    words = [line for line in lines if line and "options" not in line.lower() and "--help" not in line]
    _refuse(" ".join(words).removeprefix("Value error Error parsing Config: "))


def _take_out(flags: list[str]) -> tuple[Path, list[str]]:
    """Take `--out DIR` from the flags."""
    for i, flag in enumerate(flags):
        if flag == "--out":
            if i + 1 == len(flags):
                _refuse("--out needs a folder")
            return Path(flags[i + 1]), flags[:i] + flags[i + 2 :]
        if flag.startswith("--out="):
            return Path(flag.removeprefix("--out=")), flags[:i] + flags[i + 1 :]
    return Path("jaxnum-runs"), flags


def _watch_compilation() -> list[float]:
    """Return a list to which JAX adds the seconds of every tracing and compilation from here on."""
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seconds


def _chapters(story: Story) -> tuple:
    return story.symptom, story.diagnosis, story.cure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _plain(x: Any) -> Any:
    return list(x) if isinstance(x, tuple) else x


def _no_more(rest: list[str]) -> None:
    if rest:
        _refuse(f"nothing can follow here, but {rest[0]!r} does")


def _refuse_word(kind: str, word: str, known: Sequence[str]) -> NoReturn:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    _refuse(f"there is no {kind} {word!r}; {hint}")


def _refuse(words: str) -> NoReturn:
    print(f"jaxnum: {words}", file=sys.stderr)
    raise SystemExit(2)
