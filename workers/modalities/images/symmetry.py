"""What may be done to pictures without anybody noticing: mirrored ones teach more where left and right look alike.

A small network tries to tell mirrored pictures from the others. Faces and landscapes leave it guessing; digits, text
and cars on the right of the road do not."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from workers.modalities.images import metrics
from workers.modalities.images.codec import Codec
from workers.modalities.images.files import Pictures

ASKED = 1_000  # pictures at most: half to learn from, half to be asked about
FEWEST = 50  # with fewer nobody could tell
ALIKE = 0.6  # accuracy up to which pictures and their mirror images count as alike; half is guessing


def mirrors(pictures: Pictures, codec: Codec, seed: int = 0) -> bool:
    """Whether these pictures look like their mirror images; deterministic, a few seconds."""
    if len(pictures) < FEWEST:
        return False
    rows = np.random.default_rng(seed).permutation(len(pictures))[:ASKED]
    learned, asked = (_both_ways(pictures, codec, half) for half in np.array_split(rows, 2))
    teller = metrics.classifier(*learned, classes=2, seed=seed)
    x, truth = asked
    return float((teller.read(x) == truth).mean()) <= ALIKE


def _both_ways(pictures: Pictures, codec: Codec, rows: NDArray[np.int64]) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Small versions of these pictures and of their mirror images, in random order, and which is which."""
    pieces = (rows[at : at + codec.at_once] for at in range(0, len(rows), codec.at_once))
    x = torch.cat([metrics.reduced(codec.encode(pictures.take(piece))) for piece in pieces])
    return torch.cat([x, x.flip(3)]), np.repeat(np.array([0, 1]), len(x))
