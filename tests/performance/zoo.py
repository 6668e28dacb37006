"""The zoo: accuracy, bytes, latency and instructions of each model's int8 files.

Usage: zoo.py [--only accuracy latency instructions] [--rounds N] [--core N] [--to FOLDER] [--qat
MODEL] [CHECKPOINT…]. Without CHECKPOINT, the checkpoints in train/zoo are measured, as `hemline
export` exports them. Several checkpoints of one model are its seeds: all have accuracies, only the
first one is timed. Latency and instructions of baselines/hem-50k are measured in the same run:
ratios are to that. Latency needs a quiet machine for some ten minutes; the others do not. Each
checkpoint is a line of zoo.jsonl, in which a later run replaces what it measures; lines of the same
model by another recipe are dropped. With --qat, a model's files are also trained for 8 bits, which
takes some minutes; of both kinds, its results are those with the higher validation accuracy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from measurement import ROOT, Result, report

from hemline.bench.api import bench
from hemline.bench.measuring.plan import FULL, QUICK
from hemline.contract.checkpoint import read_card
from hemline.contract.record import (
    LOCAL,
    RECORDS_NAME,
    Accuracy,
    Instructions,
    Latency,
    Record,
    read_records,
)
from hemline.contract.settings import Settings
from hemline.export.api import export
from hemline.files import fingerprint, parse_json, read_bytes, write_bytes
from hemline.host import host_facts
from hemline.provenance import commit, utc_now
from hemline.train.checkpoint import ZOO

BASELINE = Path(__file__).parent / "baselines" / "hem-50k"
FILES = ("int8.tflite", "int8.onnx")
TRAINED = ("int8-qat.tflite", "int8-qat.onnx")
RUNTIMES = ("litert", "onnxruntime")
BOARDS = ("pi4", "pi5")
PARTS = ("accuracy", "latency", "instructions")
_FLOORS = {"hem-20k": 92.0, "hem-50k": 93.5, "hem-100k": 94.0, "hem-500k": 94.9}  # int8, test, %
_MOST_DROP, _MOST_KB = 0.1, 60.0
_PUBLISHED, _MOST_RATIO = 93.44, 0.6  # accuracy that a file has in 0.6 of the baseline's time
Line = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A checkpoint that is measured, or the baseline.

    line: its facts; measurements are added.
    paths: a bundle, or the files of the baseline.
    timed: whether latency and instructions are measured.
    """

    line: Line
    paths: tuple[Path, ...]
    timed: bool

    def records(self) -> tuple[Record, ...]:
        """Return the records of its files."""
        folders = [p if p.is_dir() else p.with_name(f"{p.name}.bench") for p in self.paths]
        return tuple(r for folder in folders for r in read_records(folder / RECORDS_NAME))


def main() -> None:
    """Measure what is asked for, and write the lines and claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="*", type=Path, default=sorted(ZOO.iterdir()))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--to", type=Path, default=ROOT / "results")
    parser.add_argument("--qat", nargs="+", choices=_FLOORS, default=(), metavar="MODEL")
    options = parser.parse_args()
    work = ROOT / "artifacts" / "zoo"
    entries = [*checkpoints(options.checkpoints, work, options.qat), baseline(work)]
    timed = [path for each in entries if each.timed for path in each.paths]
    if "accuracy" in options.only:
        bench(timed, plan=replace(QUICK, rounds=1, invocations=1))  # verifies the baseline's files
        for each in entries:
            each.line.update(accuracies(each, FILES))
            if each.timed and each.line["model"] in options.qat:
                each.line["trained"] = accuracies(each, TRAINED)
    if "latency" in options.only:
        times = latencies(timed, options.rounds, options.core)
        for each in filter(lambda each: each.timed, entries):
            each.line["latency"] = compared(times, of(each), of(entries[-1]))
    if "instructions" in options.only:
        boards = ",".join(f"emulated:{board}" for board in BOARDS)
        bench(timed, devices=boards, keep_counts=True)
        for each in filter(lambda each: each.timed, entries):
            each.line["instructions"] = instructions(each)
    lines = written(options.to / "zoo.jsonl", [each.line for each in entries])
    report("zoo", list(claims(lines)), options.to / "performance.jsonl")


def checkpoints(folders: Sequence[Path], work: Path, trained: Sequence[str]) -> list[Entry]:
    """Export checkpoints as int8, also trained for it if asked for; what is up to date is kept."""
    entries: list[Entry] = []
    for folder in folders:
        card = read_card(folder)
        sha, model = card.model.sha256, card.model.name
        bundle = work / f"{model}-{sha[:8]}"
        export(folder, output=bundle, schemes=FILES + (TRAINED if model in trained else ()))
        line = {
            "model": model,
            "checkpoint_sha256": sha,
            "parameters": card.model.parameters,
            "macs": card.model.macs,
            "recipe_sha256": fingerprint(card.trained.recipe_fields),
            "seed": card.trained.seed,
            "epochs": len(card.trained.history),
            "teachers": len(card.trained.teachers),
            "float": {each.split: [each.correct, each.images] for each in card.trained.scores},
            "sizes": {name: (bundle / name).stat().st_size for name in FILES},
        }
        timed = line["timed"] = model not in {each.line["model"] for each in entries}
        entries.append(Entry(line=line, paths=(bundle,), timed=timed))
    return entries


def baseline(work: Path) -> Entry:
    """Copy the baseline's files to where their records may be written."""
    folder = Path(shutil.copytree(BASELINE, work / "baseline", dirs_exist_ok=True))
    card = parse_json(read_bytes(folder / "card.json"), where="card.json")
    kept = ("checkpoint_sha256", "parameters", "macs", "seed", "float")
    line = {"model": "baseline", "recipe_sha256": "", **{name: card[name] for name in kept}}
    line["sizes"] = {name: (folder / name).stat().st_size for name in FILES}
    line["timed"] = True
    return Entry(line=line, paths=tuple(folder / name for name in FILES), timed=True)


