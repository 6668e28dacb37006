"""One plan, two writers: int8.tflite in LiteRT and int8.onnx in ONNX Runtime compute the same."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: E402
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions  # noqa: E402

from hemline.contract.checkpoint import read_card  # noqa: E402
from hemline.contract.specs import LOGITS  # noqa: E402
from hemline.data.fetch import load_images  # noqa: E402
from hemline.export.graph.points import find_points  # noqa: E402
from hemline.export.quantization.calibration import Calibration, calibration_images  # noqa: E402
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan  # noqa: E402
from hemline.export.quantization.plan import QuantizationPlan  # noqa: E402
from hemline.export.quantization.quantized import Quantized  # noqa: E402
from hemline.export.sources.keras import KerasSource  # noqa: E402
from hemline.export.sources.source import ModelSource  # noqa: E402
from hemline.export.sources.table import open_source  # noqa: E402
from hemline.export.writers import onnx as onnx_writer  # noqa: E402
from hemline.export.writers import tflite as tflite_writer  # noqa: E402
from hemline.model_files.flatbuffer import packed, schema, unpacked  # noqa: E402
from hemline.train.checkpoint import ZOO  # noqa: E402
from hemline.train.nets.design import Design  # noqa: E402
from hemline.train.nets.hem import HEM_50K  # noqa: E402
from hemline.train.nets.models import build_model, find_model  # noqa: E402

layers = keras.layers
Logits = npt.NDArray[np.float32]
_BATCH = 500
ALL = GraphOptimizationLevel.ORT_ENABLE_ALL
NONE = GraphOptimizationLevel.ORT_DISABLE_ALL
CONVOLUTIONS = HEM_50K.convolutions
ADDITIONS = sum((stage.convolutions - 1) // 2 for stage in HEM_50K.stages)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two files of a model.

    plan: that both are made by.
    """

    plan: QuantizationPlan
    tflite: bytes
    onnx: bytes

    @property
    def interpreter(self) -> Interpreter:
        return Interpreter(model_content=self.tflite, num_threads=1)

    @property
    def step(self) -> float:
        """Return the distance of two logits."""
        return float(self.interpreter.get_output_details()[0]["quantization"][0])

    def in_litert(self, images: npt.NDArray[np.uint8]) -> Logits:
        interpreter = self.interpreter
        source, found = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        scale, zero_point = found["quantization"]
        parts = []
        for part in np.split(images, range(_BATCH, len(images), _BATCH)):
            interpreter.resize_tensor_input(source["index"], part.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(source["index"], (part.astype(np.int16) - 128).astype(np.int8))
            interpreter.invoke()
            parts.append(interpreter.get_tensor(found["index"]).astype(np.float32) - zero_point)
        return np.concatenate(parts) * np.float32(scale)

    def in_onnxruntime(
        self, images: npt.NDArray[np.uint8], level: GraphOptimizationLevel = ALL
    ) -> Logits:
        options = SessionOptions()
        options.graph_optimization_level = level
        session = InferenceSession(self.onnx, options)
        parts = np.split(images, range(_BATCH, len(images), _BATCH))
        return np.concatenate([session.run([LOGITS], {"image": part})[0] for part in parts])


def pair_of(source: ModelSource, calibration: Calibration) -> Pair:
    plan = calibrated_plan(source.float_graph, calibration)
    quantized = Quantized(float_graph=source.float_graph, plan=plan)
    return Pair(
        plan=plan,
        tflite=tflite_writer.convert_int8(source, quantized).content,
        onnx=onnx_writer.convert_int8(source, quantized).content,
    )


def equal_logits(first: Logits, second: Logits, step: float) -> float:
    """Return the share of logits on the same step: half of one allows for float rounding."""
    return float((np.abs(first - second) < step / 2).mean())


def require_near_ties(first: Logits, second: Logits, step: float, steps: int = 1) -> None:
    """Require equal labels for 99.8 % of the images, and few steps between the other two."""
    other = np.flatnonzero(first.argmax(axis=1) != second.argmax(axis=1))
    assert len(other) <= 0.002 * len(first)
    labels = second[other].argmax(axis=1)
    gaps = first[other].max(axis=1) - first[other, labels]
    assert np.all(gaps < (steps + 0.5) * step), f"gaps of {gaps / step} steps"


@pytest.fixture(scope="module")
def hem() -> tuple[Pair, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the files of the checkpoint that is shipped, and all images and labels to judge on."""
    images = load_images("fashion-mnist")
    card = read_card(ZOO / "hem-50k")
    split = card.trained.split
    held_out = list(split.validation_indices)
    with open_source(card.model.source, ZOO / "hem-50k" / card.model.file) as source:
        pair = pair_of(source, calibration_images(images, split, count=500))
    return (
        pair,
        np.concatenate([images.train_images[held_out], images.test_images]),
        np.concatenate([images.train_labels[held_out], images.test_labels]),
    )


@pytest.mark.medium
def test_hem_50k_gives_the_same_classes_and_logits_in_both_runtimes(
    hem: tuple[Pair, npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> None:
    pair, images, labels = hem
    assert len(images) == 15_000
    lite, other = pair.in_litert(images), pair.in_onnxruntime(images)
    np.testing.assert_array_equal(lite.argmax(axis=1), other.argmax(axis=1))
    assert equal_logits(lite, other, pair.step) >= 0.999
    # 93.62 % of the test images where it was measured; the float model has 93.69 %
    assert (lite.argmax(axis=1) == labels)[5000:].mean() >= 0.9330


def test_the_optimizations_of_onnx_runtime_change_next_to_nothing(
    hem: tuple[Pair, npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> None:
    """Where a bias or a kernel is left in float they change logits by many steps, silently."""
    pair, images, _ = hem
    plain, optimized = pair.in_onnxruntime(images[:3000], NONE), pair.in_onnxruntime(images[:3000])
    assert np.abs(plain - optimized).max() < 2.5 * pair.step  # 2; what stays in float makes many
    assert equal_logits(plain, optimized, pair.step) >= 0.99


def test_onnx_runtime_fuses_every_operator(
    hem: tuple[Pair, npt.NDArray[np.uint8], npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that the file is for this processor
    InferenceSession(hem[0].onnx, options)
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert operators["QLinearConv"] == CONVOLUTIONS
    assert (operators["QLinearAdd"], operators["QGemm"]) == (ADDITIONS, 1)
    assert (operators["DequantizeLinear"], operators["QuantizeLinear"]) == (1, 0)
    assert not {"Conv", "Add", "Gemm", "MaxPool", "GlobalAveragePool"} & operators.keys()


def test_the_tflite_file_has_no_operator_that_a_direct_conversion_lacks(
    hem: tuple[Pair, npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> None:
    """Convolutions, poolings, the addition, the mean and the dense layer: activations inside."""
    shrinks = [stage.shrink for stage in HEM_50K.stages]
    expected = {
        "CONV_2D": CONVOLUTIONS,
        "MAX_POOL_2D": shrinks.count("max"),
        "AVERAGE_POOL_2D": shrinks.count("average"),
        "ADD": ADDITIONS,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
    }
    assert operators_of(hem[0].tflite) == {name: n for name, n in expected.items() if n}


def test_the_tflite_file_has_equal_vectors_once_and_weights_at_multiples_of_16(
    hem: tuple[Pair, npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> None:
    content = hem[0].tflite
    assert packed(unpacked(content)) == content, "written again, nothing more can be shared"
    file = schema.Model.GetRootAs(content, 0)
    grids = [file.Subgraphs(0).Tensors(at).Quantization() for at in range(len(tensors(content)))]
    places = {}  # of the zero points of each vector
    for points in (each.ZeroPointAsNumpy() for each in grids if each and each.ZeroPointLength()):
        places.setdefault(points.tobytes(), set()).add(points.__array_interface__["data"][0])
    assert any(len(key) == 8 * HEM_50K.stages[-1].channels for key in places), "one a channel"
    assert all(len(found) == 1 for found in places.values())
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    for at in range(file.BuffersLength()):
        if file.Buffers(at).DataLength():
            place = file.Buffers(at).DataAsNumpy().__array_interface__["data"][0]
            assert (place - start) % 16 == 0


def tensors(content: bytes) -> list[Any]:
    return unpacked(content).subgraphs[0].tensors


def operators_of(content: bytes) -> Counter[str]:
    # without delegates, which hide operators
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return Counter(each["op_name"] for each in interpreter._get_ops_details())


def pictures(count: int, side: int = 28, channels: int = 1) -> npt.NDArray[np.uint8]:
    """Return images of flat squares with some noise, the same ones each time."""
    random = np.random.default_rng(1)
    squares = random.normal(scale=60, size=(count, side // 4, side // 4, channels))
    whole = squares.repeat(4, axis=1).repeat(4, axis=2)
    noise = random.normal(scale=12, size=whole.shape)
    return np.asarray((128 + whole + noise).clip(0, 255), np.uint8)


def spread_out(model: Any, images: npt.NDArray[np.uint8]) -> Any:
    """Give a model of random weights normalizations of these images, and logits of 5."""
    model(images.astype(np.float32), training=True)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one batch sets mean and variance
    model(images.astype(np.float32), training=True)
    last = next(each for each in model.layers[::-1] if isinstance(each, keras.layers.Dense))
    found = np.asarray(model(images.astype(np.float32), training=False))
    gain = 5 / found.std(axis=0)
    last.set_weights([last.get_weights()[0] * gain, -found.mean(axis=0) * gain])
    return model


@pytest.mark.medium
@pytest.mark.parametrize(
    "name",
    [
        *("mlp", "cnn"),
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("deep-cnn", "mobilenetv2")),
    ],
)
def test_a_small_net_of_each_family_gives_the_same_labels_in_both_runtimes(name: str) -> None:
    keras.utils.set_random_seed(1)
    design = Design() if name == "mobilenetv2" else Design(width=0.5)
    model = build_model(find_model(name), (28, 28, 1), 10, design=design)
    images = pictures(1000)
    with KerasSource(spread_out(model, images[:200])) as source:
        pair = pair_of(source, Calibration(images=images[:200], sha256=""))
    # LiteRT adds with integers: now and then by one step otherwise, which 50 layers of random
    # weights make more of. A trained one keeps to one step: tests/performance/parity.py.
    steps = 4 if name == "mobilenetv2" else 1
    lite, other = pair.in_litert(images), pair.in_onnxruntime(images)
    require_near_ties(lite, other, pair.step, steps)


def small(*, entrance: Callable[[Any], Any], middle: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(1)
    pixels = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(entrance(pixels))
    x = middle(x)
    return keras.Model(pixels, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


MIDDLES: dict[str, Callable[[Any], Any]] = {
    "a residual addition": lambda x: layers.ReLU()(
        layers.Add()([x, layers.Conv2D(8, 3, padding="same")(x)])
    ),
    "a concatenation": lambda x: layers.Concatenate()(
        [x, layers.Conv2D(4, 1, activation="relu")(x), layers.Conv2D(4, 1)(x)]
    ),
    "an average pooling": lambda x: layers.AveragePooling2D(2)(layers.Conv2D(8, 3)(x)),
    "squeeze and excite": lambda x: layers.Multiply()(
        [
            x,
            layers.Conv2D(8, 1, activation="sigmoid")(
                layers.Conv2D(4, 1, activation="relu")(
                    layers.GlobalAveragePooling2D(keepdims=True)(x)
                )
            ),
        ]
    ),
    "a depthwise convolution": lambda x: layers.ReLU(6.0)(
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    ),
}


@pytest.mark.medium
@pytest.mark.parametrize("middle", MIDDLES)
def test_each_kind_of_layer_gives_the_same_labels_in_both_runtimes(middle: str) -> None:
    model = small(entrance=layers.Rescaling(1 / 255), middle=MIDDLES[middle])
    images = pictures(1000, 16, 3)
    with KerasSource(spread_out(model, images[:200])) as source:
        pair = pair_of(source, Calibration(images=images[:200], sha256=""))
    require_near_ties(pair.in_litert(images), pair.in_onnxruntime(images), pair.step)


@pytest.mark.medium
@pytest.mark.parametrize(
    "entrance",
    [
        pytest.param(
            layers.Rescaling(1 / 127.5, offset=-1.0), id="centred", marks=pytest.mark.slow
        ),
        pytest.param(
            lambda x: layers.Rescaling(1 / 127.5, offset=-1.0)(layers.Resizing(32, 32)(x)),
            id="resized and centred",
        ),
    ],
)
def test_ties_between_pixels_are_rounded_alike(entrance: Callable[[Any], Any]) -> None:
    """127.5 is between two pixels, and so are many of the values between two that differ by one."""
    model = small(entrance=entrance, middle=lambda x: x)
    images = pictures(500, 16, 3)
    with KerasSource(spread_out(model, images[:200])) as source:
        pair = pair_of(source, Calibration(images=images[:200], sha256=""))
    lite, other = pair.in_litert(images), pair.in_onnxruntime(images)
    assert equal_logits(lite, other, pair.step) >= 0.99


def test_points_are_where_both_runtimes_round() -> None:
    """None in front of a ReLU or behind a Flatten; pooling and concatenation share a grid."""

    def middle(x: Any) -> Any:
        y = layers.MaxPooling2D(2)(x)
        y = layers.Concatenate()([y, layers.Conv2D(4, 1, activation="relu")(y)])
        return layers.Conv2D(4, 1)(y)

    with KerasSource(small(entrance=layers.Rescaling(1 / 255), middle=middle)) as source:
        graph = source.float_graph
        points = find_points(graph.graph)
    assert points.quantized == [
        "image",
        "relu_1",
        "maxpool_1",
        "relu_2",
        "concat_1",
        "conv_3",
        "globalaveragepool_1",
        "logits",
    ]
    shared = {points.owner(name) for name in ("relu_1", "maxpool_1", "relu_2", "concat_1")}
    assert len(shared) == 1
    assert points.owner("flatten_1") == "globalaveragepool_1"
    assert isinstance(graph, FloatGraph)


@pytest.fixture(scope="module")
def coarse() -> Iterator[tuple[ModelSource, QuantizationPlan]]:
    images = pictures(300, 16, 3)
    model = small(entrance=layers.Rescaling(1 / 255), middle=MIDDLES["a residual addition"])
    with KerasSource(spread_out(model, images[:200])) as source:
        yield source, calibrated_plan(source.float_graph, Calibration(images=images, sha256=""))


@pytest.mark.parametrize(
    ("bits", "largest"),
    [
        (8, 127),
        (4, 7),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((6, 31), (5, 15), (3, 3))),
    ],
)
def test_weights_keep_to_the_grid_of_the_plan_in_both_formats(
    coarse: tuple[ModelSource, QuantizationPlan], bits: Any, largest: int
) -> None:
    source, plan = coarse
    grids = tuple(dataclasses.replace(grid, bits=bits) for grid in plan.weights)
    changed = Quantized(
        float_graph=source.float_graph, plan=dataclasses.replace(plan, weights=grids)
    )
    interpreter = Interpreter(
        model_content=tflite_writer.convert_int8(source, changed).content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    sides = [d for d in interpreter.get_tensor_details() if d["dtype"] == np.int8]
    found = [interpreter.get_tensor(d["index"]) for d in sides if len(d["shape"]) in (2, 4)]
    lite = [w for w in found if w.shape[0] != 1]
    file = onnx_writer.convert_int8(source, changed)
    arrays = [
        onnx.numpy_helper.to_array(each)
        for each in onnx.load_from_string(file.content).graph.initializer
    ]
    weights = [each for each in arrays if each.dtype == np.int8 and each.ndim > 1]
    for each in (lite, weights):
        assert len(each) == 3
        assert max(int(np.abs(w.astype(int)).max()) for w in each) == largest

    def counts(tensors: list[npt.NDArray[np.int8]]) -> list[list[int]]:
        return sorted(np.sort(w, axis=None).tolist() for w in tensors)

    assert counts(lite) == counts(weights)
