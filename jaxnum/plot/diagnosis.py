"""A diagnosis as a picture: what is wrong, how to mend it, and the measurements beside it."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Text

from jaxnum._checks import refuse
from jaxnum.diagnose.report import Diagnosis, show
from jaxnum.plot import canvas

_WIDTH = 92  # letters in a line, at the size below over the usual width of a figure
_LINE = 0.19  # inches


def diagnosis(diagnosis: Diagnosis, *, tables: bool = True, ax: Axes | None = None) -> list[Text]:
    """Draw a diagnosis to be put beside other figures: findings, cures, notes and tables.

    Args:
        diagnosis: What a function of `jaxnum.diagnose` returned.
        tables: Whether to draw its tables too.
        ax: Axes to draw on, which lose their frame; new ones of a fitting height by default.

    Returns:
        The texts, from top to bottom.

    Raises:
        ValueError: If it is no diagnosis.
    """
    if not isinstance(diagnosis, Diagnosis):
        refuse("diagnosis", "be what a function of `jaxnum.diagnose` returned", f"is {type(diagnosis).__name__}")
    lines = _lines(diagnosis, tables)
    ax = canvas.axes(ax, size=(8.0, _LINE * (len(lines) + 2)))
    ax.axis("off")
    height = ax.get_window_extent().height / ax.figure.dpi
    # Text keeps its size: what does not fit into the axes that were given leaves them at the bottom.
    step = _LINE / height
    drawn = []
    for number, (text, style) in enumerate(lines):
        place = {"transform": ax.transAxes, "va": "top", "ha": "left", "fontsize": 9, "clip_on": False}
        drawn.append(ax.text(0.0, 1 - step * number, text, **place, **style))
    return drawn


def _lines(diagnosis: Diagnosis, tables: bool) -> list[tuple[str, dict[str, Any]]]:
    count = len(diagnosis.findings)
    verdict = "nothing is wrong" if diagnosis.ok else f"{count} thing{'s are' if count > 1 else ' is'} wrong"
    color = canvas.GREEN if diagnosis.ok else canvas.RED
    lines: list[tuple[str, dict[str, Any]]] = [(f"{diagnosis.subject}: {verdict}", {"weight": "bold", "color": color})]
    for finding in diagnosis.findings:
        lines.append((finding.code, {"color": canvas.BLUE, "weight": "bold", "family": "monospace"}))
        lines += [(line, {}) for line in _wrapped(finding.message)]
        lines += [(line, {"color": canvas.GREEN}) for line in _wrapped(finding.cure)]
    for note in diagnosis.notes:
        lines += [(line, {"color": "0.4"}) for line in _wrapped(note)]
    for table in diagnosis.tables if tables else ():
        cells = [list(table.columns), *[[show(c) for c in row] for row in table.rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
        lines += [("", {}), (table.title, {"style": "italic"})]
        for number, row in enumerate(cells):
            text = "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            lines.append((text, {"family": "monospace", "weight": "normal" if number else "bold"}))
    return lines


def _wrapped(text: str) -> list[str]:
    # A dollar sign starts mathematics in Matplotlib, and nobody means that here.
    return [line.replace("$", r"\$") for line in textwrap.wrap(text, _WIDTH)]
