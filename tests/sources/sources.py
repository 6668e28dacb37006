"""The models that are tried: a row for each, with the script that makes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {"keras": ".keras", "h5": ".h5", "saved-model": "", "tflite": ".tflite", "onnx": ".onnx"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model that is tried.

    name: of its file, without suffix.
    kind: what the file is, a key of SUFFIXES.
    maker: module here that makes it; its GRAPHS has a function of the same name.
    summary: what is special about it.
    pixels: key of RANGES: what it is trained on.
    size: height and width of its images.
    """

    name: str
    kind: str
    maker: str
    summary: str
    pixels: str = "0..1"
    size: int = 32

    def file_in(self, folder: Path) -> Path:
        """Return where it is in the folder of the tried models."""
        return folder / f"{self.name}{SUFFIXES[self.kind]}"


def _row(name: str, kind: str, maker: str, summary: str, pixels: str, size: int = 32) -> Source:
    return Source(name=name, kind=kind, maker=maker, summary=summary, pixels=pixels, size=size)


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        _row("resnet50v2", "keras", "keras_nets", "keras.applications, 24 M", "-1..1", 64),
        _row("mobilenetv2", "keras", "keras_nets", "keras.applications, α 0.35", "-1..1", 64),
        _row("mobilenetv3small", "keras", "keras_nets", "keras.applications", "0..255", 64),
        _row("efficientnetb0", "keras", "keras_nets", "keras.applications", "0..255", 64),
        _row("plain", "keras", "keras_nets", "Conv, BN, ReLU, max pooling, Flatten", "0..1"),
        _row("dense-net", "keras", "keras_nets", "dense blocks: concat of all before", "0..1"),
        _row("swish", "keras", "keras_nets", "swish, average pooling", "-1..1"),
        _row("hard-swish", "keras", "keras_nets", "hard-swish", "0..1"),
        _row("squeeze-excite", "keras", "keras_nets", "squeeze and excite by sigmoid", "0..1"),
        _row("inception", "keras", "keras_nets", "branches of 1, 3, 5, pooling; concat", "0..1"),
        _row("global-max", "keras", "keras_nets", "global max pooling", "0..1"),
        _row("norm-first", "keras", "keras_nets", "residual, normalization before", "ImageNet"),
        _row("norm-after", "keras", "keras_nets", "residual, normalization after ReLU", "0..1"),
        _row("depthwise", "keras", "keras_nets", "depthwise separable, ReLU6", "-1..1"),
        _row("dilated", "keras", "keras_nets", "dilated convolutions", "0..1"),
        _row("grouped", "keras", "keras_nets", "grouped convolutions", "0..1"),
        _row("conv-next", "keras", "keras_nets", "7 × 7 depthwise, LayerNorm, GELU", "0..1"),
        _row("prelu", "keras", "keras_nets", "PReLU", "0..1"),
        _row("leaky-relu", "keras", "keras_nets", "LeakyReLU, ELU", "0..1"),
        _row("mixer", "keras", "keras_nets", "MLP mixer: patches, transposes", "0..1"),
        _row("saved-residual", "saved-model", "keras_nets", "residual, exported", "0..1"),
        _row("saved-plain-tf", "saved-model", "keras_nets", "tf.Module, no Keras", "-1..1"),
        _row("h5-keras3", "h5", "keras_nets", "plain net, saved by Keras 3", "0..1"),
        _row("lite-residual", "tflite", "keras_nets", "residual, float", "0..1"),
        _row("lite-hard-swish", "tflite", "keras_nets", "hard-swish, float", "0..1"),
        _row("h5-plain", "h5", "keras2_nets", "Keras 2: Conv, BN, softmax", "0..1"),
        _row("h5-nested", "h5", "keras2_nets", "Keras 2: nested Sequential, depthwise", "-1..1"),
        _row("keras2-residual", "keras", "keras2_nets", "Keras 2: a .keras file", "0..1"),
        _row("onnx-cnn", "onnx", "onnx_nets", "NCHW, padded max pooling, Gemm", "ImageNet"),
        _row("onnx-residual", "onnx", "onnx_nets", "NCHW, Add, GlobalAveragePool", "ImageNet"),
        _row("onnx-squeeze", "onnx", "onnx_nets", "NCHW, HardSigmoid and HardSwish", "0..1"),
        _row("onnx-clip", "onnx", "onnx_nets", "NCHW, depthwise, Clip, ReduceMean", "-1..1"),
        _row("onnx-shuffle", "onnx", "onnx_nets", "channel shuffle: Split, Reshape", "0..1"),
        _row("onnx-opset7", "onnx", "onnx_nets", "opset 7, weights among the inputs", "0..1"),
        _row("onnx-external", "onnx", "onnx_nets", "opset 21, weights in another file", "0..1"),
        _row("onnx-nhwc", "onnx", "onnx_nets", "channels last, as tf2onnx writes", "0..255"),
        _row("torch-cnn-old", "onnx", "torch_nets", "torch.onnx.export, dynamo=False", "ImageNet"),
        _row("torch-cnn", "onnx", "torch_nets", "torch.onnx.export", "ImageNet"),
        _row("torch-resnet", "onnx", "torch_nets", "ResNet", "ImageNet"),
        _row("torch-resnet-old", "onnx", "torch_nets", "ResNet, dynamo=False", "ImageNet"),
        _row("torch-mobilenet", "onnx", "torch_nets", "inverted residuals, hard-swish", "ImageNet"),
        _row("torch-conv-next", "onnx", "torch_nets", "LayerNorm, GELU, permute", "ImageNet"),
        _row("torch-vit", "onnx", "torch_nets", "attention over 16 patches", "ImageNet"),
    )
}
