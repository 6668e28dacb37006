"""Layers in float where 8 bits cost accuracy: what they bring back, and what they cost.

Usage: mixed.py CHECKPOINT… [--max-drop POINTS]. Each CHECKPOINT classifies Fashion-MNIST, as
damaged.py makes them. The layers are chosen on validation; losses are of both splits. Each line of
results/quantization/mixed.jsonl is one model; a model that is measured anew replaces its line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measurement import ROOT, Result, report

from hemline.contract.checkpoint import read_card
from hemline.contract.evaluation_set import EvaluationSplit, load_split
from hemline.contract.job import Job
from hemline.contract.manifest import Manifest
from hemline.contract.stamp import read_stamped
from hemline.data.fetch import load_images
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization import simulation
from hemline.export.quantization.mixed.timing import time_ratio
from hemline.export.quantization.options import QuantizationOptions
from hemline.export.quantization.plan_table import read_plans
from hemline.export.quantization.quantized import Quantized
from hemline.export.schemes import find_schemes
from hemline.export.sources.source import ModelSource
from hemline.export.sources.table import open_source
from hemline.export.writers.converted import ConvertedModel
from hemline.runtime.process import JobProcess
from hemline.statistics import paired_drop

_FILE = ROOT / "results" / "quantization" / "mixed.jsonl"
_RECOVERED = 0.75  # of the loss, at least
_EQUAL = 99.8  # percent of labels, at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One model.

    layers, in_float: how many it has, and the names of those in float.
    lost, margin: points lost and half of their 95 % interval, by split and scheme, of the ONNX
        graph in ONNX Runtime, whose file may be left out for its time.
    equal: percent of its validation labels that int8-mixed.tflite gives, by runtime.
    time: of a file as a share of that of the float file, by name.
    seconds: that the export took.
    left_out: files that were not made, with the reasons.
    """

    model: str
    layers: int
    in_float: tuple[str, ...]
    lost: dict[str, dict[str, float]]
    margin: dict[str, dict[str, float]]
    equal: dict[str, float]
    time: dict[str, float]
    bytes: dict[str, int]
    seconds: float
    left_out: tuple[str, ...] = ()


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--max-drop", type=float)
    options = parser.parse_args()
    lines = [measured(folder, options.max_drop) for folder in options.checkpoints]
    known = _FILE.read_text().splitlines() if _FILE.exists() else []
    others = [x for x in known if json.loads(x)["model"] not in {line.model for line in lines}]
    _FILE.parent.mkdir(parents=True, exist_ok=True)
    written = sorted([*others, *(json.dumps(asdict(line)) for line in lines)])
    _FILE.write_text("".join(f"{line}\n" for line in written))
    report("mixed", [result for line in lines for result in (recovery(line), parity(line))])


def measured(checkpoint: Path, budget: float | None) -> Line:
    """Export one model in float, in 8 bits and mixed; compare the files."""
    with tempfile.TemporaryDirectory() as name:
        bundle, began = Path(name), time.perf_counter()
        request = ExportRequest(
            checkpoint=checkpoint,
            bundle=bundle,
            schemes=find_schemes(("fp32", "int8", "int8-mixed")),
            options=QuantizationOptions(max_drop_points=budget),
        )
        manifest = export_bundle(request, load_images("fashion-mnist"), say=print)
        seconds = time.perf_counter() - began
        card = read_card(checkpoint)
        with open_source(card.model.source, checkpoint / card.model.file) as source:
            return compared(source, bundle, manifest, checkpoint.name, seconds)


def compared(
    source: ModelSource, bundle: Path, manifest: Manifest, model: str, seconds: float
) -> Line:
    """Run the plans and the files on the validation and the test split."""
    made = {each.name: each for each in manifest.artifacts}
    plans = {made[name].scheme: plan for name, plan in read_plans(bundle).items()}
    lost: dict[str, dict[str, float]] = {}
    margin: dict[str, dict[str, float]] = {}
    equal: dict[str, float] = {}
    for name in ("validation", "test"):
        split = load_split(bundle, name, manifest.evaluation_sha256)
        lost[name], margin[name] = {}, {}
        expected = split.logits.argmax(axis=1) == split.labels
        for scheme, plan in plans.items():
            quantized = Quantized(float_graph=source.float_graph, plan=plan)
            found = simulation.logits(quantized, np.asarray(split.images)).argmax(axis=1)
            drop = paired_drop(expected, found == split.labels)
            lost[name][scheme], margin[name][scheme] = (round(each, 2) for each in drop)
        if name == "validation" and "int8-mixed.tflite" in made:
            for runtime in ("litert", "tflite-runtime"):
                other = predicted(bundle / "int8-mixed.tflite", runtime, split)
                equal[runtime] = round(100 * float(np.mean(found == other)), 2)
    return Line(
        model=model,
        layers=len(plans["int8"].weights),
        in_float=tuple(
            each.layer.removesuffix(".weight") for each in plans["int8-mixed"].float_layers
        ),
        lost=lost,
        margin=margin,
        equal=equal,
        time={
            name: round(time_ratio(*files(bundle, name), made[name].format), 2)
            for name in made
            if made[name].scheme != "fp32"
        },
        bytes={name: each.size_bytes for name, each in made.items()},
        seconds=round(seconds, 1),
        left_out=tuple(f"{each.name}: {each.reason}" for each in manifest.left_out),
    )


def predicted(file: Path, runtime: str, split: EvaluationSplit) -> Any:
    """Return the classes of all images of a split, found in a process of its own."""
    with tempfile.TemporaryDirectory() as arrays, JobProcess() as process:
        job = Job(
            id=file.name,
            artifact=str(file),
            runtime=runtime,
            images=str(split.images_path),
            arrays=arrays,
        )
        result = process.run(job)
        assert result.failure is None, result.failure
        return result.logits().argmax(axis=1)


def files(bundle: Path, name: str) -> tuple[ConvertedModel, ConvertedModel]:
    """Return a file and the float file of its format."""
    stamped = [read_stamped(bundle / each) for each in (name, f"fp32.{name.rpartition('.')[2]}")]
    first, second = (
        ConvertedModel(content=each.model, input=each.stamp.input, outputs=each.stamp.outputs)
        for each in stamped
    )
    return first, second


def recovery(line: Line) -> Result:
    """Compare what is lost with and without layers in float, on the test split."""
    before, after = line.lost["test"]["int8"], line.lost["test"]["int8-mixed"]
    value = 1 - after / before if before else 1.0
    return Result(
        claim=f"{line.model}: mixed precision recovers {_RECOVERED:.0%} of the loss or more",
        value=round(value, 3),
        unit="of the loss",
        met=value >= _RECOVERED,
        detail=f"test: {before} points lost in 8 bits, {after} with {len(line.in_float)} of "
        f"{line.layers} layers in float; time against fp32: {line.time}",
    )


def parity(line: Line) -> Result:
    """Compare the predictions of the mixed files."""
    value = min(line.equal.values(), default=100.0)
    return Result(
        claim=f"{line.model}: the mixed files give {_EQUAL} % of equal labels or more",
        value=value,
        unit="%",
        met=value >= _EQUAL,
        detail=f"int8-mixed.tflite against the ONNX graph, validation: {line.equal}",
    )


if __name__ == "__main__":
    main()
