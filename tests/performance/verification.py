"""Verifying every artifact in every runtime, against images × bare latency ÷ cores."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from measurement import BUNDLE, Result, report

from hemline.bench.devices.addresses import open_device
from hemline.bench.latency_summary import summarize
from hemline.bench.measuring.plan import QUICK
from hemline.bench.measuring.rounds import measure
from hemline.bench.measuring.subject import Subject
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, Manifest
from hemline.contract.record import Latency, Record
from hemline.export.verification import verify_bundle
from hemline.host import cores

_ROUNDS = 3
_LIMIT = 1.3


def verify_seconds(bundle: Path, manifest: Manifest) -> float:
    """Time a verification that keeps no earlier verdict."""
    forgotten = tuple(replace(artifact, verdicts=()) for artifact in manifest.artifacts)
    started = time.perf_counter()
    verify_bundle(bundle, replace(manifest, artifacts=forgotten))
    return time.perf_counter() - started


def bare_seconds(manifest: Manifest, records: tuple[Record, ...]) -> float:
    """Return the time that the invocations alone take when every core is busy."""
    images = sum(score.images for score in manifest.keras_scores)
    medians = [summarize(r.payload).median_us for r in records if isinstance(r.payload, Latency)]
    return images * sum(medians) / 1e6 / cores()


def main() -> None:
    """Measure and write the result."""
    manifest = schema.load(Manifest, BUNDLE / MANIFEST_NAME)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(BUNDLE, Path(folder) / "bundle"))
        for _ in range(_ROUNDS):
            records: list[Record] = []
            measure(
                [Subject(bundle=bundle, manifest=manifest)],
                open_device("local"),
                QUICK,
                keep=lambda _, fresh: records.extend(fresh),  # noqa: B023 — called at once
                progress=str,
            )
            pairs.append((verify_seconds(bundle, manifest), bare_seconds(manifest, records)))
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    ours, bare = (statistics.median(values) for values in zip(*pairs, strict=True))
    report(
        "verification",
        [
            Result(
                claim=f"verify every cell: at most {_LIMIT} × images × latency ÷ cores",
                value=ratio,
                unit="×",
                met=ratio <= _LIMIT,
                detail=f"{ours:.1f} s, invocations alone {bare:.1f} s",
            )
        ],
    )


if __name__ == "__main__":
    main()
