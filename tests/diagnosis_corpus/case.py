"""What a case of the corpus is: a small program, written out as people write it, and what is wrong with it."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxnum import Diagnosis


@dataclass(frozen=True)
class Case:
    """One program with a known answer.

    Attributes:
        name: Unique name: verb, style, mistake.
        expected: Codes any of which names the cause when it comes first; empty when the program is right.
        held_out: Whether it is of a class of programs that the rules were not developed on.
        diagnose: Runs the diagnosis.
    """

    name: str
    expected: tuple[str, ...]
    held_out: bool
    diagnose: Callable[[], Diagnosis]

    @property
    def verb(self) -> str:
        """The verb that is asked."""
        return self.name.split("/")[0]


UNKNOWN = ("unknown-cause", "wrong-direction", "wrong-components", "unknown-update-rule")
"""Codes that say: wrong, located here, cause not in the library."""


def program(template: str, slots: Mapping[str, str], **names: Any) -> dict[str, Any]:
    """Fill the slots of a template, which may hold slots themselves, run it, and return what it defines."""
    source = textwrap.dedent(template)
    for _ in range(3):
        for name, text in slots.items():
            source = source.replace("{" + name + "}", text)
    exec(compile(source, "<a user's script>", "exec"), names)
    return names
