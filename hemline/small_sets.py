"""What few images can show: an accuracy with its interval, and the loss that they cannot prove."""

from __future__ import annotations

from hemline.statistics import upper_share, wilson
from hemline.tables import Figure, percent

_POINTS = 1.0  # a loss that a test set should be able to prove
_ENOUGH = 300  # images for that: with 299, no changed prediction proves less than 1 %


def accuracy_text(correct: int, images: int) -> Figure:
    """Return an accuracy, with its 95 % Wilson interval where the images are few."""
    text, interval = percent(correct / images), f" ({interval_text(correct, images)} %)"
    return Figure(f"{text}{interval * bool(few_images(images))}", text.value, text.unit)


def interval_text(correct: int, images: int) -> str:
    """Return the 95 % Wilson interval of an accuracy, in percent."""
    low, high = wilson(correct, images)
    return f"{100 * low:.1f}–{100 * high:.1f}"


def few_images(images: int, split: str = "test") -> tuple[str, ...]:
    """Return a sentence on the loss that few images can prove if none is lost; none for enough."""
    if (least := 100 * upper_share(0, images)) <= _POINTS:
        return ()
    return (
        f"{images:,} {split} images are too few to prove a loss under {least:.1f} points "
        f"(one-sided 95 %): {_ENOUGH} are needed for {_POINTS:g} point",
    )


def changed_text(changed: int, images: int) -> str:
    """Return how many predictions changed, and how many could by these images."""
    most = 100 * upper_share(changed, images)
    text = (
        f"{changed:,} of {images:,} predictions changed; up to "
        f"{most:.{'0f' if most >= 10 else '2g'}} % could (one-sided 95 %)"
    )
    few = f": too few images to prove a loss under {_POINTS:g} point"
    return f"{text}{few * bool(few_images(images))}"
