"""What `bench --tune` and `advise` bring: for hem-50k and two nets with random weights.

python tests/performance/tuning.py [--rounds N]

Some five minutes. The nets show what hem-50k does not have: HARD_SWISH and depthwise convolutions,
and channel counts that are multiples of nothing. Their accuracy means nothing, their times do.
Writes results/bench/tuning.jsonl, and the claim about Classifier into results/performance.jsonl.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from measurement import BUNDLE, ROOT, Result, interleaved, median_ratio, report

from hemline.bench.devices.local import LocalDevice
from hemline.bench.measuring.plan import QUICK
from hemline.bench.measuring.subject import Subject
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.bench.tuning.table import trials_table
from hemline.bench.tuning.tuning import tune, winners
from hemline.contract.manifest import read_manifest
from hemline.contract.stamp import read_stamped
from hemline.host import host_facts
from hemline.provenance import commit, utc_now
from hemline.runtime import Classifier
from hemline.tables import as_text

RESULTS = ROOT / "results" / "bench" / "tuning.jsonl"
_HEMLINE = [sys.executable, "-c", "from hemline.cli import main; main()"]
_PAIRS = (
    ("int8.tflite", "litert"),
    ("int8.tflite", "tflite-runtime"),
    ("fp32.tflite", "litert"),
    ("int8.onnx", "onnxruntime"),
)
_TUNED_RATIO = 0.6  # of the default: 83 and 236 µs in the prototype on another machine
_ADVISED_RATIO = 0.8  # of the time; the arithmetic is 0.87 of it
_MAKE = """
import sys
from keras import Input, Model, layers as L, utils
utils.set_random_seed(0)
x = image = Input((64, 64, 3))
for channels in (20, 36, 60):
    x = L.Conv2D(channels, 3, strides=2, padding="same")(x)
    x = L.Activation("hard_silu")(L.BatchNormalization()(x))
    x = L.Activation("hard_silu")(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(x)))
Model(image, L.Dense(10)(L.GlobalAveragePooling2D()(x))).save(sys.argv[1] + "/hard-swish.keras")
for name, counts in ("odd", (18, 34, 50)), ("even", (16, 32, 48)):
    x = image = Input((64, 64, 3))
    for channels in counts:
        x = L.MaxPooling2D()(L.ReLU()(L.Conv2D(channels, 3, padding="same")(x)))
    x = L.Dense(10)(L.GlobalAveragePooling2D()(x))
    Model(image, x).save(f"{sys.argv[1]}/{name}-channels.keras")
"""


def bundles(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and bundle of each model, made or copied below a folder."""
    yield "hem-50k", Path(shutil.copytree(BUNDLE, folder / "hem-50k"))
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (600, 64, 64, 3), np.uint8), np.arange(600) % 10
    np.savez(folder / "images.npz", x=images, y=labels)
    subprocess.run([sys.executable, "-c", _MAKE, str(folder)], check=True, capture_output=True)
    for name in ("hard-swish", "odd-channels", "even-channels"):
        checkpoint, bundle = folder / f"{name}.checkpoint", folder / name
        data = ["--data", str(folder / "images.npz")]
        model = [str(folder / f"{name}.keras"), "--pixels", "0..255", "-o", str(checkpoint)]
        export = ["--checkpoint", str(checkpoint), *data, "-o", str(bundle)]
        for command in (["import", *model], ["export", *export]):
            subprocess.run([*_HEMLINE, *command], check=True, capture_output=True)
        yield name, bundle


def tuned_lines(name: str, bundle: Path, rounds: int) -> list[dict[str, object]]:
    """Tune a bundle; print the table and return a line for each trial."""
    subject = Subject(bundle=bundle, manifest=read_manifest(bundle))
    with LocalDevice() as device:
        trials = tune(device, [subject], replace(QUICK, rounds=rounds), say=print)
    print(f"{name}\n{as_text(trials_table(trials))}\n")
    won = winners(trials)
    return [
        {
            "kind": "settings",
            "model": name,
            "artifact": trial.cell.artifact.name,
            "runtime": f"{trial.tuned.runtime} {trial.tuned.version}",
            "settings": trial.tuned.text,
            "before_ns": trial.tuned.before_ns,
            "after_ns": trial.tuned.after_ns,
            "interval": [round(trial.low, 3), round(min(trial.high, 99.0), 3)],
            "stamped": trial in won,
        }
        for trial in trials
    ]


