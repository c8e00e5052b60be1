"""The trainer on toy data whose answer is known."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.engine import checkpoints
from workers.engine.augmentation import Changes
from workers.engine.batch import Batch
from workers.engine.checkpoints import Unusable
from workers.engine.losses import exact_penalty, finite_penalty, pairing_loss
from workers.engine.monitors import Diverged
from workers.engine.overfit import MOST, Overfit
from workers.engine.sampler import sample
from workers.engine.trainer import Settings, Trainer

MEAN, SPREAD = 3.0, 0.5
SETTINGS = Settings(
    steps=400, batch=64, lr_generator=(2e-3, 2e-4), lr_discriminator=(2e-3, 2e-4), gamma=(0.3, 0.03), ema_half_life=20
)


class Line(nn.Module):
    """z -> a number, shifted by its condition."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(9, 32), nn.SiLU(), nn.Linear(32, 1))

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn((n, 8), generator=rng)

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        return self.body(torch.cat([latent, condition], 1))


class Critic(nn.Module):
    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
        )

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.body(torch.cat([x, condition], 1)).squeeze(1)


def draw(n: int, rng: torch.Generator) -> Batch:
    condition = (torch.rand((n, 1), generator=rng) < 0.5).float()
    return Batch(MEAN * condition + SPREAD * torch.randn((n, 1), generator=rng), condition)


class Shift:
    """An augmentation that adds to each number what `by(n, share, rng)` gives (n, 1)."""

    def __init__(self, by: Callable[[int, float, torch.Generator], Tensor]) -> None:
        self.by = by

    def drawn(self, shape: Sequence[int], share: float, rng: torch.Generator) -> Changes:
        return (self.by(shape[0], share, rng),)

    def changed(self, x: Tensor, changes: Changes) -> Tensor:
        return x + changes[0]


def trainer(settings: Settings = SETTINGS, seed: int = 0) -> Trainer:
    return Trainer(Line(), Critic(), draw, settings, seed=seed)


def finish(run: Trainer) -> dict[str, Tensor]:
    for _ in run.run():
        pass
    return run.ema.state_dict()


@pytest.mark.parametrize(
    "change", [{}, {"penalty": "finite", "penalty_share": 0.25}, {"penalty_every": 4}, {"share_fakes": False}]
)
def test_each_condition_is_learned_with_its_own_mean_and_spread(change: dict[str, object]) -> None:
    run = trainer(replace(SETTINGS, steps=800, **change))
    finish(run)
    rng = torch.Generator().manual_seed(5)
    for condition in (0.0, 1.0):
        x = sample(run.ema, 4000, rng, torch.full((4000, 1), condition))
        assert abs(float(x.mean()) - MEAN * condition) < 0.4
        assert 0.25 < float(x.std()) < 0.9


def test_a_resumed_run_ends_in_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=60, balance=0.62, rein=0.69)
    whole = finish(trainer(settings))
    first = trainer(settings)
    for progress in first.run():
        if progress.step == 23:
            break
    first.save(tmp_path / "c.safetensors")
    second = trainer(settings, seed=99)  # its own seed must not matter any more
    second.load(tmp_path / "c.safetensors")
    resumed = finish(second)
    assert second.step == 60
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_seed_gives_other_weights() -> None:
    a, b = (finish(trainer(replace(SETTINGS, steps=5), seed=seed)) for seed in (1, 2))
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_a_torn_checkpoint_is_refused_in_words(tmp_path: Path) -> None:
    run, path = trainer(), tmp_path / "c.safetensors"
    run.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Unusable):
        run.load(path)


