"""`hemline serve`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import click

from hemline.arguments import FOLDER, path_argument
from hemline.console import require_package
from hemline.errors import UsageError

_COUNT = click.IntRange(min=1)


@click.command()
@path_argument("artifacts", "ARTIFACT…")
@click.option("--host", default="127.0.0.1", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="Port (8000).")
@click.option("--runtime", help="Runtime (default: the first one here that the file supports).")
@click.option("--max-mb", "megabytes", type=_COUNT, default=10, help="Size of a request (10).")
@click.option("--max-requests", "requests", type=_COUNT, default=64, help="At a time (64).")
@click.option("--timeout", "seconds", type=_COUNT, default=30, help="Seconds for a request (30).")
@click.option("--allow-origin", "origins", multiple=True, help="URL whose pages may ask (repeat).")
@click.option("--monitor", type=FOLDER, help="Count predictions here, for `hemline drift`.")
@click.option("--keep-unsure", type=_COUNT, help="Also store so many images, the least certain.")
@click.option("--similar", type=FOLDER, help="Index whose similar images the page shows.")
def serve(
    artifacts: tuple[Path, ...],
    host: str,
    port: int,
    runtime: str | None,
    origins: tuple[str, ...],
    monitor: Path | None,
    keep_unsure: int | None,
    similar: Path | None,
    **limits: Any,
) -> None:
    """Serve artifacts over HTTP until SIGTERM.

    Open the address in a browser for a page that classifies pictures there. POST an image to
    /classify, or a tensor to /v2/models/NAME/infer (Open Inference Protocol).
    ARTIFACT is a file or the folder of a bundle, NAME is the name of the file or folder. It is
    loaded again when it changes; no request is lost.
    """
    require_package("fastapi", "serving needs: pip install fastapi uvicorn python-multipart")
    from hemline.runtime.monitoring import Monitor
    from hemline.runtime.service import server
    from hemline.runtime.service.service import Limits

    for origin in origins:
        if re.fullmatch(r"\*|https?://[^/\s]+", origin) is None:
            raise UsageError(f"--allow-origin takes https://example.com or *, not {origin!r}")
    if keep_unsure is not None and monitor is None:
        raise UsageError("--keep-unsure stores images in the folder of --monitor: name one")
    counting = None if monitor is None else partial(Monitor, monitor, keep_unsure=keep_unsure or 0)
    server.serve(artifacts, host, port, runtime, Limits(**limits), counting, origins, similar)
