"""Memory of each command over many photographs: peak anonymous memory of its processes.

Generates PHOTOGRAPHS pictures of SIDE × SIDE pixels, and runs `data check`, an epoch of
mobilenetv2, an export and an evaluation on them, each under a limit of memory where the system
lets one set it (control groups). With --also it does the same with fewer photographs, and states
the slope in bytes per photograph. Writes results/performance.jsonl unless --try is given.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measurement import Result, anonymous_bytes, interleaved, median_ratio, report
from PIL import Image

from hemline.data.custom.decoding import each
from hemline.host import cores

_CLASSES = 10
_LARGEST_ANONYMOUS_BYTES = 2_000_000_000
_LIMIT_BYTES = 3_000_000_000
_GROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))  # versions 1 and 2
_STEPS = 50
_TURNS = 11  # of reading photographs
_ROUNDS = 9  # of steps with and without reading
_PART_BYTES = 1 << 26  # of memory that is ready
_DECODED = 20_000  # photographs, to compare the rates of decoding on


def write_photographs(folder: Path, count: int, side: int) -> None:
    """Write JPEG files into a folder for each class: blurred blocks with noise, some 30 kB each."""

    def write(at: int) -> None:
        random, label = np.random.default_rng(at), at % _CLASSES
        blocks = random.integers(0, 256, (side // 16 + 2, side // 16 + 2, 3))
        blocks[..., label % 3] //= 1 + label // 3
        large = Image.fromarray(blocks.astype(np.uint8)).resize((side, side), Image.BICUBIC)
        noisy = np.asarray(large).astype(int) + random.integers(-12, 12, (side, side, 1))
        path = folder / f"class-{label}" / f"{at:06}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)

    for label in range(_CLASSES):
        (folder / f"class-{label}").mkdir(parents=True)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(write, range(count)))


class Sampler(threading.Thread):
    """Samples the anonymous memory of a process and its descendants until it ends."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.peak, self._process, self._over = 0, process, threading.Event()

    def run(self) -> None:
        """Sample 20 times a second."""
        while not self._over.wait(0.05):
            self.peak = max(self.peak, anonymous_bytes(self._process))

    def stop(self) -> int:
        """Return the peak in bytes."""
        self._over.set()
        self.join()
        return self.peak


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """Yield the file that puts a process under a limit of memory, None where none can be set."""
    for root in _GROUPS:
        group = root / f"hemline-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name in ("memory.limit_in_bytes", "memory.max"):
                if (group / name).exists():
                    (group / name).write_text(str(limit))
                    yield group / "cgroup.procs"
                    return
        finally:
            group.rmdir()
    yield None


def measured(words: list[str], limit: int, environment: dict[str, str]) -> tuple[int, float]:
    """Run a command of Hemline; return its peak anonymous memory in bytes, and seconds."""
    started = time.perf_counter()
    with limited(limit) as group:
        enter = "" if group is None else f"open({str(group)!r}, 'w').write(str(os.getpid())); "
        code = f"import os, sys; {enter}from hemline.cli import main; sys.exit(main())"
        child = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        sampler = Sampler(child.pid)
        sampler.start()
        said = child.communicate()[0].decode()
        peak = sampler.stop()
    if child.returncode:
        raise RuntimeError(f"hemline {' '.join(words)} ended with {child.returncode}:\n{said}")
    return peak, time.perf_counter() - started


def steps(folder: Path, side: int) -> dict[str, list[str]]:
    """Return the command of each step by its name."""
    data = ["--data", str(folder / "photos"), "--image-size", str(side)]
    checkpoint, bundle = str(folder / "checkpoint"), str(folder / "bundle")
    model = ["--weights", "random", "--epochs", "1", "--batch", "32"]
    return {
        "data check, decoding": ["data", "check", *data],
        "data check, decoded": ["data", "check", *data],
        "an epoch of mobilenetv2": ["train", "mobilenetv2", *data, *model, "-o", checkpoint],
        "export": ["export", "--checkpoint", checkpoint, *data, "-o", bundle, "--scheme", "int8"],
        "evaluation": ["evaluate", checkpoint, *data],
    }


