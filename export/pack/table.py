"""The targets that a bundle is packed for."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.contract.specs import Format, InputDtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A row of the TARGETS table.

    name: as the user writes it, and at the end of a pack's name.
    summary: what it is, for help and the title of the README.
    fill: "module:attribute" of fill(folder: Path, packed: Packed) -> Contents: it writes the
        target's own files, with the artifact and the self-test.
    fits: "module:attribute" of fits(packed: Packed) -> object: it raises GateError, naming the
        operator or the bytes, for an artifact that cannot be used there.
    formats: of the artifacts that it can use.
    dtype: that such an artifact accepts; None for any.
    options: fields of PackOptions that it reads, beside the artifact.
    next_step: with the pack, as a command in which @PATH@ is where it is; empty: see its README.
    """

    name: str
    summary: str
    fill: str
    fits: str
    formats: tuple[Format, ...] = ("tflite", "onnx")
    dtype: InputDtype | None = None
    options: tuple[str, ...] = ()
    next_step: str = ""

    def accepts(self, dtype: InputDtype) -> bool:
        """Tell whether artifacts of an input dtype can be used."""
        return self.dtype in (None, dtype)


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="pi",
            summary="a Raspberry Pi or another Linux board",
            fill="hemline.export.pack.pi.filling:fill",
            fits="hemline.export.pack.pi.filling:board_runtime",
            options=("machine", "wheels"),
            next_step="scp -r @PATH@ USER@BOARD:",
        ),
        Target(
            name="web",
            summary="a web page",
            fill="hemline.export.pack.web.filling:fill",
            fits="hemline.export.pack.web.filling:page_runtime",
            options=("single_file", "similar"),
            next_step="python3 -m http.server --directory @PATH@, then open http://localhost:8000",
        ),
        Target(
            name="kotlin",
            summary="an Android app in Kotlin with LiteRT",
            fill="hemline.export.pack.languages.filling:fill",
            fits="hemline.export.pack.languages.filling:supported",
            formats=("tflite",),
            next_step="add its .kt files to the app and run selfTest there, see @PATH@/README.md",
        ),
        Target(
            name="swift",
            summary="an iOS app in Swift with TensorFlow Lite",
            fill="hemline.export.pack.languages.filling:fill",
            fits="hemline.export.pack.languages.filling:supported",
            formats=("tflite",),
            next_step="add its Swift files to the app and run selfTest there, see @PATH@/README.md",
        ),
        Target(
            name="js",
            summary="a program in JavaScript, in browsers or Node.js",
            fill="hemline.export.pack.languages.javascript:fill",
            fits="hemline.export.pack.web.filling:page_runtime",
            next_step="node @PATH@/selftest.js",
        ),
        Target(
            name="cpp",
            summary="a C++ program with ONNX Runtime",
            fill="hemline.export.pack.languages.filling:fill",
            fits="hemline.export.pack.languages.filling:supported",
            formats=("onnx",),
            next_step="cd @PATH@ && g++ -std=c++17 selftest.cpp -o selftest && ./selftest",
        ),
        Target(
            name="c",
            summary="a microcontroller, in C",
            fill="hemline.export.pack.c.filling:fill",
            fits="hemline.export.pack.c.compiling:compile_model",
            formats=("tflite",),
            dtype="int8",
            options=("flash_kb", "sram_kb"),
            next_step="make -C @PATH@ test",
        ),
    )
}
