"""The result of an evaluation: the one document behind the text, the JSON and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from hemline.contract.class_distance import Method
from hemline.contract.model_summary import Layer

Kind = Literal["checkpoint", "artifact", "ensemble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """The scores of one class; the names are those of scikit-learn's classification report.

    label: of the class.
    precision: share of the predictions of this class that are correct; 0 when there are none.
    recall: share of the images of this class that are predicted so; 0 when there are none.
    f1_score: harmonic mean of the two; 0 when both are.
    support: images of this class.
    """

    label: str
    precision: float
    recall: float
    f1_score: float
    support: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Averages:
    """Means over the classes.

    precision, recall, f1_score: as in ClassScores.
    """

    precision: float
    recall: float
    f1_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """How often one class is predicted as another.

    true: label of the images.
    predicted: label of the predictions.
    images: number of these.
    """

    true: str
    predicted: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPrediction:
    """An image that is classified incorrectly.

    image: its file, as a path inside the data set, or its position, as in test[17].
    true: label of the image.
    predicted: label of the prediction.
    score: probability of the predicted class, with temperature.
    """

    image: str
    true: str
    predicted: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The predictions whose confidence (the highest probability) is in (low, high].

    low, high: bounds, 0 … 1.
    images: in the bin.
    confidence: mean of theirs; 0 for an empty bin.
    accuracy: share of correct predictions among them; 0 for an empty bin.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The calibration of probabilities.

    temperature: that divided the logits, 1 for none; None where each member had its own.
    expected_calibration_error: see hemline.bench.evaluation.calibration, 0 … 1.
    cross_entropy: mean of −ln(probability of the true class), nats.
    bins: of equal width, from 0 to 1.
    """

    temperature: float | None
    expected_calibration_error: float
    cross_entropy: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Accuracy against the first one that was named, from the same images (paired).

    points: percentage points, above 0 when this one is better.
    half_width: of the 95 % interval.
    """

    points: float
    half_width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What was evaluated, and what ran it.

    name: path as the user wrote it; what an ensemble is made of.
    kind: checkpoint, artifact or ensemble.
    model: name in the MODELS table; empty for an ensemble of several.
    sha256: of the checkpoint or the file; empty for an ensemble.
    parameters, macs: of the model, number of scalars and multiply-accumulates of one inference;
        None where only the file is known.
    size_bytes: of the file; None for an ensemble.
    runtime: name in the BACKENDS table, or keras; empty for an ensemble.
    runtime_version: of its package.
    members: names of what an ensemble averages; empty for everything else.
    layers: the model summary; empty where there is no Keras model.
    """

    name: str
    kind: Kind
    model: str
    sha256: str
    parameters: int | None
    macs: int | None
    size_bytes: int | None
    runtime: str
    runtime_version: str
    members: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """How well a method tells a set of strangers, images of no class, from the images.

    strangers: name of the set.
    images: of it: its second half; methods are chosen on the first.
    method: score or distance.
    decides: whether it is the one by which the file decides.
    auroc: share of pairs of a stranger and an image in which the stranger is stranger.
    false_positive_rate: share of the strangers that are accepted where 95 % of the images are.
    unknown_strangers: share of the strangers that are unknown by the file's threshold.
    unknown_images: share of the images that are.
    """

    strangers: str
    images: int
    method: Method
    decides: bool
    auroc: float
    false_positive_rate: float
    unknown_strangers: float
    unknown_images: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The accuracy of one checkpoint, artifact or ensemble on the images.

    origin: what was evaluated.
    images: number of images.
    correct: number classified correctly.
    accuracy: correct ÷ images.
    accuracy_low, accuracy_high: 95 % Wilson interval.
    classes: one for each label, in the order of the logits.
    macro: means over the classes.
    weighted: means weighted by support.
    confusion: images of a true class (row) by their predicted class (column).
    most_confused: the commonest mistakes, commonest first.
    calibration: without and with temperature, in this order.
    keras_agreement: predictions equal to the Keras model's; None where these are not known.
    difference: to the first one that was named; None for that one.
    wrong: every wrong prediction, the highest score first.
    separations: from each set of strangers by each method; empty where none were named.
    """

    origin: Origin
    images: int
    correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    classes: tuple[ClassScores, ...]
    macro: Averages
    weighted: Averages
    confusion: tuple[tuple[int, ...], ...]
    most_confused: tuple[Mistake, ...]
    calibration: tuple[Calibration, ...]
    keras_agreement: int | None
    difference: Difference | None
    wrong: tuple[WrongPrediction, ...] = ()
    separations: tuple[Separation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One call of `hemline evaluate`.

    split: validation or test.
    dataset: name of the data set.
    title: of the data set, as it is written in texts.
    source: where its images were read.
    images_sha256: of the pixels.
    labels: class names in the order of the logits.
    results: in the order in which they were named; an ensemble is last.
    notes: what a reader must know of the data, one line each.
    versions: package name to version.
    created: UTC time, ISO 8601.
    """

    KIND: ClassVar[str] = "evaluation"
    SCHEMA: ClassVar[int] = 1

    split: str
    dataset: str
    title: str
    source: str
    images_sha256: str
    labels: tuple[str, ...]
    results: tuple[RunResult, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    created: str
