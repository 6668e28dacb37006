"""Search for bytes that break a parser, guided by coverage (pip install atheris).

    python tests/fuzz/fuzz.py PARSER BUNDLE SECONDS

An input that raises anything but HemlineError, hangs or eats memory is written as crash-… into the
current folder; it belongs into tests/faults/test_parsers.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hemline", "PIL.PngImagePlugin", "numpy.lib.format"]):
    import parsers


def main(name: str, bundle: Path, seconds: int) -> None:
    """Fuzz one parser for some seconds."""

    documents = []
    if name in parsers.JSON_PARSERS:
        documents = [json.loads(seed) for seed in parsers.seeds(name, bundle)]

    def one(data: bytes) -> None:
        if documents and data[:1] < b"\xf0":
            data = parsers.altered(documents[len(data) % len(documents)], data)
        parsers.enter(name, data)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(parsers.seeds(name, bundle)):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000"]
        atheris.Setup([sys.argv[0], corpus, *options, "-max_len=200000", "-verbosity=1"], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
