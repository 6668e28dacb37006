"""A float TFLite file with activations of 16 bits and weights of 8, by litert-quantizer.

TensorFlow's converter does it for fewer operators: it refuses HARD_SWISH and NEG, and fake
quantizations of 16 bits give biases of 32 bits, with which LiteRT 2.3 computes nonsense. Here an
operator without kernels of 16 bits stays in float.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from litert_quantizer import calibrator, quantizer, recipe, recipe_manager
from litert_quantizer.utils.qsv_utils import min_max_update

from hemline.folders import TemporaryFolder


def with_sixteen_bits(content: bytes, images: npt.NDArray[np.uint8]) -> bytes:
    """Return a float model with a signature with ranges observed on uint8 images (n, h, w, c)."""
    with TemporaryFolder() as folder, _quiet():
        path = f"{folder}/float.tflite"
        Path(path).write_bytes(content)
        maker = quantizer.Quantizer(path, _recipe())
        return bytes(maker.quantize(_ranges(path, images)).quantized_model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the package prints, and the warning that keeping all tensors costs memory."""
    with warnings.catch_warnings(), contextlib.ExitStack() as streams:
        warnings.simplefilter("ignore")
        for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
            streams.enter_context(redirect(io.StringIO()))
        yield


def _recipe() -> list[dict[str, Any]]:
    """Return the rule for all operators, and one scale for the weights of a dense layer.

    tflite-runtime reads only the first of several, without a word.
    """
    (rule,) = recipe.static_wi8_ai16()
    dense = copy.deepcopy(rule)
    dense["operation"] = "FULLY_CONNECTED"
    dense["op_config"]["weight_tensor_config"]["granularity"] = "TENSORWISE"
    return [rule, dense]


def _ranges(path: str, images: npt.NDArray[np.uint8]) -> Any:
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(_recipe())
    observer = calibrator.Calibrator(path, num_threads=1, qsv_update_func=min_max_update)
    ((key, name),) = (
        (key, ends["inputs"][0]) for key, ends in observer.get_signature_list().items()
    )
    observer.calibrate({key: [{name: each[None].astype(np.float32)} for each in images]}, rules)
    return observer.get_model_qsvs()
