"""A trainer's whole state in one safetensors file: networks, average, optimisers, position, randomness. No pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from workers.engine.snapshots import Best

if TYPE_CHECKING:
    from workers.engine.trainer import Trainer

MOMENTS = ("exp_avg", "exp_avg_sq")  # that Adam keeps of each parameter, beside the number of its steps
STEP = torch.tensor(0.0)
KEPT_BYTES = 256 << 20  # of the states that roll-backs lead to, which a checkpoint holds up to that size


class Unusable(Exception):
    """The checkpoint is torn, altered, or of other networks."""


@dataclass(frozen=True)
class State:
    """Tensors by name and a few numbers."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]

    def copy(self) -> State:
        return State({name: tensor.clone() for name, tensor in self.tensors.items()}, dict(self.numbers))

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

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
    if trainer.overfit is not None:
        tensors["overfit"] = trainer.overfit.seen
    for mark, best in _kept(trainer.best, trainer.members):
        tensors |= {f"{mark}{key}": value for key, value in best.tensors.items()}
    numbers = {
        "step": trainer.step,
        "lead": trainer.lead,
        "lr_share": trainer.lr_share,
        "loss": trainer.loss,
        "reined": trainer.reined,
        "augmented": trainer.augmented,
        "strikes": trainer.guard.strikes,
        "varied": trainer.guard.ever_varied,
        "reached": trainer.guard.reached,
        "lost": trainer.guard.lost,
        "reports": trainer.guard.reports,
        "best": [trainer.best.score, trainer.best.step] if trainer.best.tensors else None,
        "members": [[member.score, member.step] for member in trainer.members],
        "warm": [warm.patience_left, warm.cuts, warm.over, warm.round]
        if (warm := trainer.warm_start) is not None
        else None,
    }
    return State(tensors, numbers)


def restore(trainer: Trainer, saved: State) -> None:
    """Put `saved` into the trainer. Raises Unusable if it does not fit; the trainer is then as it was."""
    numbers = _fitting(trainer, saved)
    for name, module in _modules(trainer).items():
        module.load_state_dict(_below(f"{name}.", saved.tensors))
    for name, optimiser in _optimisers(trainer).items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(f"{name}.", saved.tensors).items():
            index, moment = key.split(".")
            moments.setdefault(int(index), {})[moment] = value.clone()
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    trainer.rng.set_state(saved.tensors["rng"].cpu())
    if trainer.overfit is not None:
        trainer.overfit.seen = saved.tensors["overfit"].clone()
    numbers.put_into(trainer)
    for mark, best in _kept(trainer.best, trainer.members):
        best.tensors = {key: value.clone() for key, value in _below(mark, saved.tensors).items()}


def _fitting(trainer: Trainer, saved: State) -> _Numbers:
    """The numbers of a state that fits the trainer. Raises Unusable."""
    try:
        _refuse_misfit(trainer, saved.tensors)
        return _Numbers.of(trainer, saved.numbers)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise Unusable(f"The checkpoint does not fit: {error}") from error


def _kept(best: Best, members: Sequence[Best]) -> list[tuple[str, Best]]:
    """The best averages of a run's rounds, and how their tensors' names begin."""
    return [("best.", best), *((f"member{number}.", member) for number, member in enumerate(members))]


def _below(mark: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(mark): value for name, value in tensors.items() if name.startswith(mark)}


