"""Hemline's int8 files against those of other quantizers: accuracy, time and size in one run.

python tests/performance/peers.py FOLDER [NAME…] [--test N] [--rounds N]

Each quantizer gets the same float file and the same calibration images and works by its defaults,
in an environment of its own, made in FOLDER from PyPI. Models are hem-50k and those of damaged.py;
NAME chooses some. The files run in one process with one thread, in turn: times are ratios of the
same rounds. Eight minutes, two of which make the environments; `make tables` writes the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
import venv
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import damaged
import numpy as np
import numpy.typing as npt
from measurement import ROOT

from hemline.contract.checkpoint import read_card
from hemline.data.datasets import Images
from hemline.data.fetch import load_images
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization.calibration import calibration_images
from hemline.export.quantization.options import PostTrainingOptions, QuantizationOptions
from hemline.export.schemes import find_schemes
from hemline.export.trained_data import split_of
from hemline.host import host_facts
from hemline.provenance import commit, utc_now
from hemline.silence import silenced
from hemline.statistics import paired_drop
from hemline.train.checkpoint import ZOO

RESULTS = ROOT / "results" / "quantization" / "peers.jsonl"
CORRECTED = "Hemline, biases corrected"
_CALLS = 50  # in a block of a round

_ORT = """
import sys, numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
model, images, made = sys.argv[1:]
class Reader(CalibrationDataReader):
    def __init__(self):
        self.each = iter(np.load(images))
    def get_next(self):
        image = next(self.each, None)
        return None if image is None else {"image": image[None].astype(np.float32)}
