"""A trainer's whole state in one safetensors file: networks, average, optimisers, position, randomness. No pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

if TYPE_CHECKING:
    from workers.engine.trainer import Trainer


class Unusable(Exception):
    """The checkpoint is torn, altered, or of other networks."""


@dataclass(frozen=True)
class State:
    """Tensors by name and a few numbers."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]

    def copy(self) -> State:
        return State({name: tensor.clone() for name, tensor in self.tensors.items()}, dict(self.numbers))

    def finite(self) -> bool:
        return all(bool(tensor.isfinite().all()) for tensor in self.tensors.values())


def _modules(trainer: Trainer) -> dict[str, torch.nn.Module]:
    return {"generator": trainer.generator, "discriminator": trainer.discriminator, "ema": trainer.ema}


def _optimisers(trainer: Trainer) -> dict[str, torch.optim.Optimizer]:
    out: dict[str, torch.optim.Optimizer] = {"optimiser_g": trainer.optimiser_g, "optimiser_d": trainer.optimiser_d}
    return out | ({} if trainer.warm_start is None else {"optimiser_w": trainer.warm_start.optimiser})


def _moments(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    for name, optimiser in _optimisers(trainer).items():
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                yield f"{name}.{index}.{key}", value


def state(trainer: Trainer) -> State:
    """Everything that the next step depends on. The tensors are the trainer's own: copy before it goes on."""
    tensors = {
        f"{name}.{key}": value
        for name, module in _modules(trainer).items()
        for key, value in module.state_dict().items()
    }
    tensors |= dict(_moments(trainer)) | {"rng": trainer.rng.get_state()}
    tensors |= {f"best.{key}": value for key, value in trainer.best.tensors.items()}
    numbers = {
        "step": trainer.step,
        "lead": trainer.lead,
        "lr_share": trainer.lr_share,
        "strikes": trainer.guard.strikes,
        "best": [trainer.best.score, trainer.best.step] if trainer.best.tensors else None,
        "warm": [warm.patience_left, warm.cuts, warm.over] if (warm := trainer.warm_start) is not None else None,
    }
    return State(tensors, numbers)


def restore(trainer: Trainer, saved: State) -> None:
    """Put `saved` into the trainer. Raises Unusable if it does not fit."""
    try:
        for name, module in _modules(trainer).items():
            mark = f"{name}."
            module.load_state_dict({k.removeprefix(mark): v for k, v in saved.tensors.items() if k.startswith(mark)})
        for name, optimiser in _optimisers(trainer).items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in saved.tensors.items():
                if key.startswith(f"{name}."):
                    _, index, moment = key.split(".")
                    moments.setdefault(int(index), {})[moment] = value.clone()
            optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        trainer.rng.set_state(saved.tensors["rng"].cpu())
        trainer.step = int(saved.numbers["step"])
        trainer.lead, trainer.lr_share = float(saved.numbers["lead"]), float(saved.numbers["lr_share"])
        trainer.guard.strikes = int(saved.numbers["strikes"])
        _restore_best(trainer, saved)
    except (RuntimeError, KeyError, ValueError) as error:
        raise Unusable(f"The checkpoint does not fit: {error}") from error


def _restore_best(trainer: Trainer, saved: State) -> None:
    mark = "best."
    trainer.best.tensors = {k.removeprefix(mark): v.clone() for k, v in saved.tensors.items() if k.startswith(mark)}
    if saved.numbers["best"] is not None:
        trainer.best.score, trainer.best.step = float(saved.numbers["best"][0]), int(saved.numbers["best"][1])
    if trainer.warm_start is not None:
        warm = trainer.warm_start
        warm.patience_left, warm.cuts, warm.over = saved.numbers["warm"]


def save(trainer: Trainer, path: Path) -> None:
    """Write the state to `path`; the last good one, if numbers went wrong since the guard last looked."""
    now = state(trainer)
    if trainer.guard.good is not None and not now.finite():
        now = trainer.guard.good
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in now.tensors.items()}
    save_file(tensors, path, metadata={"mintage": json.dumps(now.numbers)})


def load(trainer: Trainer, path: Path) -> None:
    """Read the state from `path`. Raises Unusable if the file is torn or of other networks."""
    try:
        with safetensors.safe_open(path, framework="pt", device=trainer.device) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            numbers = json.loads((file.metadata() or {})["mintage"])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise Unusable(f"The checkpoint cannot be read: {error}") from error
    restore(trainer, State(tensors, numbers))
