"""What the performance scripts share: interleaved rounds, and one line of result for each claim."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hemline.host import host_facts
from hemline.provenance import commit, utc_now

# Users have compiled modules: children that compile them at each start would be measured instead.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "performance.jsonl"
BUNDLE = ROOT / "artifacts" / "hem-50k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One claim and what was measured.

    claim: what is promised, with its bound.
    value: measured, a ratio or a difference.
    unit: of the value.
    met: whether the bound holds.
    detail: medians behind it, in words.
    """

    claim: str
    value: float
    unit: str
    met: bool
    detail: str


def anonymous_bytes(process: int) -> int:
    """Return the anonymous memory (RssAnon) of a process and of all below it that still run."""
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += 1024 * int(line.split()[1])
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(map(anonymous_bytes, map(int, (task / "children").read_text().split())))
    return total


def interleaved(
    first: Callable[[], float], second: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Call both in turn, swapping who begins, and return their values round by round."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            later = second()
            pairs.append((first(), later))
        else:
            pairs.append((first(), second()))
    return [a for a, _ in pairs], [b for _, b in pairs]


def median_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the median of the ratios round by round: a drift of the machine cancels in each."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


@contextlib.contextmanager
def installed_package() -> Iterator[Path]:
    """Yield a folder that holds Hemline as pip installs it, compiled, for PYTHONPATH."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        copy = Path(folder) / "source"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "artifacts", "build"))
        target = Path(folder) / "installed"
        options = ["--no-build-isolation", "--compile", "--target", str(target)]
        subprocess.run([*pip, *options, str(copy)], check=True, capture_output=True)
        yield target


def process_cost(code: str, *arguments: str, path: Path) -> tuple[float, int]:
    """Run a Python script of its own; return (seconds from start to end, peak resident bytes).

    `path` is the folder of the installed package.
    """
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(path)},
    )
    peak = 0
    while child.poll() is None:
        peak = max(peak, _peak_bytes(child.pid))
        time.sleep(0.02)
    if child.returncode != 0:
        raise RuntimeError(f"the script failed with {child.returncode}: {code}")
    return time.perf_counter() - started, peak


def _peak_bytes(process: int) -> int:
    """Return the peak resident memory of a process, 0 if it has ended.

    Not ru_maxrss: that of a child begins with the memory of the process that started it.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def report(script: str, results: Sequence[Result], path: Path = RESULTS) -> None:
    """Print the results and replace those of this script and host in a file of results/."""
    facts = host_facts()
    here = (script, facts.processor, facts.cores)
    kept = []
    if path.exists():
        lines = (json.loads(line) for line in path.read_text().splitlines())
        kept = [
            line for line in lines if (line["script"], line["processor"], line["cores"]) != here
        ]
    for result in results:
        print(
            f"{'met   ' if result.met else 'MISSED'} {result.value:8.3f} {result.unit:<6} ", end=""
        )
        print(f"{result.claim}: {result.detail}")
        kept.append(
            {
                "script": script,
                **asdict(result),
                "value": round(result.value, 4),
                "processor": facts.processor,
                "cores": facts.cores,
                "commit": commit(),
                "date": utc_now(),
            }
        )
    kept.sort(key=lambda line: (line["processor"], line["script"], line["claim"]))
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
