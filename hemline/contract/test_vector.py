"""Images with known answers that travel inside every artifact."""

import zlib
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hemline.contract.frozen import dataclass
from hemline.errors import FileFormatError

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class TestVector:
    """An image and what the Keras model answers, for a self-test on the device.

    pixels: base64 of zlib of uint8 (height, width, channels), row-major.
    logits: float logits of the Keras model, one per class.
    """

    __test__: ClassVar[bool] = False  # not a class of tests, whatever pytest thinks of its name

    pixels: str
    logits: tuple[float, ...]

    @classmethod
    def of(cls, image: "npt.NDArray[np.uint8]", logits: "npt.NDArray[np.float32]") -> "TestVector":
        """Pack a uint8 (height, width, channels) image with its float32 (classes,) logits."""
        import base64

        packed = base64.b64encode(zlib.compress(image.tobytes(), 9)).decode()
        return cls(pixels=packed, logits=tuple(round(float(value), 5) for value in logits))

    def image(self, shape: tuple[int, int, int]) -> "npt.NDArray[np.uint8]":
        """Unpack the uint8 image of `shape`; raises FileFormatError when it does not fit."""
        import base64  # here, because a device reads them in a self-test only

        size = shape[0] * shape[1] * shape[2]
        try:
            raw = zlib.decompressobj().decompress(base64.b64decode(self.pixels), size + 1)
            return np.frombuffer(raw, np.uint8).reshape(shape)
        except (ValueError, zlib.error) as error:
            raise FileFormatError(f"a test vector is damaged ({error}): export again") from error
