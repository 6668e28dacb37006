"""Compile an int8 file to C by bakenn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hemline.contract.stamp import read_stamped
from hemline.errors import BackendError, GateError, remedy
from hemline.export.pack.packed import Packed
from hemline.folders import TemporaryFolder
from hemline.model_files.tflite import read_tflite


@dataclass(frozen=True, slots=True, kw_only=True)
class CModel:
    """A model in C.

    sources: name to content of its files.
    reference: the TFLite model that it was made of: one image, logits alone.
    grid: scale and zero point of the logits.
    flash_bytes: weights and tables, without code.
    sram_bytes: arena, input and output.
    """

    sources: dict[str, bytes]
    reference: bytes
    grid: tuple[float, int]
    flash_bytes: int
    sram_bytes: int


def compile_model(packed: Packed) -> CModel:
    """Compile a file; raises GateError, naming the operator or the bytes, for one that cannot be.

    Raises BackendError when bakenn is not installed.
    """
    try:
        from hemline.export.pack.c import generation, graph
    except ImportError as error:
        raise BackendError("C is made by bakenn: pip install bakenn[tflite]") from error
    packed.require_no_distance()
    name, position = packed.artifact.name, packed.stamp.output.position
    reference = graph.logits_of_one_image(read_stamped(packed.path).model, position)
    content = graph.compilable(reference)
    contents = read_tflite(content)
    if refused := {each.kind for each in contents.operators} - graph.VERSIONS.keys():
        advice = remedy("other microcontroller", bundle=packed.bundle)
        what = f"{name} has {', '.join(sorted(refused))}: bakenn cannot compile it to C"
        raise GateError(what, remedy=advice)
    with TemporaryFolder() as folder:
        try:
            memory = generation.generate(content, Path(folder))
        except generation.BakeNNError as error:
            raise GateError(f"bakenn cannot compile {name} to C ({error})") from error
        sources = {each.name: each.read_bytes() for each in sorted(Path(folder).glob("*.[ch]"))}
    logits = next(each for each in contents.tensors if each.name == contents.outputs[0])
    flash_bytes = memory.emitted_constant_payload_bytes
    sram_bytes = memory.arena_bytes + memory.caller_io_bytes
    require_room(packed, flash_bytes, sram_bytes)
    return CModel(
        sources=sources,
        reference=reference,
        grid=(logits.scales[0], logits.zero_points[0]),
        flash_bytes=flash_bytes,
        sram_bytes=sram_bytes,
    )


def require_room(packed: Packed, flash_bytes: int, sram_bytes: int) -> None:
    """Raise GateError when a model needs more memory than the options name."""
    options = packed.options
    lacking = [
        f"{needed:,} bytes of {kind}, {needed - 1000 * most_kb:,} more than {most_kb} kB"
        for kind, most_kb, needed in (
            ("flash", options.flash_kb, flash_bytes),
            ("SRAM", options.sram_kb, sram_bytes),
        )
        if most_kb is not None and needed > 1000 * most_kb
    ]
    if lacking:
        raise GateError(f"{packed.artifact.name} needs {' and '.join(lacking)} (of 1,000 bytes)")
