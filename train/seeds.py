"""Train one model with several seeds side by side, on workers here or on a cluster."""

from __future__ import annotations

import contextlib
import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.contract.checkpoint import CARD_NAME, read_card
from hemline.data.custom.reading import counted
from hemline.errors import DivergenceError, JobError, remedy
from hemline.files import locked, read_bytes, write_bytes
from hemline.folders import TemporaryFolder
from hemline.progress import Progress
from hemline.tables import Table, percent
from hemline.train.comparison.running import finished
from hemline.train.request import TrainRequest
from hemline.train.workers import Load, Report, Workers, follow

if TYPE_CHECKING:
    from hemline.contract.card import Card, Epoch
    from hemline.data.datasets import Images

log = logging.getLogger(__name__)

_MOST_STARTS = 3  # without an epoch in between: then the training ends its workers by itself
Packed = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The files of a training, for a worker without the folders of this process."""

    progress: Packed
    weights: bytes | None
    teachers: tuple[Packed, ...]


def with_seeds(request: TrainRequest, seeds: Sequence[int]) -> list[TrainRequest]:
    """Return a request for each seed, with a folder of its own beside that of the request."""
    folder = request.folder
    named = ((seed, folder.with_name(f"{folder.name}-seed-{seed}")) for seed in seeds)
    return [replace(request, seed=seed, folder=place) for seed, place in named]


def train_seeds(
    workers: Workers,
    requests: Sequence[TrainRequest],
    images: Images,
    load: Load,
    *,
    ship: bool,
    force: bool,
) -> list[Card]:
    """Train each request, unless its folder has just that checkpoint, and return the cards.

    load: what gives a worker the images; ship: whether workers have other folders than this
    process. A worker that is lost costs the epoch that it was in. Raises as `train`.
    """
    left = [each for each in requests if finished(each, images, force=force) is None]
    if left:
        with _Seeds(workers, left, load, ship=ship) as seeds:
            seeds.run()
    return [read_card(each.folder) for each in requests]


class _Seeds(contextlib.ExitStack):
    def __init__(
        self, workers: Workers, requests: Sequence[TrainRequest], load: Load, *, ship: bool
    ) -> None:
        from hemline.train.fitting.progress import clear_progress

        super().__init__()
        self._workers, self._load, self._ship = workers, load, ship
        self._waiting = {each.seed: replace(each, restart=False) for each in requests}
        self._running: dict[int, TrainRequest] = {}
        self._starts = dict.fromkeys(self._waiting, 0)
        self._epochs = dict.fromkeys(self._waiting, 0)
        total = requests[0].recipe.epochs * len(requests)
        self._progress = self.enter_context(Progress("training", total))
        for each in requests:
            if ship:  # a local worker holds its folder by itself
                self.enter_context(locked(each.folder))
            if each.restart:
                clear_progress(each.folder)

    def run(self) -> None:
        follow(self._workers, self._fill, self._report, self._end)

    def _fill(self) -> bool:
        while self._waiting and len(self._running) < self._workers.places():
            seed = next(iter(self._waiting))
            self._start(seed, self._waiting.pop(seed))
        return bool(self._running)

    def _start(self, seed: int, request: TrainRequest) -> None:
        self._running[seed] = request
        self._starts[seed] += 1
        shipped = _shipped(request) if self._ship else None
        self._workers.start(seed, f"{__name__}:train_on_worker", request, self._load, shipped)

    def _report(self, seed: int, epoch: Epoch, epochs: int, packed: Packed) -> None:
        from hemline.train.fitting.progress import unpack_progress

        unpack_progress(self._running[seed].folder, packed)
        self._workers.answer(seed, stop=False)
        self._starts[seed], self._epochs[seed] = 0, epoch.epoch
        accuracy = 100 * epoch.validation_accuracy
        figures = f"seed {seed}  epoch {epoch.epoch:>3}/{epochs}  validation {accuracy:.2f} %"
        line = f"{figures}  {epoch.seconds:.1f} s"
        self._progress.show(figures, done=sum(self._epochs.values()), line=line)

    def _end(self, seed: int, result: Callable[[], Packed]) -> None:
        from hemline.train.fitting.progress import clear_progress

        request = self._running.pop(seed)
        try:
            files = result()
        except JobError as error:
            if self._starts[seed] >= _MOST_STARTS:
                raise
            log.warning("seed %d: %s; it is trained on", seed, error)
            self._waiting[seed] = request
            return
        except DivergenceError as error:
            place = request.folder / "progress"  # not the worker's
            raise DivergenceError(
                str(error),
                epoch=error.epoch,
                remedy=remedy("diverged", epoch=error.epoch - 1, folder=place),
            ) from error
        for name in sorted(files, key=CARD_NAME.__eq__):  # the card last: then it is a checkpoint
            write_bytes(request.folder / name, files[name])
        if files:
            clear_progress(request.folder)


def _shipped(request: TrainRequest) -> Shipped:
    from hemline.train.fitting.progress import packed_progress

    return Shipped(
        progress=packed_progress(request.folder),
        weights=None if request.weights is None else read_bytes(request.weights),
        teachers=tuple(map(_files_of, request.teachers)),
    )


def _files_of(folder: Path) -> Packed:
    return {each.name: read_bytes(each) for each in folder.iterdir() if each.name[0] != "."}


def train_on_worker(
    request: TrainRequest, load: Load, shipped: Shipped | None, report: Report
) -> Packed:
    """Train in this worker; return the files of the checkpoint where they are to be shipped."""
    from hemline.train.fitting.progress import packed_progress, unpack_progress
    from hemline.train.training import train

    with contextlib.ExitStack() as stack:
        if shipped is not None:
            place = Path(stack.enter_context(TemporaryFolder()))
            request = _unpacked(request, shipped, place)
            unpack_progress(request.folder, shipped.progress)

        def on_epoch(epoch: Epoch, epochs: int) -> None:
            report((epoch, epochs, packed_progress(request.folder) if shipped else {}))

        train(request, load(), on_epoch=on_epoch)
        return _files_of(request.folder) if shipped else {}


def _unpacked(request: TrainRequest, shipped: Shipped, place: Path) -> TrainRequest:
    """Return the request with the folders of this machine."""
    teachers = tuple(place / f"teacher-{at}" for at in range(len(shipped.teachers)))
    for folder, files in zip(teachers, shipped.teachers, strict=True):
        for name, content in files.items():
            write_bytes(folder / name, content)
    request = replace(request, folder=place / "checkpoint", teachers=teachers)
    return request.with_weights(shipped.weights, place)


def seeds_table(trained: Sequence[tuple[Path, Card]]) -> Table:
    """Return a row for each folder of a checkpoint and its card."""
    rows = [
        (
            str(card.trained.seed),
            *(percent(card.trained.score(split).accuracy) for split in ("validation", "test")),
            str(len(card.trained.history)),
            f"{card.trained.seconds:.0f}",
            str(folder),
        )
        for folder, card in trained
    ]
    columns = (">seed", ">validation", ">test", ">epochs", ">s", "checkpoint")
    return Table.of(columns, rows)


def spread_lines(cards: Sequence[Card]) -> list[str]:
    """Return the mean and the spread of the accuracies of several seeds."""
    lines = []
    for split in ("validation", "test"):
        shares = [100 * card.trained.score(split).accuracy for card in cards]
        spread = f", standard deviation {statistics.stdev(shares):.2f}" if len(shares) > 1 else ""
        mean = statistics.mean(shares)
        lines.append(f"{split}: mean of {counted(len(shares), 'seed')} {mean:.2f} %{spread}")
    return lines
