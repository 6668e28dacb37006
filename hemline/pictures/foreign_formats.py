"""Recognize image files that are not read here, and say what to save them as.

ISO base media files: brands of ISO/IEC 23008-12 (HEIF) and of the AV1 image file format.
"""

from __future__ import annotations

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_RAW = "a camera's raw file"
# endings of files that hold pictures, but are not read here
FOREIGN_ENDINGS: dict[str, str] = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".jxl": "JPEG XL",
    ".psd": "Photoshop",
    ".svg": "SVG",
    **dict.fromkeys(
        (".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw",
         ".rw2", ".sr2", ".srw"), _RAW,
    ),
}  # fmt: skip


def foreign_format(start: bytes) -> str:
    """Return what is wrong with a file of another format, by its first 32 bytes; else nothing."""
    if start[4:8] != b"ftyp":
        return ""
    if start[8:12] in _AVIF_BRANDS:
        return "is AVIF, which this version of pillow cannot read: install pillow 11.3 or later"
    if start[8:12] in _HEIF_BRANDS:
        return unread("HEIC")
    return ""


def unread(kind: str) -> str:
    """Return that files of a format are not read, and the remedy."""
    return f"is {kind}, which is not supported: convert it to JPEG or PNG"
