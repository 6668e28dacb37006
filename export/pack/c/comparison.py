"""Run a model in C on this computer, and compare its bytes with those of the TFLite file."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from hemline.contract.evaluation_set import load_split
from hemline.contract.parity import check_parity
from hemline.errors import GateError
from hemline.export.pack.c.compiling import CModel
from hemline.export.pack.packed import Packed
from hemline.host import cores
from hemline.runtime.backends import BACKENDS, load_module
from hemline.runtime.pixels import PixelEncoder
from hemline.silence import silenced

_MOST, _LEAST = 1000, 20  # images
_MACS = 4_000_000_000  # of all images together: some seconds
_Images = npt.NDArray[np.uint8]
_Bytes = npt.NDArray[np.int8]


def compare(packed: Packed, model: CModel, program: Path) -> dict[str, str]:
    """Return what the README says of a model in C against LiteRT's reference kernels.

    On validation images; raises GateError when the C fails as verification judges.
    """
    split = load_split(packed.bundle, "validation", packed.manifest.evaluation_sha256)
    count = max(_LEAST, min(_MOST, _MACS // (packed.manifest.macs or _MACS)))
    images = split.images[:count]
    with ThreadPoolExecutor(max_workers=1) as pool:
        reference = pool.submit(_reference, packed, model.reference, images)
        found = run(program, images, len(packed.stamp.labels))
        wanted = reference.result()
    spec = packed.stamp.output
    logits = real_logits(found, model.grid, normalized=spec.gives == "probabilities")
    parity = check_parity(logits, split.logits[: len(images)], spec, packed.artifact.bounds)
    if not parity.passed:
        raise GateError(f"{packed.artifact.name} fails in C: {parity.reason}")
    steps = np.abs(found.astype(np.int16) - wanted)
    return {
        "IMAGES": f"{len(images):,}",
        "SAME": f"{(found.argmax(axis=1) == wanted.argmax(axis=1)).sum():,}",
        "EQUAL": f"{100 * (steps == 0).mean():.2f} %",
        "STEP": str(steps.max()),
    }


def real_logits(
    stored: _Bytes, grid: tuple[float, int], *, normalized: bool
) -> npt.NDArray[np.float32]:
    """Return the logits, float32, of bytes; as of a softmax, which was cut off, if `normalized`."""
    logits = (stored - np.float32(grid[1])) * np.float32(grid[0])
    return np.asarray(log_softmax(logits, axis=1) if normalized else logits, np.float32)


def run(program: Path, images: _Images, classes: int) -> _Bytes:
    """Return the logits, int8 (n, classes), of images by a program that streams them."""

    def stream(chunk: _Images) -> bytes:
        return subprocess.run(
            [program], input=chunk.tobytes(), stdout=subprocess.PIPE, check=True
        ).stdout

    chunks = np.array_split(images, min(cores(), len(images)))
    with ThreadPoolExecutor(max_workers=len(chunks)) as pool:
        return np.frombuffer(b"".join(pool.map(stream, chunks)), np.int8).reshape(-1, classes)


def _reference(packed: Packed, content: bytes, images: _Images) -> _Bytes:
    """Return the logits, int8 (n, classes), by LiteRT's plain loops, as microcontrollers have."""
    module: Any = load_module(BACKENDS["litert"])
    kernels, encoder = module.OpResolverType.BUILTIN_REF, PixelEncoder(packed.stamp.input)
    with silenced():
        model = module.Interpreter(model_content=content, experimental_op_resolver_type=kernels)
        model.allocate_tensors()
    source, target = model.get_input_details()[0], model.get_output_details()[0]
    rows = []
    for image in images:
        model.set_tensor(source["index"], encoder.encode_one(image))
        model.invoke()
        rows.append(model.get_tensor(target["index"])[0])
    return np.stack(rows)
