"""Bring one source through Hemline's command line, and hold what comes out against the source."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.contract.manifest import MANIFEST_NAME, Artifact, Verdict, read_manifest

_HEMLINE = [sys.executable, "-c", "from hemline.cli import main; main()"]
SCHEMES = ("fp32", "fp16", "dynamic", "int8")
Outputs = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command that ran: seconds, the peak memory of its largest process, the error's line."""

    seconds: float
    peak_bytes: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is tried.

    model: file or folder of the source.
    folder: for the checkpoint and the bundle.
    options: of the import: labels and pixel range.
    data: of the export: images with classes, or without.
    """

    model: Path
    folder: Path
    options: tuple[str, ...]
    data: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Test images uint8 (n, h, w, c), the source's probabilities (n, classes), perhaps classes."""

    images: npt.NDArray[np.uint8]
    probabilities: Outputs
    classes: npt.NDArray[np.int64] | None


def hemline(*arguments: str) -> Run:
    """Run a command of Hemline."""
    started = time.perf_counter()
    read, write = os.pipe()
    child = subprocess.Popen([*_HEMLINE, *arguments], stdout=subprocess.DEVNULL, stderr=write)
    os.close(write)
    with os.fdopen(read, errors="replace") as stderr:
        text = stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    error = (errors or text.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
    return Run(
        seconds=round(time.perf_counter() - started, 1),
        peak_bytes=usage.ru_maxrss * 1024,
        error=error if child.returncode else "",
    )


def tried(request: Request, reference: Reference) -> dict[str, object]:
    """Import and export a source; return what is kept of it."""
    checkpoint, bundle = request.folder / "checkpoint", request.folder / "bundle"
    imported = hemline(
        "import", str(request.model), "--output", str(checkpoint), *request.options
    )  # fmt: skip
    if imported.error:
        return _line(imported, None, refused=[("import", imported.error)])
    arguments = [str(checkpoint), "--output", str(bundle), *request.data]
    exported = hemline("export", *arguments)
    refused = [("export", exported.error)] if exported.error else []
    if exported.error and not (bundle / MANIFEST_NAME).exists():
        # one scheme that cannot be made must not hide the others
        parts = {scheme: hemline("export", *arguments, "--scheme", scheme) for scheme in SCHEMES}
        refused = [(scheme, run.error) for scheme, run in parts.items() if run.error]
    line = _line(
        imported, exported, refused=[(name, _plain(text, request)) for name, text in refused]
    )
    if (bundle / MANIFEST_NAME).exists():
        line["cells"] = _cells(bundle, reference)
        line |= _parity(bundle, reference)
    return line


def _line(
    imported: Run, exported: Run | None, *, refused: list[tuple[str, str]]
) -> dict[str, object]:
    runs = [imported] if exported is None else [imported, exported]
    return {
        "import_seconds": imported.seconds,
        "export_seconds": None if exported is None else exported.seconds,
        "import_peak_bytes": imported.peak_bytes,
        "peak_bytes": max(run.peak_bytes for run in runs),
        "refused": refused,
        "cells": [],
    }


def _plain(message: str, request: Request) -> str:
    """Return a message without the folders of this machine."""
    text = message
    for folder in (request.folder, request.model.parent):
        text = text.replace(f"{folder}/", "")
    return re.sub(r"/\S*/", "", text)[:400]


def _cells(bundle: Path, reference: Reference) -> list[dict[str, object]]:
    """Return what each file gave in each runtime, against the source in its own."""
    manifest = read_manifest(bundle)
    cells = []
    for artifact in manifest.artifacts:
        for verdict in artifact.verdicts:
            cell = {
                "artifact": artifact.name,
                "runtime": verdict.runtime,
                "version": verdict.version,
                "status": verdict.status,
                "reason": verdict.reason,
                "size_bytes": artifact.size_bytes,
            }
            if verdict.status != "refused":
                cell |= _against(bundle, artifact, verdict, reference)
            cells.append(cell)
    return cells


def _against(
    bundle: Path, artifact: Artifact, verdict: Verdict, reference: Reference
) -> dict[str, object]:
    logits = logits_of(bundle / artifact.name, verdict.runtime, reference.images)
    if logits is None:  # the file does not support this runtime
        return {}
    classes, expected = logits.argmax(1), reference.probabilities
    line: dict[str, object] = {
        "images": len(logits),
        "agreement": int((classes == expected.argmax(1)).sum()),
        "largest_difference": float(np.abs(softmax(logits) - expected).max()),
    }
    if reference.classes is not None:
        line["correct"] = int((classes == reference.classes).sum())
    return line


def _parity(bundle: Path, reference: Reference) -> dict[str, object]:
    """Return how often int8.tflite in LiteRT and int8.onnx in ONNX Runtime give the same."""
    files = {"litert": bundle / "int8.tflite", "onnxruntime": bundle / "int8.onnx"}
    if not all(path.is_file() for path in files.values()):
        return {}
    first, second = (logits_of(path, name, reference.images) for name, path in files.items())
    if first is None or second is None:
        return {}
    return {
        "int8_equal_labels": int((first.argmax(1) == second.argmax(1)).sum()),
        "int8_equal_logits": float(np.isclose(first, second, rtol=0, atol=1e-4).mean()),
    }


_LOGITS = """
import sys, numpy as np
from hemline.errors import UnsupportedRuntimeError
from hemline.runtime import Classifier
path, runtime, folder = sys.argv[1:]
try:
    with Classifier.load(path, runtime=runtime) as classifier:
        np.save(f"{folder}/logits.npy", classifier.logits(np.load(f"{folder}/images.npy")))
except UnsupportedRuntimeError:
    pass
"""


def logits_of(path: Path, runtime: str, images: npt.NDArray[np.uint8]) -> Outputs | None:
    """Return the logits (n, classes) of a file for images, None where it may not run.

    In a process of its own: one that crashes takes nothing with it.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", images)
        command = [sys.executable, "-c", _LOGITS, str(path), runtime, folder]
        done = subprocess.run(command, capture_output=True, check=False)
        made = Path(folder) / "logits.npy"
        return np.load(made) if done.returncode == 0 and made.exists() else None


def softmax(logits: Outputs) -> Outputs:
    """Return the probabilities of logits (n, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
