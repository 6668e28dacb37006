"""Each image has the same say, so that a few with large values widen a range a little only."""

from __future__ import annotations

from hemline.export.quantization.calibrators.observations import Observations, Range


def moving_average(seen: Observations) -> Range:
    """Return the means, over the images, of the smallest and of the largest value of an image.

    The average runs over all images with equal weight: it does not depend on their order.
    """
    return seen.lows / seen.images, seen.highs / seen.images
