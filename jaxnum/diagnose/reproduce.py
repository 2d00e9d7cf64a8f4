"""A few lines of Python with which anybody can compute the number of a finding again.

They use numpy, jax and jaxnum alone. What was given to the diagnosis is called by the names of its arguments, such as
`loss`, `at` or `psi`, and a function by its own name where it has one. The last line prints, and the comment behind it
names what in `finding.evidence` that is.
"""

import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jaxnum.diagnose.report import Diagnosis, Finding


def called(fn: Any, argument: str, beside: Any = None) -> str:
    """Return the name by which the user knows a function: its own, or that of the argument it was given as.

    Args:
        fn: Function.
        argument: Name of the argument.
        beside: Another function in the same lines; where both have one name, that of the argument is used.
    """
    if beside is not None and getattr(beside, "__name__", "") == getattr(fn, "__name__", None):
        return argument
    name = getattr(fn, "__name__", "")
    plain = isinstance(fn, types.FunctionType) or hasattr(fn, "__wrapped__")  # a method is no name one can call
    return name if plain and name.isidentifier() else argument


def with_lines(found: Diagnosis, write: Callable[[Finding], tuple[str, dict[str, Any]]]) -> Diagnosis:
    """Give every finding that has none its lines.

    Args:
        found: Diagnosis.
        write: Function of a finding giving its lines, and numbers that they print and its evidence lacks.
    """
    findings = []
    for finding in found.findings:
        if not finding.reproduce:
            text, more = write(finding)
            finding = replace(finding, evidence=finding.evidence | more, reproduce=text)
        findings.append(finding)
    return replace(found, findings=tuple(findings))


def block(*lines: str) -> str:
    """Join lines, leaving empty ones out."""
    return "\n".join(line for line in lines if line)
