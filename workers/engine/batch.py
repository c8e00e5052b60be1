"""What the engine is fed. Knows tensors; nothing of where they come from."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Real samples (n, ...) and the condition (n, c) that each real shares with the fake it is paired with."""

    real: Tensor
    condition: Tensor | None = None

    def to(self, device: str) -> "Batch":
        condition = None if self.condition is None else self.condition.to(device, non_blocking=True)
        return Batch(self.real.to(device, non_blocking=True), condition)
