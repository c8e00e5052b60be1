"""One training run on pictures: the engine's trainer, what judges it, and what it leaves behind."""

import json
import math
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.engine.batch import Batch
from workers.engine.blocks import precision
from workers.engine.overfit import Overfit
from workers.engine.trainer import Trainer
from workers.modalities import Dataset, Preparing, unheard
from workers.modalities.images import directions, looks, metrics, presets
from workers.modalities.images.augment import augmentation
from workers.modalities.images.codec import Codec
from workers.modalities.images.feed import Feed, sent
from workers.modalities.images.files import Pictures
from workers.modalities.images.judging import Judging
from workers.modalities.images.neighbours import neighbours
from workers.modalities.images.networks import Architecture, Discriminator, Generator
from workers.modalities.images.outputs import grid
from workers.modalities.images.painting import drawn, painted
from workers.modalities.images.report import report
from workers.modalities.images.spec import ImageConfig
from workers.modalities.images.survey import refuse_few
from workers.modalities.images.symmetry import mirrors
from workers.modalities.images.width import fitting

CONFIG = "config.json"
READ = 2e8  # bytes a second from the disk
SHEET, FEWEST_SHOWN, MOST_SHOWN = 1_536, 3, 10  # pixels of a side of a sheet of samples, about; pictures along it


def architecture_from(text: str) -> Architecture:
    """The networks' form that a model's config.json names."""
    form = json.loads(text)["architecture"]
    return Architecture(**form | {"widths": tuple(form["widths"])})


class ImageTraining:
    """Prepared by the dataset and config alone; `trainer` does the steps."""

    def __init__(
        self,
        dataset: Dataset,
        config: ImageConfig,
        device: str,
        preparing: Preparing = unheard,
        inception: Path | None = None,
    ) -> None:
        self.config, self.device, self.inception = config, device, inception
        self.train, self.holdout = Pictures(dataset, "train"), Pictures(dataset, "holdout")
        refuse_few(len(self.train))
        self.codec = _codec(dataset, self.train)
        self.form = presets.architecture(self.codec, config, device)
        settings = presets.settings(self.form, config, device, len(self.holdout) > 0)
        self.mirror = mirrors(self.train, self.codec, config.seed) if config.mirror is None else config.mirror
        whole = len(self.train) * math.prod(self.train.shape) / READ + presets.seconds(self.form, settings, device)
        self.feed = Feed(self.train, self.codec, device, lambda read: preparing("reading", read / READ, whole))
        self._unseen = Feed(self.holdout, self.codec, device) if len(self.holdout) else None
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
            augment=augmentation(self.codec.alpha, self.mirror),
            overfit=Overfit(self._unseen.drawn, max(1, settings.steps // 10)) if self._unseen else None,
            judge=self._distance,
            diversity=lambda network, reached: self.judging.diversity(partial(self.samples, network), reached),
        )
        self.trainer.ema.inside = torch.float32  # type: ignore[assignment]  # as the sampler draws
        self.judging = Judging(self.train, self.holdout, self.codec, partial(self.samples, self.trainer.ema), device)

    def draw(self, n: int, rng: torch.Generator) -> Batch:
        """n training pictures with their classes; pure in `rng`."""
        batch = self.feed.drawn(n, rng)
        if not self.mirror:
            return batch
        turned = sent(torch.rand(n, 1, 1, 1, generator=rng) < 0.5, self.device)
        return Batch(torch.where(turned, batch.real.flip(3), batch.real), batch.condition)

    def evaluate(self) -> dict[str, float]:
        """Figures of the averaged generator's samples beside held-out pictures; cheap but for the first call."""
        return self.judging.evaluate()

    def _distance(self, network: nn.Module, warm: bool) -> float:
        return self.judging.distance(partial(self.samples, network))

    def samples(
        self, network: nn.Module, n: int, seed: int, width: float = 1.0
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """n samples as they would be written (8 bits), in training proportions, with their classes; from latents so
        many times as wide."""
        labels = self.codec.labels(n, np.random.default_rng(seed))
        latent = width * network.latent(n, torch.Generator().manual_seed(seed))  # type: ignore[operator]
        return drawn(network, self.codec, latent, labels, self.device), labels

    def picture(self) -> bytes:
        """Rows are classes (or any), columns the same noise in each; fewer of large pictures."""
        most = [max(FEWEST_SHOWN, min(MOST_SHOWN, SHEET // side)) for side in (self.codec.height, self.codec.width)]
        classes = min(len(self.codec.classes or ()), most[0])
        rows, columns = (classes or min(8, most[0])), (most[1] if classes else min(8, most[1]))
        rng = torch.Generator().manual_seed(0)
        latent = self.trainer.ema.latent(columns if classes else rows * columns, rng)  # type: ignore[operator]
        labels = np.repeat(np.arange(rows), columns) if classes else np.full(rows * columns, -1)
        return grid(self.codec.decode(self._generated(latent.repeat(rows, 1) if classes else latent, labels)), columns)

    def export(self, directory: Path) -> dict[str, object]:
        """Fit the latent's width, and write the model's files; the report last, from figures computed here."""
        ema = self.trainer.ema
        width = fitting(self.judging, lambda width: partial(self.samples, ema, width=width))
        ema.widen(width)  # type: ignore[operator]
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
        names, reader = looks.reader(self.judging)
        if names:
            self._directions(names, reader).save(directory / directions.FILE)
        (directory / "samples.png").write_bytes(self.picture())
        near = neighbours(self.judging)
        (directory / "neighbours.png").write_bytes(near.sheet)
        spent = {
            "preset": self.config.preset,
            "steps": self.trainer.step,
            "seed": self.config.seed,
            "mirrored": self.mirror,
            "latent_width": round(width, 3),
        }
        found = report(self.judging, near, spent, self.inception)
        (directory / "report.json").write_text(json.dumps(found, indent=1))
        return found

    def _directions(self, names: list[str], reader: directions.Reader) -> directions.Directions:
        """Which way a latent goes for its picture to look more like each name, as the reader sees samples."""
        n, once = self.judging.worth(directions.SAMPLES), self.codec.at_once
        labels = self.codec.labels(n, np.random.default_rng(3))
        latent = self.trainer.ema.latent(n, torch.Generator().manual_seed(3))  # type: ignore[operator]
        pieces = (slice(at, at + once) for at in range(0, n, once))
        small = torch.cat([metrics.reduced(self._generated(latent[piece], labels[piece])) for piece in pieces])
        return directions.fitted(names, latent, small, torch.from_numpy(labels), reader)

    def _generated(self, latent: Tensor, labels: NDArray[np.int64]) -> Tensor:
        return painted(self.trainer.ema, self.codec, latent, labels, self.device)


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
