"""The tables of docs/scale.md: constants of results/scale.json, and what follows from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hemline.files import read_bytes
from hemline.progress import duration
from hemline.tables import Table, as_markdown

BOARDS, IMAGES, TRIALS = 10**5, 10**8, 10**3
CELLS = 10  # of a full bench of the default model
AT_ONCE = 64  # boards
_UNKNOWN = "not measured yet"
_Constants = dict[str, float]
# scale, what it needs, and how much that is; a constant that is missing makes a row unknown
ROWS: tuple[tuple[str, str, Callable[[_Constants], str]], ...] = (
    ("boards", "bytes to push", lambda c: _size(BOARDS * c["push_mb"])),
    ("boards", "network of one machine, first time",
     lambda c: _time(BOARDS * c["push_mb"] / c["network_mb_per_s"])),
    ("boards", "processor of one machine, 2 cores", lambda c: _time(BOARDS * c["board_cpu_s"] / 2)),
    ("boards", "the boards' own work, 64 at once",
     lambda c: _time(BOARDS * c["board_s"] / AT_ONCE)),
    ("boards", "memory of one machine, 64 at once",
     lambda c: _size(AT_ONCE * c["board_memory_mb"])),
    ("boards", "records in one bundle", lambda c: _size(_records_mb(c))),
    ("boards", "each command that reads them",
     lambda c: _time(_records_mb(c) / c["records_mb_per_s"])),
    ("boards", "its memory", lambda c: _size(_records_mb(c) * c["records_memory"])),
    ("images", "one core", lambda c: _time(IMAGES * c["classify_us"] / 1e6)),
    ("images", "64 cores", lambda c: _time(IMAGES * c["classify_us"] / 1e6 / 64)),
    ("images", "network, raw pixels",
     lambda c: _time(IMAGES * c["image_bytes"] / 1e6 / c["network_mb_per_s"])),
    ("images", "cores that this network keeps busy",
     lambda c: f"{c['classify_us'] * c['network_mb_per_s'] / c['image_bytes']:.1f}"),
    ("images", "one by one over HTTP, one core", lambda c: _time(IMAGES * c["serve_us"] / 1e6)),
    ("images", "decoding photographs of 224 × 224, 64 cores",
     lambda c: _time(IMAGES * c["decode_ms"] / 1e3 / 64)),
    ("images", "`hemline score`, one core",
     lambda c: _time(IMAGES * c["classify_us"] / 1e6 / c["score_ratio"])),
    ("images", "results", lambda c: _size(IMAGES * c["row_bytes"] / 1e6)),
    ("trials", "one machine of 2 cores", lambda c: _time(TRIALS * c["trial_s"])),
    ("trials", "100 such machines", lambda c: _time(TRIALS * c["trial_s"] / 100)),
    ("trials", "the same through Ray",
     lambda c: _time(TRIALS * c["trial_s"] / 100 / c["ray_gain"])),
    ("trials", "trials at once in 24 GB", lambda c: f"{24 / c['trial_memory_gb']:.0f}"),
)  # fmt: skip
_SCALES = {"boards": BOARDS, "images": IMAGES, "trials": TRIALS}


def scale_table(root: Path) -> str:
    """Return the Markdown of what each scale needs."""
    constants = {
        name: row["value"] for name, row in _read(root)["constants"].items() if row["value"]
    }
    rows = [(f"{_SCALES[scale]:,} {scale}", what, _of(how, constants)) for scale, what, how in ROWS]
    return as_markdown(Table.of(("scale", "what it takes", ">"), rows)) + "\n"


def constants_table(root: Path) -> str:
    """Return the Markdown of the constants, and where each was measured."""
    found = _read(root)
    rows = [
        (row["what"], f"{row['value']:,} {row['unit']}" if row["value"] else _UNKNOWN, row["from"])
        for row in found["constants"].values()
    ]
    table = as_markdown(Table.of(("constant", ">value", "from"), rows))
    return f"{table}\n\n{found['host']}, {found['date']}.\n"


def _read(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_bytes(root / "results" / "scale.json"))
    return found


def _of(how: Callable[[_Constants], str], constants: _Constants) -> str:
    try:
        return how(constants)
    except KeyError:
        return _UNKNOWN


def _time(seconds: float) -> str:
    return duration(seconds) if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


def _size(size_mb: float) -> str:
    if size_mb >= 1e6:
        return f"{size_mb / 1e6:.1f} TB"
    return f"{size_mb / 1e3:.1f} GB" if size_mb >= 1e3 else f"{size_mb:.0f} MB"


def _records_mb(constants: _Constants) -> float:
    return BOARDS * CELLS * constants["record_kb"] / 1e3
