"""The job runner with two runtimes more: tflite-micro, and LiteRT's reference kernels.

python -m hemline.bench.devices.micro.micro_jobs [FOLDER]

They are not in BACKENDS, because nothing is classified or chosen with them. FOLDER has tflite-micro
and what it needs, where this Python's own packages do not.
"""

from __future__ import annotations

import sys

from hemline.runtime.backends import BACKENDS, Backend
from hemline.runtime.job import serve_standard_streams

MICRO = Backend(
    name="tflite-micro",
    format="tflite",
    module="tflite_micro.python.tflite_micro.runtime",
    session="hemline.bench.devices.micro.micro_session:MicroSession",
    packages="tflite-micro==0.dev20261023182759",
)
REFERENCE = Backend(
    name="litert-reference",
    format="tflite",
    module="ai_edge_litert.interpreter",
    session="hemline.bench.devices.micro.reference_session:ReferenceSession",
    packages="ai-edge-litert",
)


MICRO_BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (MICRO, REFERENCE)}


def main() -> None:
    """Run the jobs on the standard streams."""
    sys.path += sys.argv[1:]  # behind this Python's own: one numpy is enough
    BACKENDS.update(MICRO_BACKENDS)
    serve_standard_streams()


if __name__ == "__main__":
    main()
