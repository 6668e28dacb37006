"""Draw the zoo: accuracy against latency and against size, with what others have published.

Usage: zoo_picture.py [FOLDER]. Reads zoo.jsonl of a folder (default: results/), writes zoo.png.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measurement import ROOT

from hemline.bench.report.placement import Box, place
from hemline.figures import BLUE, DARK, GRAY, ORANGE, Heading, drawn, legend_below
from hemline.statistics import wilson

sys.path.insert(0, str(ROOT / "tools"))

from zoo_table import PUBLISHED, Published, zoo_models

_RUNTIMES = {
    "litert": ("LiteRT", "int8.tflite", BLUE),
    "onnxruntime": ("ONNX Runtime", "int8.onnx", ORANGE),
}
Line = dict[str, Any]


@dataclass(kw_only=True)
class Panel:
    """Axes with accuracies upwards, and the names that are written when all is drawn."""

    axes: Any
    names: list[tuple[float, float, str, str]] = field(default_factory=list)

    def models(self, points: list[tuple[float, str, Line]], runtime: str) -> None:
        """Draw models in a runtime, with the intervals of their accuracies."""
        title, _, colour = _RUNTIMES[runtime]
        for at, (x, name, line) in enumerate(points):
            correct, images = line["int8"][runtime]["test"]
            ends = [100 * end for end in wilson(correct, images)]
            share = 100 * correct / images
            self.axes.plot([x, x], ends, color=colour, alpha=0.5, linewidth=1.3, zorder=2)
            label = "" if at else f"Hemline, int8, {title}"
            self.axes.plot(x, share, "o", color=colour, label=label, zorder=3)
            short = name.rpartition(", ")[2]  # "earlier", near which its model's own point is
            self.names.append((x, share, short if runtime == "litert" else "", DARK))

    def published(self, each: Published, x: tuple[float, ...], remark: str = "") -> None:
        """Draw what others state: one place, or the ends of a range."""
        style = {"color": GRAY, "markerfacecolor": "white", "linewidth": 1.4, "zorder": 2}
        marker = "D" if len(x) == 1 else "|"
        self.axes.plot(x, len(x) * [each.accuracy], marker=marker, **style)
        self.names.append((x[-1], each.accuracy, f"{each.name}{remark}", GRAY))

    def write_names(self) -> None:
        """Write names where they hide nothing."""
        axes, scale = self.axes, self.axes.figure.dpi / 72
        renderer = axes.figure.canvas.get_renderer()
        discs = [
            Box.around(*axes.transData.transform((x, y)), 9 * scale, 9 * scale)
            for x, y, _, _ in self.names
        ]
        paths = (each.get_transform().transform_path(each.get_path()) for each in axes.lines)
        lines = [
            Box.around(x, y, 2, 2) for path in paths for x, y in path.interpolated(40).vertices
        ]
        texts = [
            axes.annotate(name, (x, y), (0, 0), textcoords="offset points", va="bottom", **style)
            for x, y, name, colour in self.names
            for style in [{"color": colour, "fontsize": 8}]
        ]
        extents = [text.get_window_extent(renderer) for text in texts]
        boxes = place(
            discs,
            [(extent.width, extent.height) for extent in extents],
            Box(*axes.get_window_extent(renderer).extents),
            gap=3 * scale,
            obstacles=lines,
        )
        for text, disc, box in zip(texts, discs, boxes, strict=True):
            x, y = (disc.x0 + disc.x1) / 2, (disc.y0 + disc.y1) / 2
            text.set_position(((box.x0 - x) / scale, (box.y0 - y) / scale))


def main() -> None:
    """Draw the picture."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results"
    models = {name: lines[0] for name, lines in zoo_models(folder).items()}
    hosts = sorted({line["host"] for line in models.values()})
    heading = Heading(
        title="Fashion-MNIST: int8 accuracy against latency and size",
        subtitle=f"10,000 test images; bars: 95 % intervals; one core of {'; '.join(hosts)}",
    )
    with drawn(folder / "zoo.png", heading, width=10.0, height=4.4) as figure:
        panels = [Panel(axes=axes) for axes in figure.subplots(1, 2, sharey=True)]
        latencies(panels[0], models)
        sizes(panels[1], models)
        panels[0].axes.set_ylabel("test accuracy, %")
        for panel in panels:
            panel.axes.set_xscale("log")
            panel.axes.margins(x=0.12, y=0.08)
            panel.axes.grid()
        panels[0].axes.plot(
            [], [], "D", color=GRAY, markerfacecolor="white", label="published, float"
        )
        panels[0].axes.plot(
            [], [], "-|", color=GRAY, label="published, float: bytes from its parameters"
        )
        legend_below(figure, panels[0].axes, ncols=4)
        figure.canvas.draw()  # fixes the layout: names are placed in pixels
        for panel in panels:
            panel.write_names()


def latencies(panel: Panel, models: dict[str, Line]) -> None:
    """Draw the left half."""
    panel.axes.set_xlabel("median latency of one image, µs")
    timed = {name: line for name, line in models.items() if "latency" in line}
    for runtime in _RUNTIMES:
        points = [(x["latency"][runtime]["median_us"], n, x) for n, x in timed.items()]
        panel.models(points, runtime)
    for each in PUBLISHED:
        if each.latency_us:
            panel.published(each, (each.latency_us,), "\non its machine")


def sizes(panel: Panel, models: dict[str, Line]) -> None:
    """Draw the right half; a number of parameters becomes a range of sizes."""
    panel.axes.set_xlabel("file, kB; where only parameters are published: 1 to 4 bytes for each")
    for runtime, (_, file, _) in _RUNTIMES.items():
        panel.models([(x["sizes"][file] / 1000, n, x) for n, x in models.items()], runtime)
    for each in PUBLISHED:
        if each.size_bytes:
            panel.published(each, (each.size_bytes / 1000,))
        elif each.parameters:
            panel.published(each, (each.parameters / 1000, 4 * each.parameters / 1000))


if __name__ == "__main__":
    main()
