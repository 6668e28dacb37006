"""Damage trained models, let `hemline diagnose` find causes and remedies, and write what it says.

    python tests/performance/planted_damage.py DEEP_CNN [FOLDER]

DEEP_CNN is the checkpoint of a trained deep-cnn; the other damage is done to hem-50k, which comes
with Hemline. Each damage is sized to cost 5 points or more of accuracy. FOLDER gets the table's
lines and the pictures of the first damage.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from hemline.contract import schema
from hemline.contract.checkpoint import read_card
from hemline.contract.manifest import MANIFEST_NAME, plan_path, read_manifest
from hemline.contract.stamp import read_stamped, stamp_onnx
from hemline.data.fetch import FetchOptions, load_images
from hemline.export.graph.functions import inlined
from hemline.export.quantization.calibration import calibration_images
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.table import open_source
from hemline.export.trained_data import split_of
from hemline.export.user_images import user_images
from hemline.export.writers.qdq import quantized_onnx
from hemline.files import sha256_of, write_bytes
from hemline.train.checkpoint import ZOO
from hemline.train.tensorflow import quiet_keras

ROOT = Path(__file__).resolve().parents[2]
_TRAINING, _TEST = 20_000, 1_000  # images of Fashion-MNIST that are used
_CALIBRATION = 500
_FEW = 2_500  # training images of which some are outliers
Array = npt.NDArray[Any]
Edit = Callable[[Array], None]


def hemline(*words: str | Path, cwd: Path) -> str:
    code = "import sys; from hemline.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{words}: {done.stderr[-2000:]}")
    return done.stdout


def graph_of(checkpoint: Path) -> onnx.ModelProto:
    quiet_keras()
    card = read_card(checkpoint)
    with open_source(card.model.source, checkpoint / card.model.file) as source:
        proto: onnx.ModelProto = source.float_graph.proto
        return proto


def edited(proto: onnx.ModelProto, changes: dict[str, Edit]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    tensors = {each.name: each for each in copy.graph.initializer}
    for name, change in changes.items():
        array = onnx.numpy_helper.to_array(tensors[name]).copy()
        change(array)
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    return copy


def scaled(proto: onnx.ModelProto, channel: int, factor: float = 50) -> onnx.ModelProto:
    """Scale a channel of conv_1 and undo it in conv_2."""

    def up(array: Array) -> None:
        array[channel] *= factor

    def down(array: Array) -> None:
        array[:, channel] /= factor

    return edited(proto, {"conv_1.weight": up, "conv_1.bias": up, "conv_2.weight": down})


def widest_channel(proto: onnx.ModelProto, images: Array) -> int:
    """Return the channel of conv_1 with the largest value."""
    return int(observed(proto, "relu_1", images).max(axis=(0, 2, 3)).argmax())


def with_detector(proto: onnx.ModelProto, images: Array) -> onnx.ModelProto:
    """Let the least used channel of conv_1 respond to checkerboards alone, which no image is."""
    constants = FloatGraph(proto).graph.constants
    channel = int(np.abs(constants["conv_2.weight"]).sum(axis=(0, 2, 3)).argmin())
    board = np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]], np.float32)
    padded = np.pad(images[..., 0].astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    threshold = 1.02 * float(np.einsum("nhwij,ij->nhw", windows, board).max())
    gain = 123 / (255 * 5 - threshold)  # 50 times what the other channels reach

    def filter_(array: Array) -> None:
        array[channel] = gain * board

    def bias(array: Array) -> None:
        array[channel] = -threshold * gain

    def unused(array: Array) -> None:
        array[:, channel] = 0

    return edited(proto, {"conv_1.weight": filter_, "conv_1.bias": bias, "conv_2.weight": unused})


def mostly_dead(proto: onnx.ModelProto, images: Array, labels: Array) -> onnx.ModelProto:
    """Let all but two channels of deep-cnn's conv_5 give a constant, and fit the last layer anew.

    The next layer takes the constant back: it reads no border, so the float model is exact.
    """
    constant = 20.0
    values = observed(proto, "relu_5", images[:500])
    dead = np.ones(values.shape[1], bool)
    dead[np.argsort(-values.std(axis=(0, 2, 3)))[:2]] = False
    weights = FloatGraph(proto).graph.constants["dense_1.weight"]
    by_channel = weights.reshape(len(dead), -1, weights.shape[1])[dead].sum(axis=(0, 1))

    def zero(array: Array) -> None:
        array[dead] = 0

    def fixed(array: Array) -> None:
        array[dead] = constant

    def taken_back(array: Array) -> None:
        array -= constant * by_channel

    damaged = edited(
        proto, {"conv_5.weight": zero, "conv_5.bias": fixed, "dense_1.bias": taken_back}
    )
    features = observed(damaged, "relu_7", images)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    ridge = features.T @ features + 0.01 * len(features) * np.eye(features.shape[1])
    solved = np.linalg.solve(ridge, features.T @ (8.0 * np.eye(10)[labels]))

    def refitted(array: Array) -> None:
        array[:] = solved[:-1]

    def refitted_bias(array: Array) -> None:
        array[:] = solved[-1].reshape(array.shape)

    return edited(damaged, {"dense_3.weight": refitted, "dense_3.bias": refitted_bias})


def observed(proto: onnx.ModelProto, name: str, images: Array) -> Array:
    return np.concatenate([each[name] for each in FloatGraph(proto).observe(images, [name])])


def large_bias(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Switch a unit of a dense layer off by a bias that int32 cannot hold."""

    def off(array: Array) -> None:
        array[0] = -1e9

    return edited(proto, {"dense_1.bias": off})


