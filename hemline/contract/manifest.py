"""The manifest of a bundle: every artifact, and in which runtimes it passed, or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hemline.contract import schema
from hemline.contract.schema import added
from hemline.contract.score import Score
from hemline.contract.settings import TunedSettings
from hemline.contract.specs import (
    LOCAL,
    Format,
    InputSpec,
    NamedOutputs,
    OutputSpec,
    Status,
    upgrade_outputs,
)
from hemline.contract.steps import FloatLayer, LeftOut, Step
from hemline.errors import FileFormatError, UnknownNameError, remedy
from hemline.files import sha256_of

if TYPE_CHECKING:
    from hemline.contract.parity import ParityBounds

PACK_BILL = "sbom.cdx.json"  # in every pack, and in no bundle
MANIFEST_NAME = "manifest.json"
FILE_BUNDLE_ENDING = ".bench"  # of the folder of a single file's bundle, after its whole name


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one artifact did in one version of one runtime.

    runtime: name in the BACKENDS table.
    version: of the runtime's package.
    status: passed (within tolerance), failed (ran outside it, crashed or hung),
        refused (not opened).
    reason: one line; empty when passed.
    scores: accuracy counts per split; empty when refused, and for images without labels.
    agreement: test images with the reference's label (evaluation_set.py); 0 when refused.
    largest_difference: between logits of the artifact and of the reference, over the test split.
    numpy_version: that the runtime ran with.
    inputs_sha256: of the data and the artifact; a verdict with other inputs is out of date.
    python_version: that the runtime ran in, major.minor; empty where an older Hemline verified.
    rms_difference: of the images' largest differences (parity.py); None where it was not computed.
    p99_difference: 99 % of the images are at most that far off; None likewise.
    images: test images that it ran; 0 when refused.
    """

    runtime: str
    version: str
    status: Status
    reason: str = ""
    scores: tuple[Score, ...] = ()
    agreement: int = 0
    largest_difference: float = 0.0
    numpy_version: str
    inputs_sha256: str
    python_version: str = added("")
    rms_difference: float | None = added(None)
    p99_difference: float | None = added(None)
    images: int = added(0)

    def score(self, split: str) -> Score | None:
        """Return the counts of one split, or None."""
        return next((score for score in self.scores if score.split == split), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(NamedOutputs):
    """One exported file.

    name: file name inside the bundle, <scheme>.<format>.
    scheme: name of the scheme.
    format: tflite or onnx.
    sha256: of the whole file.
    size_bytes: of the whole file.
    input: how pixels become its input tensor.
    outputs: what it gives: the logits, and perhaps an embedding.
    calibration_sha256: of the calibration images; None where none were needed.
    recipe_sha256: of all that the file was made from; the same value needs no new export.
    tolerance: largest difference from the Keras model's logits that counts as rounding.
    minimum_agreement: least share of images with the Keras model's label, 0 … 1.
    plan_sha256: of the file of its quantization plan (see plan_path); None for a file in float.
    steps: what was done beyond plain calibration, in order.
    float_layers: of a quantized file, the layers that compute in float.
    compressed_bytes: size by deflate, which is what travels over the air; None where an earlier
        Hemline exported it.
    verdicts: one for each runtime, version and Python that it was tried in.
    """

    name: str
    scheme: str
    format: Format
    sha256: str
    size_bytes: int
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    calibration_sha256: str | None
    recipe_sha256: str
    tolerance: float
    minimum_agreement: float
    verdicts: tuple[Verdict, ...] = ()
    plan_sha256: str | None = added(None)
    steps: tuple[Step, ...] = added(())
    float_layers: tuple[FloatLayer, ...] = added(())
    compressed_bytes: int | None = added(None)

    def __post_init__(self) -> None:
        self.require_outputs()

    @property
    def bounds(self) -> ParityBounds:
        """Return what counts as rounding when it is compared with the reference."""
        from hemline.contract.parity import ParityBounds  # here: classifying compares nothing

        return ParityBounds(difference=self.tolerance, agreement=self.minimum_agreement)

    def status_in(self, runtime: str, version: str) -> Status | None:
        """Return what it was seen to do in a version of a runtime; None where it was not tried.

        Of several Pythons the worst counts.
        """
        found = {v.status for v in self.verdicts if (v.runtime, v.version) == (runtime, version)}
        worst_first: tuple[Status, ...] = ("failed", "refused", "passed")
        return next((status for status in worst_first if status in found), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The artifact to ship to a device by what was measured on it.

    device: as in the records of the device, such as local or emulated:pi4.
    artifact: file name in the bundle.
    because: a line of reasons.
    """

    device: str
    artifact: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What stands in a bundle as manifest.json.

    model: name in the MODELS table.
    parameters: of the model, number of scalars; None where only a file is known.
    macs: multiply-accumulates of one inference; None likewise.
    labels: class names in the order of the logits.
    dataset: name in the DATASETS table, or of a custom data set.
    data_sha256: as in the card.
    source: kind of the model that everything was exported from, such as keras; None for a bundle of
        a file that was made elsewhere.
    parent_sha256: of that model's checkpoint; of the foreign file as it came.
    validation_indices: positions in the training file held out from training and calibration.
    evaluation_sha256: file of the evaluation folder to its SHA-256.
    keras_scores: accuracy counts at the end of training; none for a model not trained here.
    artifacts: one for each exported file.
    recommended: name of the artifact to ship by the budget and what was measured on this machine,
        None before a choice was made.
    recommended_because: one line of reasons.
    versions: package name to version at export.
    commit: of Hemline, with "+" when files were changed; None outside a checkout.
    created: UTC time, ISO 8601.
    left_out: files that the last exports did not make, with the reasons.
    tuned: settings that make artifacts faster, by kind of processor.
    recommended_on: the choice for each other device.
    """

    KIND: ClassVar[str] = "manifest"
    SCHEMA: ClassVar[int] = 9

    model: str
    parameters: int | None
    macs: int | None
    labels: tuple[str, ...]
    dataset: str
    data_sha256: dict[str, str]
    parent_sha256: str
    validation_indices: tuple[int, ...]
    evaluation_sha256: dict[str, str]
    keras_scores: tuple[Score, ...]
    artifacts: tuple[Artifact, ...]
    recommended: str | None
    recommended_because: str
    versions: dict[str, str]
    commit: str | None = added(None)
    created: str
    source: str | None = added("keras")
    left_out: tuple[LeftOut, ...] = added(())
    tuned: tuple[TunedSettings, ...] = added(())
    recommended_on: tuple[Recommendation, ...] = added(())

    def __post_init__(self) -> None:
        for artifact in self.artifacts:
            name = artifact.name
            if "/" in name or name.startswith(".") or not name.isprintable():
                raise ValueError(f"artifact name {artifact.name!r} points outside the bundle")

    @staticmethod
    def upgraded(document: dict[str, Any], schema: int) -> dict[str, Any]:
        """Bring a manifest of schema 1 to 8 to this one.

        Statuses had other words; there was one output, perhaps with an embedding; the images that a
        verdict is of were counted in its scores only.
        """
        renamed = {"right": "passed", "wrong": "failed"} if schema < 3 else {}
        for artifact in document["artifacts"]:
            if schema < 4:
                upgrade_outputs(artifact)
            for verdict in artifact["verdicts"]:
                verdict["status"] = renamed.get(verdict["status"], verdict["status"])
                if schema > 4:
                    continue
                counts = {score["split"]: score["images"] for score in verdict.get("scores", ())}
                verdict["images"] = counts.get("test", 0)
        return document

    def recommendation(self, device: str = LOCAL) -> Recommendation | None:
        """Return the choice for a device; one for another device is never taken for it."""
        found = self.recommended_on
        if self.recommended is not None:
            because = self.recommended_because
            here = Recommendation(device=LOCAL, artifact=self.recommended, because=because)
            found = (here, *found)
        return next((each for each in found if each.device == device), None)

    def recommending(self, choice: Recommendation) -> Manifest:
        """Return it with the choice for a device; those for other devices stay."""
        if choice.device == LOCAL:
            because = choice.because
            return replace(self, recommended=choice.artifact, recommended_because=because)
        others = (each for each in self.recommended_on if each.device != choice.device)
        return replace(self, recommended_on=(*others, choice))

    def artifact(self, name: str) -> Artifact:
        """Return the artifact called `name`; raises UnknownNameError."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise UnknownNameError("artifact", name, (a.name for a in self.artifacts))


def plan_path(name: str) -> str:
    """Return where in a bundle the quantization plan of an artifact is."""
    return f"plans/{name}.json"


def read_manifest(bundle: Path) -> Manifest:
    """Read a bundle's manifest; raises FileFormatError when the folder is no bundle."""
    path = bundle / MANIFEST_NAME
    if not path.exists():
        if (bundle / PACK_BILL).exists():
            raise FileFormatError(f"{bundle} is a pack", remedy=remedy("pack", pack=bundle))
        raise FileFormatError(
            f"{bundle} is not a bundle: it has no {MANIFEST_NAME}", remedy=remedy("export")
        )
    return schema.load(Manifest, path)


def require_artifacts(bundle: Path, manifest: Manifest) -> None:
    """Raise FileFormatError unless every artifact is the file that the manifest describes."""
    for artifact in manifest.artifacts:
        if sha256_of(bundle / artifact.name) != artifact.sha256:
            raise FileFormatError(
                f"{bundle / artifact.name} is not the file that {MANIFEST_NAME} describes",
                remedy=remedy("export again"),
            )
