"""Advice to whoever designs a model: by measured times, and nothing where nothing is gained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from hemline.bench.advising.advice import Advice, advise, advise_operators
from hemline.bench.advising.layers import Layer, layers_of, short_name
from hemline.bench.profiling.one_operator import Convolution
from hemline.bench.profiling.operators import Operators
from hemline.bench.profiling.timing import ModelTimes, TimedModel
from hemline.cli import cli
from hemline.contract.profile import OperatorCost
from hemline.contract.stamp import read_stamped
from hemline.model_files.onnx import read_onnx
from hemline.model_files.tflite import read_tflite


def layer(name: str, inner: int, outer: int, reads: int | None, makes: int | None) -> Layer:
    shape = Convolution(height=7, width=7, channels_in=inner, channels_out=outer)
    return Layer(name=name, shape=shape, product=False, reads=reads, makes=makes)


TWO = (layer("conv_1", 16, 40, None, 0), layer("conv_2", 40, 24, 0, None))


@dataclass(frozen=True)
class PlantedTimer:
    """Gives each layer the time that a kernel of blocks of channels would take."""

    block: int
    noise: np.random.Generator

    runtime = "litert"
    device = SimpleNamespace(backend=lambda _: SimpleNamespace(format="tflite"))

    def __enter__(self) -> PlantedTimer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def time(self, models: Sequence[TimedModel], rounds: int) -> tuple[ModelTimes, ...]:
        found = []
        for model in models:
            (tensor,) = (t for t in read_tflite(model.content).tensors if len(t.shape or ()) == 4
                         and t.constant)  # fmt: skip
            outer, _, _, inner = tensor.shape or ()
            blocks = -(-outer // self.block) * self.block
            ns = 100 * inner * blocks + (7000 * blocks if self.block > 1 and outer % 16 else 0)
            noisy = round(ns * np.exp(self.noise.normal(0, 0.005)))
            times = ((noisy,),) * rounds
            found.append(ModelTimes(rounds_ns=times, delegate="XNNPACK", nodes=()))
        return tuple(found)


def advised(block: int) -> dict[str, Advice]:
    timer: Any = PlantedTimer(block, np.random.default_rng(0))
    return {each.then: each for each in advise(TWO, lambda: timer)}


def test_a_padded_channel_count_is_found_by_its_times() -> None:
    found = advised(16)
    assert set(found) == {"48", "32"}
    assert found["48"].layers == ("conv_1", "conv_2")
    assert found["48"].sentence.startswith("conv_1, with conv_2, has 40 channels: 48 would take ")
    assert found["48"].sentence.endswith("% less time, although it computes 20 % more")
    assert found["32"].sentence.endswith(", and computes 20 % less")
    assert found["32"].high < 32 / 40, "more than its share"


def test_nothing_is_said_where_time_follows_the_arithmetic() -> None:
    assert advised(1) == {}


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx", "dynamic.tflite", "fp32.onnx"])
def test_channels_that_are_added_change_together(bundle: Path, name: str) -> None:
    model = read_stamped(bundle / name).model
    layers = layers_of((read_tflite if name.endswith("tflite") else read_onnx)(model), None)
    assert [(each.shape.channels_in, each.shape.channels_out) for each in layers] == [
        (1, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 64), (64, 10)
    ]  # fmt: skip
    groups = [(each.reads, each.makes) for each in layers]
    assert groups[0][0] is groups[-1][1] is None, "the image and the classes are fixed"
    # conv_4 and conv_6 are added, and read by conv_5 and conv_7
    shared = groups[3][1]
    assert shared == groups[4][0] == groups[5][1] == groups[6][0] != groups[4][1]
    scheme = name.partition(".")[0]
    assert layers[2].shape.arithmetic == {"fp32": "float32"}.get(scheme, scheme)


def cost(kind: str, ns: int, runs_on: str) -> OperatorCost:
    return OperatorCost(
        name=f"net/{kind.lower()}/out",
        kind=kind,
        ns=ns,
        instructions=None,
        macs=0,
        bytes=1,
        dtype="int8",
        runs_on=runs_on,
    )


def test_operators_without_a_fast_kernel_are_named_with_their_share() -> None:
    costs = (
        cost("CONV_2D", 7000, "XNNPACK"),
        cost("HARD_SWISH", 1500, "XNNPACK"),
        cost("HARD_SWISH", 500, "XNNPACK"),
        cost("PAD", 1000, "builtin"),
        cost("RSQRT", 100, "XNNPACK"),
    )
    whole = ModelTimes(rounds_ns=((10_000,),), delegate="XNNPACK", nodes=())
    operators = Operators(whole=whole, costs=costs, partitions=(), fusion={}, alone={}, fixed_ns=0)
    assert [each.sentence for each in advise_operators(operators)] == [
        "2 × HARD_SWISH: 20 % of the time; ReLU in the layer before could save it",
        "1 × PAD: 10 % of the time; kernels of XNNPACK could save it",
    ]
    all_builtin = replace(operators, costs=tuple(replace(c, runs_on="builtin") for c in costs))
    assert len(list(advise_operators(all_builtin))) == 1, "without a delegate none leaves anything"


def test_names_of_tensors_become_those_of_layers() -> None:
    assert short_name("relu_1/Relu;conv_1/BiasAdd") == "relu_1"
    assert short_name("/features/0/Conv_output_0") == "features/0"
    assert short_name("conv_1") == "conv_1"


@pytest.mark.slow
def test_advice_of_a_file_comes_as_json(bundle: Path) -> None:
    given = ["advise", str(bundle / "int8.tflite"), "--runtime", "litert", "--json"]
    done = CliRunner().invoke(cli, given, catch_exceptions=False)
    assert done.exit_code == 0
    for line in done.stdout.splitlines():
        document = json.loads(line)
        assert document["sentence"]
        assert 0 < document["share"] < 1


def test_a_runtime_of_another_format_is_refused(bundle: Path) -> None:
    given = ["advise", str(bundle / "int8.tflite"), "--runtime", "onnxruntime"]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code != 0
    assert "unknown runtime 'onnxruntime'" in str(done.exception or done.output)
