"""Cross-validate training and export: every image is judged by files that were not made from it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hemline.contract.record import RECORDS_NAME, Accuracy, read_records
from hemline.data.datasets import Images
from hemline.data.splits import fold_images
from hemline.errors import GateError
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.schemes import find_schemes
from hemline.export.verification import verify_bundle
from hemline.folders import TemporaryFolder
from hemline.progress import say
from hemline.small_sets import interval_text
from hemline.statistics import upper_share
from hemline.tables import CHANGE, Table, change, percent
from hemline.train.request import TrainRequest


def cross_validated(
    request: TrainRequest,
    images: Images,
    folds: int,
    train: Callable[[TrainRequest, Images], object],
) -> Table:
    """Return the pooled out-of-fold accuracy of each file in each runtime.

    In turn, each of `folds` parts of the training images is held out, `train` trains a model on the
    others, and it is exported and verified. Nothing of the folds is kept. Raises DataError for too
    few images of a class.
    """
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for number, part in enumerate(fold_images(images, folds), start=1):
        say(f"fold {number} of {folds}")
        with TemporaryFolder() as place:
            checkpoint, bundle = Path(place) / request.folder.name, Path(place) / "bundle"
            train(replace(request, folder=checkpoint), part)
            asked = ExportRequest(checkpoint=checkpoint, bundle=bundle, schemes=find_schemes(()))
            manifest = export_bundle(asked, part, say=say)
            try:
                verify_bundle(bundle, manifest, say=say)
            except GateError as error:  # its figures count all the same
                say(f"fold {number}: {error}")
            for record in read_records(bundle / RECORDS_NAME):
                cell, payload = record.cell, record.payload
                is_file = cell.artifact != cell.runtime  # the source model has one name for both
                if isinstance(payload, Accuracy) and payload.split == "test" and is_file:
                    key = (cell.artifact, f"{cell.runtime} {cell.runtime_version}")
                    found[key].update(
                        images=payload.images,
                        correct=payload.correct or 0,
                        lost=(payload.keras_correct or 0) - (payload.correct or 0),
                        changed=payload.images - payload.agreement,
                    )
    figures = (">images", ">accuracy", ">95 %", f">{CHANGE}", ">predictions changed")
    rows = ((*names, *_figures(counts)) for names, counts in found.items())
    return Table.of(("artifact", "runtime", *figures), rows)


def _figures(counts: Counter[str]) -> tuple[str, ...]:
    images, correct, changed = (counts[name] for name in ("images", "correct", "changed"))
    return (
        f"{images:,}",
        percent(correct / images),
        interval_text(correct, images),
        change(100 * counts["lost"] / images),
        f"{changed:,} (95 %: under {100 * upper_share(changed, images):.1f} %)",
    )
