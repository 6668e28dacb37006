"""Say why the file to ship, and the fastest that is not, take as long as they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hemline.bench.comparison import Row


def reasons(chosen: Row, rows: Sequence[Row]) -> Iterator[str]:
    """Yield at most two sentences from profiles: of the choice, and of the fastest other row.

    Of the others, the same file in other runtimes comes first, as it shows what a runtime costs.
    """
    others = [each for each in rows if each is not chosen and any(_proven(each))]
    same = chosen.cell.artifact_sha256
    others.sort(key=lambda each: (each.cell.artifact_sha256 != same, each.median_us))
    for row in (chosen, *others[:1]):
        for sentence in list(_proven(row))[:1]:
            time = f"{row.cell.artifact} takes {row.median_us:.0f} µs in {row.cell.runtime}"
            yield f"{time} because {sentence}"


def _proven(row: Row) -> Iterator[str]:
    found = row.profile.findings if row.profile else ()
    yield from (each.sentence for each in found if each.proven)
