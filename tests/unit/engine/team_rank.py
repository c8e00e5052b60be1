"""One rank of a team, for the test of it: python -m tests.unit.engine.team_rank FOLDER RANK SIZE FROM ROOM WHAT.

Trains in double precision from FOLDER/FROM, if that is there, and leaves FOLDER/rank-RANK."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tests.unit.engine.pictures import pictures
from tests.unit.engine.test_steps import Cramped, Room, drawn, noise
from tests.unit.engine.test_trainer import SETTINGS, Critic, Shift
from workers.engine.overfit import Overfit
from workers.engine.team import Alone, Together
from workers.engine.trainer import Trainer

# a batch that two do not share evenly, and everything that a batch goes through
TEAM = replace(
    SETTINGS, steps=24, batch=11, report_every=4, augmented=0.5, rein=0.69, balance=0.62, penalty_share=0.5,
    judge_every=6,
)  # fmt: skip


def trainer(room: int, seed: int) -> Trainer:
    generator = Cramped(Room(room)).double()
    critic = Critic().double()
    overfit = Overfit(drawn, reach=1_000)
    overfit.seen = overfit.seen.double()
    return Trainer(
        generator, critic, drawn, TEAM, seed=seed, augment=Shift(noise), overfit=overfit,
        judge=lambda network, warm: size_of(network),
        diversity=lambda network, reached: size_of(network) - 0.9 * reached,
    )  # fmt: skip


def size_of(network: nn.Module) -> float:
    return float(next(network.parameters()).abs().sum())


def nobodys(*asked: object) -> float:
    raise AssertionError("only rank 0 looks at what is made")


def main() -> None:
    folder, rank, size, begin, room = Path(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4], int(sys.argv[5])
    torch.set_num_threads(1)
    run = trainer(room, seed=4) if sys.argv[6] == "numbers" else pictures(seed=4)
    if (folder / begin).exists():
        run.load(folder / begin)
    team = Together(folder, rank, size, "cpu") if size > 1 else Alone()
    run.join(team)
    if rank == 1:
        run.judge = run.diversity = nobodys
    for progress in run.run():
        if progress.step == 10 and not (folder / begin).exists():
            run.save(folder / f"half-{rank}")
        team.told(0.0)
    team.leave()
    run.save(folder / f"rank-{rank}")


if __name__ == "__main__":
    main()
