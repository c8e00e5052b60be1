"""Codes from a trained generator, fast: the same distribution as its forward pass, with look-ups in place of one-hots
and one uniform number a code in place of one Gumbel number a level."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from workers.modalities.table.networks import NEVER, PARENTS, Generator, Rules

BATCH = 8_192  # rows that pass the network together: their activations stay in the cache
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What conditions leave of the codes to draw. `fixed` (n, v) holds codes, -1 where free; `shares` are added to a
    variable's logits, `chains` (levels before, levels) likewise, given the code of the variable before it."""

    fixed: Ints | None = None
    shares: Mapping[int, Tensor] = field(default_factory=dict)
    chains: Mapping[int, Tensor] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> Plan:
        return Plan(None if self.fixed is None else self.fixed[start:stop], self.shares, self.chains)


class FastGenerator:
    """Draws codes (n, v)."""

    @torch.no_grad()
    def __init__(self, network: Generator, rules: Rules, device: str = "cpu") -> None:
        self.slices, self.device = network.slices, device

        def own(value: Tensor) -> Tensor:
            return value.detach().to(device, torch.float32).contiguous()

        self.embedding = own(network.embedding)
        self.enter, self.enter_bias = own(network.enter), own(network.enter_bias)
        self.hidden, self.hidden_bias = own(network.hidden), own(network.hidden_bias)
        self.guiding = copy.deepcopy(network.guiding).to(device)
        self.leave, self.steps = [], []
        self.tables: list[dict[int, Tensor]] = []
        for j in range(len(self.slices)):
            head, r = network.place[j]
            weight, bias = head.one(r)
            self.leave.append((own(weight), own(bias)))
            self.tables.append({i: own(table) for i, table in network.tables_into(j)})
            self.steps.append(own(head.table(PARENTS, r, self.guiding.height(j))))
        self.backwards: list[dict[int, Tensor]] = [{} for _ in self.slices]
        for (i, j), table in zip(rules.pairs, rules.tables, strict=True):
            into = self.tables[j]
            into[i] = into[i] + table.to(device) if i in into else table.to(device)
            self.backwards[i][j] = table.to(device).T.contiguous()

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator, plan: Plan | None = None) -> Ints:
        """n rows as `plan` allows. The same rng, the same rows."""
        plan = plan or Plan()
        parts = [self._batch(min(BATCH, n - at), rng, plan.part(at, at + BATCH)) for at in range(0, n, BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.slices)), np.int64)

    def _batch(self, n: int, rng: np.random.Generator, plan: Plan) -> Ints:
        v = len(self.slices)
        uniform = torch.from_numpy(rng.random((v, n), dtype=np.float32)).to(self.device)
        codes = torch.zeros(v, n, dtype=torch.long, device=self.device)
        fixed = None if plan.fixed is None else torch.from_numpy(plan.fixed.T.copy()).to(self.device)
        known = torch.zeros(n, self.embedding.shape[1], device=self.device)
        if fixed is not None:
            for j in range(v):
                self._learn(known, j, fixed[j].clamp_min(0), (fixed[j] >= 0).float())
        guess = self.guiding.nothing(n)
        for j in range(v):
            if fixed is not None and bool((fixed[j] >= 0).all()):
                codes[j] = fixed[j]
                guess = self.guiding.learn(guess, j, codes)
                continue
            logits = self._logits(j, known, codes)
            step = self.guiding.step(j, guess, codes)
            if step is not None:
                logits += F.embedding(step, self.steps[j])
            self._limit(logits, j, codes, plan, fixed)
            codes[j] = self._drawn(logits, uniform[j])
            if fixed is not None:
                free = fixed[j] < 0
                codes[j] = torch.where(free, codes[j], fixed[j])
                self._learn(known, j, codes[j], free.float())
            elif j + 1 < v:
                known += F.embedding(codes[j] + self.slices[j].start, self.embedding)
            guess = self.guiding.learn(guess, j, codes)
        return codes.T.cpu().numpy()

    def _learn(self, known: Tensor, j: int, codes: Tensor, where: Tensor) -> None:
        known += F.embedding(codes + self.slices[j].start, self.embedding) * where[:, None]

    def _logits(self, j: int, known: Tensor, codes: Tensor) -> Tensor:
        h = F.silu(torch.addmm(self.enter_bias[j], known, self.enter[j]), inplace=True)
        h += F.silu(torch.addmm(self.hidden_bias[j], h, self.hidden[j]), inplace=True)
        logits = torch.addmm(self.leave[j][1], h, self.leave[j][0])
        for i, table in self.tables[j].items():
            logits += F.embedding(codes[i], table)
        return logits

    def _limit(self, logits: Tensor, j: int, codes: Tensor, plan: Plan, fixed: Tensor | None) -> None:
        if j in plan.shares:
            logits += plan.shares[j]
        if j in plan.chains:
            logits += F.embedding(codes[j - 1], plan.chains[j])
        if fixed is None:
            return
        for later, table in self.backwards[j].items():
            logits += F.embedding(fixed[later].clamp_min(0), table) * (fixed[later] >= 0).float()[:, None]

    def _drawn(self, logits: Tensor, uniform: Tensor) -> Tensor:
        logits -= logits.amax(1, keepdim=True)
        share = logits.exp_().cumsum(1)
        return (share < (uniform * share[:, -1]).unsqueeze(1)).sum(1).clamp_(max=logits.shape[1] - 1)


def rule_tables(rules: list[tuple[int, int, NDArray[np.bool_]]]) -> Rules:
    return Rules([(i, j) for i, j, _ in rules], [torch.from_numpy(table).float() * NEVER for _, _, table in rules])
