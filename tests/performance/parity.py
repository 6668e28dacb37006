"""int8.tflite against int8.onnx of the same model, and both against files that were made before.

Usage: parity.py [CHECKPOINT…] [--before FOLDER]. FOLDER holds a bundle for each checkpoint, called
as its folder, made by an earlier Hemline. Latencies are of both files in turn, in blocks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measurement import Result, interleaved, median_ratio, report

from hemline.contract.card import Card
from hemline.contract.checkpoint import read_card
from hemline.contract.stamp import read_stamped
from hemline.data.datasets import Images
from hemline.data.fetch import load_images
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization.calibration import calibration_images
from hemline.export.schemes import find_schemes
from hemline.export.sources.table import open_source
from hemline.runtime import Classifier
from hemline.silence import silenced
from hemline.statistics import paired_drop
from hemline.train.checkpoint import ZOO

_FILES = {"int8.tflite": "litert", "int8.onnx": "onnxruntime"}
_ROUNDS, _CALLS = 41, 200
_LATENCY = 1.03
_LOSS = 0.2  # points
_LABELS = {"hem": 1.0}  # share of equal labels by the first word of a model's name; others:
_OTHERS = 0.998


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[ZOO / "hem-50k"])
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    images = load_images("fashion-mnist")
    results: list[Result] = []
    for checkpoint in options.checkpoints:
        with tempfile.TemporaryDirectory() as folder, silenced():
            before = options.before / checkpoint.name if options.before else None
            results += measured(checkpoint, images, Path(folder), before)
    report("parity", results)


def measured(checkpoint: Path, images: Images, bundle: Path, before: Path | None) -> list[Result]:
    """Return all results of a model."""
    schemes = find_schemes(("int8",))
    export_bundle(ExportRequest(checkpoint=checkpoint, bundle=bundle, schemes=schemes), images)
    card = read_card(checkpoint)
    held_out = list(card.trained.split.validation_indices)
    pixels = np.concatenate([images.train_images[held_out], images.test_images])
    labels = np.concatenate([images.train_labels[held_out], images.test_labels])
    found = {name: logits_of(bundle / name, pixels) for name in _FILES}
    results = [parity(card.model.name, bundle, found), operators(checkpoint, card, bundle, images)]
    if before is not None:
        results += [
            accuracy(card.model.name, before, pixels, labels, found),
            latency(card.model.name, before, bundle, pixels),
            size(card.model.name, before, bundle),
        ]
    return results


def logits_of(file: Path, pixels: Any) -> Any:
    """Return the logits of a file in its runtime."""
    with Classifier.load(file, runtime=_FILES[file.name]) as classifier:
        return classifier.logits(pixels)


def parity(model: str, bundle: Path, found: dict[str, Any]) -> Result:
    """Compare the two files; a step is that of int8.tflite's logits."""
    step = read_stamped(bundle / "int8.tflite").stamp.output.scale
    lite, other = found.values()
    steps = np.abs(lite - other) / step
    changed = np.flatnonzero(lite.argmax(axis=1) != other.argmax(axis=1))
    gaps = lite[changed].max(axis=1) - lite[changed, other[changed].argmax(axis=1)]
    share = 1 - len(changed) / len(lite)
    least = _LABELS.get(model.split("-")[0], _OTHERS)
    equal = float((steps < 0.5).mean())
    return Result(
        claim=f"{model}: int8.tflite and int8.onnx, at least {100 * least:g} % equal labels",
        value=100 * share,
        unit="%",
        met=share >= least and bool((gaps < 1.5 * step).all()) and (least < 1 or equal >= 0.999),
        detail=f"{len(changed)} of {len(lite):,} differ, {100 * equal:.3f} % equal logits, "
        f"others by at most {steps.max():.0f} steps",
    )


def operators(checkpoint: Path, card: Card, bundle: Path, images: Images) -> Result:
    """Count the operators of int8.tflite and of a direct conversion."""
    import tensorflow as tf

    pixels = calibration_images(images, card.trained.split, count=20).images
    with open_source(card.model.source, checkpoint / card.model.file) as source:
        converter = tf.lite.TFLiteConverter.from_saved_model(source.saved_model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [image[None].astype(np.float32)] for image in pixels
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        direct = count_operators(converter.convert())
    own = count_operators((bundle / "int8.tflite").read_bytes())
    return Result(
        claim=f"{card.model.name}: no more operators than a direct conversion",
        value=own,
        unit="operators",
        met=own <= direct,
        detail=f"direct {direct}",
    )


def count_operators(content: bytes) -> int:
    """Return how many operators a TFLite file has."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # which would hide some
    return len(
        Interpreter(model_content=content, experimental_op_resolver_type=kind)._get_ops_details()
    )


def accuracy(model: str, before: Path, pixels: Any, labels: Any, found: dict[str, Any]) -> Result:
    """Compare correct images, paired, with those of the files from before; the worse format."""
    worst, told = -100.0, []
    for name, logits in found.items():
        old = logits_of(before / name, pixels).argmax(axis=1) == labels
        new = logits.argmax(axis=1) == labels
        drop, margin = paired_drop(old, new)
        worst = max(worst, drop + margin)
        told.append(f"{name} {100 * new.mean():.2f} %, before {100 * old.mean():.2f} %")
    return Result(
        claim=f"{model}: at most {_LOSS} points less accurate than before (upper end of 95 %)",
        value=worst,
        unit="points",
        met=worst <= _LOSS,
        detail="; ".join(told),
    )


def latency(model: str, before: Path, bundle: Path, pixels: Any) -> Result:
    """Time both files in turn; the worse format."""
    ratios, told = [], []
    for name in _FILES:
        with runner(bundle / name) as new, runner(before / name) as old:
            image = pixels[:1]

            def seconds(classifier: Classifier, image: Any = image) -> Callable[[], float]:
                def block() -> float:
                    started = time.perf_counter()
                    for _ in range(_CALLS):
                        classifier.logits(image)
                    return time.perf_counter() - started

                return block

            seconds(new)(), seconds(old)()
            a, b = interleaved(seconds(new), seconds(old), _ROUNDS)
        ratios.append(median_ratio(a, b))
        medians = [1e6 * statistics.median(each) / _CALLS for each in (a, b)]
        told.append(f"{name} {medians[0]:.1f} µs, before {medians[1]:.1f} µs")
    return Result(
        claim=f"{model}: latency at most {_LATENCY} × that of the files before",
        value=max(ratios),
        unit="×",
        met=max(ratios) <= _LATENCY,
        detail="; ".join(told),
    )


def runner(file: Path) -> Classifier:
    """Open a file with one thread."""
    return Classifier.load(file, runtime=_FILES[file.name], threads=1)


def size(model: str, before: Path, bundle: Path) -> Result:
    """Compare sizes; the worse format."""
    pairs = {n: ((bundle / n).stat().st_size, (before / n).stat().st_size) for n in _FILES}
    worst = max(new / old for new, old in pairs.values())
    return Result(
        claim=f"{model}: no larger than the files before",
        value=worst,
        unit="×",
        met=worst <= 1,
        detail="; ".join(f"{n} {a:,} bytes, before {b:,}" for n, (a, b) in pairs.items()),
    )


if __name__ == "__main__":
    main()