def accuracies(entry: Entry, files: Sequence[str]) -> Line:
    """Return counts by runtime and split, recalls by class, and how many classes differ."""
    found: dict[tuple[str, str], Accuracy] = {}
    for record in entry.records():
        own = record.cell.artifact in files and record.cell.device == LOCAL
        if own and isinstance(record.payload, Accuracy):
            found[record.cell.runtime, record.payload.split] = record.payload
    pairs = [
        [found[name, split].classes() for name in RUNTIMES] for split in ("validation", "test")
    ]
    labels = test_labels(entry)
    right = found[RUNTIMES[0], "test"].classes() == labels
    return {
        "int8": {
            name: {split: [a.correct, a.images] for (n, split), a in found.items() if n == name}
            for name in RUNTIMES
        },
        "different_classes": sum(int((one != other).sum()) for one, other in pairs),
        "recall": [round(100 * float(right[labels == k].mean()), 2) for k in np.unique(labels)],
    }


def test_labels(entry: Entry) -> Any:
    """Return the labels of the test images, uint8 (n,)."""
    folder = entry.paths[0]
    folder = folder if folder.is_dir() else folder.with_name(f"{folder.name}.bench")
    return np.load(folder / "evaluation" / "test-labels.npy")


def latencies(paths: list[Path], rounds: int, core: int) -> tuple[Record, ...]:
    """Measure all files in turn on one core; return the records of this run."""
    plan = replace(
        FULL if rounds >= FULL.rounds else QUICK, rounds=rounds, settings=(Settings(cores=(core,)),)
    )
    done = bench(paths, plan=plan, runtimes=RUNTIMES)
    for failure in done.failures:
        raise failure
    return done.results[0].records


def of(entry: Entry) -> set[str]:
    """Return the hashes of the files of an entry."""
    return {r.cell.artifact_sha256 for r in entry.records() if r.cell.artifact in FILES}


def compared(records: Iterable[Record], own: set[str], others: set[str]) -> Line:
    """Return the median and the ratio to the baseline by runtime, round by round."""
    figures = {}
    for runtime in RUNTIMES:
        mine, base = (
            next(
                [statistics.median(each) for each in r.payload.rounds_ns]
                for r in records
                if isinstance(r.payload, Latency)
                and r.cell.runtime == runtime
                and r.cell.artifact_sha256 in hashes
            )
            for hashes in (own, others)
        )
        ratios = sorted(a / b for a, b in zip(mine, base, strict=True))
        tenth = len(ratios) // 10
        figures[runtime] = {
            "median_us": round(statistics.median(mine) / 1000, 2),
            "ratio": round(statistics.median(ratios), 4),
            "span": [round(ratios[tenth], 4), round(ratios[-1 - tenth], 4)],
        }
    return figures


def instructions(entry: Entry) -> Line:
    """Return the instructions of an inference by board and runtime."""
    counts: Line = {board: {} for board in BOARDS}
    for record in entry.records():
        board = record.cell.device.partition(":")[2]
        if isinstance(record.payload, Instructions) and board in counts:
            counts[board][record.cell.runtime] = record.payload.per_inference
    return counts


