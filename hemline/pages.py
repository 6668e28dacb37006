"""HTML pages: one file with everything in it, for any screen, light or dark.

Text and tables need no script. page.js makes tables sortable and draws plots; a policy in the page
lets no other script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import compress
from pathlib import Path
from string import Template
from typing import Any

from hemline.figures import Drawn
from hemline.files import read_bytes, write_bytes
from hemline.tables import Table

_BEFORE_PERCENT = re.compile(r"(?<=\d) (?=%)")
_COMMAND = re.compile("`([^`]+)`")
_DENSITY = 1.5  # pixels of a picture for one of the page: sharp on most screens, and legible
_FEW_ROWS = 3  # of a table that need no sorting
_NARROW, _HALF = 38, 17  # letters that fit on a phone, beside each other: a table, a name and text


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page with a line in the list of contents; `body` are HTML elements."""

    title: str
    body: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows.

    title, footer: plain text.
    lead: HTML elements above the list of contents.
    sections: those without a body are left out.
    data: JSON that goes with the page; None for nothing.
    library: JavaScript that draws its plots; None for a page without plots.
    """

    title: str
    lead: Iterable[str]
    sections: Sequence[Section] = ()
    footer: str
    data: Any = None
    library: str | None = None


def write_page(path: Path, page: Page) -> None:
    """Write a page, whole or not at all; raises HemlineError."""
    folder = Path(__file__).parent
    frame, style, script = (
        (folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    shown = [section for section in page.sections if any(section.body)]
    parts = [*page.lead, _contents(shown), *map(_section, shown, range(1, len(shown) + 1))]
    if page.data is not None:
        parts.append(json_script("data", page.data))
    libraries = () if page.library is None else (page.library,)
    text = Template(frame).substitute(
        title=escaped(page.title),
        style=style,
        script=script,
        hashes=" ".join(map(script_hash, (script, *libraries))),
        content="\n".join(filter(None, (*parts, *map(_packed, libraries)))),
        footer=paragraph(page.footer, "soft"),
    )
    write_bytes(path, text.encode(errors="replace"))


def escaped(text: str) -> str:
    """Return a text as HTML, in which no line ends between a number and its %."""
    return escape(_BEFORE_PERCENT.sub("\N{NO-BREAK SPACE}", text))


def element(tag: str, text: str, kind: str = "") -> str:
    """Return an element with text, commands between backticks; `kind` is its class."""
    attribute = f' class="{kind}"' if kind else ""
    content = _COMMAND.sub(r"<code>\1</code>", escaped(text))
    return f"<{tag}{attribute}>{content}</{tag}>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of text."""
    return element("p", text, kind)


def items(lines: Iterable[str], kind: str = "") -> str:
    """Return a list of texts; of none, nothing."""
    found = "\n".join(element("li", line) for line in lines)
    return f'<ul class="{kind}">{found}</ul>' if found else ""


def folded(title: str, content: str, *, opened: bool = False) -> str:
    """Return HTML that a click on its title opens."""
    return (
        f"<details{' open' if opened else ''}><summary>{escaped(title)}</summary>\n"
        f"{content}</details>"
    )


def image(content: bytes, kind: str, alternative: str, *, width: int, height: int) -> str:
    """Return a picture in the page itself; `kind` is its format, sizes are pixels of the page."""
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f'<img alt="{escaped(alternative)}" width="{width}" height="{height}" src="{source}">'


def figure(drawn: Drawn) -> str:
    """Return a picture with its caption; of one that was not drawn, nothing."""
    if drawn.path is None:
        return ""
    content = read_bytes(drawn.path)
    width, height = (round(pixels / _DENSITY) for pixels in struct.unpack(">2I", content[16:24]))
    shown = image(content, "png", drawn.title, width=width, height=height)
    return captioned(_scrolling(shown, drawn.title), drawn.caption)


def plot(name: str, document: Any, alternative: str, caption: str) -> str:
    """Return a plot of Bokeh's, given as its JSON item, with its caption."""
    box = f'<div class="plot" data-plot="{name}" role="img" aria-label="{escaped(alternative)}">'
    without = "<noscript>The plot needs JavaScript; the tables have its figures.</noscript>"
    return captioned(f"{box}{without}</div>{json_script(name, document)}", caption)


