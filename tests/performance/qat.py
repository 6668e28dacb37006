"""Quantization-aware training against calibration alone: same checkpoint, same images, some seeds.

Usage: qat.py [CHECKPOINT…] [--seeds N] [--epochs N] [--widths]. Of hem-50k the kernels have 4 bits;
of each CHECKPOINT 7, or 4 with `CHECKPOINT:4`. --widths measures hem-50k with 8 to 3 bits instead,
and draws the picture. Each run is a line in results/quantization/, so that a stopped script goes
on. Choices are made on validation; the accuracies are of the test split.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measurement import ROOT, Result, report

from hemline.train.tensorflow import quiet_keras

quiet_keras()

from hemline.contract.checkpoint import read_card  # noqa: E402 — after TensorFlow's noise
from hemline.data.datasets import Images  # noqa: E402
from hemline.data.fetch import load_images  # noqa: E402
from hemline.export.quantization import simulation  # noqa: E402
from hemline.export.quantization.calibration import calibration_images  # noqa: E402
from hemline.export.quantization.options import QuantizationOptions  # noqa: E402
from hemline.export.quantization.planning import Planning  # noqa: E402
from hemline.export.quantization.post_training import post_training  # noqa: E402
from hemline.export.quantization.qat.course import Course  # noqa: E402
from hemline.export.quantization.qat.planning import with_widths  # noqa: E402
from hemline.export.sources.source import ModelSource  # noqa: E402
from hemline.export.sources.table import open_source  # noqa: E402
from hemline.export.trained_data import split_of  # noqa: E402
from hemline.figures import BLUE, GRAY, ORANGE, Heading, drawn, legend_below  # noqa: E402
from hemline.train.checkpoint import ZOO  # noqa: E402

_FOLDER = ROOT / "results" / "quantization"
_WIDTHS = (8, 7, 6, 5, 4, 3)
_RECOVERED = 0.5  # of the loss, at least
_WORTH_POINTS = 1.0  # a loss that is worth a training


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training: accuracies of the test split in percent, epochs, and seconds it took."""

    model: str
    bits: int
    seed: int
    float_accuracy: float
    calibrated_accuracy: float
    trained_accuracy: float
    seconds: float

    @property
    def key(self) -> tuple[str, int, int]:
        """Return what no other line has."""
        return self.model, self.bits, self.seed


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--widths", action="store_true")
    options = parser.parse_args()
    images, seeds = load_images("fashion-mnist"), range(options.seeds)
    if options.widths:
        wanted = [(ZOO / "hem-50k", bits, seed) for seed in seeds for bits in _WIDTHS]
        draw(measured(_FOLDER / "widths.jsonl", wanted, images, options.epochs))
        return
    models = [(ZOO / "hem-50k", 4), *(_named(each) for each in options.checkpoints)]
    wanted = [(folder, bits, seed) for folder, bits in models for seed in seeds]
    runs = measured(_FOLDER / "qat.jsonl", wanted, images, options.epochs)
    report("qat", [claim(runs, folder.name, bits) for folder, bits in models])


def _named(given: str) -> tuple[Path, int]:
    folder, _, bits = given.partition(":")
    return Path(folder), int(bits or 7)


