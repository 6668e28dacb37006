"""Run an ONNX graph here, on any number of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from hemline.data.image_rows import ImageRows
from hemline.runtime.backends import BACKENDS, load_module

_BATCH = 100  # images that are run at once


def run_batches(
    proto: onnx.ModelProto,
    names: Sequence[str],
    images: ImageRows,
    *,
    batch: int = _BATCH,
) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Yield outputs by name for uint8 images (n, h, w, c), for some at a time, by ONNX Runtime.

    The graph takes them as uint8 or float32.
    """
    load_module(BACKENDS["onnxruntime"])
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3  # errors: it warns of constants that it folds
    content = proto.SerializeToString()
    session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    dtype = np.uint8 if source.type == "tensor(uint8)" else np.float32
    for first in range(0, max(1, len(images)), batch):
        pixels = images[first : first + batch].astype(dtype, copy=False)
        found = session.run(list(names), {source.name: pixels})
        yield dict(zip(names, found, strict=True))
