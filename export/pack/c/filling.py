"""The pack of a microcontroller: the model in C with its tests, and its TFLite Micro form."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hemline.export.pack.bill_of_materials import installed_component
from hemline.export.pack.c.comparison import compare, run
from hemline.export.pack.c.compiling import CModel, compile_model, require_room
from hemline.export.pack.c.templates import c_rows, classifier_facts, micro_facts
from hemline.export.pack.packed import Contents, Packed, filled, filled_file, write_filled
from hemline.export.pack.packing import files_in
from hemline.export.pack.vectors import write_vectors
from hemline.folders import TemporaryFolder
from hemline.programs import ProgramError, output_of

_FILES = Path(__file__).parent / "files"
_VECTORS = ("test/vectors.h", "test/vectors.c")
_VECTOR_BYTES = 64_000  # of pixels: they have to fit a microcontroller too
_SECONDS = 300.0
_MEASURED = (
    "A Cortex-M4 needs @SIZES@.",
    "On @IMAGES@ validation images, the C gave the label of LiteRT's reference kernels @SAME@ "
    "times, and @EQUAL@ of their bytes; the largest step is @STEP@.",
)


def fill(folder: Path, packed: Packed) -> Contents:
    """Write the files into a folder and run the C here.

    Raises GateError when it fails or is too large, ProgramError when no compiler is installed.
    """
    for tool in ("make", "cc"):
        if shutil.which(tool) is None:
            raise ProgramError(
                f"{tool} is not installed, and C is run before it is packed: "
                "apt-get install gcc make"
            )
    model = compile_model(packed)
    names = [name for name in files_in(_FILES) if name not in (*_VECTORS, "use.md")]
    facts = classifier_facts(packed, model.grid) | micro_facts(packed)
    write_filled(folder, _FILES, names, facts)
    for source, content in model.sources.items():
        (folder / "model" / source).write_bytes(content)
    shutil.copyfile(packed.path, folder / packed.artifact.name)
    with TemporaryFolder() as name:
        programs = Path(name)
        stream = _built(folder, "stream", programs)
        facts |= compare(packed, model, stream)
        _write_vectors(folder, packed, stream)
        facts["SIZES"] = _sizes(folder, packed, model, programs)
    measured = tuple(filled(each, facts) for each in _MEASURED)
    facts["MEASURED"] = "\n".join(f"- {each}" for each in measured)
    bakenn = installed_component("bakenn", version("bakenn"))
    texts = {file: text for file, text in bakenn.texts.items() if "/" not in file}  # of the C
    runtimes = {verdict.runtime: verdict for verdict in packed.passed}
    return Contents(
        runtime=runtimes.get("litert", packed.passed[0]),
        use=filled_file(_FILES / "use.md", facts),
        components=(replace(bakenn, texts=texts),),
        measured=measured,
    )


def _built(folder: Path, program: str, into: Path) -> Path:
    """Build a program by the Makefile of the pack; raises ProgramError when a tool is missing."""
    target = into / program
    command = ["make", "--silent", "-C", str(folder), f"BUILD={into}", str(target)]
    output_of(command, seconds=_SECONDS)
    return target


def _write_vectors(folder: Path, packed: Packed, stream: Path) -> None:
    """Write the golden vectors as JSON, and the first ones as C with the bytes of this model."""
    golden = write_vectors(folder, packed).vectors
    most = max(1, _VECTOR_BYTES // len(golden[0].pixels))
    images = np.array([each.pixels for each in golden[:most]], np.uint8)
    logits = run(stream, images, len(packed.stamp.labels))
    facts = {"COUNT": str(len(images)), "PIXELS": c_rows(images), "LOGITS": c_rows(logits)}
    write_filled(folder, _FILES, _VECTORS, facts)


def _sizes(folder: Path, packed: Packed, model: CModel, programs: Path) -> str:
    """Return what it takes on a Cortex-M4; raises GateError when that is too much."""
    flash, sram = model.flash_bytes, model.sram_bytes
    least, how = "at least ", "without its code, for want of a working arm-none-eabi-gcc"
    try:
        program = _built(folder, "classifier.elf", programs)
        table = output_of(["arm-none-eabi-size", str(program)], seconds=_SECONDS)
        compiler = output_of(["arm-none-eabi-gcc", "-dumpfullversion"], seconds=_SECONDS)
    except ProgramError:
        pass
    else:
        text, data, bss = map(int, table.splitlines()[1].split()[:3])
        flash, sram = text + data, data + bss
        least, how = "", f"linked by gcc {compiler.strip()} -Os"
    require_room(packed, flash, sram)
    return f"{least}{flash:,} bytes of flash ({how}) and {sram:,} bytes of SRAM beside the stack"
