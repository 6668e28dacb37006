"""What came of a baseline: a classifier of scikit-learn that Hemline's models are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hemline.contract.card import Scalar, Score
from hemline.contract.schema import from_document, to_document
from hemline.files import parse_json, read_bytes
from hemline.statistics import wilson
from hemline.tables import Table

_DERIVED = ("test_accuracy", "test_interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """How well one baseline learned one data set.

    baseline: name in the BASELINES table.
    estimator: "module:attribute" that made the classifier.
    parameters: of the estimator.
    note: what differs from the published row and why; empty where nothing does.
    published: accuracy that was published for these parameters, 0 … 1; None for other data.
    dataset: name of the data set.
    data_sha256: file name to hash of the decompressed bytes.
    verified: whether every file is the official one.
    limit: only the first so many training images were used, so that this is no result to quote;
        None for all.
    train_images: number of images that it was trained on, without those for validation.
    seed: of the classifier; svm and knn have no chance in them.
    scores: right answers on validation and test.
    converged: whether the fit came to its end before its limit of rounds.
    fit_seconds: wall time of the fit.
    predict_seconds: wall time of both splits.
    cpu_seconds: processor time of all threads, which other work on the machine hardly changes.
    threads: that it might use at most.
    peak_memory_bytes: largest resident memory of the process that did it.
    versions: of packages.
    host: processor and cores.
    commit: of Hemline; None outside a checkout.
    created: UTC time.
    """

    KIND: ClassVar[str] = "baseline result"
    SCHEMA: ClassVar[int] = 1

    baseline: str
    estimator: str
    parameters: dict[str, Scalar]
    note: str
    published: float | None
    dataset: str
    data_sha256: dict[str, str]
    verified: bool
    limit: int | None
    train_images: int
    seed: int
    scores: tuple[Score, ...]
    converged: bool
    fit_seconds: float
    predict_seconds: float
    cpu_seconds: float
    threads: int
    peak_memory_bytes: int
    versions: dict[str, str]
    host: str
    commit: str | None
    created: str

    def score(self, split: str) -> Score:
        """Return the score on a split; raises ValueError when it was not measured."""
        for score in self.scores:
            if score.split == split:
                return score
        raise ValueError(f"no score on {split}")


def as_json(result: BaselineResult) -> dict[str, Any]:
    """Return the document of a result, with the test accuracy and its 95 % interval, 0 … 1."""
    test = result.score("test")
    interval = [round(bound, 6) for bound in wilson(test.correct, test.images)]
    derived = dict(zip(_DERIVED, (test.accuracy, interval), strict=True))
    return {**to_document(result), **derived}


def read_results(path: Path) -> tuple[BaselineResult, ...]:
    """Read the JSON lines of `as_json`; derived figures are left aside."""
    results = []
    for number, line in enumerate(read_bytes(path).decode().splitlines(), start=1):
        where = f"{path}, line {number}"
        document = parse_json(line, where=where)
        raw = {key: value for key, value in document.items() if key not in _DERIVED}
        results.append(from_document(BaselineResult, raw, where=where))
    return tuple(results)


def results_table(results: Sequence[BaselineResult]) -> Table:
    """Return a row for each result: measured and published accuracy, processor time, memory."""
    return Table(
        columns=("baseline", "test", "95 % interval", "published", "validation", "CPU min", "MB"),
        numeric=(False, *(True,) * 6),
        rows=tuple(_row(result) for result in results),
    )


def conditions_lines(results: Sequence[BaselineResult]) -> list[str]:
    """Return what the figures of a table rest on, and what is to be said of single rows."""
    facts = dict.fromkeys(
        f"{r.dataset}{_doubt(r)}, {r.train_images:,} training "
        f"images, seed {r.seed}, {r.threads} thread{'s' if r.threads > 1 else ''} of {r.host}, "
        f"scikit-learn {r.versions.get('scikit-learn', '?')}, {r.created[:10]}"
        for r in results
    )
    subset = [r for r in results if r.limit is not None]
    warning = "of a SUBSET of the training images: nothing to compare with the published figures"
    return [
        *facts,
        *([warning] if subset else []),
        *(f"{r.baseline}: stopped at its limit of rounds" for r in results if not r.converged),
        *(f"{r.baseline}: {r.note}" for r in results if r.note),
    ]


def _doubt(result: BaselineResult) -> str:
    """Return what must stand beside a published figure when the files are not the official ones."""
    return "" if result.verified or result.published is None else " (unverified files)"


def _row(result: BaselineResult) -> tuple[str, ...]:
    test, validation = result.score("test"), result.score("validation")
    low, high = wilson(test.correct, test.images)
    return (
        result.baseline,
        f"{100 * test.accuracy:.2f} %",
        f"{100 * low:.2f} … {100 * high:.2f} %",
        "" if result.published is None else f"{100 * result.published:.1f} %",
        f"{100 * validation.accuracy:.2f} %",
        f"{result.cpu_seconds / 60:.1f}",
        f"{result.peak_memory_bytes / 1e6:.0f}",
    )