def written(path: Path, lines: list[Line]) -> list[Line]:
    """Write the lines, with what earlier runs measured of the same checkpoints; return all."""
    known: dict[tuple[str, str], Line] = {}
    if path.exists():
        earlier = (parse_json(each, where=path.name) for each in read_bytes(path).splitlines())
        known = {(each["model"], each["checkpoint_sha256"]): each for each in earlier}
    common = {"host": host_facts().name, "commit": commit(), "date": utc_now()}
    recipes = {each["model"]: each["recipe_sha256"] for each in lines}
    new = [
        {**known.pop((each["model"], each["checkpoint_sha256"]), {}), **each, **common}
        for each in lines
    ]
    kept = [
        {**each, "timed": each["timed"] and each["model"] not in recipes}
        for each in known.values()  # other models, and other seeds by the same recipe
        if recipes.get(each["model"], each["recipe_sha256"]) == each["recipe_sha256"]
    ]
    ordered = sorted([*kept, *new], key=lambda each: (each["parameters"], each["model"]))
    write_bytes(path, "".join(f"{json.dumps(each)}\n" for each in ordered).encode())
    return ordered


def claims(lines: list[Line]) -> Iterable[Result]:
    """Yield what is promised of the shipped files."""
    for model, floor in _FLOORS.items():
        own = [each for each in lines if each["model"] == model and "int8" in each]
        if own:
            yield from _accurate(model, floor, own)
    measured = [each for each in lines if each.keys() >= {"latency", "int8"}]
    fast = [each for each in measured if each["model"] != "baseline"]
    fitting = [
        each
        for each in fast
        if _percent(each) >= _PUBLISHED and min(each["sizes"].values()) <= 1000 * _MOST_KB
    ]
    if fast:
        best = min(fitting or fast, key=_slowest)
        yield Result(
            claim=f"a file of at least {_PUBLISHED} % and at most {_MOST_KB:g} kB: at most "
            f"{_MOST_RATIO} × the latency of the earlier hem-50k",
            value=_slowest(best),
            unit="×",
            met=bool(fitting) and _slowest(best) <= _MOST_RATIO,
            detail=f"{best['model']}, {_percent(best):.2f} %, "
            f"{min(best['sizes'].values()) / 1000:.1f} kB; "
            + ", ".join(f"{n} {f['median_us']:.1f} µs" for n, f in best["latency"].items()),
        )


def _accurate(model: str, floor: float, lines: list[Line]) -> Iterable[Result]:
    own = [each | _better(each) for each in lines]
    trained = "" if own == lines else ", trained for 8 bits"
    mean = statistics.mean(map(_percent, own))
    exact = statistics.mean(_share(each["float"]["test"]) for each in own)
    yield Result(
        claim=f"{model}: int8 has at least {floor} % on test",
        value=mean,
        unit="%",
        met=mean >= floor,
        detail=f"{_seeds(len(own))}{trained}; float {exact:.2f} %",
    )
    yield Result(
        claim=f"{model}: int8 loses at most {_MOST_DROP} points",
        value=exact - mean,
        unit="points",
        met=exact - mean <= _MOST_DROP,
        detail=f"float {exact:.2f} %, int8{trained} {mean:.2f} %",
    )
    different = sum(each["different_classes"] for each in own)
    yield Result(
        claim=f"{model}: int8.tflite and int8.onnx have the same class for every image",
        value=different,
        unit="images",
        met=not different,
        detail="validation and test images, LiteRT against ONNX Runtime",
    )


def _better(line: Line) -> Line:
    """Return the figures of the files with the higher validation accuracy."""
    if "trained" not in line:
        return line
    forms = line, line["trained"]
    return max(forms, key=lambda form: min(x["validation"][0] for x in form["int8"].values()))


def _seeds(count: int) -> str:
    return f"mean of {count} seeds" if count > 1 else "one run"


def _share(counts: list[int]) -> float:
    return 100 * counts[0] / counts[1]


def _percent(line: Line) -> float:
    """Return the accuracy of the less accurate runtime, percent."""
    return min(_share(each["test"]) for each in line["int8"].values())


def _slowest(line: Line) -> float:
    """Return the largest ratio to the baseline of all runtimes."""
    return max(each["ratio"] for each in line["latency"].values())


if __name__ == "__main__":
    main()
