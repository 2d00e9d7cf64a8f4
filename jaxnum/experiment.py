"""Experiments: a story's settings from a file and flags, and sweeps over any of its numeric fields.

    jaxnum run NAME --config FILE.toml --sweep learning_rate=1e-3:1:64:log --sweep num_steps=100,200

A sweep watches a few numbers. Where `cases/measures.py` knows a pure function for them, fields that can be traced are
swept together in one compiled call on every device there is; fields that fix a shape are taken one after the other.
Where it does not, the whole story is told for every setting and its facts are kept. Both go on where they were killed.
"""

import difflib
import itertools
import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import jax
import numpy as np
from jax.sharding import Mesh

from jaxnum import _store, ensemble
from jaxnum._checks import refuse
from jaxnum._progress import track
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum.cases.measures import Measure
from jaxnum.cases.story import Story, silence

_MOST = 1 << 24  # members of a sweep from the command line; beyond that, write a program
_FILE_LIMIT = 1 << 20  # bytes of a configuration file


@dataclass(frozen=True)
class Axis:
    """Values of one field.

    Attributes:
        name: Field.
        values: Values that it takes, as Python numbers of its type.
    """

    name: str
    values: tuple[Any, ...]


# Settings -------------------------------------------------------------------------------------------------------------


def read_config(path: Path, record: type) -> tuple[Any, dict[str, Any]]:
    """Read a configuration file: fields of a story at the top, `[run]` and `[sweep]` below.

    Args:
        path: TOML file.
        record: Class of the configuration, a dataclass.

    Returns:
        Configuration, and the tables `run` and `sweep` as they stand in the file.

    Raises:
        ValueError: In one line, if the file is no TOML, names something unknown or holds a value of the wrong type.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.stat().st_size > _FILE_LIMIT:
        raise ValueError(f"{path} is too large for a configuration.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML: {' '.join(str(error).split())[:200]}.") from error
    tables = {name: table.pop(name, {}) for name in ("run", "sweep")}
    for name, content in tables.items():
        if not isinstance(content, dict):
            raise ValueError(f"{path}: `{name}` must be a table, but is {content!r}.")
    types = get_type_hints(record)
    settings = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in types:
            raise ValueError(f"{path}: there is no setting {key!r}; {nearest(name, (*types, 'run', 'sweep'))}")
        settings[name] = _of_type(f"{path}: `{key}`", value, types[name])
    return record(**settings), tables


def write_config(configuration: Any, more: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a configuration as TOML that `read_config` reads back."""
    lines = [f"{k} = {_toml(v)}" for k, v in asdict(configuration).items()]
    for name, table in more.items():
        if table:
            lines += ["", f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def nearest(word: str, known: Sequence[str]) -> str:
    """Return words that point to the nearest known name, or to all of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."


def read_axis(words: str, record: type) -> Axis:
    """Read `field=start:stop:num`, `field=start:stop:num:log` or `field=value,value,...`.

    Raises:
        ValueError: In one line, if there is no such numeric field or the numbers make no sense.
    """
    name, equals, numbers = words.partition("=")
    name = name.strip().replace("-", "_")
    types = get_type_hints(record)
    numeric = [k for k, t in types.items() if t in (int, float)]
    if not equals:
        raise ValueError(f"--sweep needs field=start:stop:num or field=value,value,..., but has {words!r}.")
    if name not in numeric:
        raise ValueError(f"there is no numeric setting {name!r} to sweep; {nearest(name, numeric)}")
    parts = numbers.split(":")
    try:
        if len(parts) == 1:
            values = [float(x) for x in numbers.split(",")]
        elif len(parts) in (3, 4) and parts[3:] in ([], ["log"]):
            start, stop, num = float(parts[0]), float(parts[1]), int(parts[2])
            if not 1 <= num <= _MOST:
                raise ValueError
            values = np.linspace(start, stop, num).tolist()
            if parts[3:]:
                if not (start > 0 and stop > 0):
                    raise ValueError
                values = np.geomspace(start, stop, num).tolist()
        else:
            raise ValueError
        if not np.isfinite(values).all():
            raise ValueError
    except ValueError:
        raise ValueError(
            f"--sweep {words}: say start:stop:num, start:stop:num:log (with positive ends) or value,value,..."
        ) from None
    if types[name] is int:
        whole = sorted({round(v) for v in values}) if len(parts) > 1 else [int(v) for v in values if v == int(v)]
        if len(parts) == 1 and len(whole) < len(values):
            raise ValueError(f"--sweep {words}: {name} takes integers.")
        values = whole
    return Axis(name, tuple(values))


def check_settings(configuration: Any, axes: Sequence[Axis]) -> None:
    """Refuse a sweep that holds a setting which the story refuses; nothing is computed."""
    names = [a.name for a in axes]
    for name in names:
        if names.count(name) > 1:
            refuse("sweep", "name each setting once", f"names `{name}` twice")
    if np.prod([len(a.values) for a in axes], dtype=object) > _MOST:
        refuse("sweep", f"have at most {_MOST} members", "has more")
    for values in itertools.product(*(a.values for a in axes)):
        replace(configuration, **dict(zip(names, values, strict=True)))  # its __post_init__ speaks


# Sweeps ---------------------------------------------------------------------------------------------------------------


def sweep(
    name: str,
    run: Callable[..., Story],
    measure: Measure | None,
    configuration: Any,
    axes: Sequence[Axis],
    *,
    folder: Path,
    mesh: Mesh | None = None,
) -> Solution:
    """Measure a story at every combination of settings, going on where an earlier call was killed.

    Args:
        name: Name of the story.
        run: Its `run(config, tell)`.
        measure: What to watch in it, or None to tell it again every time and keep its facts.
        configuration: Settings of everything that is not swept.
        axes: What is swept.
        folder: Existing folder for the results.
        mesh: Devices.

    Returns:
        Solution whose value is a dict of arrays with one axis for each of `axes`; `history.parameters` holds what
        stands along them.
    """
    check_settings(configuration, axes)
    together = [a for a in axes if measure is not None and a.name in measure.traced]
    if not together:
        return _told(name, run, measure, configuration, axes, folder)
    alone = [a for a in axes if a not in together]
    settings = {k: _plain(v) for k, v in asdict(configuration).items()}
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    grid = ensemble.grid(**{a.name: np.asarray(a.values, dtype) for a in together})
    parts, done = [], 0
    each, times = (int(np.prod([len(a.values) for a in part], dtype=int)) for part in (together, alone))
    with track(jax.process_index() == 0, each * times, "members") as show:
        for values in itertools.product(*(a.values for a in alone)):
            fixed = dict(zip((a.name for a in alone), values, strict=True))
            base = replace(configuration, **fixed)
            place = folder.joinpath("sweep", *(f"{k}={v}" for k, v in fixed.items()))
            parts.append(
                ensemble.sweep(
                    lambda p, base=base: measure.fn(_with(base, p)),
                    grid,
                    mesh=mesh,
                    directory=place,
                    progress=lambda n, _, done=done: show(done + n),
                    configuration={"case": name} | settings | fixed,
                )
            )
            done += each
    return _joined(parts, alone, together, axes)


@dataclass(frozen=True)
class _Settings:
    """A configuration some of whose fields are traced, so that its checks, which have been made, cannot run."""

    base: Any
    changed: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        changed = object.__getattribute__(self, "changed")
        return changed[name] if name in changed else getattr(object.__getattribute__(self, "base"), name)


def _with(configuration: Any, changed: Mapping[str, Any]) -> Any:
    return _Settings(configuration, changed)


def _joined(parts: list[Solution], alone: Sequence[Axis], together: Sequence[Axis], axes: Sequence[Axis]) -> Solution:
    """Put sweeps over some axes together along the others, in the order in which the axes were given."""
    outer = tuple(len(a.values) for a in alone)
    order = [(*alone, *together).index(a) for a in axes]

    def join(*arrays: Any) -> np.ndarray:
        stacked = np.stack([np.asarray(x) for x in arrays])
        return stacked.reshape(outer + stacked.shape[1:]).transpose(order)

    value, residual, num_steps, code = jax.tree.map(
        join, *((p.value, p.residual, p.num_steps, p.status.code) for p in parts)
    )
    return _solution(value, residual, num_steps, code, axes)


def _solution(value: Any, residual: Any, num_steps: Any, code: Any, axes: Sequence[Axis]) -> Solution:
    parameters = {a.name: np.asarray(a.values) for a in axes}
    return Solution(
        value, History(parameters=parameters), residual, num_steps, Status(code), tuple(a.name for a in axes)
    )


def _told(
    name: str,
    run: Callable[..., Story],
    measure: Measure | None,
    configuration: Any,
    axes: Sequence[Axis],
    folder: Path,
) -> Solution:
    """Go through the settings one by one; each result is a small file of its own."""
    if jax.process_count() > 1:
        raise ValueError(f"--distributed has nothing to share out: {name} is computed setting by setting here.")
    shape = tuple(len(a.values) for a in axes)
    place = folder / "sweep"
    place.mkdir(parents=True, exist_ok=True)
    manifest = {
        "case": name,
        "configuration": {k: _plain(v) for k, v in asdict(configuration).items()},
        "axes": {a.name: list(a.values) for a in axes},
        "jaxnum": _store.versions().get("jaxnum"),
    }
    text = json.dumps(manifest, indent=2) + "\n"
    if (place / "manifest.json").exists():
        if (place / "manifest.json").read_text(encoding="utf-8") != text:
            raise ValueError(f"{place} holds another sweep; give another --out.")
    else:
        _store.write_text(place / "manifest.json", text)
    found = []
    with track(True, int(np.prod(shape)), "members") as show:
        for number, values in enumerate(itertools.product(*(a.values for a in axes))):
            file = place / f"member-{number:08d}.json"
            if not file.exists():
                settings = replace(configuration, **dict(zip((a.name for a in axes), values, strict=True)))
                _store.write_text(file, json.dumps(_outcome(run, measure, settings)) + "\n")
            found.append(_read_outcome(file))
            show(number + 1)
    names = list(dict.fromkeys(k for member in found for k in member["facts"]))
    table = np.array([[member["facts"].get(k, np.nan) for k in names] for member in found])
    table = table.reshape(*shape, len(names))
    failed = np.array([member["error"] is not None for member in found]).reshape(shape)
    strange = ~failed & ~np.isfinite(table).all(axis=-1)
    code = np.where(failed, Status.failed.code, np.where(strange, Status.nonfinite.code, Status.ok.code))
    for member in found:
        if member["error"] is not None:
            print(f"first error: {member['error']}", file=sys.stderr)
            break
    value = {k: table[..., i] for i, k in enumerate(names)}
    residual = np.where(code == Status.ok.code, 0.0, np.inf)
    return _solution(value, residual, np.ones(shape, np.int32), code.astype(np.int32), axes)


def _outcome(run: Callable[..., Story], measure: Measure | None, settings: Any) -> dict[str, Any]:
    """Return the numbers of one setting, or why there are none; one that fails does not stop the others."""
    try:
        facts = measure.fn(settings) if measure is not None else _facts(run(settings, silence))
        return {"facts": {k: float(v) for k, v in facts.items()}, "error": None}
    except (ArithmeticError, ValueError, RuntimeError, np.linalg.LinAlgError) as error:
        return {"facts": {}, "error": " ".join(str(error).split())[:500] or type(error).__name__}


def _facts(story: Story) -> dict[str, float]:
    """Return the numbers among the facts of a story; numbers within their names, which are settings, become #."""
    found: dict[str, float] = {}
    for chapter in ("symptom", "diagnosis", "cure"):
        for words, fact in getattr(story, chapter).facts.items():
            if (
                isinstance(fact, bool | np.bool_)
                or np.ndim(fact)
                or not np.issubdtype(np.asarray(fact).dtype, np.number)
            ):
                continue
            if np.iscomplexobj(fact):
                continue
            name = re.sub(r"(?<![\w.])[-+]?\d[\d.]*(e[-+]?\d+)?", "#", words)
            unique, count = name, 2
            while unique in found:
                unique, count = f"{name} ({count})", count + 1
            found[unique] = float(fact)
    return found


def _read_outcome(file: Path) -> dict[str, Any]:
    try:
        member = json.loads(file.read_text(encoding="utf-8"))
        facts = {str(k): float(v) for k, v in member["facts"].items()}
        return {"facts": facts, "error": member["error"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _store.StoreError(f"{file} is damaged; delete it to have it computed again.") from error


def _of_type(what: str, value: Any, kind: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        value = tuple(value)
    plain = kind if isinstance(kind, type) else getattr(kind, "__origin__", object)
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        names = {int: "an integer", float: "a number", bool: "true or false", str: "text", tuple: "a list"}
        raise ValueError(f"{what} must be {names.get(plain, plain.__name__)}, but is {value!r}.")
    return value


def _toml(x: Any) -> str:
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, str):
        return json.dumps(x, ensure_ascii=False)
    if isinstance(x, tuple | list):
        return "[" + ", ".join(_toml(e) for e in x) + "]"
    return repr(x)


def _plain(x: Any) -> Any:
    return list(x) if isinstance(x, tuple) else x
