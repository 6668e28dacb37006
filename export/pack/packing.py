"""Choose a verified artifact of a bundle for a target, and write its pack.

A pack gets its name when it is whole. Equal bundles and options give equal bytes.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace
from pathlib import Path

from hemline import files
from hemline.contract.manifest import PACK_BILL, read_manifest, require_artifacts
from hemline.contract.specs import LOCAL
from hemline.contract.stamp import read_stamped
from hemline.data.datasets import DATASETS
from hemline.errors import GateError, UsageError, remedy
from hemline.export.pack.bill_of_materials import (
    bill_of_materials,
    images_component,
    installed_component,
)
from hemline.export.pack.model_card import model_card, readme
from hemline.export.pack.packed import (
    Contents,
    Packed,
    PackOptions,
    in_8_bits,
    keeps_accuracy,
)
from hemline.export.pack.table import Target
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import attribute
from hemline.version import VERSION

ARCHIVE, SUMS, BILL, CARD = ".tar.gz", "SHA256SUMS", PACK_BILL, "MODEL_CARD.md"
_CONTROL = {*range(32), *range(127, 160), 0x2028, 0x2029}  # line breaks among them


def choose(bundle: Path, target: Target, options: PackOptions) -> Packed:
    """Return the artifact of the options, or the recommended or else a small one that fits.

    That is the smallest in 8-bit integers, which are fast everywhere: a smaller file that computes
    in float from 8-bit weights can take several times as long. What loses accuracy comes last.

    Raises GateError with the reason when it, or none, was verified and fits, UsageError for a
    device that the bundle has no choice for.
    """
    manifest, refusals = read_manifest(bundle), []
    require_artifacts(bundle, manifest)
    device = options.device
    choice = manifest.recommendation(device or LOCAL)
    if device is not None and choice is None:
        advice = remedy("choose on device", bundle=bundle, device=device)
        raise UsageError(f"{bundle} has no file that was chosen for {device}", remedy=advice)
    first = choice.artifact if choice else None
    named = options.artifact or (first if device is not None else None)
    wanted = (manifest.artifact(named),) if named else manifest.artifacts
    for artifact in sorted(
        wanted,
        key=lambda a: (
            a.format not in target.formats,  # the first refusal is told
            not target.accepts(a.input.dtype),
            a.name != first,
            not keeps_accuracy(manifest, a),
            not in_8_bits(a),
            a.size_bytes,
        ),
    ):
        stamp = read_stamped(bundle / artifact.name).stamp
        packed = Packed(target, bundle, manifest, artifact, stamp, options)
        refusal = _refusal(packed)
        if refusal is None:
            return packed
        refusals.append(refusal)
    others = "; no other artifact fits either" if len(refusals) > 1 else ""
    raise GateError(f"{refusals[0]}{others}", remedy=refusals[0].remedy) from refusals[0]


def _refusal(packed: Packed) -> GateError | None:
    """Return why an artifact cannot be packed for its target."""
    name, target = packed.artifact.name, packed.target
    if packed.artifact.format not in target.formats:
        formats = " or ".join(f".{each}" for each in target.formats)
        return GateError(f"{name} is not a {formats} file, which {target.name} needs")
    if not target.accepts(dtype := packed.artifact.input.dtype):
        advice = remedy("scheme", scheme=target.dtype)
        return GateError(
            f"{name} accepts {dtype}, {target.name} needs {target.dtype}", remedy=advice
        )
    if not packed.passed:
        advice = remedy("verify", bundle=packed.bundle)
        return GateError(f"{packed.path} passed in no runtime yet", remedy=advice)
    try:
        attribute(target.fits)(packed)
    except GateError as error:
        return error
    return None


def write_pack(packed: Packed, path: Path, *, force: bool = False) -> None:
    """Write a pack into a folder, or into an archive where the path ends in .tar.gz.

    Raises UsageError for a path that is taken: by a pack without `force`, or by anything else.
    """
    archived = path.name.endswith(ARCHIVE)
    if not archived and path.suffix in (".zip", ".tgz", ".tar", ".gz"):
        raise UsageError(f"{path} cannot be written: an archive ends in {ARCHIVE}")
    if path.exists() and not (path.is_file() if archived else _is_pack(path)):
        raise UsageError(f"{path} is there and is not a pack", remedy=remedy("other output folder"))
    if path.exists() and not force:
        raise UsageError(f"{path} is there already", remedy=remedy("replace or move"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryFolder(str(path.parent)) as temporary:
        folder = Path(temporary) / packed.name
        folder.mkdir()
        _fill(folder, packed)
        if archived:
            files.write_bytes(path, _archive(folder))
            return
        if path.exists():
            path.rename(Path(temporary) / "old")  # removed with the temporary folder
        folder.rename(path)


def _is_pack(path: Path) -> bool:
    return all((path / name).is_file() for name in (SUMS, BILL, CARD))


def _fill(folder: Path, packed: Packed) -> None:
    for label in packed.stamp.labels:
        if not _CONTROL.isdisjoint(map(ord, label)):
            raise GateError(f"the class name {label!r} has a control character")
    contents: Contents = attribute(packed.target.fill)(folder, packed)
    # no package index has this very Hemline
    hemline = replace(installed_component("hemline", VERSION), purl="")
    images = [DATASETS[name] for name in (packed.manifest.dataset,) if name in DATASETS]
    components = (hemline, *contents.components, *map(images_component, images))
    for each in components:
        for name, text in each.texts.items():
            files.write_bytes(folder / "licences" / each.name / name, text)
    labels = "".join(f"{label}\n" for label in packed.stamp.labels)
    files.write_bytes(folder / "labels.txt", labels.encode())
    files.write_bytes(folder / CARD, model_card(packed, contents.measured).encode())
    files.write_bytes(folder / "README.md", readme(packed, contents).encode())
    files.write_json(folder / BILL, bill_of_materials(packed, components))
    sums = [f"{files.sha256_of(path)}  {name}\n" for name, path in files_in(folder).items()]
    files.write_bytes(folder / SUMS, "".join(sums).encode())
    for path in files_in(folder).values():
        path.chmod(0o755 if path.read_bytes()[:2] == b"#!" else 0o644)


def _archive(folder: Path) -> bytes:
    """Return a folder as a .tar.gz whose bytes depend on names and contents only."""
    stream = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, path in files_in(folder).items():
            entry = tarfile.TarInfo(f"{folder.name}/{name}")
            entry.size, entry.mode = path.stat().st_size, path.stat().st_mode & 0o777
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return stream.getvalue()


def files_in(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their names in it, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}
