"""What judges a run while it goes: finite numbers, a generator that still learns. Knows a trainer; nothing of jobs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workers.engine import checkpoints

if TYPE_CHECKING:
    from workers.engine.trainer import Trainer

STRIKES = 3
KEEP_EVERY = 20  # reports between two good states kept in memory
LOST_LOSS = 0.03  # a pairing loss of the discriminator below which it teaches nothing (chance is log 2 = 0.69) ...
LOST_REPORTS = 25  # ... if it stays there: seen on digits when the output's tanh saturated, gradients of 1e-3


class Diverged(Exception):
    """Training went wrong again and again: numbers that are not finite, or a generator that learns nothing."""


def gradient_norm(network: nn.Module) -> Tensor:
    """The 2-norm of all gradients of a network."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


class Guard:
    """Rolls a run back to a good state when a number is not finite, the discriminator wins for good or samples become
    all alike: half the learning rates, twice the gamma, three times at most."""

    def __init__(self) -> None:
        self.strikes = 0
        self.reports = 0
        self.lost = 0  # reports in a row
        self.good: checkpoints.State | None = None  # where a roll-back leads
        self.reached = 0.0  # the greatest diversity of samples so far
        self.ever_varied = False  # whether samples ever did; a checkpoint says so
        self.diverse: checkpoints.State | None = None  # where one leads whose samples became all alike

    @property
    def lr_share(self) -> float:
        return 0.5**self.strikes

    @property
    def gamma_factor(self) -> float:
        return 2.0**self.strikes

    def begin(self, trainer: Trainer) -> None:
        """Remember the state of the trainer as a good one; of a resumed run, as one whose samples varied if any did."""
        self.good = checkpoints.state(trainer).copy()
        self.diverse = self.good if self.ever_varied else None

    def passes(self, trainer: Trainer, values: dict[str, float]) -> bool:
        """True for a good report, False after a roll-back. Raises Diverged at the third strike."""
        finite = all(map(math.isfinite, values.values()))
        self.lost = self.lost + 1 if finite and values.get("loss_discriminator", 1.0) < LOST_LOSS else 0
        if finite and self.lost < LOST_REPORTS:
            self.reports += 1
            if self.reports % KEEP_EVERY == 0 and not self.lost:
                self.good = checkpoints.state(trainer).copy()
            return True
        if self.strikes + 1 >= STRIKES or self.good is None:
            raise Diverged(f"Training went wrong {self.strikes + 1} times, the last time at step {trainer.step}.")
        self._roll_back(trainer, self.good)
        return False

    def varied(self, trainer: Trainer, diversity: float) -> bool:
        """True where samples vary (`diversity` is not negative), or never did, or nothing is left to try: the report
        will tell. False after a roll-back."""
        if diversity >= 0.0:
            self.ever_varied = True
            self.reached = max(self.reached, diversity)
            self.diverse = checkpoints.state(trainer).copy()
            return True
        if self.strikes + 1 >= STRIKES or self.diverse is None:
            return True
        self.good = self.diverse
        self._roll_back(trainer, self.diverse)
        return False

    def _roll_back(self, trainer: Trainer, to: checkpoints.State) -> None:
        strikes = self.strikes + 1
        checkpoints.restore(trainer, to)
        self.strikes, self.lost = strikes, 0
        trainer.rng.manual_seed(
            trainer.rng.initial_seed() + strikes
        )  # other batches, so that it does not run into the same wall
