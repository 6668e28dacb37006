"""What to do when a part that a test needs is not here: skip, or fail where it must be."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

# what HEMLINE_REQUIRE may name: in a place where it is there, a skip would hide a failure
PARTS = {
    "ssh": "OpenSSH's server, for a board at the end of a loopback",
    "pi4": "qemu and an ARM system by apt-get, for emulated Raspberry Pis",
    "gpu": "a Vulkan device, or SwiftShader by apt-get",
    "tflm": "the tflite-micro package",
    "python3.10": "this Python, for the runtime on a device",
    "python3.12": "the same",
    "python3.13": "the same",
    "browser": "a browser without a window",
    "firefox": "Firefox",
    "cross": "a compiler for other processors",
    "cpp": "g++, for packs in C++",
    "onnxruntime-dev": "ONNX Runtime's headers, for the same",
    "kotlin": "Kotlin's compiler, for packs",
    "swift": "Swift's compiler, for packs",
    "node": "Node.js, and npm's packages, for packs in JavaScript",
    "ray": "Ray",
    "peers": "the quantizers of other tools",
}


def required() -> set[str]:
    """Return the parts that HEMLINE_REQUIRE (as in ssh,pi4) names; an unknown one is an error."""
    names = {name for name in os.environ.get("HEMLINE_REQUIRE", "").split(",") if name}
    if unknown := sorted(names - set(PARTS)):
        raise pytest.UsageError(f"HEMLINE_REQUIRE: {', '.join(unknown)} is none of {list(PARTS)}")
    return names


def missing(part: str, reason: str) -> NoReturn:
    """Skip the test, or fail it when HEMLINE_REQUIRE names the part."""
    assert part in PARTS, part
    if part in required():
        pytest.fail(f"HEMLINE_REQUIRE names {part}: {reason}", pytrace=False)
    pytest.skip(f"{part}: {reason}")
