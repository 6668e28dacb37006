"""Draw the roofline of profiled cells, and where the time of each of them goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemline.bench.profiling.roofline import CellMarks, Roofline, roofline
from hemline.contract.profile import Probe
from hemline.contract.record import Record
from hemline.figures import DARK, LIGHT, PALETTE, Heading, drawn, legend_below

_COLUMNS = 3  # of panels
_PANEL_INCHES = (4.2, 3.9)
_BAR_INCHES = 0.42
_AREA = 400.0  # square points, of an operator that takes all of the time
_LEAST_SHARE = 0.02  # of the time, that is shown in the roofline
_LEAST_LABELLED = 5.0  # percent that are written into a bar
_AXIS = "multiply-accumulates per byte moved (squares: whole models; discs: operators, area: time)"
_LEGEND: dict[str, Any] = {"fontsize": 7.0, "frameon": False, "ncols": 2, "columnspacing": 1.0}
_SMALL = 7.0  # points
# what an operator is, by a part of its kind; the first row that fits counts
_GROUPS = {
    "DEPTHWISE": "depthwise convolution",
    "CONV": "convolution",
    "FULLY_CONNECTED": "dense layer",
    "GEMM": "dense layer",
    "MATMUL": "dense layer",
    "POOL": "pooling",
    "MEAN": "pooling",
    "ADD": "addition, product",
    "MUL": "addition, product",
}
_OTHER = "layout and others"
_COLOURS = dict(
    zip(
        dict.fromkeys(("fixed cost", *_GROUPS.values(), _OTHER)),
        (DARK, PALETTE[1], *PALETTE[:1], *PALETTE[2:5], LIGHT),
        strict=True,
    )
)


def draw_profiles(records: Sequence[Record], folder: Path) -> tuple[Path, ...]:
    """Write the pictures of profiles; return their paths, none where no profile has times.

    Raises HemlineError when a file cannot be written.
    """
    found = roofline(records)
    if not found:
        return ()
    conditions = records[-1].conditions
    host = conditions.host
    subtitle = f"{host.processor}, {host.cores} cores, {conditions.date[:10]}"
    paths = (folder / "profile-roofline.png", folder / "profile-operators.png")
    for draw, path in zip((draw_roofline, draw_operators), paths, strict=True):
        draw(found, path, subtitle)
    return paths


def draw_roofline(rooflines: Sequence[Roofline], path: Path, subtitle: str) -> None:
    """Write a PNG with a panel for each runtime: a square for a cell, discs for its operators."""
    columns = min(_COLUMNS, len(rooflines))
    rows = -(-len(rooflines) // columns)
    width, height = columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]
    heading = Heading(title="What each operator reaches of what its runtime can", subtitle=subtitle)
    with drawn(path, heading, width=max(width, heading.width), height=height) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        limits = _limits(rooflines)
        for panel, axes in zip(rooflines, grid.flat, strict=False):
            axes.set(xscale="log", yscale="log", **limits)
            axes.set_title(panel.title, loc="left")
            axes.grid(which="major")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:g}")
            _roofs(axes, panel.probe)
            for at, cell in enumerate(panel.cells):
                _marks(axes, cell, PALETTE[at % len(PALETTE)])
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.08), **_LEGEND)
        for axes in grid.flat[len(rooflines) :]:
            axes.remove()
        figure.supxlabel(_AXIS, fontsize=9)
        figure.supylabel("GMAC/s", fontsize=9)


def _limits(rooflines: Sequence[Roofline]) -> dict[str, tuple[float, float]]:
    cells = [cell for panel in rooflines for cell in panel.cells]
    points = [point[:2] for cell in cells for point in _shown(cell)]
    points += [(cell.whole.intensity or 1.0, cell.whole.gmacs or 1.0) for cell in cells]
    x, y = map(list, zip(*points, strict=True))
    probes = [panel.probe for panel in rooflines if panel.probe is not None]
    y += [peak for probe in probes for peak in (probe.float_gmacs, probe.int8_gmacs) if peak]
    return {"xlim": (min(x) / 2, 2 * max(x)), "ylim": (min(y) / 2, 2 * max(y))}


def _roofs(axes: Any, probe: Probe | None) -> None:
    """Draw what is reached at most: the smaller of a peak and what the memory can deliver."""
    if probe is None:
        return
    low, high = axes.get_xlim()
    x = np.geomspace(low, high, 200)
    peaks = {"float": probe.float_gmacs, "int8": probe.int8_gmacs}
    highest = max((peak for peak in peaks.values() if peak), default=0.0)
    for (name, peak), style in zip(peaks.items(), ("-", "--"), strict=True):
        if peak is not None:
            roof = np.minimum(peak, x * (probe.gigabytes or np.inf))
            axes.plot(x, roof, style, color=DARK, linewidth=1, zorder=2)
            side = "bottom" if peak == highest else "top"  # two peaks may be close together
            text = f"{name} {peak:.0f} GMAC/s "
            axes.annotate(text, (high, peak), ha="right", va=side, fontsize=_SMALL)
    if probe.gigabytes is not None:
        at = 1.2 * low, 1.05 * low * probe.gigabytes
        axes.annotate(f"   {probe.gigabytes:.0f} GB/s", at, va="top", fontsize=_SMALL)


def _marks(axes: Any, cell: CellMarks, colour: str) -> None:
    shown = _shown(cell)
    x, y, areas = ([*each] for each in zip(*shown, strict=True)) if shown else ([], [], [])
    axes.scatter(x, y, s=areas, color=colour, alpha=0.5, linewidth=0, zorder=3)
    whole = cell.whole
    label = f"{whole.name} {whole.ns / 1e3:.1f} µs"
    place = ([whole.intensity], [whole.gmacs]) if whole.intensity else ([], [])
    axes.plot(*place, "s", color=colour, markeredgecolor="white", zorder=4, label=label)


def _shown(cell: CellMarks) -> list[tuple[float, float, float]]:
    """Return intensity, rate and area of the discs of a cell; a fiftieth of its time has none."""
    return [
        (mark.intensity, mark.gmacs, _AREA * mark.share)
        for mark in cell.operators
        if mark.intensity and mark.gmacs and mark.share >= _LEAST_SHARE
    ]


def draw_operators(rooflines: Sequence[Roofline], path: Path, subtitle: str) -> None:
    """Write a PNG with a bar for each cell, made of its operators in order."""
    rows = [(panel, cell) for panel in rooflines for cell in panel.cells]
    heading = Heading(title="Where the time goes, operator by operator", subtitle=subtitle)
    height = 1.3 + _BAR_INCHES * len(rows)
    with drawn(path, heading, width=max(9.0, heading.width), height=height) as figure:
        axes = figure.subplots()
        axes.axvline(100, color="black", linewidth=1)
        named: set[str] = set()
        for at, (_, cell) in enumerate(rows):
            _bar(axes, at, cell, named)
        names = [f"{cell.whole.name}, {panel.title}" for panel, cell in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0)
        axes.set_xlabel("% of the time of the whole model")
        axes.grid(axis="x")
        legend_below(figure, axes, ncols=4)


def _bar(axes: Any, at: int, cell: CellMarks, named: set[str]) -> None:
    """Draw a cell's bar; `named` are the groups that the legend has already."""
    fixed = ("fixed cost", 100 * cell.fixed_ns / cell.whole.ns)
    left = 0.0
    for group, share in (fixed, *((_group(m.kind), 100 * m.share) for m in cell.operators)):
        label = group if group not in named and share else None
        edge = 0.6 if share > 1 else 0.0
        colours = {"color": _COLOURS[group], "edgecolor": "white", "linewidth": edge}
        axes.barh(at, share, 0.7, left, label=label, **colours)
        if share > _LEAST_LABELLED:
            place, text = (left + share / 2, at), f"{share:.0f} %"
            axes.annotate(text, place, ha="center", va="center", fontsize=_SMALL, color="white")
        named |= {group} if label else set()
        left += share
    axes.annotate(f" {cell.whole.ns / 1e3:.1f} µs", (max(left, 100), at), va="center", fontsize=8)


def _group(kind: str) -> str:
    return next((group for part, group in _GROUPS.items() if part in kind.upper()), _OTHER)
