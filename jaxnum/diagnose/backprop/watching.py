"""Watching a pass: the local variables of a user's function when it returned, or when it failed.

The interpreter's profile hook hands out the frame of the function; nothing is rewritten, and the code runs as it is.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnum._checks import refuse


@dataclass(frozen=True)
class Seen:
    """Intermediates of a pass.

    Attributes:
        values: Arrays by role.
        source: Line as it was written, by role.
        names: Name of each role in the code.
        failure: Exception that ended the pass; None when it went through.
        failed: Line that raised it.
    """

    values: dict[str, np.ndarray]
    source: dict[str, str]
    names: dict[str, str]
    failure: Exception | None = None
    failed: str = ""


def watch(run: Any, names: Mapping[str, str] | None = None) -> Seen:
    """Make one pass, and return its intermediates by role."""
    if isinstance(run, Mapping):
        named = dict(names or {})
        values = {
            role: run[named.get(role, role)]
            for role in {**{k: k for k in run}, **named}
            if named.get(role, role) in run
        }
        return Seen(_arrays(values), {}, named)
    if not callable(run):
        refuse("run", "be a function without arguments or a mapping of arrays", f"is {type(run).__name__}")
    code = getattr(run, "__code__", None)
    if code is None:
        refuse("run", "be a plain Python function, so that its variables can be seen", f"is {type(run).__name__}")
    kept: dict[str, Any] = {}
    failure, line = None, 0

    def profile(frame, event, _):
        if event == "return" and frame.f_code is code:
            kept.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        with np.errstate(all="ignore"):
            run()
    except Exception as error:
        failure, trace = error, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code is code:
                kept, line = dict(trace.tb_frame.f_locals), trace.tb_lineno
            trace = trace.tb_next
    finally:
        sys.setprofile(before)
    named = {v: k for k, v in (names or {}).items()}
    values = {named.get(name, name): value for name, value in kept.items() if name in named or names is None}
    source = _source(run)
    written = {named.get(name, name): text for name, (_, text) in source.items() if name in named or names is None}
    failed = next((text for _, (n, text) in source.items() if n == line), "")
    return Seen(_arrays(values), written, dict(names or {}), failure, failed)


def _arrays(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    out = {}
    for role, value in values.items():
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            continue
        out[role] = array
    return out


def _source(function: Callable) -> dict[str, tuple[int, str]]:
    """Return the last line that assigns each name, with its number."""
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found[target.id] = (first + node.lineno - 1, ast.unparse(node))
    return found
