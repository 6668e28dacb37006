"""A bundle to measure, together with what its manifest says of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hemline.contract.manifest import Manifest
from hemline.contract.record import RECORDS_NAME, Record, append_records


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A bundle and its manifest; the records of what is measured go into the bundle.

    bundle: folder.
    manifest: of the folder, or a part of it that is to be measured.
    """

    bundle: Path
    manifest: Manifest

    def append(self, records: Iterable[Record]) -> None:
        """Append records to those of the bundle."""
        append_records(self.bundle / RECORDS_NAME, records)
