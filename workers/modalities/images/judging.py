"""What judges a model of pictures: its samples beside held-out pictures. Knows pixels and labels; nothing of training.

Two networks look at pictures. EfficientNet-Lite0, taught by photographs, makes the distances that are named after it. A
small classifier of the data set's own classes reads labels; where it can, samples are compared in its eyes, since it
knows what matters in these pictures, and otherwise in EfficientNet's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.metrics import effnet
from workers.metrics.distances import fd, kid
from workers.metrics.manifold import Overlap, overlap
from workers.modalities.images import metrics
from workers.modalities.images.codec import Codec
from workers.modalities.images.files import Pictures

Pixels = NDArray[np.uint8]  # (n, height, width, channels)
Labels = NDArray[np.int64]
Sample = Callable[[int, int], tuple[Pixels, Labels]]  # (how many, seed) -> samples in the classes' proportions

JUDGED = 1_000  # pictures of each kind that figures are computed from, at most; fewer of large ones, see `most`
JUDGED_BYTES = 256 << 20  # of pixels, which large pictures reach before that
WATCHED = 400  # of each kind, for the distance by which a run is steered: about a CPU second at 96 pixels
FEWEST_HELD_OUT = 50  # with fewer, training pictures stand in for them: all figures of so few are noise
FEWEST_FOR_FD = 100  # with fewer, a Frechet distance tells how many they were and little else
TAUGHT = 10_000  # real pictures, at most, that the classifier learns from
TAUGHT_AGAIN = 4_000  # samples, at most, that another learns from
FEWEST_JUDGED = 100  # pictures that are held together however large they are
LOST, SURE = 0.5, 3.0  # share of the best coverage under which kinds were lost; standard errors that tell it from noise
COLLAPSED, MANY = 0.5, 0.2  # spread under which samples are all alike; share of classes that are many
TRUSTED = 0.5  # accuracy of the classifier on held-out pictures, under which samples are not seen with its eyes
FD, KID = f"FD-{effnet.NAME}", f"KID-{effnet.NAME}"


@dataclass(frozen=True)
class Lot:
    """Some pictures, and what the networks see in them, computed once."""

    pixels: Pixels
    labels: Labels
    codec: Codec
    device: str

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int) -> Lot:
        return self if n >= len(self) else Lot(self.pixels[:n], self.labels[:n], self.codec, self.device)

    @cached_property
    def effnet(self) -> Tensor:
        return effnet.features(self.pixels, self.device)

    @cached_property
    def small(self) -> Tensor:
        """(n, c, h, w) as the trainer would see it, of at most 32 pixels a side."""
        once = self.codec.at_once
        pieces = (self.pixels[at : at + once] for at in range(0, len(self), once))
        return torch.cat([metrics.reduced(self.codec.encode(piece)) for piece in pieces])


class Judging:
    """Figures of samples beside real pictures. Deterministic in the pictures, and in `sample`, which draws new ones."""

    def __init__(self, train: Pictures, holdout: Pictures, codec: Codec, sample: Sample, device: str) -> None:
        self.train, self.holdout, self.codec, self.device = train, holdout, codec, device
        self.classes = len(codec.classes or ())
        self._sample = sample

    def distance(self, sample: Sample) -> float:
        """KID-EffNetLite0 of a few samples and held-out pictures, or training pictures where none were held out.

        Less is better, about 0 at best. The same noise at each call, so that only the network makes the difference."""
        return kid(self._watched.effnet, self.drawn(self.most(WATCHED), sample).effnet)

    def diversity(self, sample: Sample, reached: float) -> float:
        """Which share of held-out pictures a few samples cover. Negative where these hardly differ, beside real
        pictures, or those of many classes, and where they cover far fewer than the most that was `reached` before:
        what is left may differ as much as ever. The same noise at each call."""
        lot = self.drawn(self.most(WATCHED), sample)
        coverage = overlap(self._seen(self._watched), self._seen(lot)).coverage
        noise = SURE * math.sqrt(2 * reached * (1 - reached) / len(self._watched))
        lost = coverage < min(LOST * reached, reached - noise)
        return -1.0 if lost or self._alike(lot) else coverage

    def _alike(self, lot: Lot) -> bool:
        """Whether samples hardly differ."""
        spreads = self._spreads(lot)
        if not spreads.size:  # so many classes that none has enough samples: all are looked at together
            spreads = self._spreads(lot, together=True)
        return bool(spreads.size) and (spreads.mean() < COLLAPSED or (spreads < COLLAPSED).mean() >= MANY)

    def evaluate(self) -> dict[str, float]:
        """Figures of samples as the network is now, beside held-out pictures; cheap enough for a few calls in a run."""
        lot = self.drawn(len(self.real))
        return finite(self._figures(lot) | {KID: kid(self._watched.effnet, lot.first(self.most(WATCHED)).effnet)})

    def figures(self) -> dict[str, float]:
        """The same of the finished network, with distances from all that are compared."""
        return finite(self._figures(self.fake) | self._distances(self.fake))

    def ceiling(self) -> dict[str, float]:
        """The same figures for training pictures in the place of samples: what could be had at best."""
        if self.other is None:
            return {}
        found = self._figures(self.other) | self._distances(self.other)
        return finite(found | {"label_accuracy": self._accuracy(self.real)})

    def by_class(self) -> dict[str, NDArray[np.float64]]:
        """(classes,) of each figure that a class has for itself; NaN of too few pictures. Empty without classes."""
        if self._classifier is None:
            return {}
        real, fake, n = self.real, self.fake, self.classes
        found = {
            "judged": np.bincount(real.labels, minlength=n).astype(float),
            "coverage": self.overlap(fake).coverage_by(real.labels, fake.labels, n),
            "spread": metrics.spreads(real.small, fake.small, real.labels, fake.labels, n),
            "label_accuracy": metrics.shares(self._classifier.read(fake.small) == fake.labels, fake.labels, n),
        }
        if self.other is not None:
            best = self.overlap(self.other).coverage_by(real.labels, self.other.labels, n)
            found["coverage_of_real_ones"] = best
        return found

    def spread(self, lot: Lot) -> float:
        """Pixel standard deviation of samples over that of real pictures, mean over classes; NaN of too few."""
        spreads = self._spreads(lot)
        return float(spreads.mean()) if spreads.size else math.nan

    def _spreads(self, lot: Lot, together: bool = False) -> NDArray[np.float64]:
        """Of each class with enough pictures, or of all pictures as one."""
        groups = (np.maximum(self.real.labels, 0), np.maximum(lot.labels, 0))  # without labels, all are one
        if together:
            groups = (np.zeros_like(groups[0]), np.zeros_like(groups[1]))
        spreads = metrics.spreads(self.real.small, lot.small, *groups, 1 if together else max(1, self.classes))
        return spreads[np.isfinite(spreads)]

    def usefulness(self) -> tuple[float, float] | None:
        """Accuracy on held-out pictures of a small network taught by (samples, real pictures); None without labels."""
        if self._classifier is None or len(self.holdout) < 100:
            return None
        n, once = min(len(self.train), TAUGHT_AGAIN), self._affordable()
        lots = (self.drawn(min(once, n - at), seed=2 + at) for at in range(0, n, once))
        small, labels = zip(*((lot.small, lot.labels) for lot in lots), strict=True)  # no lot outlives its piece
        taught = metrics.classifier(torch.cat(small), np.concatenate(labels), self.classes, seed=0)
        return float((taught.read(self.real.small) == self.real.labels).mean()), self._accuracy(self.real)

    def overlap(self, lot: Lot) -> Overlap:
        """Of the real pictures with others, in the eyes that are trusted."""
        return overlap(self._seen(self.real), self._seen(lot))

    @property
    def held_out(self) -> bool:
        """Whether samples are compared with pictures that the networks never saw."""
        return len(self.holdout) >= FEWEST_HELD_OUT

    @property
    def space(self) -> str:
        """Whose features those are."""
        return "classifier" if self._trusted else effnet.NAME

    @cached_property
    def real(self) -> Lot:
        """Held-out pictures, or training ones where hardly any were held out; in random order."""
        return self.some(self.holdout if self.held_out else self.train, self.most(JUDGED), seed=0)

    @cached_property
    def fake(self) -> Lot:
        """As many samples as there are real ones, of the network as it is at the first call."""
        return self.drawn(len(self.real))

    @cached_property
    def other(self) -> Lot | None:
        """As many training pictures, to stand where samples would; None where they are the real ones already."""
        return self.some(self.train, len(self.real), seed=1) if self.held_out else None

    def some(self, source: Pictures, most: int, seed: int) -> Lot:
        """Pictures at random, so many at most."""
        return self.lot(source, np.random.default_rng(seed).permutation(len(source))[:most])

    def lot(self, source: Pictures, rows: Labels) -> Lot:
        """These pictures."""
        return Lot(source.take(rows), source.labels[rows], self.codec, self.device)

    def worth(self, n: int) -> int:
        """So many pictures of up to 96 pixels, and fewer of larger ones, that EfficientNet is shown larger."""
        return n * effnet.LEAST // effnet.side(*self.train.shape[:2])

    def most(self, n: int) -> int:
        """So many of those as may be held together."""
        return min(self.worth(n), self._affordable())

    @cached_property
    def _watched(self) -> Lot:
        return self.real.first(self.most(WATCHED))

    @property
    def reader(self) -> metrics.Classifier | None:
        """Tells the data's own classes apart, in pictures reduced by metrics.reduced."""
        return self._classifier

    @cached_property
    def _classifier(self) -> metrics.Classifier | None:
        """None where there are no classes to tell apart."""
        if self.classes < 2:
            return None
        rows = np.random.default_rng(2).permutation(len(self.train))[:TAUGHT]
        return metrics.classifier(self.small(self.train, rows), self.train.labels[rows], self.classes, seed=0)

    def small(self, source: Pictures, rows: Labels) -> Tensor:
        """What small networks see of these pictures, which are not held together."""
        once = self.codec.at_once
        pieces = (rows[at : at + once] for at in range(0, len(rows), once))
        return torch.cat([metrics.reduced(self.codec.encode(source.take(piece))) for piece in pieces])

    @cached_property
    def _trusted(self) -> bool:
        return self._accuracy(self.real) >= TRUSTED

    def _seen(self, lot: Lot) -> Tensor:
        return self._classifier.features(lot.small) if self._classifier and self._trusted else lot.effnet

    def _accuracy(self, lot: Lot) -> float:
        """Share that the classifier reads as their label says; NaN without classes."""
        if self._classifier is None:
            return math.nan
        return float((self._classifier.read(lot.small) == lot.labels).mean())

    def _figures(self, lot: Lot) -> dict[str, float]:
        found = self.overlap(lot)
        return {
            "coverage": found.coverage,
            "density": found.density,
            "precision": found.precision,
            "recall": found.recall,
            "spread": self.spread(lot),
            "label_accuracy": self._accuracy(lot),
        }

    def _distances(self, lot: Lot) -> dict[str, float]:
        real = self.real.effnet
        enough = min(len(real), len(lot)) >= FEWEST_FOR_FD
        return {KID: kid(real, lot.effnet), FD: fd(real, lot.effnet) if enough else math.nan}

    def drawn(self, n: int, sample: Sample | None = None, seed: int = 1) -> Lot:
        return Lot(*(sample or self._sample)(n, seed), self.codec, self.device)

    def _affordable(self) -> int:
        """Pictures whose pixels may be held together."""
        return max(FEWEST_JUDGED, JUDGED_BYTES // math.prod(self.train.shape))


def finite(figures: dict[str, float]) -> dict[str, float]:
    """Without those that could not be computed: JSON has no NaN."""
    return {name: round(value, 4) for name, value in figures.items() if math.isfinite(value)}
