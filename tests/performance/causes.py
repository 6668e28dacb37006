"""Plant causes of latency in models, profile them, and count how often each is named.

python tests/performance/causes.py [--repeats N]

All cases are profiled in turn, again and again. A planted cause is named correctly when it is
proven and comes first; a healthy cell when nothing is named. Writes results/bench/causes.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter

from measurement import ROOT, Result, report

sys.path.insert(0, str(ROOT / "tests" / "bench"))
from planted_causes import HEALTHY, NOT_PLANTED, PLANTED, Planted

from hemline.contract.profile import Profile
from hemline.host import host_facts
from hemline.provenance import commit, utc_now
from hemline.tables import Table, as_text

RESULTS = ROOT / "results" / "bench" / "causes.jsonl"
_REPEATS = 20


def outcome(planted: Planted, profile: Profile) -> str:
    """Return what a profile says of a case: rightly, wrongly or nothing."""
    first = profile.findings[0] if profile.findings else None
    if first is None:
        return "nothing" if planted.cause else "rightly"
    rightly = first.cause == planted.cause and (first.proven or not planted.proven)
    return "rightly" if rightly else "wrongly"


def measured(cases: tuple[Planted, ...], repeats: int) -> list[dict[str, object]]:
    """Profile all cases so many times; return a line of results for each."""
    counts: list[Counter[str]] = [Counter() for _ in cases]
    seconds: list[list[float]] = [[] for _ in cases]
    last: list[Profile] = []
    for number in range(repeats):
        last = []
        for case, count, took in zip(cases, counts, seconds, strict=True):
            started = time.perf_counter()
            last.append(case.profiled())
            took.append(time.perf_counter() - started)
            count[outcome(case, last[-1])] += 1
            if outcome(case, last[-1]) != "rightly":
                named = [each.cause for each in last[-1].findings]
                print(f"{case.title}: {named}, explained {last[-1].explained:.2f}", file=sys.stderr)
        print(f"repetition {number + 1} of {repeats}", file=sys.stderr)
    return [
        {
            "cause": case.cause,
            "title": case.title,
            "repeats": repeats,
            **{name: count[name] for name in ("rightly", "wrongly", "nothing")},
            "sentence": profile.findings[0].sentence if profile.findings else "",
            "seconds": round(statistics.median(took), 2),
        }
        for case, count, took, profile in zip(cases, counts, seconds, last, strict=True)
    ]


def main() -> None:
    """Measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=_REPEATS)
    repeats = parser.parse_args().repeats
    lines = measured((*PLANTED, *HEALTHY), repeats)
    facts = host_facts()
    here = {"processor": facts.processor, "commit": commit(), "date": utc_now()}
    unplanted = [{"cause": cause, "title": why} for cause, why in NOT_PLANTED.items()]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("".join(f"{json.dumps(each | here)}\n" for each in (*lines, *unplanted)))
    columns = ("cause", "planted", ">rightly", ">wrongly", ">nothing", ">seconds")
    names = ("cause", "title", "rightly", "wrongly", "nothing", "seconds")
    rows = ([str(each.get(name, "")) for name in names] for each in (*lines, *unplanted))
    print(as_text(Table.of(columns, rows)))
    rightly = sum(int(str(each["rightly"])) for each in lines)
    report(
        "causes",
        [
            Result(
                claim="planted causes named correctly, and none in a healthy cell",
                value=rightly / (repeats * len(lines)),
                unit="share",
                met=rightly == repeats * len(lines),
                detail=f"{rightly} of {repeats * len(lines)} profiles of {len(lines)} cells",
            )
        ],
    )


if __name__ == "__main__":
    main()
