"""A warm start by likelihood, and the best average by held-out samples, on toy data whose answer is known."""

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.unit.engine.test_trainer import SETTINGS, Critic, Line, draw, finish
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
        warm_start=WarmStart(loss, settings),
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


def test_scores_that_are_not_numbers_are_no_progress() -> None:
    best, network = Best(), nn.Linear(1, 1)
    assert best.offer(network, 2.0, 1)
    assert not best.offer(network, math.nan, 2)
    assert best.offer(network, 1.0, 3)
    assert (best.score, best.step) == (1.0, 3)