def side_by_side(figures: Iterable[str]) -> str:
    """Return figures beside each other where the screen has the room; of none, nothing."""
    found = "".join(figures)
    return f'<div class="beside">{found}</div>' if found else ""


def captioned(content: str, caption: str) -> str:
    """Return a figure with a line below it."""
    return f"<figure>{content}\n<figcaption>{escaped(caption)}</figcaption></figure>"


def json_script(name: str, document: Any) -> str:
    """Return JSON for the page's script; no text in it can end its element."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def left_out(drawn: Sequence[Drawn]) -> str:
    """Return a list of the pictures that were not drawn, and why."""
    missing = [f"{each.title}: {each.reason}" for each in drawn if each.path is None]
    return f"<h3>Left out</h3>\n{items(missing, 'soft')}" if missing else ""


def table(table: Table, label: str, *, foot: int = 0, chosen: frozenset[int] = frozenset()) -> str:
    """Return a table that sorts; on a narrow screen a wide one has a card for each row.

    label: names it for screen readers.
    foot: so many last rows are sums, which stay below.
    chosen: numbers of rows to point out.

    A later column without a name, a drawing in text, is left out; "share" is drawn as a bar.
    """
    shown = [at for at, name in enumerate(table.columns) if name.strip() or not at]
    names = list(map(len, table.columns))
    texts = zip([""] * len(names), *table.rows, strict=True)
    widths = [max(map(len, column)) for column in texts]
    flags = [
        (table.numeric[at], table.columns[at] == "share", name + width > _HALF)
        for at, (name, width) in enumerate(zip(names, widths, strict=True))
    ]
    kinds = [" ".join(compress(("number", "bar", "long"), each)) for each in flags]
    rows = [
        _row(table, row, shown, kinds, chosen=at in chosen) for at, row in enumerate(table.rows)
    ]
    count = len(rows) - foot
    head = "".join(
        f'<th scope="col" class="{"number" * table.numeric[at]}">{escaped(table.columns[at])}</th>'
        for at in shown
    )
    sums = f"<tfoot>{''.join(rows[count:])}</tfoot>\n" if foot else ""
    kind = " ".join(
        ["sortable"] * (count > _FEW_ROWS) + ["cards"] * (sum(map(max, names, widths)) > _NARROW)
    )
    content = (
        f'<table class="{kind}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{''.join(rows[:count])}</tbody>\n{sums}</table>"
    )
    # no text has a quote in it
    return _scrolling(content.replace(' class=""', ""), label)


def _row(
    table: Table, texts: Sequence[str], shown: Sequence[int], kinds: Sequence[str], *, chosen: bool
) -> str:
    cells = []
    for at in shown:
        bar = table.columns[at] == "share"
        style = f' style="--share:{escape(texts[at].partition(" ")[0])}%"' if bar else ""
        name = f' data-name="{escaped(table.columns[at])}"'
        tag, facts = ("td", name) if at else ("th", ' scope="row"')
        cells.append(f'<{tag}{facts} class="{kinds[at]}"{style}>{escaped(texts[at])}</{tag}>')
    return f'<tr class="{"chosen" * chosen}">{"".join(cells)}</tr>\n'


def _scrolling(content: str, label: str) -> str:
    # with a place in the order of the tab key, so that the arrow keys scroll it
    name = escaped(label)
    return f'<div class="wide" role="region" aria-label="{name}" tabindex="0">{content}</div>\n'


def _contents(sections: Sequence[Section]) -> str:
    if len(sections) < 2:
        return ""
    lines = (
        f'<li><a href="#section-{at}">{escaped(each.title)}</a></li>'
        for at, each in enumerate(sections, start=1)
    )
    return f'<nav aria-label="Contents"><ol>{"".join(lines)}</ol></nav>'


def _section(section: Section, number: int) -> str:
    body = "\n".join(part for part in section.body if part)
    name = f"section-{number}"
    heading = f'<h2 id="{name}">{escaped(section.title)}</h2>'
    return f'<section aria-labelledby="{name}">\n{heading}\n{body}\n</section>'


def _packed(library: str) -> str:
    packed = base64.b64encode(gzip.compress(library.encode(), 9, mtime=0)).decode()
    return f'<script type="application/gzip" id="library">{packed}</script>'


def script_hash(script: str) -> str:
    """Return what lets a policy accept this script, or style, inside a page."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
