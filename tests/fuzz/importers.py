"""Damage model files and import them: each ends in one line, in time.

    python tests/fuzz/importers.py SEED_FILE_OR_FOLDER SECONDS [SEED]

A damaged model that ends otherwise is kept as crash-… in the current folder; it belongs into
tests/export/test_broken_models.py.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from hemline.errors import HemlineError
from hemline.export.importing.importers import convert, find_kind
from hemline.remedies import described

LONGEST_SECONDS = 300.0  # a child that takes longer hangs, on a busy machine too


def damaged(content: bytes, choices: random.Random) -> bytes:
    """Return a model's bytes cut short, with bits turned, or with bytes more, less or zero."""
    changed = bytearray(content)
    for _ in range(choices.choice((1, 1, 1, 8))):
        at = choices.randrange(len(changed))
        how = choices.choice(("cut", "turn", "turn", "insert", "remove", "zero"))
        if how == "cut":
            del changed[max(at, 1) :]
        elif how == "turn":
            changed[at] ^= 1 << choices.randrange(8)
        elif how == "insert":
            changed[at:at] = choices.randbytes(choices.randrange(1, 64))
        elif how == "remove" and len(changed) > 100:
            del changed[at : at + choices.randrange(1, 64)]
        else:
            changed[at : at + 16] = bytes(len(changed[at : at + 16]))
    return bytes(changed)


def damage(seed: Path, target: Path, choices: random.Random) -> Path:
    """Copy a model with one damaged file; return the copy."""
    if seed.is_file():
        target = target / seed.name
        target.write_bytes(damaged(seed.read_bytes(), choices))
        return target
    shutil.copytree(seed, target, dirs_exist_ok=True)
    chosen = choices.choice(sorted(each for each in target.rglob("*") if each.stat().st_size > 0))
    while chosen.is_dir():
        chosen = choices.choice(sorted(each for each in target.rglob("*") if each.is_file()))
    chosen.write_bytes(damaged(chosen.read_bytes(), choices))
    return target


def outcome(path: Path) -> str:
    """Import a model; return "imported" or the line that says why not, "" for a wrong ending."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            convert(path, find_kind(path).name, Path(folder))
            line = "imported"
        except HemlineError as error:
            line = described(error)
    wrong = "\n" in line or "Traceback" in line or len(line) > 1000
    return "" if wrong or time.monotonic() - started > LONGEST_SECONDS else line


def main(seed: Path, seconds: float, number: int) -> None:
    """Damage and import a model for some seconds."""
    choices, end, tried = random.Random(number), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as folder:
            path = damage(seed, Path(folder), choices)
            tried += 1
            line = outcome(path)
            print(line.replace(folder, ""), flush=True)
            if not line:
                kept = Path(f"crash-{tried}-{seed.name}")
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, kept)
    print(f"{tried} damaged models")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
