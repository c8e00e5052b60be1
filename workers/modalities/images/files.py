"""Uploads to parts: shards of pixels as safetensors. The archive is read twice, one picture in memory at a time."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from service.errors import Rejected
from workers.modalities import Dataset, Ingested, PartSink, Progress, Split
from workers.modalities.images import archive, pictures
from workers.modalities.images.spec import ImageOptions
from workers.modalities.images.survey import (
    GIVE_UP,
    Plan,
    counts,
    is_candidate,
    plan,
    refuse_damaged,
    refuse_few,
    survey,
)

SHARD_BYTES = 64 << 20


class _Shards:
    """Fills one split's shards; memory is that of one shard."""

    def __init__(self, split: Split, plan: Plan, sink: PartSink) -> None:
        shape = (plan.height, plan.width, plan.channels)
        self.split, self.sink, self.rows, self.total = split, sink, 0, 0
        self.pixels = np.empty((max(1, SHARD_BYTES // int(np.prod(shape))), *shape), dtype=np.uint8)
        self.labels = np.empty(len(self.pixels), dtype=np.int64)

    def add(self, picture: pictures.Pixels, label: int) -> None:
        self.pixels[self.rows], self.labels[self.rows] = picture, label
        self.rows += 1
        self.total += 1
        if self.rows == len(self.pixels):
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        with self.sink.part(self.split, ".safetensors") as path:
            save_file({"pixels": self.pixels[: self.rows], "labels": self.labels[: self.rows]}, path)
        self.rows = 0


def ingest(
    source: Path,
    options: ImageOptions,
    seed: int,
    sink: PartSink,
    progress: Progress,
    limits: archive.Limits | None = None,
) -> Ingested:
    """Read, check and fit an archive of pictures, and write its parts. Raises Rejected."""
    limits = limits or archive.Limits()
    found = survey(source, limits, progress)
    planned = plan(found, options, seed)
    train, kept = _Shards("train", planned, sink), _Shards("holdout", planned, sink)
    written = np.full(len(planned.label), -2, dtype=np.int64)  # the labels of what could be read
    for candidate, picture in _decoded(source, planned, options.fit, limits, progress):
        written[candidate] = planned.label[candidate]
        (kept if planned.holdout[candidate] else train).add(picture, int(written[candidate]))
    rows = train.total + kept.total
    damaged = found.damaged + int(((planned.label > -2) & (written == -2)).sum())
    refuse_damaged(damaged, len(written))
    refuse_few(rows)
    train.flush()
    kept.flush()
    warnings = [*planned.warnings, *([f"{damaged:,} damaged pictures were skipped."] if damaged else [])]
    if planned.classes is not None:
        none = [name for name, count in counts(written, planned.classes).items() if not count]
        warnings += [f"The class '{name}' has no picture that can be read." for name in none]
    progress(1.0, 1.0)
    return Ingested(
        rows, _schema(planned), _profile(planned, written, found.widths, found.heights, kept.total), warnings
    )


def _decoded(
    source: Path, planned: Plan, fit: pictures.Fit, limits: archive.Limits, progress: Progress
) -> Iterator[tuple[int, pictures.Pixels]]:
    """(candidate, pixels) of each picture to keep. Raises Rejected when it is clear that most are damaged."""
    candidate, bad, good = -1, 0, 0
    for entry in archive.entries(source, limits):
        progress(0.3 + 0.7 * entry.fraction, 1.0)
        if not is_candidate(entry.name):
            continue
        candidate += 1
        if planned.label[candidate] == -2:
            continue
        try:
            picture = pictures.pixels(entry.read(), planned.width, planned.height, planned.channels, fit)
        except (OSError, pictures.Damaged):
            bad += 1
            if bad >= GIVE_UP and bad > 4 * good:
                refuse_damaged(bad, bad + good)
            continue
        good += 1
        yield candidate, picture


def _schema(planned: Plan) -> dict[str, object]:
    return {
        "modality": "images",
        "height": planned.height,
        "width": planned.width,
        "channels": planned.channels,
        "classes": planned.classes,
    }


def _profile(
    planned: Plan, written: NDArray[np.int64], widths: list[int], heights: list[int], kept: int
) -> dict[str, object]:
    return {
        "pictures": int((written > -2).sum()),
        "holdout": kept,
        "sizes": {
            "width": [int(min(widths)), float(np.median(widths)), int(max(widths))],
            "height": [int(min(heights)), float(np.median(heights)), int(max(heights))],
        },
        "class_counts": None if planned.classes is None else dict(counts(written, planned.classes)),
    }


def _mapped(path: Path, name: str) -> np.ndarray:
    """One array of a safetensors file, paged in from the disk as it is used."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
    dtype = {"U8": np.uint8, "I64": np.int64}[entry["dtype"]]
    return np.memmap(
        path, dtype=dtype, mode="r", offset=8 + length + entry["data_offsets"][0], shape=tuple(entry["shape"])
    )


class Pictures:
    """A split of a dataset: pixels (n, height, width, channels) uint8, on disk, and labels (n,) int64, -1 for none."""

    def __init__(self, dataset: Dataset, split: Split) -> None:
        parts = [part for part in dataset.parts if part.split == split]
        schema = dataset.schema
        shape = (int(schema["height"]), int(schema["width"]), int(schema["channels"]))
        self.shards = [_mapped(part.path, "pixels") for part in parts]
        if any(shard.shape[1:] != shape for shard in self.shards):
            raise Rejected("corrupt_file", "The dataset's parts do not fit its schema; upload it again.")
        self.labels = np.concatenate([np.zeros(0, np.int64), *(_mapped(part.path, "labels") for part in parts)])
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)])
        self.shape = shape

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pixels of these rows, (n, height, width, channels)."""
        out = np.empty((len(rows), *self.shape), dtype=np.uint8)
        shard = np.searchsorted(self.starts, rows, side="right") - 1
        for index in np.unique(shard):
            here = shard == index
            out[here] = self.shards[index][rows[here] - self.starts[index]]
        return out
