"""What every converter takes and gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import InputSpec, OutputSpec

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A model file before it is stamped, with the specs that were read back from it.

    content: bytes of the file.
    input: how pixels become its input tensor.
    outputs: what it gives: the logits, and perhaps an embedding.
    """

    content: bytes
    input: InputSpec
    outputs: tuple[OutputSpec, ...]


def with_extremes(images: Pixels) -> Pixels:
    """Return the images with one black and white one in front, so that the input range is 0 … 255.

    Otherwise a set of dark images would shrink the input's scale, and pixels would no longer go in
    unchanged. Half of the image is black: convolutions see flat areas only, as in real images.
    """
    extreme = np.zeros_like(images[:1])
    extreme[:, : extreme.shape[1] // 2] = 255
    return np.concatenate([extreme, images])