def advice_lines(name: str, bundle: Path) -> list[dict[str, object]]:
    """Ask for advice in each runtime; print it and return a line for each."""
    lines: list[dict[str, object]] = []
    for artifact, runtime in _PAIRS:
        if not (bundle / artifact).exists():
            continue
        given = ["advise", str(bundle / artifact), "--runtime", runtime, "--json"]
        done = subprocess.run([*_HEMLINE, *given], check=True, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            advice = json.loads(line)
            print(f"{name}, {artifact} in {runtime}: {advice['sentence']}")
            what = {"kind": "advice", "model": name, "artifact": artifact, "runtime": runtime}
            lines.append(what | advice)
    return lines


def applied(bundle: Path) -> Result:
    """Time a classifier with the stamped settings against one with the defaults, in turn."""
    path, runtime = bundle / "int8.tflite", "tflite-runtime"
    image = np.load(bundle / "evaluation" / "validation-images.npy", mmap_mode="r")[0]
    with (
        Classifier.load(path, runtime=runtime, tuned=True, threads=1) as tuned,
        Classifier.load(path, runtime=runtime) as plain,
    ):

        def microseconds(classifier: Classifier) -> float:
            times = []
            for _ in range(300):
                started = time.perf_counter()
                classifier.classify(image)
                times.append(time.perf_counter() - started)
            return 1e6 * statistics.median(times)

        microseconds(tuned), microseconds(plain)
        after, before = interleaved(lambda: microseconds(tuned), lambda: microseconds(plain), 11)
    ratio = median_ratio(after, before)
    return Result(
        claim=f"classify with tuned settings, int8.tflite in {runtime}: at most {_TUNED_RATIO} × "
        "the time with the defaults",
        value=ratio,
        unit="×",
        met=ratio <= _TUNED_RATIO,
        detail=f"{min(before):.1f} µs, tuned {min(after):.1f} µs {tuned.untuned}",
    )


def followed(folder: Path) -> Result:
    """Time the whole net with odd channel counts against that with the advised ones, in turn."""
    names = ("odd-channels", "even-channels")
    models = [
        TimedModel(name=name, content=read_stamped(folder / name / "fp32.tflite").model)
        for name in names
    ]
    ratios = []
    with LocalDevice() as device:
        version = dict(device.runtimes())["litert"]
        for _ in range(8):
            with ModelTimer(device, "litert", version) as timer:
                odd, even = timer.time(models, rounds=3)
            ratios.append(even.ns / odd.ns)
    ratio = statistics.median(ratios)
    return Result(
        claim="fp32.tflite in litert with the advised 16, 32 and 48 channels: at most "
        f"{_ADVISED_RATIO} × the time of that with 18, 34 and 50",
        value=ratio,
        unit="×",
        met=ratio <= _ADVISED_RATIO,
        detail=f"{odd.ns / 1000:.0f} µs, as advised {even.ns / 1000:.0f} µs, for 0.87 × the "
        "arithmetic",
    )


def main() -> None:
    """Tune and advise; write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    lines: list[dict[str, object]] = []
    facts = host_facts()
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for name, bundle in bundles(Path(folder)):
            if name == "even-channels":
                results.append(followed(Path(folder)))
                continue
            lines += [*tuned_lines(name, bundle, rounds), *advice_lines(name, bundle)]
            if name == "hem-50k":
                results.append(applied(bundle))
    report("tuning", results)
    where = {"host": facts.name, "commit": commit(), "date": utc_now()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line | where) + "\n" for line in lines))


if __name__ == "__main__":
    main()
