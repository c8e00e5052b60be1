"""A start by likelihood with differential privacy: gradients clipped sample by sample, and noise (Abadi et al. 2016).

Each step sees a random share of the samples, each with the same chance (Poisson sampling), so that the accountant's
amplification holds. Who is drawn and what is added follow from a secret and the number of the step: a run that goes on
from a checkpoint takes the same steps, and nobody who knows the run's public seed can take the noise off again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workers.engine.accounting import Gaussian
from workers.engine.warmstart import WarmSettings, WarmStart

if TYPE_CHECKING:
    from workers.engine.trainer import Trainer

STATISTICS, STEPS = 1, 2  # what the secret's streams are for
GRID = 2.0**-9  # of the noise, to which a noisy sum is rounded


def stream(secret: bytes, purpose: int, number: int = 0) -> np.random.Generator:
    """Randomness that follows from 16 secret bytes."""
    key = np.frombuffer(secret, np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, number, purpose]))


@dataclass(frozen=True)
class PrivateSettings:
    steps: int
    samples: int  # of the training set, which is public
    rate: float  # the chance of a sample to be in a step's batch
    sigma: float  # noise multiplier
    clip: float = 1.0  # the norm that no sample's gradient exceeds
    lr: float = 1e-2
    warmup: int = 20

    @property
    def mechanism(self) -> Gaussian:
        return Gaussian(self.sigma, self.rate, self.steps)


class PrivateStart(WarmStart):
    """`clipped(rows, clip, rng)` is the sum over these samples of their gradients, each scaled down to the norm `clip`
    at most, by the generator's parameter."""

    def __init__(
        self,
        clipped: Callable[[np.ndarray, float, np.random.Generator], Mapping[str, Tensor]],
        settings: PrivateSettings,
        secret: bytes,
    ) -> None:
        super().__init__(_no_loss, WarmSettings(settings.steps, lr=settings.lr, warmup=settings.warmup, judge_every=0))
        self.clipped, self.private, self.secret = clipped, settings, secret

    def begin(self, trainer: Trainer) -> None:
        self.optimiser = torch.optim.AdamW(
            trainer.generator.parameters(), lr=self.private.lr, betas=(0.9, 0.99), weight_decay=0.0
        )

    def step(self, trainer: Trainer) -> dict[str, Tensor]:
        """Tells nothing of the data: not even the loss."""
        s, rng = self.private, stream(self.secret, STEPS, trainer.step + 1)
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr(trainer.step)
        rows = np.flatnonzero(rng.random(s.samples) < s.rate)
        noise = rng.standard_normal(sum(p.numel() for p in trainer.generator.parameters()), np.float32)
        sums = self.clipped(rows, s.clip, rng)
        at, expected = 0, s.rate * s.samples
        for name, parameter in trainer.generator.named_parameters():
            own = torch.from_numpy(noise[at : at + parameter.numel()]).view_as(parameter).to(parameter.device)
            parameter.grad = rounded(sums[name] + s.sigma * s.clip * own, GRID * s.sigma * s.clip) / expected
            at += parameter.numel()
        self.optimiser.step()
        return {"lr_generator": torch.tensor(self.optimiser.param_groups[0]["lr"])}


def rounded(noisy: Tensor, grid: float) -> Tensor:
    """To whole multiples of `grid`: the last bits of a sum of something and noise would tell what was there (Mironov
    2012)."""
    return torch.round(noisy / grid) * grid


def _no_loss(rng: torch.Generator) -> Tensor:
    raise AssertionError("a private start has gradients, no loss")
