"""Say why the file to ship, and the fastest that is not, take as long as they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hemline.bench.comparison import Row
from hemline.contract.profile import Finding, Profile

_MOST = 0.5  # of the time: a cause of less is said with its share


def reasons(chosen: Row, rows: Sequence[Row]) -> Iterator[str]:
    """Yield at most two sentences from profiles: of the choice, and of the fastest other row.

    Of the others, the same file in other runtimes comes first, as it shows what a runtime costs.
    """
    same = chosen.cell.artifact_sha256
    others = [each for each in rows if each is not chosen and _proven(each)]
    others.sort(key=lambda each: (each.cell.artifact_sha256 != same, each.cost))
    for row in (chosen, *others[:1]):
        for found in _proven(row)[:1]:
            share = found.share or 0.0
            part = "" if share >= _MOST else f", {100 * share:.0f} % of it"
            time = f"{row.cell.artifact} takes {row.measure.words(row.cost)} in {row.cell.runtime}"
            yield f"{time}{part} because {found.sentence}"


def _proven(row: Row) -> list[Finding]:
    profile = row.get(Profile)
    return [each for each in (profile.findings if profile else ()) if each.proven]
