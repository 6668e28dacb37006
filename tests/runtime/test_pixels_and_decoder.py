"""From pixels to the tensor and from the tensor to a prediction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemline.contract.specs import InputSpec, OutputSpec
from hemline.errors import DataError
from hemline.runtime.decoder import UNKNOWN, Decoder, best_of
from hemline.runtime.pixels import PixelEncoder, pixel_tables

PIXELS = np.arange(256, dtype=np.float64)


def spec(**fields: object) -> InputSpec:
    return InputSpec(**{"height": 2, "width": 2, "channels": 1, "dtype": "float32", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("bgr", [False, True])
def test_channels_have_a_mean_and_an_order_of_their_own(dtype: str, bgr: bool) -> None:
    means, stds, scale = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0), 1.0
    if dtype == "int8":
        scale = 0.05
    encoder = PixelEncoder(
        spec(channels=3, dtype=dtype, scale=scale, mean=means, std=stds, bgr=bgr)
    )
    image = np.arange(0, 240, 20, dtype=np.uint8).reshape(2, 2, 3)
    ordered = image[..., ::-1] if bgr else image
    expected = (ordered - np.array(means)) / stds / scale
    if dtype == "int8":
        expected = np.round(expected).clip(-128, 127)
    found = encoder.encode(image[None])
    assert found.dtype == dtype
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(encoder.encode_one(image), found)


def test_a_mean_for_each_channel_needs_as_many_channels() -> None:
    with pytest.raises(ValueError, match="one for each channel"):
        spec(mean=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="blue, green and red order needs 3 channels"):
        spec(bgr=True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"dtype": "float32"}, PIXELS),
        ({"dtype": "uint8"}, PIXELS),
        ({"dtype": "int8", "zero_point": -128}, PIXELS - 128),
        ({"dtype": "float32", "mean": 127.5, "std": 127.5}, (PIXELS - 127.5) / 127.5),
        ({"dtype": "int8", "scale": 2.0, "zero_point": 0}, np.minimum(np.round(PIXELS / 2), 127)),
    ],
)
def test_the_table_holds_the_stored_value_of_every_pixel(
    fields: dict[str, object], expected: np.ndarray
) -> None:
    table = pixel_tables(spec(**fields))[0]
    assert table.dtype == fields["dtype"]
    # float32 holds 24 bits: of values up to 255 at most 255 · 2⁻²⁴ is lost
    np.testing.assert_allclose(table.astype(np.float64), expected, atol=255 * 2**-24)


@given(scale=st.floats(0.001, 10), zero_point=st.integers(-128, 127))
def test_any_quantization_keeps_real_values_within_half_a_step(
    scale: float, zero_point: int
) -> None:
    table = pixel_tables(spec(dtype="int8", scale=scale, zero_point=zero_point))[0].astype(
        np.float64
    )
    real = (table - zero_point) * scale
    inside = (table > -128) & (table < 127)
    assert np.all(np.abs(real - PIXELS)[inside] <= scale / 2 * (1 + 1e-9))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2), np.float32), "dtype uint8"),
        (np.full((2, 2), np.nan), "dtype uint8"),
        (np.zeros((2, 2), np.int64), "dtype uint8"),
        (np.zeros((3, 2), np.uint8), r"2 × 2 × 1 values here, not shape \(3, 2"),
        (np.zeros((2, 2, 3), np.uint8), "2 × 2 × 1 values"),
        (np.zeros((0,), np.uint8), "2 × 2 × 1 values"),
        (np.uint8(3), "uint8 array, not uint8"),
        ([[1, 2], [3, 4]], "uint8 array, not list"),
        (None, "uint8 array, not None"),
    ],
)
def test_what_is_no_image_gets_one_clear_line(image: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PixelEncoder(spec()).encode_one(image)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "float32"},
        {"dtype": "uint8"},
        {"dtype": "int8", "zero_point": -128},
        {"dtype": "int8", "scale": 2.0, "zero_point": 3},
        {"dtype": "float32", "mean": 127.5, "std": 127.5},
    ],
)
def test_one_image_and_a_batch_are_encoded_alike(fields: dict[str, object]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 1), np.uint8)
    encoder = PixelEncoder(spec(**fields))
    batch = encoder.encode(images)
    for image, expected in zip(images, batch, strict=True):
        np.testing.assert_array_equal(encoder.encode_one(image)[0], expected)
        np.testing.assert_array_equal(encoder.encode_one(image[..., 0])[0], expected)


def test_strided_and_read_only_images_give_the_same_tensor() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)[::2, ::2]
    image.flags.writeable = False
    encoder = PixelEncoder(spec(dtype="int8", zero_point=-128))
    expected = (image.astype(np.int16) - 128).astype(np.int8)[np.newaxis, ..., np.newaxis]
    np.testing.assert_array_equal(encoder.encode_one(image), expected)


def decoder(**fields: object) -> Decoder:
    return Decoder(OutputSpec(size=3, dtype="float32"), ("a", "b", "c"), **fields)  # type: ignore[arg-type]


def test_stored_logits_become_real_ones() -> None:
    output = OutputSpec(size=3, dtype="int8", scale=0.5, zero_point=10)
    logits = Decoder(output, ("a", "b", "c")).logits(np.array([[10, 12, -128]], np.int8))
    np.testing.assert_array_equal(logits, [[0.0, 1.0, -69.0]])


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
@pytest.mark.parametrize("classes", [3, 200])
def test_the_score_is_the_softmax_at_the_temperature(dtype: str, classes: int) -> None:
    random = np.random.default_rng(classes)
    scale = 1.0 if dtype == "float32" else 0.1
    output = OutputSpec(size=classes, dtype=dtype, scale=scale)  # type: ignore[arg-type]
    row = random.integers(0, 100, classes).astype(dtype)
    labels = [str(number) for number in range(classes)]
    prediction = Decoder(output, labels, temperature=2.0).decode(row)
    logits = row.astype(np.float64) * scale
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert (prediction.index, prediction.label) == (row.argmax(), str(row.argmax()))
    # a few float32 operations on values under 1: some units of 2⁻²⁴
    assert prediction.score == pytest.approx(float(expected.max()), abs=1e-6)
    np.testing.assert_allclose(prediction.scores, expected, atol=1e-6)
    assert [score for _, score in prediction.top(3)] == sorted(prediction.scores, reverse=True)[:3]


def test_more_than_256_classes_keep_their_indices() -> None:
    rows = np.zeros((2, 300), np.float32)
    rows[0, 299], rows[1, 43] = 5.0, 5.0  # 43 is 299 in one byte
    many = Decoder(OutputSpec(size=300, dtype="float32"), [f"c{at}" for at in range(300)])
    assert [many.decode(row).label for row in rows] == ["c299", "c43"]
    assert [each.index for each in many.decode_batch(rows)] == [299, 43]
    assert many.decode(rows[0]).top(1)[0][0] == "c299"


def test_a_score_that_does_not_exceed_the_threshold_is_unknown() -> None:
    prediction = decoder(unknown_threshold=0.9).decode(np.array([0, 0.1, 0], np.float32))
    assert (prediction.label, prediction.index) == (UNKNOWN, 1)


def test_huge_logits_do_not_overflow() -> None:
    prediction = decoder().decode(np.array([1e30, -1e30, 0], np.float32))
    assert prediction.score == 1.0
    np.testing.assert_array_equal(prediction.scores, [1, 0, 0])


def test_the_best_classes_of_predictions_do_not_depend_on_their_order() -> None:
    rows = np.float32([[3, 2, 1], [1, 3, 2], [2, 1, 3]])
    found = decoder().decode_batch(rows)
    for order in ([0, 1, 2], [1, 0, 2], [0, 2], [2, 2, 2]):
        tops = [[label for label, _ in each] for each in best_of([found[at] for at in order], 2)]
        assert tops == [[["a", "b"], ["b", "c"], ["c", "a"]][at] for at in order]
