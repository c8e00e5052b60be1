"""Generator and discriminator of a table's codes. Knows sizes; nothing of columns or files.

A row is v codes, drawn one after the other: each from what is known then, which are the codes before it and those that
a condition fixes, wherever they stand. As the networks see it, a row is the one-hots of all its codes (n, k)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.modalities.table.guiding import Guiding

NEVER = -30.0  # added to the logit of a level that cannot be
BUCKETS = (8, 24, 64, 160, 400)  # variables of about as many levels are computed together, padded
PARENTS = 2  # tables of its strongest predecessors that a variable has, at most; one more is its guide's


@dataclass(frozen=True)
class Shape:
    """What both networks are built from; JSON in a model's config."""

    sizes: list[int]  # levels of each variable, in the order in which they are drawn
    pairs: list[list[int]]  # (earlier, later) variables with a table of their own, PARENTS of a later one at most
    terms: list[list[int]] = field(default_factory=list)  # variables whose codes together add to the predictions
    coarse: list[list[int]] = field(default_factory=list)  # (variable, prediction) that guides it
    fine: list[list[int]] = field(default_factory=list)  # the same, for a variable that is finer than the one before it
    width: int = 64
    width_discriminator: int = 192
    views: int = 0  # numbers that the discriminator is told beside the one-hots
    dropout: float = 0.0

    @property
    def levels(self) -> int:
        return sum(self.sizes)

    @property
    def slices(self) -> list[slice]:
        ends = [0, *itertools.accumulate(self.sizes)]
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Start:
    """What the generator knows before it is trained, from counts over the training rows."""

    shares: list[Tensor]  # for each variable the logarithm of its levels' shares
    pairs: list[Tensor]  # for each pair of the shape: log P(later | earlier) / P(later)
    steps: dict[int, Tensor]  # for each guided variable: log P(level | step of its guide) / P(level)
    guiding: Guiding


@dataclass(frozen=True)
class Rules:
    """Levels that never meet: tables (earlier's levels, later's levels) of 0 and NEVER."""

    pairs: list[tuple[int, int]] = field(default_factory=list)
    tables: list[Tensor] = field(default_factory=list)

    def into(self, v: int) -> list[list[tuple[int, Tensor]]]:
        """For each variable the earlier ones that rule it, with their tables."""
        out: list[list[tuple[int, Tensor]]] = [[] for _ in range(v)]
        for (i, j), table in zip(self.pairs, self.tables, strict=True):
            out[j].append((i, table))
        return out


class Heads(nn.Module):
    """The last step to the logits of variables of about as many levels: a matrix each, and rows of tables.

    `rows` (PARENTS + 1, variables) is where each of a variable's tables begins, 0 if it has none: row 0 is zero."""

    rows: Tensor
    blank: Tensor

    def __init__(self, shape: Shape, variables: list[int], start: Start | None) -> None:
        super().__init__()
        self.variables, self.sizes = variables, [shape.sizes[j] for j in variables]
        self.size = max(self.sizes)
        tables, rows = self._tables(shape, start)
        self.leave = nn.Parameter((torch.rand(len(variables), shape.width, self.size) - 0.5) * 0.6 / shape.width**0.5)
        self.bias = nn.Parameter(torch.zeros(len(variables), 1, self.size))
        self.tables = nn.Parameter(tables)
        self.register_buffer("rows", rows, persistent=False)
        self._begins: list[list[int]] = rows.tolist()  # the same for who would otherwise wait for the device
        blank = (torch.arange(self.size)[None] >= torch.tensor(self.sizes)[:, None]).float() * -1e4
        self.register_buffer("blank", blank.unsqueeze(1), persistent=False)
        if start is not None:
            with torch.no_grad():
                for r, j in enumerate(variables):
                    self.bias[r, 0, : shape.sizes[j]] = start.shares[j]

    def _tables(self, shape: Shape, start: Start | None) -> tuple[Tensor, Tensor]:
        rows = torch.zeros(PARENTS + 1, len(self.variables), dtype=torch.long)
        parts, end = [torch.zeros(1, self.size)], 1
        guides = {j: Guiding.COARSE for j, _ in shape.coarse} | {j: Guiding.FINE for j, _ in shape.fine}
        for r, j in enumerate(self.variables):
            into = [n for n, (_, later) in enumerate(shape.pairs) if later == j]
            own = [
                (slot, shape.sizes[shape.pairs[n][0]], start.pairs[n] if start else None) for slot, n in enumerate(into)
            ]
            if j in guides:
                own.append((PARENTS, guides[j], start.steps[j] if start else None))
            for slot, height, known in own:
                table = torch.zeros(height, self.size)
                if known is not None:
                    table[:, : known.shape[1]] = known
                parts.append(table)
                rows[slot, r] = end
                end += height
        return torch.cat(parts), rows

    def forward(self, h: Tensor, at: Tensor) -> Tensor:
        """Logits (variables, n, size) of hidden units (variables, n, width) and tables' rows (slots, variables, n)."""
        logits = torch.baddbmm(self.bias + self.blank, h, self.leave)
        for slot in at:
            logits = logits + F.embedding(slot, self.tables, padding_idx=0)
        return logits

    def one(self, r: int) -> tuple[Tensor, Tensor]:
        """Matrix (width, levels) and bias (levels,) of the r-th variable."""
        return self.leave[r, :, : self.sizes[r]], self.bias[r, 0, : self.sizes[r]]

    def table(self, slot: int, r: int, height: int) -> Tensor:
        """(height, levels) of a table of the r-th variable."""
        begin = self._begins[slot][r]
        return self.tables[begin : begin + height, : self.sizes[r]]


