"""Read Parquet files with a column of image files' bytes, as Hugging Face's data sets have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hemline.data.sources.items import Item
from hemline.errors import BackendError, DataError, first_line

_IMAGES = ("image", "img", "image_bytes", "bytes", "jpg", "jpeg", "png", "picture", "content")
_LABELS = ("label", "labels", "class", "cls", "label_name", "class_name", "fine_label", "target")
_ROWS = 64  # read at a time


def read_parquet(path: Path, name: str) -> Iterator[Item]:
    """Yield the images in a Parquet file. Raises DataError where it is damaged or cut short.

    An image is the bytes of a file, or a struct with them in `bytes`.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise BackendError(
            f"reading {path} needs pyarrow (pip install 'pyarrow<26'): {first_line(error)}"
        ) from error
    at = 0
    try:
        with ParquetFile(path, memory_map=True) as file:
            image, label = _columns(path, file.schema_arrow.names)
            names = _class_names(file.schema_arrow.metadata or {}, label)
            for batch in file.iter_batches(_ROWS, columns=[image, *([label] if label else [])]):
                labels = batch.column(label).to_pylist() if label else [None] * len(batch)
                for content, found in zip(batch.column(image), labels, strict=True):
                    yield Item(f"{name}/{at}", _bytes(content.as_py()), names.get(found, found))
                    at += 1
    except (pyarrow.ArrowException, OSError) as error:
        where = f"row {at:,} cannot be read" if at else "it is damaged or cut short"
        raise DataError(f"{path}: {where} ({first_line(error)}): copy it again") from error


def _columns(path: Path, names: list[str]) -> tuple[str, str | None]:
    """Return the columns of the images and of their classes. Raises DataError without images."""
    image = next((each for each in _IMAGES if each in names), None)
    if image is None:
        raise DataError(f"{path} has columns {', '.join(names)}: call that of the images 'image'")
    return image, next((each for each in _LABELS if each in names), None)


def _bytes(value: Any) -> bytes:
    """Return an image file's bytes; none for a row without, which cannot be read."""
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else b""


def _class_names(metadata: dict[bytes, bytes], label: str | None) -> dict[Any, str]:
    """Return number to name of the classes, as Hugging Face's library writes them in a file."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
        return dict(enumerate(map(str, names)))
    except (LookupError, TypeError, ValueError):
        return {}