def altered(path: Path, change: str) -> None:
    """The checkpoint with one thing in it that does not fit."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        numbers = json.loads(file.metadata()["mintage"])
    last = "discriminator.body.4.bias"
    match change:
        case "shape":
            tensors[last] = torch.zeros(2)
        case "dtype":
            tensors[last] = tensors[last].double()
        case "missing":
            del tensors[last]
        case "unknown":
            tensors["discriminator.body.9.bias"] = torch.zeros(1)
        case "moment":
            tensors["optimiser_d.3.exp_avg"] = torch.zeros(7)
        case "half a moment":
            del tensors["optimiser_g.1.exp_avg_sq"]
        case "parameter":
            tensors["optimiser_g.99.step"] = torch.tensor(1.0)
        case "rng":
            tensors["rng"] = torch.zeros(16, dtype=torch.uint8)
        case "number":
            numbers["step"] = None
        case "no number":
            del numbers["lead"]
        case "best":
            numbers["best"] = 3
        case "steps":
            numbers["step"] = 10**6
        case "warm":
            numbers["warm"] = [1, 1, True]
        case "good":
            del tensors["good.ema.body.0.bias"]
        case "good numbers":
            del numbers["good"]
        case "no good number":
            numbers["good"] = 5
    save_file(tensors, path, metadata={"mintage": json.dumps(None if change == "list" else numbers)})


@pytest.mark.parametrize(
    "change",
    ["shape", "dtype", "missing", "unknown", "moment", "half a moment", "parameter", "rng", "number", "no number",
     "best", "steps", "warm", "list", "good", "good numbers", "no good number"],
)  # fmt: skip
def test_of_a_checkpoint_that_does_not_fit_nothing_is_loaded(tmp_path: Path, change: str) -> None:
    settings, path = replace(SETTINGS, steps=12), tmp_path / "c.safetensors"
    first = trainer(settings)
    finish(first)
    first.save(path)
    altered(path, change)
    run = trainer(settings, seed=7)
    before = checkpoints.state(run).copy()
    with pytest.raises(Unusable):
        run.load(path)
    after = checkpoints.state(run)
    assert before.numbers == after.numbers
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(value, after.tensors[name]) for name, value in before.tensors.items())


def test_a_batch_of_nan_is_survived_and_the_learning_rate_halved() -> None:
    poisoned = []

    def sometimes_nan(n: int, rng: torch.Generator) -> Batch:
        batch = draw(n, rng)
        if run.step == 25 and not poisoned:
            poisoned.append(True)
            return Batch(batch.real * math.nan, batch.condition)
        return batch

    run = Trainer(Line(), Critic(), sometimes_nan, replace(SETTINGS, steps=80), seed=0)
    weights = finish(run)
    assert poisoned
    assert run.step == 80
    assert run.guard.strikes == 1
    assert run.guard.lr_share == 0.5
    assert all(bool(w.isfinite().all()) for w in weights.values())


class Far(Line):
    """Begins to paint where nothing real is."""

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        return super().forward(latent, condition) + 8.0


@pytest.mark.parametrize(("generator", "least", "most"), [(Line, 1.0, 1.5), (Far, 2.0, 10.0)])
def test_gamma_grows_while_the_discriminator_wins_easily_and_goes_back_when_it_does_not(
    generator: type[Line], least: float, most: float
) -> None:
    run = Trainer(generator(), Critic(), draw, replace(SETTINGS, steps=800, rein=0.4), seed=0)
    seen = [p.metrics["gamma_times"] for p in run.run() if p.metrics]
    assert least <= max(seen) < most
    assert seen[0] == 1.0
    assert seen[-1] < max(seen) or max(seen) == 1.0


@pytest.mark.parametrize("bad_step", [0, 3])
def test_a_batch_of_nan_before_the_first_report_is_survived_too(bad_step: int) -> None:
    poisoned = []

    def nan_once(n: int, rng: torch.Generator) -> Batch:
        batch = draw(n, rng)
        if run.step == bad_step and not poisoned:
            poisoned.append(True)
            return Batch(batch.real * math.nan, batch.condition)
        return batch

    run = Trainer(Line(), Critic(), nan_once, replace(SETTINGS, steps=40), seed=0)
    weights = finish(run)
    assert (run.step, run.guard.strikes) == (40, 1)
    assert all(bool(w.isfinite().all()) for w in weights.values())


def test_a_checkpoint_is_of_a_good_state_even_where_nan_has_not_been_noticed_yet(tmp_path: Path) -> None:
    run = Trainer(
        Line(),
        Critic(),
        lambda n, rng: Batch(draw(n, rng).real * (math.nan if run.step == 53 else 1.0), draw(n, rng).condition),
        replace(SETTINGS, steps=100),
        seed=0,
    )
    for progress in run.run():
        if progress.step == 55:
            run.save(tmp_path / "c.safetensors")
            break
    again = trainer(replace(SETTINGS, steps=100))
    again.load(tmp_path / "c.safetensors")
    assert again.step < 53
    assert all(bool(w.isfinite().all()) for w in again.generator.state_dict().values())


def test_the_penalty_is_reported_however_rarely_it_is_taken() -> None:
    seen = [p.metrics for p in trainer(replace(SETTINGS, steps=40, penalty_every=4)).run() if p.metrics]
    assert all("penalty" in metrics for metrics in seen)


def test_a_finite_penalty_sees_the_augmentation_that_the_scores_saw() -> None:
    def shifted(n: int, share: float, rng: torch.Generator) -> Tensor:
        return 100.0 * torch.rand((n, 1), generator=rng)

    penalties = {}
    for kind in ("exact", "finite"):
        settings = replace(SETTINGS, steps=1, batch=4096, penalty=kind, augmented=1.0)
        run = Trainer(Line(), Critic(), draw, settings, seed=0, augment=Shift(shifted))
        penalties[kind] = next(p.metrics["penalty"] for p in run.run() if p.metrics)
    assert penalties["finite"] == pytest.approx(penalties["exact"], rel=0.2)


def test_a_generator_that_died_is_brought_back_with_smaller_steps() -> None:
    class Mortal(Line):
        def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
            alive = super().forward(latent, condition)
            return alive if run.guard.strikes else 50.0 + 0.0 * alive

    run = Trainer(Mortal(), Critic(), draw, replace(SETTINGS, steps=300), seed=0)
    finish(run)
    assert (run.step, run.guard.strikes) == (300, 1)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_samples_that_become_all_alike_send_the_run_back_to_where_they_were_not_twice_at_most(times: int) -> None:
    """Looked at every 20 steps, and collapsed at step 60 so often as it comes by with less than that many strikes."""

    def diversity(network: nn.Module, reached: float) -> float:
        seen.append((run.step, reached))
        return -1.0 if run.step == 60 and run.guard.strikes < times else run.step / 100

    seen: list[tuple[int, float]] = []
    run = Trainer(Line(), Critic(), draw, replace(SETTINGS, steps=80, judge_every=20), seed=0, diversity=diversity)
    finish(run)
    strikes = min(times, 2)
    last = (80, 0.6 if times < 3 else 0.4)  # the third time it is left as it is
    assert seen == [(20, 0.0), (40, 0.2), *[(60, 0.4)] * (strikes + 1), last]
    assert (run.step, run.guard.strikes, run.guard.gamma_factor) == (80, strikes, 2.0**strikes)


def test_a_resumed_run_whose_samples_become_all_alike_goes_back_too(tmp_path: Path) -> None:
    """They varied at step 40, before the run was lost at step 45."""

    def run_of(alike: Callable[[], bool]) -> Trainer:
        settings = replace(SETTINGS, steps=80, judge_every=20)
        return Trainer(
            Line(), Critic(), draw, settings, seed=0, diversity=lambda network, reached: -1.0 if alike() else 1.0
        )

    first = run_of(lambda: False)
    next(progress for progress in first.run() if progress.step == 45)
    first.save(tmp_path / "c.safetensors")
    second = run_of(lambda: second.guard.strikes == 0)
    second.load(tmp_path / "c.safetensors")
    steps = [progress.step for progress in second.run()]
    assert (second.step, second.guard.strikes) == (80, 1)
    assert steps == [*range(46, 60), *range(41, 81)]


def poisoned(run: Trainer, step: int) -> Callable[[int, torch.Generator], Batch]:
    """Draws NaN at that step, until there is a strike."""

    def drawn(n: int, rng: torch.Generator) -> Batch:
        batch = draw(n, rng)
        bad = run.step == step and not run.guard.strikes
        return Batch(batch.real * math.nan, batch.condition) if bad else batch

    return drawn


@pytest.mark.parametrize("wrong", ["nan", "alike", "nothing is learned"])
def test_a_resumed_run_that_goes_back_later_ends_in_the_same_weights(tmp_path: Path, wrong: str) -> None:
    """Good at step 200, seen to vary at step 180, lost at step 245 and resumed, and wrong after that."""

    def run_of(seed: int) -> Trainer:
        class Mortal(Line):
            def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
                made = super().forward(latent, condition)
                dead = wrong == "nothing is learned" and run.step > 230 and not run.guard.strikes
                return 50.0 + 0.0 * made if dead else made

        settings = replace(SETTINGS, steps=300, judge_every=90, report_every=1 if wrong == "nothing is learned" else 10)
        alike = lambda network, reached: -1.0 if wrong == "alike" and run.step == 270 and not run.guard.strikes else 1.0  # noqa: E731
        run = Trainer(Mortal(), Critic(), draw, settings, seed=seed, diversity=alike)
        run.draw = poisoned(run, 275) if wrong == "nan" else draw
        return run

    whole = run_of(0)
    weights = finish(whole)
    first = run_of(0)
    next(progress for progress in first.run() if progress.step == 245)
    first.save(tmp_path / "c.safetensors")
    second = run_of(99)
    second.load(tmp_path / "c.safetensors")
    resumed = finish(second)
    assert whole.guard.strikes == second.guard.strikes == 1
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())


def test_a_checkpoint_without_the_states_to_go_back_to_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of old, and those of large networks."""
    monkeypatch.setattr(checkpoints, "KEPT_BYTES", 1_000)
    path, settings = tmp_path / "c.safetensors", replace(SETTINGS, steps=60)
    first = trainer(settings)
    next(progress for progress in first.run() if progress.step == 35)
    first.save(path)
    with safe_open(path, framework="pt") as file:
        assert not any(name.startswith("good.") for name in file.keys())  # noqa: SIM118
    second = trainer(settings)
    second.draw = poisoned(second, 45)
    second.load(path)
    steps = [progress.step for progress in second.run()]
    assert steps == [*range(36, 50), *range(36, 61)]


