"""A stamp is read back as it was written, and every altered byte is noticed."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemline.contract.schema import from_document, to_document
from hemline.contract.specs import InputSpec, OutputSpec, SupportedRuntime
from hemline.contract.stamp import Stamp, read_stamped, stamp_onnx, stamp_tflite
from hemline.contract.test_vector import TestVector
from hemline.errors import FileFormatError, SchemaError, UnstampedError, UnsupportedRuntimeError
from hemline.remedies import described

MODEL = {"tflite": b"\x1c\0\0\0TFL3" + bytes(range(256)) * 20, "onnx": b"\x08\x08\x12\x02me" * 50}


def make_stamp(kind: str) -> Stamp:
    return Stamp(
        name=f"int8.{kind}",
        scheme="int8",
        format=kind,  # type: ignore[arg-type]
        model="m",
        labels=("a", "b"),
        input=InputSpec(height=2, width=2, channels=1, dtype="int8", zero_point=-128),
        outputs=(OutputSpec(size=2, dtype="int8", scale=0.1),),
        supported_runtimes=(SupportedRuntime(runtime="litert", minimum="2.3.0"),),
        temperature=1.0,
        unknown_threshold=0.2,
        tolerance=0.5,
        test_vectors=(TestVector(pixels="", logits=(0.0, 1.0)),),
        parent_sha256="p",
        calibration_sha256=None,
        payload_sha256="",
        hemline_version="0",
    )


def stamped(kind: str) -> bytes:
    write = stamp_tflite if kind == "tflite" else stamp_onnx
    return write(MODEL[kind], make_stamp(kind))


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_stamp_is_read_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"int8.{kind}"
    path.write_bytes(stamped(kind))
    file = read_stamped(path)
    assert file.stamp.labels == ("a", "b")
    assert len(file.stamp.payload_sha256) == 64
    assert file.model.startswith(MODEL[kind])


def test_the_model_bytes_of_a_tflite_file_are_unchanged(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(stamped("tflite"))
    assert read_stamped(tmp_path / "x.tflite").model == MODEL["tflite"]


@pytest.mark.parametrize("name", ["../int8.tflite", "a/int8.tflite", "/int8.tflite", ".."])
def test_a_name_leads_out_of_no_folder(name: str) -> None:
    with pytest.raises(SchemaError, match="the name must be that of a file, without folders"):
        from_document(Stamp, {**to_document(make_stamp("tflite")), "name": name}, where="it")


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_equal_input_gives_equal_files(kind: str) -> None:
    assert stamped(kind) == stamped(kind)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_changed_byte_anywhere_in_the_model_is_noticed(kind: str, tmp_path: Path) -> None:
    path, content = tmp_path / f"int8.{kind}", stamped(kind)
    for at in random.Random(1).sample(range(len(MODEL[kind])), 60):
        altered = bytearray(content)
        altered[at] ^= 0x40
        path.write_bytes(altered)
        with pytest.raises(FileFormatError):
            read_stamped(path)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_truncated_file_is_refused(kind: str, tmp_path: Path) -> None:
    path, content = tmp_path / f"int8.{kind}", stamped(kind)
    for length in (0, 1, 7, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match="no Hemline stamp|altered"):
            read_stamped(path)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_an_unstamped_file_is_refused_with_what_to_do(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"foreign.{kind}"
    path.write_bytes(MODEL[kind])
    said = "has no Hemline stamp.*`hemline verify .*foreign.* --labels LABELS`"
    with pytest.raises(UnstampedError) as caught:
        read_stamped(path)
    assert re.search(said, described(caught.value))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    path.write_text("hello, this is text")
    with pytest.raises(FileFormatError, match=r"neither a \.tflite nor an \.onnx"):
        read_stamped(path)


@given(content=st.binary(max_size=300), kind=st.sampled_from(["tflite", "onnx"]))
def test_random_bytes_are_refused_and_never_break(
    content: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"random.{kind}"
    for body in (content, MODEL[kind] + content, stamped(kind)[:-40] + content):
        path.write_bytes(body)
        with pytest.raises(FileFormatError):
            read_stamped(path)


def test_a_runtime_outside_the_claim_is_refused_with_those_inside() -> None:
    stamp = make_stamp("tflite")
    stamp.require_supported("litert", "2.10.0")
    with pytest.raises(
        UnsupportedRuntimeError, match="not support litert 2.2.9: use litert >= 2.3.0"
    ):
        stamp.require_supported("litert", "2.2.9")
    with pytest.raises(UnsupportedRuntimeError, match="tflite-runtime"):
        stamp.require_supported("tflite-runtime", "9.0")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test_vectors": (TestVector(pixels="", logits=(0.0,)),)}, "1 logits for 2 classes"),
        ({"payload_sha256": "0" * 63}, "64 hexadecimal digits"),
        ({"payload_sha256": "0" * 31 + "xy" + "0" * 31}, "64 hexadecimal digits"),
        ({"labels": ("a", "\ud800")}, "not valid text"),
        ({"name": "\udcff.tflite"}, "not valid text"),
    ],
)
def test_a_stamp_that_contradicts_itself_is_refused(
    fields: dict[str, object], message: str
) -> None:
    document = to_document(make_stamp("tflite")) | to_document(fields)
    with pytest.raises(SchemaError, match=message):
        from_document(Stamp, document, where="the stamp")
