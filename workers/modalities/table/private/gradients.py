"""Gradients of the generator's likelihood, clipped row by row, at about the cost of those of a whole batch.

Every weight is used once for a row, in a product of what comes in and what is asked of what goes out. So the norm of a
row's gradient follows from the norms of these two (Goodfellow 2015), and the sum of clipped gradients from scaling one
of them: no row's gradient is ever written down. The product of sizes that this saves is rows times weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.modalities.table.networks import Generator, Heads


def clipped(network: Generator, codes: Tensor, fixed: Tensor, clip: float) -> tuple[dict[str, Tensor], Tensor]:
    """The sum over rows (n, v) of the gradients of their losses, each scaled down to the norm `clip` at most, by
    parameter; and the norms (n,) as they were. A row's loss is that of its codes that are not fixed."""
    with torch.enable_grad():
        taps, into = _taps(network, codes, fixed)
        slopes = torch.autograd.grad(taps[0], taps[1:])
    norms = _norms(network, slopes, into)
    scale = (clip / norms.clamp_min(1e-12)).clamp_max(1.0)
    scaled = [torch.where(norms.isfinite().view(_along(i)), s * scale.view(_along(i)), 0) for i, s in enumerate(slopes)]
    return _sums(network, codes, scaled, into), norms


def _along(place: int) -> tuple[int, ...]:
    """Rows come first in the embeddings' slopes, second in all others."""
    return (-1, 1, 1) if place == 0 else (1, -1, 1)


Into = tuple[Tensor, Tensor, Tensor, list[Tensor]]  # what enters, what is hidden, what leaves, tables' rows


def _taps(network: Generator, codes: Tensor, fixed: Tensor) -> tuple[list[Tensor], Into]:
    """The loss of all rows and what its slopes are wanted of: embeddings (n, v, w), sums before both layers (v, n, w)
    and logits (variables, n, size) of each head. As `Generator.likelihood` has them; a test holds them together."""
    e = F.embedding(codes + network.offsets, network.embedding.detach()).requires_grad_()
    later = e * fixed.unsqueeze(2)
    known = torch.cumsum(e, 1) - e + later.sum(1, keepdim=True) - torch.cumsum(later, 1)
    known = known.transpose(0, 1)
    first = torch.baddbmm(network.enter_bias, known, network.enter)
    h = F.relu(first)
    second = torch.baddbmm(network.hidden_bias, h, network.hidden)
    out = h + F.relu(second)
    at = network._at(codes.T)
    logits, rows, loss = [], [], codes.new_zeros((), dtype=torch.float32)
    for head in network._heads():
        which, own = head.variables, head.rows.unsqueeze(2)
        rows.append(torch.where(own > 0, at[:, which] + own, 0))
        logits.append(head(out[which], rows[-1]))
        goal = codes[:, which].T
        each = F.cross_entropy(logits[-1].flatten(0, 1), goal.flatten(), reduction="none").view_as(goal)
        loss = loss + (each * (1 - fixed[:, which].T)).sum()
    return [loss, e, first, second, *logits], (known.detach(), h.detach(), out.detach(), rows)


def _norms(network: Generator, slopes: tuple[Tensor, ...], into: Into) -> Tensor:
    known, hidden, out, rows = into
    square = slopes[0].square().sum((1, 2))
    for enters, slope in ((known, slopes[1]), (hidden, slopes[2])):
        square = square + ((enters.square().sum(2) + 1) * slope.square().sum(2)).sum(0)
    for head, slope, at in zip(network._heads(), slopes[3:], rows, strict=True):
        uses = out[head.variables].square().sum(2) + 1 + (at > 0).sum(0)
        square = square + (uses * slope.square().sum(2)).sum(0)
    return square.sqrt()


def _sums(network: Generator, codes: Tensor, slopes: list[Tensor], into: Into) -> dict[str, Tensor]:
    known, hidden, out, rows = into
    width = network.shape.width
    sums = {
        "embedding": torch.zeros_like(network.embedding).index_add_(
            0, (codes + network.offsets).flatten(), slopes[0].reshape(-1, width)
        ),
        "enter": known.transpose(1, 2) @ slopes[1],
        "enter_bias": slopes[1].sum(1, keepdim=True),
        "hidden": hidden.transpose(1, 2) @ slopes[2],
        "hidden_bias": slopes[2].sum(1, keepdim=True),
    }
    for place, (head, slope, at) in enumerate(zip(network._heads(), slopes[3:], rows, strict=True)):
        sums |= {f"heads.{place}.{name}": value for name, value in _of_head(head, out, slope, at).items()}
    return sums


def _of_head(head: Heads, out: Tensor, slope: Tensor, at: Tensor) -> dict[str, Tensor]:
    tables = torch.zeros_like(head.tables)
    for slot in at:
        tables.index_add_(0, slot.flatten(), slope.reshape(-1, head.size))
    tables[0] = 0  # the row of those that have no table
    return {
        "leave": out[head.variables].transpose(1, 2) @ slope,
        "bias": slope.sum(1, keepdim=True),
        "tables": tables,
    }
