"""The files of a bundle in a browser: equal bits, latency beside Python's, load time and bytes.

Writes results/hem-50k/browser.jsonl, from the same commands that a user has, on a quiet machine.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from measurement import BUNDLE, ROOT

from hemline.api import bench
from hemline.bench.devices.addresses import open_device
from hemline.bench.devices.checking import check
from hemline.bench.latency_summary import summarize
from hemline.contract.manifest import read_manifest
from hemline.contract.record import LOCAL, Latency, Memory, Record
from hemline.provenance import commit, utc_now

RESULTS = ROOT / "results" / "hem-50k" / "browser.jsonl"
NAME = "browser"
_BESIDE = {"litert-js": "litert", "onnxruntime-web": "onnxruntime"}  # the runtime in Python


def latencies(records: tuple[Record, ...], device: str) -> dict[tuple[str, str], float]:
    """Return median µs by artifact and runtime."""
    return {
        (r.cell.artifact, r.cell.runtime): summarize(r.payload).median_us
        for r in records
        if isinstance(r.payload, Latency) and r.cell.device == device
    }


def main() -> None:
    """Check and measure a copy of the bundle, and write a line for each file."""
    with TemporaryDirectory() as name:
        bundle = Path(shutil.copytree(BUNDLE, Path(name) / BUNDLE.name))
        with open_device(NAME) as device:
            checks = check(bundle, read_manifest(bundle), device, report=print)
        done = bench(bundle, devices=f"{LOCAL},{NAME}", report=print)
    records = tuple(record for each in done.results for record in each.records)
    python, browser = latencies(records, LOCAL), latencies(records, NAME)
    memory = {
        (r.cell.artifact, r.cell.runtime): (r.payload, r)
        for r in records
        if isinstance(r.payload, Memory) and r.cell.device == NAME
    }
    lines = []
    for each in checks:
        cell = (each.artifact, each.runtime)
        payload, record = memory[cell]
        assert each.equality is not None
        assert payload.package_bytes is not None
        lines.append(
            {
                "artifact": each.artifact,
                "runtime": f"{each.runtime} {each.version}",
                "status": each.status,
                "logits": each.equality.logits,
                "unequal": each.equality.unequal,
                "largest_difference": each.equality.largest_difference,
                "us": browser[cell],
                "python_us": python[each.artifact, _BESIDE[each.runtime]],
                "load_ms": payload.load_ns / 1e6,
                "bytes": payload.package_bytes + record.cell.size_bytes,
                "delegate": each.delegate,
                "host": record.cell.host,
                "commit": commit(),
                "date": utc_now(),
            }
        )
    RESULTS.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


if __name__ == "__main__":
    main()
