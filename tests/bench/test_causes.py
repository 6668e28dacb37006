"""Causes: named as proven, as observed or not at all, on recorded profiles and on real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from planted_causes import HEALTHY, NOT_PLANTED, PLANTED, Network, Planted, quantized_onnx

from hemline.bench.causes import bypass, verdict
from hemline.bench.causes.accelerator import fallback_of
from hemline.bench.causes.explaining import explained
from hemline.bench.causes.observation import Observed, Trial
from hemline.bench.causes.table import CAUSES
from hemline.bench.costs import MEASURES
from hemline.bench.devices.gpu.device import GpuDevice
from hemline.bench.measuring.plan import MeasurementPlan, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.profiling.one_operator import Convolution, one_convolution
from hemline.bench.profiling.profiling import profile
from hemline.bench.profiling.timing import TimedModel
from hemline.contract.manifest import read_manifest
from hemline.contract.profile import Intervention, OperatorCost, Probe, Profile
from hemline.contract.settings import Settings
from hemline.host import host_facts
from hemline.model_files.tflite import read_tflite
from hemline.runtime.backends import attribute

# LiteRT on an AMD EPYC with VNNI
PROBE = Probe(fixed_ns=400, float_gmacs=128.0, int8_gmacs=490.0, gigabytes=60.0)
FEATURES = {"AVX2": True, "AVX-512": True, "VNNI": True, "AMX": False}
INT8 = Convolution(
    height=14, width=14, channels_in=32, channels_out=32, kernel=3, arithmetic="int8"
)
FLOAT = replace(INT8, arithmetic="float32")


def operator(
    name: str, ns: int, layer: Convolution | None = None, kind: str = "CONV_2D", **changed: object
) -> OperatorCost:
    dtype = "float32" if layer is None or layer.arithmetic == "float32" else "int8"
    cost = OperatorCost(
        name=name,
        kind=kind,
        ns=ns,
        instructions=None,
        macs=0 if layer is None else layer.macs,
        bytes=20_000,
        dtype=dtype,
        runs_on="XNNPACK",
    )
    return replace(cost, **changed)


def observed(
    *operators: tuple[OperatorCost, Convolution | None],
    partitions: tuple[tuple[int, ...], ...] | None = None,
    probe: Probe | None = PROBE,
    **changed: object,
) -> Observed:
    """Return a cell of operators, each with its layer; all of them delegated unless it is said."""
    costs = tuple(cost for cost, _ in operators)
    to = changed.get("format", "tflite")
    found = Profile(
        whole_ns=sum(each.ns for each in costs) + (probe.fixed_ns if probe else 0),
        whole_instructions=None,
        operators=costs,
        partitions=(tuple(range(len(costs))),) if partitions is None else partitions,
        fusion=changed.pop("fusion", {}),
        probe=probe,
        interventions=(),
        findings=(),
    )
    alone = {cost.name: one_convolution(layer, to) for cost, layer in operators if layer}
    known = {"model": TimedModel(name="recorded", content=b""), "format": "tflite"}
    known |= {"runtime": "litert", "features": FEATURES, "alone": alone}
    return Observed(profile=found, **(known | changed))


def changing(
    ratio: float, margin: float = 0.01, asked: list[Trial] | None = None
) -> Callable[[Trial], Intervention]:
    """Return a trial's outcome without timing it: a ratio of 100 µs with its interval."""

    def try_it(trial: Trial) -> Intervention:
        if asked is not None:
            asked.append(trial)
        return Intervention(
            name=trial.name,
            before_ns=100_000,
            after_ns=round(100_000 * ratio),
            ratio=ratio,
            low=ratio - margin,
            high=ratio + margin,
        )

    return try_it


@dataclass(frozen=True)
class Recorded:
    """What was observed of a cell, and the ratio that its change gave; None without a change."""

    cause: str
    cell: Callable[[], Observed]
    ratio: float | None
    refuted: float = 1.0


def _split() -> Observed:
    cell = observed(
        (operator("t3", 13_800, FLOAT), FLOAT),
        (operator("t4", 8_000, kind="LOCAL_RESPONSE_NORMALIZATION", runs_on="builtin"), None),
        (operator("t7", 13_800, FLOAT), FLOAT),
        partitions=((0,), (2,)),
    )
    network = Network((1, 14, 14, 32)).convolution(32).unary("LOCAL_RESPONSE_NORMALIZATION")
    return replace(cell, model=replace(cell.model, content=network.convolution(32).content()))


