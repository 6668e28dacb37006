"""What to do when a part that a device test needs is not here: skip, or fail where it must be."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(part: str, reason: str) -> NoReturn:
    """Skip the test, or fail it when HEMLINE_REQUIRE (as in ssh,pi4,gpu,tflm) names the part."""
    if part in os.environ.get("HEMLINE_REQUIRE", "").split(","):
        pytest.fail(f"HEMLINE_REQUIRE names {part}: {reason}", pytrace=False)
    pytest.skip(f"{part}: {reason}")
