"""All post-training exports of a checkpoint, against the bare converter calls in sequence."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from measurement import BUNDLE, Result, interleaved, median_ratio, report

from hemline.contract.checkpoint import MODEL_NAME, read_card
from hemline.data.datasets import Images
from hemline.data.fetch import load_images
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization.calibration import calibration_images
from hemline.export.schemes import find_schemes
from hemline.silence import silenced
from hemline.train.checkpoint import ZOO
from hemline.train.tensorflow import quiet_keras

_ROUNDS = 5
_LIMIT = 1.3
_CHECKPOINT = ZOO / "hem-50k"


def hemline_seconds(bundle: Path, images: Images) -> float:
    """Time a re-export of every artifact; the evaluation set is there already."""
    for scheme in find_schemes(()):
        (bundle / scheme.file_name).unlink()
    started = time.perf_counter()
    export_bundle(
        ExportRequest(checkpoint=_CHECKPOINT, bundle=bundle, schemes=find_schemes(())),
        images,
    )
    return time.perf_counter() - started


def bare_seconds(pixels) -> float:  # type: ignore[no-untyped-def]
    """Time the same six conversions as a short script would do them."""
    import numpy as np
    import onnx
    import tensorflow as tf
    import tf2onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    keras = quiet_keras()
    started = time.perf_counter()
    model = keras.models.load_model(_CHECKPOINT / MODEL_NAME, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        model.export(f"{folder}/saved", verbose=False)
        for scheme in ("fp32", "fp16", "dynamic", "int8"):
            converter = tf.lite.TFLiteConverter.from_saved_model(f"{folder}/saved")
            if scheme != "fp32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if scheme == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            if scheme == "int8":
                converter.representative_dataset = lambda: (
                    [image[None].astype(np.float32)] for image in pixels
                )
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.inference_input_type = converter.inference_output_type = tf.int8
            Path(folder, f"{scheme}.tflite").write_bytes(converter.convert())
        signature = [tf.TensorSpec((None, 28, 28, 1), tf.float32, name="image")]
        function = tf.function(lambda x: model(x, training=False), input_signature=signature)
        proto, _ = tf2onnx.convert.from_function(function, signature, opset=17)
        onnx.save(proto, f"{folder}/fp32.onnx")

        class Reader:
            def __init__(self) -> None:
                self.images = iter(pixels)

            def get_next(self) -> object:
                image = next(self.images, None)
                return None if image is None else {"image": image[None].astype(np.float32)}

        quant_pre_process(f"{folder}/fp32.onnx", f"{folder}/ready.onnx", skip_symbolic_shape=True)
        quantize_static(
            f"{folder}/ready.onnx",
            f"{folder}/out.onnx",
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return time.perf_counter() - started


def main() -> None:
    """Measure and write the result."""
    images = load_images("fashion-mnist")
    pixels = calibration_images(images, read_card(_CHECKPOINT).trained.split, count=500).images
    with tempfile.TemporaryDirectory() as folder, silenced():
        bundle = Path(shutil.copytree(BUNDLE, Path(folder) / "bundle"))
        hemline_seconds(bundle, images), bare_seconds(pixels)  # import and warm both
        a, b = interleaved(
            lambda: hemline_seconds(bundle, images), lambda: bare_seconds(pixels), _ROUNDS
        )
    ratio = median_ratio(a, b)
    report(
        "exports",
        [
            Result(
                claim=f"six exports of hem-50k: at most {_LIMIT} × the bare converter calls",
                value=ratio,
                unit="×",
                met=ratio <= _LIMIT,
                detail=f"{statistics.median(a):.2f} s, bare {statistics.median(b):.2f} s",
            )
        ],
    )


if __name__ == "__main__":
    main()
