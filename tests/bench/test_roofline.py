"""What a runtime reaches on a machine, and what profiled cells reach of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemline.bench.devices.local import LocalDevice
from hemline.bench.profiling import probe as probing
from hemline.bench.profiling.picture import draw_profiles, names, panels
from hemline.bench.profiling.probe import probe
from hemline.bench.profiling.timing import ModelTimer
from hemline.bench.report.plot import runtime_colour
from hemline.contract.profile import OperatorCost, Probe, Profile
from hemline.contract.record import Record, read_records
from hemline.contract.settings import DEFAULT, Settings
from hemline.figures import BLUE, GREEN, ORANGE, Heading, drawn


def cost(name: str, kind: str, ns: int, macs: int, size: int, dtype: str = "int8") -> OperatorCost:
    return OperatorCost(
        name=name,
        kind=kind,
        ns=ns,
        instructions=None,
        macs=macs,
        bytes=size,
        dtype=dtype,
        runs_on="",
    )


PROFILE = Profile(
    whole_ns=10_000,
    whole_instructions=None,
    operators=(
        cost("first", "CONV_2D", 2_000, 20_000, 10_000, "float32"),
        cost("conv", "CONV_2D", 6_000, 600_000, 20_000),
        cost("pool", "MAX_POOL_2D", 1_500, 0, 10_000),
    ),
    partitions=(),
    fusion={},
    probe=Probe(fixed_ns=400, float_gmacs=80.0, int8_gmacs=200.0, gigabytes=25.0),
    interventions=(),
    findings=(),
)


@pytest.fixture
def record(bundle: Path) -> Record:
    return replace(read_records(bundle / "records.jsonl")[0], payload=PROFILE)


def test_operators_have_a_place_under_the_roofs() -> None:
    # 600,000 in 6 µs are 100 · 10⁹ a second, and 30 for each of 20,000 bytes
    assert (PROFILE.operators[1].gmacs, PROFILE.operators[1].intensity) == (100.0, 30.0)
    assert (PROFILE.operators[2].gmacs, PROFILE.operators[2].intensity) == (None, None)


def test_other_settings_and_hosts_have_other_roofs(record: Record) -> None:
    refused = replace(record.cell, settings=Settings(refused=("amx",)))
    cells = (record.cell, refused, replace(record.cell, host="another"))
    found = panels([replace(record, cell=cell) for cell in cells])
    assert [len(panel.profiles) for panel in found] == [1, 1, 1]
    assert found[0].title == f"{record.cell.runtime} {record.cell.runtime_version}"
    assert found[1].title.endswith("AMX refused")


def test_cells_of_several_models_are_named_by_them(record: Record) -> None:
    other = replace(record, cell=replace(record.cell, model="other"))
    (panel,) = panels([record, other])
    names = [f"{each.cell.model} {each.cell.artifact}" for each in (record, other)]
    assert [name for name, _ in panel.profiles] == names


@pytest.mark.medium
def test_profiles_are_drawn(record: Record, tmp_path: Path) -> None:
    no_probe = replace(record, payload=replace(PROFILE, probe=None))
    no_products = replace(record, payload=replace(PROFILE, operators=PROFILE.operators[2:]))
    for records in ([record, no_products], [no_probe]):
        paths = draw_profiles(records, tmp_path)
        assert [path.name for path in paths] == ["profile-roofline.png", "profile-operators.png"]
        for path in paths:
            assert np.asarray(Image.open(path).convert("L")).std() > 10  # not an empty one


@pytest.mark.medium
def test_ticks_of_logarithmic_axes_are_plain_numbers(tmp_path: Path) -> None:
    for ends in ((50, 90), (0.5, 700), (3, 2_000_000)):
        with drawn(tmp_path / "axes.png", Heading(title="axes"), width=4, height=4) as figure:
            axes = figure.subplots()
            axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
            axes.xaxis.set_major_formatter("{x:g}")
        for axis in (axes.xaxis, axes.yaxis):
            shown = [each.get_text() for each in axis.get_ticklabels(which="both")]
            texts = [text for text in shown if text]
            assert len(texts) > 2
            assert all(float(text.replace(",", "")) > 0 for text in texts)


def test_a_runtime_and_a_file_have_one_colour_in_every_panel(record: Record) -> None:
    colours = [runtime_colour(name) for name in ("litert", "tflite-runtime", "onnxruntime")]
    assert colours == [BLUE, ORANGE, GREEN]
    other = replace(record, cell=replace(record.cell, artifact="a.tflite"))
    elsewhere = [replace(r, cell=replace(r.cell, host="another")) for r in (other, record)]
    assert names(panels([record, *elsewhere])) == [record.cell.artifact, "a.tflite"]


def test_counted_instructions_are_not_drawn(record: Record, tmp_path: Path) -> None:
    counted = replace(PROFILE, whole_ns=None, whole_instructions=10_000, probe=None)
    assert draw_profiles([replace(record, payload=counted)], tmp_path) == ()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelTimer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probing, "_ROUNDS", 1)
    monkeypatch.setattr(probing, "_SLICE_NS", 1_000_000)
    device = LocalDevice()
    with ModelTimer(device, "litert", dict(device.runtimes())["litert"]) as timer:
        yield timer


def test_a_runtime_is_probed_once(
    timer: ModelTimer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_loaded", lambda _: False)
    found = probe(timer, DEFAULT)
    assert found is not None
    assert found.fixed_ns > 0
    assert all((found.float_gmacs, found.int8_gmacs, found.gigabytes))
    (kept,) = tmp_path.glob("hemline/probes/litert-*.json")
    kept.write_text(kept.read_text().replace(f'"fixed_ns": {found.fixed_ns}', '"fixed_ns": 1'))
    assert probe(timer, DEFAULT) == replace(found, fixed_ns=1)
    kept.write_text("{")
    assert probe(timer, DEFAULT) != replace(found, fixed_ns=1)  # measured again


def test_a_probe_of_a_loaded_machine_is_not_kept(
    timer: ModelTimer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_loaded", lambda _: True)
    assert probe(timer, DEFAULT) is not None
    assert not list(tmp_path.glob("hemline/probes/*"))
