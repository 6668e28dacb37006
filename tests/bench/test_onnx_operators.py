"""The nodes of the graph that ONNX Runtime executes, each alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from hemline.bench.devices.local import LocalDevice
from hemline.bench.profiling.onnx_cuts import Cut, cut_nodes, watched
from hemline.bench.profiling.onnx_operators import measure_operators
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.contract.job import CellResult, Value
from hemline.contract.manifest import Manifest
from hemline.contract.stamp import read_stamped
from hemline.errors import FileFormatError, JobError


@pytest.fixture(scope="module")
def timer() -> Iterator[ModelTimer]:
    device = LocalDevice()
    with ModelTimer(device, "onnxruntime", dict(device.runtimes())["onnxruntime"]) as timer:
        yield timer


@pytest.mark.medium
@pytest.mark.parametrize(("name", "kernel"), [("fp32.onnx", "Conv"), ("int8.onnx", "QLinearConv")])
def test_nodes_that_are_executed_have_the_cost_of_the_model(
    bundle: Path, manifest: Manifest, timer: ModelTimer, name: str, kernel: str
) -> None:
    content = read_stamped(bundle / name).model
    found = measure_operators(timer, TimedModel(name=name, content=content), False)
    # a blocked layout pads channels; what it computes in vain is no work of the model
    assert sum(cost.macs for cost in found.costs) == manifest.macs
    convolutions = [
        node for node in onnx.load_from_string(content).graph.node if "Conv" in node.op_type
    ]
    assert found.fusion[kernel] == len(convolutions)
    dtype = "int8" if name.startswith("int8") else "float32"
    assert {cost.dtype for cost in found.costs if cost.macs} == {dtype}
    assert all(cost.ns is not None and cost.instructions is None for cost in found.costs)
    assert found.whole.ns > 0
    for cost in found.costs:
        assert onnx.load_from_string(found.alone[cost.name]).graph.node


def branching() -> onnx.ModelProto:
    """Return two convolutions of one value that are added, and reshaped by a computed shape."""
    weights = onnx.numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w")
    minus = onnx.numpy_helper.from_array(np.array([-1], np.int64), "minus")
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        net (float[1,2,4,4] x) => (float[1,32] y) {
            a = Conv <pads = [1, 1, 1, 1]> (x, w)
            b = Conv <pads = [1, 1, 1, 1]> (x, w)
            sum = Add(a, b)
            whole = Shape(x)
            batch = Slice(whole, zero, one)
            shape = Concat <axis = 0> (batch, minus)
            y = Reshape(sum, shape)
        }"""
    )
    ends = [
        onnx.numpy_helper.from_array(np.array([n], np.int64), m)
        for n, m in ((0, "zero"), (1, "one"))
    ]
    model.graph.initializer.extend([weights, minus, *ends])
    return model


def cuts_of(model: onnx.ModelProto) -> tuple[Cut, ...]:
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(watched(content))
    names = [each.name for each in session.get_outputs()]
    feeds = {"x": np.ones((1, 2, 4, 4), np.float32)}
    arrays = dict(zip(names, session.run(names, feeds), strict=True))
    values = [Value(name=n, dtype=a.dtype.name, shape=a.shape) for n, a in arrays.items()]
    return cut_nodes(content, values, content)


def test_what_only_makes_a_shape_stays_with_its_reader() -> None:
    cuts = cuts_of(branching())
    assert [cut.cost.kind for cut in cuts] == ["Conv", "Conv", "Add", "Reshape"]
    reshape = onnx.load_from_string(cuts[-1].content).graph
    assert [node.op_type for node in reshape.node] == ["Shape", "Slice", "Concat", "Reshape"]
    assert {each.name for each in reshape.input} == {"x", "sum"}
    # 2 · 16 outputs of 2 · 9 products each; an input, an output and weights of 4 bytes
    assert (cuts[0].cost.macs, cuts[0].cost.bytes) == (2 * 16 * 18, 4 * (32 + 32 + 36))
    assert [cut.cost.macs for cut in cuts[2:]] == [0, 0]


def test_each_node_runs_alone_and_in_copies() -> None:
    for cut in cuts_of(branching()):
        for content in (cut.content, cut.repeated):
            session = onnxruntime.InferenceSession(content)
            feeds = {each.name: np.ones(each.shape, np.float32) for each in session.get_inputs()}
            assert len(session.run(None, feeds)) == 1
        kinds = [node.op_type for node in onnx.load_from_string(cut.repeated).graph.node]
        assert kinds.count(cut.cost.kind) == cut.copies > 1


def test_control_flow_is_refused() -> None:
    body = "{ z = Identity(x) }"
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]> net (bool c, float[1] x) => (float[1] y) {{
            y = If (c) <then_branch = t () => (float[1] z) {body},
                        else_branch = e () => (float[1] z) {body}>
        }}"""
    )
    with pytest.raises(FileFormatError, match="control flow"):
        watched(model.SerializeToString())


def test_a_model_that_the_runtime_refuses_is_named(timer: ModelTimer) -> None:
    with pytest.raises(JobError, match=r"torn\.onnx: onnxruntime rejects the model"):
        measure_operators(timer, TimedModel(name="torn.onnx", content=b"no model"), False)


class LyingTimer(ModelTimer):
    """Sends a graph that is none."""

    def open(self, model: TimedModel) -> CellResult:
        return replace(super().open(model), graph=self.graph)

    graph = ""


@pytest.mark.parametrize("graph", ["no base64!", "bm8gbW9kZWw="])
def test_a_graph_that_cannot_be_read_is_told(timer: ModelTimer, graph: str) -> None:
    with LyingTimer(timer.device, timer.runtime, timer.version) as lying:
        lying.graph = graph
        model = TimedModel(name="net.onnx", content=branching().SerializeToString())
        with pytest.raises(JobError, match=r"net\.onnx: its graph cannot be split"):
            measure_operators(lying, model, False)
