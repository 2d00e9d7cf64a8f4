"""What a diagnosis says: findings with their numbers, and what to do.

Measuring functions return arrays; a rule turns numbers into a `Finding`; the words are put together here.
"""

import html
import json
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A small table that belongs to a diagnosis or a story.

    Attributes:
        title: What the table shows.
        columns: Heads of the columns.
        rows: Cells, strings or numbers; numbers are printed to four digits.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __str__(self) -> str:
        cells = [list(self.columns), *[[show(c) for c in row] for row in self.rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([self.title, lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: Stable name of the kind of mistake, in kebab case.
        message: What, where and by how much, as a sentence.
        evidence: The numbers behind the sentence.
        cure: What to change.
        reproduce: A few lines of Python that compute its main number again and print it; a comment names what in
            `evidence` that is. They know what the user gave by the names of the arguments it was given as, and a
            function by its own name where it has one.
    """

    code: str
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    cure: str = ""
    reproduce: str = ""

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}" + (f" Cure: {self.cure}" if self.cure else "")


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at, what is wrong with it, and what is right.

    Attributes:
        subject: What was examined.
        findings: Everything wrong, the most telling first; empty when nothing is.
        notes: What was found to be right, and how that was measured: which truth was used and how sharp it is.
        tables: Measurements worth reading beside the sentences.

    Example:
        >>> from jaxnum import Diagnosis, Finding
        >>> print(Diagnosis("a gradient", (Finding("wrong-sign", "It points uphill.", {}, "Subtract it."),)))
        a gradient: 1 thing is wrong.
          1. [wrong-sign] It points uphill.
             Cure: Subtract it.
    """

    subject: str
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def ok(self) -> bool:
        """True exactly when nothing is wrong."""
        return not self.findings

    def to_dict(self) -> dict:
        """Return the diagnosis as plain Python: what `to_json` writes."""
        return {
            "subject": self.subject,
            "ok": self.ok,
            "findings": [
                {"code": f.code, "message": f.message, "evidence": _plain(f.evidence), "cure": f.cure}
                | ({"reproduce": f.reproduce} if f.reproduce else {})
                for f in self.findings
            ],
            "notes": list(self.notes),
            "tables": [{"title": t.title, "columns": list(t.columns), "rows": _plain(t.rows)} for t in self.tables],
        }

    def to_json(self) -> str:
        """Return the diagnosis as JSON; a number that is not finite is written as a word."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self._verdict()}."]
        for number, finding in enumerate(self.findings, 1):
            lines += _wrap(f"[{finding.code}] {finding.message}", f"  {number}. ")
            if finding.cure:
                lines += _wrap(f"Cure: {finding.cure}", "     ")
            if finding.reproduce:
                lines += ["     Computed again by:", textwrap.indent(finding.reproduce, "       ")]
        for note in self.notes:
            lines += _wrap(note, "  - ")
        for table in self.tables:
            lines += ["", textwrap.indent(str(table), "  ")]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        color = "#00734f" if self.ok else "#b04a00"
        parts = [f"<p><b>{html.escape(self.subject)}</b>: <span style='color:{color}'>{self._verdict()}</span>.</p>"]
        if self.findings:
            parts.append(f"<ol>{''.join(map(_html_finding, self.findings))}</ol>")
        if self.notes:
            parts.append("<ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in self.notes) + "</ul>")
        for table in self.tables:
            head = "".join(f"<th style='text-align:left'>{html.escape(c)}</th>" for c in table.columns)
            body = "".join(
                "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(show(c))}</td>" for c in row) + "</tr>"
                for row in table.rows
            )
            parts.append(f"<table><caption>{html.escape(table.title)}</caption><tr>{head}</tr>{body}</table>")
        return "".join(parts)

    def __rich_console__(self, _console: Any, _options: Any) -> Iterator[Any]:
        """Lay the diagnosis out for a terminal with colors; `rich.print(diagnosis)` calls this."""
        # Imported on use: whoever asks for this has rich at hand, and nobody else pays for it.
        from rich.padding import Padding
        from rich.table import Table as Grid
        from rich.text import Text

        yield Text.assemble((self.subject, "bold"), ": ", (self._verdict(), "green" if self.ok else "bold red"), ".")
        for number, finding in enumerate(self.findings, 1):
            yield Padding(Text.assemble(f"{number}. ", (finding.code, "cyan"), " ", finding.message), (0, 0, 0, 2))
            if finding.cure:
                yield Padding(Text.assemble(("Cure: ", "green"), finding.cure), (0, 0, 0, 5))
            if finding.reproduce:
                yield Padding(Text(finding.reproduce, "dim", no_wrap=True, overflow="ignore"), (0, 0, 0, 5))
        for note in self.notes:
            yield Padding(Text(f"- {note}", "dim"), (0, 0, 0, 2))
        for table in self.tables:
            grid = Grid(title=table.title, title_justify="left", title_style="italic")
            for column in table.columns:
                grid.add_column(column)
            for row in table.rows:
                grid.add_row(*(Text(show(cell)) for cell in row))
            yield grid

    def _verdict(self) -> str:
        count = len(self.findings)
        return "nothing is wrong" if count == 0 else f"{count} thing{'s are' if count > 1 else ' is'} wrong"


def _html_finding(finding: Finding) -> str:
    parts = [f"<code>{html.escape(finding.code)}</code> {html.escape(finding.message)}"]
    if finding.cure:
        parts.append(f"<br><i>Cure:</i> {html.escape(finding.cure)}")
    if finding.reproduce:
        lines = html.escape(finding.reproduce)
        parts.append(f"<details><summary>Compute it yourself</summary><pre>{lines}</pre></details>")
    return f"<li>{''.join(parts)}</li>"


def show(x: Any) -> str:
    """Return a number or a word as it is printed in a table: four digits, no trailing noise."""
    if isinstance(x, str):
        return x
    if isinstance(x, bool | np.bool_):
        return "yes" if x else "no"
    if isinstance(x, int | np.integer):
        return str(int(x))
    try:
        return f"{float(x):.4g}"
    except (TypeError, ValueError):
        return str(x)


def _wrap(text: str, first: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False)


def _plain(x: Any) -> Any:
    """Return evidence as JSON can hold it."""
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if x is None or isinstance(x, str | bool | int):
        return x
    if isinstance(x, np.bool_):
        return bool(x)
    values = np.asarray(x)
    if values.dtype.kind in "US":
        return values.tolist() if values.dtype.kind == "U" else values.astype(str).tolist()
    if values.dtype.kind not in "biufc":
        return str(x)
    if values.ndim:
        return [_plain(v) for v in values]
    if values.dtype.kind == "c":
        return {"real": _plain(values.real), "imag": _plain(values.imag)}
    if values.dtype.kind in "biu":
        return values.item()
    return float(values) if math.isfinite(values) else str(float(values))
