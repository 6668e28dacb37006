"""The models that can be trained by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hemline.errors import UnknownNameError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A row of the MODELS table.

    name: key in the table.
    summary: one line for help and tables.
    build: "module:function" taking (input shape, number of classes) and giving a Keras model with
        float pixels 0 … 255 in and logits out.
    recipe: name of its default recipe.
    """

    name: str
    summary: str
    build: str
    recipe: str


MODELS: dict[str, ModelRow] = {
    "hem-50k": ModelRow(
        name="hem-50k",
        summary="six full 3×3 convolutions with batch normalization, under 50,000 parameters",
        build="hemline.train.hem:build_hem_50k",
        recipe="fast",
    ),
}


def find_model(name: str) -> ModelRow:
    """Return a row of the MODELS table; raises UnknownNameError with the nearest name."""
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    return MODELS[name]


def build_model(
    row: ModelRow, shape: tuple[int, int, int], classes: int, *, policy: str
) -> keras.Model:
    """Build a model whose layers compute in `policy` (float32 or mixed_bfloat16)."""
    from hemline.train.tensorflow import quiet_keras

    backend = quiet_keras()
    module, _, name = row.build.partition(":")
    build = getattr(importlib.import_module(module), name)
    before = backend.config.dtype_policy()
    backend.config.set_dtype_policy(policy)
    try:
        return build(shape, classes)
    finally:
        backend.config.set_dtype_policy(before)


def count_macs(model: keras.Model) -> int:
    """Return the multiply-accumulates of one inference in convolutions and dense layers."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        positions = 1
        for size in layer.output.shape[1:-1]:
            positions *= size
        total += int(kernel.shape.num_elements()) * positions
    return total
