"""A run becomes one self-contained page: symptom, diagnosis and cure side by side, readable on a phone."""

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxnum.cases.story import Chapter, Picture, Story
from jaxnum.diagnose.report import Diagnosis, Table, show

_CSS = """
:root { --ink: #1d2433; --soft: #5b6478; --line: #dfe3ec; --paper: #fff; --ground: #f5f6fa;
  --symptom: #b04a00; --diagnosis: #0b5c99; --cure: #00734f; }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
header, main, footer { max-width: 1500px; margin: 0 auto; padding: 1.2rem clamp(.8rem, 3vw, 2.4rem) }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); margin: .6rem 0 0 }
h2 { font-size: clamp(1.2rem, 3vw, 1.5rem); margin: 0 0 .2rem }
nav { display: flex; flex-wrap: wrap; gap: .4rem .9rem; margin-top: .8rem }
a { color: var(--diagnosis) }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem }
article { background: var(--paper); border: 1px solid var(--line); border-radius: .7rem; margin: 0 0 1.6rem;
  padding: clamp(.9rem, 2.5vw, 1.8rem) }
.chapters { column-gap: 1.6rem; columns: 22rem }
.chapters p, .chapters pre { break-inside: avoid }
.figures { align-items: start; display: grid; gap: 1.2rem 1.6rem; grid-auto-flow: dense; margin: .6rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)) }
.tables { column-gap: 1.6rem; columns: 25rem }
.tables > div { break-inside: avoid }
@media (min-width: 60rem) { figure.wide { grid-column: span 2 } }
@media (min-width: 84rem) {
  .chapters { columns: auto; display: grid; gap: 1.6rem; grid-template-columns: repeat(3, minmax(0, 1fr)) }
}
.symptom { --tone: var(--symptom) } .diagnosis { --tone: var(--diagnosis) } .cure { --tone: var(--cure) }
section { border-top: 4px solid var(--tone); margin-bottom: 1.2rem; padding-top: .5rem; min-width: 0 }
h3 { break-after: avoid; color: var(--tone, var(--ink)); margin: .2rem 0 .4rem; font-size: 1rem; letter-spacing: .04em;
  text-transform: uppercase }
h4 { margin: 1rem 0 .3rem; font-size: 1rem }
figure { border-left: 3px solid var(--tone); margin: .4rem 0; min-width: 0; padding-left: .6rem }
.wide img { min-width: 34rem }
figure img { width: 100%; height: auto; border: 1px solid var(--line); border-radius: .4rem }
.scroll { overflow-x: auto; min-width: 0 }
table { border-collapse: collapse; font-size: .88rem; margin: .5rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .2rem }
td, th { border-bottom: 1px solid var(--line); padding: .22rem .9rem .22rem 0; text-align: left; vertical-align: top }
td.n { white-space: nowrap }
code { background: #eceef5; border-radius: .25rem; font-size: .9em; overflow-wrap: anywhere; padding: 0 .2rem }
pre { background: #f5f6fa; border-radius: .4rem; font-size: .82rem; line-height: 1.4; margin: .5rem 0; overflow-x: auto;
  padding: .5rem .7rem }
.findings { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)) }
.finding { background: #eef5fb; border-radius: .4rem; min-width: 0; padding: .5rem .8rem; overflow-wrap: anywhere }
.finding > b { color: var(--diagnosis); font-family: ui-monospace, monospace; font-size: .9em }
.finding .fix { color: var(--cure); margin-top: .2rem }
.finding code { background: none; padding: 0 }
.finding pre { background: #e2edf6 }
summary { color: var(--soft); cursor: pointer; font-size: .9rem }
ul.notes { margin: .5rem 0; padding-left: 1.1rem; font-size: .93rem }
"""


@dataclass(frozen=True)
class Result:
    """A story that has been run, with its pictures drawn.

    Attributes:
        story: The story.
        pictures: PNG bytes by picture name.
        configuration: The configuration it ran with, as plain Python.
        seconds: Wall time of the run, pictures included.
    """

    story: Story
    pictures: Mapping[str, bytes]
    configuration: Mapping[str, Any]
    seconds: float


def page(results: Sequence[Result], *, versions: Mapping[str, str], device: str) -> str:
    """Return one HTML page that needs nothing beside itself.

    Args:
        results: Stories in the order in which they are told.
        versions: Versions of everything that a number may depend on.
        device: Where it was computed.
    """
    links = "".join(f'<a href="#{r.story.name}">{html.escape(r.story.title)}</a>' for r in results)
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>jaxnum report</title><style>{_CSS}</style></head><body>"
        f"<header><h1>Numerics that would not behave</h1><p class='soft'>What was seen, why, and what works: "
        f"computed on this machine ({html.escape(device)}).</p><nav>{links}</nav></header>"
        f"<main>{''.join(_article(r) for r in results)}</main>"
        f"<footer class='soft'>{html.escape(used)}</footer></body></html>\n"
    )


