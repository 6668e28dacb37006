"""What can be changed in a model by a recipe, without being another model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.errors import UsageError

if TYPE_CHECKING:
    from hemline.train.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a model is built like.

    width: multiplies channels and units.
    dropout: share of units dropped, in place of the model's own shares; None for those.
    batch_normalization: after convolutions; None for what the model does.
    depth: convolutions that each stage has more than the model's own.
    kernel: side of the convolutions, pixels; 0 for the model's own.
    pooling: max, average, or stride for convolutions that skip pixels; model for the model's own.
    residual: whether pairs of convolutions are added to what they read; None for what the model
        does.
    resize: side that a transfer model brings images to, pixels; 0 for its own.
    weights: file of weights for a transfer model's layers below its top; None for random ones.
    """

    width: float = 1.0
    dropout: float | None = None
    batch_normalization: bool | None = None
    depth: int = 0
    kernel: int = 0
    pooling: str = "model"
    residual: bool | None = None
    resize: int = 0
    weights: Path | None = None

    @classmethod
    def of(cls, recipe: Recipe, *, weights: Path | None = None) -> Design:
        """Return what a recipe says about it."""
        changes = {name: getattr(recipe, name) for name in DESIGNS}
        return cls(**changes, weights=weights)

    def units(self, count: int) -> int:
        """Return how many channels or units there are in place of `count`."""
        return max(1, round(count * self.width))

    def drop(self, share: float) -> float:
        """Return the share of units to drop where the model itself drops `share`."""
        return share if self.dropout is None else self.dropout

    def normalizes(self, own: bool) -> bool:
        """Return whether to normalize where the model itself does so or not."""
        return own if self.batch_normalization is None else self.batch_normalization

    def require_only(self, model: str, names: Collection[str]) -> None:
        """Raise UsageError when a field is changed that is not among those that a model follows."""
        for name in DESIGNS:
            if name not in names and getattr(self, name) != getattr(_DEFAULT, name):
                raise UsageError(f"{model} does not support another {name}: omit it")


_DEFAULT = Design()
DESIGNS = tuple(each.name for each in fields(Design) if each.name != "weights")
