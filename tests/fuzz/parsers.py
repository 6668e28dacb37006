"""The parsers of bytes from outside; each may raise HemlineError and nothing else.

A parser takes bytes. `seeds` gives valid inputs to begin from.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.manifest import MANIFEST_NAME, Manifest
from hemline.contract.schema import from_document, to_document
from hemline.contract.specs import InputSpec
from hemline.contract.stamp import Stamp, read_stamped
from hemline.data.custom.loading import load_custom
from hemline.data.custom.reading import ReadOptions
from hemline.errors import HemlineError
from hemline.files import parse_json
from hemline.pictures.images import read_image
from hemline.runtime.input.streams import from_bytes
from hemline.runtime.job import JobRunner
from hemline.runtime.pixels import PixelEncoder
from hemline.train.recipes.recipe import RECIPES
from hemline.train.recipes.recipe_file import read_recipe, recipe_toml

GRAY = InputSpec(height=28, width=28, channels=1, dtype="uint8")
COLOUR = InputSpec(height=32, width=24, channels=3, dtype="uint8")
_FOLDER = Path(tempfile.mkdtemp(prefix="hemline-fuzz-", dir=os.environ.get("TMPDIR")))


def _as_file(content: bytes, name: str) -> Path:
    path = _FOLDER / name
    path.write_bytes(content)
    return path


def tflite(content: bytes) -> None:
    """Read a .tflite artifact: the archive behind the flatbuffer, the stamp in it, the hash."""
    read_stamped(_as_file(content, "a.tflite"))


def onnx(content: bytes) -> None:
    """Read an .onnx artifact: protobuf fields, the stamp, the hash."""
    read_stamped(_as_file(content, "a.onnx"))


def stamp(content: bytes) -> None:
    """Read the text of a stamp, and the pixels of the test vectors in it."""
    read = from_document(Stamp, parse_json(content, where="the stamp"), where="the stamp")
    if np.prod(read.input.shape) <= 1 << 20:
        PixelEncoder(read.input)
        for vector in read.test_vectors:
            vector.image(read.input.shape)


def manifest(content: bytes) -> None:
    """Read a manifest."""
    from_document(Manifest, parse_json(content, where="the manifest"), where="the manifest")


def job(content: bytes) -> None:
    """Read a job and run it as far as its files exist; a runner must answer with a failure."""
    read = from_document(Job, parse_json(content, where="the job"), where="the job")
    if not os.path.exists(read.artifact):  # noqa: PTH110 — takes names that no system allows
        result = JobRunner().run(read)
        assert result.failure is not None
        json.dumps(to_document(result))


def result(content: bytes) -> None:
    """Read what a device answers."""
    from_document(JobResult, parse_json(content, where="a result"), where="a result")


def image(content: bytes) -> None:
    """Read an image file, of whatever kind its bytes make it, for a gray and a colour model."""
    for spec in (GRAY, COLOUR):
        pixels = read_image(_as_file(content, "a.png"), spec)
        assert pixels.shape == spec.shape
        assert pixels.dtype == np.uint8


def array(content: bytes) -> None:
    """Read a .npy file."""
    read_image(_as_file(content, "a.npy"), GRAY)


def own_arrays(content: bytes) -> None:
    """Read a user's .npz of images and classes."""
    images = load_custom(_as_file(content, "a.npz"), ReadOptions(), cache=None)
    assert images.train_images.dtype == np.uint8
    assert images.train_images.shape[3] in (1, 3)


def stream(content: bytes) -> None:
    """Read a stream of images, one behind the other; each frame is pixels or an error."""
    source = io.BytesIO(content)
    for frame in from_bytes(source.read1, None):
        assert (frame.pixels is None) != (frame.error is None)


def recipe(content: bytes) -> None:
    """Read a recipe, which can then be written down and is still the same."""
    read = read_recipe(_as_file(content, "a.toml"))
    assert read_recipe(_as_file(recipe_toml(read).encode(), "b.toml")) == read


PARSERS: dict[str, Callable[[bytes], None]] = {
    parser.__name__: parser
    for parser in (
        tflite,
        onnx,
        stamp,
        manifest,
        job,
        result,
        image,
        array,
        own_arrays,
        stream,
        recipe,
    )
}


