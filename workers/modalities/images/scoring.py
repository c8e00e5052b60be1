"""How odd a picture looks to a model: doubted by D, and far from real pictures in the eyes of a network of photographs.

What each view sees: docs/images.md, and the result of every job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional as F

from workers.metrics import effnet
from workers.modalities import Dataset, Progress
from workers.modalities.images import archive, pictures
from workers.modalities.images.codec import Codec
from workers.modalities.images.files import Pictures, source_of
from workers.modalities.images.networks import Architecture, Discriminator, Generator
from workers.modalities.images.painting import drawn, repeatable
from workers.modalities.images.sources import Found
from workers.modalities.images.spec import ImageOptions
from workers.modalities.images.training import CONFIG, architecture_from
from workers.modalities.scoring import LEAST, Floats, Measured, Upload

VIEWS = ("discriminator", "distance")
KNOWN, CALIBRATED, PLANTED = 2_000, 1_000, 300  # real pictures to compare with, to calibrate on; counterfeits of a kind
PIECE_BYTES = 16 << 20  # of pixels that are held at a time, as floats: the memory that pictures of any size take
TRUNCATED = 0.5  # of a latent's length: samples that are more typical than the model's own
Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Change = Callable[[Pixels, Labels], tuple[Pixels, Labels]]


@dataclass(frozen=True)
class Lot:
    """Pictures by number, made or read only when they are asked for: a thousand large ones fill gigabytes."""

    labels: Labels  # of each
    take: Callable[[Labels], Pixels]  # the pictures of these numbers

    def some(self, numbers: Labels) -> Lot:
        return Lot(self.labels[numbers], lambda at: self.take(numbers[at]))

    def pieces(self, size: int) -> Iterator[tuple[Pixels, Labels]]:
        for start in range(0, len(self.labels), size):
            at = np.arange(start, min(start + size, len(self.labels)))
            yield self.take(at), self.labels[at]


class ImageViews:
    """A model's discriminator and the real pictures beside which others are looked at."""

    def __init__(self, directory: Path, form: Architecture, codec: Codec, device: str, known: Lot) -> None:
        self.codec, self.device = codec, device
        network = Discriminator(form, torch.Generator().manual_seed(0))
        network.load_state_dict(load_file(directory / "discriminator.safetensors"))
        self._discriminator = network.to(device).eval().requires_grad_(False)
        self.rows = max(1, min(250, PIECE_BYTES // (4 * codec.height * codec.width * codec.channels)))
        seen = [effnet.features(pixels, device) for pixels, _ in known.pieces(self.rows)]
        self._known, self._labels = torch.cat(seen).to(device), torch.from_numpy(known.labels).to(device)

    @torch.no_grad()
    def of(self, pixels: Pixels, labels: Labels) -> Floats:
        """(n, views) of up to `rows` pictures of the model's size; a label of -1 is read off the nearest known one."""
        apart = torch.cdist(effnet.features(pixels, self.device).to(self.device), self._known)
        given = torch.from_numpy(labels).to(self.device)
        nearest, at = apart.min(1)
        if self.codec.classes is not None:
            own = torch.where(given[:, None] == self._labels[None, :], apart, torch.inf).min(1).values
            # Of a class that no known picture has, all are as far.
            nearest = torch.where((given >= 0) & own.isfinite(), own, nearest)
            given = torch.where(given >= 0, given, self._labels[at])
        condition = self.codec.condition(given.cpu().numpy())
        x = self.codec.encode(pixels).to(self.device)
        with repeatable():
            doubt = -self._discriminator(x, None if condition is None else condition.to(self.device))
        return torch.stack([doubt.float(), nearest.float()], 1).double().cpu().numpy()


class ImageScorer:
    """The door for scoring."""

    views: tuple[str, ...] = VIEWS

    def __init__(self, reference: Dataset | None, upload: Upload, directory: Path, device: str, seed: int) -> None:
        self.seed, self.device, self.upload, self.warnings = seed, device, upload, list[str]()
        self.codec = Codec.load(directory / "codec.json")
        form = architecture_from((directory / CONFIG).read_text())
        generator = Generator(form, torch.Generator().manual_seed(0))
        generator.load_state_dict(load_file(directory / "generator.safetensors"))
        self._generator = generator.to(device).eval().requires_grad_(False)
        self.labelled = self._is_labelled()
        self.calibrated_on = "held-out pictures"
        known, self._real = self._from(reference)
        self.measure = ImageViews(directory, form, self.codec, device, known)

    def _is_labelled(self) -> bool:
        """Whether the upload's classes are the model's, so that it can be judged whether a picture is of its class."""
        return bool(self.codec.classes) and bool(set(self.upload.schema.get("classes") or ()) & set(self._classes))

    @property
    def _classes(self) -> list[str]:
        return self.codec.classes or []

    def _from(self, reference: Dataset | None) -> tuple[Lot, Lot]:
        """Pictures that are known to be real, and others that stand for real ones."""
        rng = np.random.default_rng([self.seed, 1])
        if reference is not None:
            train, held = Pictures(reference, "train"), Pictures(reference, "holdout")
            if len(held) >= LEAST:
                return _some(train, KNOWN, rng), _some(held, CALIBRATED, rng)
            why = f"only {len(held)} pictures of its dataset were held out"
        else:
            why = "no held-out pictures of its dataset may be looked at, or they are not there any more"
        self.calibrated_on = "the model's own samples"
        self.warnings.append(
            f"Scores are calibrated on the model's own samples, since {why}: they say how unlike these a picture is, "
            "and of real pictures more may be called counterfeit than the rates say."
        )
        return self._samples(CALIBRATED, 4), self._samples(CALIBRATED, 5)

    def _samples(self, n: int, seed: int, length: float = 1.0) -> Lot:
        labels = self.codec.labels(n, np.random.default_rng([self.seed, seed]))
        latent = length * self._generator.latent(n, torch.Generator().manual_seed(SEEDS * self.seed + seed))
        draw = partial(drawn, self._generator, self.codec, device=self.device)
        return Lot(labels, lambda at: draw(latent[at], labels[at]))

    def real(self, progress: Progress) -> Measured:
        return self._of(self._real, progress)

    def altered(self) -> Lot:
        """The real pictures that counterfeits are made of: any, since uploads come class by class."""
        rng = np.random.default_rng([self.seed, 7])
        return self._real.some(rng.permutation(len(self._real.labels))[:PLANTED])

    def planted(self, progress: Progress) -> Iterator[tuple[str, Measured]]:
        lot, rng = self.altered(), np.random.default_rng([self.seed, 6])
        kinds: dict[str, tuple[Lot, Change | None]] = {
            "noise": (lot, lambda pixels, labels: (rng.integers(0, 256, pixels.shape, np.uint8), labels)),
            "pixels shuffled": (lot, lambda pixels, labels: (_shuffled(pixels, rng), labels)),
            "blurred": (lot, lambda pixels, labels: (_blurred(pixels), labels)),
            "colours inverted": (lot, lambda pixels, labels: (_inverted(pixels), labels)),
        }
        if self.labelled and len(self._classes) > 1:
            count = len(self._classes)
            kinds["label of another class"] = (lot, lambda pixels, labels: (pixels, _others(labels, count, rng)))
        if self.calibrated_on != "the model's own samples":
            kinds["the model's own samples"] = (self._samples(PLANTED, 2), None)
        kinds["the model's most typical samples"] = (self._samples(PLANTED, 3, TRUNCATED), None)
        for number, (name, (made, change)) in enumerate(kinds.items()):
            beat = partial(_within, progress, number, len(kinds))
            yield name, self._of(made, beat, change)

    def uploaded(self, progress: Progress) -> Iterator[Measured]:
        """Pictures that cannot be read are left out, as they were at the upload."""
        codec, fit = self.codec, ImageOptions.model_validate(self.upload.options).fit
        index = {name: number for number, name in enumerate(self._classes)}
        held = np.empty((self.measure.rows, codec.height, codec.width, codec.channels), np.uint8)
        labels, names = np.full(len(held), -1, np.int64), list[str]()
        for item in source_of(self.upload.path, archive.Limits()).items(lambda done: progress(done, 1.0), Found()):
            try:
                held[len(names)] = pictures.pixels(item.read(), codec.width, codec.height, codec.channels, fit)
            except (OSError, pictures.Damaged):
                continue
            labels[len(names)] = index.get(PurePosixPath(item.path).parent.name, -1)
            names.append(item.name)
            if len(names) == len(held):
                yield self._named(held, labels, names)
                names = []
        if names:
            yield self._named(held[: len(names)], labels[: len(names)], names)

    def _named(self, pixels: Pixels, labels: Labels, names: list[str]) -> Measured:
        views = self._judged(pixels, labels)
        return Measured(views, views[:, 1], names)

    def _of(self, lot: Lot, progress: Progress, change: Change | None = None) -> Measured:
        parts, done = list[Floats](), 0
        for pixels, labels in lot.pieces(self.measure.rows):
            progress(done, len(lot.labels))
            parts.append(self._judged(*(change(pixels, labels) if change else (pixels, labels))))
            done += len(labels)
        views = np.concatenate(parts)
        return Measured(views, views[:, 1])

    def _judged(self, pixels: Pixels, labels: Labels) -> Floats:
        """Labels count only where the upload has the model's: real ones are treated as those that are judged."""
        return self.measure.of(pixels, labels if self.labelled else np.full(len(labels), -1, np.int64))


SEEDS = 1_000_003  # between the seeds of two jobs' samples


def _within(progress: Progress, at: int, kinds: int, done: float, total: float) -> None:
    """The progress of one kind as a part of that of all."""
    progress(at + done / total, kinds)


def _some(split: Pictures, most: int, rng: np.random.Generator) -> Lot:
    return Lot(split.labels, split.take).some(np.sort(rng.permutation(len(split))[:most]))


# -- counterfeits -------------------------------------------------------------------------------------------------


def _shuffled(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Each picture's pixels in another order: its colours stay, what it shows goes."""
    flat = pixels.reshape(len(pixels), -1, pixels.shape[3])
    order = rng.random(flat.shape[:2]).argsort(1)
    out: Pixels = np.take_along_axis(flat, order[:, :, None], 1).reshape(pixels.shape)
    return out


def _blurred(pixels: Pixels) -> Pixels:
    """By a Gaussian of about a thirtieth of the shorter side."""
    width = max(1, round(min(pixels.shape[1:3]) / 60))
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    for _ in range(3):  # three boxes are nearly a Gaussian
        x = F.avg_pool2d(F.pad(x, (width,) * 4, mode="replicate"), 2 * width + 1, stride=1)
    out: Pixels = x.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return out


def _inverted(pixels: Pixels) -> Pixels:
    """Light for dark; what can be seen stays."""
    colours = pixels.shape[3] - (pixels.shape[3] in (2, 4))
    return np.concatenate([255 - pixels[..., :colours], pixels[..., colours:]], 3)


def _others(labels: Labels, classes: int, rng: np.random.Generator) -> Labels:
    out: Labels = (labels + rng.integers(1, classes, len(labels))) % classes
    return out
