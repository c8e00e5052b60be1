"""Samples to files: zip of PNG, WebDataset, Parquet, grids for people. Streams; the same samples, the same bytes."""

import csv
import io
import json
import math
import os
import re
import tarfile
import tempfile
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from workers.modalities.images.codec import Codec
from workers.modalities.images.pictures import encoded

Samples = Iterator[tuple[int, NDArray[np.uint8], NDArray[np.int64]]]  # (index of the first, pixels, labels)
BLOCK = 25  # pictures that a thread encodes at a time
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip can say


class Writer(Protocol):
    def __call__(self, path: Path, samples: Samples, codec: Codec) -> None: ...


def folders(classes: list[str] | None) -> list[str]:
    """A folder name for each class that every file system takes, all different; "images" without classes."""
    if classes is None:
        return ["images"]
    plain = [re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name).strip(" .")[:100] or "_" for name in classes]
    seen: set[str] = set()
    out = []
    for index, name in enumerate(plain):
        out.append(name if name.lower() not in seen else f"{name}_{index}")
        seen.add(out[-1].lower())
    return out


def entry(name: str, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = 0o644 << 16
    info.compress_type = method
    info.create_system = 3
    return info


def _encoded(samples: Samples) -> Iterator[tuple[int, list[bytes], NDArray[np.int64]]]:
    """(index of the first, PNGs, labels): encoded on all cores, while the next piece is drawn."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

        def begun(pixels: NDArray[np.uint8]) -> list[Future[list[bytes]]]:
            blocks = (pixels[at : at + BLOCK] for at in range(0, len(pixels), BLOCK))
            return [pool.submit(_block, block) for block in blocks]

        waiting: deque[tuple[int, list[Future[list[bytes]]], NDArray[np.int64]]] = deque()
        for first, pixels, labels in samples:
            waiting.append((first, begun(pixels), labels))
            if len(waiting) > 1:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())


def _block(pixels: NDArray[np.uint8]) -> list[bytes]:
    return [encoded(picture) for picture in pixels]


def _finished(
    first: int, blocks: list[Future[list[bytes]]], labels: NDArray[np.int64]
) -> tuple[int, list[bytes], NDArray[np.int64]]:
    return first, [png for block in blocks for png in block.result()], labels


def write_zip(path: Path, samples: Samples, codec: Codec) -> None:
    """`label/000000123.png` (or `images/...`) and, with classes, labels.csv."""
    places = folders(codec.classes)
    with zipfile.ZipFile(path, "w") as archive, tempfile.TemporaryFile() as listed:
        text = io.TextIOWrapper(listed, "utf-8", newline="", write_through=True)
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["file", "label"])
        for first, pngs, labels in _encoded(samples):
            for offset, (png, label) in enumerate(zip(pngs, labels.tolist(), strict=True)):
                name = f"{places[max(label, 0)]}/{first + offset:09d}.png"
                archive.writestr(entry(name), png)  # PNG is deflated already: stored
                if codec.classes is not None:
                    rows.writerow([name, codec.classes[label]])
        if codec.classes is not None:
            listed.seek(0)
            with archive.open(entry("labels.csv", zipfile.ZIP_DEFLATED), "w") as out:
                while piece := listed.read(1 << 20):
                    out.write(piece)


def _tar_file(out: BinaryIO, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 0
    out.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))


def write_webdataset(path: Path, samples: Samples, codec: Codec) -> None:
    """A tar of `000000123.png` and, with classes, `.cls` (the class's index) and `.json` (its name)."""
    with path.open("wb") as out:
        for first, pngs, labels in _encoded(samples):
            for offset, (png, label) in enumerate(zip(pngs, labels.tolist(), strict=True)):
                key = f"{first + offset:09d}"
                _tar_file(out, f"{key}.png", png)
                if codec.classes is not None:
                    _tar_file(out, f"{key}.cls", str(label).encode())
                    _tar_file(out, f"{key}.json", json.dumps({"label": codec.classes[label]}).encode())
        out.write(bytes(1024))


def write_parquet(path: Path, samples: Samples, codec: Codec) -> None:
    """Columns `image` (a struct of bytes and path, as Hugging Face datasets keeps pictures) and, with classes, `label`
    (its name); a row group for each piece of samples."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features: dict[str, dict[str, str]] = {"image": {"_type": "Image"}}
    fields = [pa.field("image", image)]
    if codec.classes is not None:
        features["label"] = {"dtype": "string", "_type": "Value"}
        fields.append(pa.field("label", pa.string()))
    stated = json.dumps({"info": {"features": features}})
    schema = pa.schema(fields, metadata={"huggingface": stated})
    # PNG is deflated already, and each picture occurs once: neither compression nor a dictionary would gain anything.
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["label"]) as out:
        for first, pngs, labels in _encoded(samples):
            names = [f"{first + offset:09d}.png" for offset in range(len(pngs))]
            columns = [pa.StructArray.from_arrays([pa.array(pngs, pa.binary()), pa.array(names)], fields=list(image))]
            if codec.classes is not None:
                columns.append(pa.array(codec.classes, pa.string()).take(pa.array(labels)))
            out.write_batch(pa.record_batch(columns, schema=schema))


WRITERS: dict[str, Writer] = {"zip": write_zip, "webdataset": write_webdataset, "parquet": write_parquet}


def on_chequers(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures with alpha laid on light grey squares, so that people see the transparency; others unchanged."""
    if pixels.shape[-1] not in (2, 4):
        return pixels
    rows, columns = np.indices(pixels.shape[1:3]) // 4
    ground = np.where((rows + columns) % 2, 225, 250)[None, ..., None]
    alpha = pixels[..., -1:].astype(np.float32) / 255
    return np.round(pixels[..., :-1] * alpha + ground * (1 - alpha)).astype(np.uint8)


def grid(pixels: NDArray[np.uint8], columns: int) -> bytes:
    """A PNG of pictures (n, h, w, c) in rows, small ones enlarged by a whole factor."""
    shown = on_chequers(pixels)
    scale = max(1, math.ceil(56 / max(shown.shape[1:3])))
    shown = shown.repeat(scale, 1).repeat(scale, 2)
    n, high, wide, channels = shown.shape
    rows, gap = -(-n // columns), 2
    sheet = np.full((rows * (high + gap) + gap, columns * (wide + gap) + gap, channels), 128, dtype=np.uint8)
    for index, picture in enumerate(shown):
        top, left = gap + index // columns * (high + gap), gap + index % columns * (wide + gap)
        sheet[top : top + high, left : left + wide] = picture
    return encoded(sheet)
