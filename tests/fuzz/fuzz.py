"""Search for bytes that break a door, guided by coverage (pip install atheris).

    python tests/fuzz/fuzz.py DOOR BUNDLE SECONDS

An input that raises anything but HemlineError, hangs or eats memory is written as crash-… into the
current folder; it belongs into tests/faults/test_doors.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hemline", "PIL.PngImagePlugin", "numpy.lib.format"]):
    import doors


def main(name: str, bundle: Path, seconds: int) -> None:
    """Fuzz one door for some seconds."""

    documents = []
    if name in doors.JSON_DOORS:
        documents = [json.loads(seed) for seed in doors.seeds(name, bundle)]

    def one(data: bytes) -> None:
        if documents and data[:1] < b"\xf0":
            data = doors.altered(documents[len(data) % len(documents)], data)
        doors.enter(name, data)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(doors.seeds(name, bundle)):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000"]
        atheris.Setup([sys.argv[0], corpus, *options, "-max_len=200000", "-verbosity=1"], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
