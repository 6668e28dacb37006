"""What `hemline inspect` shows of artifacts and checkpoints."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, Manifest, plan_path, read_manifest
from hemline.contract.stamp import read_stamped
from hemline.contract.steps import FloatLayer, LeftOut, Step
from hemline.errors import BackendError, FileFormatError, UsageError
from hemline.export.quantization.plan import QuantizationPlan
from hemline.model_files.contents import Contents, Operator
from hemline.model_files.onnx import contents_of, read_onnx
from hemline.model_files.tflite import read_tflite
from hemline.train.nets.hem import HEM_50K

SVG = "{http://www.w3.org/2000/svg}"


def inspect(*words: object) -> Result:
    return CliRunner().invoke(cli, ["inspect", *map(str, words)])


def contents(bundle: Path, name: str) -> Contents:
    read: Callable[[bytes], Contents] = read_onnx if name.endswith(".onnx") else read_tflite
    return read(read_stamped(bundle / name).model)


def test_every_artifact_has_the_cost_of_the_model(bundle: Path, manifest: Manifest) -> None:
    found = {each.name: contents(bundle, each.name) for each in manifest.artifacts}
    assert len(found) >= 6
    for each in found.values():
        assert each.macs == manifest.macs
        assert each.computing().macs == manifest.macs
    # batch normalization is folded
    (parameters,) = {each.parameters for each in found.values()}
    assert manifest.parameters is not None
    assert 0.95 * manifest.parameters < parameters < manifest.parameters


def test_weights_have_the_size_of_their_type(bundle: Path) -> None:
    found = {
        name: contents(bundle, name).weight_bytes / contents(bundle, name).parameters
        for name in ("fp32.tflite", "fp16.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")
    }
    assert found["fp32.tflite"] == found["fp32.onnx"] == 4
    assert found["fp16.tflite"] == 2
    assert found["int8.tflite"] == found["int8.onnx"] < 1.05  # biases have 32 bits


def test_an_operator_has_the_type_of_its_arithmetic_and_the_bytes_it_moves(bundle: Path) -> None:
    types = {}
    for name in ("fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite", "fp32.onnx"):
        found = contents(bundle, name)
        types[name] = {found.dtype_of(each) for each in found.operators if each.macs}
    float_files = ("fp32.tflite", "fp16.tflite", "fp32.onnx")
    assert all(types[name] == {"float32"} for name in float_files)
    assert types["int8.tflite"] == {"int8"}
    assert "int8" in types["dynamic.tflite"]
    found = contents(bundle, "fp32.tflite")
    first = next(each for each in found.operators if each.kind == "CONV_2D")
    sizes = [found.by_name[name].elements for name in (*first.inputs, *first.outputs)]
    assert found.bytes_of(first) == 4 * sum(sizes)


def grids(found: Contents) -> list[float]:
    """Return the scales of the values that are computed, each once."""
    return sorted({t.scales[0] for t in found.computing().tensors if t.scales and not t.constant})


def test_both_8_bit_files_have_the_grids_of_the_plan(bundle: Path) -> None:
    plan = schema.load(QuantizationPlan, bundle / plan_path("int8.tflite"))
    planned = sorted({np.float32((high - low) / 255) for low, high in plan.ranges.values()})
    lite, other = (grids(contents(bundle, name)) for name in ("int8.tflite", "int8.onnx"))
    assert np.allclose(lite, other, rtol=1e-6)
    # each range is widened to hold 0 exactly
    assert np.allclose(lite, planned, rtol=0.02)


def test_operators_that_only_store_values_are_left_out_of_tables(bundle: Path) -> None:
    halves, whole = contents(bundle, "fp16.tflite"), contents(bundle, "fp32.tflite")
    assert halves.kinds["DEQUANTIZE"] > 5
    assert halves.computing().kinds == whole.kinds
    quantized = contents(bundle, "int8.onnx").computing()
    assert not {"QuantizeLinear", "DequantizeLinear"} & quantized.kinds.keys()
    convolution = next(each for each in quantized.operators if each.kind == "Conv")
    weights = quantized.weights_of(convolution)[0]
    assert (weights.dtype, weights.axis, len(weights.scales)) == ("int8", 0, weights.shape[0])  # type: ignore[index]
    image = quantized.by_name[quantized.inputs[0]]
    assert image.dtype == "uint8"


def test_multiply_accumulates_are_counted_by_hand() -> None:
    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)

    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "a"], ["p"], pads=[1, 1, 1, 1], group=2),
        make("ConvTranspose", ["p", "b"], ["q"], strides=[2, 2]),
        make("Flatten", ["q"], ["r"]),
        make("Gemm", ["r", "c"], ["s"], transB=1),
        make("MatMul", ["s", "d"], ["y"]),
    ]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "all",
        [info("x", onnx.TensorProto.FLOAT, ["batch", 4, 6, 6])],
        [info("y", onnx.TensorProto.FLOAT, ["batch", 3])],
        [
            weights("a", 8, 2, 3, 3),
            weights("b", 8, 2, 2, 2),
            weights("c", 5, 288),
            weights("d", 5, 3),
        ],
    )
    found = contents_of(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    )
    # outputs · kernel; inputs · kernel; and products of matrices
    expected = [8 * 6 * 6 * 2 * 9, 8 * 6 * 6 * 2 * 4, 0, 288 * 5, 5 * 3]
    assert [each.macs for each in found.operators] == expected
    assert found.parameters == 8 * 2 * 9 + 8 * 2 * 4 + 5 * 288 + 15


def test_what_is_in_a_file_is_printed(bundle: Path, manifest: Manifest) -> None:
    shown = inspect(bundle / "int8.tflite").stdout
    assert "supported runtimes litert >= " in shown
    assert "calibrator min-max on 100 training images" in shown
    assert " CONV_2D " in shown
    assert "16 × 3 × 3 × 1 int8" in shown
    assert "-128" in shown
    document = json.loads(inspect(bundle / "int8.onnx", "--json").stdout)
    assert (document["kind"], document["plan"]["kind"]) == ("stamp", "quantization plan")
    assert document["contents"]["macs"] == manifest.macs
    assert document["artifact"]["size_bytes"] == (bundle / "int8.onnx").stat().st_size
    assert {"name", "shape", "dtype", "scales"} <= document["contents"]["tensors"][0].keys()


def test_a_bundle_shows_its_files_and_what_was_left_out(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = read_manifest(copy)
    artifact = dataclasses.replace(
        manifest.artifact("int8.tflite"),
        steps=(Step(name="training", detail="4-bit weights"), Step(name="bias correction")),
        float_layers=(FloatLayer(layer="conv_1.weight", reason="0.4 points"),),
    )
    others = tuple(each for each in manifest.artifacts if each.name != artifact.name)
    left_out = LeftOut(name="dynamic.onnx", reason="no products", needed=False, recipe_sha256="")
    changed = dataclasses.replace(manifest, artifacts=(*others, artifact), left_out=(left_out,))
    schema.save(copy / MANIFEST_NAME, dataclasses.replace(changed, recommended="int8.tflite"))
    shown = inspect(copy).stdout
    assert re.search(r"^bundle .*fp32.onnx \d+\.\d kB", shown, re.MULTILINE)
    assert re.search(r"^left out +dynamic.onnx: no products$", shown, re.MULTILINE)
    assert re.search(r"^steps +training \(4-bit weights\), bias correction$", shown, re.MULTILINE)
    assert re.search(r"^in float +conv_1.weight \(0.4 points\)$", shown, re.MULTILINE)


def test_a_file_outside_a_bundle_is_shown_too(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes((bundle / "int8.tflite").read_bytes())
    result = inspect(tmp_path / "a.tflite")
    assert result.exit_code == 0
    assert "CONV_2D" in result.stdout
    assert "calibrator" not in result.stdout


def test_the_checkpoint_is_shown_as_the_graph_that_files_are_made_from(checkpoint: Path) -> None:
    shown = inspect(checkpoint).stdout
    assert "hem-50k (keras)" in shown
    assert "conv_1.weight" not in shown, "there is no grid to show"
    assert shown.count(" Conv ") == HEM_50K.convolutions


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx"])
def test_the_graph_has_a_box_for_each_operator(bundle: Path, tmp_path: Path, name: str) -> None:
    assert inspect(bundle / name, "--graph", tmp_path / "a.svg").exit_code == 0
    root = ElementTree.parse(tmp_path / "a.svg").getroot()  # noqa: S314 — our own file
    titles = [t.text for t in root.iter(f"{SVG}text") if t.get("font-weight") == "600"]
    found = contents(bundle, name).computing()
    assert titles[1:] == ["input", *(each.kind for each in found.operators), "output"]
    # one edge for each value that is read, and the picture holds all of them
    reads = sum(
        not found.by_name[each].constant for node in found.operators for each in node.inputs
    )
    assert len(list(root.iter(f"{SVG}path"))) == reads + 1
    width, height = (float(root.get(side, "")) for side in ("width", "height"))
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width
        assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height


def test_the_graph_is_a_page_too(bundle: Path, tmp_path: Path) -> None:
    assert inspect(bundle, "--graph", tmp_path / "a.html").exit_code == 0
    assert "<svg" in (tmp_path / "a.html").read_text()
    result = inspect(bundle, "--graph", tmp_path / "a.pdf")
    assert isinstance(result.exception, UsageError)
    assert "writes .svg or .html" in str(result.exception)


def test_without_the_package_that_reads_it_the_stamp_is_shown(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = inspect(bundle / "int8.onnx")
    assert result.exit_code == 0
    assert "supported runtimes onnxruntime" in result.stdout
    assert "not shown: onnx is not installed: pip install onnx" in result.stderr
    result = inspect(bundle / "int8.onnx", "--graph", tmp_path / "a.svg")
    assert isinstance(result.exception, BackendError)
    assert not (tmp_path / "a.svg").exists()


def test_damaged_tables_are_a_clear_error() -> None:
    for read in (read_tflite, read_onnx):
        with pytest.raises(FileFormatError, match="cannot be read"):
            read(b"\x10\x00\x00\x00TFL3" + bytes(range(64)))


def test_an_operator_without_inputs_is_kept() -> None:
    alone = Operator(kind="RandomNormal", inputs=(), outputs=("x",))
    found = Contents(format="onnx", inputs=(), outputs=("x",), tensors=(), operators=(alone,))
    assert found.computing().operators == (alone,)
