"""Pack a verified artifact of a bundle for a target: its files, and what every pack has.

A pack is made in a temporary folder and gets its name when it is whole. Equal bundles and options
result in equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hemline import files
from hemline.contract.manifest import Artifact, Manifest, read_manifest
from hemline.contract.stamp import read_stamped
from hemline.errors import (
    FileFormatError,
    GateError,
    StorageError,
    UsageError,
    remedy,
)
from hemline.export.pack import bill_of_materials, model_card
from hemline.export.pack.archive import ARCHIVES, write_sums
from hemline.export.pack.licences import installed_component
from hemline.export.pack.packed import Component, Contents, Packed, PackOptions
from hemline.export.pack.table import Target, find_target
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import attribute
from hemline.small_sets import accuracy_text
from hemline.tables import kilobytes

PACKS = Path("packs")
_LABELS = "labels.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackResult:
    """A pack.

    path: of its folder or archive.
    packed: the artifact that is in it, and what it is for.
    files: number of its files.
    size_bytes: of the folder's files, or of the archive.
    """

    path: Path
    packed: Packed
    files: int
    size_bytes: int


def pack(
    bundle: Path,
    target: str,
    *,
    output: Path | None = None,
    options: PackOptions | None = None,
    force: bool = False,
) -> PackResult:
    """Pack a verified artifact of a bundle for a target.

    bundle: folder of a verified bundle.
    target: name in the TARGETS table.
    output: folder of the pack, or an archive, by its ending .tar.gz, .tgz or .zip (default:
        packs/ and the names of bundle and target).
    options: of the target, and which artifact.
    force: whether a pack that is there is replaced.

    Raises GateError when no artifact was verified or fits the target.
    """
    packed = choose(bundle, find_target(target), options or PackOptions())
    path = output or PACKS / packed.name
    _require_replaceable(path, force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(str(path.parent)) as temporary:
            folder = Path(temporary) / packed.name
            folder.mkdir()
            _fill(folder, packed)
            count = sum(each.is_file() for each in folder.rglob("*"))
            size = _place(folder, path, Path(temporary))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {files.reason_of(error)}") from error
    return PackResult(path=path, packed=packed, files=count, size_bytes=size)


def choose(bundle: Path, target: Target, options: PackOptions) -> Packed:
    """Return what is packed: the artifact that was asked for, or the best one that fits.

    That is the recommended one, else the smallest. Raises GateError with the reason when it, or
    none, was verified and fits the target.
    """
    manifest = read_manifest(bundle)
    named = options.artifact
    wanted = (manifest.artifact(named),) if named else _by_preference(manifest)
    refusals = []
    for artifact in wanted:
        found = _tried(bundle, manifest, artifact, target, options)
        if isinstance(found, Packed):
            return found
        refusals.append(found)
    if not refusals:
        raise GateError(f"{bundle} has no artifact", remedy=remedy("export"))
    others = "" if len(refusals) == 1 else "; no other artifact fits either"
    raise GateError(f"{refusals[0]}{others}", remedy=refusals[0].remedy) from refusals[0]


def _by_preference(manifest: Manifest) -> list[Artifact]:
    """Return the recommended artifact, then the others from the smallest."""
    recommended = manifest.recommended
    return sorted(manifest.artifacts, key=lambda a: (a.name != recommended, a.size_bytes, a.name))


def _tried(
    bundle: Path, manifest: Manifest, artifact: Artifact, target: Target, options: PackOptions
) -> Packed | GateError:
    try:
        return _fitting(bundle, manifest, artifact, target, options)
    except GateError as error:
        return error


def _fitting(
    bundle: Path, manifest: Manifest, artifact: Artifact, target: Target, options: PackOptions
) -> Packed:
    path = bundle / artifact.name
    if artifact.format not in target.formats:
        formats = " or ".join(f".{each}" for each in target.formats)
        raise GateError(f"{target.name} needs a {formats} file, and {artifact.name} is not one")
    stamp = read_stamped(path).stamp
    if files.sha256_of(path) != artifact.sha256:
        raise FileFormatError(
            f"{path} is not the file that its manifest describes", remedy=remedy("export again")
        )
    packed = Packed(
        target=target,
        bundle=bundle,
        manifest=manifest,
        artifact=artifact,
        stamp=stamp,
        options=options,
    )
    if not packed.passed:
        raise GateError(f"{path} passed in no runtime yet", remedy=remedy("verify", bundle=bundle))
    attribute(target.fits)(packed)
    return packed


def _fill(folder: Path, packed: Packed) -> None:
    contents: Contents = attribute(packed.target.fill)(folder, packed)
    # no package index has this very Hemline
    hemline = replace(installed_component("hemline"), purl="")
    components = (hemline, *contents.components)
    labels = "".join(f"{label}\n" for label in packed.stamp.labels)
    (folder / _LABELS).write_text(labels, encoding="utf-8")
    (folder / model_card.FILE_NAME).write_text(model_card.model_card(packed), encoding="utf-8")
    (folder / "README.md").write_text(_readme(packed, contents), encoding="utf-8")
    document = bill_of_materials.bill_of_materials(packed, components)
    files.write_json(folder / bill_of_materials.FILE_NAME, document)
    _write_licences(folder / "licences", components)
    for path in (each for each in folder.rglob("*") if each.is_file()):
        with path.open("rb") as stream:
            path.chmod(0o755 if stream.read(2) == b"#!" else 0o644)
    write_sums(folder)


def _readme(packed: Packed, contents: Contents) -> str:
    artifact, first = packed.artifact, packed.passed[0]
    score = first.score("test")
    seen = "" if score is None else f", {accuracy_text(score.correct, score.images)} correct"
    of = "" if score is None else f" on {score.images:,} test images"
    return "\n".join(
        (
            f"# {packed.bundle.resolve().name} for {packed.target.summary}\n",
            f"`{artifact.name}` ({kilobytes(artifact.size_bytes)}), {len(packed.stamp.labels)} "
            f"classes{seen}{of} in {first.runtime} {first.version}.\n",
            *contents.use,
            "\n`SHA256SUMS` finds damaged files (`sha256sum -c SHA256SUMS`). `MODEL_CARD.md` has "
            f"accuracy and limits, `{bill_of_materials.FILE_NAME}` (CycloneDX) and `licences/` "
            "what is inside.",
            "",
        )
    )


def _write_licences(folder: Path, components: tuple[Component, ...]) -> None:
    """Write the licence files of what is inside, and a line for each component."""
    lines = []
    for each in components:
        lines.append(f"{each.name} {each.version}: {each.licence or 'not stated'}\n")
        for name, text in each.texts.items():
            path = folder / each.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    folder.mkdir(exist_ok=True)
    (folder / "README.txt").write_text("".join(sorted(set(lines))), encoding="utf-8")


def _ending(path: Path) -> str | None:
    return next((ending for ending in ARCHIVES if path.name.endswith(ending)), None)


def _require_replaceable(path: Path, force: bool) -> None:
    """Raise UsageError for a path that is taken: by a pack without `force`, or by anything else."""
    if not path.exists():
        return
    ours = path.is_file() if _ending(path) else (path / bill_of_materials.FILE_NAME).is_file()
    if not ours:
        raise UsageError(f"{path} is there and is not a pack", remedy=remedy("other output folder"))
    if not force:
        raise UsageError(f"{path} is there already", remedy=remedy("replace or move"))


def _place(folder: Path, path: Path, temporary: Path) -> int:
    """Move a whole pack to its place, as a folder or an archive; return its bytes."""
    if (ending := _ending(path)) is not None:
        content = ARCHIVES[ending](folder, folder.name)
        files.write_bytes(path, content)
        return len(content)
    if path.exists():
        path.rename(temporary / "old")  # removed with the temporary folder
    folder.rename(path)
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
