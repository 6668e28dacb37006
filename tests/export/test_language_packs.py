"""Packs for programs in other languages; their compilers are in tests/devices."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from language_packs import ARTIFACTS, odd, packed_for

from hemline.contract.class_distance import ClassDistance, Int8Rows
from hemline.contract.specs import OutputSpec
from hemline.errors import GateError
from hemline.export.pack.packed import Packed, PackOptions
from hemline.export.pack.packing import SUMS, choose, write_pack
from hemline.export.pack.table import TARGETS
from hemline.export.pack.vectors import NAME
from hemline.remedies import described


@pytest.fixture(scope="module")
def packs(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packs")
    for target in ARTIFACTS:
        write_pack(packed_for(bundle, target), folder / target)
    return {target: folder / target for target in ARTIFACTS}


@pytest.mark.parametrize("target", ARTIFACTS)
def test_a_pack_has_sample_vectors_and_artifact_and_a_short_readme(
    packs: dict[str, Path], target: str
) -> None:
    names = {path.name for path in packs[target].iterdir()}
    assert {NAME, ARTIFACTS[target], SUMS, "README.md", "labels.txt"} <= names
    for path in packs[target].iterdir():
        if path.suffix in (".hpp", ".cpp", ".kt", ".swift", ".md"):
            assert not re.search(r"@[A-Z_]+@", path.read_text()), path
    readme = (packs[target] / "README.md").read_text()
    assert ARTIFACTS[target] in readme
    assert len([line for line in readme.splitlines() if line]) <= 16
    assert "not run when this pack was made" in readme
    assert "Pixels: 0 is black, and the object is bright on black. Pictures of" in readme


@pytest.mark.parametrize(
    ("target", "text"),
    [("cpp", '"$weet", "quo\\"te"'), ("kotlin", '"\\$weet", "quo\\"te"'), ("swift", '"$weet"')],
)
def test_class_names_are_texts_of_the_language(
    bundle: Path, tmp_path: Path, target: str, text: str
) -> None:
    write_pack(odd(packed_for(bundle, target)), tmp_path / "pack")
    model = next(path for path in (tmp_path / "pack").iterdir() if path.stem.lower() == "model")
    assert text in model.read_text()
    assert "Größe" in model.read_text()


def test_an_artifact_of_another_format_is_refused(bundle: Path) -> None:
    with pytest.raises(GateError, match=r"int8.tflite is not a .onnx file, which cpp needs"):
        packed_for(bundle, "cpp", "int8.tflite")
    assert choose(bundle, TARGETS["swift"], PackOptions()).artifact.format == "tflite"


def test_the_refusal_that_got_furthest_is_told(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(packed: Packed) -> None:
        raise GateError(f"{packed.artifact.name} decides by a distance")

    monkeypatch.setattr("hemline.export.pack.languages.filling.supported", refuse)
    with pytest.raises(GateError, match=r"^int8\.onnx decides by a distance; no other artifact"):
        choose(bundle, TARGETS["cpp"], PackOptions())


def test_an_artifact_that_decides_by_a_distance_is_refused(bundle: Path, tmp_path: Path) -> None:
    packed = packed_for(bundle, "kotlin")
    embedding = OutputSpec(name="embedding", role="embedding", size=3, dtype="float32", position=1)
    distance = ClassDistance(
        threshold=2.5,
        mean=Int8Rows.of(np.ones((1, 3))),
        directions=Int8Rows.of(np.eye(2, 3)),
        variances=(1.0, 1.0),
        centers=Int8Rows.of(np.ones((2, 10))),
        rest=0.5,
    )
    outputs = (*packed.stamp.outputs, embedding)
    stamp = dataclasses.replace(packed.stamp, outputs=outputs, distance=distance)
    told = "decides by a distance what is unknown, which packs for"
    with pytest.raises(GateError, match=told) as error:
        write_pack(dataclasses.replace(packed, stamp=stamp), tmp_path / "pack")
    assert described(error.value).endswith("export it with --unknown score")
    assert list(tmp_path.iterdir()) == []
