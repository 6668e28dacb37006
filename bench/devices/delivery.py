"""Deliver a file to boards: to a few first, to the rest when it is correct there; and go back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from hemline.bench.devices.addresses import address_of, open_device
from hemline.bench.devices.checking import Check, check, nothing
from hemline.bench.devices.ssh.device import SshDevice
from hemline.bench.devices.ssh.store import Installed
from hemline.contract.manifest import Manifest
from hemline.contract.record import Accuracy
from hemline.contract.stamp import Stamp, read_stamped
from hemline.errors import (
    DeviceError,
    GateError,
    HemlineError,
    JobError,
    UnsupportedRuntimeError,
    UsageError,
    remedy,
)
from hemline.statistics import mcnemar
from hemline.tables import percent

_AT_ONCE = 8  # boards; each has an ssh of its own
_IMAGES = 500  # validation images
_UNLIKELY = 0.01  # by chance: eight images lost and none won


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of a delivery on one board.

    device: its name.
    status: installed; unchanged where the file was there already; rolled back; failed where nothing
        changed; skipped after a failure.
    runtime: that ran the images, and its version; empty where none were run.
    images: validation images that were run.
    correct: of them, number that was classified correctly; None where they have no labels.
    installed: what is in the place now; None where nothing was changed.
    error: why it failed; None unless it did.
    """

    device: str
    status: str
    runtime: str = ""
    images: int = 0
    correct: int | None = None
    installed: Installed | None = None
    error: HemlineError | None = None

    @property
    def row(self) -> tuple[str, ...]:
        """Return device, status, runtime, accuracy, and the first digits of both files' hashes."""
        now = self.installed
        share = "" if self.correct is None else percent(self.correct / self.images)
        hashes = ("", "") if now is None else (now.sha256[:12], now.previous_sha256[:12])
        return (self.device, self.status, self.runtime, share, *hashes)


def open_board(name: str, registry: Path | None) -> SshDevice:
    """Return the board with a name or an address; raises UsageError for another device."""
    if not address_of(name, registry).startswith("ssh:"):
        raise UsageError(f"no file can be installed on {name}: name boards over ssh")
    return cast("SshDevice", open_device(name, registry=registry))


def deliver(
    boards: Sequence[SshDevice],
    work: Callable[[SshDevice], Delivered],
    *,
    canaries: int,
    say: Callable[[str], None],
) -> tuple[Delivered, ...]:
    """Do some work on the first boards, one by one, then on the others at once.

    `work` is that of `installed` or `rolled_back`. The others are skipped when it fails on one of
    the first `canaries`.
    """

    def attempt(board: SshDevice) -> Delivered:
        try:
            done = work(board)
        except HemlineError as error:
            done = Delivered(device=board.name, status="failed", error=error)
        say(f"{board.name}: {done.status}")
        return done

    done: list[Delivered] = []
    for at, board in enumerate(boards[:canaries], start=1):
        done.append(attempt(board))
        if done[-1].error is not None:
            skipped = (Delivered(device=each.name, status="skipped") for each in boards[at:])
            return (*done, *skipped)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        turns = [pool.submit(copy_context().run, attempt, each) for each in boards[canaries:]]
        try:
            return (*done, *(turn.result() for turn in turns))
        except BaseException:  # interrupted: those that have not begun keep what they have
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def rolled_back(board: SshDevice, *, place: str, after: str) -> Delivered:
    """Exchange the file in a place with the one that was there before."""
    now = board.roll_back(place)
    return _followed(
        board, Delivered(device=board.name, status="rolled back", installed=now), after
    )


def installed(
    board: SshDevice, *, bundle: Path, manifest: Manifest, place: str, after: str, force: bool
) -> Delivered:
    """Run validation images on a board, then install the file that they are correct with.

    manifest: of the bundle, with this one artifact.
    place: path there, in the home folder unless it begins with /.
    after: shell command that is run there when the file is in its place.
    force: whether it may replace a file of other classes.

    Raises GateError where the predictions are not those of the source model, or fewer of them are
    correct than on this machine.
    """
    path = bundle / manifest.artifacts[0].name
    stamp = read_stamped(path).stamp
    pair = _runtime(board, stamp)
    size = [stamp.input.height, stamp.input.width, stamp.input.channels]
    if not force and board.present(*pair, place) not in (None, [[*stamp.labels], size]):
        reason = f"{place} on {board.name} has other labels or another image size than {path}"
        raise GateError(reason, remedy=remedy("replace"))
    (checked,) = check(
        bundle,
        manifest,
        board,
        only=lambda _, *each: each == pair,
        images=_IMAGES,
        report=nothing,
    )
    accuracy = require_correct(checked)
    now = board.install(path, place)
    done = Delivered(
        device=board.name,
        status="installed" if now.changed else "unchanged",
        runtime=" ".join(pair),
        images=accuracy.images,
        correct=accuracy.correct,
        installed=now,
    )
    return _followed(board, done, after, undo=place if now.replaced else None)


def _followed(board: SshDevice, done: Delivered, after: str, undo: str | None = None) -> Delivered:
    """Run a command on a board; where it fails, put back what was in the place `undo`, if any."""
    try:
        if after:
            board.shell(after)
    except JobError as error:
        if undo is None or isinstance(error, DeviceError):  # lost: that says nothing of the file
            return replace(done, status=f"{done.status}, command failed", error=error)
        board.roll_back(undo)
        with contextlib.suppress(JobError):
            board.shell(after)
        raise JobError(f"{error}; the previous file is back") from error
    return done


def _runtime(board: SshDevice, stamp: Stamp) -> tuple[str, str]:
    """Return the first runtime of a board that a file supports, and its version."""
    found = board.runtimes()
    if fitting := [pair for pair in found if stamp.supports(*pair)]:
        return fitting[0]
    names = " or ".join(map(" ".join, found))
    raise UnsupportedRuntimeError(f"{stamp.name} does not support {names}, as {board.name} has")


def require_correct(checked: Check) -> Accuracy:
    """Return the accuracy on a device; raises GateError where it failed or is lower than here."""
    if checked.status != "passed":
        raise GateError(str(checked))
    accuracy = next(r.payload for r in checked.records if isinstance(r.payload, Accuracy))
    lost = (checked.correct_here or 0) - (accuracy.correct or 0)
    if lost > 0 and checked.equality is not None:
        # at most so many images can have been lost and won
        other = checked.equality.images - checked.equality.same_labels
        if mcnemar((other + lost) // 2, (other - lost) // 2) < _UNLIKELY:
            raise GateError(
                f"{checked.artifact} classifies {accuracy.correct} of {accuracy.images} images "
                f"correctly on {checked.device}, and {checked.correct_here} on this machine"
            )
    return accuracy
