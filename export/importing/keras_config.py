"""What a Keras file says of itself, read without running any of it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemline.errors import FileFormatError, remedy

_LARGEST_BYTES = 2 << 30  # of a file or of all that an archive unpacks to
_LARGEST_CONFIG = 64 << 20
_WEIGHTS = ("layers", "vars", "model_weights")  # groups of a Keras file
_DEEPEST = 64  # groups in groups; a file with a cycle has no end
_CODE = ("Lambda", "__lambda__")
_CALLS = ("TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda")  # Keras 2: any TensorFlow call
_OF_FILES = (  # what such a layer may call that is not arithmetic
    *("io.", "raw_ops.", "py_function", "numpy_function", "saved_model."),
    *("ReadFile", "WriteFile", "PyFunc"),
)
_OWN = ("keras", "keras_core", "tf_keras", "builtins")


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasConfig:
    """A model's configuration.

    version: of the Keras that wrote the file; empty where it does not say.
    config: the document.
    """

    version: str
    config: Any

    def require_harmless(self) -> None:
        """Raise FileFormatError for code that loading would run, by its name."""
        for node in _nodes(self.config):
            name, label = str(node.get("class_name", "")), _label(node)
            if name in _CODE:
                raise FileFormatError(
                    f"contains Python code in {label}, which runs when the model is loaded",
                    remedy=remedy("trust the file"),
                )
            if name in _CALLS:
                _require_arithmetic(node, label)
            if _is_function(node, name):
                raise FileFormatError(f"calls the function {node['module']}.{name}")
            package, _, registered = str(node.get("registered_name") or name).rpartition(">")
            foreign = node.get("module") and str(node["module"]).split(".")[0] not in _OWN
            if foreign or (package and package not in _OWN):
                raise FileFormatError(
                    f"needs the custom object {registered or name} ({label}), whose code is not "
                    "in the file",
                    remedy=remedy("without custom objects"),
                )

    @property
    def takes_pixels(self) -> bool:
        """Return whether the first layer that computes is a Rescaling or a Normalization."""
        for node in _nodes(self.config):
            name = str(node.get("class_name", ""))
            if name in ("Rescaling", "Normalization"):
                return True
            if name in _COMPUTING:
                return False
        return False


def _is_function(node: dict[str, Any], name: str) -> bool:
    """Return whether a node names a function of a module where Keras expects a class."""
    module = node.get("module")
    return bool(module and module != "builtins" and name and not name[0].isupper())


def _require_arithmetic(node: dict[str, Any], label: str) -> None:
    """Raise FileFormatError for a layer that calls TensorFlow to read a file or to run Python."""
    text = json.dumps(node.get("config"))
    found = next((each for each in _OF_FILES if each in text), None)
    if found is not None:
        raise FileFormatError(f"calls {found} in {label}: it reads files or runs Python")


_COMPUTING = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization")


def read_config(path: Path) -> KerasConfig:
    """Read the configuration of a `.keras` or HDF5 file; raises FileFormatError for a broken one.

    Its messages begin with what the file does; the caller puts the path in front.
    """
    if path.stat().st_size > _LARGEST_BYTES:
        raise FileFormatError(f"is larger than {_LARGEST_BYTES >> 30} GB")
    try:
        return _of_archive(path) if zipfile.is_zipfile(path) else _of_hdf5(path)
    except FileFormatError:
        raise
    # zipfile, zlib and h5py raise many kinds of errors for bytes that are not theirs
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise FileFormatError(f"is not a complete Keras file ({said})") from error


def is_keras2(path: Path) -> bool:
    """Return whether Keras 2 wrote a file; False for one that cannot be read."""
    try:
        version = read_config(path).version
    except (FileFormatError, OSError):
        return False
    return (not version.startswith("3") and path.suffix != ".keras") or version.startswith("2")


def _of_archive(path: Path) -> KerasConfig:
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
            if total > _LARGEST_BYTES:
                raise FileFormatError(
                    f"unpacks to {total / 1000000000.0:.3g} GB: too large for a device"
                )
            config = _json(archive, "config.json")
            metadata = _json(archive, "metadata.json")
            _require_weights_inside(archive)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        raise FileFormatError(f"is not a complete .keras file ({error})") from error
    if not isinstance(metadata, dict):
        raise FileFormatError("has a metadata.json that is not an object")
    return KerasConfig(version=str(metadata.get("keras_version", "")), config=config)


def _require_weights_inside(archive: zipfile.ZipFile) -> None:
    import h5py

    for name in archive.namelist():
        if name.endswith(".h5"):
            with archive.open(name) as member, h5py.File(member, "r") as file:
                _require_inside(file)


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > _LARGEST_CONFIG:
        raise FileFormatError(f"has a {name} of more than {_LARGEST_CONFIG >> 20} MB")
    return _parsed(archive.read(name))


def _of_hdf5(path: Path) -> KerasConfig:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _require_inside(file)
            config = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "")
            weights = any(name.startswith("layer_names") for name in file.attrs)
            weights = weights or any(name in file for name in _WEIGHTS)
    except OSError as error:
        raise FileFormatError(f"is not a complete HDF5 or .keras file ({error})") from error
    if config is None and not weights:
        raise FileFormatError("is an HDF5 file without a Keras model")
    if config is None:
        raise FileFormatError(
            "contains weights without the model", remedy=remedy("save the whole model")
        )
    return KerasConfig(version=_text(version), config=_parsed(_text(config)))


def _require_inside(file: Any) -> None:
    """Raise FileFormatError for an HDF5 file that reads other files or declares huge tensors."""
    import h5py

    waiting: list[tuple[Any, int]] = [(file, 0)]
    while waiting:
        group, depth = waiting.pop()
        if depth > _DEEPEST:
            raise FileFormatError(f"nests its groups more than {_DEEPEST} deep")
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise FileFormatError(f"refers to another file through {name}")
            item = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(item, h5py.Group):
                waiting.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                _require_plain(item, name)


def _require_plain(item: Any, name: str) -> None:
    if item.external or item.is_virtual:
        raise FileFormatError(f"refers to another file through {name}")
    if item.nbytes > _LARGEST_BYTES:
        raise FileFormatError(f"has a tensor of {item.nbytes / 1e9:.3g} GB ({name})")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"has an unreadable configuration ({error})") from error


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary in a document, outer ones first."""
    waiting = [value]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, dict):
            yield each
            waiting[:0] = each.values()
        elif isinstance(each, list):
            waiting[:0] = each


def _label(node: dict[str, Any]) -> str:
    config = node.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return f"the layer {name!r}" if name else str(node.get("class_name"))
