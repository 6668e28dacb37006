"""What each part of the recipe of hem-50k brings: one change at a time, on validation images.

python tests/performance/ablations.py [--recipe RECIPE] [--epochs N] [--teacher FOLDER]...

Every training has the same epochs, and those of a seed the same weights and order of images to
begin with. Finished ones are lines of results/training/ablations.jsonl and are not repeated, and
an interrupted one goes on, so that hours of work can be done in parts. A process computes in one
thread and leaves alone what another one trains: start as many as there are cores, at any time.
Nothing should be measured meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["TF_NUM_INTRAOP_THREADS"] = "1"

from measurement import ROOT

from hemline import files
from hemline.api import train
from hemline.contract.checkpoint import is_checkpoint, read_card
from hemline.data.fetch import load_images
from hemline.data.splits import split_images
from hemline.errors import BusyError
from hemline.progress import report_to
from hemline.provenance import commit, utc_now
from hemline.train.checkpoint import find_teachers
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.recipe_file import named_recipe, recipe_card

MODEL, SEEDS = "hem-50k", (1, 2, 3)
RESULTS = ROOT / "results" / "training" / "ablations.jsonl"
BASE = "base recipe"
CHANGES: dict[str, dict[str, Any]] = {
    "no label smoothing": {"label_smoothing": 0.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "no flips": {"flip": False},
    "no shifts": {"shift": 0},
    "no cutout": {"cutout": 0},
    "cutout of 8 pixels": {"cutout": 8},
    "erasing in 25 %": {"erasing": 0.25},
    "mixup 0.2": {"mixup": 0.2},
    "no moving average of weights": {"ema": 0.0},
    "moving average of weights": {"ema": 0.999},
    "batches of 500": {"batch": 500},
    "adamw": {"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.02},
    "cosine schedule": {"schedule": "cosine"},
    "average pooling": {"pooling": "average"},
    "strides for pooling": {"pooling": "stride"},
    "no residual connections": {"residual": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A recipe that differs from the base in one thing."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    teachers: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What all variants share: the recipe by name or file, its epochs, and the teachers."""

    recipe: str
    epochs: int
    teachers: tuple[Path, ...]

    def fields(self, changes: dict[str, Any]) -> Recipe:
        """Return the recipe with changes, in float32 and this number of epochs unless they say."""
        usual = {"epochs": self.epochs, "precision": "float32"}
        return named_recipe(self.recipe)[1].with_changes({**usual, **changes})

    def variants(self) -> Iterator[Variant]:
        """Yield the base and what differs from it; a change that it has already is left out."""
        yield Variant(name=BASE, teachers=self.teachers)
        changes = {**CHANGES, "twice the epochs": {"epochs": 2 * self.epochs}}
        for name, changed in changes.items():
            if self.fields(changed) != self.fields({}):
                yield Variant(name=name, changes=changed, teachers=self.teachers)
        if self.teachers:
            yield Variant(name="no distillation")
            more = {"distillation": 0.9}
            yield Variant(name="distillation 0.9", changes=more, teachers=self.teachers)
        if len(self.teachers) > 1:
            yield Variant(name="one teacher", teachers=self.teachers[:1])


def run(base: Base, variant: Variant, seed: int) -> None:
    """Train one variant and append its line, unless it is there or another process is at it."""
    recipe = base.fields(variant.changes)
    teachers = [read_card(each).model.sha256[:16] for each in variant.teachers]
    identity = files.fingerprint({"recipe": recipe.as_fields(), "teachers": teachers})[:16]
    folder = ROOT / "checkpoints" / "ablations" / f"{identity}-{seed}"
    with contextlib.suppress(BusyError), files.locked(folder):
        if (identity, seed) in done():
            return
        changes = recipe.as_fields()
        if not variant.teachers:  # without them, what distillation does may not be said
            changes = {k: v for k, v in changes.items() if not k.startswith("distillation")}
        if not is_checkpoint(folder / "trained"):
            train(
                MODEL,
                output=folder / "trained",
                recipe="fast",  # a checkpoint would bring its teachers
                changes=changes,
                seed=seed,
                teachers=variant.teachers,
            )
        append(base, variant, seed, identity, folder / "trained")


def append(base: Base, variant: Variant, seed: int, identity: str, folder: Path) -> None:
    """Write what came of a training."""
    card = read_card(folder)
    score = card.trained.score("validation")
    row = {
        "variant": variant.name,
        "seed": seed,
        "identity": identity,
        "recipe": Path(base.recipe).stem,
        "base_epochs": base.epochs,
        "changes": variant.changes,
        "teachers": len(variant.teachers),
        "correct": score.correct,
        "images": score.images,
        "parameters": card.model.parameters,
        "epochs": len(card.trained.history),
        "seconds": card.trained.seconds,
        "host": card.model.host,
        "commit": commit(),
        "date": utc_now(),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as file:  # a line is one write, which other processes do not divide
        file.write(json.dumps(row) + "\n")


def done() -> set[tuple[str, int]]:
    """Return (identity, seed) of the finished trainings."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    rows = (files.parse_json(line, where=str(RESULTS)) for line in lines)
    return {(row["identity"], row["seed"]) for row in rows}


def predict_once(base: Base) -> None:
    """Make the teachers' predictions, which most variants share, though the epochs are few."""
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    from hemline.train.fitting.distillation import open_teachers
    from hemline.train.fitting.precision import teacher_precision
    from hemline.train.fitting.soft_targets import soft_targets

    recipe = base.fields({})
    images, limit = load_images("fashion-mnist"), recipe.limit or None
    data = split_images(images, validation=recipe.validation, limit=limit)
    precision = teacher_precision([read_card(each) for each in base.teachers])
    soft_targets(
        open_teachers(base.teachers, recipe.distillation_temperature, precision),
        data.train_images,
        recipe,
        teachers=base.teachers,
        precision=precision,
        epochs=recipe.epochs * len(CHANGES) * len(SEEDS),
    )


def main() -> None:
    """Run what is missing, seed by seed, so that all variants are equally far at any time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", default="fast", help="name, file or checkpoint of the base")
    parser.add_argument("--epochs", type=int, default=16, help="of each training")
    parser.add_argument(
        "--teacher", type=Path, action="append", default=[], help="default: the base's own"
    )
    given = parser.parse_args()
    card = recipe_card(given.recipe)
    teachers = tuple(given.teacher) or (find_teachers(Path(given.recipe), card) if card else ())
    base = Base(recipe=given.recipe, epochs=given.epochs, teachers=teachers)
    with report_to(print):
        if base.teachers:
            predict_once(base)
        for seed in SEEDS:
            for variant in base.variants():
                run(base, variant, seed)


if __name__ == "__main__":
    main()
