"""Profiles: operators cut out of TFLite models, their times, what delegates took, the text."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner

from hemline.bench.commands import _is_tunable
from hemline.bench.devices.device import Capabilities
from hemline.bench.devices.local import LocalDevice
from hemline.bench.devices.ssh.untrusted import require_times
from hemline.bench.measuring.plan import MeasurementPlan, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.profiling.cells import profile_cells
from hemline.bench.profiling.profiling import profile
from hemline.bench.profiling.text import profile_text
from hemline.bench.profiling.tflite_cuts import cutter_of
from hemline.bench.profiling.tflite_operators import measure_operators, partitions
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.cli import cli
from hemline.contract.job import Node
from hemline.contract.manifest import Manifest
from hemline.contract.profile import Finding, Intervention, OperatorCost, Probe, Profile
from hemline.contract.record import Record, read_records
from hemline.contract.schema import from_document, to_document
from hemline.contract.settings import Settings
from hemline.contract.stamp import read_stamped
from hemline.contract.timing import RawModel, TimingJob
from hemline.errors import DeviceError, FileFormatError, JobError
from hemline.model_files.flatbuffer import packed, unpacked
from hemline.runtime.backends import BACKENDS, load_module, version_of
from hemline.runtime.job import JobRunner
from hemline.runtime.process import JobProcess
from hemline.runtime.targets import find_targets
from hemline.runtime.timing import RawModels

VERSION = version_of(BACKENDS["litert"])
Values = dict[int, npt.NDArray[Any]]


def _numbers(values: Iterable[int]) -> npt.NDArray[np.int32]:
    return np.array(list(values), np.int32)


class Graph:
    """A TFLite model on its way, float32 tensors and named operators."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.graph.tensors, self.graph.operators = [], []

    def tensor(self, shape: Iterable[int], values: Any = None, kind: str = "FLOAT32") -> int:
        tensor = schema.TensorT()
        tensor.name = f"t{len(self.graph.tensors)}".encode()
        tensor.shape, tensor.type = (
            np.array(list(shape), np.int32),
            getattr(schema.TensorType, kind),
        )
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def op(self, kind: str, inputs: list[int], output: int, **options: Any) -> int:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = _numbers(inputs), _numbers([output])
        if "type" in options:
            name = options.pop("type")
            operator.builtinOptions = getattr(schema, f"{name}T")()
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)
        return output

    def content(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = _numbers(inputs), _numbers(outputs)
        return packed(self.model)


@pytest.fixture(scope="module")
def branching() -> bytes:
    """Return a padded convolution with a float16 kernel, two branches of it, and two inputs.

    Its RESHAPE to (-1, 4) has a wrong shape in the file, as converters write it; another one gets
    its shape from operators.
    """
    graph, random = Graph(), np.random.default_rng(0)
    image, other = graph.tensor((1, 6, 6, 2)), graph.tensor((36, 4))
    kernel = graph.tensor((4, 3, 3, 2), random.random((4, 3, 3, 2)).astype(np.float16), "FLOAT16")
    real_kernel = graph.op("DEQUANTIZE", [kernel], graph.tensor((4, 3, 3, 2)))
    around = graph.tensor((4, 2), np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32), "INT32")
    padded = graph.op("PAD", [image, around], graph.tensor((1, 8, 8, 2)), type="PadOptions")
    bias = graph.tensor((4,), -np.arange(4, dtype=np.float32))
    found = graph.op(
        "CONV_2D",
        [padded, real_kernel, bias],
        graph.tensor((1, 6, 6, 4)),
        type="Conv2DOptions",
        padding=schema.Padding.VALID,
        strideH=1,
        strideW=1,
        fusedActivationFunction=schema.ActivationFunctionType.RELU,
    )
    row = graph.tensor((2,), np.array([-1, 4], np.int32), "INT32")
    rows = graph.op("RESHAPE", [found, row], graph.tensor((1, 4)), type="ReshapeOptions")
    size = graph.op(
        "SHAPE", [other], graph.tensor((2,), kind="INT32"), type="ShapeOptions", outType=2
    )
    also = graph.op("RESHAPE", [found, size], graph.tensor((36, 4)), type="ReshapeOptions")
    less = graph.op("NEG", [also], graph.tensor((36, 4)))
    double = graph.op("ADD", [less, less], graph.tensor((36, 4)), type="AddOptions")
    total = graph.op("ADD", [rows, double], graph.tensor((36, 4)), type="AddOptions")
    scaled = graph.op("MUL", [total, other], graph.tensor((36, 4)), type="MulOptions")
    return graph.content([image, other], [scaled, total])


