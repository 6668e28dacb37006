"""The result of a baseline: a classifier of scikit-learn that models are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hemline.contract.card import Scalar
from hemline.contract.schema import to_document
from hemline.contract.score import Score
from hemline.data.custom.reading import counted
from hemline.small_sets import few_images
from hemline.statistics import wilson
from hemline.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """How well one baseline learned one data set.

    baseline, estimator, parameters, note: of its row in the BASELINES table.
    published: accuracy that was published for these parameters, 0 … 1; None for other data.
    data_sha256: file name to hash of the decompressed bytes.
    verified: whether every file is the official one.
    limit: only the first so many training images were used, so that this is not a result to quote;
        None for all.
    train_images: number of images that it was trained on, without those for validation.
    scores: correct predictions on validation and test.
    converged: whether the fit converged before its limit of rounds.
    fit_seconds, predict_seconds: wall time of the fit, and of both splits.
    cpu_seconds: processor time of all threads, which other work on the machine hardly changes.
    threads: that it might use at most.
    peak_memory_bytes: largest resident memory of the process that did it.
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
    return {**to_document(result), "test_accuracy": test.accuracy, "test_interval": interval}


def results_table(results: Sequence[BaselineResult]) -> Table:
    """Return a row for each result: measured and published accuracy, processor time, memory."""
    rows = [_row(each) for each in results]
    return Table.of(rows[0], (tuple(row.values()) for row in rows))


def _row(result: BaselineResult) -> dict[str, str]:
    test = result.score("test")
    low, high = (100 * bound for bound in wilson(test.correct, test.images))
    return {
        "baseline": result.baseline,
        ">test": f"{100 * test.accuracy:.2f} %",
        ">95 % interval": f"{low:.2f} … {high:.2f} %",
        ">published": "" if result.published is None else f"{100 * result.published:.1f} %",
        ">validation": f"{100 * result.score('validation').accuracy:.2f} %",
        ">CPU min": f"{result.cpu_seconds / 60:.1f}",
        ">MB": f"{result.peak_memory_bytes / 1e6:.0f}",
    }


def conditions_lines(results: Sequence[BaselineResult]) -> list[str]:
    """Return what the figures of a table rest on, and what is to be said of single rows."""
    facts = dict.fromkeys(
        f"{r.dataset}{'' if r.verified or r.published is None else ' (unverified files)'}, "
        f"{r.train_images:,} training images, seed {r.seed}, {counted(r.threads, 'thread')} of "
        f"{r.host}, scikit-learn {r.versions.get('scikit-learn', '?')}, {r.created[:10]}"
        for r in results
    )
    warning = (
        "trained on a SUBSET of the training images: not comparable with the published figures"
    )
    return [
        *facts,
        *few_images(min(r.score("test").images for r in results)),
        *([warning] if any(r.limit is not None for r in results) else []),
        *(f"{r.baseline}: stopped at its limit of rounds" for r in results if not r.converged),
        *(f"{r.baseline}: {r.note}" for r in results if r.note),
    ]