def _in_two(ns: int, layer: Convolution, **changed: object) -> Observed:
    pair = ((operator(name, ns, layer), layer) for name in "ab")
    return observed(*pair, **changed)


RECORDED = (
    Recorded(  # hem-50k's int8.tflite in tflite-runtime 2.14 likewise
        "no-fast-kernel",
        lambda: _in_two(24_000, INT8, partitions=(), runtime="tflite-runtime"),
        0.5,
    ),
    Recorded("delegate", _split, 0.78),
    Recorded(  # an Intel processor with AVX-512 and without VNNI
        "processor",
        lambda: _in_two(
            24_000,
            INT8,
            probe=replace(PROBE, int8_gmacs=71.0, float_gmacs=74.0),
            features=FEATURES | {"VNNI": False},
        ),
        None,
    ),
    Recorded(
        "fixed-cost", lambda: observed((operator("a", 100, FLOAT, macs=1024), FLOAT)), 1.25, 2.1
    ),
    Recorded(  # hem-50k's int8.tflite on an Intel processor with AMX: 57 to 32 µs
        "amx-tiles",
        lambda: observed(
            (operator("a", 30_000, INT8, macs=112_896), replace(INT8, channels_in=1)),
            (operator("b", 26_600, INT8), INT8),
            features=FEATURES | {"AMX": True},
        ),
        0.56,
    ),
    Recorded(
        "padded-channels",
        lambda: observed((operator("a", 28_000, FLOAT), replace(FLOAT, channels_out=33))),
        0.5,
        32 / 33,
    ),
    Recorded(
        "unfused-grids",
        lambda: observed(
            (operator("c", 32_000, FLOAT, kind="Conv"), FLOAT),
            (operator("q", 600, kind="QuantizeLinear"), None),
            (operator("d", 800, kind="DequantizeLinear"), None),
            format="onnx",
            runtime="onnxruntime",
            fusion={"DequantizeLinear": 3, "QuantizeLinear": 2, "Conv": 1},
            model=TimedModel(name="m", content=b"", settings=Settings(optimization="basic")),
        ),
        0.2,
    ),
    Recorded(
        "memory-bound",
        lambda: observed((operator("a", 800_000, kind="ADD", bytes=50_000_000), None)),
        0.035,
        1 / 16,
    ),
    Recorded(
        "accelerator",
        lambda: _in_two(14_000, FLOAT, fallback="XNNPACK instead of a GPU"),
        None,
    ),
    Recorded("threads", lambda: _in_two(9_000, FLOAT, threads=2), 0.5, 1.8),
)
CHANGED = [each for each in RECORDED if each.ratio is not None]


def _named(case: Recorded) -> str:
    return case.cause


def test_each_of_the_ten_causes_has_a_recorded_case() -> None:
    assert [case.cause for case in RECORDED] == list(CAUSES)


def test_each_cause_has_a_planted_case_or_a_reason() -> None:
    assert {each.cause for each in PLANTED} | set(NOT_PLANTED) == set(CAUSES)


@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_has_a_function(name: str) -> None:
    assert callable(attribute(CAUSES[name].observe))


@pytest.mark.parametrize("case", RECORDED, ids=_named)
def test_a_cause_is_proven_by_a_change_and_observed_where_nothing_can_be_changed(
    case: Recorded,
) -> None:
    found = explained(case.cell(), changing(case.ratio or 1.0))
    assert [(each.cause, each.proven) for each in found.findings] == [
        (case.cause, case.ratio is not None)
    ]
    assert 0.1 <= found.findings[0].share <= 1
    assert len(found.interventions) == (case.ratio is not None)


@pytest.mark.parametrize("case", CHANGED, ids=_named)
def test_a_change_without_effect_refutes_a_cause(case: Recorded) -> None:
    found = explained(case.cell(), changing(case.refuted))
    assert not found.findings
    assert len(found.interventions) == 1


@pytest.mark.parametrize(
    ("channels", "advice"),
    [(24, "multiples of 32 channels, or 16."), (33, "multiples of 32 channels.")],
)
def test_the_advice_on_channels_names_what_was_tried(channels: int, advice: str) -> None:
    layer = replace(FLOAT, channels_out=channels)
    found = explained(observed((operator("a", 28_000, FLOAT), layer)), changing(0.4))
    assert [each.remedy for each in found.findings] == [f"Give layers {advice}"]


