"""Calibrators: each against another implementation of the same method, on values with outliers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from hemline.errors import HemlineError
from hemline.export.quantization.calibrators.entropy import divergence
from hemline.export.quantization.calibrators.histogram import HALF, Histogram
from hemline.export.quantization.calibrators.mse import squared_error
from hemline.export.quantization.calibrators.table import CALIBRATORS, ranges_by

Floats = npt.NDArray[np.float32]
IMAGES, BATCH = 60, 7


def _values() -> dict[str, Floats]:
    """Return values of both signs, of one sign as behind a ReLU, and ones far away in one image."""
    random = np.random.default_rng(0)
    both = random.normal(0.5, 1, (IMAGES, 40, 50)).astype(np.float32)
    relu = np.maximum(random.laplace(0, 2, (IMAGES, 40, 50)), 0).astype(np.float32)
    outliers = relu.copy()
    outliers[31] *= 12
    return {"both": both, "relu": relu, "outliers": outliers}


VALUES = _values()


def _ranges(name: str) -> dict[str, tuple[float, float]]:
    batches = (
        {key: each[first : first + BATCH] for key, each in VALUES.items()}
        for first in range(0, IMAGES, BATCH)
    )
    return ranges_by(name, batches)


@pytest.mark.parametrize("name", VALUES)
def test_min_max_and_moving_average_are_those_of_numpy(name: str) -> None:
    values = VALUES[name].reshape(IMAGES, -1)
    assert _ranges("min-max")[name] == (values.min(), values.max())
    expected = (values.min(axis=1).mean(), values.max(axis=1).mean())
    assert np.allclose(_ranges("moving-average")[name], expected, rtol=1e-5)


@pytest.mark.parametrize("name", VALUES)
def test_the_percentile_is_that_of_all_values_to_the_width_of_a_bin(name: str) -> None:
    values = VALUES[name]
    width = 2 ** np.ceil(np.log2(np.abs(values).max())) / HALF
    for share, found in zip((1e-4, 1 - 1e-4), _ranges("percentile")[name], strict=True):
        ends = (np.quantile(values, share, method=each) for each in ("lower", "higher"))
        low, high = ends  # between two values any is the quantile
        assert low - width <= found <= high + width


@pytest.mark.parametrize("name", VALUES)
def test_mse_loses_no_more_than_the_best_of_many_thresholds(name: str) -> None:
    """The squared error of all values themselves, over thresholds of another spacing."""
    values = VALUES[name].astype(np.float64)

    def lost(low: float, high: float) -> float:
        scale = (high - low) / 255
        rounded = np.clip(np.round((values - low) / scale), 0, 255) * scale + low
        return float(((rounded - values) ** 2).sum())

    ends = (min(0.0, values.min()), values.max())
    largest = max(-ends[0], ends[1])
    thresholds = largest * np.geomspace(1 / 60, 1, 97)
    best = min(lost(max(ends[0], -each), min(ends[1], each)) for each in thresholds)
    found = lost(*_ranges("mse")[name])
    assert found <= 1.1 * best  # thresholds are 5 % apart: the loss is flat at its least


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("threshold", [1.7, 5.0, 40.0])
def test_the_divergence_is_that_of_scipy(name: str, threshold: float) -> None:
    """Count, clip and spread value by value, and let scipy compare the two distributions."""
    histogram = Histogram()
    histogram.add(VALUES[name])
    low = -threshold if name == "both" else 0.0
    scale = (threshold - low) / 255
    inside = (histogram.centres >= low) & (histogram.centres < threshold)
    counts = histogram.counts.astype(float)
    reference = counts[inside]
    reference[0] += counts[histogram.centres < low].sum()
    reference[-1] += counts[histogram.centres >= threshold].sum()
    spread = np.zeros_like(reference)
    steps = [round(each) for each in (histogram.centres[inside] - low) / scale]
    for step in set(steps):
        members = [at for at, each in enumerate(steps) if each == step and reference[at] > 0]
        mass = sum(counts[inside][at] for at, each in enumerate(steps) if each == step)
        for at in members:
            spread[at] = mass / len(members)
    if ((reference > 0) & (spread == 0)).any():
        spread = np.maximum(spread / spread.sum(), 1e-9)
    assert divergence(histogram, low, threshold) == pytest.approx(
        stats.entropy(reference, spread), abs=1e-5
    )


def test_every_calibrator_finds_another_range_where_there_are_outliers() -> None:
    names = [row.name for row in CALIBRATORS.values() if not row.synthetic]
    found = {name: _ranges(name)["outliers"] for name in names}
    assert len(set(found.values())) == len(names)
    largest, usual = float(VALUES["outliers"].max()), float(VALUES["relu"].max())
    assert found["min-max"] == (0, largest)
    assert found["moving-average"][1] < usual
    for name, (low, high) in found.items():
        assert low == 0
        assert high < largest or name == "min-max"


def test_the_percentile_agrees_with_that_of_onnx_runtime() -> None:
    """Its histogram has 2,048 bins of the largest value's width; half of the tail at each end."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector("percentile", False, 8192, 128, 99.98, "same")
    collector.collect({"both": [VALUES["both"]]})
    low, high = (float(each) for each in collector.compute_collection_result()["both"][:2])
    assert np.allclose(_ranges("percentile")["both"], (low, high), atol=0.01)


def test_a_histogram_grows_without_losing_a_count() -> None:
    whole, parts = Histogram(), Histogram()
    values = np.concatenate([VALUES["both"].ravel() / 1000, VALUES["both"].ravel() * 50])
    whole.add(np.float32([values[np.abs(values).argmax()]]))
    whole.counts[:] = 0
    whole.add(values)
    for part in np.split(values, 6):
        parts.add(part)
    assert parts.width == whole.width
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert parts.counts.sum() == values.size
    np.testing.assert_array_equal(parts.counts, np.histogram(values, parts.edges)[0])


def test_the_squared_error_counts_every_value() -> None:
    histogram = Histogram()
    histogram.add(np.float32([0, 0, 1, 3]))
    # a grid up to 1 holds 0 and 1; 3 is off by 2, each to half a bin's width
    assert squared_error(histogram, 0.0, 1.0) == pytest.approx(4, rel=4 / HALF)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_constant_has_a_range(name: str) -> None:
    for value in (0.0, -2.5, 7.0):
        low, high = ranges_by(name, [{"a": np.full((3, 4), value, np.float32)}])["a"]
        assert low <= high
        width = abs(value) / 1000
        assert min(low, 0.0) - width <= value <= max(high, 0.0) + width


@pytest.mark.parametrize("name", CALIBRATORS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused_by_name(name: str, value: float) -> None:
    values = np.float32([[1, 2], [3, value]])
    with pytest.raises(HemlineError, match="relu_3 has values that are not finite numbers"):
        ranges_by(name, [{"relu_3": values}])
