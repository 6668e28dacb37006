"""How to train: every constant in one frozen dataclass, each one also a command-line option."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from hemline.card import Scalar
from hemline.errors import UnknownNameError, UsageError

Precision = Literal["auto", "float32", "mixed_bfloat16"]
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 twice, ARM


def _field(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. The reasons of the default recipe stand beside RECIPES."""

    epochs: int = _field(34, "passes over the training images")
    batch: int = _field(250, "images in a step")
    learning_rate: float = _field(0.06, "length of a step relative to a convolution kernel's norm")
    other_learning_rate: float = _field(0.1, "step size of everything else (stem, norms, dense)")
    momentum: float = _field(0.9, "Nesterov momentum")
    weight_decay: float = _field(5e-4, "L2 penalty of the stem's and dense kernels")
    warmup: float = _field(0.15, "share of all steps until the rate is at its peak, 0 … 1")
    label_smoothing: float = _field(0.05, "share of each target spread over all classes, 0 … 1")
    shift: int = _field(1, "largest random shift, pixels")
    flip: bool = _field(True, "flip half of the images left to right")
    cutout: int = _field(0, "side of the erased square, pixels; 0 for none")
    limit: int = _field(0, "use only the first so many training images; 0 for all")
    validation: int = _field(5000, "images kept apart for validation")
    precision: Precision = _field("auto", "auto, float32 or mixed_bfloat16")

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
            each.name: (type(each.default), each.default, each.metadata["help"])
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
