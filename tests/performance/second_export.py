"""A second `make export` with nothing changed: seconds, and whether TensorFlow was imported."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from measurement import ROOT, Result, report

_ROUNDS = 7
_LIMIT_S = 2.0
_IMPORTS = (
    "import sys; sys.argv = ['hemline', 'export']\n"
    "from hemline.cli import cli\n"
    "cli.main(standalone_mode=False); sys.exit('tensorflow' in sys.modules)"
)


def main() -> None:
    """Measure and write the results."""
    subprocess.run(["make", "export"], cwd=ROOT, check=True, capture_output=True)
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        subprocess.run(["make", "export"], cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    imported = subprocess.run(
        [sys.executable, "-c", _IMPORTS], cwd=ROOT, capture_output=True, check=False
    ).returncode
    median = statistics.median(seconds)
    report(
        "second_export",
        [
            Result(
                claim=f"second make export: at most {_LIMIT_S:g} s, TensorFlow not imported",
                value=median,
                unit="s",
                met=median <= _LIMIT_S and imported == 0,
                detail=f"{min(seconds):.2f} to {max(seconds):.2f} s, TensorFlow "
                f"{'imported' if imported else 'not imported'}",
            )
        ],
    )


if __name__ == "__main__":
    main()
