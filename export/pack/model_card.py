"""What a pack says of its model: the model card, and the README."""

from __future__ import annotations

from collections.abc import Iterator

from hemline.data.datasets import DATASETS
from hemline.export.pack.packed import Contents, Packed
from hemline.export.verdict_table import verdict_tables
from hemline.runtime.information import artifact_rows, unknown_rule
from hemline.small_sets import accuracy_text, few_images
from hemline.tables import as_markdown, as_plain_markdown, kilobytes


def model_card(packed: Packed, measured: tuple[str, ...] = ()) -> str:
    """Return what the model is, how well it does and what it cannot do, Markdown."""
    ours = "These are Python's runtimes. The self-test compares the program on the target with them"
    manifest, artifact = packed.manifest, packed.artifact
    rows = artifact_rows(packed.stamp, packed.path)
    rows["labels"] = as_plain_markdown(rows["labels"])
    rows["model hash"] = f"{packed.stamp.payload_sha256} (of the file without its stamp)"
    if manifest.macs:
        rows["multiply-accumulates"] = f"{manifest.macs:,} an image"
    rows["exported"] = f"{manifest.created}, scheme {artifact.scheme}"
    rows["why this file"] = packed.why
    if packed.choice is not None:
        rows["choice"] = packed.choice.because
    if artifact.float_layers:
        rows["in float"] = ", ".join(each.layer for each in artifact.float_layers)
    if dataset := DATASETS.get(manifest.dataset):
        rows["images inside"] = f"some of {dataset.title} for tests ({dataset.licence})"
    parts = (
        f"# Model card: {manifest.model}, {artifact.name}",
        "\n".join(f"- {title}: {text}" for title, text in rows.items()),
        f"## Accuracy on the test images of {manifest.dataset}",
        *map(as_markdown, verdict_tables([(artifact.name, each) for each in artifact.verdicts])),
        *([] if "machine" in packed.target.options else [f"{ours}."]),
        *(f"- {each}" for each in measured),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(packed)),
    )
    return "\n\n".join(parts) + "\n"


def _limits(packed: Packed) -> Iterator[str]:
    rule = unknown_rule(packed.stamp.unknown_threshold, packed.stamp.distance)
    unknown = "" if rule == "never" else f", or `unknown` with {rule}"
    yield (
        f"It distinguishes these {len(packed.stamp.labels)} classes only. An image of anything "
        f"else gets one of them{unknown}."
    )
    yield "The accuracy is that of the test images; photographs of another kind can do worse."
    if tested := [score.images for each in packed.passed if (score := each.score("test"))]:
        yield from (f"{line}." for line in few_images(max(tested)))
    yield "The SHA-256 sums find damage. They are not a signature."


def readme(packed: Packed, contents: Contents) -> str:
    """Return the README, Markdown."""
    artifact, runtime = packed.artifact, contents.runtime
    what = (
        f"`{artifact.name}` ({kilobytes(artifact.size_bytes)}), {len(packed.stamp.labels)} classes"
    )
    if score := runtime.score("test"):
        share = accuracy_text(score.correct, score.images)
        what += f", {share} of {score.images:,} test images correct"
    parts = (
        f"# {packed.bundle.resolve().name} for {packed.place}",
        f"{what} in {runtime.runtime} {runtime.version}.",
        contents.use.strip(),
        "`SHA256SUMS` finds damaged files (`sha256sum -c SHA256SUMS`). `MODEL_CARD.md` has the "
        "accuracy and limits, `sbom.cdx.json` (CycloneDX) and `licences/` list what is inside.",
    )
    return "\n\n".join(parts) + "\n"
