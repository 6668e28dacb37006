"""The tables of the zoo, and the files that its latencies are compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from documents import ROOT
from zoo_table import PUBLISHED, zoo_recall_table, zoo_table

from hemline.contract.stamp import read_stamped
from hemline.files import sha256_of

BASELINES = ROOT / "tests" / "performance" / "baselines"
SEED = {
    "model": "hem-50k",
    "timed": True,
    "parameters": 47_370,
    "float": {"test": [9_400, 10_000]},
    "int8": {"litert": {"test": [9_390, 10_000]}, "onnxruntime": {"test": [9_390, 10_000]}},
    "sizes": {"int8.tflite": 59_706, "int8.onnx": 60_874},
    "recall": [90.0, 99.0, 91.0, 94.0, 90.0, 98.5, 81.25, 97.0, 99.0, 96.0],
    "host": "a quiet machine",
}
TIMES = {
    "latency": {
        "litert": {"ratio": 0.58, "median_us": 9.2},
        "onnxruntime": {"ratio": 0.6, "median_us": 23},
    },
    "instructions": {
        board: {"litert": 620_000, "onnxruntime": 1_112_000, "tflite-runtime": 2}
        for board in ("pi4", "pi5")
    },
}


def results(folder: Path, *lines: dict[str, object]) -> Path:
    (folder / "results").mkdir()
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "results" / "zoo.jsonl").write_text(text)
    return folder


def test_the_shipped_seed_has_the_figures_and_all_seeds_the_mean(tmp_path: Path) -> None:
    other = {**SEED, "timed": False, "float": {"test": [9_410, 10_000]}}
    other["int8"] = {name: {"test": [9_000, 10_000]} for name in ("litert", "onnxruntime")}
    table = zoo_table(results(tmp_path, other, {**SEED, **TIMES}))
    # the Wilson interval of 9,390 of 10,000
    row = (
        "| hem-50k | 47,370 | 94.05 % (2 seeds) | 93.90 % (93.41 – 94.35) | 59.7 kB | 60.9 kB "
        "| 0.58 × (9 µs) | 0.60 × (23 µs) | 0.62 / 1.11 | 0.62 / 1.11 |"
    )
    assert row in table
    assert "a quiet machine" in table


def test_columns_that_nothing_was_measured_of_are_left_out(tmp_path: Path) -> None:
    table = zoo_table(results(tmp_path, {**SEED, "model": "baseline"}))
    assert "| hem-50k, earlier | 47,370 | 94.00 % |" in table
    assert "pi4, LiteRT" not in table.splitlines()[0]
    assert "| published: original of deep-cnn | – | 93.44 % | – | 25.4 MB | – |" in table


def test_a_recall_stands_beside_the_published_one(tmp_path: Path) -> None:
    table = zoo_recall_table(results(tmp_path, SEED)).splitlines()
    assert table[0] == "| class | hem-50k | original of deep-cnn |"
    assert table[8] == "| Shirt | 81.2 % | 80.0 % |"
    assert all(len(each.recall) in (0, 10) for each in PUBLISHED)


def test_before_anything_was_measured_the_tables_are_empty(tmp_path: Path) -> None:
    assert zoo_table(tmp_path) == zoo_recall_table(tmp_path) == ""


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx"])
def test_a_baseline_is_the_file_of_its_card(name: str) -> None:
    folder = BASELINES / "hem-50k"
    card = json.loads((folder / "card.json").read_text())
    expected = card["files"][name]
    path = folder / name
    assert (sha256_of(path), path.stat().st_size) == (expected["sha256"], expected["size_bytes"])
    stamp = read_stamped(path).stamp
    assert (stamp.model, stamp.parent_sha256) == ("hem-50k", card["checkpoint_sha256"])
