"""What a user chooses about quantization."""

from __future__ import annotations

from dataclasses import dataclass, field

from hemline.export.quantization.calibration import SEED


@dataclass(frozen=True, slots=True, kw_only=True)
class PostTrainingOptions:
    """How ranges are found without training.

    calibrator: name in the CALIBRATORS table.
    images: how many calibration images; None for the usual.
    seed: that they are drawn with from the training images.
    equalization: whether the weights of neighbouring layers are brought to one scale first.
    bias_correction: whether biases take back the mean error of each channel.
    """

    calibrator: str = "min-max"
    images: int | None = None
    seed: int = SEED
    equalization: bool = False
    bias_correction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationOptions:
    """Everything that a planner may read beside the model and the images.

    post_training: how ranges are found.
    seed: of a search or of training.
    max_drop_points: accuracy that may be lost on validation, in percentage points (agreement
        without labels); None for the usual of each planner.
    training_epochs: of quantization-aware training; None for the usual.
    """

    post_training: PostTrainingOptions = field(default_factory=PostTrainingOptions)
    seed: int = 0
    max_drop_points: float | None = None
    training_epochs: int | None = None
