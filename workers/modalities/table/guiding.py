"""Guides at work: additive predictions of numbers from the codes before them, cut into steps. See guides for their fit.

The predictions are fixed; what a step says of a code is a table that the generator learns."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 64  # into which predictions are cut
FINE = 8  # steps to the width of a cell; so many beside it on either side as well


class Codes(Protocol):
    """The codes of some rows: each variable's (n,)."""

    def __getitem__(self, j: int, /) -> Tensor: ...


class Guiding(nn.Module):
    """`terms` are variables whose codes together add to the predictions (d of them); `coarse` and `fine` are (variable,
    prediction): a coarse code is guided by where the prediction lies among all, a fine one by where it lies in the cell
    that the variable before it names."""

    COARSE, FINE = STEPS, 3 * FINE
    edges: Tensor
    low: Tensor
    reach: Tensor

    def __init__(
        self, sizes: list[int], terms: list[list[int]], coarse: list[list[int]], fine: list[list[int]]
    ) -> None:
        super().__init__()
        self.sizes, self.terms, self.coarse, self.fine = sizes, terms, coarse, fine
        d = len(coarse)
        for n, variables in enumerate(terms):
            self.register_buffer(f"term{n}", torch.zeros(math.prod(sizes[i] for i in variables), d))
        longest = max((sizes[j - 1] for j, _ in fine), default=1)
        self.register_buffer("edges", torch.zeros(d, STEPS - 1))
        self.register_buffer("low", torch.zeros(len(fine), longest))
        self.register_buffer("reach", torch.ones(len(fine), longest))
        self._coarse = {j: n for n, (j, _) in enumerate(coarse)}
        self._fine = {j: n for n, (j, _) in enumerate(fine)}
        self._ends: dict[int, list[int]] = {}
        for n, variables in enumerate(terms):
            self._ends.setdefault(variables[-1], []).append(n)

    def height(self, j: int) -> int:
        """Steps of variable j's guide."""
        return self.COARSE if j in self._coarse else self.FINE

    def nothing(self, n: int) -> Tensor:
        return self.edges.new_zeros(n, len(self.coarse))

    def learn(self, guess: Tensor, j: int, codes: Codes) -> Tensor:
        """Predictions (n, d) once variable j of the codes (v, n) is known."""
        for n in self._ends.get(j, ()) if guess.shape[1] else ():
            combined = codes[self.terms[n][0]]
            for i in self.terms[n][1:]:
                combined = combined * self.sizes[i] + codes[i]
            guess = guess + F.embedding(combined, getattr(self, f"term{n}"))
        return guess

    def step(self, j: int, guess: Tensor, codes: Codes) -> Tensor | None:
        """The step (n,) of variable j's guide, if it has one."""
        if j in self._coarse:
            n = self._coarse[j]
            return torch.bucketize(guess[:, self.coarse[n][1]].contiguous(), self.edges[n])
        if j in self._fine:
            n = self._fine[j]
            before = codes[j - 1]
            inside = (guess[:, self.fine[n][1]] - self.low[n][before]) / self.reach[n][before]
            return (inside * FINE + FINE).floor().clamp_(0, self.FINE - 1).long()
        return None

    def steps(self, codes: Tensor) -> Tensor:
        """The steps (v, n) of whole rows (v, n), 0 for variables without a guide. A prediction depends on the codes
        before its variable alone: the weights of all others are zero."""
        out = torch.zeros_like(codes)
        if not self.coarse:
            return out
        guess = self.nothing(codes.shape[1])
        for j in self._ends:
            guess = self.learn(guess, j, codes)
        all_ = guess.T.contiguous()
        out[[j for j, _ in self.coarse]] = torch.searchsorted(self.edges, all_[[m for _, m in self.coarse]])
        if self.fine:
            which, before = [j for j, _ in self.fine], codes[[j - 1 for j, _ in self.fine]]
            inside = (all_[[m for _, m in self.fine]] - self.low.gather(1, before)) / self.reach.gather(1, before)
            out[which] = (inside * FINE + FINE).floor().clamp_(0, self.FINE - 1).long()
        return out
