"""The table of ablations: means over seeds, differences to the base, and one interval for all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from ablations_table import ablations_table, margin_points

CORRECT = {"base recipe": (4600, 4620, 4640), "mixup": (4590, 4605, 4630), "no flips": (4500, 4520)}


def write(root: Path, correct: dict[str, tuple[int, ...]], epochs: int) -> None:
    path = root / "results" / "training" / "ablations.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for variant, found in correct.items():
            for seed, each in enumerate(found, 1):
                row = {
                    "variant": variant, "seed": seed, "recipe": "fast", "base_epochs": epochs,
                    "correct": each, "images": 5000,
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")


def test_a_page_says_when_nothing_was_measured(tmp_path: Path) -> None:
    assert ablations_table(tmp_path) == "Not measured yet.\n"


def test_variants_are_compared_with_the_base_over_the_same_seeds(tmp_path: Path) -> None:
    write(tmp_path, {"base recipe": (1,)}, 8)  # of an earlier base
    write(tmp_path, CORRECT, 16)
    text = ablations_table(tmp_path)
    assert "| base recipe | 92.40 % |" in text
    assert "| mixup | 92.17 % | -0.23 |" in text
    assert "no flips" not in text  # a seed is missing
    assert "16 epochs, mean of 3 seeds on 5,000 validation images" in text


def test_the_interval_is_that_of_a_paired_difference_where_there_is_one() -> None:
    """Of two variants in blocks it is Student's paired interval: t(2) = 4.3027."""
    found = {
        name: {seed: each / 50 for seed, each in enumerate(counts)}
        for name, counts in CORRECT.items()
        if len(counts) == 3
    }
    differences = [-0.2, -0.3, -0.2]
    mean = sum(differences) / 3
    deviation = math.sqrt(sum((each - mean) ** 2 for each in differences) / 2)
    assert margin_points(found) == pytest.approx(4.30265 * deviation / math.sqrt(3), rel=1e-5)
    assert margin_points({"base recipe": {1: 92.0}}) is None
