"""Statistics and the budget: known values and edges."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemline.bench.latency_summary import summarize
from hemline.contract.budget import Budget, Candidate, choose, over_budget, over_drop
from hemline.contract.record import Latency
from hemline.contract.specs import SupportedRuntime
from hemline.errors import GateError, UsageError
from hemline.statistics import _trimmed_mean, paired_drop, paired_ratio, wilson
from hemline.tables import macs_text, signed


def test_percentiles_come_from_all_rounds_and_the_spread_from_their_medians() -> None:
    summary = summarize(Latency(rounds_ns=((1000, 2000, 3000), (5000, 6000, 7000))))
    assert (summary.median_us, summary.low_us, summary.high_us) == (4.0, 2.0, 6.0)
    assert summary.invocations == 6


def test_the_wilson_interval_matches_a_published_value() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263, method 3
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@given(total=st.integers(1, 10**6), data=st.data())
def test_the_wilson_interval_holds_the_share(total: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, total))
    low, high = wilson(correct, total)
    assert -1e-9 <= low <= correct / total + 1e-9
    assert correct / total - 1e-9 <= high <= 1 + 1e-9


@pytest.mark.parametrize(
    ("macs", "text"),
    [
        (999, "999 MAC"),
        (25_408, "25 k MAC"),
        (999_499, "999 k MAC"),
        (999_500, "1.0 M MAC"),
        (704_700_000, "704.7 M MAC"),
    ],
)
def test_multiply_accumulates_of_no_model_are_shown_as_zero(macs: int, text: str) -> None:
    assert macs_text(macs) == text


@pytest.mark.parametrize(
    ("points", "text"),
    [(0.0, "+0.00"), (-0.0, "+0.00"), (-0.004, "+0.00"), (-0.006, "-0.01"), (1.0, "+1.00")],
)
def test_points_are_never_a_negative_zero(points: float, text: str) -> None:
    assert signed(points) == text


def test_a_paired_drop_needs_the_same_images() -> None:
    right = np.array([True, True, False, True])
    # Agresti and Min: 1.959964 · √(0 + 1) / (4 + 2), since four equal predictions prove little
    assert paired_drop(right, right) == (0.0, pytest.approx(32.666, abs=1e-3))
    drop, margin = paired_drop(right, np.array([True, False, False, True]))
    assert drop == 25.0
    assert margin > 0
    with pytest.raises(ValueError, match="same images"):
        paired_drop(right, right[:2])


def candidate(name: str, median_us: float, size: int = 1000, drop: float = 0.0) -> Candidate:
    return Candidate(
        artifact=name, runtime="r", size_bytes=size, drop_points=drop, median_us=median_us
    )


def test_the_fastest_within_the_budget_is_chosen() -> None:
    options = [candidate("slow", 90), candidate("fast", 30), candidate("wrong", 10, drop=3.0)]
    assert choose(options, Budget()).artifact == "fast"


def test_of_equally_fast_ones_the_smallest_is_chosen() -> None:
    options = [candidate("large", 30, size=9000), candidate("small", 31, size=1000)]
    assert choose(options, Budget()).artifact == "small"


def test_a_budget_may_name_the_files_to_choose_from() -> None:
    options = [candidate("slow", 90), candidate("fast", 30)]
    assert choose(options, Budget(artifacts=("slow", "other"))).artifact == "slow"
    with pytest.raises(GateError, match="none of other was measured"):
        choose(options, Budget(artifacts=("other",)))


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(UsageError, match="max_kb must be 0 or more"):
        Budget(max_kb=limit)


@pytest.mark.parametrize(
    ("version", "admitted"),
    [("2.3", True), ("2.3.0", True), ("2.10.1", True), ("3.0.dev1", True), ("2.2.9", False)],
)
def test_a_claim_compares_the_leading_numbers(version: str, admitted: bool) -> None:
    assert SupportedRuntime(runtime="litert", minimum="2.3.0").admits("litert", version) == admitted


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (
            Budget(max_drop_points=0.1),
            "\n  only in r loses 0.20 points of validation accuracy .0.1 allowed.$",
        ),
        (Budget(max_kb=0.5), "has 1 kB"),
        (Budget(max_ms=0.01), "takes 0.030 ms"),
    ],
)
def test_a_budget_that_nothing_fits_names_the_reason(budget: Budget, reason: str) -> None:
    with pytest.raises(GateError, match=reason):
        choose([candidate("only", 30, drop=0.2)], budget)
    assert over_budget(candidate("only", 30, drop=0.2), Budget()) is None


@pytest.mark.parametrize(
    ("points", "images", "most", "reason"),
    [
        (
            100 / 33,
            33,
            0.5,
            "loses 1 of 33 validation images (3.03 points; 0.5 allowed, less than one image)",
        ),
        (0.52, 10_000, 0.3, "loses 52 of 10,000 validation images (0.52 points; 0.3 allowed)"),
        (1.0, 100, 0.0, "loses 1 of 100 validation images (1.00 points; 0 allowed)"),
    ],
)
def test_a_loss_over_the_budget_is_told_in_images(
    points: float, images: int, most: float, reason: str
) -> None:
    assert over_drop(points, Budget(max_drop_points=most), images) == reason
    other = replace(
        candidate("b", 30, drop=points), validation_images=images, against="the Keras model of a"
    )
    against = f"{reason} against the Keras model of a"
    assert over_budget(other, Budget(max_drop_points=most)) == against


def rounds(medians: list[float]) -> list[list[int]]:
    """Return rounds of three values with these medians."""
    return [[int(each) - 10, int(each), 10 * int(each)] for each in medians]


def test_a_ratio_of_times_is_that_of_the_rounds_medians_whatever_both_drift_by() -> None:
    drift = np.linspace(1000, 9000, 10) * 1000
    ratio, low, high = paired_ratio(rounds(list(drift)), rounds(list(1.25 * drift)))
    assert (round(ratio, 3), round(low, 3), round(high, 3)) == (1.25, 1.25, 1.25)
    noise = np.exp(np.random.default_rng(4).normal(0, 0.01, 10))
    ratio, low, high = paired_ratio(rounds(list(drift)), rounds(list(1.25 * drift * noise)))
    assert 1.23 < low < ratio < high < 1.27


def test_one_round_that_something_else_slowed_down_moves_no_ratio() -> None:
    even = list(10_000_000 * np.exp(np.random.default_rng(5).normal(0, 0.01, 10)))
    slowed = [2 * even[0], *even[1:]]
    ratio, low, high = paired_ratio(rounds([10_000_000] * 10), rounds(slowed))
    assert low < 1 < high < 1.03
    assert abs(ratio - 1) < 0.01


def test_one_outlier_among_few_equal_rounds_says_nothing_and_breaks_nothing() -> None:
    before = [[ns] for ns in (20020, 20020, 20010, 20020, 20020, 20010, 20020, 20020)]
    after = [[ns] for ns in (18020, 18010, 18020, 90_000_000, 18010, 18020, 18020, 18010)]
    ratio, low, high = paired_ratio(before, after, 0.99)
    assert low < 1 < ratio < high < math.inf


def test_too_few_rounds_or_others_have_no_ratio() -> None:
    for before, after in ((2, 2), (4, 5)):
        with pytest.raises(ValueError, match="are not three pairs"):
            paired_ratio(rounds([1000] * before), rounds([1000] * after))


def test_nine_of_ten_intervals_hold_the_ratio_at_least() -> None:
    samples = np.random.default_rng(7).normal(0, 0.014, (100, 10))
    assert (
        sum(abs(mean) <= margin for mean, margin in (_trimmed_mean(s, 0.95) for s in samples)) > 90
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 10, 20])
@pytest.mark.parametrize("noise", ["normal", "heavy", "outliers", "skewed"])
def test_an_interval_holds_the_ratio_as_often_as_it_says(count: int, noise: str) -> None:
    """Of 1000 intervals 950 (or 990) are expected.

    4 standard errors of a count of 1000 are 28 (13) intervals. Noise is skewed only where one of
    two cells is disturbed more than the other; few rounds cannot show it.
    """
    rng = np.random.default_rng(7)
    shape = (1000, count)
    samples = {
        "normal": rng.normal(0, 0.014, shape),
        "heavy": 0.01 * rng.standard_t(3, shape),
        "outliers": rng.normal(0, 0.014, shape)
        + (rng.random(shape) < 0.1) * rng.choice([-1, 1], shape) * rng.exponential(0.1, shape),
        "skewed": rng.exponential(0.014, shape),
    }[noise]
    # a trimmed mean of few skewed values is not that of many
    truth = float(np.mean([_trimmed_mean(each, 0.5)[0] for each in samples]))
    for level, fewest in ((0.95, 922), (0.99, 977)):
        fits = [_trimmed_mean(each, level) for each in samples]
        held = sum(abs(mean - truth) <= margin for mean, margin in fits)
        assert held >= (fewest if noise != "skewed" else fewest - 25), (level, held)