@pytest.mark.parametrize("case", CHANGED, ids=_named)
def test_nothing_is_proven_within_the_noise(case: Recorded) -> None:
    found = explained(case.cell(), changing(case.ratio, margin=2.0))
    assert not any(each.proven for each in found.findings)


@pytest.mark.parametrize("case", CHANGED, ids=_named)
def test_a_change_that_cannot_be_timed_leaves_what_was_seen(case: Recorded) -> None:
    found = explained(case.cell(), lambda _: None)
    assert not found.interventions
    suspicions = {"amx-tiles", "padded-channels", "memory-bound", "threads"}
    expected = [] if case.cause in suspicions else [(case.cause, False)]
    assert [(each.cause, each.proven) for each in found.findings] == expected


@pytest.mark.parametrize("case", RECORDED, ids=_named)
@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_no_cause_is_named_where_operators_do_not_add_up(case: Recorded, factor: float) -> None:
    cell = case.cell()
    whole = replace(cell.profile, whole_ns=round(cell.profile.whole_ns * factor))
    cell = replace(cell, profile=whole)
    assert explained(cell, changing(case.ratio or 1.0)) == whole


@pytest.mark.parametrize(
    "cell",
    [
        lambda: _in_two(13_800, FLOAT),
        lambda: _in_two(4_000, INT8),
        # half of the peak, a few channels, one of them in the first layer
        lambda: _in_two(2_000, replace(INT8, channels_in=1, height=28, width=28)),
    ],
)
def test_nothing_is_suspected_of_a_healthy_cell(cell: Callable[[], Observed]) -> None:
    asked: list[Trial] = []
    found = explained(cell(), changing(0.5, asked=asked))
    assert (found.findings, asked) == ((), [])


def test_at_most_three_changes_are_tried_the_most_promising_first() -> None:
    first, second = replace(INT8, channels_in=1), replace(INT8, channels_out=33)
    cell = observed(
        (operator("plain", 50_000, INT8, runs_on="builtin"), INT8),
        (operator("few", 20_000, INT8), first),
        (operator("padded", 20_000, INT8), second),
        (operator("left", 15_000, kind="LEAKY_RELU", runs_on="builtin"), None),
        partitions=((1, 2),),
        features=FEATURES | {"AMX": True},
        threads=4,
        model=TimedModel(
            name="m", content=Network((1, 2, 2, 2)).unary("LEAKY_RELU").content(),
            settings=Settings(delegate="builtin"),
        ),
    )  # fmt: skip
    cell = replace(cell, profile=replace(cell.profile, operators=tuple(
        replace(each, name="t1") if each.name == "left" else each for each in cell.profile.operators
    )))  # fmt: skip
    asked: list[Trial] = []
    explained(cell, changing(0.5, asked=asked))
    names = [trial.name for trial in asked]
    assert names[0] == "AMX refused"  # of all that is in int8
    assert names[1:] == ["one thread", "the runtime's own delegate"]


def test_threads_get_no_verdict_on_a_loaded_machine() -> None:
    found = explained(_in_two(9_000, FLOAT, threads=2, loaded=True), changing(0.5))
    assert not found.findings


def test_threads_that_change_nothing_are_observed_not_proven() -> None:
    found = explained(_in_two(9_000, FLOAT, threads=2), changing(1.0))
    assert [(each.cause, each.proven) for each in found.findings] == [("threads", False)]


def test_the_verdict_names_the_cause_of_the_choice_and_of_one_other_row() -> None:
    profiles = [explained(RECORDED[at].cell(), changing(0.5)) for at in (5, 0, 0)]
    rows = [
        SimpleNamespace(
            cell=SimpleNamespace(artifact=artifact, artifact_sha256=artifact, runtime=runtime),
            cost=median_us,
            measure=MEASURES[0],
            get=lambda _, profile=profile: profile,
        )
        for artifact, runtime, median_us, profile in (
            ("int8.tflite", "litert", 17.0, profiles[0]),
            ("other.tflite", "litert", 20.0, profiles[1]),
            ("int8.tflite", "tflite-runtime", 137.0, profiles[2]),
            ("fp32.tflite", "litert", 56.0, None),
        )
    ]
    assert list(verdict.reasons(rows[0], rows)) == [
        "int8.tflite takes 17 µs in litert, 48 % of it because kernels fill up the 33 channels of "
        "a layer (CONV_2D #1 with 32 channels: 50.0, not 100 µs).",
        "int8.tflite takes 137 µs in tflite-runtime because its kernels for int8 CONV_2D are plain "
        "ones (XNNPACK int8: 50.0, not 100 µs).",
    ]
    assert list(verdict.reasons(rows[3], rows[3:])) == []


