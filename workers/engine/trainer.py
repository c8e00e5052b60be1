"""Adversarial training. Knows tensors; nothing of files, jobs or modalities.

One page for every modality: variety enters by `draw` (what a batch is), the networks, `augment` and `auxiliary_loss`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from workers.engine import checkpoints
from workers.engine.augmentation import Augmentation
from workers.engine.batch import Batch
from workers.engine.ema import Ema
from workers.engine.losses import pairing_loss
from workers.engine.monitors import Diverged, Guard, gradient_norm
from workers.engine.overfit import Overfit
from workers.engine.schedules import cosine, warmed
from workers.engine.snapshots import Best
from workers.engine.steps import Steps
from workers.engine.team import Alone, Team
from workers.engine.warmstart import NOTICE, WarmStart

Range = tuple[float, float]  # the value at the first step and at the end of the burn-in
LEAST = 0.05  # share of the generator's learning rate that `balance` leaves it, at least
MARGIN = 0.01  # share of its score by which adversarial training must beat the warm start: scores are noisy
BEHIND = 0.01  # share of its score by which a generator whose round was cut short may be worse than those before it
PULL = 0.05  # how fast `balance` moves the generator's learning rate, per step
REIN, HARDEST = 0.05, 100.0  # how fast `rein` moves gamma, per step, and by how much at most


@dataclass(frozen=True)
class Settings:
    """What a run needs beside its networks and data; a modality derives it from its preset and its data."""

    steps: int  # of adversarial training
    batch: int
    lr_generator: Range = (2e-3, 4e-5)
    lr_discriminator: Range = (2e-3, 4e-5)
    gamma: Range = (1.0, 0.1)  # weight of the gradient penalties
    beta2: Range = (0.9, 0.99)
    ema_half_life: float = 500.0  # steps
    burn_in: float = 0.8  # share of the steps over which the ranges are walked
    warmup: int = 0  # steps of linear learning-rate warm-up
    penalty: Literal["exact", "finite"] = "exact"
    penalty_every: int = 1  # lazy regularisation: every k-th step, times k
    penalty_share: float = 1.0  # share of the batch that is penalised
    share_fakes: bool = True  # the generator's step uses the discriminator step's batch and fakes
    rein: float | None = None  # the discriminator's loss below which gamma grows, and above which it goes back
    balance: float | None = None  # hold the share of pairs that D orders rightly here, by the generator's learning rate
    augmented: float = 0.0  # share of the samples that is augmented, at first or for good
    report_every: int = 10
    judge_every: int = 0  # steps between two judgements of the averaged generator by held-out samples; 0: never
    judge_from: float = 0.0  # share of the steps before which nothing is judged: what is best by then is best by luck


@dataclass(frozen=True)
class Progress:
    step: int
    steps: int
    metrics: dict[str, float] | None  # every `report_every` steps: reading them waits for the device


class Trainer:
    """Trains `generator` against `discriminator`; everything that it holds is saved and loaded, bit for bit.

    `draw(n, rng)` gives a batch and is pure in `rng`, which lives on the CPU. `augment` changes a share of the
    samples; with `overfit` the share follows from what D learns by heart.
    `auxiliary_loss(fake, batch)` is added to the generator's loss. `judge(network, warm)` scores the averaged generator
    by held-out samples, less is better: the best is kept and is what `ema` holds at the end. The scores of a warm start
    and of adversarial training need not compare. `diversity(network, reached)` looks every
    `judge_every` adversarial steps how much samples differ, given the most that was reached so far; where it is
    negative, they are all alike, and the run goes back to where they were not."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        draw: Callable[[int, torch.Generator], Batch],
        settings: Settings,
        *,
        seed: int,
        device: str = "cpu",
        augment: Augmentation | None = None,
        overfit: Overfit | None = None,
        auxiliary_loss: Callable[[Tensor, Batch], Tensor] | None = None,
        warm_start: WarmStart | None = None,
        judge: Callable[[nn.Module, bool], float] | None = None,
        diversity: Callable[[nn.Module, float], float] | None = None,
    ) -> None:
        self.generator, self.discriminator = generator.to(device).train(), discriminator.to(device).train()
        self.draw, self.settings, self.device = draw, settings, device
        self.augment, self.auxiliary_loss, self.judge, self.diversity = augment, auxiliary_loss, judge, diversity
        self.overfit, self.augmented = overfit, settings.augmented
        if warm_start is not None and warm_start.settings.rounds > 1 and (judge is None or warm_start.renew is None):
            raise ValueError("rounds of a warm start need a judge and new weights")
        self.warm_start = warm_start
        self.best = Best()
        self.members: list[Best] = []  # of the rounds of a warm start that are over
        self.rng = torch.Generator().manual_seed(seed)
        self.averaged = Ema(self.generator, settings.ema_half_life)
        adam: dict[str, Any] = {"lr": 1e-3, "betas": (0.0, 0.99), "eps": 1e-8, "fused": True}
        self.optimiser_g = torch.optim.Adam(self.generator.parameters(), **adam)
        self.optimiser_d = torch.optim.Adam(self.discriminator.parameters(), **adam)
        if warm_start is not None:
            warm_start.begin(self)
        self.step = 0
        self.team: Team = Alone()
        self.half_steps = Steps(self)
        self.guard = Guard()
        self.trouble: str | None = None  # why a run ended sooner, with what it had
        self.lead = 0.5  # moving average of how often D orders a pair rightly
        self.loss = math.log(2.0)  # moving average of D's pairing loss; this is guessing
        self.reined = 1.0  # times its schedule: what `rein` makes of gamma
        # what `balance` leaves of the generator's learning rate: after a warm start D has to catch up first
        self.lr_share = 1.0 if warm_start is None else LEAST
        self._penalty_seen: Tensor | None = None  # the last one: with lazy penalties most steps have none

    @property
    def ema(self) -> nn.Module:
        """The averaged generator, in eval mode."""
        return self.averaged.network

    @property
    def steps(self) -> int:
        """Of a whole run: those of the warm start, of which some may be left out, and the adversarial ones."""
        return self._warm_steps + self.settings.steps

    @property
    def _warm_steps(self) -> int:
        return self.warm_start.steps if self.warm_start is not None else 0

    @property
    def _warm(self) -> WarmStart | None:
        """The warm start, as long as it is not over."""
        return None if self.warm_start is None or self.warm_start.over else self.warm_start

    def join(self, team: Team) -> None:
        """Share each step with the others of the team, who hold the same state. Raises ValueError if that cannot be."""
        if not self.half_steps.divisible:
            raise ValueError("a batch of this training cannot be shared")
        self.team = team

    def run(self) -> Iterator[Progress]:
        """Train to the last step. When that cannot be saved any more, a run ends with what held-out samples found good:
        the generators of the rounds that are over, or the warm start's. Raises Diverged if there is none."""
        try:
            yield from self._run()
        except Diverged as wrong:
            self._go_back()
            if not self.best.tensors:
                raise
            self.trouble = str(wrong)
        self.keep_best()

    def _run(self) -> Iterator[Progress]:
        if self.guard.good is None:  # a resumed run may know where its roll-backs lead
            self.guard.begin(self)
        while self.step < self.steps:
            report = (self.step + 1) % self.settings.report_every == 0 or self.step + 1 == self.steps
            warm = self._warm
            begin = warm.round_begins if warm else self._warm_steps
            metrics = warm.step(self) if warm else self._one_step(report)
            self.step += 1
            self.averaged.update(self.step - begin)
            values = self._read(metrics) if report else None
            if values is not None and not self.guard.passes(self, values):
                continue  # rolled back to the last good state
            due = self._due(warm)
            if due and not warm and self._all_alike():
                continue  # likewise
            scored = self._judged(warm, due and not self._early(warm))
            yield Progress(self.step, self.steps, values if values is None else values | scored)

    def _go_back(self) -> None:
        """Before the stage that went wrong: `best` is what it had begun with, empty if that is nothing."""
        warm = self._warm
        if warm is not None:
            warm.over = True
            self.best = self.members.pop() if self.members else Best()
        elif self.warm_start is None:
            self.best = Best()

    def ensemble(self) -> list[Best]:
        """All generators that share the drawing. One whose round was cut short counts only if it is about as good as
        the worst of those before it."""
        scores = [member.score for member in self.members]
        if self._warm and scores and not self.best.score <= (1 + BEHIND) * max(scores):
            return list(self.members)
        last = Best(self.best.score, self.best.step)
        last.tensors = dict(self.ema.state_dict())
        return [*self.members, last]

    def keep_best(self) -> None:
        """`ema` becomes the best average so far. A run ends with it; whoever stops one sooner calls it."""
        self.best.put_into(self.ema)

    def _last(self, warm: WarmStart | None) -> bool:
        return self.step >= (warm.round_ends if warm else self.steps)

    def _due(self, warm: WarmStart | None) -> bool:
        """Whether it is time to look at the averaged generator's samples."""
        every = warm.settings.judge_every if warm else self.settings.judge_every
        return bool(every) and (self._last(warm) or self.step % every == 0)

    def _early(self, warm: WarmStart | None) -> bool:
        """Whether it is too early to score them."""
        return not warm and self.step - self._warm_steps < self.settings.judge_from * self.settings.steps

    def _judged(self, warm: WarmStart | None, due: bool) -> dict[str, float]:
        """Score the averaged generator when it is time, keep it if it is the best; a warm start may end by it."""
        last = self._last(warm)
        if self.judge is None or not due:
            if warm and last:
                warm.over = True
            return {}
        judge = self.judge
        score = self._told(lambda network: judge(network, warm is not None))
        better = self.best.offer(self.ema, score, self.step, NOTICE if warm else MARGIN)
        if warm:
            warm.judged(self, better)
            if last or warm.over:
                self._end_round(warm)
        return {"held_out": score}

    def _told(self, judge: Callable[[nn.Module], float]) -> float:
        """What rank 0 finds of the averaged generator: one looks at it for all."""
        return self.team.told(float(judge(self.ema)) if self.team.rank == 0 else 0.0)

    def _all_alike(self) -> bool:
        """Whether the run was rolled back because its samples no longer differ."""
        look, reached = self.diversity, self.guard.reached
        return look is not None and not self.guard.varied(self, self._told(lambda network: look(network, reached)))

    def _end_round(self, warm: WarmStart) -> None:
        if not warm.more:
            self._leave_warm(warm)
            return
        if self.best.tensors:
            self.members.append(self.best)
        self.best = Best()
        warm.next_round(self)
        self.guard.strikes = 0
        self.step = warm.round_begins
        self.guard.begin(self)

    def _leave_warm(self, warm: WarmStart) -> None:
        """Adversarial training goes on from the best of the warm start, which it must beat by its own score."""
        warm.over = True
        self.step = self._warm_steps
        self.best.put_into(self.generator)
        self.best.put_into(self.ema)
        if self.judge is not None and self.settings.steps:
            step, self.best = self.best.step, Best()
            self.best.offer(self.ema, self.judge(self.ema, False), step)

    def save(self, path: Path) -> None:
        checkpoints.save(self, path)

    def load(self, path: Path) -> None:
        """Go on from `path`. Raises checkpoints.Unusable if it is torn or of other networks."""
        checkpoints.load(self, path)

    def _schedule(self) -> float:
        """Set this step's learning rates and beta2; returns gamma."""
        s, length = self.settings, self.settings.burn_in * self.settings.steps
        step = self.step - self._warm_steps
        beta2 = cosine(*s.beta2, step, length)
        rates = (
            (self.optimiser_g, s.lr_generator, self.lr_share),
            (self.optimiser_d, s.lr_discriminator, 1.0),
        )
        for optimiser, rate, share in rates:
            for group in optimiser.param_groups:
                group["lr"] = warmed(cosine(*rate, step, length), step, s.warmup) * share * self.guard.lr_share
                group["betas"] = (0.0, beta2)
        return cosine(*s.gamma, step, length) * self.guard.gamma_factor * self.reined

    def _one_step(self, report: bool) -> dict[str, Tensor]:
        pairs, seen = self.half_steps.discriminator(self._schedule())
        self.optimiser_d.step()
        if self.overfit is not None and seen.held is not None:
            self.overfit.see(seen.real, seen.held, seen.fake)
        if seen.penalty is not None:
            self._penalty_seen = seen.penalty
        metrics = {"loss_discriminator": pairing_loss(seen.real, seen.fake)}
        if self._penalty_seen is not None:
            metrics["penalty"] = self._penalty_seen
        metrics["lead"] = (seen.real > seen.fake).float().mean() + 0.5 * (seen.real == seen.fake).float().mean()
        metrics["loss_generator"] = self.half_steps.generator(pairs, seen.real)
        self.optimiser_g.step()
        if report:
            metrics["gradient_generator"] = gradient_norm(self.generator)
            metrics["gradient_discriminator"] = gradient_norm(self.discriminator)
        return metrics

    def _read(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Tensors to numbers (one wait for the device), and what follows from them for the next steps."""
        values = {name: float(value) for name, value in metrics.items()}
        if "lead" not in values:  # a warm start has no discriminator
            return values
        steps = min(self.settings.report_every, self.step)
        self.lead += (1.0 - 0.98**steps) * (values["lead"] - self.lead)
        self.loss += (1.0 - 0.98**steps) * (values["loss_discriminator"] - self.loss)
        if self.settings.rein is not None and math.isfinite(self.loss):
            self.reined *= math.exp(REIN * steps * (self.settings.rein - self.loss))
            self.reined = min(max(self.reined, 1.0), HARDEST)
            values["gamma_times"] = self.reined
        if self.settings.balance is not None and math.isfinite(self.lead):
            # D at .5 teaches nothing and G only wanders; far above, G lags: recipes measured .62 as a good middle
            self.lr_share *= math.exp(PULL * steps * (self.lead - self.settings.balance))
            self.lr_share = min(max(self.lr_share, LEAST), 1.0)
        if self.overfit is not None:
            self.augmented, values["overfit"] = self.overfit.adjust(self.augmented, steps)
            values["augmented"] = self.augmented
        return values | {"lead": self.lead, "lr_generator": self.optimiser_g.param_groups[0]["lr"]}
