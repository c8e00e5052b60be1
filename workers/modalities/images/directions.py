"""Directions fitted to labelled pictures: which way a latent has to go for its picture to look more like a label.

Real pictures teach a reader to tell labels apart; the reader looks at the generator's own samples; and a linear fit
says how its opinion follows the latent (as in InterFaceGAN, Shen et al. 2020). Within classes: a direction changes how
a picture looks, not the class that it was asked to be of."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "directions.safetensors"
SAMPLES = 2_000  # that the reader looks at
ALIKE = 1e-6  # standard deviation of a reader's opinion, under which it has none
RIDGE = 1.0  # of SAMPLES: what 2,000 samples say of 64 numbers is hardly shrunk

Reader = Callable[[Tensor], Tensor]  # pictures (n, c, h, w) -> how much they look like each of k names (n, k)


@dataclass(frozen=True)
class Directions:
    """Unit directions of the latent (k, 64), by name, and what share of the reader's opinion each explains."""

    names: list[str]
    rows: Tensor
    explained: list[float]

    def of(self, name: str) -> Tensor | None:
        return self.rows[self.names.index(name)] if name in self.names else None

    def save(self, path: Path) -> None:
        # one entry: safetensors writes several in an order that differs from run to run
        told = json.dumps({"names": self.names, "explained": self.explained})
        save_file({"directions": self.rows.contiguous()}, path, metadata={"mintage": told})

    @staticmethod
    def load(path: Path) -> "Directions":
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {})["mintage"])
            return Directions(told["names"], file.get_tensor("directions"), told["explained"])


def log_odds(logits: Tensor) -> Tensor:
    """(n, k) logits of k > 1 labels, of which one is true -> the log-odds of each against all others.

    From the logits, not from probabilities: of a label that leaves no doubt these are all 1."""
    sure = logits.double()
    first = torch.zeros_like(sure, dtype=torch.bool).scatter_(1, sure.argmax(1, keepdim=True), True)
    every = sure.logsumexp(1, keepdim=True)
    rest = sure.masked_fill(first, -torch.inf).logsumexp(1, keepdim=True)
    share = (sure - every).masked_fill(first, -torch.inf).exp()  # at most a half: what is left of 1 is exact
    return torch.where(first, sure - rest, sure - every - torch.log1p(-share))


def opinion(log_odds: Tensor) -> Tensor:
    """The same, but flatter the surer: where there is doubt a reader's opinion counts most, and for nothing nowhere."""
    return log_odds.asinh()


def fitted(names: list[str], latent: Tensor, pictures: Tensor, groups: Tensor, reader: Reader) -> Directions:
    """The direction of each name, from samples (n, c, h, w) of latents (n, 64) whose classes (n,) are `groups`; none of
    a name that all samples of a class look alike to."""
    with torch.no_grad():
        seen = torch.cat([reader(piece) for piece in torch.split(pictures, 500)]).double()
    said, z = _within(seen, groups), _within(latent.double(), groups)
    weights = torch.linalg.solve(z.T @ z + RIDGE * torch.eye(z.shape[1], dtype=z.dtype), z.T @ said)
    left = (said - z @ weights).square().sum(0)
    explained = 1 - left / said.square().sum(0).clamp_min(1e-12)
    told = torch.nonzero(said.std(0) > ALIKE)[:, 0].tolist()
    rows = torch.nn.functional.normalize(weights.T[told], dim=1)
    return Directions([names[i] for i in told], rows.float(), [round(float(explained[i]), 4) for i in told])


def _within(values: Tensor, groups: Tensor) -> Tensor:
    """(n, k) less the mean of each one's group."""
    _, group = torch.unique(groups, return_inverse=True)
    count = torch.bincount(group).to(values.dtype)[:, None]
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, group, values)
    return values - (sums / count)[group]
