"""What is computed from measurements of the zoo: ratios, lines, claims, points of the picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT
from planted_records import CONDITIONS

from hemline.contract.record import Cell, Latency, Record, RoundFacts


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the scripts of tests/performance be imported, as their own folder lets them."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "tests" / "performance")])
    yield
    for name in ("zoo", "zoo_picture", "measurement"):
        sys.modules.pop(name, None)


def timed(runtime: str, sha256: str, *rounds_ns: int) -> Record:
    cell = Cell(
        model="a", artifact="int8", artifact_sha256=sha256, size_bytes=1, runtime=runtime,
        runtime_version="1", host="a machine",
    )  # fmt: skip
    quiet = RoundFacts(
        busy_share=0.0, stolen_share=0.0, frequency_khz=None, throttled=False, disturbed=None
    )
    rounds = tuple((ns - 1, ns, ns + 5) for ns in rounds_ns)
    payload = Latency(rounds_ns=rounds, facts=(quiet,) * len(rounds))
    return Record(cell=cell, conditions=CONDITIONS, payload=payload)


def line(model: str, latency: float, correct: int = 9400, **changes: Any) -> dict[str, Any]:
    runtimes = ("litert", "onnxruntime")
    return {
        "model": model, "checkpoint_sha256": "a", "recipe_sha256": "r", "parameters": 47_370,
        "timed": True, "different_classes": 0, "float": {"test": [9405, 10_000]},
        "int8": {name: {"test": [correct, 10_000]} for name in runtimes},
        "sizes": {"int8.tflite": 59_706, "int8.onnx": 60_874},
        "latency": {name: {"ratio": latency, "median_us": 9.0} for name in runtimes},
        **changes,
    }  # fmt: skip


@pytest.mark.usefixtures("scripts")
def test_ratios_are_of_medians_of_the_same_round() -> None:
    from zoo import compared

    records = [
        timed(runtime, sha, *rounds)
        for runtime in ("onnxruntime", "litert")
        for sha, rounds in (("own", (1000, 1200, 3000)), ("base", (2000, 2000, 4000)))
    ]
    found = compared(records, {"own"}, {"base"})["litert"]
    assert found == {"median_us": 1.2, "ratio": 0.6, "span": [0.5, 0.75]}


@pytest.mark.usefixtures("scripts")
def test_a_later_run_replaces_lines_and_drops_those_of_another_recipe(tmp_path: Path) -> None:
    from zoo import written

    path = tmp_path / "zoo.jsonl"
    other = {"checkpoint_sha256": "b"}
    earlier = [line("x", 0.5), line("x", 0.5, **other), line("y", 0.5, recipe_sha256="old")]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in earlier))
    new = {**line("x", 0.4), "parameters": 1}
    del new["sizes"]
    found = written(path, [new, line("y", 0.3, **other)])
    assert [(x["model"], x["checkpoint_sha256"], x["timed"]) for x in found] == [
        ("x", "a", True), ("x", "b", False), ("y", "b", True)
    ]  # fmt: skip
    assert found[0]["latency"]["litert"]["ratio"] == 0.4
    assert found[0]["sizes"] == earlier[0]["sizes"]
    assert [json.loads(each) for each in path.read_text().splitlines()] == found


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize(
    ("correct", "latency", "met"),
    [(9400, 0.58, [True] * 4), (9345, 0.7, [False, False, True, False])],
)
def test_claims_hold_where_the_figures_do(correct: int, latency: float, met: list[bool]) -> None:
    from zoo import claims

    found = list(claims([line("baseline", 1.0), line("hem-50k", latency, correct)]))
    assert [each.met for each in found] == met
    assert found[0].value == pytest.approx(correct / 100)
    assert found[1].value == pytest.approx(94.05 - correct / 100)
    assert found[3].value == latency


@pytest.mark.medium
@pytest.mark.usefixtures("scripts")
def test_the_picture_has_each_model_and_what_is_published() -> None:
    from matplotlib.figure import Figure
    from zoo_picture import Panel, sizes

    panel = Panel(axes=Figure().subplots())
    sizes(panel, {"hem-50k": line("hem-50k", 0.6)})
    places = {name: (x, y) for x, y, name, _ in panel.names if name}
    assert places["hem-50k"] == pytest.approx((59.706, 94.0))
    assert places["original of deep-cnn"] == (25_400, 93.44)
    assert places["ResNet-20, 200 epochs"] == (4 * 272, 95.55)


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize(("validation", "chosen"), [(4771, 9498), (4769, 9390)])
def test_claims_are_of_the_files_that_are_better_on_validation_images(
    validation: int, chosen: int
) -> None:
    from zoo import claims

    def counts(validated: int, correct: int) -> dict[str, Any]:
        split = {"validation": [validated, 5000], "test": [correct, 10_000]}
        return {"int8": {"litert": split, "onnxruntime": split}, "different_classes": 0}

    own = line("hem-500k", 4.0) | counts(4770, 9390) | {"trained": counts(validation, 9498)}
    found = list(claims([line("baseline", 1.0), own]))
    assert found[0].value == pytest.approx(chosen / 100)
    assert ("trained for 8 bits" in found[0].detail) == (chosen == 9498)
