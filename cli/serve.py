"""`aei serve`."""

from __future__ import annotations

import os
import shutil
import tempfile

import click

from ..formats import AeiError
from .files import ByteCount


@click.command("serve")
@click.argument("folder", type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("-w", "--workers", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Processes.")  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(1), default=None,
              help="Pictures worked on at a time in each.  [default: CPUs / workers]")  # fmt: skip
@click.option("--uploads", is_flag=True, help="Take pictures at POST /convert too.")
@click.option("--max-upload", metavar="SIZE", type=ByteCount(), default=32 << 20,
              help="Bytes of a body at most.  [default: 32MiB]")  # fmt: skip
@click.option("--max-pixels", type=click.IntRange(1), default=1 << 26, show_default=True,
              help="Pixels of a picture at most.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.1), default=20, show_default=True,
              help="Seconds for one request.")  # fmt: skip
@click.option("--queue", type=click.IntRange(1), default=64, show_default=True,
              help="Requests that may wait in each process; others are sent away.")  # fmt: skip
@click.option("--max-age", type=click.IntRange(0), default=3600, show_default=True,
              help="Seconds that caches may keep answers.")  # fmt: skip
@click.option("-q", "--quality", type=click.FloatRange(1, 100), default=75, show_default=True,
              help="Of .aei files that are made.")  # fmt: skip
def command(
    folder: str,
    host: str,
    port: int,
    workers: int,
    jobs: int | None,
    uploads: bool,
    max_upload: int,
    max_pixels: int,
    timeout: float,
    queue: int,
    max_age: int,
    quality: float,
) -> None:
    """Serve the pictures of FOLDER, .aei files and originals, to web pages.

    Each client gets the format that it takes (.aei, AVIF, WebP, JPEG or PNG), the width and the
    region it asks for. Put a CDN in front: answers have an ETag and say how long they keep.

    \b
    Examples:
      aei serve photos/
      aei serve photos/ --workers 4 --host 0.0.0.0
      curl -H 'Accept: image/webp' 'localhost:8000/images/photo?width=640' -o photo.webp
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not os.path.isdir(folder):
        raise AeiError(f"{folder} is no folder: name the folder of the pictures")
    import uvicorn

    from ..codec.cpus import available_cpus
    from ..serve.protocol import Protocol
    from ..serve.settings import ServeSettings

    settings = ServeSettings(
        os.path.abspath(folder), uploads=uploads, pixels=max_pixels, upload_bytes=max_upload,
        seconds=timeout, waiting=queue, jobs=jobs or max(1, available_cpus() // workers),
        max_age=max_age, quality=quality,
    )  # fmt: skip
    settings.to_environment()
    counters = tempfile.mkdtemp(prefix="aei-serve-") if workers > 1 else None
    if counters is not None:  # where the processes add up what they count
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters
    try:
        uvicorn.run(
            "aei.serve.app:from_environment", factory=True, host=host, port=port, workers=workers,
            access_log=False, log_level="info", server_header=False, timeout_keep_alive=15,
            timeout_graceful_shutdown=int(timeout) + 1, http=Protocol,
        )  # fmt: skip
    finally:
        if counters is not None:
            shutil.rmtree(counters, ignore_errors=True)
