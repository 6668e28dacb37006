"""Every scheme of some models in every runtime: size, accuracy, drop with its interval, latency.

python tests/performance/matrix.py FOLDER CHECKPOINT… [--scheme NAME]… [--data FILE]

Each CHECKPOINT, imported or trained here, is exported into FOLDER, verified on all validation and
test images and timed in interleaved rounds; a second run makes and times only what changed. Each
model's lines in results/quantization/matrix.jsonl are replaced.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measurement import ROOT

from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import read_manifest
from hemline.contract.record import RECORDS_NAME, Accuracy, newest, read_records
from hemline.statistics import paired_drop

RESULTS = ROOT / "results" / "quantization" / "matrix.jsonl"
_HEMLINE = Path(sys.executable).with_name("hemline")
_SCHEMES = ("fp32", "fp16.tflite", "dynamic.tflite", "int8", "int8-mixed", "int8-qat", "int8-w4")
_BESIDE = ("artifact", "runtime", "runtime_version", "size_bytes", "median_us", "host_name")


def measured(checkpoint: Path, bundle: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Export, verify and time one model; return a line for each file in each runtime."""
    data = [] if options.data is None else ["--data", str(options.data)]
    wanted = [word for name in options.schemes or _SCHEMES for word in ("--scheme", name)]
    # 3: a scheme was left out, or a file failed in a runtime: its verdict says so
    hemline("export", checkpoint, "-o", bundle, *data, *wanted, accepted=(0, 3))
    hemline("bench", bundle, "--quick", accepted=(0, 3))
    manifest = read_manifest(bundle)
    split = load_split(bundle, "test", manifest.evaluation_sha256)
    labels = np.asarray(split.labels)
    reference = split.logits.argmax(axis=1) == labels
    drops = {
        (record.cell.artifact, record.cell.runtime): paired_drop(
            reference[: record.payload.images],  # slow cells run the first 1,000
            record.payload.classes() == labels[: record.payload.images],
        )
        for record in newest(read_records(bundle / RECORDS_NAME))
        if isinstance(record.payload, Accuracy) and record.payload.split == "test"
    }
    verdicts = {(each.name, v.runtime): v for each in manifest.artifacts for v in each.verdicts}
    lines = []
    for text in hemline("table", bundle, "--json").splitlines():
        document = json.loads(text)
        cell = (document["artifact"], document["runtime"])
        if cell not in verdicts or cell not in drops:
            continue  # the source model
        kept = {key: document[key] for key in _BESIDE if key in document}
        accuracy = document["test_correct"] / document["test_images"]
        verdict = verdicts.pop(cell)
        line = {"model": checkpoint.name, **kept, "accuracy": accuracy, "status": verdict.status}
        drop, margin = drops[cell]
        lines.append(
            {**line, "reason": verdict.reason, "drop_points": drop, "margin_points": margin}
        )
    lines += [
        {"model": checkpoint.name, "artifact": name, "runtime": runtime,
         "runtime_version": verdict.version, "status": verdict.status, "reason": verdict.reason}
        for (name, runtime), verdict in verdicts.items()
    ]  # fmt: skip
    left = ({"artifact": each.name, "reason": each.reason} for each in manifest.left_out)
    return [*lines, *({"model": checkpoint.name, **each, "status": "left out"} for each in left)]


def hemline(*words: object, accepted: tuple[int, ...] = (0,)) -> str:
    """Run a command and return what it prints; what it reports goes on the terminal."""
    done = subprocess.run(
        [str(_HEMLINE), *map(str, words)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in accepted:
        raise SystemExit(f"{words[0]} ended with {done.returncode}")
    return done.stdout


def main() -> None:
    """Measure and replace the lines of these models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--scheme", dest="schemes", action="append")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    lines = []
    if RESULTS.exists():
        lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    for checkpoint in options.checkpoints:
        lines = [line for line in lines if line["model"] != checkpoint.name]
        lines += measured(checkpoint, options.folder / checkpoint.name, options)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
