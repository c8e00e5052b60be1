"""A warm start: the generator first learns by maximum likelihood, as far as held-out samples say that it helps.

It may have several rounds: each trains another generator from the start, and all that were trained share the drawing,
which evens out what each of them learned by chance.

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
    steps: int  # of a round, at most
    lr: float = 3e-3
    weight_decay: float = 0.01
    warmup: int = 50
    judge_every: int = 50
    patience: int = 4  # judgements without progress before the learning rate is cut
    cuts: int = 2  # such cuts before the warm start ends
    cut: float = 0.3
    rounds: int = 1


class WarmStart:
    """`loss(rng)` is the mean negative log-likelihood of a batch that it draws from the CPU generator `rng`.

    `renew(round)` gives the weights with which a round begins; it is called when a run goes on in a round, too."""

    def __init__(
        self,
        loss: Callable[[torch.Generator], Tensor],
        settings: WarmSettings,
        renew: Callable[[int], dict[str, Tensor]] | None = None,
    ) -> None:
        self.loss, self.settings, self.renew = loss, settings, renew
        self.round = 0
        self.patience_left, self.cuts, self.over = settings.patience, 0, settings.steps == 0
        self.optimiser: torch.optim.AdamW  # from `begin` on

    @property
    def steps(self) -> int:
        """Of all rounds."""
        return self.settings.steps * self.settings.rounds

    @property
    def round_begins(self) -> int:
        """The step before its first."""
        return self.settings.steps * self.round

    @property
    def round_ends(self) -> int:
        """The step at which the round is over, at the latest."""
        return self.settings.steps * (self.round + 1)

    @property
    def more(self) -> bool:
        """Whether another round follows."""
        return self.renew is not None and self.round + 1 < self.settings.rounds

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
        left, step = (self.round_ends - step) / (LAST * s.steps), step - self.round_begins
        return s.lr * s.cut**self.cuts * min(1.0, (step + 1) / (s.warmup + 1), max(left, 0.02))

    def go_on_in(self, number: int) -> None:
        """Of a run that was saved in that round."""
        if self.renew is not None and number != self.round:
            self.renew(number)
        self.round = number

    def next_round(self, trainer: Trainer) -> None:
        """From the start, with other weights."""
        self.round += 1
        self.patience_left, self.cuts, self.over = self.settings.patience, 0, False
        if self.renew is not None:
            weights = self.renew(self.round)
            for network in (trainer.generator, trainer.ema):
                network.load_state_dict(weights)
        self.begin(trainer)

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
