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
CERTAIN = 10.0  # log-odds beyond which readers differ by nothing that can be seen
RIDGE = 1.0  # of SAMPLES: what 2,000 samples say of 64 numbers is hardly shrunk

Reader = Callable[[Tensor], Tensor]  # pictures (n, c, h, w) -> logits (n, k), a column a name


@dataclass(frozen=True)
class Directions:
    """Unit directions of the latent (k, 64), by name, and what share of the reader's opinion each explains."""

    names: list[str]
    rows: Tensor
    explained: list[float]

    def of(self, name: str) -> Tensor | None:
        return self.rows[self.names.index(name)] if name in self.names else None

    def save(self, path: Path) -> None:
        told = {"names": json.dumps(self.names), "explained": json.dumps(self.explained)}
        save_file({"directions": self.rows.contiguous()}, path, metadata=told)

    @staticmethod
    def load(path: Path) -> "Directions":
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            return Directions(json.loads(told["names"]), file.get_tensor("directions"), json.loads(told["explained"]))


def log_odds(logits: Tensor) -> Tensor:
    """(n, k) logits of k labels, of which one is true -> the log-odds of each against all others."""
    sure = torch.log_softmax(logits.double(), 1)
    return (sure - torch.log(-torch.expm1(sure))).clamp(-CERTAIN, CERTAIN)


def fitted(names: list[str], latent: Tensor, pictures: Tensor, groups: Tensor, reader: Reader) -> Directions:
    """The direction of each name, from samples (n, c, h, w) of latents (n, 64) whose classes (n,) are `groups`."""
    with torch.no_grad():
        seen = torch.cat([reader(piece) for piece in torch.split(pictures, 500)])
    opinion = _within(log_odds(seen), groups)
    z = _within(latent.double(), groups)
    weights = torch.linalg.solve(z.T @ z + RIDGE * torch.eye(z.shape[1], dtype=z.dtype), z.T @ opinion)
    left = (opinion - z @ weights).square().sum(0)
    explained = 1 - left / opinion.square().sum(0).clamp_min(1e-12)
    rows = torch.nn.functional.normalize(weights.T, dim=1)
    return Directions(names, rows.float(), [round(float(share), 4) for share in explained])


def _within(values: Tensor, groups: Tensor) -> Tensor:
    """(n, k) less the mean of each one's group."""
    _, group = torch.unique(groups, return_inverse=True)
    count = torch.bincount(group).to(values.dtype)[:, None]
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, group, values)
    return values - (sums / count)[group]
