"""Choose by what files decide that an image is unknown: on one half of each set of strangers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from hemline.contract.class_distance import METHODS, ClassDistance, Method
from hemline.contract.specs import EMBEDDING, LOGITS, OutputSpec
from hemline.data.datasets import Images
from hemline.data.image_rows import ImageRows
from hemline.data.strangers import GENERATED, load_strangers, own_classes
from hemline.errors import HemlineError, UsageError, remedy
from hemline.export.unknown.fitting import fit_distance, training_images
from hemline.runtime.unknown import Distances
from hemline.silence import silenced
from hemline.statistics import auroc

if TYPE_CHECKING:
    from hemline.export.bundle import ExportRequest
    from hemline.export.making import ExportInputs
    from hemline.export.sources.source import ModelSource


def deciding_by(
    unknown: str,
    request: ExportRequest,
    images: Images,
    strangers: tuple[str, ...],
    say: Callable[[str], None],
) -> ExportRequest:
    """Return the request for files that decide by score, distance, or the better one (auto).

    Raises UsageError for images without labels, and HemlineError for a distance where the model has
    no embedding; auto then is the score.
    """
    if not images.labelled:
        raise UsageError(
            "what is unknown is fitted on labelled images", remedy=remedy("name the images")
        )
    by_score = replace(request, unknown="score")
    by_distance = replace(request, unknown="distance", embedding=True)
    if unknown != "auto":
        return by_score if unknown == "score" else by_distance
    from hemline.export.bundle import export_inputs, opened_source

    inputs = export_inputs(by_distance, images)
    names = strangers or tuple(GENERATED)
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(opened_source(by_distance, inputs))
            with silenced():
                distance = _fitted(inputs, source)
        except HemlineError as error:
            say(f"unknown by score: {error}")
            return by_score
        for note in own_classes(names, inputs.card.model.labels):
            say(note)
        with silenced():
            aurocs = mean_aurocs(inputs, source, names, distance)
    # the score, which needs no embedding, where they are equal
    chosen = by_distance if aurocs["distance"] > aurocs["score"] else by_score
    found = ", ".join(f"{value:.4f} by {method}" for method, value in aurocs.items())
    say(
        f"unknown by {chosen.unknown}: mean AUROC {found} (1 is perfect, 0.5 a coin), on one half "
        f"of {', '.join(names)}"
    )
    return chosen


def _fitted(inputs: ExportInputs, source: ModelSource) -> ClassDistance:
    images, labels = training_images(inputs.images, inputs.split)
    return fit_distance(source.run(images, EMBEDDING), labels, len(inputs.card.model.labels))


def mean_aurocs(
    inputs: ExportInputs, source: ModelSource, strangers: Sequence[str], distance: ClassDistance
) -> dict[Method, float]:
    """Measure both methods on validation images and the first halves of sets of strangers.

    By the float model: one choice is for all files of a bundle.
    """
    model = inputs.card.model
    sets = [load_strangers(name, source.input, model.preprocessing) for name in strangers]
    embedding = OutputSpec(
        name=EMBEDDING, role="embedding", size=len(distance.mean.array()[0]), dtype="float32"
    )
    measure = Distances(distance, embedding)

    def strangeness(images: ImageRows) -> dict[Method, npt.NDArray[Any]]:
        logits = source.run(images, LOGITS).astype(np.float64)
        scores = softmax(logits / model.temperature, axis=1).max(axis=1)
        return {"score": -scores, "distance": measure(source.run(images, EMBEDDING))}

    known = strangeness(inputs.validation[0])
    found = [strangeness(each.first) for each in sets]
    return {
        method: float(np.mean([auroc(known[method], each[method]) for each in found]))
        for method in METHODS
    }
