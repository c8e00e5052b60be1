"""A generator brought to what is known of the rows: its samples' shares and tables to those that were told with noise.

That looks at no row, so it costs no privacy. Two tables into one variable say some things twice: raking mends that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from workers.modalities.table.fields import Floats
from workers.modalities.table.networks import Generator
from workers.modalities.table.relations import joint
from workers.modalities.table.sampling import FastGenerator

CODES, LEAST, MOST = 2_000_000, 2_000, 20_000  # drawn in each round, and rows of them
PACE = 0.5  # of the way that is gone in each round
PRIOR = 5.0  # rows by which a level that is hardly drawn counts as one that is drawn as it should be
LARGEST = 2.0  # change of a logit in a round


@torch.no_grad()
def rake(
    network: Generator,
    shares: Sequence[Floats],
    pairs: Mapping[tuple[int, int], Floats],
    rng: np.random.Generator,
    rounds: int,
) -> None:
    """`shares` of the levels of each variable; `pairs` are P(later | earlier) for pairs that have a table."""
    rows = int(np.clip(CODES // max(1, len(shares)), LEAST, MOST))
    for _ in range(rounds):
        codes = FastGenerator(network, network.rules, str(network.embedding.device)).draw(rows, rng)
        for j, share in enumerate(shares):
            head, r = network.place[j]
            drawn = np.bincount(codes[:, j], minlength=len(share)).astype(float)
            _add(head.bias[r, 0, : len(share)], _log_change(share, drawn))
        for (i, j), given in pairs.items():
            slot = [a for a, b in network.shape.pairs if b == j].index(i)
            head, r = network.place[j]
            drawn = joint(codes[:, i], codes[:, j], len(shares[i]), len(shares[j]))
            change = _log_change(given, drawn) / sum(1 for _, b in pairs if b == j)
            _add(head.table(slot, r, len(given)), change - (shares[j] * change).sum(1, keepdims=True))


def _log_change(wanted: Floats, drawn: Floats) -> Floats:
    """By how much logits are off, along the last axis."""
    wanted = np.maximum(wanted, 1e-6)
    total = drawn.sum(-1, keepdims=True)
    out: Floats = np.log(wanted * (total + PRIOR)) - np.log(drawn + PRIOR * wanted)
    return PACE * np.clip(out, -LARGEST, LARGEST)


def _add(parameter: torch.Tensor, change: Floats) -> None:
    parameter.add_(torch.from_numpy(change).to(parameter.device, parameter.dtype))
