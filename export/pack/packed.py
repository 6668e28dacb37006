"""What a target gets, and what it returns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hemline.contract.budget import USUAL_DROP_POINTS
from hemline.contract.evaluation_set import FOLDER, EvaluationSplit, load_split
from hemline.contract.manifest import Artifact, Manifest, Recommendation, Verdict
from hemline.contract.specs import LOCAL
from hemline.contract.stamp import Stamp
from hemline.data.datasets import DATASETS
from hemline.errors import GateError, remedy
from hemline.export.pack.table import Target

_FACT = re.compile(r"@([A-Z_]+)@")
_PREPARED = {
    "stretch": "Scale pictures of another size to it (Lanczos), without keeping their proportions",
    "product-photo": "0 is black, and the object is bright on black. Pictures of another size: "
    "trim edges close to the colour of the corners, scale the long side to the model's, sharpen, "
    "pad to the centre with background, negate if that is light, darken it to 0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """What a user can choose; a target reads those that its row names.

    artifact: file name in the bundle; None for the recommended one, or another that fits.
    device: whose recommended file to pack; None for this machine's.
    machine: architecture of the board, a name in the MACHINES table of environments.
    wheels: Python versions (3.11) of a board without a network.
    single_file: one page with everything in it, not a folder for a host.
    similar: index of images, of which the page shows those that are similar to a picture.
    flash_kb, sram_kb: most that a microcontroller has for the model, 1000 bytes.
    """

    artifact: str | None = None
    device: str | None = None
    machine: str = "aarch64"
    wheels: tuple[str, ...] = ()
    single_file: bool = False
    similar: Path | None = None
    flash_kb: int | None = None
    sram_kb: int | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A verified artifact of a bundle, as its manifest and its stamp describe it, and its use."""

    target: Target
    bundle: Path
    manifest: Manifest
    artifact: Artifact
    stamp: Stamp
    options: PackOptions

    @property
    def path(self) -> Path:
        """Return where the artifact is."""
        return self.bundle / self.artifact.name

    @property
    def name(self) -> str:
        """Return the name of the pack, in letters that every shell and address takes."""
        bundle = re.sub(r"[^A-Za-z0-9._-]+", "-", self.bundle.resolve().name).strip("-.")
        return f"{bundle or 'model'}-{self.target.name}{'-file' * self.options.single_file}"

    @property
    def why(self) -> str:
        """Return why this file of the bundle is in the pack."""
        if self.options.artifact is not None:
            return "named by the user"
        if (choice := self.choice) is None:
            kind = "in 8-bit integers " * in_8_bits(self.artifact)
            loss = f" and loses at most {USUAL_DROP_POINTS:g} points of validation accuracy"
            is_known = _accuracy_points(self.artifact) > 0
            keeps = loss * (is_known and keeps_accuracy(self.manifest, self.artifact))
            comma = "," if keeps else " and"
            return f"the smallest {kind}that passed{comma} fits {self.target.summary}{keeps}"
        if choice.device != LOCAL:
            return f"chosen by measurements on {choice.device}"
        where = "on the computer that made this pack"
        return f"chosen by measurements {where}; on the target another file can be faster"

    @property
    def choice(self) -> Recommendation | None:
        """Return the choice that this artifact is, for the device of the options."""
        found = self.manifest.recommendation(self.options.device or LOCAL)
        return found if found is not None and found.artifact == self.artifact.name else None

    @property
    def place(self) -> str:
        """Return the target in a sentence, with its processor where that can be chosen."""
        has_machine = "machine" in self.target.options
        return self.target.summary + f" ({self.options.machine})" * has_machine

    @property
    def passed(self) -> tuple[Verdict, ...]:
        """Return the verdicts of the runtimes in which the artifact passed."""
        return tuple(each for each in self.artifact.verdicts if each.status == "passed")

    @property
    def prepared(self) -> str:
        """Return how pictures become its pixels, as pictures/preprocessing.py does it."""
        is_gray = self.stamp.input.channels == 1
        return f"{_PREPARED[self.stamp.preprocessing]}{', convert to gray' * is_gray}"

    def published_images(self) -> EvaluationSplit | None:
        """Return the validation images, None without them and for those of a custom data set."""
        # a custom data set never has the name of a published one
        if self.manifest.dataset not in DATASETS or not (self.bundle / FOLDER).is_dir():
            return None
        return load_split(self.bundle, "validation", self.manifest.evaluation_sha256)

    def require_no_distance(self) -> None:
        """Raise GateError for a file whose distance to the classes its target cannot measure."""
        if self.stamp.distance is not None:
            raise GateError(
                f"{self.artifact.name} decides by a distance what is unknown, which packs for "
                f"{self.target.name} cannot measure",
                remedy=remedy("unknown by score"),
            )


def in_8_bits(artifact: Artifact) -> bool:
    """Tell whether a file computes in 8-bit integers, from the pixels on."""
    return artifact.input.dtype in ("int8", "uint8")


def keeps_accuracy(manifest: Manifest, artifact: Artifact) -> bool:
    """Tell whether a file is within USUAL_DROP_POINTS of the most accurate one, where it passed."""
    best = max(map(_accuracy_points, manifest.artifacts))
    return best - _accuracy_points(artifact) <= USUAL_DROP_POINTS


def _accuracy_points(artifact: Artifact) -> float:
    """Return the least validation accuracy where a file passed, in points; 0 without labels."""
    scores = [each.score("validation") for each in artifact.verdicts if each.status == "passed"]
    return min((100 * score.accuracy for score in scores if score), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Software in a pack, or that a pack needs, or images, for the bill of materials.

    kind: its type in CycloneDX.
    licence: an SPDX expression; empty where it is not known.
    purl: package URL (pkg:pypi/numpy@2.4.6); empty for what no package index has.
    sha256: of its file in the pack; empty where several files make it up, or none is inside.
    texts: name to content of its licence files, for what is inside the pack.
    """

    name: str
    version: str
    licence: str = ""
    purl: str = ""
    sha256: str = ""
    texts: Mapping[str, bytes] = field(default_factory=dict)
    kind: Literal["library", "data"] = "library"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a target has put into a pack.

    runtime: the verdict of the runtime that runs it there.
    use: Markdown of the README: how to set it up, test and run it; some eight lines.
    components: software in the pack, or that it needs.
    measured: for the model card, what was found about the program on the target; sentences.
    """

    runtime: Verdict
    use: str
    components: tuple[Component, ...]
    measured: tuple[str, ...] = ()


def filled(template: str, facts: Mapping[str, str]) -> str:
    """Return a text with each @NAME@ replaced by the fact of this name, if there is one."""
    return _FACT.sub(lambda found: facts.get(found[1], found[0]), template)


def write_filled(
    folder: Path, source: Path, names: Iterable[str], facts: Mapping[str, str]
) -> None:
    """Write templates of a source folder, filled with facts, into a folder."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(filled_file(source / name, facts), encoding="utf-8")


def filled_file(template: Path, facts: Mapping[str, str]) -> str:
    """Return the text of a file, filled with facts."""
    return filled(template.read_text(encoding="utf-8"), facts)
