"""The gradients of a step's two halves, D's and then G's: of a batch at once, or piece by piece where memory is short.

A piece's losses count by its share of the batch, so that all pieces sum up to the batch's mean, but for rounding. What
is drawn at random is drawn for the whole batch first. So a step is the same in one piece, in many, or in a team."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from workers.engine.augmentation import Changes
from workers.engine.batch import Batch
from workers.engine.losses import exact_penalty, finite_penalty, pairing_loss
from workers.engine.overfit import EVERY

if TYPE_CHECKING:
    from workers.engine.trainer import Trainer

FINITE_SCALE = 0.1  # step of the finite difference; measured on tables, see docs/LOG.md
FULL = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")  # what libraries say in place of an error of torch's
BATCHED = nn.modules.batchnorm._BatchNorm  # of 1, 2 or 3 dimensions: a sample's output depends on its neighbours
Half = TypeVar("Half")


class OutOfMemory(Exception):
    """A training step does not fit into the device's memory, however it is cut."""


@dataclass
class Pairs:
    """Reals, and the latents of the fakes that they are paired with."""

    batch: Batch
    latent: Tensor
    fake: Tensor | None = None  # where this process computes its share at once: with its graph, for both halves

    def __len__(self) -> int:
        return len(self.batch.real)

    def condition(self, rows: slice) -> Tensor | None:
        return None if self.batch.condition is None else self.batch.condition[rows]


@dataclass
class Seen:
    """What D's half found, the same on each process of a team: scores (n,), the penalty if there was one."""

    real: Tensor
    fake: Tensor
    held: Tensor | None  # of held-out samples, by the same D: each step moves all scores alike
    penalty: Tensor | None


