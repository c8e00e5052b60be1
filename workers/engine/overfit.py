"""How much of what the discriminator says was learned by heart, and how often samples are augmented against it.

r = (E D(learned from) - E D(held out)) / (E D(learned from) - E D(made)): 0 while reals that it never learned from look
to it like those that it did, 1 when they look like samples (Karras et al. 2020, r_v). Only differences of scores count,
which is all that the pairing loss fixes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from workers.engine.batch import Batch

EVERY, LEAST_REACH = 4, 1_000  # steps between two looks; and to go from never to always
GOAL = 0.4  # of r: above, more is augmented
MOST = 0.8  # augmenting more often than that leaks into what is made
MEMORY, LOOKS = 0.98, 50  # of the moving averages, a look; before so many, they are noise
CLEAR = 0.2  # of D(learned) - D(made), below which D tells nothing from nothing and r would be noise
SURE = 3.0  # standard errors by which D(learned) - D(held out) must differ from nothing


class Overfit:
    """`draw(n, rng)` gives held-out samples. How often samples are augmented can cross its whole range within `reach`
    steps, and not sooner than in LEAST_REACH."""

    def __init__(self, draw: Callable[[int, torch.Generator], Batch], reach: int) -> None:
        self.draw, self.reach = draw, max(reach, LEAST_REACH)
        # moving averages of D(learned) - D(held out), its square, and D(learned) - D(made); the number of looks
        self.seen = torch.zeros(4)

    def see(self, learned: Tensor, held: Tensor, made: Tensor) -> None:
        """Scores (n,) of each kind, seen under the same augmentation. Does not wait for the device."""
        self.seen = self.seen.to(learned.device)
        ahead = learned.mean() - held.mean()
        now = torch.stack([ahead, ahead.square(), learned.mean() - made.mean()]).detach()
        self.seen[:3].lerp_(now, 1.0 - MEMORY)
        self.seen[3] += 1

    def adjust(self, share: float, steps: int) -> tuple[float, float]:
        """(the share of samples to augment from now on, r), so many steps after the last time."""
        held, square, made, looks = self.seen.tolist()
        error = math.sqrt(max(0.0, square - held**2) * (1 - MEMORY) / (1 + MEMORY))  # of the moving average
        r = held / made if made > CLEAR and held > SURE * error else 0.0
        if looks < LOOKS:
            return share, r
        change = steps / self.reach * (1.0 if r > GOAL else -1.0)
        return min(max(share + change, 0.0), MOST), r
