"""A warm start by likelihood, and the best average by held-out samples, on toy data whose answer is known."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.unit.engine.test_trainer import SETTINGS, Critic, Line, draw, finish
from workers.engine.batch import Batch
from workers.engine.ema import Ema
from workers.engine.monitors import Diverged
from workers.engine.snapshots import Best
from workers.engine.trainer import Trainer
from workers.engine.warmstart import WarmSettings, WarmStart

WARM = WarmSettings(steps=200, lr=1e-2, warmup=10, judge_every=10, patience=3, cuts=1)


def mean_error(network: nn.Module) -> float:
    """How far the network is from the mean under each condition."""
    latent = torch.randn((2_000, 8), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        means = [network(latent, torch.full((2_000, 1), float(c))).mean() for c in (0, 1)]
    return float(abs(means[0]) + abs(means[1] - 3.0))


def renewed(number: int) -> dict[str, Tensor]:
    """A line of other weights for each round."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        return Line().state_dict()


def warmed(adversarial: int = 20, settings: WarmSettings = WARM) -> Trainer:
    run: Trainer

    def loss(rng: torch.Generator) -> Tensor:
        batch = draw(64, rng)
        made = run.generator(run.generator.latent(64, rng), batch.condition)  # type: ignore[operator]
        return ((made - batch.real) ** 2).mean()

    def judge(network: nn.Module, warm: bool) -> float:
        return mean_error(network)

    run = Trainer(
        Line(),
        Critic(),
        draw,
        replace(SETTINGS, steps=adversarial, judge_every=10),
        seed=0,
        warm_start=WarmStart(loss, settings, renewed),
        judge=judge,
    )
    return run


def test_a_warm_start_learns_before_the_discriminator_is_asked() -> None:
    run = warmed()
    before = mean_error(run.ema)
    stages = [set(progress.metrics or {}) for progress in run.run()]
    assert "loss_likelihood" in stages[9]
    assert "loss_discriminator" in stages[-1]
    assert mean_error(run.ema) < 0.3 * before


def test_a_warm_start_without_progress_ends_early() -> None:
    run = warmed(adversarial=5, settings=replace(WARM, steps=5_000, lr=0.0))
    seen = [progress.step for progress in run.run()]
    assert len(seen) <= 10 * WARM.patience * (WARM.cuts + 1) + 20 + 5
    assert run.step == run.steps == 5_005


def test_the_best_average_is_kept_and_not_the_last() -> None:
    run = warmed(adversarial=40)
    run.settings = replace(run.settings, lr_generator=(1.0, 1.0), balance=None)
    run.lr_share = 1.0
    finish(run)
    assert run.best.step < run.steps
    assert mean_error(run.ema) < 0.5, "adversarial steps of such a size ruin it"


def test_a_run_that_is_resumed_in_either_stage_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = warmed()
    for progress in whole.run():
        if progress.step in (55, 210):
            whole.save(tmp_path / f"{progress.step}.safetensors")
    for step in (55, 210):
        resumed = warmed()
        resumed.load(tmp_path / f"{step}.safetensors")
        weights = finish(resumed)
        assert all(torch.equal(value, weights[name]) for name, value in whole.ema.state_dict().items()), step


def test_weights_that_are_not_finite_are_never_the_best() -> None:
    best, network = Best(), nn.Linear(1, 1)
    nn.init.constant_(network.weight, math.nan)
    assert not best.offer(network, 0.5, 1)
    assert not best.tensors


def test_scores_that_are_not_numbers_are_no_progress() -> None:
    best, network = Best(), nn.Linear(1, 1)
    assert best.offer(network, 2.0, 1)
    assert not best.offer(network, math.nan, 2)
    assert best.offer(network, 1.0, 3)
    assert (best.score, best.step) == (1.0, 3)


ROUNDS = replace(WARM, rounds=3)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_round_leaves_a_generator_of_its_own() -> None:
    run = warmed(settings=ROUNDS)
    steps = [progress.step for progress in run.run()]
    assert steps == sorted(steps)
    assert run.steps == steps[-1] == 3 * WARM.steps + 20
    members = run.ensemble()
    assert len(members) == 3
    assert not same(members[0].tensors, members[1].tensors)
    for weights in members:
        run.ema.load_state_dict(weights.tensors)
        assert mean_error(run.ema) < 0.5


def test_a_run_that_is_resumed_in_any_round_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = warmed(settings=ROUNDS)
    places = [3, 203, 455, 610]
    for progress in whole.run():
        if places and progress.step >= places[0]:
            whole.save(tmp_path / f"{places.pop(0)}.safetensors")
    for path in sorted(tmp_path.iterdir()):
        resumed = warmed(settings=ROUNDS)
        resumed.load(path)
        finish(resumed)
        pairs = zip(whole.ensemble(), resumed.ensemble(), strict=True)
        assert all(same(one.tensors, other.tensors) for one, other in pairs), path.name


def test_a_round_that_is_cut_short_counts_only_if_it_came_as_far_as_the_others() -> None:
    run = warmed(settings=ROUNDS)
    for progress in run.run():
        if progress.step >= WARM.steps + 1:
            break
    run.keep_best()
    assert len(run.ensemble()) == 1
    run.best.score = run.members[0].score
    assert len(run.ensemble()) == 2


def test_the_average_of_a_later_round_does_not_begin_with_the_weights_of_chance() -> None:
    run = warmed(settings=replace(ROUNDS, patience=100))
    run.averaged = Ema(run.generator, half_life=200.0)
    finish(run)
    scores = [member.score for member in run.ensemble()]
    assert max(scores) < 0.5


def test_rounds_that_nobody_judges_are_refused() -> None:
    warm = WarmStart(lambda rng: torch.zeros(()), ROUNDS, renewed)
    with pytest.raises(ValueError, match="rounds"):
        Trainer(Line(), Critic(), draw, SETTINGS, seed=0, warm_start=warm)


def broken(run: Trainer, after: int) -> Trainer:
    """A run whose batches are not numbers from that step on."""
    sound = run.draw

    def draw_broken(n: int, rng: torch.Generator) -> Batch:
        batch = sound(n, rng)
        return batch if run.step < after else Batch(torch.full_like(batch.real, math.nan), batch.condition)

    run.draw = draw_broken
    return run


def test_adversarial_training_that_goes_wrong_leaves_the_warm_start() -> None:
    run = broken(warmed(adversarial=60), WARM.steps + 20)
    finish(run)
    assert run.trouble is not None
    assert "3 times" in run.trouble
    assert run.best.step <= WARM.steps
    assert mean_error(run.ema) < 0.5


def test_a_round_that_goes_wrong_leaves_those_before_it() -> None:
    run = warmed(adversarial=20, settings=replace(WARM, rounds=3))
    assert run.warm_start is not None
    likelihood = run.warm_start.loss
    run.warm_start.loss = lambda rng: likelihood(rng) * (math.nan if run.step > 500 else 1.0)
    finish(run)
    assert run.trouble is not None
    assert [member.step <= 200 * (n + 1) for n, member in enumerate(run.ensemble())] == [True, True]
    for member in run.ensemble():
        run.ema.load_state_dict(member.tensors)
        assert mean_error(run.ema) < 0.5


def test_a_first_round_that_goes_wrong_leaves_nothing() -> None:
    run = warmed()
    assert run.warm_start is not None
    likelihood = run.warm_start.loss
    run.warm_start.loss = lambda rng: likelihood(rng) * math.nan
    with pytest.raises(Diverged):
        finish(run)