class Steps:
    """Of one trainer. `pieces` doubles when memory runs out, and stays so: what was too much is too much again."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.pieces = 1  # into which this process cuts its share of the batch

    @property
    def divisible(self) -> bool:
        """Whether a batch can be cut: not where a sample depends on its neighbours, nor where losses are not ours."""
        t = self.trainer
        parts = [*t.generator.modules(), *t.discriminator.modules()]
        return t.auxiliary_loss is None and t.warm_start is None and not any(isinstance(p, BATCHED) for p in parts)

    def discriminator(self, gamma: float) -> tuple[Pairs, Seen]:
        """Draw pairs, and leave D's gradients on them. Raises OutOfMemory."""
        return self._fitting(lambda: self._discriminator(gamma))

    def generator(self, pairs: Pairs, score_real: Tensor) -> Tensor:
        """Leave G's gradients, and return its loss; `score_real` (n,) are D's scores of these reals, which are drawn
        anew where the settings do not share fakes. Raises OutOfMemory."""
        shared = self.trainer.settings.share_fakes
        if not shared:
            pairs.fake = None
        return self._fitting(lambda: self._generator(pairs if shared else None, score_real), pairs)

    def _fitting(self, half: Callable[[], Half], pairs: Pairs | None = None) -> Half:
        """The half step, in as many pieces as it takes, each time with the same random numbers."""
        rng = self.trainer.rng
        before = rng.get_state()
        while True:
            try:
                return half()
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and not any(word in str(error) for word in FULL):
                    raise
            if pairs is not None:
                pairs.fake = None
            self._cut()  # here, where the error does not hold on to its tensors any more
            rng.set_state(before)

    def _cut(self) -> None:
        t = self.trainer
        t.optimiser_d.zero_grad(set_to_none=True)
        t.optimiser_g.zero_grad(set_to_none=True)
        if t.device.startswith("cuda"):
            torch.cuda.empty_cache()
        most = math.ceil(t.settings.batch / t.team.size)
        if not self.divisible:
            raise OutOfMemory(f"A training step of {t.settings.batch} samples does not fit into the device's memory.")
        if self.pieces >= most:
            raise OutOfMemory("A training step does not fit into the device's memory, even with one sample at a time.")
        self.pieces = min(2 * self.pieces, most)

    def _rows(self, n: int) -> list[slice]:
        """Of each piece: every so-manieth, so that pieces are alike also where only the first of a batch are
        penalised."""
        team = self.trainer.team
        stride = self.pieces * team.size
        return [slice(first, n, stride) for first in range(team.rank, min(n, stride), team.size)]

    def _pairs(self) -> Pairs:
        t = self.trainer
        batch = t.draw(t.settings.batch, t.rng)
        latent: Tensor = t.generator.latent(len(batch.real), t.rng)  # type: ignore[operator]
        pairs = Pairs(batch.to(t.device), latent.to(t.device, non_blocking=True))
        rows = self._rows(len(pairs))
        if self.pieces == 1 and rows:
            pairs.fake = self._made(pairs, rows[0])
        return pairs

    def _made(self, pairs: Pairs, rows: slice) -> Tensor:
        fake: Tensor = self.trainer.generator(pairs.latent[rows], pairs.condition(rows))
        return fake

    def _discriminator(self, gamma: float) -> tuple[Pairs, Seen]:
        t, s = self.trainer, self.trainer.settings
        pairs = self._pairs()
        held = self._held_out() if t.step % EVERY == 0 else None
        n = len(pairs)
        shape = (2 * n, *pairs.batch.real.shape[1:])
        changes = self._changes(shape)
        most = max(1, math.ceil(n * s.penalty_share)) if t.step % s.penalty_every == 0 else 0  # pairs to penalise
        noise = None
        if most and s.penalty == "finite":
            noise = torch.randn((2 * most, *shape[1:]), generator=t.rng)
        scores, penalty = pairs.batch.real.new_zeros(2 * n), pairs.batch.real.new_zeros(())
        t.optimiser_d.zero_grad(set_to_none=True)
        for rows in self._rows(n):
            with torch.no_grad():
                fake = self._made(pairs, rows) if pairs.fake is None else pairs.fake.detach()
            m, k = len(fake), len(range(*slice(rows.start, most, rows.step).indices(n)))
            condition = pairs.condition(rows)
            both = None if condition is None else torch.cat([condition, condition])
            seen = self._changed(torch.cat([pairs.batch.real[rows], fake]), _twice(changes, rows, n))
            seen.requires_grad_(bool(k) and s.penalty == "exact")
            given: Tensor = t.discriminator(seen, both)
            loss = pairing_loss(given[:m], given[m:]) * (m / n)
            if k:
                near = None if noise is None else torch.cat([noise[:most][rows], noise[most:][rows]])
                part = self._penalty(given, seen, both, k, near) * (k / most)
                loss = loss + 0.5 * gamma * s.penalty_every * part
                penalty += part.detach()
            loss.backward()  # type: ignore[no-untyped-call]
            scores[:n][rows], scores[n:][rows] = given[:m].detach(), given[m:].detach()
        self._add(t.discriminator, [scores, penalty, *([] if held is None else [held])])
        return pairs, Seen(scores[:n], scores[n:], held, penalty if most else None)

    def _penalty(self, scores: Tensor, seen: Tensor, condition: Tensor | None, k: int, noise: Tensor | None) -> Tensor:
        """R1 + R2 of the first k pairs: the mean squared slope on reals plus that on fakes, at what D saw."""
        t = self.trainer
        some = torch.arange(k, device=seen.device)
        rows = torch.cat([some, some + len(seen) // 2])
        if noise is None:
            return 2.0 * exact_penalty(scores, seen, rows)
        near = seen[rows] + FINITE_SCALE * noise.to(t.device, non_blocking=True)
        shifted = t.discriminator(near, None if condition is None else condition[rows])
        return 2.0 * finite_penalty(scores[rows], shifted, FINITE_SCALE)

    @torch.no_grad()
    def _held_out(self) -> Tensor | None:
        """Scores of held-out samples, where some are: those of this process, 0 for the others'."""
        t = self.trainer
        if t.overfit is None:
            return None
        held = t.overfit.draw(t.settings.batch, t.rng)
        return self._judged(Pairs(held.to(t.device), torch.empty(0)))

    def _judged(self, pairs: Pairs) -> Tensor:
        """D's scores of reals: those of this process, 0 for the others'."""
        n = len(pairs)
        changes = self._changes(pairs.batch.real.shape)
        scores = pairs.batch.real.new_zeros(n)
        for rows in self._rows(n):
            seen = self._changed(pairs.batch.real[rows], tuple(change[rows] for change in changes))
            scores[rows] = self.trainer.discriminator(seen, pairs.condition(rows))
        return scores

    def _generator(self, pairs: Pairs | None, score_real: Tensor) -> Tensor:
        t = self.trainer
        if pairs is None:
            pairs = self._pairs()
            with torch.no_grad():
                score_real = self._judged(pairs)
            t.team.add([score_real])
        n = len(pairs)
        changes = self._changes(pairs.batch.real.shape)
        scores = pairs.batch.real.new_zeros(n)
        t.optimiser_g.zero_grad(set_to_none=True)
        t.discriminator.requires_grad_(False)  # no gradients for its weights: a third of the backward pass saved
        try:
            for rows in self._rows(n):
                fake = self._made(pairs, rows) if pairs.fake is None else pairs.fake
                given = t.discriminator(
                    self._changed(fake, tuple(change[rows] for change in changes)), pairs.condition(rows)
                )
                loss = pairing_loss(given, score_real[rows]) * (len(fake) / n)
                if t.auxiliary_loss is not None:  # then this is the whole batch: see `divisible`
                    loss = loss + t.auxiliary_loss(fake, pairs.batch)
                loss.backward()  # type: ignore[no-untyped-call]
                scores[rows] = given.detach()
        finally:
            t.discriminator.requires_grad_(True)
        self._add(t.generator, [scores])
        return pairing_loss(scores, score_real)

    def _add(self, network: nn.Module, found: list[Tensor]) -> None:
        """Sum gradients, and what else was found, over the team."""
        if self.trainer.team.size == 1:
            return
        gradients = []
        for parameter in network.parameters():
            if parameter.grad is None:  # a rank without a row in a small batch
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.trainer.team.add([*gradients, *found])

    def _changes(self, shape: tuple[int, ...]) -> Changes:
        t = self.trainer
        return () if t.augment is None or not t.augmented else t.augment.drawn(shape, t.augmented, t.rng)

    def _changed(self, x: Tensor, changes: Changes) -> Tensor:
        return x if self.trainer.augment is None or not changes else self.trainer.augment.changed(x, changes)


def _twice(changes: Changes, rows: slice, n: int) -> Changes:
    """What happens to these reals and to these fakes."""
    return tuple(torch.cat([change[:n][rows], change[n:][rows]]) for change in changes)
