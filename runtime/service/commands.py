"""`hemline serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hemline.arguments import path_argument
from hemline.console import require_package

_COUNT = click.IntRange(min=1)


@click.command()
@path_argument("artifacts", "ARTIFACT…")
@click.option("--host", default="127.0.0.1", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="Port (8000).")
@click.option("--runtime", help="Runtime (default: the first one here that the file supports).")
@click.option("--max-mb", "megabytes", type=_COUNT, default=10, help="Size of a request (10).")
@click.option("--max-requests", "requests", type=_COUNT, default=64, help="At a time (64).")
@click.option("--timeout", "seconds", type=_COUNT, default=30, help="Seconds for a request (30).")
def serve(
    artifacts: tuple[Path, ...], host: str, port: int, runtime: str | None, **limits: Any
) -> None:
    """Serve artifacts over HTTP until SIGTERM.

    POST an image to /classify, or a tensor to /v2/models/NAME/infer (Open Inference Protocol).
    ARTIFACT is a file or the folder of a bundle, NAME is the name of the file or folder. It is
    loaded again when it changes; no request is lost.
    """
    require_package("fastapi", "serving needs: pip install fastapi uvicorn python-multipart")
    from hemline.runtime.service import server
    from hemline.runtime.service.service import Limits

    server.serve(artifacts, host, port, runtime, Limits(**limits))
