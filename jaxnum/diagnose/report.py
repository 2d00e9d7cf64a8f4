"""What a diagnosis says: findings with their numbers, and what to do.

Measuring functions return arrays; a rule turns numbers into a `Finding`; the words are put together here.
"""

import html
import json
import math
import textwrap
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
        reproduce: A few lines of Python that give its main number, where such lines are short.
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
                for f in self.findings
            ],
            "notes": list(self.notes),
            "tables": [{"title": t.title, "columns": list(t.columns), "rows": _plain(t.rows)} for t in self.tables],
        }

    def to_json(self) -> str:
        """Return the diagnosis as JSON; a number that is not finite is written as a word."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        count = len(self.findings)
        verdict = "nothing is wrong" if count == 0 else f"{count} thing{'s are' if count > 1 else ' is'} wrong"
        lines = [f"{self.subject}: {verdict}."]
        for number, finding in enumerate(self.findings, 1):
            lines += _wrap(f"[{finding.code}] {finding.message}", f"  {number}. ")
            if finding.cure:
                lines += _wrap(f"Cure: {finding.cure}", "     ")
        for note in self.notes:
            lines += _wrap(note, "  - ")
        for table in self.tables:
            lines += ["", textwrap.indent(str(table), "  ")]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{html.escape(self.subject)}</b>: {'nothing is' if self.ok else 'something is'} wrong.</p>"]
        if self.findings:
            items = "".join(
                f"<li><code>{html.escape(f.code)}</code> {html.escape(f.message)}"
                + (f"<br><i>Cure:</i> {html.escape(f.cure)}" if f.cure else "")
                + "</li>"
                for f in self.findings
            )
            parts.append(f"<ol>{items}</ol>")
        if self.notes:
            parts.append("<ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in self.notes) + "</ul>")
        for table in self.tables:
            head = "".join(f"<th>{html.escape(c)}</th>" for c in table.columns)
            body = "".join(
                "<tr>" + "".join(f"<td>{html.escape(show(c))}</td>" for c in row) + "</tr>" for row in table.rows
            )
            parts.append(f"<table><caption>{html.escape(table.title)}</caption><tr>{head}</tr>{body}</table>")
        return "".join(parts)


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
