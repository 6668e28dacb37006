"""Packs for programs in other languages, also of models that are built otherwise than usual."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from hemline.contract import schema
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.export.pack.packed import Packed, PackOptions
from hemline.export.pack.packing import choose, write_pack
from hemline.export.pack.table import TARGETS
from hemline.export.pack.vectors import NAME, GoldenVector, GoldenVectors
from hemline.runtime.decoder import Decoder
from hemline.runtime.pixels import PixelEncoder

ARTIFACTS = {"cpp": "int8.onnx", "kotlin": "int8.tflite", "swift": "int8.tflite"}
LABELS = ("$weet", 'quo"te', "back\\slash", "unknown", "Größe")


def packed_for(bundle: Path, target: str, artifact: str | None = None) -> Packed:
    """Return an artifact of the bundle, by default an 8-bit one, for a target."""
    options = PackOptions(artifact=artifact or ARTIFACTS.get(target))
    return choose(bundle, TARGETS[target], options)


def odd(packed: Packed, **changes: Any) -> Packed:
    """Return an artifact that is stamped with an unusual input, output and class names.

    The model in the file is another: it cannot be run so.
    """
    given = InputSpec(
        height=3, width=2, channels=3, dtype="uint8", scale=0.017, zero_point=113,
        mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr=True,
    )  # fmt: skip
    output = OutputSpec(size=5, dtype="uint8", scale=1 / 256, zero_point=0, gives="probabilities")
    fields: dict[str, Any] = {
        "input": given,
        "outputs": (output,),
        "labels": LABELS,
        "reference": None,
        "test_vectors": (),
        "unknown_threshold": 0.3,
        "temperature": 1.5,
    }
    return dataclasses.replace(
        packed, stamp=dataclasses.replace(packed.stamp, **(fields | changes))
    )


def write_odd(packed: Packed, folder: Path) -> GoldenVectors:
    """Write a pack of an `odd` artifact; its vectors are of outputs that are drawn at random."""
    write_pack(packed, folder)
    stamp, random = packed.stamp, np.random.default_rng(7)
    decoder = Decoder(
        stamp.output,
        stamp.labels,
        temperature=stamp.temperature,
        unknown_threshold=stamp.unknown_threshold,
    )
    images = random.integers(0, 256, (20, *stamp.input.shape), np.uint8)
    tensors = PixelEncoder(stamp.input).encode(images)
    limits = np.iinfo(stamp.output.dtype)
    size = (len(images), stamp.output.size)
    rows = random.integers(limits.min, limits.max, size).astype(stamp.output.dtype)
    rows[0] = 3, 9, 9, 1, 0  # of two best classes the first counts
    found = [decoder.decode(row) for row in rows]
    assert {each.index for each in found} == {*range(5)}
    assert {each.score > 0.3 for each in found} == {True, False}
    vectors = tuple(
        GoldenVector(
            pixels=tuple(image.ravel().tolist()),
            tensor=tuple(tensor.ravel().tolist()),
            output=tuple(row.tolist()),
            logits=tuple(each.logits.tolist()),
            index=each.index,
            score=each.score,
            label=each.label,
            is_unknown=not each.known,
            decided=True,
        )
        for image, tensor, row, each in zip(images, tensors, rows, found, strict=True)
    )
    written = schema.load(GoldenVectors, folder / NAME)
    changed = dataclasses.replace(written, vectors=vectors)
    schema.save(folder / NAME, changed)
    return changed
