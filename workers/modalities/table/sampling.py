"""Codes from a trained generator, fast: the same distribution as its forward pass, with look-ups in place of one-hots
and one uniform number a code in place of one Gumbel number a level.

The first codes are drawn for all rows that are alike so far together: the network is asked once for them. What its
first layer makes of a code is a look-up as well, while few enough codes are known."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from workers.modalities.table import kernels
from workers.modalities.table.guiding import Codes
from workers.modalities.table.networks import NEVER, PARENTS, Generator, Rules

BATCH = 8_192  # rows that pass the network together: their activations stay in the cache
ALIKE = 0.5  # contexts a row, above which it is cheaper to ask the network for each row
FOLDED, FOLDED_BYTES = 32, 1 << 25  # first-layer look-ups: of so many variables, and in so much memory, at most
LOG2_E = math.log2(math.e)
EDGE = 1e-6  # uniform numbers keep so far from 0 and 1: else a level of no probability could be drawn
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What conditions leave of the codes to draw. `fixed` (n, v) holds codes, -1 where free; `shares` are added to a
    variable's logits, `chains` (levels before, levels) likewise, given the code of the variable before it."""

    fixed: Ints | None = None
    shares: Mapping[int, Tensor] = field(default_factory=dict)
    chains: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass
class _Known:
    """What is known of n rows: the `codes` of each variable (n,); where the first of them stand among all levels,
    `places` (n, a few); the `sum` (n, width) of all their embeddings, if it is wanted; what the guides predict, `guess`
    (n, d)."""

    codes: Codes
    places: Tensor
    sum: Tensor | None
    guess: Tensor

    def part(self, some: slice) -> _Known:
        codes = self.codes.part(some) if isinstance(self.codes, _Some) else self.codes
        return _Known(codes, self.places[some], None if self.sum is None else self.sum[some], self.guess[some])

    def of(self, rows: Tensor, codes: Codes) -> _Known:
        """The same of others, each of which is like one of the rows."""
        places, guess = (value.index_select(0, rows) for value in (self.places, self.guess))
        return _Known(codes, places, None if self.sum is None else self.sum.index_select(0, rows), guess)


