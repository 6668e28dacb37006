"""What every converter returns: a function of a source and what it is quantized by."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.contract.specs import InputSpec, OutputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedModel:
    """A model file before it is stamped, with the specs that were read back from it.

    content: bytes of the file.
    input: how pixels become its input tensor.
    outputs: what it gives: the logits, and perhaps an embedding.
    """

    content: bytes
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
