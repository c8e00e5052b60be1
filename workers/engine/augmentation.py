"""What the discriminator sees in place of samples: changes drawn apart from the samples that they are made to.

So a batch that is computed piece by piece is changed as it would be as a whole."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Changes = tuple[Tensor, ...]  # each (n, ...), on the CPU: row i is what happens to sample i


class Augmentation(Protocol):
    """Both are pure; `changed` is differentiable in the samples."""

    def drawn(self, shape: Sequence[int], share: float, rng: torch.Generator) -> Changes:
        """What happens to samples of this shape (n, ...), of which that share is changed."""

    def changed(self, x: Tensor, changes: Changes) -> Tensor:
        """The samples so changed: as many as each of `changes` has rows."""
