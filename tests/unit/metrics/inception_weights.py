"""Weights for Inception-v3 that nobody trained, in the form in which operators supply trained ones."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from workers.metrics.inception import Inception


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """By their names in the converted file; activations neither vanish nor grow."""
    rng = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in Inception().state_dict().items() if value.ndim}
    weights = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    for name, shape in shapes.items():
        part = name.rpartition(".")[2]
        if name.endswith("conv.weight"):
            weights[name] = torch.randn(shape, generator=rng) * (2 / shape[1:].numel()) ** 0.5
        elif part in ("weight", "running_var"):
            weights[name] = 0.5 + torch.rand(shape, generator=rng)
        else:
            weights[name] = 0.1 * torch.randn(shape, generator=rng)
    return weights


def written(path: Path, seed: int = 0) -> Path:
    save_file(random_weights(seed), path)
    return path
