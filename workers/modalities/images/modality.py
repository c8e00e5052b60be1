"""The images modality: ties codec, networks, files and metrics together for ingestion, training and sampling."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from service.domain.modality import TrainConfig
from service.errors import InvalidRequest
from workers.modalities import Dataset, Given, Ingested, Json, PartSink, Preparing, Progress, unheard
from workers.modalities.conditions import Condition, OneOf, Shares, Value, assign
from workers.modalities.images import files
from workers.modalities.images.codec import Codec
from workers.modalities.images.networks import Architecture, Generator
from workers.modalities.images.outputs import WRITERS, Samples, grid
from workers.modalities.images.spec import ImageConfig, ImageOptions, label_condition
from workers.modalities.images.training import CONFIG, ImageTraining, architecture_from, painted
from workers.modalities.scoring import Scorer, Upload

CHUNK = 250  # samples of one seed; divides the spec's shard_samples, so a sample is the same whichever shard it is in
PREVIEWED = 100  # at most, in one grid


class ImageSampler:
    """A generator at rest. Sample i of a seed is the same whatever `start` and `count` are."""

    def __init__(self, generator: Generator, codec: Codec, device: str) -> None:
        self.generator, self.codec, self.device = generator.to(device).eval().requires_grad_(False), codec, device

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
    ) -> int:
        if format not in WRITERS:
            raise InvalidRequest(f"Pictures are written as {' or '.join(WRITERS)}, not as '{format}'.")
        if start % CHUNK:
            raise ValueError(f"start must be a multiple of {CHUNK}")
        if given is not None:
            raise InvalidRequest("Pictures cannot be completed.")
        label = None
        if "label" in conditions and self.codec.classes is not None:
            label = label_condition(self.codec.classes, conditions["label"])
        WRITERS[format](path, self._samples(start, count, seed, label, progress), self.codec)
        progress(count, count)
        return count

    def preview(self, count: int, seed: int) -> bytes:
        """A grid of the first samples of `seed`, labels mixed as in training."""
        count = max(1, min(count, PREVIEWED))
        (_, pixels, _), *_ = self._samples(0, count, seed, None, lambda done, total: None)
        return grid(pixels, max(1, round(count**0.5)))

    def _samples(self, start: int, count: int, seed: int, label: Condition | None, progress: Progress) -> Samples:
        for first in range(start, start + count, CHUNK):
            progress(first - start, count)
            pixels, labels = self.chunk(first // CHUNK, min(CHUNK, start + count - first), seed, label)
            yield first, pixels, labels

    def chunk(
        self, chunk: int, n: int, seed: int, label: Condition | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(pixels, labels) of the first n samples of a chunk, whose randomness is (seed, chunk) alone."""
        source = np.random.SeedSequence([seed, chunk])
        labels = self._labels(chunk, seed, label, np.random.default_rng(source))
        rng = torch.Generator().manual_seed(int(source.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        latent = self.generator.latent(CHUNK, rng)[:n]
        return self.codec.decode(painted(self.generator, self.codec, latent, labels[:n], self.device)), labels[:n]

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
        return ImageTraining(dataset, ImageConfig.model_validate(config.model_dump()), device, preparing)

    def sampler(self, directory: Path, device: str) -> ImageSampler:
        codec = Codec.load(directory / "codec.json")
        form: Architecture = architecture_from((directory / CONFIG).read_text())
        generator = Generator(form, torch.Generator().manual_seed(0))
        generator.load_state_dict(load_file(directory / "generator.safetensors"))
        return ImageSampler(generator, codec, device)

    def scorer(self, reference: Dataset | None, upload: Upload, directory: Path, device: str, seed: int) -> Scorer:
        from workers.modalities.images.scoring import ImageScorer

        return ImageScorer(reference, upload, directory, device, seed)


MODALITY = ImageModality()