def opened(content: bytes) -> Any:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def inputs_of(interpreter: Any) -> Values:
    random = np.random.default_rng(0)
    return {
        each["index"]: random.integers(0, 100, each["shape"]).astype(each["dtype"])
        for each in interpreter.get_input_details()
    }


def chained(content: bytes, values: Values) -> Values:
    """Return all that a model computes, operator by operator, each in a model of its own."""
    cutter, values = cutter_of(content), dict(values)
    for at in cutter.alone:
        cut = cutter.cut(at)
        alone = opened(cut.content)
        for detail, tensor in zip(alone.get_input_details(), cut.inputs, strict=True):
            alone.set_tensor(detail["index"], values[tensor])
        alone.invoke()
        details = alone.get_output_details()
        cutter.resize(cut, [tuple(map(int, each["shape"])) for each in details])
        for detail, tensor in zip(details, cut.outputs, strict=True):
            values[tensor] = alone.get_tensor(detail["index"])
    return values


def require_equal(content: bytes) -> None:
    whole = opened(content)
    values = inputs_of(whole)
    for tensor, value in values.items():
        whole.set_tensor(tensor, value)
    whole.invoke()
    found = chained(content, values)
    for detail in whole.get_output_details():
        expected = whole.get_tensor(detail["index"])
        if expected.dtype == np.float32:  # a delegate may add in another order: 100 additions
            np.testing.assert_allclose(found[detail["index"]], expected, rtol=1e-5, atol=1e-4)
        else:
            np.testing.assert_array_equal(found[detail["index"]], expected)


@pytest.mark.parametrize("name", ["fp32", "fp16", "dynamic", "int8"])
def test_operators_alone_compute_what_the_model_computes(bundle: Path, name: str) -> None:
    content = read_stamped(bundle / f"{name}.tflite").model
    require_equal(content)
    assert len(cutter_of(content).alone) == 12


def test_branches_inputs_and_unknown_shapes_are_cut(branching: bytes) -> None:
    require_equal(branching)


def test_what_makes_weights_or_shapes_stays_with_its_reader(branching: bytes) -> None:
    kinds = {"DEQUANTIZE": 0, "SHAPE": 4}
    assert set(cutter_of(branching).alone) == set(range(10)) - set(kinds.values())
    fused = cutter_of(branching, delegated=range(10))
    assert set(fused.alone) == set(range(10)) - set(kinds.values()) - {1}  # the convolution's PAD
    convolution = unpacked(fused.cut(2).content).subgraphs[0]
    assert [len(convolution.operators), len(convolution.inputs)] == [3, 1]


def test_weights_behind_the_tables_are_read(branching: bytes) -> None:
    model, behind, at = unpacked(branching), b"", 1 << 16
    for buffer in model.buffers[1:]:
        data = buffer.data.tobytes()
        buffer.data, buffer.offset, buffer.size = None, at + len(behind), len(data)
        behind += data
    moved = packed(model).ljust(at, b"\0") + behind
    np.testing.assert_array_equal(
        unpacked(moved).buffers[1].data, unpacked(branching).buffers[1].data
    )
    require_equal(moved)


def test_outputs_of_the_same_name_are_told_apart() -> None:
    graph = Graph()
    image, axis = graph.tensor((1, 4)), graph.tensor((), np.array(1, np.int32), "INT32")
    halves = [graph.tensor((1, 2)), graph.tensor((1, 2))]
    graph.op("SPLIT", [axis, image], halves[0], type="SplitOptions", numSplits=2)
    graph.graph.operators[0].outputs = _numbers(halves)
    for half in halves:
        graph.graph.tensors[half].name = b"half"
    content = graph.content([image], halves)
    require_equal(content)
    with ModelTimer(LocalDevice(), "litert", VERSION) as timer:
        found = measure_operators(timer, TimedModel(name="net", content=content), False)
    assert [cost.kind for cost in found.costs] == ["SPLIT"]


@pytest.mark.parametrize("shapes", [[], [(1, 4), (4,)], [(1 << 40, 4)], [(-1, 4)]])
def test_a_device_that_lies_about_shapes_is_refused(
    branching: bytes, shapes: list[tuple[int, ...]]
) -> None:
    cutter = cutter_of(branching)
    with pytest.raises(FileFormatError, match="other outputs than in the model"):
        cutter.resize(cutter.cut(3), shapes)


@pytest.mark.parametrize("content", [b"", b"TFL3" * 10, bytes(200)])
def test_a_damaged_model_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(FileFormatError, match="tables cannot be read"):
        cutter_of(content)


