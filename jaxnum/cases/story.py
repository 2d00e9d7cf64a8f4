"""What a story is made of: symptom, diagnosis and cure, each with its words, numbers and pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxnum.diagnose.report import Diagnosis, Table

Tell = Callable[[float, str], None]
"""Called as `tell(fraction, doing)` while a story runs, so that somebody waiting sees what is going on."""


def silence(_fraction: float, _doing: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn only when it is wanted.

    Attributes:
        name: File name without ending, in kebab case.
        caption: What to see in it, in a sentence.
        draw: Function without arguments returning a Matplotlib figure.
    """

    name: str
    caption: str
    draw: Callable[[], Any]


@dataclass(frozen=True)
class Chapter:
    """One part of a story.

    Attributes:
        text: Paragraphs.
        facts: Measured numbers by what they are; units stand in the name.
        tables: Tables.
        pictures: Figures.
    """

    text: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Story:
    """A numerical problem that would not behave, told from its symptom to its cure.

    Attributes:
        name: Name of the case.
        title: The complaint in a line.
        symptom: What was seen, reproduced.
        diagnosis: Why, with the findings.
        cure: What works, run and measured.
        diagnoses: The diagnoses behind the second chapter.
        arrays: Everything computed, by name.
    """

    name: str
    title: str
    symptom: Chapter
    diagnosis: Chapter
    cure: Chapter
    diagnoses: tuple[Diagnosis, ...]
    arrays: Mapping[str, np.ndarray]
