"""Importing a Keras file and exporting it six times, against the bare converter calls.

Also an import of EfficientNetB0 against the bare conversion to ONNX, and a second export with
nothing changed against the first one.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measurement import Result, installed_package, interleaved, median_ratio, process_cost, report

from hemline.contract.checkpoint import MODEL_NAME
from hemline.data.fetch import load_images
from hemline.train.checkpoint import ZOO

_ROUNDS = 3
_LIMIT = 1.3
_LARGE_LIMIT, _LARGE_GB = 2.0, 3.0
_AGAIN_LIMIT = 0.25  # of the first export, most of which TensorFlow takes
_COUNT = 500  # images to calibrate with

_COMMAND = "import sys; from hemline.cli import main; sys.exit(main())"
_PIXELS = ("--pixels", "0..255")
# As the import does it: whatever a file contains runs in a process of its own.
_TO_ONNX = """
import sys, keras, tensorflow as tf, tf2onnx, onnx
model = keras.models.load_model(sys.argv[1], compile=False)
signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]
function = tf.function(lambda x: model(x, training=False), input_signature=signature)
proto, _ = tf2onnx.convert.from_function(function, signature, opset=17)
onnx.save(proto, sys.argv[2] + "/fp32.onnx")
model.export(sys.argv[2] + "/saved", verbose=False)
"""
_CONVERT = """
import sys, numpy as np, tensorflow as tf
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
folder, pixels = sys.argv[1], np.load(sys.argv[2])
for scheme in ("fp32", "fp16", "dynamic", "int8"):
    converter = tf.lite.TFLiteConverter.from_saved_model(folder + "/saved")
    if scheme != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "int8":
        converter.representative_dataset = lambda: ([each[None]] for each in pixels)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.convert()
class Reader:
    images = iter(pixels)
    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}
quant_pre_process(folder + "/fp32.onnx", folder + "/ready.onnx", skip_symbolic_shape=True)
quantize_static(folder + "/ready.onnx", folder + "/int8.onnx", Reader(),
    quant_format=QuantFormat.QDQ, per_channel=True,
    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
"""
# An export without the verification in every runtime, which another claim covers.
_EXPORT = """
import sys
from pathlib import Path
from hemline.contract.checkpoint import read_card
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.schemes import find_schemes
from hemline.data.fetch import FetchOptions
from hemline.export.trained_data import trained_images
checkpoint, bundle, data = map(Path, sys.argv[1:])
options = FetchOptions(folder=data)
images = trained_images(read_card(checkpoint), options, checkpoint=checkpoint)
rows = find_schemes(())
export_bundle(ExportRequest(checkpoint=checkpoint, bundle=bundle, schemes=rows), images)
print("tensorflow" in sys.modules)
"""


def hemline_seconds(folder: Path, path: Path) -> float:
    """Time an import of hem-50k's file and its six exports."""
    for name in ("checkpoint", "bundle"):
        shutil.rmtree(folder / name, ignore_errors=True)
    source = str(ZOO / "hem-50k" / MODEL_NAME)
    checkpoint, data = str(folder / "checkpoint"), str(folder / "images.npz")
    first, _ = process_cost(
        _COMMAND, "import", source, *_PIXELS, "--output", checkpoint, path=path
    )  # fmt: skip
    return first + process_cost(_EXPORT, checkpoint, str(folder / "bundle"), data, path=path)[0]


def bare_seconds(folder: Path, path: Path) -> float:
    """Time the same conversions as two short scripts would do them."""
    source = str(ZOO / "hem-50k" / MODEL_NAME)
    first, _ = process_cost(_TO_ONNX, source, str(folder), path=path)
    pixels = str(folder / "pixels.npy")
    return first + process_cost(_CONVERT, str(folder), pixels, path=path)[0]


def write_images(folder: Path) -> None:
    """Write the images of the export, and those that the bare scripts calibrate with."""
    images = load_images("fashion-mnist")
    few = images.train_images[:4000], images.train_labels[:4000]
    test = images.test_images[:500], images.test_labels[:500]
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), (*few, *test), strict=True))
    labels = [f"class_{at}" for at in range(10)]  # what an import without labels calls them
    np.savez(folder / "images.npz", **arrays, labels=np.asarray(labels))
    np.save(folder / "pixels.npy", images.train_images[:_COUNT].astype(np.float32))


def large_import(folder: Path, path: Path) -> tuple[float, float, float]:
    """Return seconds of an import of EfficientNetB0, of its bare conversion, and GB of the import.

    The GB are those of the largest process.
    """
    make = "import sys, keras; keras.applications.EfficientNetB0(weights=None).save(sys.argv[1])"
    model = folder / "efficientnetb0.keras"
    process_cost(make, str(model), path=path)
    options = [*_PIXELS, "--output", str(folder / "large")]
    seconds, peak = process_cost(_COMMAND, "import", str(model), *options, path=path)
    bare, _ = process_cost(_TO_ONNX, str(model), str(folder), path=path)
    return seconds, bare, peak / 1e9


def again(folder: Path, path: Path) -> tuple[list[float], list[float], bool]:
    """Return seconds of exports with nothing changed and of whole ones, round by round.

    And whether TensorFlow was imported where nothing had changed.
    """
    arguments = [str(folder / name) for name in ("checkpoint", "bundle", "images.npz")]
    command = [sys.executable, "-c", _EXPORT, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    seconds, imported = {True: list[float](), False: list[float]()}, False
    for whole in (True, False) * _ROUNDS:
        if whole:
            shutil.rmtree(folder / "bundle", ignore_errors=True)
        started = time.perf_counter()
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        seconds[whole].append(time.perf_counter() - started)
        imported |= not whole and done.stdout.split()[-1] == "True"
    return seconds[False], seconds[True], imported


def main() -> None:
    """Measure and write the results."""
    with tempfile.TemporaryDirectory() as name, installed_package() as path:
        folder = Path(name)
        write_images(folder)
        ours, bare = interleaved(
            lambda: hemline_seconds(folder, path), lambda: bare_seconds(folder, path), _ROUNDS
        )
        second, whole, imported = again(folder, path)
        large, large_bare, memory = large_import(folder, path)
    ratio, again_ratio, large_ratio = (
        median_ratio(ours, bare),
        median_ratio(second, whole),
        large / large_bare,
    )
    report(
        "importing",
        [
            Result(
                claim=f"import and six exports of a .keras file: at most {_LIMIT} × bare scripts",
                value=ratio,
                unit="×",
                met=ratio <= _LIMIT,
                detail=f"{statistics.median(ours):.1f} s, bare {statistics.median(bare):.1f} s",
            ),
            Result(
                claim=f"second export of an import: at most {_AGAIN_LIMIT:g} × the first, without "
                "TensorFlow",
                value=again_ratio,
                unit="×",
                met=again_ratio <= _AGAIN_LIMIT and not imported,
                detail=f"{statistics.median(second):.1f} s, "
                f"first {statistics.median(whole):.1f} s, unverified",
            ),
            Result(
                claim=f"import EfficientNetB0: at most {_LARGE_LIMIT:g} × the bare conversion, "
                f"{_LARGE_GB:g} GB",
                value=large_ratio,
                unit="×",
                met=large_ratio <= _LARGE_LIMIT and memory <= _LARGE_GB,
                detail=f"{large:.1f} s, bare {large_bare:.1f} s; 224 × 224 pixels, {memory:.1f} GB "
                "in the largest process",
            ),
        ],
    )


if __name__ == "__main__":
    main()
