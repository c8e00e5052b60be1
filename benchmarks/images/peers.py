"""What a team would write itself: a DCGAN, and our own networks with the usual loss. Both with labels, averages of the
weights, and as many CPU seconds as they are given.

DCGAN's networks and initial weights after Radford et al. 2016, with class embeddings in G and projection in D. Of what
was tried at a fixed time, the best training of it is taken: the non-saturating loss with R1, no normalisation in D and
a high rate (docs/LOG.md has the others). NS + R1: the same loss on our networks (Mescheder et al. 2018)."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.images.sets import Pictures
from workers.engine.blocks import precision
from workers.engine.ema import Ema
from workers.modalities.images import presets
from workers.modalities.images.codec import Codec
from workers.modalities.images.networks import Discriminator, Generator
from workers.modalities.images.spec import ImageConfig

LATENT = 64


@dataclass(frozen=True)
class Recipe:
    generator: nn.Module
    discriminator: nn.Module
    batch: int
    rate: float
    betas: tuple[float, float]
    gamma: float  # of R1, every fourth step


class DcganGenerator(nn.Module):
    def __init__(self, side: int, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, LATENT)
        ups = max(2, math.ceil(math.log2(side / 7)))
        self.base = -(-side // 2**ups)
        widths = [width * 2 ** max(0, ups - 1 - i) for i in range(ups + 1)]
        self.start = nn.Linear(2 * LATENT, widths[0] * self.base**2)
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-1], [*widths[1:-1], channels], strict=True):
            layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        self.body, self.side, self.first = nn.Sequential(*layers, nn.Tanh()), side, widths[0]
        _begin(self)
        nn.init.normal_(self.embed.weight, 0.0, 0.5)

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, LATENT, generator=rng)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        x = self.start(torch.cat([z, self.embed(condition[:, 0])], 1)).view(len(z), self.first, self.base, self.base)
        out: Tensor = self.body(x)[:, :, : self.side, : self.side]
        return out


class DcganDiscriminator(nn.Module):
    def __init__(self, side: int, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        downs = max(2, math.ceil(math.log2(side / 7)))
        widths = [channels, *(width * 2**i for i in range(downs))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.score = nn.Conv2d(widths[-1], 1, min(4, -(-side // 2**downs)))
        self.embed = nn.Embedding(classes, widths[-1])
        _begin(self)
        nn.init.normal_(self.embed.weight, 0.0, 0.02)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        found = self.body(x)
        fits = (found.mean((2, 3)) * self.embed(condition[:, 0])).sum(1)
        score: Tensor = self.score(found).mean((1, 2, 3)) + fits
        return score


def _begin(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, 0.02)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)


def recipe(name: str, codec: Codec, seed: int) -> Recipe:
    classes = len(codec.classes or ())
    if name == "dcgan":
        torch.manual_seed(seed)
        side = max(codec.height, codec.width)
        networks = DcganGenerator(side, codec.channels, classes), DcganDiscriminator(side, codec.channels, classes)
        return Recipe(*networks, batch=16, rate=2e-3, betas=(0.0, 0.999), gamma=1.0)
    config = ImageConfig.model_validate({"preset": "draft", "seed": seed})
    form, rng = presets.architecture(codec, config, "cpu"), torch.Generator().manual_seed(seed)
    usual = presets.settings(form, config, "cpu", True)
    made, judge = Generator(form, rng), Discriminator(form, rng)
    made.inside = judge.inside = precision("cpu")  # as fast as ours
    return Recipe(made, judge, usual.batch, usual.lr_generator[0], (0.0, 0.99), gamma=usual.gamma[0])


def train(name: str, pictures: Pictures, seconds: float, seed: int) -> tuple[Callable[[int, int], Pictures], int]:
    """Trains for so many CPU seconds; returns what draws n samples of a seed, and the steps made."""
    shares = np.bincount(pictures.labels, minlength=len(pictures.classes)) / len(pictures)
    _, height, width, channels = pictures.pixels.shape
    codec = Codec(height, width, channels, pictures.classes, shares.tolist())
    plan = recipe(name, codec, seed)
    made, rng = plan.generator, torch.Generator().manual_seed(seed)
    average = Ema(made, 500.0)
    average.network.inside = torch.float32  # type: ignore[assignment]  # draws in full, as ours does
    g = torch.optim.Adam(made.parameters(), plan.rate, plan.betas, fused=True)
    d = torch.optim.Adam(plan.discriminator.parameters(), plan.rate, plan.betas, fused=True)
    begin, step = time.process_time(), 0
    while (spent := time.process_time() - begin) < seconds:
        for optimiser in (g, d):  # the same schedule as ours: a cosine to a tenth
            optimiser.param_groups[0]["lr"] = plan.rate * (0.55 + 0.45 * math.cos(math.pi * min(1, spent / seconds)))
        _step(plan, pictures, codec, g, d, rng, step)
        step += 1
        average.update(step)

    def some(n: int) -> Tensor:
        labels = codec.condition(codec.labels(n, np.random.default_rng(0)))
        out: Tensor = average.network(made.latent(n, rng), labels)  # type: ignore[operator]
        return out

    _settle(average.network, lambda: some(250))

    @torch.no_grad()
    def draw(n: int, seed: int) -> Pictures:
        labels = codec.labels(n, np.random.default_rng(seed))
        z = made.latent(n, torch.Generator().manual_seed(seed))  # type: ignore[operator]
        condition = codec.condition(labels)
        assert condition is not None
        drawn = [average.network(z[at : at + 250], condition[at : at + 250]) for at in range(0, n, 250)]
        return Pictures(codec.decode(torch.cat(drawn)), labels, pictures.classes, [""] * n)

    return draw, step


@torch.no_grad()
def _settle(network: nn.Module, draw: Callable[[], Tensor]) -> None:
    """Batch normalisation's statistics of the average: its weights have others than the live network."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    for _ in range(20 if norms else 0):
        draw()
    network.eval()


def _step(
    plan: Recipe, pictures: Pictures, codec: Codec, g: torch.optim.Adam, d: torch.optim.Adam,
    rng: torch.Generator, step: int,
) -> None:  # fmt: skip
    rows = torch.randint(len(pictures), (plan.batch,), generator=rng).numpy()
    real, condition = codec.encode(pictures.pixels[rows]), codec.condition(pictures.labels[rows])
    latent = plan.generator.latent(plan.batch, rng)  # type: ignore[operator]
    fake = plan.generator(latent, condition)
    penalise = step % 4 == 0
    real.requires_grad_(penalise)
    scores = plan.discriminator(real, condition)
    loss = F.softplus(-scores).mean() + F.softplus(plan.discriminator(fake.detach(), condition)).mean()
    if penalise:
        (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        loss = loss + 4 * plan.gamma / 2 * slope.flatten(1).square().sum(1).mean()
    d.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    d.step()
    loss = F.softplus(-plan.discriminator(fake, condition)).mean()
    g.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    g.step()
