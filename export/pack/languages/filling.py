"""The packs for programs in C++, Kotlin and Swift: a short sample, and vectors that test it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hemline.contract.manifest import Verdict
from hemline.contract.schema import to_document
from hemline.export.pack.packed import (
    Component,
    Contents,
    Packed,
    filled,
    filled_file,
    write_filled,
)
from hemline.export.pack.packing import files_in
from hemline.export.pack.vectors import write_vectors

_HERE = Path(__file__).parent
_DTYPES = ("float32", "int8", "uint8", "int16")


class Language(NamedTuple):
    """What differs between languages, beside the templates in the folder of that name.

    values: how a program names the type of _DTYPES, puts one or gets one, by fact.
    stored: the integer that `real` is stored as, half to even and clipped.
    library: package URL of what runs the artifact there; the pack does not contain it.
    licence: of the library.
    escapes: what JSON leaves as it is in a text, and this language does not.
    """

    values: Mapping[str, tuple[str, str, str, str]]
    stored: str
    library: str
    licence: str
    escapes: tuple[str, str] = ("", "")


_KOTLIN_PUT_BYTE = "put(value.toInt().toByte())"
LANGUAGES = {
    "cpp": Language(
        {"TYPE": ("float", "std::int8_t", "std::uint8_t", "std::int16_t")},
        "std::clamp(std::nearbyint(real / @SCALE@) + @ZERO@, @LOW@, @HIGH@)",
        # of the headers: later libraries run what was compiled with them
        "pkg:github/microsoft/onnxruntime@1.21.0",
        "MIT",
    ),
    "kotlin": Language(
        {
            "PUT": ("putFloat(value.toFloat())", _KOTLIN_PUT_BYTE, _KOTLIN_PUT_BYTE,
                    "putShort(value.toInt().toShort())"),
            "GET": ("getFloat()", "get().toFloat()", "(get().toInt() and 255).toFloat()",
                    "getShort().toFloat()"),
        },
        "(Math.rint(real / @SCALE@) + @ZERO@).coerceIn(@LOW@, @HIGH@)",
        "pkg:maven/com.google.ai.edge.litert/litert@1.4.2",
        "Apache-2.0",
        ("$", "\\$"),
    ),
    "swift": Language(
        {"TYPE": ("Float", "Int8", "UInt8", "Int16")},
        "min(max((real / @SCALE@).rounded(.toNearestOrEven) + @ZERO@, @LOW@), @HIGH@)",
        "pkg:cocoapods/TensorFlowLiteSwift@2.17.0",
        "Apache-2.0",
    ),
}  # fmt: skip


def supported(packed: Packed) -> Verdict:
    """Return the verdict of the first runtime in which the artifact passed.

    Raises GateError for a distance to the classes, which a sample does not have.
    """
    packed.require_no_distance()
    return packed.passed[0]


def fill(folder: Path, packed: Packed) -> Contents:
    """Write sample, self-test, vectors and artifact into a folder."""
    language = LANGUAGES[packed.target.name]
    use = write_sample(folder, packed, _facts(packed, language))
    name, version = language.library.rpartition("/")[2].split("@")
    library = Component(name=name, version=version, licence=language.licence, purl=language.library)
    return Contents(runtime=supported(packed), use=use, components=(library,))


def write_sample(folder: Path, packed: Packed, facts: Mapping[str, str]) -> str:
    """Write the templates of a target, vectors and artifact into a folder; return how to use it."""
    source, golden = _HERE / packed.target.name, write_vectors(folder, packed)
    tolerances = {"TOLERANCE": golden.tolerance, "SCORE_TOLERANCE": golden.score_tolerance}
    facts = {**facts, **{name: f"{each:.3g}" for name, each in tolerances.items()}}
    write_filled(folder, source, [name for name in files_in(source) if name != "use.md"], facts)
    shutil.copyfile(packed.path, folder / packed.artifact.name)
    return filled_file(source / "use.md", facts)


def _facts(packed: Packed, language: Language) -> dict[str, str]:
    """Return every number of the stamp by the name of its field, and what is made of them."""
    stamp, spec, output = packed.stamp, packed.stamp.input, packed.stamp.output
    levels = spec.levels * (spec.channels // len(spec.levels))
    facts: dict[str, Any] = {}
    for part, prefix in ((stamp, ""), (spec, "INPUT_"), (output, "OUTPUT_")):
        facts |= {f"{prefix}{name.upper()}": each for name, each in to_document(part).items()}
    facts |= {
        "ARTIFACT": packed.artifact.name,
        "PREPARED": packed.prepared,
        "STEM": Path(packed.artifact.name).stem,
        "ORDER": "gray" if spec.channels == 1 else "red, green, blue",
        "LABELS": ", ".join(
            json.dumps(each, ensure_ascii=False).replace(*language.escapes) for each in stamp.labels
        ),
        "MEANS": ", ".join(str(float(mean)) for mean, _ in levels),
        "STDS": ", ".join(str(float(std)) for _, std in levels),
        "STORED": _stored(packed, language),
        "PROBABILITIES": output.gives == "probabilities",
        "REAL": "exp" if output.gives == "probabilities" else "",
    }
    for prefix, dtype in (("INPUT", spec.dtype), ("OUTPUT", output.dtype)):
        facts[f"{prefix}_BYTES"] = np.dtype(dtype).itemsize
        at = _DTYPES.index(dtype)
        facts |= {f"{prefix}_{name}": texts[at] for name, texts in language.values.items()}
    return {
        name: each if isinstance(each, str) else json.dumps(each) for name, each in facts.items()
    }


def _stored(packed: Packed, language: Language) -> str:
    spec = packed.stamp.input
    if spec.dtype == "float32":
        return "real"
    limits = np.iinfo(spec.dtype)
    facts = {"SCALE": spec.scale, "ZERO": spec.zero_point, "LOW": limits.min, "HIGH": limits.max}
    return filled(language.stored, {name: str(float(each)) for name, each in facts.items()})
