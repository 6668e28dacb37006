"""Images of every kind through `hemline classify`: a bad one is named and stops no other."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (28, 28)


@pytest.fixture(scope="module")
def pixels(images) -> np.ndarray:
    """Return an image that the small model knows."""
    return images.test_images[0, :, :, 0]


def write_bomb(path: Path, side: int) -> None:
    """Write a real black 1-bit PNG of side × side pixels: a few hundred kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    packer, row = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def write_good(folder: Path, pixels: np.ndarray) -> dict[str, Path]:
    """Write the same image in every form that must give the same answer."""
    gray = Image.fromarray(pixels)
    opaque = Image.merge("RGBA", (gray, gray, gray, Image.new("L", SIZE, 255)))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter clockwise by whoever shows it
    ways = {
        "gray.png": lambda path: gray.save(path),
        "rgba.png": lambda path: opaque.save(path),
        "palette.png": lambda path: gray.convert("P").save(path),
        "bits16.png": lambda path: Image.fromarray(pixels.astype(np.uint16) << 8).save(path),
        "cmyk.jpg": lambda path: gray.convert("RGB").convert("CMYK").save(path, quality=100),
        "turned.jpg": lambda path: gray.rotate(90).save(path, quality=100, exif=turned),
        "animated.gif": lambda path: gray.save(
            path, save_all=True, append_images=[Image.new("L", SIZE), Image.new("L", SIZE, 255)]
        ),
        "array.npy": lambda path: np.save(path, pixels),
    }
    for name, write in ways.items():
        write(folder / name)
    return {name: folder / name for name in ways}