class Generator(nn.Module):
    """The logits of a code are a table's rows for its strongest predecessors and its guide, plus what two layers of its
    own make of the sum of the embeddings of all that is known."""

    offsets: Tensor
    parents: Tensor

    def __init__(self, shape: Shape, start: Start | None = None) -> None:
        super().__init__()
        v, k, width = len(shape.sizes), shape.levels, shape.width
        self.shape, self.slices = shape, shape.slices
        self.rules = Rules()
        self.register_buffer("offsets", torch.tensor([part.start for part in self.slices]).long(), persistent=False)
        self.embedding = nn.Parameter(torch.randn(k, width) * 0.3)
        self.enter = nn.Parameter(torch.randn(v, width, width) / width**0.5)
        self.enter_bias = nn.Parameter(torch.zeros(v, 1, width))
        self.hidden = nn.Parameter(torch.randn(v, width, width) * 0.5 / width**0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(v, 1, width))
        self.guiding = Guiding(shape.sizes, shape.terms, shape.coarse, shape.fine)
        if start is not None:
            self.guiding.load_state_dict(start.guiding.state_dict())
        self.heads = nn.ModuleList(Heads(shape, some, start) for some in _buckets(shape.sizes))
        self.place = {j: (head, r) for head in self._heads() for r, j in enumerate(head.variables)}
        self.register_buffer("parents", _parents(shape), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Generator:
        """The rules go to another device with the rest."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.rules = Rules(self.rules.pairs, [fn(table) for table in self.rules.tables])
        return self

    def _heads(self) -> list[Heads]:
        return [head for head in self.heads if isinstance(head, Heads)]

    # -- given whole rows --

    def likelihood(self, codes: Tensor, fixed: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
        """-log p (n, v) in nats of each code given those before it and the `fixed` ones (n, v: 1 where fixed).

        With `rng` (on the CPU) inputs and hidden units are dropped at random, as the shape's `dropout` says."""
        out = torch.empty(codes.shape, device=codes.device)
        if not codes.numel():
            return out
        e = F.embedding((codes + self.offsets).T, self.embedding)
        if rng is not None and self.shape.dropout:
            e = e * self._kept(codes.shape, rng, self.shape.dropout / 2).T.unsqueeze(2)
        if fixed is None:
            known = running(e) - e
        else:  # what stands before, and what is fixed elsewhere
            free = e * (1 - fixed).T.unsqueeze(2)
            known = running(free) - e + (e - free).sum(0)
        h = F.relu(torch.baddbmm(self.enter_bias, known, self.enter))
        h = h + F.relu(torch.baddbmm(self.hidden_bias, h, self.hidden))
        if rng is not None and self.shape.dropout:
            h = h * self._kept(h.shape, rng, self.shape.dropout)
        at = self._at(codes.T)
        columns: list[int] = []
        losses = []
        for head in self._heads():
            which = head.variables
            rows = head.rows.unsqueeze(2)
            logits: Tensor = head(h[which], torch.where(rows > 0, at[:, which] + rows, 0))
            goal = codes[:, which].T
            loss = F.cross_entropy(logits.flatten(0, 1), goal.flatten(), reduction="none").view_as(goal)
            columns += which
            losses.append(loss)
        order = torch.tensor(columns, device=codes.device).argsort()
        return torch.cat(losses)[order].T

    def _at(self, codes: Tensor) -> Tensor:
        """Which row of each of its tables a code needs (slots, v, n), from whole rows (v, n)."""
        steps = self.guiding.steps(codes)
        return torch.cat([codes[self.parents], steps.unsqueeze(0)])

    def _kept(self, size: Sequence[int], rng: torch.Generator, share: float) -> Tensor:
        """0 for what is dropped, else what makes up for it."""
        mask = torch.rand(*size, generator=rng).ge_(share).div_(1 - share)
        return mask.to(self.embedding.device, non_blocking=True)

    # -- from noise --

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, k): the Gumbel noise of each level."""
        uniform = torch.rand(n, self.shape.levels, generator=rng, device=rng.device).clamp_(1e-9, 1 - 1e-7)
        return -torch.log(-torch.log(uniform))

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """One-hots (n, k), by straight-through Gumbel draws; `condition` (n, k) holds the one-hots of what is fixed."""
        n, v = len(latent), len(self.slices)
        known = latent.new_zeros(n, self.shape.width) if condition is None else condition @ self.embedding
        codes = torch.zeros(v, n, dtype=torch.long, device=latent.device)
        guess = self.guiding.nothing(n)
        rules = self.rules.into(v)
        drawn: list[Tensor] = []
        for j, part in enumerate(self.slices):
            logits = self._logits(j, known, drawn, guess, codes)
            for i, table in rules[j]:
                logits = logits + F.embedding(codes[i], table)
            y = straight_through(logits + latent[:, part])
            free = y
            if condition is not None:
                given = condition[:, part]
                free = (1 - given.sum(1, keepdim=True)) * y
                y = given + free
            known = known + free @ self.embedding[part]
            drawn.append(y)
            codes[j] = y.detach().argmax(1)
            guess = self.guiding.learn(guess, j, codes)
        return torch.cat(drawn, 1) if drawn else latent

    def _logits(self, j: int, known: Tensor, drawn: list[Tensor], guess: Tensor, codes: Tensor) -> Tensor:
        h = F.relu(torch.addmm(self.enter_bias[j], known, self.enter[j]))
        h = h + F.relu(torch.addmm(self.hidden_bias[j], h, self.hidden[j]))
        head, r = self.place[j]
        weight, bias = head.one(r)
        logits = torch.addmm(bias, h, weight)
        for i, table in self.tables_into(j):
            logits = logits + drawn[i] @ table
        step = self.guiding.step(j, guess, codes)
        if step is not None:
            logits = logits + F.embedding(step, head.table(PARENTS, r, self.guiding.height(j)))
        return logits

    def tables_into(self, j: int) -> list[tuple[int, Tensor]]:
        """The earlier variables to which j has a table, and these (levels of i, levels of j)."""
        head, r = self.place[j]
        into = [i for i, later in self.shape.pairs if later == j]
        return [(i, head.table(slot, r, self.shape.sizes[i])) for slot, i in enumerate(into)]


class _Running(torch.autograd.Function):
    """Sums from the first on along a leading dimension. Row by row: on a CPU torch.cumsum takes four times as long,
    as it goes through memory in the other direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.clone()
        for before, row in itertools.pairwise(out.unbind(0)):
            row += before
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        out = grad.clone(memory_format=torch.contiguous_format)
        for before, row in itertools.pairwise(reversed(out.unbind(0))):
            row += before
        return out


