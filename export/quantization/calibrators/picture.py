"""The picture of a comparison: a line for each calibrator over the number of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hemline.export.quantization.calibrators.comparison import CalibrationComparison
from hemline.export.quantization.calibrators.table import CALIBRATORS
from hemline.figures import PALETTE, Heading, drawn, legend_below
from hemline.tables import CHANGE

_WIDTH, _HEIGHT = 8.0, 3.4  # inches
_LEAST_SPAN = 1.0  # points: on a shorter axis a few images look like much


def draw_comparison(comparison: CalibrationComparison, path: Path) -> None:
    """Write the picture: the change of accuracy where there are labels, and agreement."""
    labelled = comparison.float_accuracy is not None
    panels = [(CHANGE, lambda trial: -trial.drop_points)] if labelled else []
    panels.append(("same label as in float (%)", lambda trial: 100 * trial.agreement))
    values = [panels[0][1](each) for each in comparison.trials]
    apart = f"{max(values) - min(values):.2f} points of {'accuracy' if labelled else 'agreement'}"
    heading = Heading(
        title=f"{comparison.model}: calibrators are at most {apart} apart",
        subtitle=f"8-bit simulation, {comparison.validation_images:,} validation images; "
        "dashed: made without data; higher is better",
    )
    with drawn(path, heading, width=_WIDTH, height=_HEIGHT) as figure:
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (label, value) in zip(grid, panels, strict=True):
            _panel(axes, comparison, label, value)
        legend_below(figure, grid[0], ncols=6)


def _panel(axes: Any, comparison: CalibrationComparison, label: str, value: Any) -> None:
    synthetic = {row.name for row in CALIBRATORS.values() if row.synthetic}
    counts = sorted({each.images for each in comparison.trials if each.calibrator not in synthetic})
    for colour, row in zip(PALETTE, CALIBRATORS.values(), strict=True):
        found = comparison.of(row.name)
        if row.synthetic:
            for each in found:
                axes.axhline(value(each), color=colour, linestyle="--", label=row.name)
            continue
        x, y = [each.images for each in found], [value(each) for each in found]
        axes.plot(x, y, color=colour, marker="o", markersize=4, label=row.name)
    low, high = axes.get_ylim()
    room = max(0.0, _LEAST_SPAN - (high - low)) / 2
    axes.set_ylim(low - room, min(high + room, 100.0))
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    axes.set_xlabel("calibration images")
    axes.set_ylabel(label)
    axes.grid(visible=True, axis="y")