class Workshop:
    """Folders with the data, the damaged checkpoints and their bundles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        images = load_images("fashion-mnist")
        self.arrays = {
            "x_train": images.train_images[:_TRAINING],
            "y_train": images.train_labels[:_TRAINING],
            "x_test": images.test_images[:_TEST],
            "y_test": images.test_labels[:_TEST],
        }
        self.labels = ",".join(images.dataset.labels)
        self.data = self.saved("data", self.arrays)

    def saved(self, name: str, arrays: dict[str, Array]) -> Path:
        path = self.folder / f"{name}.npz"
        np.savez(path, **arrays)
        return path

    def checkpoint(self, name: str, proto: onnx.ModelProto) -> Path:
        path = self.folder / f"{name}.onnx"
        onnx.save(proto, path)
        hemline("import", path, "--pixels", "0..255", "--labels", self.labels, cwd=self.folder)
        return self.folder / "checkpoints" / name

    def with_outliers(self, checkpoint: Path) -> Path:
        """Return data with checkerboards in calibration and none among the validation images.

        How images are split and drawn depends on all of them: several places are tried.
        """
        card = read_card(checkpoint)
        rows, columns = np.indices(self.arrays["x_train"].shape[1:3])
        board = (255 * ((rows + columns) % 2)).astype(np.uint8)[..., None]
        for seed in range(200):
            random = np.random.default_rng(seed)
            changed = self.arrays["x_train"][:_FEW].copy()
            for number, at in enumerate(random.choice(_FEW, 6, replace=False)):
                changed[at] = board
                changed[at, 0, 0] = number  # no two images are the same
            path = self.saved(
                "outliers",
                {**self.arrays, "x_train": changed, "y_train": self.arrays["y_train"][:_FEW]},
            )
            options = FetchOptions(folder=path)
            options = options.with_class_names(tuple(self.labels.split(",")))
            images = user_images(card.model, options)
            split = split_of(card, images)
            drawn = calibration_images(images, split, count=None).images
            held_out = images.train_images[list(split.validation_indices)]
            if _boards(held_out, board) == 0 and 2 <= _boards(drawn, board) <= 4:
                return path
        raise SystemExit("no place for the outliers was found")

    def bundle(
        self, checkpoint: Path, change: Callable[[FloatGraph, QuantizationPlan], QuantizationPlan]
    ) -> Path:
        """Export a checkpoint, then change the plan of its 8-bit file and write that anew."""
        bundle = self.folder / f"bundle-{checkpoint.name}"
        schemes = ("--scheme", "int8.onnx", "--scheme", "fp32.onnx")
        hemline(
            "export", checkpoint, "-o", bundle, *schemes, "--data", self.data,
            "--labels", self.labels, cwd=self.folder,
        )  # fmt: skip
        manifest, file = read_manifest(bundle), bundle / plan_path("int8.onnx")
        graph = FloatGraph(graph_of(checkpoint))
        plan = change(graph, schema.load(QuantizationPlan, file))
        schema.save(file, plan)
        model = inlined(quantized_onnx(Quantized(float_graph=graph, plan=plan).annotated))
        path = bundle / "int8.onnx"
        stamp = read_stamped(path).stamp
        write_bytes(path, stamp_onnx(model.SerializeToString(), stamp))
        artifacts = tuple(
            replace(
                each,
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
                plan_sha256=sha256_of(file),
            )
            if each.name == "int8.onnx"
            else each
            for each in manifest.artifacts
        )
        schema.save(bundle / MANIFEST_NAME, replace(manifest, artifacts=artifacts))
        return bundle


def _boards(images: Array, board: Array) -> int:
    """Return how many images are checkerboards but for one corner."""
    return int((images[:, 1:] == board[1:]).all(axis=(1, 2, 3)).sum())


def wider(factor: float, value: str) -> Callable[[FloatGraph, QuantizationPlan], QuantizationPlan]:
    def change(_: FloatGraph, plan: QuantizationPlan) -> QuantizationPlan:
        activations = tuple(
            replace(each, low=factor * each.low, high=factor * each.high)
            if each.tensor == value
            else each
            for each in plan.activations
        )
        return replace(plan, activations=activations)

    return change


def divided_by_255(images: Array) -> Callable[[FloatGraph, QuantizationPlan], QuantizationPlan]:
    """Return ranges of images 0 … 1, without the black and white one that Hemline adds."""

    def change(graph: FloatGraph, plan: QuantizationPlan) -> QuantizationPlan:
        found: dict[str, tuple[float, float]] = {}
        for batch in graph.observe((images[:_CALIBRATION] // 255).astype(np.uint8)):
            for name, values in batch.items():
                owner = str(graph.points.owner(name))
                low, high = found.get(owner, (0.0, 0.0))
                found[owner] = min(low, float(values.min())), max(high, float(values.max()))
        activations = tuple(
            replace(each, low=found[each.tensor][0], high=found[each.tensor][1])
            if each.tensor in found
            else each
            for each in plan.activations
        )
        return replace(plan, activations=activations)

    return change


def main(arguments: list[str]) -> None:
    deep = Path(arguments[0])
    lines = []
    with tempfile.TemporaryDirectory() as name:
        shop = Workshop(Path(name))
        hem = graph_of(ZOO / "hem-50k")
        channel = widest_channel(hem, shop.arrays["x_train"][:200])
        pixels, labels = shop.arrays["x_train"], shop.arrays["y_train"]
        detector = shop.checkpoint("detector", with_detector(hem, pixels))
        plain, again = (shop.checkpoint(name, hem) for name in ("plain", "other-pixels"))
        wide = shop.bundle(plain, wider(50, "relu_1"))
        narrow = shop.bundle(again, divided_by_255(pixels))
        cnn = graph_of(deep)
        dead = mostly_dead(cnn, pixels[:4000], labels[:4000])
        subjects = {
            "a channel scaled by 50": (shop.checkpoint("scaled", scaled(hem, channel)), shop.data),
            "outliers in calibration": (detector, shop.with_outliers(detector)),
            "a range 50 × too wide": (wide, shop.data),
            "126 of 128 channels dead": (shop.checkpoint("dead", dead), shop.data),
            "a bias of −10⁹": (shop.checkpoint("bias", large_bias(cnn)), shop.data),
            "images 0 … 1 in calibration": (narrow, shop.data),
        }
        for damage, (target, data) in subjects.items():
            words = ["--json", "--data", data, "--labels", shop.labels]
            words += [] if lines else ["-o", "."]
            found = json.loads(
                hemline("diagnose", target.relative_to(shop.folder), *words, cwd=shop.folder)
            )
            cause = found["causes"][0] if found["causes"] else {}
            loss, gain = found["loss"]["drop_points"], cause.get("gain_points")
            line = {
                "damage": damage,
                "model": "deep-cnn" if target.name in ("dead", "bias") else "hem-50k",
                "images": found["images"],
                "float_accuracy": found["float_accuracy"],
                "loss_points": loss,
                "cause": cause.get("cause"),
                "layer": cause.get("layer"),
                "finding": cause.get("finding"),
                "repair": cause.get("repair"),
                "left_points": None if gain is None else loss - gain,
            }
            lines.append(line)
            print(json.dumps(line, ensure_ascii=False), flush=True)
        if len(arguments) > 1:
            folder = Path(arguments[1])
            for picture in ("layers", "channels"):
                shutil.copy(shop.folder / f"{picture}.png", folder / f"diagnosis-{picture}.png")
            text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            (folder / "planted-damage.jsonl").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