def _article(result: Result) -> str:
    story = result.story
    flags = ", ".join(f"{k} = {v}" for k, v in result.configuration.items()) or "no settings"
    chapters = (
        ("symptom", "Symptom", story.symptom),
        ("diagnosis", "Diagnosis", story.diagnosis),
        ("cure", "Cure", story.cure),
    )
    texts = "".join(
        f"<section class='{kind}'><h3>{head}</h3>{''.join(map(_paragraph, chapter.text))}</section>"
        for kind, head, chapter in chapters
    )
    figures = "".join(_figure(kind, p, result.pictures[p.name]) for kind, _, c in chapters for p in c.pictures)
    measured = "".join(_numbers(head, chapter) for _, head, chapter in chapters)
    behind = "".join(_table(t) for d in story.diagnoses for t in d.tables)
    return (
        f'<article id="{html.escape(story.name)}"><h2>{html.escape(story.title)}</h2>'
        f"<p class='soft'><code>jaxnum run {html.escape(story.name)}</code>, {result.seconds:.1f} s; "
        f"{html.escape(flags)}</p><div class='chapters'>{texts}</div><div class='figures'>{figures}</div>"
        f"{''.join(map(_diagnosis, story.diagnoses))}"
        f"<h4>Numbers</h4><div class='tables'>{measured}</div>"
        + (f"<details><summary>Measurements behind the findings</summary>{behind}</details>" if behind else "")
        + "</article>"
    )


def _figure(kind: str, picture: Picture, png: bytes) -> str:
    # Width and height stand at the beginning of a PNG; two panels or more deserve the room of two columns.
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    wide = " wide" if width > 1.9 * height else ""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    caption = html.escape(picture.caption)
    return (
        f"<figure class='{kind}{wide}'><div class='scroll'>"
        f'<img alt="{caption}" width="{width}" height="{height}" src="{source}"></div>'
        f"<figcaption>{_inline(picture.caption)}</figcaption></figure>"
    )


def _numbers(head: str, chapter: Chapter) -> str:
    tables = "".join(_table(t) for t in chapter.tables)
    if chapter.facts:
        tables += _table(Table(head, ("measured", "value"), tuple((k, _Fact(v)) for k, v in chapter.facts.items())))
    return tables


def _paragraph(text: str) -> str:
    """Return a paragraph; what follows its first line is code."""
    words, _, code = text.partition("\n")
    lines = f"<pre>{html.escape(code.strip(chr(10)))}</pre>" if code else ""
    return f"<p>{_inline(words)}</p>{lines}"


def _inline(text: str) -> str:
    """Escape a text and set what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _diagnosis(diagnosis: Diagnosis) -> str:
    cards = "".join(
        f"<div class='finding'><b>{html.escape(f.code)}</b> {_inline(f.message)}"
        + (f"<div class='fix'>{_inline(f.cure)}</div>" if f.cure else "")
        + (f"<details><summary>Compute it yourself</summary><pre>{html.escape(f.reproduce)}</pre></details>")
        * bool(f.reproduce)
        + "</div>"
        for f in diagnosis.findings
    )
    subject = html.escape(diagnosis.subject)
    verdict = "nothing is wrong" if diagnosis.ok else f"{len(diagnosis.findings)} found"
    notes = "".join(f"<li>{_inline(n)}</li>" for n in diagnosis.notes)
    return f"<h4>Examined: {subject}, {verdict}</h4><div class='findings'>{cards}</div>" + (
        f"<ul class='notes'>{notes}</ul>" if notes else ""
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(c)}</th>" for c in table.columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows)
    caption = f"<caption>{html.escape(table.title)}</caption>" if table.title else ""
    return f"<div class='scroll'><table>{caption}<tr>{head}</tr>{body}</table></div>"


@dataclass(frozen=True)
class _Fact:
    """A measured value, shown to six digits."""

    value: Any

    def __str__(self) -> str:
        if hasattr(self.value, "__len__") and not isinstance(self.value, str):
            return ", ".join(str(_Fact(v)) for v in self.value)
        return f"{self.value:.6g}" if isinstance(self.value, float) else show(self.value)


def _cell(value: Any) -> str:
    text = str(value) if isinstance(value, _Fact) else show(value)
    number = not isinstance(value, str) and len(text) < 24
    return f"<td{' class=n' * number}>{_inline(text)}</td>"