def nodes(*listed: tuple[str, str, str]) -> tuple[Node, ...]:
    return tuple(
        Node(kind=kind, inputs=tuple(taken.split()), outputs=tuple(made.split()))
        for kind, taken, made in listed
    )


# as tflite-runtime 2.14 and LiteRT 2.3 list hem-50k
OWN = nodes(
    ("CONV_2D", "0 2 1", "16"),
    ("MAX_POOL_2D", "16", "17"),
    ("CONV_2D", "17 15 8", "18"),
    ("CONV_2D", "18 14 7", "19"),
    ("MAX_POOL_2D", "19", "20"),
    ("CONV_2D", "20 13 6", "21"),
    ("CONV_2D", "21 12 5", "22"),
    ("CONV_2D", "22 11 10", "23"),
    ("ADD", "21 23", "24"),
    ("MEAN", "24 3", "25"),
    ("FULLY_CONNECTED", "25 4 9", "26"),
)
SPLIT = nodes(
    ("DELEGATE", "0 1 2", "17"), ("DELEGATE", "19", "20"), ("DELEGATE", "3 4 9 21 23", "26")
)
WHOLE = nodes(("DELEGATE", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", "26"))


@pytest.mark.parametrize(
    ("delegates", "expected"),
    [((), ()), (SPLIT, ((0, 1), (4,), (8, 9, 10))), (WHOLE, (tuple(range(11)),))],
)
def test_partitions_are_found_in_a_list_of_nodes(
    delegates: tuple[Node, ...], expected: tuple[tuple[int, ...], ...]
) -> None:
    assert partitions((*OWN, *delegates)) == expected


def timing_job(*contents: bytes, **changes: Any) -> TimingJob:
    models = tuple(
        RawModel(name=f"m{at}", content=base64.b64encode(content).decode())
        for at, content in enumerate(contents)
    )
    return TimingJob(**{"id": "t", "runtime": "litert", "models": models, **changes})


def test_models_are_timed_in_turn_and_stay_open(branching: bytes) -> None:
    runner = JobRunner()
    first = runner.run(timing_job(branching, branching))
    assert first.failure is None
    assert [cell.latencies_ns for cell in first.cells] == [(), ()]
    assert [each.shape for each in first.cells[0].values] == [(36, 4), (36, 4)]
    assert [node.kind for node in first.cells[0].nodes][:2] == ["DEQUANTIZE", "PAD"]
    again = timing_job(models=(RawModel(name="m1"), RawModel(name="m0")), invocations=7, warmup=2)
    second = runner.run(from_document(TimingJob, to_document(again), where="the job"))
    assert [len(cell.latencies_ns) for cell in second.cells] == [7, 7]
    assert second.cells[0].nodes == ()


def test_a_part_gets_the_values_that_it_has_in_the_whole(branching: bytes) -> None:
    opened_models, module = RawModels(), load_module(BACKENDS["litert"])
    opened_models.cells(timing_job(branching), module, "tflite")
    whole = dict(opened_models.values)
    cutter = cutter_of(branching)
    for at in cutter.alone:
        cut = cutter.cut(at)
        (cell,) = opened_models.cells(timing_job(cut.content), module, "tflite")
        cutter.resize(cut, [each.shape for each in cell.values])
    assert len(opened_models.values) > len(whole)
    for name, values in whole.items():
        np.testing.assert_allclose(opened_models.values[name], values, rtol=1e-5)


def test_a_slice_of_time_ends_a_turn_after_one_invocation_at_least(branching: bytes) -> None:
    result = JobRunner().run(timing_job(branching, invocations=10**9, slice_ns=1, warmup=10**9))
    assert len(result.cells[0].latencies_ns) == 1


@pytest.mark.parametrize(
    ("job", "kind", "message"),
    [
        (timing_job(b"TFL3"), "backend", "rejects the model"),
        (timing_job(models=(RawModel(name="m9"),)), "job", "m9 is not opened"),
        (timing_job(runtime="litter"), "job", "did you mean 'litert'"),
        (timing_job(settings=Settings(optimization="basic")), "backend", "no such setting"),
    ],
)
def test_what_cannot_be_timed_is_the_failure_of_the_job(
    job: TimingJob, kind: str, message: str
) -> None:
    failure = JobRunner().run(job).failure
    assert failure is not None
    assert failure.kind == kind
    assert message in failure.message


def test_times_that_do_not_fit_their_job_are_refused(branching: bytes) -> None:
    job = timing_job(branching, invocations=3)
    result = JobRunner().run(job)
    require_times(job, result)
    (cell,) = result.cells
    for wrong in ((), (cell, cell), (replace(cell, latencies_ns=()),),
                  (replace(cell, latencies_ns=(1, 1, 0)),),
                  (replace(cell, latencies_ns=(1,) * 4),)):  # fmt: skip
        with pytest.raises(JobError, match="the device"):
            require_times(job, replace(result, cells=wrong))
    with pytest.raises(JobError, match="another job"):
        require_times(job, replace(result, id="other"))


# A job runner whose process ends as soon as an addition is opened.
CRASHING = """
import os
from hemline.runtime import job, timing
real = timing._SESSIONS["tflite"]
timing._SESSIONS["tflite"] = lambda module, content, asked, given: (
    os.kill(os.getpid(), 11) if asked.id.startswith("ADD") else real(module, content, asked, given)
)
job.serve_standard_streams()
"""


class CrashingDevice(LocalDevice):
    """This machine, where an addition kills its process."""

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start a child process."""
        del runtime, version
        return JobProcess((sys.executable, "-c", CRASHING))


def test_an_operator_that_kills_its_process_is_named(branching: bytes) -> None:
    model = TimedModel(name="net", content=branching)
    with (
        ModelTimer(CrashingDevice(), "litert", VERSION) as timer,
        pytest.raises(JobError, match=r"^ADD t1\d in litert ended the job runner \(signal 11\)"),
    ):
        measure_operators(timer, model, False)


@pytest.mark.parametrize("in_turn", [False, True])
def test_operators_are_timed_beside_the_whole(branching: bytes, in_turn: bool) -> None:
    with ModelTimer(LocalDevice(), "litert", VERSION) as timer:
        found = measure_operators(timer, TimedModel(name="net", content=branching), in_turn)
    assert {cost.name for cost in found.costs} == set(found.alone)
    by_name = {cost.name: cost for cost in found.costs}
    (convolution,) = (cost for cost in found.costs if cost.kind == "CONV_2D")
    assert convolution.macs == 6 * 6 * 4 * 3 * 3 * 2
    assert all(cost.ns is not None for cost in found.costs)
    rows = next(cost for cost in by_name.values() if cost.kind == "RESHAPE")
    assert rows.bytes == 2 * 36 * 4 * 4 + 2 * 4  # the file says that it makes (1, 4)
    assert len(found.whole.rounds_ns) == 9


CONVOLUTION, ADDITION = (
    OperatorCost(
        name=name, kind=kind, ns=ns, macs=macs, bytes=size, instructions=None, dtype="int8",
        runs_on="XNNPACK",
    )
    for name, kind, ns, macs, size in (
        ("a;b/conv", "CONV_2D", 7_400, 740_000, 37_000), ("add", "ADD", 2_300, 0, 4_600)
    )
)  # fmt: skip
AMX = Intervention(
    name="AMX refused", before_ns=10_000, after_ns=8_000, ratio=0.8, low=0.79, high=0.81
)
BECAUSE = Finding(
    cause="x",
    proven=True,
    sentence="It is so (AMX refused: 8.0, not 10.0 µs).",
    remedy="Do that.",
    share=0.2,
)
PROFILE = Profile(
    whole_ns=10_000,
    whole_instructions=None,
    operators=(CONVOLUTION, ADDITION),
    partitions=((0, 1),),
    fusion={"QLinearConv": 6},
    probe=Probe(fixed_ns=400, float_gmacs=80.0, int8_gmacs=200.0, gigabytes=25.0),
    interventions=(AMX,),
    findings=(BECAUSE,),
)


@pytest.fixture
def record(bundle: Path) -> Record:
    return replace(read_records(bundle / "records.jsonl")[0], payload=PROFILE)


def test_a_profile_is_printed(record: Record) -> None:
    head, _, _, first, second, *notes = profile_text(record).splitlines()
    assert "10.0 µs; operators add up to" in head
    assert first.split() == ["1", "b/conv", "CONV_2D", "7.4", "76", "%", "█" * 12, "0.74", "100.0",
                             "50", "%", "5.0", "XNNPACK"]  # fmt: skip
    assert second.split() == ["2", "add", "ADD", "2.3", "24", "%", "████", "2.0", "XNNPACK"]
    assert notes == [
        "probe: 0.4 µs for an invocation that computes nothing, 80 GMAC/s in float32, "
        "200 GMAC/s in int8, 25 GB/s",
        "delegate 1: operators 1-2",
        "optimized graph: 6 QLinearConv",
        "tried: AMX refused: 10.0 to 8.0 µs, ×0.80 (0.79 … 0.81)",
        "because: It is so (AMX refused: 8.0, not 10.0 µs).",
        "  Do that.",
    ]


def test_a_change_that_refuted_its_cause_says_so(record: Record) -> None:
    refuted = replace(PROFILE, findings=())
    (tried,) = [line for line in profile_text(replace(record, payload=refuted)).splitlines()
                if line.startswith("tried")]  # fmt: skip
    assert tried.endswith("(0.79 … 0.81); this does not explain the time")


def test_a_faster_setting_of_this_machine_can_be_tuned(record: Record) -> None:
    assert _is_tunable(record)
    there = replace(record.cell, device="emulated:pi4")
    assert not _is_tunable(replace(record, cell=there))
    slower = [replace(each, ratio=1.2) for each in PROFILE.interventions]
    assert not _is_tunable(replace(record, payload=replace(PROFILE, interventions=tuple(slower))))


def test_instructions_are_printed_without_rates(record: Record) -> None:
    operator = replace(CONVOLUTION, ns=None, instructions=370_000)
    counted = replace(
        PROFILE, whole_ns=None, whole_instructions=380_000, operators=(operator,), partitions=(),
        fusion={}, probe=None, interventions=(), findings=(),
    )  # fmt: skip
    head, columns, _, line = profile_text(replace(record, payload=counted)).splitlines()
    assert head.endswith("380 thousand instructions")
    assert "GMAC/s" not in columns
    assert line.split()[-3:] == ["0.74", "0.50", "XNNPACK"]


@pytest.fixture
def one_file(bundle: Path, manifest: Manifest, tmp_path: Path) -> Subject:
    """Return a copy of a bundle, of which only one file is to be measured."""
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    chosen = tuple(each for each in manifest.artifacts if each.name == "int8.tflite")
    return Subject(bundle=folder, manifest=replace(manifest, artifacts=chosen))


@pytest.mark.medium
def test_a_profile_is_kept_and_shown_as_a_record(one_file: Subject) -> None:
    shown: list[Record] = []
    plan = MeasurementPlan(runtimes=(("litert", VERSION),))
    profile_cells([LocalDevice()], [one_file], plan, report=shown.append, progress=print)
    (record,) = shown
    assert read_records(one_file.bundle / "records.jsonl")[-1] == record
    assert isinstance(record.payload, Profile)
    assert record.cell.artifact == "int8.tflite"
    assert len(record.payload.operators) == 12
    assert record.payload.partitions == (tuple(range(12)),)


def test_a_cell_that_cannot_be_profiled_is_told_in_a_line(one_file: Subject) -> None:
    told: list[str] = []
    plan = MeasurementPlan(runtimes=(("litert", VERSION),), batches=(8,))
    with pytest.raises(JobError, match="some cells could not be profiled"):
        profile_cells([LocalDevice()], [one_file], plan, report=print, progress=told.append)
    assert told == [
        f"not profiled: int8.tflite in litert {VERSION} on local: "
        f"int8.tflite in litert {VERSION} cannot be profiled with batch 8"
    ]


def test_a_device_that_times_no_raw_models_says_so(
    one_file: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalDevice, "capabilities", Capabilities(latencies=True))
    cell = planned_cells(one_file, MeasurementPlan(runtimes=(("litert", VERSION),)))[0]
    with pytest.raises(JobError, match="cannot be profiled on local"):
        profile(LocalDevice(), cell)


class GoneDevice(LocalDevice):
    """A board that cannot be reached."""

    name = "ssh:gone"

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Raise DeviceError."""
        raise DeviceError("gone does not answer")


@pytest.mark.medium
def test_a_device_that_is_lost_costs_its_own_cells_only(one_file: Subject) -> None:
    told: list[str] = []
    shown: list[Record] = []
    devices = [GoneDevice(), LocalDevice(targets=find_targets(["litert"]))]
    with pytest.raises(JobError, match="some cells could not be profiled: gone does not answer"):
        profile_cells(
            devices, [one_file], MeasurementPlan(), report=shown.append, progress=told.append
        )
    assert told == ["not profiled: ssh:gone: gone does not answer"]
    assert len(shown) == 1


@pytest.mark.slow
def test_the_command_prints_json_lines(bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    result = CliRunner().invoke(cli, ["bench", str(folder), "--profile", "--json"])
    assert result.exit_code == 0, result.output
    records = [from_document(Record, json.loads(x), where="") for x in result.stdout.splitlines()]
    assert {each.cell.artifact for each in records} >= {"int8.tflite", "fp32.onnx"}
    assert all(isinstance(each.payload, Profile) for each in records)
