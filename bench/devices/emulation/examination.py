"""Examine a bundle on an emulated board: which bits each artifact gives, and at what cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hemline.bench.devices import Runner
from hemline.bench.devices.checking import Check, Only, check, nothing
from hemline.bench.devices.emulation.device import EmulatedDevice
from hemline.bench.devices.emulation.instruction_count import count_instructions
from hemline.contract.manifest import Artifact, Manifest
from hemline.contract.record import Record
from hemline.errors import HemlineError


def examine(
    bundle: Path,
    manifest: Manifest,
    device: EmulatedDevice,
    *,
    wanted: Only | None = None,
    stop: Callable[[], None] = nothing,
    keep: Callable[[Check], None] = nothing,
    say: Callable[[str], None],
) -> tuple[Check, ...]:
    """Check and count the artifacts that were found right here, in the runtimes of the board.

    `wanted` says which of them, None for all; the rest as `check` has it. Raises HemlineError when
    there is nothing to examine or the emulator cannot be had.
    """

    def count(there: Runner, artifact: Artifact, runtime: str) -> Record:
        return count_instructions(there, device, bundle, manifest, artifact, runtime)

    def only(artifact: Artifact, runtime: str, version: str) -> bool:
        right = artifact.status_in(runtime, version) == "passed"
        return right and (wanted is None or wanted(artifact, runtime, version))

    if not any(only(a, *runtime) for a in manifest.artifacts for runtime in device.runtimes()):
        raise HemlineError(
            f"{bundle} has nothing that was found right in a runtime that {device.name} has: "
            f"run `hemline verify {bundle}`"
        )
    return check(bundle, manifest, device, only=only, cost=count, stop=stop, keep=keep, say=say)
