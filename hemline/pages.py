"""HTML pages: one file with everything in it, for any screen, light or dark."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from hemline.figures import Drawn
from hemline.files import read_bytes, write_bytes
from hemline.tables import Table

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


def write_page(path: Path, title: str, body: Iterable[str], *, footer: str) -> None:
    """Write a page; `body` are HTML elements, title and footer plain text."""
    content = "\n".join(part for part in body if part)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Hemline">
<title>{escaped(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escaped(title)}</h1>
{content}
</main>
<footer>{paragraph(footer, "soft")}</footer>
</body>
</html>
"""
    write_bytes(path, page.encode(errors="replace"))


def escaped(text: str) -> str:
    """Return a text as HTML, in which no line ends between a number and its %."""
    return escape(_BEFORE_PERCENT.sub("\N{NO-BREAK SPACE}", text))


def element(tag: str, text: str, kind: str = "") -> str:
    """Return an element with text; `kind` is its class."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<{tag}{attribute}>{escaped(text)}</{tag}>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of text."""
    return element("p", text, kind)


def folded(title: str, content: str) -> str:
    """Return HTML that a click on its title opens."""
    return f"<details><summary>{escaped(title)}</summary>\n{content}</details>"


def figure(drawn: Drawn) -> str:
    """Return a picture with its caption; of one that was not drawn, nothing."""
    if drawn.path is None:
        return ""
    content = read_bytes(drawn.path)
    width, height = (round(pixels / _DENSITY) for pixels in struct.unpack(">2I", content[16:24]))
    title, caption = escaped(drawn.title), escaped(drawn.caption)
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return (
        f'<figure><div class="wide"><img alt="{title}" width="{width}" height="{height}" '
        f'src="{source}"></div>\n<figcaption>{caption}</figcaption></figure>'
    )


def left_out(drawn: Sequence[Drawn]) -> str:
    """Return a list of the pictures that were not drawn, and why."""
    missing = [f"{each.title}: {each.reason}" for each in drawn if each.path is None]
    if not missing:
        return ""
    items = "".join(f"<li>{escaped(line)}</li>" for line in missing)
    return f'<h3>Left out</h3>\n<ul class="soft">{items}</ul>'


def table(table: Table) -> str:
    """Return a table that scrolls where the screen is narrow."""

    def row(cells: tuple[str, ...], tag: str) -> str:
        marked = (
            f"<{tag}{' class=number' if numeric else ''}>{escaped(cell)}</{tag}>"
            for cell, numeric in zip(cells, table.numeric, strict=True)
        )
        return f"<tr>{''.join(marked)}</tr>\n"

    body = "".join(row(cells, "td") for cells in table.rows)
    return (
        f'<div class="wide"><table>\n<thead>{row(table.columns, "th")}</thead>\n'
        f"<tbody>{body}</tbody>\n</table></div>\n"
    )
