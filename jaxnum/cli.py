"""The command line: words and flags, nothing else.

jaxnum list                                       the cases, a line each
jaxnum run NAME|all [--out DIR] [--flag value]    arrays, figures, findings and report.html
jaxnum run NAME --sweep FIELD=START:STOP:NUM ...  numbers of a case for many settings
jaxnum diagnose gradient FILE.py --loss NAME --gradient NAME --at NAME    what is wrong in a script of your own
jaxnum info                                       versions, devices, precision
"""

import io
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from jaxnum import _flags, _store, ensemble, experiment, report, script
from jaxnum._precision import enable_x64
from jaxnum._status import Status
from jaxnum.cases import CASES
from jaxnum.cases.measures import MEASURES
from jaxnum.cases.story import Story
from jaxnum.plot import canvas
from jaxnum.plot import sweep as plot_sweep

_USAGE = (
    "usage: jaxnum list | jaxnum run NAME|all [--out DIR] [--flag value ...] | jaxnum info\n"
    "       jaxnum diagnose gradient FILE.py --loss NAME --gradient NAME --at NAME[,NAME ...]\n"
    "       jaxnum diagnose step_size FILE.py --loss NAME --at NAME --rate NUMBER|NAME [--gradient NAME]\n"
    "       diagnose takes --time-limit SECONDS and --json; it imports FILE.py in a process of its own\n"
    "       jaxnum run NAME --help shows the flags of a case\n"
    "for every run:\n"
    "  --out DIR                      where results go; jaxnum-runs by default\n"
    "  --config FILE.toml             settings of the case, and of this list under [run]; flags override them\n"
    "  --sweep FIELD=START:STOP:NUM   many runs over a numeric field; :log for a logarithmic axis, or FIELD=1,2,5;\n"
    "                                 again for another axis. The same command goes on where it was killed\n"
    "  --precision float64|float32    float64 by default\n"
    "  --device cpu|gpu               what JAX prefers by default\n"
    "  --cache DIR                    keep compiled programs there; DIR must be yours alone: it holds code\n"
    "  --distributed                  one of several processes, found by JAX under SLURM, Open MPI and Kubernetes;\n"
    "                                 elsewhere --coordinator HOST:PORT --num-processes N --process-id I say it"
)
_COMMANDS = ("list", "run", "diagnose", "info")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every refusal is one line on standard error and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return
    command, *rest = words
    if command not in _COMMANDS:
        _flags.refuse_word("command", command, _COMMANDS)
    try:
        {"list": _list, "run": _run, "diagnose": _diagnose, "info": _info}[command](rest)
    except KeyboardInterrupt:
        print("jaxnum: stopped; what was finished is kept, nothing is half-written.", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        _flags.refuse(str(error))


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


def _diagnose(rest: list[str]) -> None:
    if len(rest) < 2 or rest[1].startswith("-"):
        _flags.refuse(f"say what to diagnose and where: {' or '.join(script.WANTED)}, then FILE.py")
    kind, file, *left = rest
    if kind not in script.WANTED:
        _flags.refuse_word("diagnosis of a script", kind, tuple(script.WANTED))
    wanted, names, plain, limit = script.WANTED[kind], {}, False, script.TIME_LIMIT
    while left:
        flag, equals, value = left.pop(0).partition("=")
        name = flag.removeprefix("--").replace("_", "-")
        if flag == "--json":
            plain = True
            continue
        if not flag.startswith("--") or name not in (*wanted, "time-limit"):
            _flags.refuse_word(
                f"flag of diagnose {kind}", flag, tuple(f"--{n}" for n in (*wanted, "time-limit", "json"))
            )
        if not equals:
            if not left:
                _flags.refuse(f"{flag} needs a value")
            value = left.pop(0)
        names[name] = value
    try:
        limit = float(names.pop("time-limit", limit))
        int(names.get("num-steps", 1))
    except ValueError:
        _flags.refuse("--time-limit and --num-steps need numbers")
    missing = [f"--{n}" for n, needed in wanted.items() if needed and n not in names]
    if missing or not limit > 0:
        _flags.refuse(f"diagnose {kind} needs {', '.join(missing) or 'a positive --time-limit'}")
    raise SystemExit(script.diagnose(kind, file, names, time_limit=limit, plain=plain))


def _run(rest: list[str]) -> None:
    if not rest or rest[0].startswith("-"):
        _flags.refuse(f"say which case to run: {', '.join(CASES)} or all")
    name, *flags = rest
    if name != "all" and name not in CASES:
        _flags.refuse_word("case", name, (*CASES, "all"))
    options, flags = _flags.split(flags)
    if name == "all":
        if alone := flags[:1] or [f for f in ("--config", "--sweep", "--distributed") if f in options]:
            _flags.refuse(f"`run all` takes --out alone, not {alone[0]}; flags belong to one case")
        configurations = {n: CASES[n].Config() for n in CASES}
    else:
        base, swept = None, {}
        if "--config" in options:
            base, tables = experiment.read_config(Path(options["--config"]), CASES[name].Config)
            options, swept = _flags.merged(options, tables["run"], options["--config"]), tables["sweep"]
        configurations = {name: _flags.configuration(name, CASES[name].Config, flags, base)}
        axes = _flags.read_axes(options.get("--sweep"), swept, CASES[name].Config)
        if axes:
            _sweep(name, configurations[name], axes, options)
            return
        if "--distributed" in options:
            _flags.refuse("--distributed shares a --sweep out; a story runs in one process")
    with _flags.prepared(options):
        _stories(configurations, Path(options.get("--out", "jaxnum-runs")))


def _stories(configurations: dict[str, Any], out: Path) -> None:
    """Run stories and write their folders and one page."""
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
        for n, configuration in configurations.items():
            results.append(_tell(n, configuration, out / n, bar))
    page = report.page(results, versions=_store.versions(), device=str(jax.devices()[0].device_kind))
    _store.write_text(out / "report.html", page)
    seconds = time.perf_counter() - start
    _summary(results)
    share = sum(compiling) / seconds
    print(f"{seconds:.1f} s in all, {sum(compiling):.1f} s of it tracing and compiling ({share:.0%})")
    print(f"open {out / 'report.html'}")


def _sweep(name: str, configuration: Any, axes: list[experiment.Axis], options: dict[str, Any]) -> None:
    """Measure a case over a grid of settings; write numbers, figures and the settings, and print the extremes."""
    experiment.check_settings(configuration, axes)
    folder = Path(options.get("--out", "jaxnum-runs")) / name
    with _flags.prepared(options) as mesh:
        first = jax.process_index() == 0
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            run = {k.strip("-"): v for k, v in options.items() if k in _flags.CHOICES}
            more = {"run": run, "sweep": {a.name: list(a.values) for a in axes}}
            _store.write_text(folder / "sweep.toml", experiment.write_config(configuration, more))
        start = time.perf_counter()
        solution = experiment.sweep(
            name, CASES[name].run, MEASURES.get(name), configuration, axes, folder=folder, mesh=mesh
        )
        if not first:
            return
        settings = {k: _plain(v) for k, v in asdict(configuration).items()}
        solution.save(folder / "sweep.npz", configuration=settings)
        pictures = _sweep_pictures(solution, folder)
        _extremes(solution)
        print(ensemble.outcomes(solution))
        count = np.size(solution.status.code)
        print(f"{count} members in {time.perf_counter() - start:.1f} s; numbers in {folder / 'sweep.npz'}")
        for picture in pictures:
            print(f"open {picture}")


def _sweep_pictures(solution: Any, folder: Path) -> list[Path]:
    """Draw every number of a sweep over one or two axes."""
    if len(solution.axes) > 2:
        return []
    paths = []
    for words, values in solution.value.items():
        there = np.isfinite(values)
        if there.any() and np.ptp(values[there]) > 0:  # a number that no axis moves is no picture
            # A member can fail in one of its numbers and be worth drawing in another.
            code = np.where(there, Status.ok.code, Status.nonfinite.code)
            paper, ax = canvas.figure()
            plot_sweep(replace(solution, status=Status(code)), values, label=words, ax=ax)
            slug = re.sub("[^a-z0-9]+", "-", words.lower())[:60].strip("-")
            path = folder / f"sweep-{slug}.png"
            if path in paths:
                path = folder / f"sweep-{slug}-{len(paths)}.png"
            png = _png(paper)
            _store.write_atomically(path, lambda f, png=png: f.write(png))
            paths.append(path)
    return paths


def _extremes(solution: Any) -> None:
    table = RichTable("number", "lowest", "at", "highest", "at")
    known = solution.history["parameters"]
    for words, values in solution.value.items():
        there = np.where(np.isfinite(values), values, np.nan)
        if np.isnan(there).all():
            table.add_row(escape(words), "none ended well", "", "", "")
            continue
        row = []
        for index in (np.nanargmin(there), np.nanargmax(there)):
            place = np.unravel_index(index, there.shape)
            row.append(f"{there[place]:.4g}")
            row.append(", ".join(f"{n} {known[n][i]:.4g}" for n, i in zip(solution.axes, place, strict=True)))
        table.add_row(escape(words), *row)
    Console().print(table)


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
    _store.write_text(folder / "configuration.toml", experiment.write_config(configuration, {}))
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
        _flags.refuse(f"nothing can follow here, but {rest[0]!r} does")
