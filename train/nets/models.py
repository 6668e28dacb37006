"""The models that can be trained by name."""

from __future__ import annotations

import itertools
import math
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hemline.errors import UnknownNameError, UsageError
from hemline.train.nets.design import Design

if TYPE_CHECKING:
    from pathlib import Path

    import keras

    from hemline.train.recipes.recipe import Recipe

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A row of the MODELS table.

    name: key in the table.
    summary: one line for help and tables.
    build: "module:function" taking (input shape, number of classes, Design) and giving a Keras
        model with float pixels 0 … 255 in and logits out.
    recipe: name of its default recipe, from random weights.
    transfer_recipe: likewise from pretrained weights, for models that have some; else None.
    designs: fields of Design that it follows, beside weights.
    """

    name: str
    summary: str
    build: str
    recipe: str
    transfer_recipe: str | None = None
    designs: tuple[str, ...] = ("width", "dropout")


DEFAULT = "hem-50k"
MODELS: dict[str, ModelRow] = {
    row.name: row
    for row in (
        *(
            ModelRow(
                name=f"hem-{size}",
                summary=f"convolutions with batch normalization, under {size[:-1]},000 parameters",
                build=f"hemline.train.nets.hem:HEM_{size.upper()}.build",
                recipe="fast",
                designs=("width", "dropout", "depth", "kernel", "pooling", "residual"),
            )
            for size in ("20k", "50k", "100k", "500k")
        ),
        ModelRow(
            name="mlp",
            summary="one hidden layer of 32 units",
            build="hemline.train.nets.presets:build_mlp",
            recipe="plain",
        ),
        ModelRow(
            name="cnn",
            summary="three convolutions with max pooling and dropout, a hidden layer",
            build="hemline.train.nets.presets:build_cnn",
            recipe="plateau",
            designs=("width", "dropout", "batch_normalization"),
        ),
        ModelRow(
            name="deep-cnn",
            summary="five convolutions with batch normalization and dropout, two hidden layers",
            build="hemline.train.nets.presets:build_deep_cnn",
            recipe="plateau",
            designs=("width", "dropout", "batch_normalization"),
        ),
        ModelRow(
            name="mobilenetv2",
            summary="MobileNetV2 with 0.35 of its channels",
            build="hemline.train.nets.transfer:build_mobilenetv2",
            recipe="scratch",
            transfer_recipe="transfer",
            designs=("width", "dropout", "resize"),
        ),
        ModelRow(
            name="vgg16",
            summary="VGG16 with a new top",
            build="hemline.train.nets.transfer:build_vgg16",
            recipe="scratch",
            transfer_recipe="transfer",
            designs=("dropout", "resize"),
        ),
        ModelRow(
            name="resnet50",
            summary="ResNet50 with a new top",
            build="hemline.train.nets.transfer:build_resnet50",
            recipe="scratch",
            transfer_recipe="transfer",
            designs=("dropout", "resize"),
        ),
    )
}


def find_model(name: str) -> ModelRow:
    """Return a row of the MODELS table; raises UnknownNameError with the nearest name."""
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    return MODELS[name]


def build_model(
    row: ModelRow,
    shape: tuple[int, int, int],
    classes: int,
    *,
    policy: str = "float32",
    design: Design = Design(),  # noqa: B008 — frozen
) -> keras.Model:
    """Build a model whose layers compute in `policy` (float32 or mixed_bfloat16).

    Raises UsageError for a design that the model cannot follow, or images that are too small.
    """
    from hemline.train.tensorflow import quiet_keras

    design.require_only(row.name, row.designs)
    backend = quiet_keras()
    build = pkgutil.resolve_name(row.build)
    before = backend.config.dtype_policy()
    backend.config.set_dtype_policy(policy)
    try:
        return build(shape, classes, design)
    except ValueError as error:  # a pool or convolution that is larger than what it reads
        raise UsageError(
            f"{row.name} cannot be built for {shape[1]} × {shape[0]} images: inside, they become "
            "smaller than what its layers read; choose a larger image size"
        ) from error
    finally:
        backend.config.set_dtype_policy(before)


def seeded_model(
    row: ModelRow,
    recipe: Recipe,
    shape: tuple[int, int, int],
    classes: int,
    *,
    seed: int,
    weights: Path | None = None,
) -> keras.Model:
    """Build a model as a recipe has it, from a seed and a file of pretrained weights."""
    from hemline.train.tensorflow import quiet_keras

    quiet_keras().utils.set_random_seed(seed)
    return build_model(row, shape, classes, design=Design.of(recipe, weights=weights))


def count_macs(model: keras.Model) -> int:
    """Return the multiply-accumulates of one inference in convolutions and dense layers."""
    return sum(layer_macs(model).values())


def layer_macs(model: keras.Model) -> dict[str, int]:
    """Return layer name to its multiply-accumulates in one inference, of all its calls.

    A nested model has those of its layers. Layers without kernels are left out.
    """
    graph = getattr(model, "_functional", None) or model  # a Sequential keeps one
    found: dict[str, int] = {}
    for call in itertools.chain(*getattr(graph, "_nodes_by_depth", {}).values()):
        if macs := _call_macs(call):
            found[call.operation.name] = found.get(call.operation.name, 0) + macs
    return found


def _call_macs(call: Any) -> int:
    layer = call.operation
    if getattr(layer, "_nodes_by_depth", None) or getattr(layer, "_functional", None):
        return count_macs(layer)
    kernels = [getattr(layer, name, None) for name in _KERNELS]
    weights = sum(math.prod(kernel.shape) for kernel in kernels if kernel is not None)
    if not weights:
        return 0
    # a transposed convolution multiplies each pixel that it reads, all others each one they write
    tensors = call.input_tensors if "Transpose" in type(layer).__name__ else call.output_tensors
    first = getattr(layer, "data_format", None) == "channels_first"
    shape = tensors[0].shape
    return int(weights * math.prod(shape[2:] if first else shape[1:-1]))
