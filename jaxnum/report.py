"""A run becomes one self-contained page: symptom, diagnosis and cure side by side, readable on a phone."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxnum.cases.story import Chapter, Story
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
.chapters { display: grid; gap: 1.4rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)) }
section { border-top: 4px solid var(--tone); padding-top: .5rem; min-width: 0 }
section.symptom { --tone: var(--symptom) } section.diagnosis { --tone: var(--diagnosis) }
section.cure { --tone: var(--cure) }
h3 { color: var(--tone); margin: .2rem 0 .4rem; font-size: 1rem; letter-spacing: .04em; text-transform: uppercase }
figure { margin: 1rem 0 } figure img { width: 100%; height: auto; border: 1px solid var(--line); border-radius: .4rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; margin: .7rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .2rem }
td, th { border-bottom: 1px solid var(--line); padding: .22rem .7rem .22rem 0; text-align: left; vertical-align: top }
.finding { background: #eef5fb; border-radius: .4rem; margin: .5rem 0; padding: .5rem .8rem; overflow-wrap: anywhere }
.finding code { background: none; color: var(--diagnosis); font-weight: 600 }
.finding .fix { color: var(--cure) }
ul.notes { padding-left: 1.1rem; font-size: .93rem }
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
    findings = "".join(_diagnosis(d) for d in story.diagnoses)
    return (
        f'<article id="{html.escape(story.name)}"><h2>{html.escape(story.title)}</h2>'
        f"<p class='soft'><code>jaxnum run {html.escape(story.name)}</code>, {result.seconds:.1f} s; "
        f"{html.escape(flags)}</p><div class='chapters'>"
        + _chapter("symptom", "Symptom", story.symptom, result.pictures)
        + _chapter("diagnosis", "Diagnosis", story.diagnosis, result.pictures, findings)
        + _chapter("cure", "Cure", story.cure, result.pictures)
        + "</div></article>"
    )


def _chapter(kind: str, head: str, chapter: Chapter, pictures: Mapping[str, bytes], findings: str = "") -> str:
    text = "".join(f"<p>{html.escape(p)}</p>" for p in chapter.text)
    figures = "".join(
        f'<figure><img alt="{html.escape(p.caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(pictures[p.name]).decode()}"><figcaption>{html.escape(p.caption)}</figcaption></figure>'
        for p in chapter.pictures
    )
    tables = "".join(_table(t) for t in chapter.tables)
    if chapter.facts:
        rows = tuple((name, _fact(value)) for name, value in chapter.facts.items())
        tables += _table(Table("", ("measured", "value"), rows))
    return f"<section class='{kind}'><h3>{head}</h3>{text}{findings}{figures}{tables}</section>"


def _diagnosis(diagnosis: Diagnosis) -> str:
    parts = [
        f"<div class='finding'><code>{html.escape(f.code)}</code> {html.escape(f.message)}"
        + (f"<div class='fix'>{html.escape(f.cure)}</div>" if f.cure else "")
        + "</div>"
        for f in diagnosis.findings
    ]
    subject = html.escape(diagnosis.subject)
    if diagnosis.ok:
        parts.insert(0, f"<p><b>{subject}</b>: nothing is wrong.</p>")
    else:
        parts.insert(0, f"<p><b>{subject}</b></p>")
    if diagnosis.notes:
        parts.append("<ul class='notes'>" + "".join(f"<li>{html.escape(n)}</li>" for n in diagnosis.notes) + "</ul>")
    return "".join(parts) + "".join(_table(t) for t in diagnosis.tables)


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(c)}</th>" for c in table.columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(show(c))}</td>" for c in row) + "</tr>" for row in table.rows)
    caption = f"<caption>{html.escape(table.title)}</caption>" if table.title else ""
    return f"<div class='scroll'><table>{caption}<tr>{head}</tr>{body}</table></div>"


def _fact(value: Any) -> str:
    if hasattr(value, "__len__") and not isinstance(value, str):
        return ", ".join(_fact(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else show(value)
