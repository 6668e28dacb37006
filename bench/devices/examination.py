"""Examine a bundle on an emulated board: which bits each artifact gives, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hemline.bench.devices.emulated import EmulatedDevice
from hemline.bench.devices.equality import Equality, compare_logits
from hemline.bench.devices.instruction_count import count_instructions
from hemline.errors import HemlineError
from hemline.evaluation_set import load_split
from hemline.manifest import Artifact, Manifest
from hemline.record import Instructions, Record
from hemline.runtime.process import JobProcess

IMAGES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One artifact in one runtime on an emulated board.

    equality: with this machine.
    record: of its instructions per inference.
    """

    equality: Equality
    record: Record

    def __str__(self) -> str:
        cell, payload = self.record.cell, self.record.payload
        assert isinstance(payload, Instructions)  # noqa: S101 — made by count_instructions
        return (
            f"{cell.artifact} in {cell.runtime} on {cell.device}: {self.equality}, "
            f"{payload.per_inference / 1e6:.3f} million instructions"
        )


def examine(
    bundle: Path,
    manifest: Manifest,
    device: EmulatedDevice,
    *,
    artifacts: tuple[str, ...] | None = None,
    say: Callable[[str], None],
) -> tuple[Finding, ...]:
    """Examine the artifacts that were found right here, in the runtimes that the board has too.

    `artifacts` are names in the bundle; None for all. Raises HemlineError when there is nothing to
    examine or the emulator cannot be had, JobError when an artifact fails there.
    """
    load_split(bundle, "validation", manifest.evaluation_sha256)  # altered images prove nothing
    findings = []
    for runtime, version in device.runtimes():
        right = [a for a in manifest.artifacts if a.status_in(runtime, version) == "right"]
        chosen = [a for a in right if artifacts is None or a.name in artifacts]
        for finding in _examine(bundle, manifest, device, runtime, version, chosen):
            say(str(finding))
            findings.append(finding)
    if not findings:
        raise HemlineError(
            f"{bundle} has nothing that was found right in a runtime that {device.name} has: "
            f"run `hemline verify {bundle}`"
        )
    return tuple(findings)


def _examine(
    bundle: Path,
    manifest: Manifest,
    device: EmulatedDevice,
    runtime: str,
    version: str,
    artifacts: list[Artifact],
) -> Iterator[Finding]:
    for artifact in artifacts:
        with device.open(runtime, version) as there, JobProcess() as here:
            record = count_instructions(there, device, bundle, manifest, artifact, runtime)
            equality = compare_logits(there, here, bundle, artifact, runtime, images=IMAGES)
        yield Finding(equality=equality, record=record)
