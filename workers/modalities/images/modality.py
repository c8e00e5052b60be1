"""The images modality: ties codec, networks, files and metrics together for ingestion, training and sampling."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from service.domain.modality import TrainConfig
from service.errors import InvalidRequest
from workers.modalities import Dataset, Given, Ingested, Json, PartSink, Preparing, Progress, unheard
from workers.modalities.conditions import Condition, OneOf, Shares, Value, assign
from workers.modalities.images import fid, files, frames
from workers.modalities.images import given as given_pictures
from workers.modalities.images.codec import Codec
from workers.modalities.images.directions import FILE, Directions
from workers.modalities.images.networks import Architecture, Discriminator, Generator
from workers.modalities.images.options import ImageGenerateOptions, shown
from workers.modalities.images.outputs import WRITERS, Samples, grid
from workers.modalities.images.painting import drawn
from workers.modalities.images.projection import Projector
from workers.modalities.images.spec import ImageConfig, ImageOptions, label_condition
from workers.modalities.images.tools import Tools
from workers.modalities.images.training import CONFIG, ImageTraining, architecture_from
from workers.modalities.scoring import Scorer, Upload

CHUNK = 250  # samples of one seed; divides the spec's shard_samples, so a sample is the same whichever shard it is in
FORMATS = (*WRITERS, "webp", "png")
PREVIEWED = 100  # at most, in one grid


class ImageSampler:
    """A generator at rest. Sample i of a seed is the same whatever `start` and `count` are."""

    def __init__(self, generator: Generator, codec: Codec, device: str, folder: Path | None = None) -> None:
        self.generator, self.codec, self.device = generator.to(device).eval().requires_grad_(False), codec, device
        self.folder = folder  # of the model's other files, for those tools that need them

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
        if format not in FORMATS:
            raise InvalidRequest(f"Pictures are written as {' or '.join(FORMATS)}, not as '{format}'.")
        if start % CHUNK:
            raise ValueError(f"start must be a multiple of {CHUNK}")
        label = self._condition(conditions)
        tools = self.tools(options or {}, conditions)
        wish = tools.options
        if given is not None:
            found = given_pictures.projected(
                given, start, count, seed, self._among(label), self._projector(), tools, progress
            )
            (given_pictures.write_sheet if format == "png" else given_pictures.write_zip)(path, found)
        else:
            self._write(path, format, wish, self._samples(start, count, seed, label, progress, tools), tools, count)
        progress(count, count)
        return count

    def tools(self, options: Json, conditions: Json) -> Tools:
        """The latent tools of a generation. Raises Rejected."""
        wish, label = ImageGenerateOptions.model_validate(options), self._condition(conditions)
        return Tools(self.generator, self.codec, self.fitted, wish, lambda one: self._first(one, label))

    def _condition(self, conditions: Json) -> Condition | None:
        asked = "label" in conditions and self.codec.classes is not None
        return label_condition(self.codec.classes or [], conditions["label"]) if asked else None

    def _write(
        self, path: Path, format: str, wish: ImageGenerateOptions, samples: Samples, tools: Tools, count: int
    ) -> None:
        if format == "webp":
            frames.write_film(path, samples)
        elif format == "png":
            frames.write_sheet(path, samples, *shown(wish, count))
        else:
            # What is between classes, or was moved to another, has no label to be filed under.
            WRITERS[format](path, samples, self.codec if tools.labelled else replace(self.codec, classes=None))

    @cached_property
    def fitted(self) -> Directions | None:
        """The directions that were fitted when the model was trained."""
        path = None if self.folder is None else self.folder / FILE
        return Directions.load(path) if path is not None and path.exists() else None

    def _projector(self) -> Projector:
        if self.folder is None:
            raise ValueError("a sampler without its model's folder has no discriminator")
        discriminator = Discriminator(self.generator.form, torch.Generator().manual_seed(0))
        discriminator.load_state_dict(load_file(self.folder / "discriminator.safetensors"))
        return Projector(self.generator, discriminator.to(self.device))

    def _among(self, label: Condition | None) -> list[int] | None:
        """The classes that a given picture may be of; None without classes."""
        match label:
            case Value():
                return [int(label.value)]
            case OneOf() | Shares():
                return [int(value) for value in label.values]
        return None if self.codec.classes is None else list(range(len(self.codec.classes)))

    def _first(self, seed: int, label: Condition | None) -> tuple[Tensor, int]:
        """Latent (64,) and class of a seed's first sample."""
        latent, labels = self._drawn(0, seed, label)
        return latent[0], int(labels[0])

    def preview(self, count: int, seed: int) -> bytes:
        """A grid of the first samples of `seed`, labels mixed as in training."""
        count = max(1, min(count, PREVIEWED))
        (_, pixels, _), *_ = self._samples(0, count, seed, None, lambda done, total: None)
        return grid(pixels, max(1, round(count**0.5)))

    def _samples(
        self, start: int, count: int, seed: int, label: Condition | None, progress: Progress, tools: Tools | None = None
    ) -> Samples:
        for first in range(start, start + count, CHUNK):
            progress(first - start, count)
            pixels, labels = self.chunk(first // CHUNK, min(CHUNK, start + count - first), seed, label, tools)
            yield first, pixels, labels

    def chunk(
        self, chunk: int, n: int, seed: int, label: Condition | None, tools: Tools | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(pixels, labels) of the first n samples of a chunk, whose randomness is (seed, chunk) alone."""
        latent, labels = self._drawn(chunk, seed, label)
        latent, labels = latent[:n], labels[:n]
        if tools is None or tools.idle:
            return drawn(self.generator, self.codec, latent, labels, self.device), labels
        labels = tools.classes(labels)
        index = np.arange(chunk * CHUNK, chunk * CHUNK + n)
        pixels = tools.pictures(latent, labels, index, seed)
        return pixels, labels if tools.labelled else np.full_like(labels, -1)

    def _drawn(self, chunk: int, seed: int, label: Condition | None) -> tuple[Tensor, NDArray[np.int64]]:
        """Latents (CHUNK, 64) and classes of a chunk."""
        source = np.random.SeedSequence([seed, chunk])
        labels = self._labels(chunk, seed, label, np.random.default_rng(source))
        rng = torch.Generator().manual_seed(int(source.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        return self.generator.latent(CHUNK, rng), labels

    def _labels(self, chunk: int, seed: int, label: Condition | None, rng: np.random.Generator) -> NDArray[np.int64]:
        """(CHUNK,) as the condition wants them: a set in the proportions of the training data."""
        match label:
            case Value():
                return np.full(CHUNK, label.value, np.int64)
            case OneOf():
                return self.codec.labels(CHUNK, rng, among=label.values)
            case Shares():
                index = np.arange(chunk * CHUNK, (chunk + 1) * CHUNK, dtype=np.uint64)
                return np.array(label.values, np.int64)[assign(label, index, seed)]
        return self.codec.labels(CHUNK, rng)


class ImageModality:
    """The door to this folder."""

    def ingest(
        self, source: Path, filename: str, options: Json, seed: int, sink: PartSink, progress: Progress
    ) -> Ingested:
        return files.ingest(source, ImageOptions.model_validate(options), seed, sink, progress)

    def training(
        self, dataset: Dataset, config: TrainConfig, device: str, preparing: Preparing = unheard
    ) -> ImageTraining:
        checked = ImageConfig.model_validate(config.model_dump())
        return ImageTraining(dataset, checked, device, preparing, fid.supplied())

    def sampler(self, directory: Path, device: str) -> ImageSampler:
        codec = Codec.load(directory / "codec.json")
        form: Architecture = architecture_from((directory / CONFIG).read_text())
        generator = Generator(form, torch.Generator().manual_seed(0))
        generator.load_state_dict(load_file(directory / "generator.safetensors"))
        return ImageSampler(generator, codec, device, directory)

    def scorer(self, reference: Dataset | None, upload: Upload, directory: Path, device: str, seed: int) -> Scorer:
        from workers.modalities.images.scoring import ImageScorer

        return ImageScorer(reference, upload, directory, device, seed)


MODALITY = ImageModality()
