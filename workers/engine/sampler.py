"""Sampling from a trained generator: in eval mode, without gradients, with the randomness passed in."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def sample(
    generator: nn.Module, n: int, rng: torch.Generator, condition: Tensor | None = None, device: str = "cpu"
) -> Tensor:
    """n samples on `device`; `generator` must be in eval mode, so that no sample depends on its neighbours."""
    if generator.training:
        raise ValueError("sampling needs the generator in eval mode")
    latent = generator.latent(n, rng).to(device)  # type: ignore[operator]
    out: Tensor = generator(latent, None if condition is None else condition.to(device))
    return out