def write_bad(folder: Path, pixels: np.ndarray) -> dict[str, str]:
    """Write files that are no images; return name to what must be said of each."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    whole = stream.getvalue()
    (folder / "folder.png").mkdir()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("a shirt")
    write_bomb(folder / "bomb.png", 30_000)
    write_bomb(folder / "large.png", 10_000)
    (folder / "cut.gif").write_bytes(b"GIF89a\x1c\x00\x1c\x00")
    (folder / "cut.pgm").write_bytes(b"P5 28 28 255\n" + pixels.tobytes()[:99])
    (folder / "headless.ppm").write_bytes(b"P6 28")
    (folder / "large.pgm").write_bytes(b"P5 99999 99999 255\n")
    Image.fromarray(pixels.astype(np.float32)).save(folder / "real.tif")
    np.save(folder / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps({"an": "object"}))
    with zipfile.ZipFile(folder / "zip.npy", "w") as archive:
        archive.writestr("a", b"b")
    return {
        "missing.png": "no such file",
        "folder.png": "has no images in it or below",
        "empty.png": "not a readable image",
        "cut.png": "truncated",
        "text.png": "not a readable image",
        "bomb.png": "pixels",
        "large.png": "10000 × 10000 pixels: scale it down",
        "cut.gif": "",
        "cut.pgm": "685 bytes of pixels are missing",
        "headless.ppm": "is truncated",
        "large.pgm": "99999 × 99999 pixels: scale it down",
        "real.tif": "floating-point values, save it as 8-bit",
        "pickled.npy": "allow_pickle=False",
        "pickle.npy": "allow_pickle=False",
        "zip.npy": "not a single array",
    }


def write_bad_arrays(folder: Path, pixels: np.ndarray) -> dict[str, str]:
    """Write .npy files that are no image; return name to what must be said of each."""
    np.save(folder / "shape.npy", pixels.reshape(2, 14, 28))
    np.save(folder / "first.npy", np.stack([pixels] * 3))
    np.save(folder / "none.npy", pixels[:0])
    np.save(folder / "float.npy", np.full(SIZE, np.nan))
    (folder / "header.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + b"{" * 118)
    with (folder / "endless.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 50,)}
        np.lib.format.write_array_header_1_0(stream, header)
    (folder / "broken-zip.npy").write_bytes(b"PK\x03\x04 and no more")
    return {
        "shape.npy": "(height, width) or (height, width, 1, 3 or 4), not (2, 14, 28)",
        "first.npy": "must come last, not shape (3, 28, 28): use numpy.moveaxis(image, 0, -1)",
        "none.npy": "not (0, 28)",
        "float.npy": "dtype uint8 (0 … 255), not float64: convert it first",
        "header.npy": "cannot read",
        "endless.npy": "cannot read",
        "broken-zip.npy": "cannot read",
    }


def test_an_image_is_the_same_in_every_form(hemline, bundle: Path, pixels: np.ndarray) -> None:
    paths = write_good(hemline.folder, pixels)
    ended = hemline.run("classify", bundle / "int8.onnx", *paths.values(), "--json")
    answers = [json.loads(line) for line in ended.output.splitlines()]
    assert ended.code == 0
    assert len(ended.errors) == 1
    assert "animated.gif is animated: its first picture is used" in ended.errors[0]
    assert [Path(answer["image"]).name for answer in answers] == list(paths)
    assert {answer["label"] for answer in answers} == {answers[0]["label"]}


@pytest.mark.parametrize(
    "write",
    [
        write_bad,
        write_bad_arrays,
    ],
)
def test_each_bad_image_is_named_and_stops_no_other(
    hemline, bundle: Path, pixels: np.ndarray, write: Callable[..., dict[str, str]]
) -> None:
    Image.fromarray(pixels).save(hemline.folder / "good.png")
    reasons = write(hemline.folder, pixels)
    names = [name for bad in reasons for name in (bad, "good.png")]
    ended = hemline.run("classify", bundle / "int8.onnx", *names)
    assert ended.code == 1
    assert len(ended.output.splitlines()) == len(reasons)
    assert len(ended.errors) == len(reasons), "\n".join(ended.errors)
    for line, (name, reason) in zip(ended.errors, reasons.items(), strict=True):
        assert line.startswith("error: ")
        assert name in line
        assert reason in line, line


def test_an_answer_comes_without_a_note_of_the_runtime(
    hemline, bundle: Path, pixels: np.ndarray
) -> None:
    Image.fromarray(pixels).save(hemline.folder / "good.png")
    ended = hemline.run("-q", "classify", bundle / "int8.tflite", "good.png")
    assert (ended.code, ended.errors) == (0, ())


def test_a_name_that_is_no_text_is_no_fault(hemline, bundle: Path, pixels: np.ndarray) -> None:
    path = Path(os.fsdecode(os.fsencode(hemline.folder) + b"/\xff.png"))
    Image.fromarray(pixels).save(path)
    hemline.environment["PYTHONIOENCODING"] = "utf-8:strict"
    for options in ((), ("--json",)):
        ended = hemline.run("classify", bundle / "int8.onnx", path, *options)
        assert (ended.code, ended.errors, len(ended.output.splitlines())) == (0, (), 1)


def test_what_is_shown_is_named_with_its_fault_too(hemline, bundle: Path, pixels) -> None:
    Image.fromarray(pixels).save(hemline.folder / "good.png")
    np.save(hemline.folder / "real.npy", np.full(SIZE, np.nan))
    (hemline.folder / "file").write_text("no class folders")
    names = ("real.npy", "good.png")
    ended = hemline.run("classify", bundle / "int8.onnx", *names, "--show", "shown")
    assert (ended.code, len(ended.output.splitlines())) == (1, 1)
    assert ended.error.startswith("error: real.npy: an image must have dtype uint8")
    assert [path.name for path in (hemline.folder / "shown").iterdir()] == ["000000-good.png"]
    ended = hemline.run("classify", bundle / "int8.onnx", "good.png", "--show", "file")
    assert (ended.code, ended.output) == (1, "")
    assert ended.error.startswith("error: cannot write file/000000-good.png")