def test_samples_that_never_varied_send_a_run_nowhere() -> None:
    run = Trainer(
        Line(),
        Critic(),
        draw,
        replace(SETTINGS, steps=80, judge_every=20),
        seed=0,
        diversity=lambda network, reached: -1.0,
    )
    finish(run)
    assert (run.step, run.guard.strikes) == (80, 0)


def test_endless_nan_ends_in_diverged() -> None:
    run = Trainer(
        Line(), Critic(), lambda n, rng: Batch(torch.full((n, 1), math.nan), torch.zeros(n, 1)), SETTINGS, seed=0
    )
    with pytest.raises(Diverged):
        finish(run)


def test_metrics_come_every_report_and_at_the_last_step() -> None:
    seen = [p.step for p in trainer(replace(SETTINGS, steps=25)).run() if p.metrics]
    assert seen == [10, 20, 25]


def test_the_pairing_loss_is_log_two_where_nothing_can_be_told() -> None:
    assert float(pairing_loss(torch.zeros(4), torch.zeros(4))) == pytest.approx(math.log(2))


def test_both_penalties_measure_the_squared_slope() -> None:
    x = torch.randn((4096, 3), generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.tensor([1.0, -2.0, 0.5])
    rows = torch.arange(4096)
    exact = exact_penalty(x @ weight, x, rows)
    noise = torch.randn((4096, 3), generator=torch.Generator().manual_seed(1))
    finite = finite_penalty(x @ weight, (x + 0.1 * noise) @ weight, 0.1)
    assert float(exact) == pytest.approx(5.25)
    assert float(finite.detach()) == pytest.approx(5.25, rel=0.1)


def test_sampling_from_a_generator_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="eval"):
        sample(Line().train(), 1, torch.Generator(), torch.zeros(1, 1))


