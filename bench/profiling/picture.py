"""Draw the roofline of profiled cells, and where the time of each of them goes.

An operator that does I multiply-accumulates for each byte that it moves reaches at most the smaller
of the peak of its arithmetic and I times the bandwidth (Williams, Waterman and Patterson, Roofline:
an Insightful Visual Performance Model, 2009). Values that stay in a cache can pass that of memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hemline.contract.profile import Probe, Profile
from hemline.contract.record import Cell, Record
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
ROOFS = {"float": "dashed", "int8": "solid"}  # lines of the report's plots, too
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
_FIXED, _OTHER = "fixed cost", "layout and others"
_COLOURS = dict(
    zip(
        dict.fromkeys((_FIXED, *_GROUPS.values(), _OTHER)),
        (DARK, PALETTE[1], PALETTE[0], *PALETTE[2:5], LIGHT),
        strict=True,
    )
)
_PALE = PALETTE[1:2] + PALETTE[3:5]  # white letters cannot be read on these


class Panel(NamedTuple):
    """Profiles by name of their cell, under the same roofs: a runtime in its settings on a host."""

    title: str
    profiles: list[tuple[str, Profile]]

    @property
    def probe(self) -> Probe | None:
        """Return the roofs, where they are known."""
        return next((p.probe for _, p in self.profiles if p.probe is not None), None)


def draw_profiles(records: Sequence[Record], folder: Path) -> tuple[Path, ...]:
    """Write the pictures of profiles; return their paths, none where no profile has times.

    Raises HemlineError when a file cannot be written.
    """
    found = panels(records)
    if not found:
        return ()
    conditions = records[-1].conditions
    host = conditions.host
    subtitle = f"{host.processor}, {host.cores} cores, {conditions.date[:10]}"
    paths = (folder / "profile-roofline.png", folder / "profile-operators.png")
    for draw, path in zip((draw_roofline, draw_operators), paths, strict=True):
        draw(found, path, subtitle)
    return paths


def panels(records: Iterable[Record]) -> tuple[Panel, ...]:
    """Return the profiles that have times, by their roofs."""
    timed = [
        (record.cell, record.payload)
        for record in records
        if isinstance(record.payload, Profile) and record.payload.whole_ns
    ]
    several = len({cell.model for cell, _ in timed}) > 1
    found: dict[tuple[str, str], Panel] = {}
    for cell, profile in timed:
        name = f"{cell.model} {cell.artifact}" if several else cell.artifact
        panel = found.setdefault((cell.host, _title(cell)), Panel(_title(cell), []))
        panel.profiles.append((name, profile))
    return tuple(found.values())


def names(found: Iterable[Panel]) -> list[str]:
    """Return the names of the cells in the order of their colours, which all panels share."""
    return list(dict.fromkeys(name for panel in found for name, _ in panel.profiles))


def _title(cell: Cell) -> str:
    threads = f"{cell.threads} threads" if cell.threads > 1 else ""
    device = "" if cell.device == "local" else cell.device
    runtime = f"{cell.runtime} {cell.runtime_version}"
    return ", ".join(filter(None, (runtime, cell.settings.text, threads, device)))


def draw_roofline(found: Sequence[Panel], path: Path, subtitle: str) -> None:
    """Write a PNG with a panel for each runtime: a square for a cell, discs for its operators."""
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    width, height = columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]
    heading = Heading(title="Speed of operators, and limits of the runtimes", subtitle=subtitle)
    with drawn(path, heading, width=max(width, heading.width), height=height) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        colours = dict(zip(names(found), itertools.cycle(PALETTE), strict=False))
        for panel, axes in zip(found, grid.flat, strict=False):
            axes.set(xscale="log", yscale="log")
            axes.set_title(panel.title, loc="left")
            axes.grid(which="major")
            for name, profile in panel.profiles:
                _marks(axes, name, profile, colours[name])
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.08), **_LEGEND)
        low, high = grid[0, 0].get_xlim()
        for panel, axes in zip(found, grid.flat, strict=False):
            _roofs(axes, panel.probe, low / 2, 2 * high)
        for axes in grid.flat[len(found) :]:
            axes.remove()
        figure.supxlabel(_AXIS, fontsize=9)
        figure.supylabel("GMAC/s", fontsize=9)


def _roofs(axes: Any, probe: Probe | None, low: float, high: float) -> None:
    """Draw what is reached at most: the smaller of a peak and what the memory can deliver."""
    axes.set_xlim(low, high)
    if probe is None:
        return
    x, peaks = np.geomspace(low, high, 200), {"float": probe.float_gmacs, "int8": probe.int8_gmacs}
    highest = max((peak for peak in peaks.values() if peak), default=0.0)
    for name, peak in peaks.items():
        if peak is not None:
            roof = np.minimum(peak, x * (probe.gigabytes or np.inf))
            axes.plot(x, roof, linestyle=ROOFS[name], color=DARK, linewidth=1, zorder=2)
            # two peaks may be close together
            side, above = ("bottom", 1.5) if peak == highest else ("top", -2.5)
            align: dict[str, Any] = {"ha": "right", "va": side, "textcoords": "offset points"}
            text, place = f"{name} {peak:.0f} GMAC/s", (-3, above)
            axes.annotate(text, (high, peak), place, fontsize=_SMALL, **align)
    if probe.gigabytes is not None:
        _memory(axes, probe.gigabytes, highest, low, high)


def _memory(axes: Any, gigabytes: float, highest: float, low: float, high: float) -> None:
    """Write the bandwidth above all roofs: left of the slope, or on the highest of flat ones."""
    knee = min(high, highest / gigabytes if highest else high)
    sloped = knee > low * (high / low) ** 0.35  # room for the text
    x = low * (knee / low) ** 0.8 if sloped else low
    place, align = (x, x * gigabytes if sloped else highest), "right" if sloped else "left"
    options: dict[str, Any] = {"ha": align, "va": "bottom", "fontsize": _SMALL}
    axes.annotate(
        f"memory {gigabytes:.0f} GB/s", place, (0, 1.5), textcoords="offset points", **options
    )


def _marks(axes: Any, name: str, profile: Profile, colour: str) -> None:
    """Draw a square for a cell, discs for operators that take more than a fiftieth of its time."""
    whole = profile.whole
    least_ns = _LEAST_SHARE * (whole.ns or 0)
    shown = [each for each in profile.operators if each.gmacs and (each.ns or 0) >= least_ns]
    areas = [_AREA * (each.ns or 0) / (whole.ns or 1) for each in shown]
    x, y = [each.intensity for each in shown], [each.gmacs for each in shown]
    axes.scatter(x, y, s=areas, color=colour, alpha=0.5, linewidth=0, zorder=3)
    place, label = ([whole.intensity], [whole.gmacs]), f"{name} {(whole.ns or 0) / 1e3:.1f} µs"
    axes.plot(*place, "s", color=colour, markeredgecolor="white", zorder=4, label=label)


def draw_operators(found: Sequence[Panel], path: Path, subtitle: str) -> None:
    """Write a PNG with a bar for each cell, made of its operators in order."""
    rows = [(f"{name}, {panel.title}", p) for panel in found for name, p in panel.profiles]
    heading = Heading(title="Where the time goes, operator by operator", subtitle=subtitle)
    height = 1.3 + _BAR_INCHES * len(rows)
    with drawn(path, heading, width=max(9.0, heading.width), height=height) as figure:
        axes = figure.subplots()
        axes.axvline(100, color="black", linewidth=1)
        named: set[str] = set()
        for at, (_, profile) in enumerate(rows):
            _bar(axes, at, profile, named)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0)
        axes.set_xlabel("% of the time of the whole model")
        axes.grid(axis="x")
        legend_below(figure, axes, ncols=4)


def _bar(axes: Any, at: int, profile: Profile, named: set[str]) -> None:
    """Draw a cell's bar; `named` are the groups that the legend has already."""
    whole_ns = profile.whole_ns or 1
    fixed_ns = 0 if profile.probe is None else profile.probe.fixed_ns
    parts = [(_FIXED, fixed_ns), *((_group(o.kind), o.ns or 0) for o in profile.operators)]
    left = 0.0
    for group, ns in parts:
        share = 100 * ns / whole_ns
        label = group if group not in named and ns else None
        edge = 0.6 if share > 1 else 0.0
        colours = {"color": _COLOURS[group], "edgecolor": "white", "linewidth": edge}
        axes.barh(at, share, 0.7, left, label=label, **colours)
        if share > _LEAST_LABELLED:
            place, text = (left + share / 2, at), f"{share:.0f} %"
            ink = "black" if _COLOURS[group] in _PALE else "white"
            axes.annotate(text, place, ha="center", va="center", fontsize=_SMALL, color=ink)
        named |= {group} if label else set()
        left += share
    axes.annotate(f" {whole_ns / 1e3:.1f} µs", (max(left, 100), at), va="center", fontsize=8)


def _group(kind: str) -> str:
    return next((group for part, group in _GROUPS.items() if part in kind.upper()), _OTHER)
