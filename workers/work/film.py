"""The film of a training: its pictures from fixed noise go to the bucket while it runs, and beside the model after."""

import io
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from PIL import Image

from service.domain.film import frame_key, latest
from service.storage.objects import Missing
from workers.work.bench import STORAGE_ERRORS, Bench

SIDE = 1_536  # pixels of a frame's longer side at most: a hundred pictures of 512 pixels would be 70 MB
MILLISECONDS = 800  # that a frame is shown


class Film:
    """Frames are stored beside the training, which goes on without those that cannot be."""

    def __init__(self, prefix: str, attempt: int, bench: Bench) -> None:
        self._prefix, self._attempt, self._bench = prefix, attempt, bench
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)

    def add(self, step: int, picture: bytes) -> None:
        """Store a PNG as the frame of this step; returns at once."""
        self._thread.submit(self._put, frame_key(self._prefix, step, self._attempt), picture)

    def stored(self) -> None:
        """Wait for what was added so far: a later attempt goes on from here, and does not show it again."""
        self._thread.submit(lambda: None).result()

    def keep(self, path: Path) -> None:
        """Write all frames, those of earlier attempts as well, as an endless animated WebP; nothing where none is."""
        try:
            frames = [self._bench.store.get(key) for key in latest(self._bench.store.keys(self._prefix)).values()]
        except (*STORAGE_ERRORS, Missing):
            traceback.print_exc()  # for operators
            self._bench.line.event("The training's film could not be read; the model has none.", "warning")
            return
        if frames:
            _animate([Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames], path)

    def _put(self, key: str, picture: bytes) -> None:
        try:
            self._bench.store.put(key, fitted(picture), "image/png")
        except STORAGE_ERRORS:
            traceback.print_exc()  # for operators
            self._bench.line.event("A picture of the film could not be stored; training goes on.", "warning")


def fitted(picture: bytes) -> bytes:
    """The PNG, made smaller if it is too large for a frame."""
    image = Image.open(io.BytesIO(picture))
    if max(image.size) <= SIDE:
        return picture
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _animate(frames: list[Image.Image], path: Path) -> None:
    first, *rest = frames
    first.save(
        path, "WEBP", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0, lossless=True, quality=50
    )
