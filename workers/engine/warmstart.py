"""A warm start: the generator first learns by maximum likelihood, as far as held-out samples say that it helps.

For data of codes a likelihood is at hand, and says more a step than any discriminator; adversarial training then goes
on from there. Knows a trainer and a loss; nothing of what the samples are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from workers.engine.trainer import Trainer

LAST = 0.3  # share of the steps over which the learning rate falls to nothing
NOTICE = 2e-4  # share of the score by which it must fall to count as better


@dataclass(frozen=True)
class WarmSettings:
    steps: int  # at most
    lr: float = 3e-3
    weight_decay: float = 0.01
    warmup: int = 50
    judge_every: int = 50
    patience: int = 4  # judgements without progress before the learning rate is cut
    cuts: int = 2  # such cuts before the warm start ends
    cut: float = 0.3


class WarmStart:
    """`loss(rng)` is the mean negative log-likelihood of a batch that it draws from the CPU generator `rng`."""

    def __init__(self, loss: Callable[[torch.Generator], Tensor], settings: WarmSettings) -> None:
        self.loss, self.settings = loss, settings
        self.patience_left, self.cuts, self.over = settings.patience, 0, settings.steps == 0
        self.optimiser: torch.optim.AdamW  # from `begin` on

    def begin(self, trainer: Trainer) -> None:
        s, parameters = self.settings, trainer.generator.parameters()
        self.optimiser = torch.optim.AdamW(
            parameters, lr=s.lr, betas=(0.9, 0.99), weight_decay=s.weight_decay, fused=True
        )

    def step(self, trainer: Trainer) -> dict[str, Tensor]:
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr(trainer.step) * trainer.guard.lr_share
        loss = self.loss(trainer.rng)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return {"loss_likelihood": loss.detach()}

    def _lr(self, step: int) -> float:
        s = self.settings
        left = (s.steps - step) / (LAST * s.steps)
        return s.lr * s.cut**self.cuts * min(1.0, (step + 1) / (s.warmup + 1), max(left, 0.02))

    def judged(self, trainer: Trainer, better: bool) -> None:
        """Cut the learning rate after a while without progress, going on from the best; end after some cuts."""
        self.patience_left = self.settings.patience if better else self.patience_left - 1
        if self.patience_left > 0:
            return
        self.patience_left = self.settings.patience
        self.cuts += 1
        trainer.best.put_into(trainer.generator)
        trainer.best.put_into(trainer.ema)
        self.over = self.cuts > self.settings.cuts