def watched(steps: int) -> Trainer:
    """A run whose reals are nothing like those held out, which look like what is made: as if learned by heart."""

    def drawn(n: int, rng: torch.Generator) -> Batch:
        return Batch(3 + torch.randn((n, 1), generator=rng), torch.zeros(n, 1))

    def held(n: int, rng: torch.Generator) -> Batch:
        return Batch(torch.randn((n, 1), generator=rng), torch.zeros(n, 1))

    def noisy(n: int, share: float, rng: torch.Generator) -> Tensor:
        chosen = (torch.rand((n, 1), generator=rng) < share).float()
        return chosen * torch.randn((n, 1), generator=rng)

    settings = replace(SETTINGS, steps=steps, gamma=(1e-4, 1e-4), lr_generator=(1e-4, 1e-4))
    overfit = Overfit(held, reach=200)
    return Trainer(Line(), Critic(), drawn, settings, seed=0, augment=Shift(noisy), overfit=overfit)


def test_samples_are_augmented_more_while_held_out_ones_look_like_those_made() -> None:
    run = watched(1_000)
    told = [progress.metrics for progress in run.run() if progress.metrics]
    assert told[0]["augmented"] < 0.1
    assert max(metrics["augmented"] for metrics in told) > 0.3
    assert all(0.0 <= metrics["augmented"] <= MOST for metrics in told)


def test_a_run_that_watches_for_overfitting_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = watched(120)
    finish(whole)
    first, second = watched(120), watched(120)
    for progress in first.run():
        if progress.step == 63:
            first.save(tmp_path / "c.safetensors")
            break
    second.load(tmp_path / "c.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(finish(second).values(), whole.ema.state_dict().values(), strict=True))
    assert second.augmented == whole.augmented


def test_nothing_is_kept_of_the_part_that_is_not_judged() -> None:
    scores = iter([0.5, 0.4, 0.6, 0.7])
    settings = replace(SETTINGS, steps=80, judge_every=10, judge_from=0.6)
    run = Trainer(Line(), Critic(), draw, settings, seed=0, judge=lambda network, warm: next(scores))
    finish(run)
    assert (run.step, run.best.step, run.best.score) == (80, 60, 0.4)
