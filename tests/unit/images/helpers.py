"""Small archives of pictures made on the spot, and the local disk as a sink of parts."""

import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.modalities import Dataset, Ingested, Part, Split
from workers.modalities.images import archive, files
from workers.modalities.images.files import Pictures
from workers.modalities.images.spec import ImageOptions


def on(done: float, total: float) -> None:
    """Progress that goes on."""


def encoded(pixels: NDArray[Any], format: str = "PNG", **extra: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **extra)
    return out.getvalue()


def noise(seed: int, high: int = 16, wide: int = 16, channels: int = 1) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    shape = (high, wide) if channels == 1 else (high, wide, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def pngs(count: int, folders: tuple[str, ...] = ("",), **size: int) -> dict[str, bytes]:
    """`count` pictures dealt to the folders in turn."""
    return {f"{folders[i % len(folders)]}{i:04d}.png": encoded(noise(i, **size)) for i in range(count)}


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return out.getvalue()


def tarred(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as packed:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Folder:
    """A PartSink on the local disk."""

    def __init__(self, root: Path) -> None:
        self.root, self.parts = root, list[Part]()
        root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def part(self, split: Split, suffix: str) -> Iterator[Path]:
        path = self.root / f"{split}-{len(self.parts)}{suffix}"
        yield path
        self.parts.append(Part(path, 0, split))


def ingested(
    folder: Path,
    content: bytes,
    limits: archive.Limits | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[Ingested, Dataset]:
    """What ingestion makes of an upload."""
    folder.mkdir(parents=True, exist_ok=True)
    source, sink = folder / "source", Folder(folder / "parts")
    source.write_bytes(content)
    found = files.ingest(source, ImageOptions.model_validate(options), seed, sink, on, limits)
    return found, Dataset(found.schema, found.rows, sink.parts)


def everything(data: Dataset) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels and labels of both splits."""
    splits = [Pictures(data, split) for split in ("train", "holdout")]
    return np.concatenate([s.take(np.arange(len(s))) for s in splits]), np.concatenate([s.labels for s in splits])
