"""The report of an evaluation as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hemline import pages
from hemline.bench.evaluation import text
from hemline.bench.evaluation.result import Evaluation, RunResult
from hemline.figures import Drawn
from hemline.pages import Page, Section

_SUMS = 3  # rows below the classes in their table


def write_report(path: Path, evaluation: Evaluation, pictures: Sequence[Sequence[Drawn]]) -> None:
    """Write the page; `pictures` are those of each result, in the same order."""
    names = ", ".join(text.name_of(result) for result in evaluation.results)
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    pairs = list(zip(evaluation.results, pictures, strict=True))
    if len(pairs) == 1:
        sections = list(_sections(*pairs[0]))
    else:
        sections = [_comparison(evaluation), *(_section(*pair) for pair in pairs)]
    page = Page(
        title=f"{names} on {evaluation.title}",
        lead=_lead(evaluation),
        sections=sections,
        footer=f"{evaluation.created}, {versions}",
    )
    pages.write_page(path, page)


def _lead(evaluation: Evaluation) -> Iterator[str]:
    yield pages.paragraph(f"{text.verdict(evaluation)}.", "verdict")
    for note in text.notes(evaluation):
        yield pages.paragraph(f"Note: {note}.")
    first = evaluation.results[0]
    ran = f"{text.title_of(first)}; " if len(evaluation.results) == 1 else ""
    yield pages.paragraph(
        f"{ran}{first.images:,} {evaluation.split} images of {evaluation.title} from "
        f"{evaluation.source}, {len(evaluation.labels)} classes; Wilson intervals cover 95 %.",
        "soft",
    )


def _comparison(evaluation: Evaluation) -> Section:
    table = pages.table(text.comparison_table(evaluation), "What was evaluated")
    note = pages.paragraph(f"{text.comparison_note(evaluation)}.", "soft")
    return Section(title="Comparison", body=(table, note))


def _section(result: RunResult, drawn: Sequence[Drawn]) -> Section:
    """Return one of several results as a section."""
    parts = (
        f"{pages.element('h3', part.title)}\n{''.join(part.body)}"
        for part in _sections(result, drawn)
        if any(part.body)
    )
    return Section(title=text.title_of(result), body=tuple(parts))


def _sections(result: RunResult, drawn: Sequence[Drawn]) -> Iterator[Section]:
    """Yield the parts of a result, each picture beside the table that it belongs to."""
    pictures = {each.name: pages.figure(each) for each in drawn}
    agreement = text.agreement_line(result)
    scores = pages.table(text.scores_table(result), "Scores of the classes", foot=_SUMS)
    yield Section(
        title="Classes",
        body=(
            scores,
            pages.paragraph(f"{agreement}.") if agreement else "",
            pictures.pop("classes", ""),
        ),
    )
    confused = pages.table(text.confused_table(result), "Most confused")
    matrix = pages.table(text.confusion_table(result), "Confusion matrix")
    wrong = pages.table(text.wrong_table(result), "Wrong predictions")
    yield Section(
        title="Mistakes",
        body=(
            confused if result.most_confused else "",
            pictures.pop("confusion", ""),
            pages.folded("Confusion matrix as a table", matrix),
            pictures.pop("mistakes", ""),
            pages.folded(f"All {len(result.wrong):,} wrong predictions", wrong)
            if result.wrong
            else "",
        ),
    )
    calibration = pages.table(text.calibration_table(result), "Calibration")
    yield Section(title="Calibration", body=(calibration, pictures.pop("reliability", "")))
    if result.separations:
        strangers = pages.table(text.separation_table(result), "Strangers")
        note = pages.paragraph(f"{text.separation_note(result)}.", "soft")
        yield Section(title="Strangers", body=(strangers, note))
    yield Section(title="Pictures", body=(*pictures.values(), pages.left_out(drawn)))
    if result.origin.layers:
        layers = pages.table(text.summary_table(result.origin.layers), "Layers", foot=1)
        yield Section(title="Model summary", body=(layers,))