# What stands nowhere in a good document, but is JSON.
_NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 255, 256, 2**31, 2**63 - 1, 2**63, 10**400, 0.5, -0.0, 1e-320,
    1e308, "", "a", "\0", "../../x", "\ud800", "é" * 3000, "=" * 8, [], {}, [[]], [None], {"a": 1},
    ["right", "right"], "tflite", "int8", "float32", "litert", [0] * 1000,
)  # fmt: skip


def altered(document: Any, choices: bytes) -> bytes:
    """Return the JSON of a document in which the choices replaced, removed or doubled values.

    Random bytes are hardly ever JSON: this reaches what lies behind the parser.
    """
    document = json.loads(json.dumps(document))
    numbers = iter(choices)
    with contextlib.suppress(StopIteration):
        while True:
            where = document
            key: Any = None
            while isinstance(where, dict | list) and where:
                keys = list(where) if isinstance(where, dict) else range(len(where))
                holder, key = where, keys[next(numbers) % len(keys)]
                where = holder[key]
                if next(numbers) % 4 == 0:
                    break
            if key is None:
                break
            value = copy.deepcopy(_NASTY[next(numbers) % len(_NASTY)])
            how = next(numbers) % 8
            if how == 0:
                del holder[key]
            elif how == 1 and isinstance(holder, list):
                holder.append(holder[key])
            elif how == 2 and isinstance(holder, dict):
                holder[f"{key}s"] = value
            else:
                holder[key] = value
    return json.dumps(document).encode()


JSON_PARSERS = ("stamp", "manifest", "job", "result")


def enter(name: str, content: bytes) -> bool:
    """Give bytes to a parser; return whether it accepts them."""
    try:
        PARSERS[name](content)
    except HemlineError as error:
        text = str(error)
        assert text, "an error without a word"
        assert len(text.splitlines()) == 1, text
        return False
    return True


@functools.cache
def seeds(name: str, bundle: Path) -> tuple[bytes, ...]:
    """Return valid inputs of a parser, from a bundle; the same ones at every call."""
    return tuple(_seeds(name, bundle))


def _seeds(name: str, bundle: Path) -> Iterator[bytes]:
    if name in ("tflite", "onnx"):
        yield from (path.read_bytes() for path in sorted(bundle.glob(f"int8.{name}")))
    elif name == "stamp":
        for path in sorted(bundle.glob("int8.*")):
            yield json.dumps(to_document(read_stamped(path).stamp)).encode()
    elif name == "manifest":
        yield (bundle / MANIFEST_NAME).read_bytes()
    elif name in ("job", "result"):
        sample = Job(
            id="a",
            artifact="nothing.tflite",
            runtime="onnxruntime",
            images="nothing.npy",
            cells=(JobCell(),),
            want=("outputs", "latencies"),
        )
        document = sample if name == "job" else JobRunner().run(sample)
        yield json.dumps(to_document(document)).encode()
    elif name == "own_arrays":
        yield from _archives()
    elif name == "recipe":
        yield b'base = "plateau"\nmixup = 0.2\n'
        yield from (recipe_toml(each).encode() for each in RECIPES.values())
    elif name == "stream":
        pictures = [*_pictures("array"), *_pictures("image")]
        yield b"".join(
            p for p in pictures if p.startswith((b"\x89PNG", b"\xff\xd8", b"P6", b"\x93"))
        )
    else:
        yield from _pictures(name)


def _archives() -> Iterator[bytes]:
    x = np.random.default_rng(1).integers(0, 256, (12, 5, 4, 3), np.uint8)
    y = np.arange(12) % 3
    names = np.array(["one", "two", "three"])
    for save in (np.savez, np.savez_compressed):
        for arrays in (
            {"x": x, "y": y, "labels": names},
            {"x": (x[..., 0] / 255).astype(np.float32), "y": names[y]},
            {"x_train": x, "y_train": y, "x_test": x[:3].astype(np.int64), "y_test": y[:3]},
        ):
            stream = io.BytesIO()
            save(stream, **arrays)
            yield stream.getvalue()


def _pictures(name: str) -> Iterator[bytes]:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    if name == "array":
        for values in (pixels, pixels[..., 0], np.zeros((28, 28), np.uint8)):
            stream = io.BytesIO()
            np.save(stream, values)
            yield stream.getvalue()
        return
    from PIL import Image

    picture = Image.fromarray(pixels)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP"):
        for mode in ("RGB", "L", "P") if kind in ("PNG", "GIF", "BMP", "TIFF") else ("RGB",):
            stream = io.BytesIO()
            picture.convert(mode).save(stream, kind)
            yield stream.getvalue()
