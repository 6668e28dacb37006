"""`hemline score` of a million small images from shards, on processes and on Ray.

Against classify_batch of the same images in memory, with as many threads as there are processes.
What two Ray workers gain over one, against what two plain processes gain over one: images a second
once all work, so that no start counts; the details have it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measurement import (
    BUNDLE,
    Result,
    anonymous_bytes,
    interleaved,
    median_ratio,
    report,
)

from hemline.cluster import connected
from hemline.folders import TemporaryFolder
from hemline.host import cores
from hemline.runtime import Classifier
from hemline.runtime.scoring import chunks, executing, scoring
from hemline.runtime.scoring.scorer import ScoringOptions

_SHARDS, _IMAGES, _ROUNDS = 100, 10_000, 3  # images of a shard
_LEAST, _RAY, _GROWTH = 0.8, 0.85, 1.05
_OPTIONS = ScoringOptions(artifact=str((BUNDLE / "int8.tflite").resolve()), runtime="litert")


def write_shards(folder: Path, images: np.ndarray, count: int) -> None:
    """Write shards of the same images."""
    labels = np.zeros(len(images), np.uint8)
    np.savez(folder / "0000.npz", x=images, y=labels)
    for at in range(1, count):
        shutil.copyfile(folder / "0000.npz", folder / f"{at:04}.npz")


def against_classify_batch(shards: Path, images: np.ndarray, count: int, rounds: int) -> Result:
    """Compare a whole scoring, from its start to its file, with batches of the images in memory."""
    output = shards / "scores.parquet"

    def score() -> float:
        output.unlink(missing_ok=True)
        started = time.perf_counter()
        execute, source = executing.in_processes(cores()), str(shards / "*.npz")
        scoring.score(_OPTIONS, [source], output, execute=execute, workers=cores())
        return time.perf_counter() - started

    with Classifier.load(_OPTIONS.artifact, threads=cores(), runtime="litert") as classifier:

        def classify() -> float:
            started = time.perf_counter()
            for _ in range(count):
                classifier.classify_batch(images)
            return time.perf_counter() - started

        bare, ours = interleaved(classify, score, rounds)
    ratio, total = median_ratio(bare, ours), count * len(images)
    return Result(
        claim=f"score of {total:,} images from {count} shards: at least {_LEAST} × classify_batch "
        "on the same cores",
        value=ratio,
        unit="×",
        met=ratio >= _LEAST,
        detail=f"{total / min(ours):,.0f} images/s with start and file, "
        f"classify_batch {total / min(bare):,.0f}",
    )


def memory(shards: Path) -> Result:
    """Compare the memory of all processes early and late in a scoring."""
    folder, seen = shards / "memory", list[int]()
    folder.mkdir()
    tasks = chunks.tasks_of(chunks.units_of([str(shards / "*.npz")]), [], cores())
    with sampled(seen):
        for _ in executing.in_processes(cores())(_OPTIONS, tasks, folder):
            pass
    quarter = len(seen) // 4
    early, late = max(seen[quarter : 2 * quarter]), max(seen[-quarter:])
    shutil.rmtree(folder)
    return Result(
        claim=f"score: memory in the last quarter at most {_GROWTH} × that in the second",
        value=late / early,
        unit="×",
        met=late <= _GROWTH * early,
        detail=f"{late / 1e6:.0f} MB in all processes (RssAnon), before {early / 1e6:.0f} MB",
    )


@contextlib.contextmanager
def sampled(seen: list[int]) -> Iterator[None]:
    """Add the anonymous memory of this process and its children to `seen`, all the time."""
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.1):
            seen.append(anonymous_bytes(os.getpid()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rate(execute: executing.Execute, shards: Path, workers: int) -> tuple[float, float]:
    """Return images a second while all work, and the seconds before that."""
    folder = shards / "rate"
    folder.mkdir()
    tasks = chunks.tasks_of(chunks.units_of([str(shards / "*.npz")]), [], workers)
    started, at = time.perf_counter(), list[tuple[float, int]]()
    for _ in execute(_OPTIONS, tasks, folder):
        images = sum(chunk.images for chunk in chunks.chunks_in(folder))
        if images and (not at or images > at[-1][1]):
            at.append((time.perf_counter(), images))
    shutil.rmtree(folder)
    (begin, first), (end, last) = at[0], at[-1]
    return (last - first) / (end - begin), begin - started


def gains(shards: Path, rounds: int) -> Result:
    """Compare what a second worker gains on Ray and among plain processes."""
    rates, starts = dict[str, list[float]](), list[float]()

    def gain(name: str, make: Callable[[int], executing.Execute]) -> float:
        (one, _), (two, start) = (rate(make(count), shards, count) for count in (1, 2))
        rates.setdefault(name, []).append(two)
        starts.append(start if name == "Ray" else 0.0)
        return two / one

    with connected("", executing.CORE):
        ours, plain = interleaved(
            lambda: gain("Ray", executing.on_ray),
            lambda: gain("processes", executing.in_processes),
            rounds,
        )
    ratio = median_ratio(ours, plain)
    return Result(
        claim=f"score on two Ray workers instead of one: at least {_RAY} × what two plain "
        "processes gain over one",
        value=ratio,
        unit="×",
        met=ratio >= _RAY,
        detail=f"{statistics.median(ours):.2f} and {statistics.median(plain):.2f} times the "
        f"images/s of one; with two {max(rates['Ray']):,.0f} and {max(rates['processes']):,.0f} "
        f"images/s, without the start of Ray's workers, {max(starts):.0f} s",
    )


def main() -> None:
    """Measure everything and write the results; `python score.py SHARDS` is a trial of fewer."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _SHARDS
    rounds = _ROUNDS if count == _SHARDS else 1
    images = np.load(BUNDLE / "evaluation" / "test-images.npy")[:_IMAGES]
    with TemporaryFolder() as name:
        shards = Path(name)
        write_shards(shards, images, count)
        results = [
            against_classify_batch(shards, images, count, rounds),
            memory(shards),
            gains(shards, rounds),
        ]
    if count == _SHARDS:
        report("score", results)
    for result in results:
        print(result.value, result.detail)


if __name__ == "__main__":
    main()
