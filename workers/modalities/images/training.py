"""One training run on pictures: the engine's trainer, what judges it, and what it leaves behind."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.engine.batch import Batch
from workers.engine.overfit import Overfit
from workers.engine.trainer import Trainer
from workers.modalities import Dataset, Preparing, unheard
from workers.modalities.images import metrics, presets
from workers.modalities.images.augment import augmentation
from workers.modalities.images.codec import Codec
from workers.modalities.images.files import Pictures
from workers.modalities.images.networks import Architecture, Discriminator, Generator, precision
from workers.modalities.images.outputs import grid
from workers.modalities.images.report import report
from workers.modalities.images.spec import ImageConfig
from workers.modalities.images.survey import refuse_few

CONFIG = "config.json"
IN_MEMORY = 2 << 30  # bytes of pixels that are held in memory, not read from the disk again for each batch
HELD, READ = 1_000, 2e8  # pictures read at a time, bytes a second from the disk
JUDGED = 1_000  # pictures of each kind that figures are computed from
PAINTED = 2_000_000  # positions at once
TAUGHT = 10_000  # at most, real ones that the judge learns from


def architecture_from(text: str) -> Architecture:
    """The networks' form that a model's config.json names."""
    form = json.loads(text)["architecture"]
    return Architecture(**form | {"widths": tuple(form["widths"])})


@torch.no_grad()
def painted(generator: nn.Module, codec: Codec, latent: Tensor, labels: NDArray[np.int64], device: str) -> Tensor:
    """What the generator makes of these latents and labels, on the CPU, in pieces that fit."""
    condition = codec.condition(labels)
    step = max(1, min(250, PAINTED // (codec.height * codec.width)))
    pieces = []
    for at in range(0, len(latent), step):
        given = None if condition is None else condition[at : at + step].to(device)
        pieces.append(generator(latent[at : at + step].to(device), given).float().cpu())
    return torch.cat(pieces)


class ImageTraining:
    """Prepared by the dataset and config alone; `trainer` does the steps."""

    def __init__(self, dataset: Dataset, config: ImageConfig, device: str, preparing: Preparing = unheard) -> None:
        self.config, self.device = config, device
        self.train, self.holdout = Pictures(dataset, "train"), Pictures(dataset, "holdout")
        refuse_few(len(self.train))
        self.codec = _codec(dataset, self.train)
        self.form = presets.architecture(self.codec, config, device)
        settings = presets.settings(self.form, config, device)
        self.pixels = self._held(preparing, presets.seconds(self.form, settings, device)) if self._fits() else None
        rng = torch.Generator().manual_seed(config.seed)
        generator, discriminator = Generator(self.form, rng), Discriminator(self.form, rng)
        generator.inside = discriminator.inside = precision(device)
        self.trainer = Trainer(
            generator,
            discriminator,
            self.draw,
            settings,
            seed=config.seed,
            device=device,
            augment=augmentation(self.codec.alpha, self.config.mirror),
            overfit=Overfit(self._held_out, settings.steps // 10) if len(self.holdout) else None,
        )
        self.trainer.ema.inside = torch.float32  # type: ignore[assignment]  # as the sampler draws
        self._judge: metrics.Judge | None = None

    def _fits(self) -> bool:
        return len(self.train) * math.prod(self.train.shape) <= IN_MEMORY

    def _held(self, preparing: Preparing, ahead: float) -> NDArray[np.uint8]:
        """All training pictures in memory; `ahead` are the seconds that the steps may take."""
        n = len(self.train)
        pixels = np.empty((n, *self.train.shape), np.uint8)
        for start in range(0, n, HELD):
            read, every = start * pixels[0].nbytes / READ, pixels.nbytes / READ
            preparing("reading", read, every + ahead)
            rows = np.arange(start, min(start + HELD, n))
            pixels[rows[0] : rows[-1] + 1] = self.train.take(rows)
        return pixels

    def draw(self, n: int, rng: torch.Generator) -> Batch:
        """n training pictures with their classes; pure in `rng`."""
        rows = torch.randint(len(self.train), (n,), generator=rng).numpy()
        x = self.codec.encode(self.train.take(rows) if self.pixels is None else self.pixels[rows])
        if self.config.mirror:
            x = torch.where(torch.rand(n, 1, 1, 1, generator=rng) < 0.5, x.flip(3), x)
        return Batch(x, self.codec.condition(self.train.labels[rows]))

    def _held_out(self, n: int, rng: torch.Generator) -> Batch:
        """n held-out pictures, as `draw` gives them."""
        rows = torch.randint(len(self.holdout), (n,), generator=rng).numpy()
        x = self.codec.encode(self.holdout.take(rows))
        return Batch(x, self.codec.condition(self.holdout.labels[rows]))

    def evaluate(self) -> dict[str, float]:
        """Figures of the averaged generator's samples beside held-out pictures; cheap but for the first call."""
        real, real_labels = self._real()
        fake, fake_labels = self._fake(len(real))
        judge = self._judged()
        coverage, density = metrics.coverage_and_density(judge.features(real), judge.features(fake))
        figures = {
            "coverage": coverage,
            "density": density,
            "spread": metrics.spread(real, fake, real_labels, fake_labels),
        }
        if judge.network is not None:
            figures["label_accuracy"] = metrics.accuracy(judge.network, fake, torch.from_numpy(fake_labels))
        return {name: round(value, 4) for name, value in figures.items() if math.isfinite(value)}

    def ceiling(self) -> dict[str, float]:
        """The same figures for real training pictures in the place of samples: what could be had at best."""
        if not len(self.holdout):
            return {}
        real, real_labels = self._real()
        rows = np.random.default_rng(1).permutation(len(self.train))[: len(real)]
        other, other_labels = self.codec.encode(self.train.take(rows)), self.train.labels[rows]
        judge = self._judged()
        coverage, density = metrics.coverage_and_density(judge.features(real), judge.features(other))
        figures = {
            "coverage": coverage,
            "density": density,
            "spread": metrics.spread(real, other, real_labels, other_labels),
        }
        if judge.network is not None:
            figures["label_accuracy"] = metrics.accuracy(judge.network, real, torch.from_numpy(real_labels))
        return {name: round(value, 4) for name, value in figures.items() if math.isfinite(value)}

    def usefulness(self) -> tuple[float, float] | None:
        """Accuracy on held-out pictures of a small network taught by (samples, real pictures); None without labels."""
        if self.codec.classes is None or len(self.holdout) < 100:
            return None
        real, labels = self._real()
        truth = torch.from_numpy(labels)
        fake, fake_labels = self._fake(min(len(self.train), 4_000), seed=2)
        taught = metrics.classifier(fake, torch.from_numpy(fake_labels), len(self.codec.classes), seed=0)
        network = self._judged().network
        if network is None:
            return None
        return metrics.accuracy(taught, real, truth), metrics.accuracy(network, real, truth)

    def closeness(self) -> tuple[float, float] | None:
        """Median distance to the nearest training picture, of samples and of held-out ones: copies would be nearer."""
        if not len(self.holdout):
            return None
        judge = self._judged()
        real, _ = self._real()
        fake, _ = self._fake(len(real), seed=3)
        known = judge.features(self._taught()[0])
        return metrics.nearest(judge.features(fake), known), metrics.nearest(judge.features(real), known)

    def picture(self) -> bytes:
        """Rows are classes (or any), columns the same noise in each."""
        classes = min(len(self.codec.classes or ()), 10)
        rows, columns = (classes, 10) if classes else (8, 8)
        rng = torch.Generator().manual_seed(0)
        latent = self.trainer.ema.latent(columns if classes else rows * columns, rng)  # type: ignore[operator]
        labels = np.repeat(np.arange(rows), columns) if classes else np.full(rows * columns, -1)
        return grid(self.codec.decode(self._generated(latent.repeat(rows, 1) if classes else latent, labels)), columns)

    def export(self, directory: Path) -> dict[str, object]:
        """Write the model's files; the report last, from figures computed here."""
        _save(self.trainer.ema, directory / "generator.safetensors", self.form)
        _save(self.trainer.discriminator, directory / "discriminator.safetensors", self.form)
        self.codec.save(directory / "codec.json")
        config = {
            "modality": "images",
            "architecture": asdict(self.form),
            "config": self.config.model_dump(),
            "settings": asdict(self.trainer.settings),
        }
        (directory / CONFIG).write_text(json.dumps(config, indent=1))
        (directory / "samples.png").write_bytes(self.picture())
        found = report(self)
        (directory / "report.json").write_text(json.dumps(found, indent=1))
        return found

    def _generated(self, latent: Tensor, labels: NDArray[np.int64]) -> Tensor:
        return painted(self.trainer.ema, self.codec, latent, labels, self.device)

    def _fake(self, n: int, seed: int = 1) -> tuple[Tensor, NDArray[np.int64]]:
        """n samples as they would be written (8 bits), in training proportions; the same noise at each call."""
        labels = self.codec.labels(n, np.random.default_rng(seed))
        latent = self.trainer.ema.latent(n, torch.Generator().manual_seed(seed))  # type: ignore[operator]
        return self.codec.encode(self.codec.decode(self._generated(latent, labels))), labels

    def _real(self) -> tuple[Tensor, NDArray[np.int64]]:
        """Held-out pictures, or training ones where none were held out."""
        source = self.holdout if len(self.holdout) else self.train
        rows = np.random.default_rng(0).permutation(len(source))[:JUDGED]
        return self.codec.encode(source.take(rows)), source.labels[rows]

    def _taught(self) -> tuple[Tensor, NDArray[np.int64]]:
        rows = np.random.default_rng(2).permutation(len(self.train))[: self._affordable()]
        return self.codec.encode(self.train.take(rows)), self.train.labels[rows]

    def _affordable(self) -> int:
        """Pictures that fit in half a gigabyte as floats."""
        return min(TAUGHT, max(JUDGED, (128 << 20) // math.prod(self.train.shape)))

    def _judged(self) -> metrics.Judge:
        if self._judge is None:
            x, labels = self._taught()
            classes = len(self.codec.classes or ())
            self._judge = metrics.judge(x, torch.from_numpy(labels) if classes else None, classes, seed=0)
        return self._judge


def _codec(dataset: Dataset, train: Pictures) -> Codec:
    schema = dataset.schema
    classes = list(schema["classes"]) if schema.get("classes") else None
    shares = None
    if classes is not None:
        counted = np.bincount(train.labels, minlength=len(classes))
        shares = (counted / counted.sum()).tolist()
    return Codec(int(schema["height"]), int(schema["width"]), int(schema["channels"]), classes, shares)


def _save(network: nn.Module, path: Path, form: Architecture) -> None:
    """Weights as safetensors, the form beside them as metadata: the file describes itself."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, path, metadata={"architecture": json.dumps(asdict(form))})
