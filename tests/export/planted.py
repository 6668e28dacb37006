"""A small classifier, and damage that costs it accuracy in 8 bits, each with a known cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from graphs import Net, together

from hemline.export.graph.normalization import normalized
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan
from hemline.export.quantization.quantized import Quantized

Pixels = npt.NDArray[np.uint8]
CLASSES = 6
SIZE = 12


def pictures(count: int, seed: int) -> tuple[Pixels, Pixels]:
    """Return images (count, 12, 12, 3) whose class is where a bright square is, and the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count).astype(np.uint8)
    images = random.integers(0, 110, (count, SIZE, SIZE, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 3) + 2, 4 * (label % 3)
        image[row : row + 4, column : column + 4] += random.integers(60, 100, 3).astype(np.uint8)
    return images, labels


def classifier() -> onnx.ModelProto:
    """Return two convolutions and two dense layers, normalized; only the last one is fitted."""
    net = Net(("N", 3, SIZE, SIZE))
    x = "x"
    for before in (3, 8):
        weights, bias = net.weights(8, before, 3, 3, scale=2), net.constant(np.zeros(8, np.float32))
        x = net.op("Relu", net.op("Conv", x, weights, bias, pads=[1] * 4))
        if before == 3:
            x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Flatten", x)
    weights, bias = net.weights(64, 8 * 36, scale=2), net.constant(np.zeros(64, np.float32))
    features = net.op("Relu", net.op("Gemm", x, weights, bias, transB=1))
    images, labels = pictures(1500, seed=1)
    values = together(net.model(features), _channels_first(images))
    values = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    wanted = 4.0 * np.eye(CLASSES)[labels]
    ridge = values.T @ values + 1e-5 * len(values) * np.eye(values.shape[1])
    fitted = np.linalg.solve(ridge, values.T @ wanted).astype(np.float32)
    last = net.op("Gemm", features, net.constant(fitted[:-1]), net.constant(fitted[-1]))
    return normalized(net.model(last), mean=(0.0,), std=(255.0,))


def _channels_first(images: Pixels) -> npt.NDArray[np.float32]:
    return np.moveaxis(images, -1, 1).astype(np.float32) / np.float32(255)


def quantized(proto: onnx.ModelProto, calibration: Calibration) -> Quantized:
    graph = FloatGraph(proto)
    return Quantized(float_graph=graph, plan=calibrated_plan(graph, calibration))


def edited(proto: onnx.ModelProto, **changes: Callable[[Any], None]) -> onnx.ModelProto:
    """Return a model with constants changed in place; __ stands for the dot in a name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    tensors = {each.name: each for each in copy.graph.initializer}
    for key, change in changes.items():
        name = key.replace("__", ".")
        array = onnx.numpy_helper.to_array(tensors[name]).copy()
        change(array)
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    return copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Damage to a model or its calibration.

    name: of the damage; cause: name in the CAUSES table; layer: where it is, None for everywhere.
    points: that it costs at least; 0 where that is not the matter.
    named_only: whether no simulation can repair it.
    model: changes the float model, which computes what it did, or a model of its own.
    images: changes the calibration images. ranges: changes the quantized model.
    """

    name: str
    cause: str
    layer: str | None = None
    points: float = 5.0
    named_only: bool = False
    model: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda proto: proto
    images: Callable[[Pixels], Pixels] = lambda images: images
    ranges: Callable[[Quantized], Quantized] = lambda model: model

    def applied(self, proto: onnx.ModelProto, images: Pixels) -> tuple[Quantized, Calibration]:
        """Return the damaged model in 8 bits, and what it was calibrated on."""
        calibration = Calibration(images=self.images(images), sha256="0" * 64)
        return self.ranges(quantized(self.model(proto), calibration)), calibration


def _scaled_channel(proto: onnx.ModelProto) -> onnx.ModelProto:
    def larger(array: Any) -> None:
        array[2] *= 50

    def smaller(array: Any) -> None:
        array[:, 2] /= 50

    return edited(proto, conv_1__weight=larger, conv_1__bias=larger, conv_2__weight=smaller)


def _all_but_two_dead(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Let most channels give a constant, which the next layer takes back."""
    constant, live = 40.0, 2
    weights = onnx.numpy_helper.to_array(
        next(each for each in proto.graph.initializer if each.name == "dense_1.weight")
    )
    places = weights.shape[0] // 8

    def zero(array: Any) -> None:
        array[live:] = 0

    def fixed(array: Any) -> None:
        array[live:] = constant

    def taken_back(array: Any) -> None:
        array -= constant * weights[live * places :].sum(axis=0)

    return edited(proto, conv_2__weight=zero, conv_2__bias=fixed, dense_1__bias=taken_back)


def _large_bias(proto: onnx.ModelProto) -> onnx.ModelProto:
    def one(array: Any) -> None:
        array[0] = -1e9

    return edited(proto, dense_1__bias=one)


def _with_detector(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Let a channel respond to checkerboards of full contrast alone, and nothing read it."""

    def pattern(array: Any) -> None:
        even = np.indices((3, 3)).sum(axis=0) % 2 == 0
        array[7] = 30 / 255 * np.where(even, 0.8, -1)  # of flat areas it makes nothing

    def above_noise(array: Any) -> None:
        array[7] = -30 * 6

    def unread(array: Any) -> None:
        array[:, 7] = 0

    return edited(proto, conv_1__weight=pattern, conv_1__bias=above_noise, conv_2__weight=unread)


def _with_outliers(images: Pixels) -> Pixels:
    changed = images.copy()
    checkerboard = np.indices(images.shape[1:-1]).sum(axis=0) % 2
    changed[[10, 70, 150]] = 255 * checkerboard[..., None]
    return changed


def _ten_times(model: Quantized) -> Quantized:
    activations = tuple(
        replace(each, low=40 * each.low, high=40 * each.high) if each.tensor == "relu_2" else each
        for each in model.plan.activations
    )
    return replace(model, plan=replace(model.plan, activations=activations))


DAMAGES = (
    Damage(name="scaled channel", cause="wide channels", layer="conv_1", model=_scaled_channel),
    Damage(
        name="outlier images",
        cause="outlier images",
        model=_with_detector,
        images=_with_outliers,
    ),
    Damage(name="wide range", cause="range too wide", layer="conv_2", ranges=_ten_times),
    Damage(name="dead channels", cause="dead channels", layer="conv_2", model=_all_but_two_dead),
    Damage(name="large bias", cause="bias beyond int32", layer="dense_1", model=_large_bias),
    Damage(
        name="other pixels",
        cause="other preprocessing",
        named_only=True,
        points=0.0,
        images=lambda images: images // 255,
    ),
)
