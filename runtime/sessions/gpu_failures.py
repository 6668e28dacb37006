"""Say in a sentence why a GPU was not used: the reason stands only in what native code printed."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What a note has in it, and what is wrong then and to be done; the first row that fits counts.
_KNOWN = (
    (
        r"libvulkan\.so\S*: cannot open|vulkan-1\.dll",
        "there is no Vulkan library here: install it and the GPU's driver "
        "(on Debian libvulkan1 and mesa-vulkan-drivers)",
    ),
    (
        r"Insufficient Vulkan|Vulkan .*(not supported|required|too old)",
        "the Vulkan driver of the GPU is too old or lacks what WebGPU needs ({note}): update it",
    ),
    (
        r"Found no drivers|INCOMPATIBLE_DRIVER",
        "there is no Vulkan driver here: install the GPU's driver (on Debian mesa-vulkan-drivers)",
    ),
    (
        r"driver version is insufficient|CUDA failure 35\b",
        "the GPU's driver is too old for this CUDA: update it ({note})",
    ),
    (
        r"no CUDA-capable device|CUDA failure 100\b",
        "there is no NVIDIA GPU here, or this process must not use it",
    ),
    (
        r"(libcu|libnv|libcudnn)\S*\.so\S*: cannot open shared object",
        "a library of CUDA is missing ({note}): pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    (
        r"dynamic-sized tensors",
        "the GPU needs tensors of fixed size, which this model does not have",
    ),
    (r"No (supported )?adapters( found)?", "no GPU is available to this process ({note})"),
)
_MISSING = re.compile(r"(\S+\.so\S*|\S+\.dll): cannot open shared object file.*")
_LEFT = re.compile(r"([A-Z][A-Z0-9_]*): .* is not supported\.")  # as LiteRT lists operators
_LONGEST_NOTE = 160


def why(notes: Iterable[str], otherwise: str) -> str:
    """Return the reason that stands in lines of native output, else the first line of another."""
    lines = [line.strip() for line in notes if line.strip()]
    if left := sorted({found[1] for line in lines if (found := _LEFT.match(line))}):
        return f"the GPU has no kernels for operators of this model ({', '.join(left)})"
    for pattern, sentence in _KNOWN:
        for line in lines:
            if re.search(pattern, line):
                return sentence.format(note=_note(line))
    return _note(next(iter(otherwise.strip().splitlines()), "it gave no reason"))


def _note(line: str) -> str:
    missing = _MISSING.search(line)
    text = missing[0] if missing else re.sub(r"^\W*(Warning|ERROR|WARNING)\W*", "", line)
    return text if len(text) <= _LONGEST_NOTE else f"{text[: _LONGEST_NOTE - 1]}…"