@pytest.mark.parametrize("to", ["tflite", "onnx"])
@pytest.mark.parametrize("shape", [
    FLOAT,
    INT8,
    replace(INT8, channels_out=24, stride=2, kernel=5),
    replace(FLOAT, depthwise=True, kernel=5),
], ids=["float", "int8", "stride", "depthwise"])  # fmt: skip
def test_the_shape_of_an_operator_alone_is_read_as_it_was_written(
    shape: Convolution, to: str
) -> None:
    kind = {"tflite": "DEPTHWISE_CONV_2D" if shape.depthwise else "CONV_2D", "onnx": "Conv"}[to]
    cost = operator("a", 1, shape, kind=kind)
    cell = observed((cost, shape), format=to)
    assert cell.layer(cost).shape == shape
    assert cell.copy(cell.layer(cost)).content == one_convolution(shape, to)


def test_a_model_without_the_operator_that_splits_it_has_all_others() -> None:
    cell = _split()
    changed, kinds = bypass.without(cell, cell.profile.operators[1:2])
    contents = read_tflite(changed.content)
    assert kinds == ["LOCAL_RESPONSE_NORMALIZATION"]
    assert [each.kind for each in contents.operators] == ["CONV_2D", "CONV_2D"]
    first, second = contents.operators
    assert first.outputs[0] == second.inputs[0]


def test_operators_in_a_row_are_left_out_together() -> None:
    network = Network((1, 4, 4, 8)).convolution(8).unary("LEAKY_RELU").unary("SIGN")
    cell = observed()
    cell = replace(cell, model=replace(cell.model, content=network.content()))
    costs = [operator(name, 1) for name in ("t4", "t5")]
    changed, kinds = bypass.without(cell, costs)
    contents = read_tflite(changed.content)
    assert sorted(kinds) == ["LEAKY_RELU", "SIGN"]
    assert [each.kind for each in contents.operators] == ["CONV_2D"]
    assert contents.outputs == contents.operators[0].outputs


def test_an_operator_that_changes_a_shape_is_not_left_out() -> None:
    cell = observed((operator("t3", 1), None))
    content = Network((1, 14, 14, 32)).convolution(16).content()
    cell = replace(cell, model=replace(cell.model, content=content))
    assert bypass.without(cell, cell.profile.operators)[1] == []


def test_a_graph_without_grids_computes_in_float_with_the_values_of_its_weights() -> None:
    cell = observed(format="onnx", runtime="onnxruntime")
    cell = replace(cell, model=replace(cell.model, content=quantized_onnx("Tanh")))
    graph = onnx.load_from_string(bypass.without_grids(cell)).graph
    assert {node.op_type for node in graph.node} == {"Conv", "Tanh", "Identity"}
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    steps = stored["s1"].reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(stored["k1"], stored["w1"].astype(np.float32) * steps)
    onnx.checker.check_model(bypass.without_grids(cell), full_check=True)


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.title)
def test_a_planted_cause_is_named_here(planted: Planted) -> None:
    host = host_facts()
    # what other processes spoil says nothing, which is right
    found = next(filter(None, (planted.profiled().findings for _ in range(3))), ())
    if not found and (planted.threads > host.cores or (host.load_average or 0) > 1):
        pytest.skip("it needs two idle cores")
    assert [each.cause for each in found] == [planted.cause]
    assert found[0].proven or not planted.proven


@pytest.mark.slow
@pytest.mark.parametrize("healthy", HEALTHY, ids=lambda each: each.title)
def test_no_cause_of_a_healthy_cell_is_named_here(healthy: Planted) -> None:
    assert not healthy.profiled().findings


@pytest.mark.slow
def test_a_cell_that_fell_back_from_a_gpu_is_observed(bundle: Path) -> None:
    device = GpuDevice("", fallback=True)
    subject = Subject(bundle=bundle, manifest=read_manifest(bundle))
    cell = planned_cells(subject, MeasurementPlan(runtimes=device.runtimes()))[0]
    if not fallback_of(device, cell):
        pytest.skip("a GPU runs it here")
    found = profile(device, cell).payload.findings
    assert [each.proven for each in found if each.cause == "accelerator"] == [False]
