"""The report: one HTML file with everything in it, for any screen, light or dark."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from html import escape
from pathlib import Path

from hemline.files import read_bytes, write_bytes
from hemline.tables import Table
from hemline.train.evaluating import text
from hemline.train.evaluating.pictures import Drawn
from hemline.train.evaluating.result import Evaluation, Result

_BEFORE_PERCENT = re.compile(r"(?<=\d) (?=%)")
_DENSITY = 1.5  # pixels of a picture for one of the page: sharp on most screens, and legible
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --page: #fff; --soft: #666; --line: #ddd;
  --mark: #eef4fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --page: #16181b; --soft: #9aa0a6; --line: #3a3d42; --mark: #1f2a36; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1rem; color: var(--ink); background: var(--page);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.5rem; border-top: 1px solid var(--line);
  padding-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 0.5rem; }
.verdict { font-size: 1.1rem; padding: 0.75rem 1rem; border-radius: 0.5rem;
  background: var(--mark); }
.soft, figcaption { color: var(--soft); font-size: 0.9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.5rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; }
th { font-weight: 600; }
.number { text-align: right; }
figure { margin: 2rem 0 0; }
img { display: block; height: auto; max-width: max(100%, 34rem); border-radius: 0.4rem; }
figcaption { margin-top: 0.4rem; max-width: 45rem; }
summary { cursor: pointer; }
details { margin-top: 0.5rem; }
:not(details) + details { margin-top: 2.5rem; }
@media (prefers-color-scheme: dark) { img { filter: brightness(0.92); } }
@media print { img { max-width: 100%; } }
"""


def write_report(path: Path, evaluation: Evaluation, pictures: Sequence[Sequence[Drawn]]) -> None:
    """Write the page; `pictures` are those of each result, in the same order."""
    single = len(evaluation.results) == 1
    sections = [
        _section(evaluation, result, drawn, single=single)
        for result, drawn in zip(evaluation.results, pictures, strict=True)
    ]
    title = _escaped(_title(evaluation))
    notes = "".join(f"<p><strong>Note:</strong> {_escaped(note)}.</p>" for note in evaluation.notes)
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Hemline">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="verdict">{_escaped(text.verdict(evaluation))}.</p>
{notes}<p class="soft">{_escaped(_conditions(evaluation))}.</p>
{_comparison(evaluation)}{"".join(sections)}
</main>
<footer><p class="soft">{_escaped(evaluation.created)}, {_escaped(versions)}</p></footer>
</body>
</html>
"""
    write_bytes(path, page.encode(errors="replace"))


def _escaped(text: str) -> str:
    """Return a text as HTML, in which no line ends between a number and its %."""
    return escape(_BEFORE_PERCENT.sub("\N{NO-BREAK SPACE}", text))


def _title(evaluation: Evaluation) -> str:
    names = [text.name_of(result) for result in evaluation.results]
    return f"{', '.join(names)} on {evaluation.title}"


def _conditions(evaluation: Evaluation) -> str:
    images = evaluation.results[0].images
    return (
        f"{images:,} {evaluation.split} images of {evaluation.title} from {evaluation.source}, "
        f"{len(evaluation.labels)} classes; intervals cover 95 %"
    )


def _comparison(evaluation: Evaluation) -> str:
    if len(evaluation.results) == 1:
        return ""
    note = _escaped(text.comparison_note(evaluation))
    return (
        f"<h2>Comparison</h2>\n{_table(text.comparison_table(evaluation))}"
        f'<p class="soft">{note}.</p>\n'
    )


def _section(
    evaluation: Evaluation, result: Result, drawn: Sequence[Drawn], *, single: bool
) -> str:
    name = _escaped(text.title_of(result))
    parts = [
        f"<h2>{name}</h2>" if not single else f'<p class="soft">{name}</p>',
        f"<p>Accuracy {_escaped(text.accuracy_line(result, evaluation))}.</p>",
        "<h3>Classes</h3>",
        _table(text.scores_table(result)),
    ]
    if result.most_confused:
        parts += ["<h3>Most confused</h3>", _table(text.confused_table(result))]
    parts += ["<h3>Calibration</h3>", _table(text.calibration_table(result))]
    parts += [_figure(each) for each in drawn if each.path is not None]
    parts += [_left_out(drawn), _details(result)]
    return "\n".join(part for part in parts if part) + "\n"


def _figure(drawn: Drawn) -> str:
    assert drawn.path is not None  # noqa: S101 — the caller chose those that have one
    content = read_bytes(drawn.path)
    width, height = (round(pixels / _DENSITY) for pixels in struct.unpack(">2I", content[16:24]))
    title, caption = _escaped(drawn.picture.title), _escaped(drawn.caption)
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return (
        f'<figure><div class="wide"><img alt="{title}" width="{width}" height="{height}" '
        f'src="{source}"></div>\n<figcaption>{caption}</figcaption></figure>'
    )


def _left_out(drawn: Sequence[Drawn]) -> str:
    missing = [f"{each.picture.title}: {each.reason}" for each in drawn if each.path is None]
    if not missing:
        return ""
    items = "".join(f"<li>{_escaped(line)}</li>" for line in missing)
    return f'<h3>Left out</h3>\n<ul class="soft">{items}</ul>'


def _details(result: Result) -> str:
    folded = []
    if result.origin.layers:
        table = text.summary_table(result.origin.layers)
        folded.append(("Model summary", _table(table)))
    folded.append(("Confusion matrix as a table", _table(text.confusion_table(result))))
    return "\n".join(
        f"<details><summary>{name}</summary>\n{content}</details>" for name, content in folded
    )


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        marked = (
            f"<{tag}{' class=number' if right else ''}>{_escaped(cell)}</{tag}>"
            for cell, right in zip(cells, table.numeric, strict=True)
        )
        return f"<tr>{''.join(marked)}</tr>\n"

    body = "".join(row(cells, "td") for cells in table.rows)
    return (
        f'<div class="wide"><table>\n<thead>{row(table.columns, "th")}</thead>\n'
        f"<tbody>{body}</tbody>\n</table></div>\n"
    )
