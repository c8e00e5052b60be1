"""Uploads to parts: shards of pixels as safetensors. The upload is read twice or thrice, picture by picture."""

import json
import struct
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from service.errors import Rejected
from workers.modalities import Dataset, Ingested, PartSink, Progress, Split
from workers.modalities.images import archive, pictures
from workers.modalities.images.attributes import told
from workers.modalities.images.columnar import Parquet
from workers.modalities.images.sources import Alone, Archive, Found, Source
from workers.modalities.images.spec import PARQUET, ImageOptions, looks_like_picture
from workers.modalities.images.survey import (
    GIVE_UP,
    MINIMUM_PICTURES,
    NAMED,
    Plan,
    Survey,
    counts,
    listed,
    plan,
    readable,
    refuse_damaged,
    survey,
    too_large,
)

HEAD = 512  # bytes that tell what an upload is
CAPTION_BYTES = 1_000  # that are kept of a caption
COPIES_SHARE = 0.05  # of the pictures, above which exact copies are worth a warning
SHARD_BYTES = 64 << 20


class _Shards:
    """Fills one split's shards; memory is that of one shard."""

    def __init__(self, split: Split, plan: Plan, captioned: bool, sink: PartSink) -> None:
        shape = (plan.height, plan.width, plan.channels)
        self.split, self.sink, self.rows, self.total = split, sink, 0, 0
        self.pixels = np.empty((max(1, SHARD_BYTES // int(np.prod(shape))), *shape), dtype=np.uint8)
        self.candidates = np.empty(len(self.pixels), dtype=np.int64)
        self.captions: list[bytes] | None = [] if captioned else None
        self.labelled = plan.labelled

    def add(self, picture: pictures.Pixels, candidate: int, caption: str | None) -> None:
        self.pixels[self.rows], self.candidates[self.rows] = picture, candidate
        if self.captions is not None:
            self.captions.append((caption or "").encode("utf-8", "replace")[:CAPTION_BYTES])
        self.rows += 1
        self.total += 1
        if self.rows == len(self.pixels):
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        rows = self.candidates[: self.rows]
        tensors: dict[str, NDArray[Any]] = {"pixels": self.pixels[: self.rows], "labels": self.labelled.label[rows]}
        if self.labelled.attributes is not None:
            tensors["attributes"] = self.labelled.attributes.values[rows]
        if self.captions is not None:
            longest = max(1, *map(len, self.captions)) if len(self.captions) > 1 else max(1, len(self.captions[0]))
            padded = b"".join(caption.ljust(longest, b"\0") for caption in self.captions)
            tensors["captions"] = np.frombuffer(padded, np.uint8).reshape(self.rows, longest)
            self.captions = []
        with self.sink.part(self.split, ".safetensors") as path:
            save_file(tensors, path)
        self.rows = 0


def source_of(path: Path, limits: archive.Limits) -> Source:
    """The way to read an upload, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(PARQUET):
        return Parquet(path, limits.entry_bytes)
    return Alone(path, limits.entry_bytes) if looks_like_picture(head) else Archive(path, limits)


def ingest(
    source: Path,
    options: ImageOptions,
    seed: int,
    sink: PartSink,
    progress: Progress,
    limits: archive.Limits | None = None,
) -> Ingested:
    """Read, check and fit an upload of pictures, and write its parts. Raises Rejected."""
    opened = source_of(source, limits or archive.Limits())
    found = survey(opened, lambda fraction: progress(0.3 * fraction, 1.0))
    planned = plan(found, options, seed)
    planned = readable(opened, planned, seed, lambda fraction: progress(0.3 + 0.05 * fraction, 1.0))
    captioned = bool(found.captions) or planned.labelled.captioned
    splits = [_Shards(split, planned, captioned, sink) for split in ("train", "holdout")]
    unreadable = list(found.unreadable)
    digests = np.zeros(len(planned.label), dtype=np.int64)
    written = np.zeros(len(planned.label), dtype=bool)
    captions = 0
    for candidate, picture, said in _decoded(opened, planned, options.fit, unreadable, progress):
        caption = said or planned.labelled.caption(candidate)
        written[candidate] = True
        digests[candidate] = int.from_bytes(blake2b(picture.tobytes(), digest_size=8).digest(), "little", signed=True)
        captions += caption is not None
        splits[int(planned.holdout[candidate])].add(picture, candidate, caption)
    rows = sum(split.total for split in splits)
    damaged = found.damaged + int(((planned.label > -2) & ~written).sum())
    refuse_damaged(damaged, len(written), unreadable, found.oversized)
    for split in splits:
        split.flush()
    copies = rows - len(np.unique(digests[written]))
    warnings = [*planned.warnings, *_warnings(rows, damaged, copies, unreadable, found.oversized)]
    progress(1.0, 1.0)
    profile = _profile(planned, written, found) | {"holdout": splits[1].total, "unreadable": damaged, "copies": copies}
    if captions:
        profile["captions"] = captions
    return Ingested(rows, _schema(planned), profile, warnings)


def _warnings(rows: int, damaged: int, copies: int, unreadable: list[str], oversized: int) -> list[str]:
    out = []
    if rows < MINIMUM_PICTURES:
        out.append(
            f"Training needs at least {MINIMUM_PICTURES} pictures; so few can be projected or scored, not trained on."
        )
    if damaged:
        out.append(f"{damaged:,} pictures cannot be read and were left out: {listed(unreadable)}.")
    if oversized:
        out.append(f"Of these, {too_large(oversized)}")
    if copies == rows - 1 and rows > 1:
        out.append("All pictures are the same: a model of them can only repeat it.")
    elif copies > COPIES_SHARE * rows:
        out.append(f"{copies:,} pictures are exact copies of others; a model may learn to repeat those.")
    return out


def _decoded(
    source: Source, planned: Plan, fit: pictures.Fit, unreadable: list[str], progress: Progress
) -> Iterator[tuple[int, pictures.Pixels, str | None]]:
    """(candidate, pixels, caption) of each picture to keep. Raises Rejected when it is clear that most are damaged."""
    bad, good = 0, 0
    for candidate, item in enumerate(source.items(lambda fraction: progress(0.35 + 0.65 * fraction, 1.0), Found())):
        if planned.label[candidate] == -2:
            continue
        try:
            picture = pictures.pixels(item.read(), planned.width, planned.height, planned.channels, fit)
        except (OSError, pictures.Damaged):
            bad += 1
            if len(unreadable) < NAMED:
                unreadable.append(item.name)
            if bad >= GIVE_UP and bad > 4 * good:
                refuse_damaged(bad, bad + good, unreadable)
            continue
        good += 1
        yield candidate, picture, item.caption


def _schema(planned: Plan) -> dict[str, object]:
    attributes = planned.labelled.attributes
    return {
        "modality": "images",
        "height": planned.height,
        "width": planned.width,
        "channels": planned.channels,
        "classes": planned.classes,
    } | ({} if attributes is None else {"attributes": attributes.described})


def _profile(planned: Plan, written: NDArray[np.bool_], found: Survey) -> dict[str, object]:
    classes, attributes = planned.classes, planned.labelled.attributes
    return {
        "pictures": int(written.sum()),
        "sizes": {
            "width": [int(min(found.widths)), float(np.median(found.widths)), int(max(found.widths))],
            "height": [int(min(found.heights)), float(np.median(found.heights)), int(max(found.heights))],
        },
        "class_counts": None if classes is None else dict(counts(planned.label[written], classes)),
    } | ({} if attributes is None else {"attributes": told(attributes, written)})


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, paged in from the disk as they are used."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        stated: dict[str, Any] = json.loads(file.read(length))
    types = {"U8": np.uint8, "I64": np.int64, "F32": np.float32}
    return {
        name: np.memmap(path, types[one["dtype"]], "r", 8 + length + one["data_offsets"][0], tuple(one["shape"]))
        for name, one in stated.items()
        if name != "__metadata__"
    }


class Pictures:
    """A split of a dataset: pixels (n, height, width, channels) uint8, on disk; labels (n,) int64, -1 for none; and
    attributes (n, k) float32 as `described` names them: 0 or 1, a level's index, or a number, NaN for missing."""

    def __init__(self, dataset: Dataset, split: Split) -> None:
        parts = [_arrays(part.path) for part in dataset.parts if part.split == split]
        schema = dataset.schema
        shape = (int(schema["height"]), int(schema["width"]), int(schema["channels"]))
        self.shards = [part["pixels"] for part in parts]
        if any(shard.shape[1:] != shape for shard in self.shards):
            raise Rejected("corrupt_file", "The dataset's parts do not fit its schema; upload it again.")
        self.labels = np.concatenate([np.zeros(0, np.int64), *(part["labels"] for part in parts)])
        self.described = list(schema.get("attributes") or ())
        none = np.zeros((0, len(self.described)), np.float32)
        self.attributes = np.concatenate([none, *(part["attributes"] for part in parts if "attributes" in part)])
        self._captions = [part.get("captions") for part in parts]
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

    def captions(self, start: int, stop: int) -> list[str]:
        """The captions of rows start .. stop - 1, "" for a picture without one."""
        out: list[str] = []
        for begin, held, shard in zip(self.starts, self._captions, self.shards, strict=False):
            rows = slice(max(0, start - begin), max(0, min(stop - begin, len(shard))))
            padded = [] if held is None else [row.tobytes().rstrip(b"\0") for row in held[rows]]
            out += [text.decode("utf-8", "ignore") for text in padded or [b""] * len(range(*rows.indices(len(shard))))]
        return out
