"""The whole way from images to a measured file, from Python: what the commands call.

    from hemline.api import train, import_model, export, verify, bench, choose, pack, images

    trained = train("hem-50k", data=images("photos", size=32), changes={"epochs": 20})
    exported = export(trained.checkpoint, data="photos")
    bench(exported.bundle, quick=True)
    chosen = choose(exported.bundle, max_drop_points=1, max_kb=300)
    print(trained.test_accuracy, chosen.file)
    pack(exported.bundle, "pi", output="classifier.tar.gz")

Nothing is printed: progress goes to the logger `hemline`, or with `report_to(print)` to a function.
Every error is a `hemline.errors.HemlineError`. Importing this is cheap: a function loads what it
needs when it is called. To classify, use `hemline.runtime.Classifier`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hemline.bench.api import BenchResult, ChooseResult, bench, choose
    from hemline.contract.budget import Budget
    from hemline.data.fetch import FetchOptions
    from hemline.export.api import (
        ExportResult,
        ImportResult,
        PackResult,
        VerifyResult,
        export,
        import_model,
        pack,
    )
    from hemline.export.api import verify as verify
    from hemline.export.pack.packed import PackOptions
    from hemline.export.pixel_scale import PixelScale
    from hemline.progress import report_to
    from hemline.runtime.scoring.api import score
    from hemline.runtime.scoring.result import ScoringResult
    from hemline.runtime.similar.api import IndexResult, SimilarResult, index, similar
    from hemline.train.api import TrainResult, train

__all__ = [
    "BenchResult", "Budget", "ChooseResult", "ExportResult", "ImportResult", "IndexResult",
    "PackOptions", "PackResult", "PixelScale", "ScoringResult", "SimilarResult", "TrainResult",
    "VerifyResult", "bench", "choose", "export", "images", "import_model", "index", "pack",
    "report_to", "score", "similar", "train", "verify",
]  # fmt: skip
_PLACES = (
    "hemline.train.api", "hemline.export.api", "hemline.bench.api", "hemline.progress",
    "hemline.runtime.scoring.api", "hemline.runtime.similar.api",
    "hemline.contract.budget", "hemline.export.pixel_scale", "hemline.export.pack.packed",
)  # fmt: skip


def images(
    folder: Path | str,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    labels: Sequence[str] | Path | str | None = None,
    skip_broken: bool = False,
) -> FetchOptions:
    """Return your images as `data` of the functions here: where they are and how they are read.

    folder: a folder with one subfolder per class, an .npz file with x and y, or shards.
    size: side, or (height, width), that they are resized to, pixels (default: that all have).
    channels: 1 for gray, 3 for colour (default: gray if all are).
    labels: class names of an .npz file, in the order of their numbers, or a file with them.
    skip_broken: skip files that cannot be read, instead of an error.
    """
    from hemline.data.class_names import labels_of
    from hemline.data.custom.reading import ReadOptions
    from hemline.data.fetch import FetchOptions

    reading = ReadOptions(
        size=(size, size) if isinstance(size, int) else size,
        channels=channels,
        labels=None if labels is None else labels_of(labels),
        skip_broken=skip_broken,
    )
    return FetchOptions(folder=Path(folder), reading=reading)


def __getattr__(name: str) -> object:
    for place in _PLACES if name in __all__ else ():
        if (found := getattr(importlib.import_module(place), name, None)) is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the module, with the functions that help() then shows."""
    return sorted({*globals(), *__all__})
