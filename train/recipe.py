"""How to train: every constant in one frozen dataclass, each one also a command-line option."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from hemline.card import Scalar
from hemline.errors import UnknownNameError, UsageError

Precision = Literal["auto", "float32", "mixed_bfloat16"]
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 twice, ARM


_HELP = "help"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. The reasons of the default recipe stand beside RECIPES."""

    epochs: int = field(default=24, metadata={_HELP: "passes over the training images"})
    batch: int = field(default=250, metadata={_HELP: "images in a step"})
    learning_rate: float = field(
        default=0.03, metadata={_HELP: "length of a step relative to a convolution kernel's norm"}
    )
    other_learning_rate: float = field(
        default=0.1, metadata={_HELP: "step size of everything else (stem, norms, dense)"}
    )
    momentum: float = field(default=0.9, metadata={_HELP: "Nesterov momentum"})
    weight_decay: float = field(
        default=5e-4, metadata={_HELP: "L2 penalty of the stem's and dense kernels"}
    )
    warmup: float = field(
        default=0.15, metadata={_HELP: "share of all steps until the rate is at its peak, 0 … 1"}
    )
    label_smoothing: float = field(
        default=0.05, metadata={_HELP: "share of each target spread over all classes, 0 … 1"}
    )
    shift: int = field(default=2, metadata={_HELP: "largest random shift, pixels"})
    flip: bool = field(default=True, metadata={_HELP: "flip half of the images left to right"})
    cutout: int = field(
        default=0, metadata={_HELP: "side of the erased square, pixels; 0 for none"}
    )
    limit: int = field(
        default=0, metadata={_HELP: "use only the first so many training images; 0 for all"}
    )
    validation: int = field(default=5000, metadata={_HELP: "images kept apart for validation"})
    precision: Precision = field(
        default="auto", metadata={_HELP: "auto, float32 or mixed_bfloat16"}
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "validation"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1")
        for name in ("shift", "cutout", "limit", "weight_decay"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative")
        for name in ("warmup", "label_smoothing", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be from 0 to under 1")
        for name in ("learning_rate", "other_learning_rate"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive")
        if self.precision not in ("auto", "float32", "mixed_bfloat16"):
            raise UnknownNameError(
                "precision", self.precision, ("auto", "float32", "mixed_bfloat16")
            )

    def as_fields(self) -> dict[str, Scalar]:
        """Return every field, for the card."""
        return asdict(self)

    @classmethod
    def options(cls) -> dict[str, tuple[type, Any, str]]:
        """Return field name to (type, default, help), for the command line."""
        return {
            each.name: (type(each.default), each.default, each.metadata[_HELP])
            for each in fields(cls)
        }


RECIPES: dict[str, Recipe] = {
    "fast": Recipe(),
    # to see that everything works: the accuracy is poor and meant to be
    "quick": Recipe(epochs=2, limit=6000, validation=600),
}


def find_recipe(name: str) -> Recipe:
    """Return a row of the RECIPES table; raises UnknownNameError with the nearest name."""
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]


def resolve_precision(precision: Precision) -> str:
    """Return float32 or mixed_bfloat16: for "auto" the latter where the processor has it."""
    if precision != "auto":
        return precision
    try:
        flags = set(Path("/proc/cpuinfo").read_text(errors="replace").split())
    except OSError:
        return "float32"
    return "mixed_bfloat16" if flags & _BFLOAT16_FLAGS else "float32"
