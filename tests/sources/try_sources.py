"""Try models of every kind: make them, import, export, run, and write results/sources.jsonl.

python tests/sources/try_sources.py FOLDER [NAME…] [--images FILE.npz] [--torch PYTHON]
    [--keras2 FOLDER] [--models FOLDER]

FOLDER keeps the models that are made and what Hemline makes of them, some 2 GB. Without names every
source is tried, those of PyTorch only with --torch and those of Keras 2 only with --keras2. An hour
of work; models that are there are not made again. `make tables` writes the table of docs/import.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from pictures import RANGES, resized, write_images
from sources import SOURCES, Source
from trying import Reference, Request, tried

from hemline.host import host_facts
from hemline.provenance import commit, utc_now

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "results" / "sources.jsonl"
# What people who publish models say of them: pixel range, size and channels.
FOREIGN = {
    "vww_96": ("0..1", 96, 3),
    "teachable": ("-1..1", 224, 3),
    "mnist": ("MNIST", 28, 1),
}


def options() -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="sources to try (default: all)")
    parser.add_argument("--images", type=Path, help=".npz with colour images x and classes y")
    parser.add_argument("--torch", help="Python of an environment with torch, onnx, onnxscript")
    parser.add_argument("--keras2", type=Path, help="folder with tf_keras (pip install --target)")
    parser.add_argument("--models", type=Path, help="folder of published models to try as well")
    parser.add_argument("--epochs", type=int, default=8, help="of the short trainings (8)")
    return parser.parse_intermixed_args()


def make(source: Source, chosen: argparse.Namespace) -> bool:
    """Make a source unless it is there; return whether it is there now."""
    outputs = chosen.folder / f"{source.name}.npy"
    if outputs.exists():
        return True
    python, path = sys.executable, ""
    if source.maker == "torch_nets":
        python = chosen.torch
    elif source.maker == "keras2_nets":
        path = chosen.keras2
    if python is None or path is None:
        return False
    script = [python, str(HERE / f"{source.maker}.py"), str(chosen.folder), source.name]
    environment = {"PYTHONPATH": str(path), "SOURCES_EPOCHS": str(chosen.epochs)}
    done = subprocess.run(script, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        print(f"{source.name} was not made: {done.stderr[-2000:]}", file=sys.stderr)
    return outputs.exists()


def try_made(source: Source, folder: Path) -> dict[str, object]:
    """Try a source that was made here."""
    data = folder / f"images-{source.size}.npz"
    with np.load(data) as arrays:
        images, classes, labels = arrays["x_test"], arrays["y_test"], arrays["labels"]
    outputs = np.load(folder / f"{source.name}.npy")
    request = Request(
        model=source.file_in(folder),
        folder=fresh(folder / "tried" / source.name),
        options=("--labels", ",".join(labels), *RANGES[source.pixels].options),
        data=("--data", str(data)),
    )
    line = tried(request, Reference(images=images, probabilities=outputs, classes=classes))
    correct = int((outputs.argmax(1) == classes).sum())
    return {"summary": source.summary, "images": len(images), "correct": correct, **line}


def try_foreign(path: Path, chosen: argparse.Namespace) -> dict[str, object]:
    """Try a published model: its images show something else, so only agreement counts."""
    pixels, size, channels = next(v for k, v in FOREIGN.items() if path.name.startswith(k))
    folder = fresh(chosen.folder / "tried" / path.name)
    with np.load(chosen.folder / "images-32.npz") as arrays:
        x = np.concatenate([arrays["x_train"], arrays["x_test"]])[-700:]
    x = np.stack([resized(image, size) for image in x])
    x = x if channels == 3 else x.mean(-1, keepdims=True).astype(np.uint8)
    np.save(folder / "read.npy", RANGES[pixels].of(x[-200:]))
    np.savez(folder / "images.npz", x=x)
    command = [sys.executable, str(HERE / "foreign.py"), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(chosen.keras2 or "")}
    arrays = [str(folder / "read.npy"), str(folder / "outputs.npy")]
    subprocess.run([*command, *arrays], check=True, env=environment, capture_output=True)
    outputs = np.load(folder / "outputs.npy")
    labels = path.with_name(f"{path.stem}_labels.txt")
    names = str(labels) if labels.exists() else ",".join(map(str, range(outputs.shape[1])))
    request = Request(
        model=path,
        folder=folder,
        options=("--labels", names, *RANGES[pixels].options),
        data=("--data", str(folder / "images.npz")),
    )
    line = tried(request, Reference(images=x[-200:], probabilities=outputs, classes=None))
    return {"summary": "published", "images": 200, "correct": None, **line}


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def keep(name: str, kind: str, line: dict[str, object], about: str) -> None:
    """Replace the line of a source in results/sources.jsonl and print it shortly."""
    facts = host_facts()
    lines = {}
    if RESULTS.exists():
        known = map(json.loads, RESULTS.read_text().splitlines())
        lines = {each["source"]: each for each in known}
    lines[name] = {
        "source": name,
        "kind": kind,
        **line,
        "data": about,
        "host": f"{facts.processor}, {facts.cores} cores",
        "commit": commit(),
        "date": utc_now(),
    }
    order = list(SOURCES)
    ordered = sorted(lines, key=lambda n: (order.index(n) if n in order else len(order), n))
    RESULTS.write_text("".join(json.dumps(lines[n]) + "\n" for n in ordered))
    cells = line["cells"]
    passed = sum(cell["status"] == "passed" for cell in cells)
    print(f"{name}: {passed} of {len(cells)} cells passed; refused: {line['refused']}", flush=True)


def main() -> None:
    """Make and try what was chosen."""
    chosen = options()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    about = write_images(chosen.folder, chosen.images)
    for name in chosen.names or SOURCES:
        if name in SOURCES and make(SOURCES[name], chosen):
            keep(name, SOURCES[name].kind, try_made(SOURCES[name], chosen.folder), about)
    models = sorted(chosen.models.glob("*")) if chosen.models else []
    for path in models:
        named = not chosen.names or path.name in chosen.names
        if named and path.suffix in (".h5", ".tflite", ".onnx") and "int8" not in path.stem:
            keep(path.name, path.suffix[1:], try_foreign(path, chosen), about)


if __name__ == "__main__":
    main()
