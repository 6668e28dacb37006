"""Index images and find similar ones from Python, as the commands do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.errors import HemlineError, UsageError
from hemline.host import cores
from hemline.silence import silenced

if TYPE_CHECKING:
    from hemline.runtime.classifier import Classifier
    from hemline.runtime.similar.image_index import Neighbour


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexResult:
    """An index that was built.

    images: how many it has.
    recall: share of the 10 nearest images of an exact search that a search in it finds.
    left_out: why images could not be read.
    """

    images: int
    recall: float
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarResult:
    """What is similar to an image.

    image, label: name of the image and its best class.
    neighbours: most similar first: name, label and similarity of indexed images.
    source: what these were read from.
    """

    image: str
    label: str
    neighbours: tuple[Neighbour, ...]
    source: str


def index(
    artifact: Path | str, source: Path | str, output: Path | str, *, force: bool = False
) -> IndexResult:
    """Index images by their embeddings.

    artifact: a file or bundle that was exported with its embedding.
    source: a folder of images, an array or shards, or what `score` wrote with embeddings.
    output: folder of the index, with a copy of the artifact.
    force: replace an index that is there.

    Raises HemlineError for an artifact without an embedding, a source without an image that can
    be read, an output that is taken, or a missing usearch.
    """
    from hemline.runtime.similar.building import build
    from hemline.runtime.similar.embedding import embedded
    from hemline.runtime.similar.scores import scored

    path, faults = Path(artifact), list[str]()
    with _loaded(path, threads=cores()) as classifier:
        file = path / classifier.stamp.name if path.is_dir() else path
        batches = scored(Path(source), classifier.stamp)
        batches = batches or embedded(classifier, str(source), faults)
        card = build(batches, file, Path(output), str(source), force=force)
    return IndexResult(images=card.images, recall=card.recall, left_out=tuple(faults))


def similar(folder: Path | str, image: Path | str, *, count: int = 5) -> SimilarResult:
    """Find the indexed images that are most similar to an image.

    folder: of an index.
    image: a file.
    count: images to find.

    Raises UsageError for a folder of images and a count below 1, another HemlineError for an index
    that is damaged and an image that cannot be read.
    """
    if Path(image).is_dir() or count < 1:
        raise UsageError(f"similar takes an image file and a count from 1, not {image}, {count}")
    ((_, found),) = searches(Path(folder), [str(image)], count)
    if isinstance(found, HemlineError):
        raise found
    return found


def searches(
    folder: Path, images: Sequence[str], count: int
) -> Iterator[tuple[str, SimilarResult | HemlineError]]:
    """Yield the name of each image, folders expanded, with what is similar, or what is wrong."""
    import numpy as np

    from hemline.runtime.input.image_folder import image_files
    from hemline.runtime.similar.embedding import embed
    from hemline.runtime.similar.image_index import ImageIndex, read_card

    with _loaded(folder / read_card(folder).artifact) as classifier, ImageIndex(folder) as opened:
        for name in image_files(images):
            try:
                query = embed(classifier, [name], classifier.prepare(name)[np.newaxis])
            except HemlineError as error:
                yield name, error
                continue
            yield (
                name,
                SimilarResult(
                    image=query.names[0],
                    label=query.labels[0],
                    neighbours=tuple(opened.find(query.embeddings[0], count)),
                    source=opened.card.source,
                ),
            )


def _loaded(artifact: Path, *, threads: int = 1) -> Classifier:
    from hemline.runtime.classifier import Classifier

    with silenced():
        return Classifier.load(artifact, threads=threads)
