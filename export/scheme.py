"""One way to write a model down, and the runtimes that its files support."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.contract.specs import Format, SupportedRuntime


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to write a model down: a row of the SCHEMES table.

    name: decodes itself (int8: weights and activations; dynamic: int8 weights, float activations).
    format: file format, also the file's ending.
    summary: one line for help and tables.
    converter: "module:function" that makes the file.
    calibrated: whether it needs calibration images.
    supported_runtimes: runtimes in which its files must be right.
    """

    name: str
    format: Format
    summary: str
    converter: str
    calibrated: bool
    supported_runtimes: tuple[SupportedRuntime, ...]

    @property
    def file_name(self) -> str:
        """Return the artifact's file name, which is also its name in every table."""
        return f"{self.name}.{self.format}"