quant_pre_process(model, made + ".prepared", skip_symbolic_shape=True)
quantize_static(made + ".prepared", made, Reader())
"""
_NNCF = """
import sys, nncf, numpy as np, onnx
model, images, made = sys.argv[1:]
data = nncf.Dataset(list(np.load(images)), lambda image: {"image": image[None].astype(np.float32)})
onnx.save(nncf.quantize(onnx.load(model), data, subset_size=len(np.load(images))), made)
"""
_LITERT = """
import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import Quantizer, recipe
model, images, made = sys.argv[1:]
(key, names), = Interpreter(model).get_signature_list().items()
name = names["inputs"][0]
quantizer = Quantizer(model, recipe.static_wi8_ai8())
data = {key: [{name: image[None].astype(np.float32)} for image in np.load(images)]}
quantizer.quantize(quantizer.calibrate(data)).export_model(made, overwrite=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A quantizer of others: what it is installed as, what it reads, and how it is called."""

    name: str
    packages: tuple[str, ...]
    source: str
    script: str


PEERS = (
    Peer(
        name="quantize_static of ONNX Runtime",
        packages=("onnxruntime", "onnx", "sympy"),
        source="fp32.onnx",
        script=_ORT,
    ),
    Peer(
        name="NNCF", packages=("nncf", "onnx<1.22", "onnxruntime"), source="fp32.onnx", script=_NNCF
    ),
    Peer(
        name="litert-quantizer",
        packages=("litert-quantizer", "ai-edge-litert"),
        source="fp32.tflite",
        script=_LITERT,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A file of a model.

    tool, version: that made it; reason: why it made none.
    format: tflite or onnx.
    correct: of `images` test images.
    loss_points, margin_points: accuracy that Hemline's file of the format loses against this one,
        and the half width of its 95 % interval; of the float file for Hemline's own.
    time_ratio: Hemline's median time ÷ this one's, round by round; None for Hemline's.
    """

    model: str
    tool: str
    version: str
    format: str
    size_bytes: int = 0
    images: int = 0
    correct: int = 0
    loss_points: float = 0.0
    margin_points: float = 0.0
    latency_us: float = 0.0
    time_ratio: float | None = None
    reason: str = ""


def python_of(peer: Peer, folder: Path) -> Path:
    """Return the Python of a quantizer's environment, made if it is not there."""
    place = folder / "environments" / peer.name.replace(" ", "-")
    python = place / "bin" / "python"
    if not (place / "made").exists():
        venv.create(place, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *peer.packages]
        subprocess.run(command, check=True)
        (place / "made").touch()
    return python


def version_of(peer: Peer, python: Path) -> str:
    """Return the version of the package in its environment."""
    code = f"from importlib.metadata import version; print(version({peer.packages[0]!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True).stdout.strip()


def made_by(peer: Peer, python: Path, bundle: Path, images: Path) -> tuple[Path, str]:
    """Let a quantizer work; return its file, and the last line of its error."""
    made = bundle / f"{peer.name.replace(' ', '-')}.{peer.source.rpartition('.')[2]}"
    arguments = [str(bundle / peer.source), str(images), str(made)]
    done = subprocess.run(
        [str(python), "-c", peer.script, *arguments], capture_output=True, text=True, check=False
    )
    lines = done.stderr.strip().splitlines()
    return made, "" if done.returncode == 0 else (lines or ["no message"])[-1]


Runner = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def opened(file: Path) -> Runner:
    """Return a function from one image (1, h, w, c) to logits, by the bare runtime, one thread."""
    if file.suffix == ".onnx":
        return _onnx(file)
    return _tflite(file)


def _onnx(file: Path) -> Runner:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    dtype = np.uint8 if "uint8" in source.type else np.float32
    return lambda image: session.run(None, {source.name: image.astype(dtype)})[0]


def _tflite(file: Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shift = 128 if source["dtype"] == np.int8 else 0

    def run(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pixels = (image.astype(np.int16) - shift).astype(source["dtype"])
        interpreter.set_tensor(source["index"], pixels)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target["index"]))

    return run


def correct(run: Runner, images: Images, count: int) -> npt.NDArray[np.bool_]:
    """Return which of the first test images a file gets right."""
    found = [int(run(each[None]).argmax()) for each in images.test_images[:count]]
    return np.asarray(found) == images.test_labels[:count]


def times(
    runs: dict[str, Runner], image: npt.NDArray[np.uint8], rounds: int
) -> dict[str, list[float]]:
    """Return seconds a call, round by round, of files that run in turn."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        names = list(runs) if number % 2 else list(runs)[::-1]
        for name in names:
            started = time.perf_counter()
            for _ in range(_CALLS):
                runs[name](image)
            found[name].append((time.perf_counter() - started) / _CALLS)
    return {name: each[1:] for name, each in found.items()}  # the first round warms up


def compared(
    model: str, checkpoint: Path, images: Images, options: argparse.Namespace
) -> list[Line]:
    """Return the lines of a model."""
    bundle = options.folder / "bundles" / model
    schemes = find_schemes(("fp32", "int8"))
    request = ExportRequest(checkpoint=checkpoint, bundle=bundle, schemes=schemes)
    corrected = replace(
        request,
        bundle=options.folder / "bundles" / f"{model}-corrected",
        options=QuantizationOptions(post_training=PostTrainingOptions(bias_correction=True)),
    )
    with silenced():
        for each in (request, corrected):
            export_bundle(each, images)
    calibration = calibration_images(images, split_of(read_card(checkpoint), images), count=500)
    np.save(bundle / "calibration.npy", calibration.images)
    lines: list[Line] = []
    files = {
        kind: {"Hemline": bundle / f"int8.{kind}", CORRECTED: corrected.bundle / f"int8.{kind}"}
        for kind in ("tflite", "onnx")
    }
    versions = dict.fromkeys(files["onnx"], (commit() or "")[:7])
    for peer in PEERS:
        python = python_of(peer, options.folder)
        versions[peer.name] = version_of(peer, python)
        kind = peer.source.rpartition(".")[2]
        made, reason = made_by(peer, python, bundle, bundle / "calibration.npy")
        if reason:
            failed = {"model": model, "tool": peer.name, "version": versions[peer.name]}
            lines.append(Line(**failed, format=kind, reason=reason[:200]))
        else:
            files[kind][peer.name] = made
    for kind, named in files.items():
        lines += _judged(model, kind, named, versions, images, options)
    return lines


def _judged(
    model: str,
    kind: str,
    files: dict[str, Path],
    versions: dict[str, str],
    images: Images,
    options: argparse.Namespace,
) -> list[Line]:
    runs = {name: opened(file) for name, file in files.items()}
    exact = correct(
        opened(next(iter(files.values())).with_name(f"fp32.{kind}")), images, options.test
    )
    right = {name: correct(run, images, options.test) for name, run in runs.items()}
    seconds = times(runs, images.test_images[:1], options.rounds)
    lines = []
    for name, file in files.items():
        own = name == "Hemline"
        loss, margin = paired_drop(exact if own else right[name], right["Hemline"])
        ratios = [a / b for a, b in zip(seconds["Hemline"], seconds[name], strict=True)]
        lines.append(
            Line(
                model=model,
                tool=name,
                version=versions[name],
                format=kind,
                size_bytes=file.stat().st_size,
                images=options.test,
                correct=int(right[name].sum()),
                loss_points=loss,
                margin_points=margin,
                latency_us=1e6 * statistics.median(seconds[name]),
                time_ratio=None if own else statistics.median(ratios),
            )
        )
    return lines


def main() -> None:
    """Compare, print, and replace the lines of these models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=["hem-50k", *damaged.TRANSFERS])
    parser.add_argument("--test", type=int, default=10_000, help="test images (10000)")
    parser.add_argument("--rounds", type=int, default=21, help="of timing (21)")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    images, facts = load_images("fashion-mnist"), host_facts()
    kept = []
    if RESULTS.exists():
        kept = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    for name in options.names:
        made = damaged.checkpoint(options.folder, name) if name in damaged.TRANSFERS else ZOO / name
        kept = [line for line in kept if line["model"] != name]
        for line in compared(name, made, images, options):
            print(line, flush=True)
            host = f"{facts.processor}, {facts.cores} cores"
            kept.append({**asdict(line), "host": host, "commit": commit(), "date": utc_now()})
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in kept))


if __name__ == "__main__":
    main()
