"""The pictures to try commands with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemline.data.datasets import Images
from hemline.data.samples import PHOTOS, PICTURES, write_samples
from hemline.errors import UsageError


def test_samples_are_images_of_their_class(images: Images, tmp_path: Path) -> None:
    paths = write_samples(images, tmp_path, force=False)
    assert all(path.is_file() for path in paths)
    for name, label in PICTURES.items():
        pixels = np.asarray(Image.open(tmp_path / name))
        at = int(np.flatnonzero(images.test_labels == label)[0])
        assert np.array_equal(pixels, images.test_images[at].squeeze())
    for name, label in PHOTOS.items():
        count = min(60, int((images.train_labels == label).sum()))
        assert len(list((tmp_path / "photos" / name).iterdir())) == count


def test_what_is_there_is_kept(images: Images, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="photos exists"):
        write_samples(images, tmp_path, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert write_samples(images, tmp_path, force=True)
