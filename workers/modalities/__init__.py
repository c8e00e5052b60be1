"""The one door between the job system and a modality: what a modality's `modality.py` offers in the constant MODALITY.

Six files make a modality: `spec` (torch-free, read by the service), `codec` (data <-> tensors), `networks` (generator,
discriminator), `files` (reading uploads, writing outputs), `metrics` (quality), `modality` (ties them together).
Nothing here knows of jobs, storage or databases: a modality sees local files, arrays, and the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from service.domain.modality import TrainConfig
from service.modalities import MODALITIES

if TYPE_CHECKING:
    from workers.engine.trainer import Trainer

Json = Mapping[str, Any]
Split = Literal["train", "holdout"]


class PartSink(Protocol):
    """Where ingestion puts the parts of a dataset."""

    def part(self, split: Split, suffix: str) -> AbstractContextManager[Path]:
        """A local path to write one part to; on leaving without an error it is uploaded and the local file removed."""


class Progress(Protocol):
    """How far a piece of work is; raises workers.modalities.Stop when the work should end now."""

    def __call__(self, done: float, total: float) -> None: ...


class Preparing(Protocol):
    """How far a training run is before its first step, in seconds: `done` of the `total` that the whole run is guessed
    to take, its steps included. `stage` is a word for people: "reading", "fitting". Raises Stop as Progress does."""

    def __call__(self, stage: str, done: float, total: float) -> None: ...


def quiet(done: float, total: float) -> None:
    """Nobody waits."""


def unheard(stage: str, done: float, total: float) -> None:
    """Nobody waits."""


class Stop(Exception):
    """The job was cancelled or the worker drains: unwind quickly, leave nothing."""


@dataclass(frozen=True)
class Ingested:
    """What ingestion found. `rows` counts the samples of both splits together."""

    rows: int
    schema: Json  # public: columns with types, levels and reasons; or size, channels and classes
    profile: Json  # public: figures for people (missing shares, quantiles, class counts)
    warnings: list[str] = field(default_factory=list)  # sentences for people: "12 ragged lines were skipped."


@dataclass(frozen=True)
class Part:
    path: Path
    rows: int
    split: Split


@dataclass(frozen=True)
class Dataset:
    """A ready dataset on the local disk, parts in order."""

    schema: Json
    rows: int
    parts: list[Part]


class Training(Protocol):
    """One training run: the engine's trainer with what only the modality knows around it."""

    trainer: Trainer

    def evaluate(self) -> dict[str, float]:
        """Quality of the EMA generator's samples against held-out data, cheap enough to call a few times in a run."""

    def picture(self) -> bytes | None:
        """A PNG of samples from fixed noise, or None where people would rather read."""

    def export(self, directory: Path) -> Json:
        """Write generator.safetensors (and generator-2.safetensors ... where several share the drawing),
        discriminator.safetensors, codec.json, config.json, report.json and samples.* into `directory`; calibrates first
        where the modality does. Returns the report (public, JSON)."""


@dataclass(frozen=True)
class Given:
    """An upload of samples to complete: sample i is its sample i // copies, with what is missing there made."""

    path: Path
    options: Json  # how to read it
    copies: int = 1


class Sampler(Protocol):
    """A loaded model. Bytes depend on (seed, start, count, conditions, given, options, format) alone."""

    def write(
        self,
        path: Path,
        start: int,
        count: int,
        seed: int,
        format: str,
        conditions: Json,
        progress: Progress,
        given: Given | None = None,
        options: Json | None = None,
    ) -> int:
        """Write samples start .. start+count-1 of the stream that `seed` names to one file; returns their number.
        `start` is a multiple of the spec's shard_samples. Memory does not grow with `count`. Raises
        service.errors.Rejected for given samples that cannot be completed; only specs with `check_given` get any.
        `options` are those of the spec's `generate_options`."""

    def preview(self, count: int, seed: int) -> bytes:
        """A fresh excerpt: UTF-8 JSON {"columns": [...], "rows": [...]} or a PNG grid, as the spec's `preview` says."""


class Modality(Protocol):
    def ingest(
        self, source: Path, filename: str, options: Json, seed: int, sink: PartSink, progress: Progress
    ) -> Ingested:
        """Read an upload in chunks, check it, infer its schema, write its parts (most to the split `train`, some to
        `holdout`). Raises service.errors.Rejected with a stable code and a sentence for what a user can get wrong."""

    def training(self, dataset: Dataset, config: TrainConfig, device: str, preparing: Preparing = unheard) -> Training:
        """Prepare a run, deterministic in (dataset, config). Raises service.errors.Rejected if it cannot train."""

    def sampler(self, directory: Path, device: str) -> Sampler:
        """Load what `export` wrote."""


class Augmenter(Protocol):
    """A dataset's training rows, and then synthetic ones. Bytes depend on (dataset, model, wish, format) alone."""

    rows: int  # of the whole output

    def write(self, path: Path, start: int, count: int, format: str, progress: Progress) -> int:
        """Write rows start .. start+count-1 to one file, each marked as synthetic or not; returns their number.
        `start` is a multiple of the spec's shard_samples. Memory does not grow with `count`."""

    def judge(self, progress: Progress) -> Json:
        """What the job's result tells: real_rows, synthetic_rows, flag (the mark's name), before and after (how well a
        classifier does on the holdout without and with the synthetic rows), verdict (a sentence), and more."""


class Augmenting(Modality, Protocol):
    """A modality whose spec has `check_target`."""

    def augmenter(self, dataset: Dataset, directory: Path, device: str, wish: Json) -> Augmenter:
        """What `export` wrote to `directory`, put to use for `wish`: {"target": column or None, "method": balance or
        enlarge, "count": synthetic rows or None, "seed", "max_count"}. Raises service.errors.Rejected."""


def augmenting(name: str) -> Augmenting:
    """The modality of that name, which must be one that augments. Raises KeyError for an unknown name."""
    return cast(Augmenting, modality(name))


def modality(name: str) -> Modality:
    """The modality of that name; this imports torch. Raises KeyError for an unknown name."""
    found: Modality = import_module(f"{MODALITIES[name]}.modality").MODALITY
    return found


__all__ = [
    "Augmenter",
    "Augmenting",
    "Dataset",
    "Given",
    "Ingested",
    "Iterator",
    "Json",
    "Modality",
    "Part",
    "PartSink",
    "Preparing",
    "Progress",
    "Sampler",
    "Split",
    "Stop",
    "Training",
    "augmenting",
    "modality",
    "quiet",
    "unheard",
]
