"""A model of one layer, stamped: what every runtime that works at all can run.

Its input is two pixels, its output the logits (left − right, 2 · right). It tests an environment,
because a broken runtime may import well and fail only when it makes an interpreter.
"""

from __future__ import annotations

import base64
import hashlib
import zlib

import numpy as np

from hemline.contract.specs import Format, InputSpec, OutputSpec, SupportedRuntime
from hemline.contract.stamp import Stamp, stamp_onnx, stamp_tflite
from hemline.contract.test_vector import TestVector

_PIXELS = (10, 200)

# FULLY_CONNECTED (1, 1, 2, 1) → (1, 2), version 1, as base64 of zlib of the flatbuffer
_TFLITE = (
    "eNpNkC0SwjAQhV/TDNNOO50IBIfAgacKhUQgEEhQSCzHQXIDjhbeJi+dpPO62d1vf9oNgPPxtAMmrBEwomPE0wM9"
    "YLZ8A7S0jtpSI+ysSHq+jc4s8D5QP+Qzf2KMjXLj0t2neotdqCt1o4xbp7IpWWMH7ZHj6ILuPj25xnZqNdD8qJlO"
    "PpS/U3vt+iXT6TuMeVa8S/GQcmXXwhX7EucWPv81iK97PzSzqfqXe1DtUNX2eeX+D29FFYQ="
)
# Flatten and Gemm, opset 13, as base64 of zlib of the ModelProto
_ONNX = (
    "eNrjYBdisJrEyCXDxZgpxJimxO6Wk1hSkpqnxc3FkliRWSzBuICRiUuOizGNi7FciDFficU9NTdXi5eLraQoMa/Y"
    "CSwvxJiuJc3BxMEkwOjEWO4lwMDQYA/E+xkgwCEKbLo4lygHo5AgF7MQYx4XEwcjEDOB6CQRLsZ8IX4uXqAsJ0yW"
    "yYmFi0GAFwCw6Rci"
)


def probe_artifact(file_format: Format, runtime: str) -> bytes:
    """Return the artifact in a format, that supports every version of one runtime."""
    left, right = _PIXELS
    model = zlib.decompress(base64.b64decode(_TFLITE if file_format == "tflite" else _ONNX))
    image = np.asarray(_PIXELS, np.uint8).reshape(1, 2, 1)
    answer = np.asarray([left - right, 2 * right], np.float32)
    stamp = Stamp(
        name=f"probe.{file_format}",
        scheme="fp32",
        format=file_format,
        model="probe",
        labels=("left", "right"),
        input=InputSpec(height=1, width=2, channels=1, dtype="float32"),
        outputs=(OutputSpec(size=2, dtype="float32"),),
        supported_runtimes=(SupportedRuntime(runtime=runtime, minimum="0"),),
        tolerance=1e-3,  # the values are whole numbers under 2¹⁰: float32 has them to 6e-5
        test_vectors=(TestVector.of(image, answer),),
        parent_sha256=hashlib.sha256(model).hexdigest(),
    )
    return stamp_tflite(model, stamp) if file_format == "tflite" else stamp_onnx(model, stamp)
