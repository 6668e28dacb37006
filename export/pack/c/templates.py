"""The files of a pack that are filled with facts, and these facts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hemline.contract.record import RECORDS_NAME, Arena, read_records
from hemline.contract.stamp import read_stamped
from hemline.export.pack.packed import Packed
from hemline.model_files.tflite import read_tflite
from hemline.runtime.pixels import pixel_tables

# methods of MicroMutableOpResolver that are not the operator's name in another spelling
_METHODS = {"BATCH_MATMUL": "BatchMatMul", "PADV2": "PadV2"}


def classifier_facts(packed: Packed, grid: tuple[float, int]) -> dict[str, str]:
    """Return the facts of what turns pixels into a label, for logits of a scale and zero point."""
    stamp, spec = packed.stamp, packed.stamp.input
    tables = pixel_tables(spec)
    powers = np.exp(np.arange(256) * -grid[0] / stamp.temperature)
    return {
        "PACK": packed.name,
        "PREPARED": packed.prepared,
        "HEIGHT": str(spec.height),
        "WIDTH": str(spec.width),
        "CHANNELS": str(spec.channels),
        "CLASSES": str(len(stamp.labels)),
        "ORDER": ", red, green and blue" * (spec.channels == 3),
        "TABLES": str(len(tables)),
        "REVERSED": str(int(spec.bgr)),
        "STORED": c_rows(tables),
        "POWERS": c_values(map(_float, powers), columns=4),
        "LABELS": c_values(map(c_string, stamp.labels), columns=1),
        "THRESHOLD": _float(stamp.unknown_threshold),
    }


_NO_ARENA = "// Not measured: with one that is too large, interpreter.arena_used_bytes() tells."


def micro_facts(packed: Packed) -> dict[str, str]:
    """Return the facts of the form that TFLite Micro embeds."""
    content = read_stamped(packed.path).model
    methods = [method_of(o.kind) for o in read_tflite(content).operators]
    calls = [f"    TF_LITE_ENSURE_STATUS(resolver.{each}());" for each in dict.fromkeys(methods)]
    arena = _arena_bytes(packed)
    return {
        "ARTIFACT": packed.artifact.name,
        "COUNT": str(len(calls)),
        "CALLS": "\n".join(calls),
        "ARENA": f"constexpr int kModelArenaBytes = {arena};" if arena else _NO_ARENA,
        "ARENA_IS": f"of {arena:,} bytes as tflite-micro took it" if arena else "was not measured",
        "BYTES": str(len(content)),
        "DATA": c_values(content),
    }


def method_of(operator: str) -> str:
    """Return the method of the resolver: AddConv2D of CONV_2D."""
    words = "".join(word.capitalize() for word in operator.split("_"))
    return f"Add{_METHODS.get(operator, words).replace('2d', '2D').replace('3d', '3D')}"


def _arena_bytes(packed: Packed) -> int | None:
    """Return the tensor arena that tflite-micro took for the file; None where it was not run."""
    path, sha256 = packed.bundle / RECORDS_NAME, packed.artifact.sha256
    records = (
        [r for r in read_records(path) if r.cell.artifact_sha256 == sha256] if path.exists() else []
    )
    return next((r.payload.bytes for r in records[::-1] if isinstance(r.payload, Arena)), None)


def c_rows(rows: Iterable[Iterable[object]]) -> str:
    """Return the initializer of an array of arrays."""
    return ", ".join(f"{{{c_values(row)}}}" for row in rows)


def c_values(values: Iterable[object], *, columns: int = 16) -> str:
    """Return the initializer of an array, on lines of its own."""
    items = list(map(str, values))
    rows = (items[at : at + columns] for at in range(0, len(items), columns))
    return "".join(f"\n    {', '.join(row)}," for row in rows) + "\n"


def c_string(text: str) -> str:
    """Return a C string literal of its UTF-8; ?? would begin a trigraph."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def _float(value: float) -> str:
    return f"{float(np.float32(value)).hex()}f"
