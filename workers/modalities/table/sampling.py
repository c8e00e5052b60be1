"""Rows from a trained generator, fast: the same distribution as its forward pass, with codes in place of one-hots.

Batch norm is folded into the linear layers, a matrix times a one-hot is a look-up, and a level is drawn from its
softmax by one uniform number instead of one Gumbel number a level."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from workers.modalities.table.networks import Generator, Residual

BATCH = 16_384  # rows that pass the network together: their activations stay in the cache
NEVER = -30.0
PILOT = 131_072  # free rows in which those that meet a condition are counted
ENOUGH, CAUTION = 300, 30  # so many must; as many again believe the network
Fixed = Mapping[int, int]  # variable to code


class FastGenerator:
    """Draws codes (n, v) and Gaussians (n, d). `bias` (k,) may be moved to calibrate the shares of levels."""

    @torch.no_grad()
    def __init__(self, network: Generator, forbidden: Tensor | None = None, device: str = "cpu") -> None:
        self.shape, self.slices, self.noise, self.device = network.shape, network.shape.slices, network.noise, device
        state = {name: value.detach().to(device, torch.float32) for name, value in network.state_dict().items()}
        self.enter = state["enter.weight"].T.contiguous(), state["enter.bias"]
        self.condition = state["condition.weight"].T.contiguous()
        self.blocks = [_folded(block, device) for block in network.trunk]  # type: ignore[arg-type]
        self.body = _folded(network.body, device)
        self.logits, self.bias = state["logits.weight"].T.contiguous(), state["logits.bias"].clone()
        self.pairs = state["pairs"] + (0 if forbidden is None else forbidden.to(device) * NEVER)
        self.backwards = self.pairs * (1 - network.earlier.to(device))
        self.inform = state["inform.weight"].T.contiguous()
        self.values = (state["values.weight"].T @ state["root"]).contiguous(), state["values.bias"] @ state["root"]
        self.skip = (state["skip"][:, None] * state["root"]).contiguous()
        self.mean = state["mean"].contiguous()
        self.offsets = torch.tensor([part.start for part in self.slices], device=device)

    @torch.no_grad()
    def draw(
        self, n: int, rng: np.random.Generator, fixed: Fixed | None = None, bias: Tensor | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """n rows; `fixed` gives some variables' codes, `bias` (k,) replaces the own. The same rng, the same rows."""
        given, bias = fixed or {}, self.bias if bias is None else bias
        parts = [self._batch(min(BATCH, n - start), rng, given, bias) for start in range(0, n, BATCH)]
        return np.concatenate([codes for codes, _ in parts]), np.concatenate([g for _, g in parts])

    def bias_given(self, fixed: Fixed) -> Tensor:
        """The bias with which rows drawn under a condition have the levels' shares that they have among freely drawn
        rows that meet it by chance. The network learned its conditions a little less well than the table as a whole."""
        free, _ = self.draw(PILOT, np.random.default_rng(0))
        met = free[np.all([free[:, i] == code for i, code in fixed.items()], axis=0)]
        bias: Tensor = self.bias.clone()
        for strength in (0.8, 0.6, 0.4) if len(met) >= ENOUGH else ():
            made, _ = self.draw(PILOT // 8, np.random.default_rng(1), fixed, bias)
            goal, now = self._shares(met), self._shares(made)
            ratio = (len(met) * goal + CAUTION * now) / ((len(met) + CAUTION) * now)
            bias = bias + strength * torch.from_numpy(np.log(ratio)).to(bias)
        return bias

    def _shares(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        counts = [np.bincount(column, minlength=size) for column, size in zip(codes.T, self.shape.sizes, strict=True)]
        shares: NDArray[np.float64] = (np.concatenate(counts).astype(np.float64) + 0.5) / (len(codes) + 0.5)
        return shares

    def _batch(
        self, n: int, rng: np.random.Generator, fixed: Fixed, bias: Tensor
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        z = torch.from_numpy(rng.standard_normal((n, self.noise), dtype=np.float32)).to(self.device)
        uniform = torch.from_numpy(rng.random((len(self.slices), n), dtype=np.float32)).to(self.device)
        rows = torch.tensor(
            [self.slices[i].start + code for i, code in fixed.items()], dtype=torch.long, device=self.device
        )
        x = F.silu(torch.addmm(self.enter[1] + self.condition[rows].sum(0), z, self.enter[0]))
        for weight, shift in self.blocks:
            x = x + F.silu(torch.addmm(shift, x, weight))
        codes = self._codes(torch.addmm(bias + self.backwards[rows].sum(0), x, self.logits), uniform, fixed)
        g = z[:, : self.shape.numbers] @ self.skip
        if self.shape.numbers:
            g = g + self._numbers(x, codes + self.offsets)
        return codes.cpu().numpy(), g.cpu().numpy()

    def _codes(self, logits: Tensor, uniform: Tensor, fixed: Fixed) -> Tensor:
        codes = torch.empty(len(logits), len(self.slices), dtype=torch.long, device=self.device)
        for i, part in enumerate(self.slices):
            if i in fixed:
                codes[:, i] = fixed[i]
                logits[:, part.stop :] += self.pairs[part.start + fixed[i], part.stop :]
                continue
            share = logits[:, part].softmax(1).cumsum_(1)
            drawn = (share < uniform[i][:, None] * share[:, -1:]).sum(1).clamp_(max=part.stop - part.start - 1)
            codes[:, i] = drawn
            if part.stop < logits.shape[1]:
                logits[:, part.stop :] += self.pairs[part, part.stop :].index_select(0, drawn)
        return codes

    def _numbers(self, x: Tensor, at: Tensor) -> Tensor:
        if at.shape[1]:
            x = x + F.embedding_bag(at, self.inform, mode="sum")
        weight, bias = self.body
        x = x + F.silu(torch.addmm(bias, x, weight))
        g = torch.addmm(self.values[1], x, self.values[0])
        return g + F.embedding_bag(at, self.mean, mode="sum") if at.shape[1] else g


def _folded(block: Residual, device: str) -> tuple[Tensor, Tensor]:
    """Linear and batch norm (in eval mode) as one matrix (in, out) and bias."""
    norm = block.norm
    if norm is None or norm.running_mean is None or norm.running_var is None:
        raise TypeError("only a block with batch norm statistics can be folded")
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = (block.linear.weight * gain[:, None]).T.contiguous()
    bias = (block.linear.bias - norm.running_mean) * gain + norm.bias
    return weight.detach().to(device), bias.detach().to(device)