def running(x: Tensor) -> Tensor:
    """(v, ...) to the sums over the first 1, 2 ... v."""
    out: Tensor = torch.cumsum(x, 0) if x.is_cuda else _Running.apply(x)  # type: ignore[no-untyped-call]
    return out


def _buckets(sizes: list[int]) -> list[list[int]]:
    """Variables of about as many levels."""
    ends = [*BUCKETS, *sorted(size for size in set(sizes) if size > BUCKETS[-1])]
    groups = [[j for j, size in enumerate(sizes) if low < size <= high] for low, high in itertools.pairwise([0, *ends])]
    return [group for group in groups if group]


def _parents(shape: Shape) -> Tensor:
    """(PARENTS, v): the earlier variable of each of a variable's tables, 0 where it has none."""
    out = torch.zeros(PARENTS, len(shape.sizes), dtype=torch.long)
    used = [0] * len(shape.sizes)
    for i, j in shape.pairs:
        out[used[j], j] = i
        used[j] += 1
    return out


def straight_through(logits: Tensor) -> Tensor:
    """The one-hot of the largest, with the softmax's gradient (Jang et al. 2017, temperature 1)."""
    soft = logits.softmax(1)
    hard = torch.zeros_like(soft).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
    return hard + soft - soft.detach()


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.leaky_relu(self.linear(x), 0.2)


class Discriminator(nn.Module):
    """A row and what was fixed in it to a score. No normalisation: the gradient penalties are per row."""

    views: Tensor
    belongs: Tensor

    def __init__(self, shape: Shape, views: Tensor | None = None) -> None:
        super().__init__()
        v, width = len(shape.sizes), shape.width_discriminator
        self.register_buffer("views", torch.zeros(shape.levels, shape.views) if views is None else views)
        self.enter = nn.Linear(shape.levels + shape.views, width)
        self.fixed = nn.Linear(v, width, bias=False)
        self.blocks = nn.ModuleList([Residual(width) for _ in range(2)])
        self.leave = nn.Linear(width, 1)
        of = torch.repeat_interleave(torch.arange(v), torch.tensor(shape.sizes, dtype=torch.long))
        self.register_buffer("belongs", F.one_hot(of, max(v, 1))[:, :v].float(), persistent=False)
        nn.init.normal_(self.leave.weight, std=0.05)
        nn.init.zeros_(self.fixed.weight)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        y = self.enter(torch.cat([x, x @ self.views], 1))
        if condition is not None:
            y = y + self.fixed(condition @ self.belongs)
        y = F.leaky_relu(y, 0.2)
        for block in self.blocks:
            y = block(y)
        score: Tensor = self.leave(y).squeeze(1)
        return score
