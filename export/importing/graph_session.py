"""A float graph in ONNX Runtime, for the checks of an import."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

_BATCH_VALUES = 1 << 22  # of a batch: 27 images of 224 × 224 × 3


class GraphSession:
    """Runs a normalized graph: pixels (n, height, width, channels) in, logits (n, classes) out.

    proto: the graph.
    content: the same, serialized.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        self.content = proto.SerializeToString(deterministic=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        self._session = onnxruntime.InferenceSession(
            self.content, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def run(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return float32 logits of pixels 0 … 255 of any numeric dtype."""
        step = max(1, _BATCH_VALUES // images[0].size)
        parts = [
            self._session.run(None, {self._input: images[at : at + step].astype(np.float32)})[0]
            for at in range(0, len(images), step)
        ]
        logits: npt.NDArray[np.float32] = np.concatenate(parts)
        return logits
