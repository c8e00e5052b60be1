"""The few sums on which sampling spends its time, in the way that this machine does them fastest. No gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]  # (n, in), (out, in), (out,) -> (n, out)
Both = tuple[Linear, Linear]
COUNTED = 64  # levels up to which they are counted, not searched
CELLS, ROUNDS = 1_024, 4  # of an index to the edges of steps; edges in one cell of it, at most


def linear(device: str) -> Both:
    """Without and with a ReLU after it. On a CPU those of oneDNN, where they are to be had: twice as fast as MKL's on
    AMD (docs/LOG.md)."""
    return (_pointwise, _rectified) if device == "cpu" and _works() else (F.linear, _linear_relu)


def _linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.relu_(F.linear(x, weight, bias))


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _rectified(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu", [], "")
    return out


def _works() -> bool:
    """PyTorch's compiler calls it; as it is not documented, a small sum decides."""
    x, weight, bias = torch.ones(3, 2), torch.tensor([[1.0, 2.0]]), torch.tensor([0.5])
    try:
        same = _pointwise(x, weight, bias) == 3.5
        return bool((same & (_rectified(x, -weight, bias) == 0.0)).all())
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


def picked(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """The level (n,) at a share `uniform` of each row's total, from running sums (n, levels)."""
    goal, last = (uniform * cumulative[:, -1]).unsqueeze(1), cumulative.shape[1] - 1
    if last < COUNTED:  # counting does not wait for a branch to be guessed
        below = torch.le(cumulative, goal, out=torch.empty_like(cumulative))
        return below.mv(below.new_ones(last + 1)).long().clamp_(max=last)
    return torch.searchsorted(cumulative, goal, right=True).squeeze(1).clamp_(max=last)


def stepper(edges: Tensor) -> Callable[[Tensor], Tensor]:
    """torch.bucketize for these edges (sorted): by an index of even cells where edges are spread out enough."""
    low = float(edges[0]) if len(edges) else 0.0
    reach = float(edges[-1]) - low if len(edges) else 0.0
    scale = (CELLS - 2) / reach if reach > 0 else 0.0
    counts = torch.bincount(_cell(edges, low, scale), minlength=CELLS)
    rounds = int(counts.max())
    if not scale < 1e30 or rounds > ROUNDS:
        return lambda x: torch.bucketize(x.contiguous(), edges)
    first = counts.cumsum(0) - counts  # edges in the cells before: all below whatever lies in this one
    ends = torch.cat([edges, edges.new_full((rounds,), float("inf"))])

    def step(x: Tensor) -> Tensor:
        out = first.index_select(0, _cell(x, low, scale))
        for _ in range(rounds):
            out += x > ends.index_select(0, out)
        return out

    return step


def _cell(x: Tensor, low: float, scale: float) -> Tensor:
    """Rises with x, so that what lies in an earlier cell is less."""
    return x.sub(low).mul_(scale).add_(1.0).clamp_(0, CELLS - 1).long()
