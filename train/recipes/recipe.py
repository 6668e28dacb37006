"""How to train: every constant in one frozen dataclass, each one also a command-line option."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from hemline.contract.card import Scalar
from hemline.errors import UnknownNameError, UsageError
from hemline.train.recipes.optimizers import OPTIMIZERS
from hemline.train.recipes.schedules import SCHEDULES

POOLING = ("model", "max", "average", "stride")

_CHOICES: dict[str, Iterable[str]] = {
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "precision": ("auto", "float32", "mixed_bfloat16"),
    "monitor": ("loss", "accuracy"),
    "class_weights": ("none", "balanced"),
    "strategy": ("none", "mirrored"),
    "pooling": POOLING,
}


def _field(default: Any, text: str, kind: type | None = None, *, section: str = "") -> Any:
    """Return a field with its help; `kind` is that of the values when the default is None.

    `section` is the heading of it and of the fields after it.
    """
    found = {"help": text, "kind": kind or type(default), "section": section}
    return field(default=default, metadata=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. Each field has its help; RECIPES has the reasons of each recipe."""

    epochs: int = _field(24, "passes over the training images", section="Length and data")
    batch: int = _field(250, "images per step")
    limit: int = _field(0, "use only the first N training images; 0: all")
    validation: int = _field(5000, "images held out for validation, at most a fifth by default")
    optimizer: str = _field("sphere-muon", f"one of {', '.join(OPTIMIZERS)}", section="Optimizer")
    learning_rate: float = _field(
        0.03, "peak learning rate (sphere-muon: relative to the norm of the kernel)"
    )
    other_learning_rate: float = _field(
        0.1, "sphere-muon: learning rate of everything but the kernels (stem, norms, dense)"
    )
    momentum: float = _field(0.9, "momentum of sgd and sphere-muon (Nesterov)")
    weight_decay: float = _field(5e-4, "for adamw, sgd (decoupled) and sphere-muon (stem, dense)")
    schedule: str = _field("one-cycle", f"one of {', '.join(SCHEDULES)}", section="Schedule")
    warmup: float = _field(0.15, "share of all steps before the peak learning rate, 0 to 1")
    plateau_patience: int = _field(3, "epochs without improvement before reduce-on-plateau acts")
    plateau_factor: float = _field(
        0.3, "factor that reduce-on-plateau multiplies the learning rate by"
    )
    early_stopping: int = _field(
        0, "stop after N epochs without improvement and keep the best weights; 0: never"
    )
    monitor: str = _field("loss", "validation figure to watch: loss or accuracy")
    ema: float = _field(
        0.0, "decay per step of the moving average of the weights, which is saved; 0: off"
    )
    dropout: float | None = _field(
        None, "dropout rate, instead of the model's", float, section="Model"
    )
    batch_normalization: bool | None = _field(
        None, "batch normalization after convolutions: on or off", bool
    )
    width: float = _field(1.0, "factor for the model's channels and units")
    depth: int = _field(0, "convolutions added to each stage of a hem model")
    kernel: int = _field(0, "side of a hem model's convolutions, pixels; 0: the model's")
    pooling: str = _field(
        "model", f"how a hem model shrinks images: {', '.join(POOLING)} (convolutions skip pixels)"
    )
    residual: bool | None = _field(
        None, "residual connections around pairs of a hem model's convolutions: on or off", bool
    )
    resize: int = _field(0, "input side of a transfer model, pixels; 0: its default")
    label_smoothing: float = _field(
        0.05, "share of each target spread over all classes, 0 to 1", section="Loss"
    )
    l2: float = _field(0.0, "weight of the L2 penalty on all kernels")
    class_weights: str = _field(
        "none", "class weights in the loss: none, or balanced (rare classes weigh more)"
    )
    shift: int = _field(2, "largest random shift, pixels", section="Augmentation")
    flip: bool = _field(True, "flip half of the images left to right")
    rotation: float = _field(0.0, "largest random rotation, degrees")
    zoom: float = _field(0.0, "largest random change of size: 0.1 is 10 %")
    cutout: int = _field(0, "side of the erased square, pixels; 0: none")
    erasing: float = _field(0.0, "share of images in which a rectangle is replaced by noise")
    mixup: float = _field(0.0, "alpha of mixup, which blends pairs of images and targets; 0: none")
    distillation: float = _field(
        0.7, "the teachers' share of the loss (with teachers)", section="Distillation"
    )
    distillation_temperature: float = _field(
        4.0, "temperature that softens student and teacher logits (with teachers)"
    )
    frozen_epochs: int = _field(
        0, "first epochs, in which a transfer model trains only its new top", section="Transfer"
    )
    fine_tuned_layers: int = _field(0, "number of layers below the top to train afterwards; 0: all")
    fine_tuning_rate: float = _field(0.1, "factor for the learning rate afterwards")
    precision: str = _field(
        "auto",
        "number format: float32, mixed_bfloat16, or auto (the faster one)",
        section="Machine",
    )
    strategy: str = _field("none", "none, or mirrored (train on all GPUs of this machine)")

    def __post_init__(self) -> None:
        for each in fields(self):
            _require_kind(each.name, getattr(self, each.name), each.metadata["kind"], each.default)
        for text, within, names in _BOUNDS:
            for name in names.split():
                if not within(getattr(self, name) or 0):
                    raise UsageError(f"{name} must {text}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UnknownNameError(name, getattr(self, name), choices)
        if self.weight_decay and not OPTIMIZERS[self.optimizer].decays:
            raise UsageError(f"{self.optimizer} has no weight_decay: use adamw, or l2")
        if self.frozen_epochs >= self.epochs:
            raise UsageError(
                f"frozen_epochs is {self.frozen_epochs} and epochs {self.epochs}: no epoch is left "
                "for fine-tuning; lower frozen_epochs, or raise epochs"
            )
        if self.distillation > 1:
            raise UsageError("distillation is a share: at most 1")

    def as_fields(self) -> dict[str, Scalar]:
        """Return every field, for the card."""
        return asdict(self)

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """Return a recipe with other fields; raises UsageError or UnknownNameError.

        Another optimizer or schedule brings what is usual with it, unless that is given too.
        """
        options = Recipe.options()
        for name, value in changes.items():
            if name not in options:
                raise UnknownNameError("recipe field", name, options)
            kind, default, _ = options[name]
            _require_kind(name, value, kind, default)
        usual: dict[str, Any] = {}
        optimizer, schedule = (changes.get(name) for name in ("optimizer", "schedule"))
        if optimizer in OPTIMIZERS and optimizer != self.optimizer:
            row = OPTIMIZERS[optimizer]
            usual |= {"learning_rate": row.learning_rate, "weight_decay": row.weight_decay}
        if schedule in SCHEDULES and schedule != self.schedule:
            usual["warmup"] = SCHEDULES[schedule].warmup
        return replace(self, **{**usual, **changes})

    @classmethod
    def of_fields(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a card; fields that it does not have are as they were before them.

        Raises UsageError for values that are not a recipe.
        """
        return cls().with_changes(values)

    @classmethod
    def options(cls) -> dict[str, tuple[type, Any, str]]:
        """Return field name to (type, default, help), for the command line."""
        return {
            each.name: (each.metadata["kind"], each.default, each.metadata["help"])
            for each in fields(cls)
        }

    @classmethod
    def sections(cls) -> dict[str, tuple[str, ...]]:
        """Return heading to the names of the fields under it, in their order."""
        found: dict[str, tuple[str, ...]] = {}
        heading = ""
        for each in fields(cls):
            heading = each.metadata["section"] or heading
            found[heading] = (*found.get(heading, ()), each.name)
        return found


# what must hold, and of which fields
_BOUNDS: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("be at least 1", lambda value: value >= 1, "epochs batch validation plateau_patience"),
    (
        "not be negative",
        lambda value: value >= 0,
        "shift cutout limit weight_decay early_stopping l2 rotation mixup resize frozen_epochs "
        "fine_tuned_layers distillation depth kernel",
    ),
    (
        "be from 0 to under 1",
        lambda value: 0 <= value < 1,
        "warmup label_smoothing momentum ema dropout zoom erasing plateau_factor",
    ),
    (
        "be positive",
        lambda value: value > 0,
        "learning_rate other_learning_rate plateau_factor width distillation_temperature "
        "fine_tuning_rate",
    ),
)


def _require_kind(name: str, value: object, kind: type, default: object) -> None:
    if value is None and default is None:
        return
    # first, because Python refuses to write down very long numbers
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise UsageError(f"{name} must be at most {_LARGEST}")
    right = isinstance(value, (int, float) if kind is float else kind)
    if not right or (isinstance(value, bool) and kind is not bool):
        shown = repr(value) if isinstance(value, str | int | float) else type(value).__name__
        shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
        raise UsageError(f"{name} must be {_KINDS[kind]}, not {shown}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be finite")


_LARGEST = 2**31 - 1  # what steps, positions and sizes are counted in
_KINDS: dict[type, str] = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false"
}  # fmt: skip

# What the presets of the published projects share: Adam at its usual rate, nothing else.
_PLAIN = Recipe(
    batch=128, optimizer="adam", learning_rate=1e-3, weight_decay=0.0, schedule="constant",
    warmup=0.0, label_smoothing=0.0, shift=0, flip=False,
)  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "fast": Recipe(),
    # to see that everything works: the accuracy is poor and meant to be
    "quick": Recipe(epochs=2, limit=6000, validation=600),
    "plain": replace(_PLAIN, epochs=10, batch=32, schedule="cosine"),
    # A rate that falls when validation stops improving, and the best weights. Averaged ones, as
    # the others jump about at this rate: it would fall after a few epochs already. Flips are free.
    "plateau": replace(
        _PLAIN, epochs=40, schedule="reduce-on-plateau", plateau_patience=3, early_stopping=8,
        flip=True, ema=0.995,
    ),
    # a net with depthwise convolutions, trained from random weights
    "scratch": replace(
        _PLAIN, epochs=15, optimizer="adamw", learning_rate=3e-3, weight_decay=0.02,
        schedule="one-cycle", warmup=0.15, flip=True, shift=2,
    ),
    # pretrained weights: first the new top alone, then the last layers below it, more gently
    "transfer": replace(
        _PLAIN, epochs=12, schedule="reduce-on-plateau", early_stopping=5, flip=True,
        frozen_epochs=4, fine_tuned_layers=40,
    ),
}  # fmt: skip
