"""Pretrained weights of transfer models: a file that the user names, or what Keras downloads."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hemline import files
from hemline.contract.checkpoint import MODEL_NAME, is_checkpoint
from hemline.data.fetch import download, reach
from hemline.errors import (
    DataError,
    FetchError,
    FileFormatError,
    UnknownNameError,
    UsageError,
    remedy,
)
from hemline.train.nets.models import ModelRow
from hemline.train.tensorflow import quiet_keras

log = logging.getLogger(__name__)

IMAGENET, RANDOM = "imagenet", "random"
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_LARGEST_BYTES, _LONGEST_SECONDS = 1 << 28, 3600.0  # of a download: resnet50 has 95 MB
_SIGNATURES = {".h5": _HDF5, ".hdf5": _HDF5, ".keras": _ZIP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """ImageNet weights without the top, as keras.applications publishes them.

    url: address of the file.
    md5: of its bytes; None where the library has none.
    """

    url: str
    md5: str | None

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return self.url.rpartition("/")[2]


def pretrained_weights(model: ModelRow, choice: str | None) -> Path | None:
    """Return the file that `choice` means: imagenet, random (None), a path, or a checkpoint's.

    No choice means imagenet for models that have such weights, and random for the others. Raises
    FetchError when no ImageNet weights can be had, UsageError or FileFormatError for a path that
    cannot be weights. Whether they fit is seen when the model is built.
    """
    if model.transfer_recipe is None and choice is not None:
        raise UsageError(f"{model.name} has no pretrained weights: it starts from random ones")
    if model.transfer_recipe is None or choice == RANDOM:
        return None
    if choice not in (IMAGENET, None):
        return _named(Path(choice or ""))
    wanted = published(model)
    try:
        return _fetched(wanted)
    except DataError as error:
        raise FetchError(
            f"no ImageNet weights for {model.name}: {error}",
            remedy=remedy("weights elsewhere", url=wanted.url, file=wanted.name),
        ) from error


def published(model: ModelRow) -> Published:
    """Return what keras.applications downloads for a model; asked of the library itself."""
    return _PUBLISHED[model.name](quiet_keras().applications)


def _mobilenetv2(applications: ModuleType) -> Published:
    from hemline.train.nets.transfer import ALPHA

    base = sys.modules[applications.MobileNetV2.__module__].BASE_WEIGHT_PATH
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{ALPHA}_224_no_top.h5"
    return Published(url=f"{base}{name}", md5=None)


def _vgg16(applications: ModuleType) -> Published:
    url = sys.modules[applications.VGG16.__module__].WEIGHTS_PATH_NO_TOP
    # the library has it in the middle of a function
    return Published(url=url, md5="6d6bbae143d832006294945121d1f1fc")


def _resnet50(applications: ModuleType) -> Published:
    home = sys.modules[applications.ResNet50.__module__]
    url = f"{home.BASE_WEIGHTS_PATH}resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return Published(url=url, md5=home.WEIGHTS_HASHES["resnet50"][1])


_PUBLISHED: dict[str, Callable[[ModuleType], Published]] = {
    "mobilenetv2": _mobilenetv2,
    "vgg16": _vgg16,
    "resnet50": _resnet50,
}


def _named(path: Path) -> Path:
    if is_checkpoint(path):
        return path / MODEL_NAME
    if not path.exists() and not path.suffix:
        raise UnknownNameError("weights", str(path), (IMAGENET, RANDOM))
    signature = _SIGNATURES.get(path.suffix)
    if not path.is_file() or signature is None:
        raise UsageError(
            f"{path} is not a weights file: name an .h5, .weights.h5 or .keras file, {IMAGENET} "
            f"or {RANDOM}"
        )
    if files.read_bytes(path)[: len(signature)] != signature:
        raise FileFormatError(f"{path} does not match its file type: fetch or save it again")
    return path


def _fetched(wanted: Published) -> Path:
    """Return the file in Keras' cache, downloaded if need be; raises DataError."""
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    kept = home / "models" / wanted.name  # where Keras itself looks for it
    if kept.is_file() and _is_whole(kept, wanted):
        return kept
    reach(wanted.url)
    log.info("downloading %s", wanted.url)
    content = download(wanted.url, largest=_LARGEST_BYTES, seconds=_LONGEST_SECONDS)
    with files.replacing(kept) as partial:
        partial.write_bytes(content)
        if not _is_whole(partial, wanted):
            raise DataError("the download is not the requested file")
    return kept


def _is_whole(path: Path, wanted: Published) -> bool:
    if wanted.md5 is not None:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == wanted.md5
    import h5py

    try:
        with h5py.File(path):  # it knows its own length
            return True
    except OSError:
        return False
