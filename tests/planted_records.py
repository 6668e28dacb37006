"""Records of every kind for a bundle, made up, so that a report has all that it can show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hemline.contract.job import HostFacts
from hemline.contract.manifest import read_manifest
from hemline.contract.profile import Finding, Intervention, OperatorCost, Probe, Profile
from hemline.contract.record import (
    RECORDS_NAME,
    Accuracy,
    Cell,
    Conditions,
    Energy,
    Instructions,
    Latency,
    Memory,
    Pair,
    Payload,
    Record,
    RoundFacts,
    Sustained,
    append_records,
    pack_predictions,
    read_records,
)

RANDOM = np.random.default_rng(3)
# a host of which the system tells nothing else
PLAIN_HOST = HostFacts(machine="x86_64", processor="A processor", cores=2, system="Linux 6.1")
HOST = HostFacts(
    machine="x86_64",
    processor="Test processor",
    cores=2,
    memory_bytes=8_000_000_000,
    system="Linux 6",
    governor="performance",
    frequency_khz=2_400_000,
    temperature_millicelsius=51_000,
    load_average=0.2,
    throttled=False,
)
BOARD = replace(HOST, machine="aarch64", processor="Raspberry Pi 4 Model B", cores=4)
CONDITIONS = Conditions(
    host=HOST,
    delegate="XNNPACK",
    versions={"hemline": "0.1.0", "numpy": "1.26.4"},
    commit="0123abcd",
    date="2999-01-01T10:00:00Z",
    run="a-run",
    pair=Pair(ratio=1.002, low=0.994, high=1.011, retried=True),
)
SPEED = {"int8.tflite": 16.0, "dynamic.tflite": 17.0, "int8.onnx": 38.0, "fp32.tflite": 51.0}


def latency(median_us: float) -> Latency:
    """Return ten rounds about a median, one of them disturbed."""
    quiet = RoundFacts(
        busy_share=0.02,
        stolen_share=0.0,
        frequency_khz=2_400_000,
        throttled=False,
        disturbed=None,
    )
    rounds = (
        1000 * median_us * RANDOM.normal(1, 0.02, (10, 1)) * RANDOM.gamma(400, 1 / 400, (10, 50))
    )
    return Latency(
        rounds_ns=tuple(tuple(int(value) for value in each) for each in rounds),
        facts=(*[quiet] * 9, replace(quiet, busy_share=0.6, disturbed="another process was busy")),
    )


def profile(whole_us: float, artifact: str) -> Profile:
    """Return five operators, of which the first one is slow, and the cause of that."""
    kind = "QLinearConv" if artifact.endswith("onnx") else "CONV_2D"
    shares = (0.5, 0.2, 0.15, 0.1, 0.05)
    costs = tuple(
        OperatorCost(
            name=f"net/block_{at}/relu",
            kind=kind if at < 4 else "FULLY_CONNECTED",
            ns=int(1000 * whole_us * share),
            instructions=None,
            macs=200_000 * (at + 1),
            bytes=9_000 * (5 - at),
            dtype="int8" if "int8" in artifact else "float32",
            runs_on="XNNPACK",
        )
        for at, share in enumerate(shares)
    )
    return Profile(
        whole_ns=int(1010 * whole_us),
        whole_instructions=None,
        operators=costs,
        partitions=((0, 1, 2), (3, 4)),
        fusion={},
        probe=Probe(fixed_ns=500, float_gmacs=74.0, int8_gmacs=231.0, gigabytes=26.0),
        interventions=(
            Intervention(
                name="AMX refused",
                before_ns=57_000,
                after_ns=32_000,
                ratio=0.561,
                low=0.55,
                high=0.572,
            ),
        ),
        findings=(
            Finding(
                cause="amx-tiles",
                proven=True,
                sentence="AMX tiles are wasted on a first convolution with one channel.",
                remedy="Refuse AMX.",
                share=0.44,
            ),
        ),
    )


def flipped(test: Accuracy, classes: int) -> Accuracy:
    """Return predictions of which the first three are of the next class."""
    predictions = test.classes()
    predictions[:3] = (predictions[:3] + 1) % classes
    fewer = {"correct": (test.correct or 3) - 3, "agreement": test.agreement - 3}
    return replace(test, predictions=pack_predictions(predictions), **fewer)


def plant(bundle: Path) -> None:
    """Append the records to those of a verified bundle."""
    manifest, records = read_manifest(bundle), []
    accuracies = [
        each
        for each in read_records(bundle / RECORDS_NAME)
        if isinstance(each.payload, Accuracy) and not each.cell.is_source
    ]

    def keep(cell: Cell, conditions: Conditions, *payloads: Payload) -> None:
        records.extend(
            Record(cell=cell, conditions=conditions, payload=payload) for payload in payloads
        )

    for artifact in manifest.artifacts:
        for verdict in artifact.verdicts:
            if verdict.status != "passed":
                continue
            median = SPEED.get(artifact.name, 60.0) * (3 if verdict.runtime[0] == "t" else 1)
            here = Cell(
                model=manifest.model,
                artifact=artifact.name,
                artifact_sha256=artifact.sha256,
                size_bytes=artifact.size_bytes,
                runtime=verdict.runtime,
                runtime_version=verdict.version,
                host=HOST.name,
            )
            memory = Memory(
                peak_bytes=52_000_000,
                import_ns=4_500_000,
                load_ns=1_400_000,
                first_ns=70_000,
                process_ns=30_000_000,
                steady_bytes=50_000_000,
                package_bytes=12_000_000,
            )
            keep(here, CONDITIONS, latency(median), memory, profile(median, artifact.name))
            board = replace(here, device="kitchen", host=BOARD.name)
            keep(board, replace(CONDITIONS, host=BOARD, run="b"), latency(median * 9))
            emulated = replace(here, device="emulated:pi4", host="Pi 4 (emulated)")
            count = Instructions(per_inference=int(median * 30_000), processor="cortex-a72")
            keep(emulated, replace(CONDITIONS, host=BOARD, pair=None), count)
            test = next(
                each.payload
                for each in accuracies
                if each.cell.artifact == artifact.name and each.payload.split == "test"
            )
            keep(emulated, CONDITIONS, test)
            if artifact.name == "int8.tflite":
                keep(here, CONDITIONS, flipped(test, len(manifest.labels)))
            if artifact.name != "int8.tflite" or verdict.runtime != "litert":
                continue
            two = replace(here, threads=2)
            keep(two, CONDITIONS, latency(median * 0.8))
            joules = Energy(
                joules_per_inference=2.1e-4, idle_watts=2.7, busy_watts=4.9, source="power chip"
            )
            keep(board, replace(CONDITIONS, host=BOARD, run="b"), joules)
            seconds = tuple(10.0 * at for at in range(1, 13))
            slices = tuple(int(1000 * median * (9 + 0.1 * at)) for at in range(12))
            heat = tuple(50_000 + 2_000 * at for at in range(12))
            run = Sustained(
                seconds=seconds,
                medians_ns=slices,
                temperatures_millicelsius=heat,
                frequencies_khz=(1_800_000,) * 12,
            )
            keep(board, replace(CONDITIONS, host=BOARD, run="b"), run)
    append_records(bundle / RECORDS_NAME, records)
