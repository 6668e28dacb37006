"""The remedies for an 8-bit file that loses too much, the cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from hemline.export.quantization.calibrators.table import CALIBRATORS
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.scheme import Scheme
from hemline.export.schemes import SCHEMES

Variants = Callable[[PostTrainingOptions, PostTrainingOptions], list[PostTrainingOptions]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A row of the RUNGS table.

    name: of the remedy, for tables.
    scheme: name of the scheme whose files have it.
    variants: ways to find ranges, by the best one so far and the user's; the best is kept.
    """

    name: str
    scheme: str
    variants: Variants

    def rows(self, formats: Iterable[str]) -> tuple[Scheme, ...]:
        """Return the rows of its scheme in some formats."""
        wanted = set(formats)
        return tuple(
            row for row in SCHEMES.values() if row.name == self.scheme and row.format in wanted
        )


def _as_before(best: PostTrainingOptions, usual: PostTrainingOptions) -> list[PostTrainingOptions]:
    del usual
    return [best]


def _other_calibrators(
    best: PostTrainingOptions, usual: PostTrainingOptions
) -> list[PostTrainingOptions]:
    del usual
    others = (row for row in CALIBRATORS.values() if row.name != best.calibrator)
    return [replace(best, calibrator=row.name) for row in others if not row.synthetic]


def _corrections(
    best: PostTrainingOptions, usual: PostTrainingOptions
) -> list[PostTrainingOptions]:
    """Return the corrections, with either calibrator: equalized layers may need no clipping."""
    tried = (
        replace(each, equalization=equalization, bias_correction=bias_correction)
        for each in (best, usual)
        for equalization, bias_correction in ((True, False), (False, True), (True, True))
    )
    return [each for each in dict.fromkeys(tried) if each not in (best, usual)]


RUNGS = (
    Rung(name="int8", scheme="int8", variants=_as_before),
    Rung(name="calibration", scheme="int8", variants=_other_calibrators),
    Rung(name="correction", scheme="int8", variants=_corrections),
    Rung(name="mixed precision", scheme="int8-mixed", variants=_as_before),
    Rung(name="training", scheme="int8-qat", variants=_as_before),
)


def described(options: PostTrainingOptions, before: PostTrainingOptions | None) -> str:
    """Return how ranges are found, in a few words; only what is other than before."""
    words = {
        f"calibrator {options.calibrator}": before is None
        or before.calibrator != options.calibrator,
        "equalization": options.equalization and not (before and before.equalization),
        "bias correction": options.bias_correction and not (before and before.bias_correction),
    }
    return ", ".join(each for each, is_new in words.items() if is_new) or "unchanged"