def decoding(folder: Path) -> tuple[float, float]:
    """Return the rate at which Hemline reads photographs ÷ that of Pillow alone in threads.

    Memory is ready for the file that Hemline writes, and Pillow does not; what was written before
    is on the disk.

    Also the seconds that a photograph takes Pillow in one thread.
    """
    paths = sorted((folder / "photos").rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // _DECODED)][:_DECODED]  # of all classes
    small = folder / "small"
    for path in paths:
        link = small / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(path)

    def pillow(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    from hemline.data.custom.loading import load_custom
    from hemline.data.custom.reading import ReadOptions

    ratios = []
    for turn in range(_TURNS):
        os.sync()
        started = time.perf_counter()
        each(pillow, paths)
        alone = time.perf_counter() - started
        cache = folder / f"cache-{turn}"
        with ready_memory(4 * len(paths) * math.prod(_size(paths[0])), alone):
            started = time.perf_counter()
            load_custom(small, ReadOptions(size=_size(paths[0])), cache=cache)
            ratios.append(alone / (time.perf_counter() - started))
        shutil.rmtree(cache)
    started = time.perf_counter()
    for path in paths[:500]:
        pillow(path)
    print("rate ÷ that of Pillow:", *(f"{ratio:.2f}" for ratio in ratios))
    return statistics.median(ratios), (time.perf_counter() - started) / len(paths[:500])


@contextlib.contextmanager
def ready_memory(size_bytes: int, seconds: float) -> Iterator[None]:
    """Use memory once and give it back bit by bit in so many seconds.

    The host of a virtual machine may take free memory away after two seconds; to get it back costs
    ten times what it costs to write to it.
    """
    parts = [np.ones(_PART_BYTES, np.uint8) for _ in range(max(1, size_bytes // _PART_BYTES))]
    ended = threading.Event()

    def give(pause: float) -> None:
        while parts and not ended.wait(pause):
            parts.pop()

    giver = threading.Thread(target=give, args=[seconds / len(parts)])
    giver.start()
    try:
        yield
    finally:
        ended.set()
        giver.join()


def waiting_share(folder: Path, side: int) -> float:
    """Return the share of a step of mobilenetv2 that waits for photographs from the cache.

    The steps of an epoch against steps on one batch that is there already, round by round.
    """
    from pipeline import ours, train_seconds

    from hemline.data.custom.loading import load_custom
    from hemline.data.custom.reading import ReadOptions
    from hemline.data.splits import split_images, validation_size
    from hemline.train.fitting.phases import phases
    from hemline.train.nets.models import MODELS, build_model
    from hemline.train.recipes.recipe import RECIPES

    recipe = replace(RECIPES["scratch"], epochs=1_000, batch=32)
    cache = folder / "cache" / "hemline" / "decoded"  # the commands have filled it
    images = load_custom(folder / "photos", ReadOptions(size=(side, side)), cache=cache)
    data = split_images(images, validation=validation_size(len(images.train_images)))
    model = build_model(MODELS["mobilenetv2"], data.shape, _CLASSES)
    phases(recipe)[0].prepare(model, recipe, _STEPS)
    batches = ours(data, recipe)
    ready = batches.take(1).cache().repeat()
    train_seconds(model, batches, _STEPS), train_seconds(model, ready, _STEPS)
    real, bare = interleaved(
        lambda: train_seconds(model, batches, _STEPS),
        lambda: train_seconds(model, ready, _STEPS),
        _ROUNDS,
    )
    return 1 - 1 / median_ratio(real, bare)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size[1], image.size[0]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on so many photographs.

    steps: peak memory in bytes and seconds of each command.
    decoding: rate at which they are read ÷ that of Pillow alone.
    decode_seconds: of one photograph by Pillow in one thread.
    waiting: share of a training step.
    """

    steps: dict[str, tuple[int, float]]
    decoding: float
    decode_seconds: float
    waiting: float


def run(count: int, side: int, limit: int) -> Measured:
    """Measure each command on so many photographs, then the decoding and the waiting."""
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), dict[str, tuple[int, float]]()
        write_photographs(folder / "photos", count, side)
        for step, words in steps(folder, side).items():
            found[step] = measured(words, limit, {"XDG_CACHE_HOME": str(folder / "cache")})
            peak, seconds = found[step]
            print(f"{count:7,} photographs: {step}: {peak / 1e6:,.0f} MB, {seconds:.0f} s")
        ratio, seconds = decoding(folder)
        return Measured(found, ratio, seconds, waiting_share(folder, side))


def main() -> None:
    """Measure, print and record."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--photographs", type=int, default=50_000)
    options.add_argument("--also", type=int, default=0, help="fewer photographs, for the slope")
    options.add_argument("--side", type=int, default=224)
    options.add_argument("--try", dest="trial", action="store_true", help="record nothing")
    given = options.parse_args()
    found = run(given.photographs, given.side, _LIMIT_BYTES)
    fewer = run(given.also, given.side, _LIMIT_BYTES).steps if given.also else {}
    what = f"{given.photographs:,} photographs of {given.side} × {given.side}"
    results = [
        Result(
            claim=f"memory of {step} on {what}: at most 2 GB",
            value=peak / 1e9,
            unit="GB",
            met=peak <= _LARGEST_ANONYMOUS_BYTES,
            detail=f"peak anonymous memory of all processes, {seconds:.0f} s"
            + (
                f", {(peak - fewer[step][0]) / (given.photographs - given.also):.0f} bytes a photo"
                if fewer
                else ""
            ),
        )
        for step, (peak, seconds) in found.steps.items()
    ]
    results.append(
        Result(
            claim="reading photographs into the cache: at least 0.9 × the rate of Pillow alone",
            value=found.decoding,
            unit="×",
            met=found.decoding >= 0.9,
            detail=f"{min(_DECODED, given.photographs):,} photographs of {given.side} × "
            f"{given.side}, on {cores()} cores, memory for the file used once before; "
            f"{1000 * found.decode_seconds:.2f} ms for one in one thread of Pillow",
        )
    )
    results.append(
        Result(
            claim="share of a step of mobilenetv2 that waits for photographs: at most 0.15",
            value=found.waiting,
            unit="",
            met=found.waiting <= 0.15,
            detail=f"batches of 32 from the cache of {what}, against one batch that is repeated",
        )
    )
    if given.trial:
        for each in results:
            print(f"{each.value:8.3f} {each.unit} {each.claim}: {each.detail}")
    else:
        report("memory", results)


if __name__ == "__main__":
    main()
