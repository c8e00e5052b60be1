"""Steps that are cut into pieces: the same as whole ones, but for rounding."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.unit.engine.pictures import pictures
from tests.unit.engine.test_trainer import SETTINGS, Critic, Line, Shift, draw, finish
from workers.engine.batch import Batch
from workers.engine.overfit import Overfit
from workers.engine.steps import OutOfMemory
from workers.engine.trainer import Settings, Trainer

BATCH = 22  # not a multiple of the pieces
SHORT = replace(SETTINGS, steps=30, batch=BATCH, report_every=5, augmented=0.5, rein=0.69)


class Room:
    """Of a device: how many samples a generator may make at once, from a step on; and in which half it is found out."""

    def __init__(self, samples: int, after: int = 0, graded: bool | None = None) -> None:
        self.samples, self.after, self.graded = samples, after, graded
        self.refused = 0

    def check(self, network: nn.Module, n: int, step: int) -> None:
        graded = torch.is_grad_enabled()
        if network.training and n > self.samples and step >= self.after and self.graded in (None, graded):
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Double(Line):
    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        return super().latent(n, rng).double()


class Cramped(Double):
    """Raises what torch raises where there is not room enough."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.run: Trainer | None = None

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        self.room.check(self, len(latent), self.run.step if self.run else 0)
        return super().forward(latent, condition)


class CrampedCritic(Critic):
    """Only finds out in the generator's half, when the discriminator's has been done."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        if not self.body[0].weight.requires_grad and torch.is_grad_enabled() and len(x) > self.samples:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return super().forward(x, condition)


def noise(n: int, share: float, rng: torch.Generator) -> Tensor:
    return 0.1 * (torch.rand((n, 1), generator=rng) < share) * torch.randn((n, 1), generator=rng)


def drawn(n: int, rng: torch.Generator) -> Batch:
    """In double precision: Adam divides a gradient by its size, and where one is next to nothing rounding is all."""
    batch = draw(n, rng)
    assert batch.condition is not None
    return Batch(batch.real.double(), batch.condition.double())


def trained(generator: nn.Module, critic: nn.Module, settings: Settings) -> Trainer:
    overfit = Overfit(drawn, reach=1_000)
    overfit.seen = overfit.seen.double()
    augment = Shift(noise)
    run = Trainer(generator.double(), critic.double(), drawn, settings, seed=4, augment=augment, overfit=overfit)
    if isinstance(generator, Cramped):
        generator.run = run
    finish(run)
    return run


def assert_close(one: Trainer, other: Trainer) -> None:
    assert (one.step, one.guard.strikes) == (other.step, other.guard.strikes)
    assert torch.equal(one.rng.get_state(), other.rng.get_state())  # not one number more was drawn
    for mine, its in ((one.ema, other.ema), (one.discriminator, other.discriminator)):
        its_weights = its.state_dict()
        for name, value in mine.state_dict().items():
            torch.testing.assert_close(value, its_weights[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "change",
    [{}, {"penalty": "finite", "penalty_share": 0.25}, {"penalty_share": 0.25}, {"penalty_every": 4},
     {"share_fakes": False}],
)  # fmt: skip
def test_where_memory_runs_out_a_batch_is_computed_in_pieces_to_the_same_weights(change: dict[str, object]) -> None:
    settings = replace(SHORT, **change)  # type: ignore[arg-type]
    whole = trained(Double(), Critic(), settings)
    cramped = Cramped(Room(6, after=7))
    run = trained(cramped, Critic(), settings)
    assert cramped.room.refused == 2
    assert run.half_steps.pieces == 4  # of 6, 6, 5 and 5
    assert_close(run, whole)


def test_memory_that_runs_out_between_the_halves_takes_no_step_twice() -> None:
    whole = trained(Double(), Critic(), SHORT)
    run = trained(Double(), CrampedCritic(11), SHORT)
    assert run.half_steps.pieces == 2
    assert_close(run, whole)


def test_memory_that_does_not_suffice_for_one_sample_is_the_end_of_a_run() -> None:
    with pytest.raises(OutOfMemory, match="one sample at a time"):
        trained(Cramped(Room(0)), Critic(), SHORT)


def test_samples_that_depend_on_their_neighbours_are_never_cut_apart() -> None:
    generator = Cramped(Room(6))
    generator.body.insert(1, nn.BatchNorm1d(32))
    with pytest.raises(OutOfMemory, match="22 samples"):
        trained(generator, Critic(), SHORT)
    assert generator.room.refused == 1
    assert all(p.grad is None for p in generator.parameters())


def test_a_loss_of_the_modalitys_own_is_never_cut_apart() -> None:
    run = Trainer(Cramped(Room(6)), Critic(), draw, SHORT, seed=0, auxiliary_loss=lambda fake, batch: fake.var())
    with pytest.raises(OutOfMemory):
        finish(run)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Line):
        def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        finish(Trainer(Broken(), Critic(), draw, SHORT, seed=0))


def test_a_checkpoint_of_a_run_in_pieces_goes_on_whole(tmp_path: Path) -> None:
    settings = replace(SHORT, augmented=0.0)
    run = Trainer(Cramped(Room(6)).double(), Critic().double(), drawn, settings, seed=4)
    for progress in run.run():
        if progress.step == 11:
            run.save(tmp_path / "c.safetensors")
    whole = Trainer(Double().double(), Critic().double(), drawn, settings, seed=5)
    whole.load(tmp_path / "c.safetensors")
    finish(whole)
    assert whole.half_steps.pieces == 1
    assert_close(whole, run)


@pytest.mark.parametrize("pieces", [2, 5, 11])
def test_the_gradients_of_pictures_are_those_of_the_batch_however_it_is_cut(pieces: int) -> None:
    whole, cut = pictures(seed=4), pictures(seed=4)
    cut.half_steps.pieces = pieces
    for run in (whole, cut):
        pairs, seen = run.half_steps.discriminator(0.5)
        run.half_steps.generator(pairs, seen.real)
    for mine, its in ((whole.generator, cut.generator), (whole.discriminator, cut.discriminator)):
        for own, other in zip(mine.parameters(), its.parameters(), strict=True):
            torch.testing.assert_close(own.grad, other.grad, rtol=1e-10, atol=1e-14)
