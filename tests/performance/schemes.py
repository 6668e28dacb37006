"""Every scheme of hem-50k: size, size by deflate, accuracy, and latency against the float file.

Usage: schemes.py [BUNDLE]. A bundle that is there is measured as it is; to make one takes minutes,
because some schemes train. Writes results/quantization/schemes.jsonl, which `make tables` makes a
table of. Latencies are medians of interleaved rounds, of which only ratios to the float file in
the same run are kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from measurement import ROOT

from hemline.bench.comparison import Row
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import compared
from hemline.compression import compressed_size
from hemline.contract.manifest import MANIFEST_NAME, Manifest, read_manifest
from hemline.export.schemes import SCHEMES
from hemline.files import read_bytes, write_bytes
from hemline.host import host_facts
from hemline.provenance import commit, utc_now

RESULTS = ROOT / "results" / "quantization" / "schemes.jsonl"


def main() -> None:
    """Make, verify and measure all files; write the results."""
    bundle = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "artifacts" / "hem-50k-schemes"
    if not (bundle / MANIFEST_NAME).exists():
        named = [word for name in SCHEMES for word in ("--scheme", name)]
        hemline("export", "--output", str(bundle), *named)
    hemline("bench", str(bundle), "--rounds", "10")
    manifest = read_manifest(bundle)
    rows = compared([Subject(bundle=bundle, manifest=manifest)]).rows
    lines = [json.dumps(line(bundle, manifest, name, rows)) for name in SCHEMES]
    write_bytes(RESULTS, "".join(f"{each}\n" for each in lines).encode())


def hemline(*words: str) -> None:
    """Run a command; a scheme that is left out is no failure here."""
    subprocess.run([Path(sys.executable).with_name("hemline"), *words], check=False)


def line(bundle: Path, manifest: Manifest, name: str, rows: tuple[Row, ...]) -> dict[str, object]:
    """Return the result of one file, or why it was not made."""
    common = {"artifact": name, "host": host_facts().name, "commit": commit(), "date": utc_now()}
    left_out = {each.name: each.reason for each in manifest.left_out}
    if name in left_out:
        return {**common, "left_out": left_out[name]}
    artifact = manifest.artifact(name)
    cells = {row.cell.runtime: row for row in rows if row.cell.artifact == name}
    floats = {
        row.cell.runtime: row for row in rows if row.cell.artifact == f"fp32.{artifact.format}"
    }
    return {
        **common,
        "size_bytes": artifact.size_bytes,
        "compressed_bytes": compressed_size(read_bytes(bundle / name)),
        "cells": {
            runtime: {
                "version": row.cell.runtime_version,
                "images": row.test.images,
                "correct": row.test.correct,
                "drop_points": row.test.drop_points,
                "latency_to_fp32": round(row.cost / floats[runtime].cost, 3),
            }
            for runtime, row in cells.items()
        },
    }


if __name__ == "__main__":
    main()
