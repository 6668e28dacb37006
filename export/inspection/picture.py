"""A model as a picture: its operators from top to bottom, as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from hemline.export.inspection.text import shape_text, shortened, weights_text
from hemline.figures import BLUE, DARK, GRAY, GREEN, LIGHT, ORANGE, PURPLE, SKY
from hemline.model_files.contents import Contents, Operator
from hemline.tables import macs_text

# Box of an operator, distances between boxes, and where its lines of text are: pixels
_WIDTH, _HEIGHT, _ACROSS, _DOWN, _MARGIN = 268, 58, 44, 30, 24
_BASELINES = (17, 33, 49)
_HEADING = 46
_LEAST_WIDTH = 420  # of the picture: its heading
_LONGEST_NAME = 34  # characters that fit into a box
_LANES = 5  # edges beside each other between two columns
# A word in an operator's name: the colour of its edge
_COLOURS = (
    (("conv",), BLUE),
    (("fully_connected", "gemm", "matmul"), PURPLE),
    (("pool", "mean", "reduce"), GREEN),
    (("add", "mul", "sub", "concat"), ORANGE),
    (("relu", "sigmoid", "swish", "tanh", "clip", "softmax", "gelu"), SKY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A place in the picture: an operator, or the input or an output of the model."""

    title: str
    lines: tuple[str, ...]
    colour: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


def draw(contents: Contents, title: str) -> str:
    """Return an SVG document: a box for each operator that computes, an edge for each value."""
    boxes = tuple(_boxes(contents))
    places = _places(boxes)
    width = max(_LEAST_WIDTH, max(x for x, _ in places) + _WIDTH + _ACROSS + _MARGIN)
    height = max(y for _, y in places) + _HEIGHT + _MARGIN
    total = f"{contents.parameters:,} parameters, {macs_text(contents.macs)} for one image"
    body = "\n".join((*_edges(boxes, places), *map(_drawn, boxes, places)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        f"{_text(_MARGIN, 24, title, size=15, weight='600')}\n"
        f"{_text(_MARGIN, 42, total, colour=GRAY)}\n{body}\n</svg>\n"
    )


def _boxes(contents: Contents) -> Iterator[_Box]:
    for name in contents.inputs:
        yield _end(contents, "input", name, makes=(name,))
    for operator in contents.operators:
        yield _operator(contents, operator)
    for name in contents.outputs:
        yield _end(contents, "output", name, reads=(name,))


def _end(
    contents: Contents,
    title: str,
    name: str,
    *,
    reads: tuple[str, ...] = (),
    makes: tuple[str, ...] = (),
) -> _Box:
    lines = (shortened(name, _LONGEST_NAME), _value(contents, name))
    return _Box(title=title, lines=lines, colour=DARK, reads=reads, makes=makes)


def _operator(contents: Contents, operator: Operator) -> _Box:
    kind = operator.kind.lower()
    colours = (colour for words, colour in _COLOURS if any(word in kind for word in words))
    weights = weights_text(contents.weights_of(operator))
    cost = macs_text(operator.macs) if operator.macs else ""
    made = _value(contents, operator.outputs[0]) if operator.outputs else ""
    return _Box(
        title=operator.kind,
        lines=tuple(filter(None, (made, " · ".join(filter(None, (weights, cost)))))),
        colour=next(colours, LIGHT),
        reads=tuple(n for n in operator.inputs if not _is_constant(contents, n)),
        makes=operator.outputs,
    )


def _is_constant(contents: Contents, name: str) -> bool:
    return name in contents.by_name and contents.by_name[name].constant


def _value(contents: Contents, name: str) -> str:
    tensor = contents.by_name.get(name)
    if tensor is None:
        return "?"
    grid = f", scale {tensor.scales[0]:.4g}" if len(tensor.scales) == 1 else ""
    return f"{shape_text(tensor)} {tensor.dtype}{grid}"


def _places(boxes: tuple[_Box, ...]) -> list[tuple[int, int]]:
    """Return the upper left corner of each box: a row below all that it reads, beside others."""
    made_in: dict[str, tuple[int, int]] = {}  # value: row and column of its box
    taken: set[tuple[int, int]] = set()
    places = []
    for box in boxes:
        above = [made_in[name] for name in box.reads if name in made_in]
        row = 1 + max((row for row, _ in above), default=-1)
        column = min((column for _, column in above), default=0)
        while (row, column) in taken:
            column += 1
        taken.add((row, column))
        made_in |= dict.fromkeys(box.makes, (row, column))
        places.append((row, column))
    return [
        (_MARGIN + column * (_WIDTH + _ACROSS), _MARGIN + _HEADING + row * (_HEIGHT + _DOWN))
        for row, column in places
    ]


def _edges(boxes: tuple[_Box, ...], places: list[tuple[int, int]]) -> Iterator[str]:
    """Yield a curve for each value that an operator reads; past other boxes on their right."""
    made_at = {name: at for at, box in enumerate(boxes) for name in box.makes}
    lane = 1
    for at, box in enumerate(boxes):
        for name in dict.fromkeys(box.reads):
            if name not in made_at:
                continue
            start, end = places[made_at[name]], places[at]
            if any(start[1] < y < end[1] and x in (start[0], end[0]) for x, y in places):
                lane = lane % _LANES + 1
                path = _path_beside(start, end, lane)
            else:
                path = _path_down(start, end)
            yield f'<path d="{path}" fill="none" stroke="{GRAY}" stroke-width="1.4"/>'


def _path_down(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y, to_x, to_y = start[0] + _WIDTH // 2, start[1] + _HEIGHT, end[0] + _WIDTH // 2, end[1]
    bend = (y + to_y) // 2
    return f"M{x} {y} C{x} {bend} {to_x} {bend} {to_x} {to_y}"


def _path_beside(start: tuple[int, int], end: tuple[int, int], lane: int) -> str:
    """Return a path out of the right side, down in the gap between columns, in from the right."""
    corner = 6
    out = max(start[0], end[0]) + _WIDTH + lane * _ACROSS // (_LANES + 1)
    y, to_y = start[1] + _HEIGHT * 2 // 3, end[1] + _HEIGHT // 3
    return (
        f"M{start[0] + _WIDTH} {y} H{out - corner} Q{out} {y} {out} {y + corner} "
        f"V{to_y - corner} Q{out} {to_y} {out - corner} {to_y} H{end[0] + _WIDTH}"
    )


def _drawn(box: _Box, place: tuple[int, int]) -> str:
    x, y = place
    texts = [_text(x + 12, y + _BASELINES[0], box.title, weight="600")]
    texts += [
        _text(x + 12, y + below, line, size=11, colour=GRAY)
        for below, line in zip(_BASELINES[1:], box.lines, strict=False)
    ]
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="#fafafa" '
        f'stroke="#cccccc"/><rect x="{x}" y="{y}" width="5" height="{_HEIGHT}" rx="2" '
        f'fill="{box.colour}"/>{"".join(texts)}'
    )


def _text(
    x: int, y: int, text: str, *, size: int = 12, colour: str = DARK, weight: str = "400"
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
