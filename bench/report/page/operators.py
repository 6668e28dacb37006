"""Where the time goes and why, from profiles: causes, operators, the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hemline import pages
from hemline.bench.profiling.text import heading, observations, operator_table
from hemline.bench.report.page import plots
from hemline.bench.report.page.cells import MeasuredCell, title_of
from hemline.contract.profile import OperatorCost, Probe, Profile
from hemline.errors import remedy
from hemline.remedies import advice


def findings(cells: Iterable[MeasuredCell]) -> Iterator[str]:
    """Yield the causes that profiles name, each with its cells, as HTML; those to ship first."""
    causes: dict[tuple[bool, str, str], list[str]] = {}
    for each in sorted(cells, key=lambda cell: not cell.chosen):
        profile = each.get(Profile)
        for finding in profile.findings if profile else ():
            share = "" if finding.share is None else f", {100 * finding.share:.0f} % of its time"
            key = (finding.proven, finding.sentence, finding.remedy)
            causes.setdefault(key, []).append(f"{title_of(each)}{share}")
    if causes:
        yield pages.element("h3", "Why cells take as long as they do")
        yield pages.items(
            f"{'Because' if proven else 'Observed'}: {sentence} {remedy} ({'; '.join(names)})"
            for (proven, sentence, remedy), names in causes.items()
        )


def operators(cells: Sequence[MeasuredCell]) -> Iterator[str]:
    """Yield the rooflines, and the operators of each cell, as HTML."""
    profiled = [(each, profile) for each in cells if (profile := each.get(Profile))]
    if not profiled:
        how = advice(remedy("profile"))
        yield pages.paragraph(f"Where the time goes was not measured: {how}.")
        return
    yield from _rooflines(profiled)
    opened = next((each for each, _ in profiled if each.chosen), profiled[0][0])
    for each, profile in profiled:
        table = pages.table(operator_table(profile), f"Operators of {title_of(each)}")
        title = f"{each.model.name}: {heading(each.cell, profile)}"
        yield pages.folded(
            title, f"{table}{pages.items(observations(profile))}", opened=each is opened
        )


def _rooflines(profiled: Sequence[tuple[MeasuredCell, Profile]]) -> Iterator[str]:
    """Yield a roofline for each runtime on each device that was probed."""
    found: dict[str, tuple[Probe, list[tuple[str, OperatorCost]]]] = {}
    for each, profile in profiled:
        if profile.probe is not None:
            what = f"{each.cell.runtime} {each.cell.runtime_version} on {each.cell.device}"
            _, dots = found.setdefault(what, (profile.probe, []))
            dots += [(each.cell.artifact, cost) for cost in profile.operators]
    for at, (what, (probe, dots)) in enumerate(found.items()):
        caption = (
            f"Roofline of {what}: each dot is an operator; those far below the roof use a slow "
            "kernel, or are too small for a fast one."
        )
        document = plots.roofline(probe, dots)
        yield pages.plot(f"roofline-{at}", document, f"Roofline of {what}", caption)
