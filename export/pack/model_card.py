"""The model card of a pack: what the model is, how well it does, and what it cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from hemline.export.pack.packed import Packed
from hemline.export.verdict_table import verdict_tables
from hemline.runtime.information import artifact_rows
from hemline.small_sets import few_images
from hemline.tables import as_markdown, macs_text

FILE_NAME = "MODEL_CARD.md"


def model_card(packed: Packed) -> str:
    """Return the text, Markdown."""
    manifest, artifact = packed.manifest, packed.artifact
    rows = artifact_rows(packed.stamp, packed.path)
    verdicts = [(artifact.name, each) for each in artifact.verdicts]
    return "\n".join(
        (
            f"# Model card: {manifest.model}, {artifact.name}\n",
            *(f"- {title}: {text}" for title, text in rows.items()),
            *(f"- {line}" for line in _origin(packed)),
            f"\n## Accuracy on the test images of {manifest.dataset}\n",
            *map(as_markdown, verdict_tables(verdicts)),
            "\n## Limits\n",
            *(f"- {line}" for line in _limits(packed)),
            "",
        )
    )


def _origin(packed: Packed) -> Iterator[str]:
    manifest, artifact = packed.manifest, packed.artifact
    if manifest.parameters is not None and manifest.macs is not None:
        yield f"size: {manifest.parameters:,} parameters, {macs_text(manifest.macs)}"
    yield f"exported: {manifest.created}, scheme {artifact.scheme}, from {manifest.source or 'it'}"
    if artifact.name == manifest.recommended:
        yield f"recommended: {manifest.recommended_because}"
    if artifact.float_layers:
        yield f"in float: {', '.join(each.layer for each in artifact.float_layers)}"


def _limits(packed: Packed) -> Iterator[str]:
    stamp = packed.stamp
    limit = stamp.unknown_threshold
    unknown = f", or `unknown` if its score is at most {limit:.3f}" if limit > 0 else ""
    yield (
        f"It distinguishes these {len(stamp.labels)} classes only. An image of anything else gets "
        f"one of them{unknown}."
    )
    yield "The accuracy is that of the test images; photographs of another kind can do worse."
    scores = [score for each in packed.passed if (score := each.score("test")) is not None]
    yield from (f"{line}." for line in few_images(max(s.images for s in scores)) if scores)
    yield "The SHA-256 sums find damage. They are not a signature."