def _refuse_misfit(trainer: Trainer, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError unless each tensor is one of the trainer's, of its shape and type, and none is left out."""
    own = {f"{name}.{key}": value for name, module in _modules(trainer).items() for key, value in _state(module)}
    own["rng"] = trainer.rng.get_state()
    if trainer.overfit is not None:
        own["overfit"] = trainer.overfit.seen
    for mark in {name.split(".")[0] + "." for name in tensors if name.startswith(("best.", "member"))}:
        own |= {f"{mark}{key}": value for key, value in _state(trainer.ema)}
    for name, optimiser in _optimisers(trainer).items():
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        for index in {key.split(".")[0] for key in _below(f"{name}.", tensors)}:
            like = parameters[int(index)]
            own |= {f"{name}.{index}.{moment}": like for moment in MOMENTS} | {f"{name}.{index}.step": STEP}
    for name in own.keys() ^ tensors.keys():
        raise ValueError(f"{name} is {'missing' if name in own else 'unknown'}")
    for name, value in tensors.items():
        if (value.shape, value.dtype) != (own[name].shape, own[name].dtype):
            raise ValueError(f"{name} is {value.dtype} of shape {tuple(value.shape)}")
    torch.Generator().set_state(tensors["rng"].cpu())  # raises RuntimeError for what is no state


def _state(module: torch.nn.Module) -> Iterable[tuple[str, Tensor]]:
    return module.state_dict().items()


@dataclass(frozen=True)
class _Numbers:
    """What is no tensor, read before anything is changed."""

    step: int
    lead: float
    lr_share: float
    loss: float
    reined: float
    augmented: float
    strikes: int
    varied: bool
    reached: float
    lost: int
    reports: int
    best: tuple[float, int] | None
    members: list[tuple[float, int]]
    warm: tuple[int, int, bool, int] | None

    @classmethod
    def of(cls, trainer: Trainer, saved: Mapping[str, Any]) -> _Numbers:
        """Raises KeyError, TypeError, ValueError for what is not there or no number."""
        best, warm = saved["best"], saved["warm"]
        if (warm is None) != (trainer.warm_start is None):
            raise ValueError("only one of the two runs has a warm start")
        out = cls(
            int(saved["step"]),
            float(saved["lead"]),
            float(saved["lr_share"]),
            float(saved["loss"]),
            float(saved["reined"]),
            float(saved["augmented"]),
            int(saved["strikes"]),
            bool(saved.get("varied", False)),  # checkpoints of old do not say, nor the next three
            float(saved.get("reached", 0.0)),
            int(saved.get("lost", 0)),
            int(saved.get("reports", 0)),
            None if best is None else (float(best[0]), int(best[1])),
            [(float(score), int(step)) for score, step in saved["members"]],
            None if warm is None else (int(warm[0]), int(warm[1]), bool(warm[2]), int(warm[3])),
        )
        if len(out.members) > (out.warm[3] if out.warm else 0):
            raise ValueError("it has more generators than rounds that are over")
        if not 0 <= out.step <= trainer.steps:
            raise ValueError(f"it is of step {out.step}, and the run has {trainer.steps}")
        return out

    def put_into(self, trainer: Trainer) -> None:
        trainer.step, trainer.lead, trainer.lr_share = self.step, self.lead, self.lr_share
        trainer.loss, trainer.reined = self.loss, self.reined
        trainer.guard.strikes, trainer.augmented = self.strikes, self.augmented
        trainer.guard.ever_varied, trainer.guard.reached = self.varied, self.reached
        trainer.guard.lost, trainer.guard.reports = self.lost, self.reports
        trainer.best.score, trainer.best.step = self.best or (inf, 0)
        trainer.members = [Best(*member) for member in self.members]
        if trainer.warm_start is not None and self.warm is not None:
            warm = trainer.warm_start
            warm.patience_left, warm.cuts, warm.over, number = self.warm
            warm.go_on_in(number)


def save(trainer: Trainer, path: Path) -> None:
    """Write the state to `path`; the last good one, if numbers went wrong since the guard last looked. Beside it go
    those that roll-backs lead to, unless they are too large: a resumed run then goes back to where it was resumed."""
    now, guard = state(trainer), trainer.guard
    if guard.good is not None and not now.finite():
        now = guard.good.copy()
    tensors, numbers = dict(now.tensors), dict(now.numbers)
    places = {"good": guard.good, "diverse": None if guard.diverse is guard.good else guard.diverse}
    kept = {name: one for name, one in places.items() if one is not None}
    if sum(one.size for one in kept.values()) <= KEPT_BYTES:
        for name, one in kept.items():
            tensors |= {f"{name}.{key}": value for key, value in one.tensors.items()}
            numbers[name] = one.numbers
        numbers["diverse_is_good"] = guard.diverse is guard.good
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"mintage": json.dumps(numbers)})


def load(trainer: Trainer, path: Path) -> None:
    """Read the state from `path`. Raises Unusable if the file is torn or of other networks."""
    try:
        with safetensors.safe_open(path, framework="pt", device=trainer.device) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            numbers = json.loads((file.metadata() or {})["mintage"])
    except (OSError, KeyError, ValueError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise Unusable(f"The checkpoint cannot be read: {error}") from error
    kept = {}
    for name in ("good", "diverse") if isinstance(numbers, dict) else ():
        if name in numbers:  # checkpoints of old have none
            kept[name] = State(_below(f"{name}.", tensors), numbers[name])
            tensors = {key: value for key, value in tensors.items() if not key.startswith(f"{name}.")}
            _fitting(trainer, kept[name])
    restore(trainer, State(tensors, numbers))
    trainer.guard.good, trainer.guard.diverse = kept.get("good"), kept.get("diverse")
    if numbers.get("diverse_is_good"):
        trainer.guard.diverse = trainer.guard.good
