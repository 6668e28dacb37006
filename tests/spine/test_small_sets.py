"""What few images can show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaincinv

from hemline.small_sets import accuracy_text, changed_text, few_images
from hemline.statistics import paired_drop, upper_share, wilson


@pytest.mark.parametrize(("count", "total"), [(0, 30), (1, 30), (29, 30), (5, 299), (51, 10_000)])
def test_the_upper_end_is_that_of_clopper_and_pearson(count: int, total: int) -> None:
    expected = betaincinv(count + 1, total - count, 0.95)
    assert upper_share(count, total) == pytest.approx(expected, rel=1e-9)


def test_a_share_of_all_has_no_bound_below_one() -> None:
    assert upper_share(30, 30) == 1.0


def test_no_changed_prediction_of_few_images_proves_little() -> None:
    assert changed_text(0, 30) == (
        "0 of 30 predictions changed; up to 9.5 % could (one-sided 95 %): too few images to prove "
        "a loss under 1 point"
    )
    assert changed_text(0, 10_000) == (
        "0 of 10,000 predictions changed; up to 0.03 % could (one-sided 95 %)"
    )
    assert changed_text(30, 30).startswith("30 of 30 predictions changed; up to 100 % could")


def test_299_images_prove_a_point_and_298_do_not() -> None:
    assert few_images(298)
    assert few_images(299) == ()
    assert few_images(30) == (
        "30 test images are too few to prove a loss under 9.5 points (one-sided 95 %): 300 are "
        "needed for 1 point",
    )


def test_an_accuracy_of_few_images_has_its_interval() -> None:
    low, high = wilson(26, 27)
    assert (round(100 * low, 1), round(100 * high, 1)) == (81.7, 99.3)
    assert accuracy_text(26, 27) == "96.30 % (81.7–99.3 %)"
    assert accuracy_text(9310, 10_000) == "93.10 %"


def test_a_difference_of_nothing_is_no_certainty_on_few_images() -> None:
    equal = np.ones(30, bool)
    assert paired_drop(equal, equal) == (0.0, pytest.approx(6.125, abs=1e-3))
    equal = np.ones(10_000, bool)
    assert paired_drop(equal, equal) == (0.0, pytest.approx(0.0196, abs=1e-3))
