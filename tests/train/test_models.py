"""Models: what the page says of each is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemline.train.nets.models import MODELS, build_model, count_macs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"


@pytest.mark.parametrize("name", MODELS)
def test_the_page_has_the_sizes_and_recipes_of_a_model(name: str) -> None:
    row = MODELS[name]
    model = build_model(row, (28, 28, 1), 10, policy="float32")
    recipes = ", ".join(f"`{recipe}`" for recipe in (row.recipe, row.transfer_recipe) if recipe)
    expected = (
        f"| `{name}` | {row.summary} | {model.count_params():,} "
        f"| {count_macs(model) / 1e6:.2f} M | {recipes} |"
    )
    assert expected in PAGE.read_text().splitlines()
