"""What a model that somebody else made gives in its own runtime: python foreign.py MODEL IMAGES OUT

MODEL is an .h5, .tflite or .onnx; IMAGES an .npy as the model reads them, (n, h, w, c).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np


def keras2(path: Path, images: np.ndarray) -> np.ndarray:
    import tf_keras

    model = tf_keras.models.load_model(path, compile=False)
    return np.asarray(model.predict(images, batch_size=50, verbose=0))


def tflite(path: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def one(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(into["index"], image[None])
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])[0].copy()

    return np.stack([one(image) for image in images])


def onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    name = session.get_inputs()[0].name
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    rows = [session.run(None, {name: image[None]})[0].reshape(-1) for image in first]
    return np.stack(rows)


KINDS = {".h5": keras2, ".tflite": tflite, ".onnx": onnx}

if __name__ == "__main__":
    model, pictures, made = map(Path, sys.argv[1:])
    outputs = KINDS[model.suffix](model, np.load(pictures))
    if not np.allclose(outputs.sum(1), 1, atol=1e-3) or outputs.min() < 0:  # logits
        outputs = np.exp(outputs - outputs.max(1, keepdims=True))
        outputs /= outputs.sum(1, keepdims=True)
    np.save(made, outputs)
