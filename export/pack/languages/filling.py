"""The packs for programs in C++, Kotlin and Swift: a short sample, and vectors that test it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemline.contract.manifest import Verdict
from hemline.errors import GateError
from hemline.export.pack.packed import Component, Contents, Packed, filled
from hemline.export.pack.vectors import write_vectors

_HERE = Path(__file__).parent
_CONTROL = {*range(32), 127}
_DTYPES = ("float32", "int8", "uint8", "int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What differs between languages, beside the templates in the folder of that name.

    values: for each of the dtypes, in their order: how a program names it, puts one or gets one.
    stored: the integer that `real` is stored as, half to even and clipped.
    escapes: what JSON leaves as it is in a text, and this language does not.
    library: that runs the artifact there; the pack does not contain it.
    """

    values: Mapping[str, tuple[str, str, str, str]]
    stored: str
    escapes: Mapping[str, str]
    library: Component


LANGUAGES: dict[str, Language] = {
    "cpp": Language(
        values={"TYPE": ("float", "std::int8_t", "std::uint8_t", "std::int16_t")},
        stored="std::clamp(std::nearbyint(real / @SCALE@) + @ZERO@, @LOW@, @HIGH@)",
        escapes={},
        library=Component(
            name="onnxruntime",
            version="1.21.0",  # of the headers; later libraries run what was compiled with them
            licence="MIT",
            purl="pkg:github/microsoft/onnxruntime@v1.21.0",
        ),
    ),
    "kotlin": Language(
        values={
            "PUT": (
                "putFloat(value.toFloat())",
                "put(value.toInt().toByte())",
                "put(value.toInt().toByte())",
                "putShort(value.toInt().toShort())",
            ),
            "GET": (
                "getFloat()",
                "get().toFloat()",
                "(get().toInt() and 255).toFloat()",
                "getShort().toFloat()",
            ),
        },
        stored="(Math.rint(real / @SCALE@) + @ZERO@).coerceIn(@LOW@, @HIGH@)",
        escapes={"$": "\\$"},
        library=Component(
            name="litert",
            version="1.4.2",
            licence="Apache-2.0",
            purl="pkg:maven/com.google.ai.edge.litert/litert@1.4.2",
        ),
    ),
    "swift": Language(
        values={"TYPE": ("Float", "Int8", "UInt8", "Int16")},
        stored="min(max((real / @SCALE@).rounded(.toNearestOrEven) + @ZERO@, @LOW@), @HIGH@)",
        escapes={},
        library=Component(
            name="TensorFlowLiteSwift",
            version="2.17.0",
            licence="Apache-2.0",
            purl="pkg:cocoapods/TensorFlowLiteSwift@2.17.0",
        ),
    ),
}


def supported(packed: Packed) -> Verdict:
    """Return the verdict of the first runtime in which the artifact passed.

    Raises GateError for what a sample does not have: a distance to the classes, and class names
    with control characters.
    """
    packed.require_no_distance()
    for label in packed.stamp.labels:
        if not _CONTROL.isdisjoint(map(ord, label)):
            raise GateError(f"the class name {label!r} has a control character")
    return packed.passed[0]


def fill(folder: Path, packed: Packed) -> Contents:
    """Write sample, self-test, vectors and artifact into a folder."""
    facts, language = _facts(packed), packed.target.name
    texts = {path.name: filled(path.read_text(), facts) for path in (_HERE / language).iterdir()}
    use = texts.pop("use.md")
    for name, text in texts.items():
        (folder / name).write_text(text)
    write_vectors(folder, packed)
    shutil.copyfile(packed.path, folder / packed.artifact.name)
    library = LANGUAGES[language].library
    return Contents(runtime=supported(packed), use=use, components=(library,))


def _facts(packed: Packed) -> dict[str, str]:
    stamp, language = packed.stamp, LANGUAGES[packed.target.name]
    spec, output = stamp.input, stamp.output
    levels = spec.levels * (spec.channels // len(spec.levels))
    is_probability = output.gives == "probabilities"
    values = {
        f"{side}_{name}": texts[_DTYPES.index(dtype)]
        for side, dtype in (("INPUT", spec.dtype), ("OUTPUT", output.dtype))
        for name, texts in language.values.items()
    }
    return values | {
        "ARTIFACT": packed.artifact.name,
        "STEM": Path(packed.artifact.name).stem,
        "HEIGHT": str(spec.height),
        "WIDTH": str(spec.width),
        "CHANNELS": str(spec.channels),
        "CLASSES": str(output.size),
        "ORDER": "gray" if spec.channels == 1 else "red, green, blue",
        "PREPROCESSING": stamp.preprocessing,
        "LABELS": ", ".join(_text(label, language.escapes) for label in stamp.labels),
        "MEAN": ", ".join(str(float(mean)) for mean, _ in levels),
        "STD": ", ".join(str(float(std)) for _, std in levels),
        "BGR": str(spec.bgr).lower(),
        "STORED": _stored(packed, language),
        "INPUT_BYTES": str(np.dtype(spec.dtype).itemsize),
        "OUTPUT_BYTES": str(np.dtype(output.dtype).itemsize),
        "OUTPUT_SCALE": str(float(output.scale)),
        "OUTPUT_ZERO": str(output.zero_point),
        "POSITION": str(output.position),
        "PROBABILITIES": str(is_probability).lower(),
        "REAL": "exp" if is_probability else "",
        "GIVES": output.gives,
        "TEMPERATURE": str(float(stamp.temperature)),
        "THRESHOLD": str(float(stamp.unknown_threshold)),
        "TOLERANCE": f"{stamp.tolerance:.6g}",
    }


def _stored(packed: Packed, language: Language) -> str:
    spec = packed.stamp.input
    if spec.dtype == "float32":
        return "real"
    limits = np.iinfo(spec.dtype)
    facts = {"SCALE": spec.scale, "ZERO": spec.zero_point, "LOW": limits.min, "HIGH": limits.max}
    return filled(language.stored, {name: str(float(each)) for name, each in facts.items()})


def _text(label: str, escapes: Mapping[str, str]) -> str:
    text = json.dumps(label, ensure_ascii=False)
    for character, escaped in escapes.items():
        text = text.replace(character, escaped)
    return text