class FastGenerator:
    """Draws codes (n, v)."""

    @torch.no_grad()
    def __init__(self, network: Generator, rules: Rules, device: str = "cpu") -> None:
        self.slices, self.device = network.slices, device
        self.sizes = [part.stop - part.start for part in self.slices]
        self.linear, self.linear_relu = kernels.linear(device)

        def own(value: Tensor) -> Tensor:
            return value.detach().to(device, torch.float32).contiguous()

        self.embedding = own(network.embedding)
        self.enter = [(own(w.T), own(b[0])) for w, b in zip(network.enter, network.enter_bias, strict=True)]
        self.hidden = [(own(w.T), own(b[0])) for w, b in zip(network.hidden, network.hidden_bias, strict=True)]
        self.guiding = copy.deepcopy(network.guiding).to(device)
        self.steppers = {j: (m, kernels.stepper(self.guiding.edges[n])) for n, (j, m) in enumerate(self.guiding.coarse)}
        self.leave: list[tuple[Tensor, Tensor]] = []
        self.steps: list[Tensor] = []
        self.tables: list[dict[int, Tensor]] = []
        for j in range(len(self.slices)):
            head, r = network.place[j]
            weight, bias = head.one(r)
            self.leave.append((own(weight.T), own(bias)))
            self.tables.append({i: own(table) for i, table in network.tables_into(j)})
            self.steps.append(own(head.table(PARENTS, r, self.guiding.height(j))))
        self.backwards: list[dict[int, Tensor]] = [{} for _ in self.slices]
        for (i, j), table in zip(rules.pairs, rules.tables, strict=True):
            into = self.tables[j]
            into[i] = into[i] + table.to(device) if i in into else table.to(device)
            self.backwards[i][j] = table.to(device).T.contiguous()
        self.folded = self._folded()

    def _folded(self) -> list[Tensor]:
        """For the first variables, from the second on: what each earlier level adds to the first layer, its bias with
        the first variable's."""
        out: list[Tensor] = []
        room = FOLDED_BYTES // (4 * self.embedding.shape[1])
        for j in range(1, min(len(self.slices), FOLDED)):
            room -= self.slices[j].start
            if room < 0:
                break
            weight, bias = self.enter[j]
            table = self.embedding[: self.slices[j].start] @ weight.T
            table[: self.sizes[0]] += bias
            out.append(table)
        return out

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator, plan: Plan | None = None) -> Ints:
        """n rows as `plan` allows. The same rng, the same rows. All are in memory, and 4 bytes a code beside them."""
        plan, v = plan or Plan(), len(self.slices)
        uniform = inner(rng.random((v, n), dtype=np.float32)).to(self.device)
        codes = torch.zeros(v, n, dtype=torch.long, device=self.device)
        fixed = None if plan.fixed is None else torch.from_numpy(plan.fixed).to(self.device).T.contiguous()
        alike = n > 0 and (fixed is None or bool((fixed == fixed[:, :1]).all()))
        first = self._draw_alike(codes, uniform, plan, fixed if fixed is None else fixed[:, :1]) if alike else 0
        for at in range(0, n, BATCH):
            some = slice(at, at + BATCH)
            self._draw_rows(codes[:, some], uniform[:, some], plan, fixed if fixed is None else fixed[:, some], first)
        out: Ints = codes.cpu().numpy().T
        return out

    def _draw_alike(self, codes: Tensor, uniform: Tensor, plan: Plan, fixed: Tensor | None) -> int:
        """Draws the first variables, for all rows that are alike so far together; says how many those are. What is
        `fixed` (v, 1) is so in all rows."""
        n = codes.shape[1]
        every = torch.arange(n, device=self.device)
        context = torch.zeros_like(every)  # of each row
        known = self._given(_Some(codes, every[:1]), 1, 0, fixed, summed=fixed is not None)
        for j, size in enumerate(self.sizes):
            contexts = len(known.guess)
            if contexts > ALIKE * n or (fixed is None and j > len(self.folded)):
                return j
            if fixed is not None and fixed[j] >= 0:
                codes[j] = fixed[j]
                self._learn(known, j, fixed[j] < 0)
                continue
            parts = [known.part(slice(at, at + BATCH)) for at in range(0, contexts, BATCH)]
            table = torch.cat([self._cumulative(j, part, plan, fixed) for part in parts])
            for at in range(0, n, BATCH):
                some = slice(at, at + BATCH)
                codes[j, some] = kernels.picked(table.index_select(0, context[some]), uniform[j, some])
            before, context = context, context * size + codes[j]
            row_of = torch.full((contexts * size,), n, dtype=torch.long, device=self.device)
            row_of[context] = every
            names = (row_of < n).nonzero().squeeze(1)
            rows = row_of.index_select(0, names)
            rows = torch.cat([rows, rows[:1].expand(_even(len(rows)) - len(rows))])
            row_of[names] = every[: len(names)]
            context = row_of.index_select(0, context)
            known = known.of(before.index_select(0, rows), _Some(codes, rows))
            self._learn(known, j)
        return len(self.sizes)

    def _draw_rows(self, codes: Tensor, uniform: Tensor, plan: Plan, fixed: Tensor | None, first: int) -> None:
        """Draws the variables from the `first` on, row by row."""
        summed = fixed is not None or len(self.folded) + 1 < len(self.slices)
        known = self._given(codes, codes.shape[1], first, fixed, summed)
        for j in range(first, len(self.slices)):
            if fixed is not None and bool((fixed[j] >= 0).all()):
                codes[j] = fixed[j]
            else:
                drawn = kernels.picked(self._cumulative(j, known, plan, fixed), uniform[j])
                codes[j] = drawn if fixed is None else torch.where(fixed[j] < 0, drawn, fixed[j])
            self._learn(known, j, None if fixed is None else fixed[j] < 0)

    def _given(self, codes: Codes, n: int, j: int, fixed: Tensor | None, summed: bool) -> _Known:
        """What is known of n rows before variable j is drawn."""
        places = torch.empty(n, len(self.folded) + 1, dtype=torch.int32, device=self.device)
        known = _Known(codes, places, None, self.guiding.nothing(n))
        if summed:
            known.sum = torch.zeros(n, self.embedding.shape[1], device=self.device)
        for i in range(j):
            self._learn(known, i)
        if fixed is not None and known.sum is not None:
            for i in range(j, len(fixed)):
                known.sum += self._embedded(i, fixed[i].clamp_min(0)) * (fixed[i] >= 0).float()[:, None]
        return known

    def _learn(self, known: _Known, j: int, free: Tensor | None = None) -> None:
        """Variable j is known now; the sum knows it already where it was not `free`."""
        code = known.codes[j]
        if j < known.places.shape[1]:
            known.places[:, j] = code + self.slices[j].start
        if known.sum is not None:
            more = self._embedded(j, code)
            known.sum += more if free is None else more * free.float()[:, None]
        known.guess = self.guiding.learn(known.guess, j, known.codes)

    def _embedded(self, j: int, codes: Tensor) -> Tensor:
        return F.embedding(codes + self.slices[j].start, self.embedding)

    def _cumulative(self, j: int, known: _Known, plan: Plan, fixed: Tensor | None = None) -> Tensor:
        """Running sums (n, levels) of the levels' probabilities, times a number of each row's."""
        out = self._logits(j, known, plan, fixed).mul_(LOG2_E).exp2_().cumsum_(1)  # exp_ takes three times as long
        total = out[:, -1]
        odd = ~((total > 1e-30) & (total < 1e30))  # all levels ruled out, or beyond what floats hold
        if bool(odd.any()):
            out[odd] = self._logits(j, known, plan, fixed)[odd].softmax(1).cumsum_(1)
        return out

    def _logits(self, j: int, known: _Known, plan: Plan, fixed: Tensor | None) -> Tensor:
        h = F.relu_(self._entered(j, known, fixed))
        h = h.add_(self.linear_relu(h, *self.hidden[j]))
        logits = self.linear(h, *self.leave[j])
        for i, table in self.tables[j].items():
            logits += F.embedding(known.codes[i], table)
        step = self._step(j, known)
        if step is not None:
            logits += F.embedding(step, self.steps[j])
        self._limit(logits, j, known.codes, plan, fixed)
        return logits

    def _limit(self, logits: Tensor, j: int, codes: Codes, plan: Plan, fixed: Tensor | None) -> None:
        if j in plan.shares:
            logits += plan.shares[j]
        if j in plan.chains:
            logits += F.embedding(codes[j - 1], plan.chains[j])
        if fixed is not None:
            for later, table in self.backwards[j].items():
                logits += F.embedding(fixed[later].clamp_min(0), table) * (fixed[later] >= 0).float()[:, None]

    def _step(self, j: int, known: _Known) -> Tensor | None:
        """The step (n,) of variable j's guide, if it has one."""
        if j in self.steppers:
            m, step = self.steppers[j]
            return step(known.guess[:, m])
        return self.guiding.step(j, known.guess, known.codes)

    def _entered(self, j: int, known: _Known, fixed: Tensor | None) -> Tensor:
        """What the first layer says (n, width)."""
        weight, bias = self.enter[j]
        if known.sum is not None and (fixed is not None or j > len(self.folded)):
            return self.linear(known.sum, weight, bias)
        if j == 0:
            return bias.repeat(len(known.guess), 1)
        return F.embedding_bag(known.places[:, :j], self.folded[j - 1], mode="sum")


def inner(uniform: NDArray[np.float32]) -> Tensor:
    """The numbers, moved a little from 0 and 1; in their memory."""
    return torch.from_numpy(uniform).mul_(1 - 2 * EDGE).add_(EDGE)


def _even(n: int) -> int:
    """A few more: oneDNN prepares a routine for each new number of rows, which takes longer than to run it."""
    unit = 64 if n <= 512 else 1_024
    return -(-n // unit) * unit


class _Some:
    """The codes (v, n) of some rows, each variable's gathered when it is asked for."""

    def __init__(self, codes: Tensor, rows: Tensor) -> None:
        self.codes, self.rows = codes, rows

    def __getitem__(self, j: int, /) -> Tensor:
        return self.codes[j].index_select(0, self.rows)

    def part(self, some: slice) -> _Some:
        return _Some(self.codes, self.rows[some])


def rule_tables(rules: list[tuple[int, int, NDArray[np.bool_]]]) -> Rules:
    return Rules([(i, j) for i, j, _ in rules], [torch.from_numpy(table).float() * NEVER for _, _, table in rules])
