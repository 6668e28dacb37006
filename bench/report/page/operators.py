"""Where the time goes and why, from profiles: causes, operators, the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hemline import pages
from hemline.bench.comparison import Row
from hemline.bench.profiling.picture import names, panels
from hemline.bench.profiling.text import heading, observations, operator_table
from hemline.bench.report.page import plots
from hemline.bench.report.page.cells import title_of
from hemline.contract.profile import Profile
from hemline.contract.record import Record
from hemline.errors import remedy
from hemline.remedies import advice

_MOST = 4  # causes that are not folded


def causes(cells: Iterable[Row]) -> dict[tuple[bool, str, str], list[str]]:
    """Return what profiles find (whether proven, sentence, remedy), each with its cells.

    Those of the cell to ship come first, then those that explain most of their cell's time.
    """
    named = [
        (each, finding) for each in cells for finding in getattr(each.get(Profile), "findings", ())
    ]
    named.sort(key=lambda pair: (not pair[0].chosen, -(pair[1].share or 0)))
    found: dict[tuple[bool, str, str], list[str]] = {}
    for each, finding in named:
        share = "" if finding.share is None else f" ({100 * finding.share:.0f} % of its time)"
        key = (finding.proven, finding.sentence, finding.remedy)
        found.setdefault(key, []).append(f"{title_of(each)}{share}")
    return found


def causes_list(found: dict[tuple[bool, str, str], list[str]]) -> Iterator[str]:
    """Yield the causes as HTML; all but a few are folded."""
    lines = [
        f"{'; '.join(names)}: {'because' if proven else 'observed:'} {sentence} {remedy}"
        for (proven, sentence, remedy), names in found.items()
    ]
    yield pages.items(lines[:_MOST])
    if rest := lines[_MOST:]:
        yield pages.folded(f"{len(rest)} more", pages.items(rest))


def operators(cells: Sequence[Row]) -> Iterator[str]:
    """Yield the rooflines, and the operators of each cell, as HTML."""
    profiled = [(each, profile) for each in cells if (profile := each.get(Profile))]
    if not profiled:
        how = advice(remedy("profile"))
        yield pages.paragraph(f"Where the time goes was not measured: {how}.")
        return
    found = panels(
        Record(cell=each.cell, conditions=each.conditions, payload=profile)
        for each, profile in profiled
    )
    shown = ((f"Roofline of {panel.title}", plots.roofline(panel, names(found))) for panel in found)
    yield pages.side_by_side(
        pages.plot(f"roofline-{at}", document, title, title)
        for at, (title, document) in enumerate(shown)
    )
    text = "Each dot is an operator; those far below the roof use a slow kernel or are too small."
    yield pages.paragraph(text, "soft")
    opened = next((each for each, _ in profiled if each.chosen), profiled[0][0])
    for each, profile in profiled:
        table = pages.table(operator_table(profile), f"Operators of {title_of(each)}")
        title = f"{each.model.name}: {heading(each.cell, profile)}"
        yield pages.folded(
            title, f"{table}{pages.items(observations(profile))}", opened=each is opened
        )
