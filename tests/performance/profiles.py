"""Profile every cell of a bundle: seconds a cell, and how much of its time operators explain.

python tests/performance/profiles.py [BUNDLE] [--repetitions N]

Writes the last profile of each cell to results/bench/profile.jsonl, and draws them beside it. The
first repetition measures the probes, which later ones read from the cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from measurement import BUNDLE, ROOT, Result, report

from hemline.bench.devices.local import LocalDevice
from hemline.bench.measuring.plan import MeasurementPlan, PlannedCell, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.profiling import probe
from hemline.bench.profiling.picture import draw_profiles
from hemline.bench.profiling.profiling import profile
from hemline.contract.manifest import read_manifest
from hemline.contract.profile import Profile
from hemline.contract.record import Record
from hemline.contract.schema import to_document

RESULTS = ROOT / "results" / "bench" / "profile.jsonl"
_SECONDS = 3.0  # a cell
_LOW, _HIGH = 0.9, 1.1  # of the whole: else no cause is named


def profiled(device: LocalDevice, cell: PlannedCell) -> tuple[Record, float]:
    """Return the profile of a cell and the seconds that it took."""
    started = time.perf_counter()
    record = profile(device, cell)
    return record, time.perf_counter() - started


def explained(record: Record) -> float:
    """Return the share of a cell's time that its operators add up to."""
    assert isinstance(record.payload, Profile)
    return record.payload.explained or 0.0


def main() -> None:
    """Profile all cells several times, print a line for each, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path, default=BUNDLE)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    device = LocalDevice()
    subject = Subject(bundle=options.bundle, manifest=read_manifest(options.bundle))
    cells = planned_cells(subject, MeasurementPlan(runtimes=device.runtimes()))
    seconds, shares, last = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        probe.cache_folder_if_any = lambda: Path(folder)  # measured in this run
        for number in range(options.repetitions):
            last = []
            for cell in cells:
                record, took = profiled(device, cell)
                last.append(record)
                seconds.append(took)
                shares.append(explained(record))
                print(f"{number + 1}: {cell.title}: {took:.2f} s, explained {shares[-1]:.3f}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("".join(f"{json.dumps(to_document(record))}\n" for record in last))
    draw_profiles(last, RESULTS.parent)
    within = sum(_LOW <= share <= _HIGH for share in shares)
    report(
        "profiles",
        [
            Result(
                claim=f"a profile: at most {_SECONDS:g} s a cell",
                value=max(seconds),
                unit="s",
                met=max(seconds) <= _SECONDS,
                detail=f"median {statistics.median(seconds):.2f} s of {len(seconds)} profiles",
            ),
            Result(
                claim="operators alone add up to 90 % to 110 % of the whole",
                value=within / len(shares),
                unit="share",
                met=within == len(shares),
                detail=f"{min(shares):.3f} to {max(shares):.3f} in {len(shares)} profiles",
            ),
        ],
    )


if __name__ == "__main__":
    main()
