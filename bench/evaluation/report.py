"""The report of an evaluation as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hemline import pages
from hemline.bench.evaluation import text
from hemline.bench.evaluation.result import Evaluation, RunResult
from hemline.figures import Drawn


def write_report(path: Path, evaluation: Evaluation, pictures: Sequence[Sequence[Drawn]]) -> None:
    """Write the page; `pictures` are those of each result, in the same order."""
    names = ", ".join(text.name_of(result) for result in evaluation.results)
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    body = [*_head(evaluation), *_comparison(evaluation)]
    for result, drawn in zip(evaluation.results, pictures, strict=True):
        body += _section(evaluation, result, drawn)
    title, footer = f"{names} on {evaluation.title}", f"{evaluation.created}, {versions}"
    pages.write_page(path, title, body, footer=footer)


def _head(evaluation: Evaluation) -> Iterator[str]:
    yield pages.paragraph(f"{text.verdict(evaluation)}.", "verdict")
    for note in evaluation.notes:
        yield pages.paragraph(f"Note: {note}.")
    yield pages.paragraph(
        f"{evaluation.results[0].images:,} {evaluation.split} images of {evaluation.title} from "
        f"{evaluation.source}, {len(evaluation.labels)} classes; intervals cover 95 %.",
        "soft",
    )


def _comparison(evaluation: Evaluation) -> Iterator[str]:
    if len(evaluation.results) > 1:
        yield pages.element("h2", "Comparison")
        yield pages.table(text.comparison_table(evaluation))
        yield pages.paragraph(f"{text.comparison_note(evaluation)}.", "soft")


def _section(evaluation: Evaluation, result: RunResult, drawn: Sequence[Drawn]) -> Iterator[str]:
    several = len(evaluation.results) > 1
    title = text.title_of(result)
    yield pages.element("h2", title) if several else pages.paragraph(title, "soft")
    yield pages.paragraph(f"Accuracy {text.accuracy_line(result, evaluation)}.")
    yield pages.element("h3", "Classes")
    yield pages.table(text.scores_table(result))
    if result.most_confused:
        yield pages.element("h3", "Most confused")
        yield pages.table(text.confused_table(result))
    yield pages.element("h3", "Calibration")
    yield pages.table(text.calibration_table(result))
    yield from map(pages.figure, drawn)
    yield pages.left_out(drawn)
    if result.origin.layers:
        table = text.summary_table(result.origin.layers)
        yield pages.folded("Model summary", pages.table(table))
    yield pages.folded("Confusion matrix as a table", pages.table(text.confusion_table(result)))