def measured(
    file: Path, wanted: Iterable[tuple[Path, int, int]], images: Images, epochs: int | None
) -> list[Run]:
    """Return all runs of a file, after those that are wanted and missing were added."""
    lines = file.read_text().splitlines() if file.exists() else []
    runs = [Run(**json.loads(line)) for line in lines]
    for folder, bits, seed in wanted:
        if (folder.name, bits, seed) not in {run.key for run in runs}:
            runs.append(run_of(folder, bits, seed, images, epochs))
            print(runs[-1], flush=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            runs.sort(key=lambda run: (run.model, -run.bits, run.seed))
            file.write_text("".join(json.dumps(asdict(run)) + "\n" for run in runs))
    return runs


def run_of(folder: Path, bits: Any, seed: int, images: Images, epochs: int | None) -> Run:
    """Calibrate and train one model, and evaluate it on the test split."""
    card = read_card(folder)
    options = QuantizationOptions(seed=seed, training_epochs=epochs)
    split = split_of(card, images)
    calibration = calibration_images(images, split, count=None)
    source: AbstractContextManager[ModelSource] = open_source(
        card.model.source, folder / card.model.file
    )
    with source as opened, tempfile.TemporaryDirectory() as work:
        int8 = post_training(opened.float_graph, calibration, options.post_training)
        planning = Planning(
            source=opened,
            card=card,
            images=images,
            split=split,
            calibration=calibration,
            options=options,
            int8=int8,
            work=Path(work),
            say=lambda line: print(line, flush=True),
        )
        start = with_widths(int8, inner=bits, outer=bits)
        began = time.perf_counter()
        found = Course(planning).trained(start, "training")
        seconds = time.perf_counter() - began
        pixels, accuracy = images.test_images, _judge(images)
        return Run(
            model=folder.name,
            bits=bits,
            seed=seed,
            float_accuracy=accuracy(simulation.float_logits(opened.float_graph, pixels)),
            calibrated_accuracy=accuracy(simulation.logits(start, pixels)),
            trained_accuracy=accuracy(simulation.logits(found, pixels)),
            seconds=round(seconds, 1),
        )


def _judge(images: Images) -> Callable[[Any], float]:
    def accuracy(logits: Any) -> float:
        return round(100 * float((logits.argmax(axis=1) == images.test_labels).mean()), 2)

    return accuracy


def claim(runs: list[Run], model: str, bits: int) -> Result:
    """Compare the mean loss after training with that of calibration alone."""
    own = [run for run in runs if (run.model, run.bits) == (model, bits)]
    lost = statistics.mean(run.float_accuracy - run.calibrated_accuracy for run in own)
    left = [run.float_accuracy - run.trained_accuracy for run in own]
    share = (lost - statistics.mean(left)) / lost if lost > 0 else 0.0
    seconds = statistics.median(run.seconds for run in own)
    return Result(
        claim=f"{model} with {bits}-bit weights: training recovers half of a loss of a point",
        value=100 * share,
        unit="%",
        met=share >= _RECOVERED or lost < _WORTH_POINTS,
        detail=f"float {own[0].float_accuracy:.2f} %; calibration loses {lost:.2f} points, "
        f"training {', '.join(f'{each:.2f}' for each in left)} ({seconds:.0f} s each)",
    )


def draw(runs: list[Run]) -> None:
    """Draw the test accuracy against the width of the weights."""
    seeds = len({run.seed for run in runs})
    heading = Heading(
        title="Accuracy against the width of the weights",
        subtitle="hem-50k, 10,000 test images"
        + (f"; mean and span of {seeds} seeds of training" if seeds > 1 else ""),
    )
    with drawn(_FOLDER / "widths.png", heading, width=6.0, height=3.4) as figure:
        axes = figure.subplots()
        axes.grid(axis="y")
        axes.axhline(runs[0].float_accuracy, color=GRAY, linestyle="--", linewidth=1, label="float")
        for label, colour, values in (
            ("calibrated only", ORANGE, lambda run: run.calibrated_accuracy),
            ("trained", BLUE, lambda run: run.trained_accuracy),
        ):
            groups = [[values(run) for run in runs if run.bits == bits] for bits in _WIDTHS]
            means = [statistics.mean(group) for group in groups]
            axes.plot(_WIDTHS, means, marker="o", color=colour, label=label)
            axes.fill_between(
                _WIDTHS, list(map(min, groups)), list(map(max, groups)), color=colour, alpha=0.2
            )
            for bits, mean in zip(_WIDTHS, means, strict=True):
                _write_value(axes, bits, mean, colour, above=label == "trained")
        axes.invert_xaxis()
        axes.margins(x=0.1, y=0.12)
        axes.set_xlabel("bits of each weight")
        axes.set_ylabel("test accuracy, %")
        legend_below(figure, axes)


def _write_value(axes: Any, bits: int, value: float, colour: str, *, above: bool) -> None:
    axes.annotate(
        f"{value:.1f}",
        (bits, value),
        xytext=(0, 7) if above else (-3, -13),
        textcoords="offset points",
        ha="center" if above else "right",
        fontsize=8,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )


if __name__ == "__main__":
    main()
