"""Real pictures to latents: what to begin with, so that the generator paints something near a given picture.

First a latent, from the best of many; then v itself (latent.py), held near to what latents reach. Near means pixels and
what the model's own discriminator sees of them: pixels alone blur, and a foreign network knows other pictures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.modalities.images.latent import by_latent
from workers.modalities.images.networks import Discriminator, Generator

SEARCHED = 256  # random samples to begin from
STARTS = 4  # of these, followed
LATENT_STEPS, FREE_STEPS = 40, 100
LATENT_RATE, FREE_RATE = 0.15, 0.05
SEEN = 0.3  # weight of what the discriminator sees, beside pixels
HELD = 0.01  # weight of v's distance from what the latent gives, in standard deviations
SEARCHED_AT_ONCE = 4_000_000  # positions

Beat = Callable[[float], None]  # told the share of the work that is done, often


@dataclass(frozen=True)
class Projection:
    """What to begin with (1, width), the class it is of (1, 1), and how far the picture is from the given one: root
    mean square of pixels in [-1, 1], and of what the discriminator sees, in its own spread."""

    begun: Tensor
    condition: Tensor | None
    pixels: float
    features: float


class Projector:
    """A generator and its discriminator at rest, on one device."""

    def __init__(self, generator: Generator, discriminator: Discriminator) -> None:
        self.generator, self.discriminator = generator, discriminator.eval().requires_grad_(False)
        self.device = generator.start.weight.device
        self._seen: list[Tensor] = []
        for stage in discriminator.stages:
            stage.register_forward_hook(self._see)

    def _see(self, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        self._seen.append(out)

    def project(self, target: Tensor, labels: Sequence[int] | None, rng: torch.Generator, beat: Beat) -> Projection:
        """The picture (1, c, h, w) in [-1, 1], as one of these classes: the one that fits best. Deterministic."""
        target = target.to(self.device)
        with torch.no_grad():
            looks = self._looks(target, self._condition(labels, 1))
        latent, condition = self._searched(target, looks, labels, rng)
        beat(0.1)
        latent, condition = self._followed(target, looks, latent, condition, beat)
        begun = self._freed(target, looks, latent, condition, beat)
        with torch.no_grad():
            picture = self.generator.paint_from(begun)
            seen = self._unlike(looks, self._looks(picture, condition))
        return Projection(begun, condition, float((picture - target).square().mean().sqrt()), float(seen.sqrt()))

    def _condition(self, labels: Sequence[int] | None, n: int) -> Tensor | None:
        """(n, 1): the classes in turn."""
        if labels is None:
            return None
        return torch.tensor(labels, device=self.device).repeat(-(-n // len(labels)))[:n, None]

    def _looks(self, pictures: Tensor, condition: Tensor | None) -> list[Tensor]:
        """What the discriminator's stages make of the pictures; where it looks, the class plays no part yet."""
        self._seen.clear()
        self.discriminator(pictures, None if condition is None else condition[:1].expand(len(pictures), 1))
        seen, self._seen = self._seen, []
        return seen

    def _unlike(self, wanted: list[Tensor], found: list[Tensor]) -> Tensor:
        """(n,): mean square difference over all stages, each in units of what the wanted picture has there."""
        parts = [
            (f - w).square().mean((1, 2, 3)) / w.square().mean().clamp_min(1e-8)
            for w, f in zip(wanted, found, strict=True)
        ]
        return torch.stack(parts).mean(0)

    def _far(self, target: Tensor, looks: list[Tensor], begun: Tensor, condition: Tensor | None) -> Tensor:
        """(n,): how far the pictures that begin so are from the target."""
        pictures = self.generator.paint_from(begun)
        return (pictures - target).square().mean((1, 2, 3)) + SEEN * self._unlike(
            looks, self._looks(pictures, condition)
        )

    @torch.no_grad()
    def _searched(
        self, target: Tensor, looks: list[Tensor], labels: Sequence[int] | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """The best of random samples."""
        latent, condition = self.generator.latent(SEARCHED, rng).to(self.device), self._condition(labels, SEARCHED)
        step = max(1, min(SEARCHED, SEARCHED_AT_ONCE // math.prod(target.shape[2:])))
        far = []
        for at in range(0, SEARCHED, step):
            some = None if condition is None else condition[at : at + step]
            far.append(self._far(target, looks, self.generator.begin(latent[at : at + step], some), some))
        best = torch.cat(far).argsort(stable=True)[:STARTS]
        return latent[best], None if condition is None else condition[best]

    def _followed(
        self, target: Tensor, looks: list[Tensor], latent: Tensor, condition: Tensor | None, beat: Beat
    ) -> tuple[Tensor, Tensor | None]:
        """The starts, each led to the picture through latents; the one that comes nearest."""
        latent = latent.clone().requires_grad_()
        optimiser = torch.optim.Adam([latent], lr=LATENT_RATE)
        for step in range(LATENT_STEPS):
            _anneal(optimiser, LATENT_RATE, step, LATENT_STEPS)
            far = self._far(target, looks, self.generator.begin(latent, condition), condition)
            # Latents are about sqrt(64) long: what lies far outside was never trained.
            long = F.relu(latent.square().mean(1) - 1.0).square()
            _step(optimiser, far + HELD * long)
            beat(0.1 + 0.5 * (step + 1) / LATENT_STEPS)
        with torch.no_grad():
            best = int(self._far(target, looks, self.generator.begin(latent, condition), condition).argmin())
        return latent.detach()[best : best + 1], None if condition is None else condition[best : best + 1]

    def _freed(
        self, target: Tensor, looks: list[Tensor], latent: Tensor, condition: Tensor | None, beat: Beat
    ) -> Tensor:
        """Latent and v together: what no latent gives is found as well, at a price."""
        scale = by_latent(self.generator).norm(dim=1).clamp_min(1e-6)  # standard deviation of each part of v
        latent, offset = (
            latent.clone().requires_grad_(),
            torch.zeros(1, len(scale), device=self.device, requires_grad=True),
        )
        optimiser = torch.optim.Adam([latent, offset], lr=FREE_RATE)
        for step in range(FREE_STEPS):
            _anneal(optimiser, FREE_RATE, step, FREE_STEPS)
            begun = self.generator.begin(latent, condition) + offset * scale
            far = self._far(target, looks, begun, condition)
            _step(optimiser, far + HELD * offset.square().mean(1))
            beat(0.6 + 0.4 * (step + 1) / FREE_STEPS)
        final: Tensor = self.generator.begin(latent, condition) + offset * scale
        return final.detach()


def _anneal(optimiser: torch.optim.Optimizer, rate: float, step: int, steps: int) -> None:
    """A cosine to a tenth: the last steps settle."""
    optimiser.param_groups[0]["lr"] = rate * (0.1 + 0.9 * (1 + math.cos(math.pi * step / steps)) / 2)


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step for each row by itself: rows do not touch each other's."""
    optimiser.zero_grad()
    loss.sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
