"""Differential privacy: what is counted, clipped and hidden, what it does against an attacker, what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from service.errors import InvalidCondition, Rejected
from tests.unit.table.tables import config, csv, ingest, people, rows
from workers.engine.private import STATISTICS, stream
from workers.modalities import Dataset, Training
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.networks import Generator, Shape
from workers.modalities.table.private.counting import Counter, Histogram, bucket, ends, simplex
from workers.modalities.table.private.gradients import clipped
from workers.modalities.table.private.training import PrivateTraining, secret_rng
from workers.modalities.table.sampler import TableSampler

RNG = np.random.default_rng(8)
SECRET = {"epsilon": 8.0}  # noise that no two runs share
SAME = {"epsilon": 8.0, "reproducible": True}


def started(dataset: Dataset, **fields: Any) -> PrivateTraining:
    training = MODALITY.training(dataset, config(**({"steps": 20, "privacy": SAME} | fields)), "cpu")
    assert isinstance(training, PrivateTraining)
    return training


def finished(training: Training) -> Training:
    for _ in training.trainer.run():
        pass
    return training


def exported(training: Training, folder: Path) -> TableSampler:
    folder.mkdir()
    training.export(folder)
    sampler = MODALITY.sampler(folder, "cpu")
    assert isinstance(sampler, TableSampler)
    return sampler


# -- counts -------------------------------------------------------------------------------------------------------


def test_counts_have_the_noise_of_their_round_together() -> None:
    counter = Counter(np.random.default_rng(0), 1e-6, 0)
    asked = [Histogram(np.arange(5_000), np.full(5_000, 100.0)) for _ in range(4)]
    found = counter.ask(asked, 3.0)
    assert counter.rounds == [3.0]
    noise = np.concatenate([one.counts for one in found]) - 100
    assert noise.std() == pytest.approx(3.0 * 2.0, rel=0.03), "four histograms: a row moves them by two in all"
    assert abs(noise.mean()) < 0.2


def test_a_key_that_one_row_brings_in_stays_hidden() -> None:
    counter = Counter(np.random.default_rng(0), 2e-3, 2)
    lonely = Histogram(np.arange(100_000), np.ones(100_000), public=False)
    assert 0 < len(counter.ask([lonely], 2.0)[0].keys) < 100_000 * 1.5e-3
    many = Histogram(np.arange(100), np.full(100, 50.0), public=False)
    assert len(counter.ask([many], 2.0)[0].keys) == 100
    with pytest.raises(RuntimeError, match="delta"):
        counter.ask([many], 2.0)


def test_noisy_counts_become_counts_again() -> None:
    noisy = np.array([50.0, -3.0, 2.0, 60.0, -1.0])
    found = simplex(noisy, 100.0)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(100)
    assert found[3] - found[0] == pytest.approx(10)


def test_buckets_cover_every_number_and_know_nothing_of_the_data() -> None:
    values = np.concatenate(
        [RNG.normal(size=200), RNG.normal(size=200) * 1e30, [0.0, 1.0, -1.0, 1024.0, 5e-324, 1e300]]
    )
    low, high = ends(bucket(values))
    assert ((low <= values) & (values <= high)).all()
    assert (high - low <= np.maximum(np.abs(values) * 0.27, 1e-300)).all()


# -- steps --------------------------------------------------------------------------------------------------------


def network() -> tuple[Generator, Tensor, Tensor]:
    torch.manual_seed(0)
    sizes = [3, 12, 30, 5, 9]
    generator = Generator(Shape(sizes, [[0, 1], [1, 2], [0, 2], [3, 4]], width=16))
    codes = torch.stack([torch.randint(0, size, (24,)) for size in sizes], 1)
    return generator, codes, (torch.rand(24, 5) < 0.3).float()


def test_gradients_are_clipped_row_by_row() -> None:
    """Against gradients that are worked out one row at a time, of the likelihood that other trainings use."""
    generator, codes, fixed = network()
    each = []
    for i in range(len(codes)):
        generator.zero_grad()
        (generator.likelihood(codes[i : i + 1], fixed[i : i + 1]) * (1 - fixed[i : i + 1])).sum().backward()
        each.append({name: p.grad.clone() for name, p in generator.named_parameters() if p.grad is not None})
    norms = torch.stack([torch.cat([g.flatten() for g in one.values()]).norm() for one in each])
    clip = float(norms.median())
    sums, found = clipped(generator, codes, fixed, clip)
    torch.testing.assert_close(found, norms, rtol=1e-4, atol=1e-5)
    assert set(sums) == {name for name, _ in generator.named_parameters()}
    for name, value in sums.items():
        wanted = sum(
            (min(1.0, clip / float(n)) * one[name] for n, one in zip(norms, each, strict=True)), torch.zeros(1)
        )
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-5)
    (one,) = {float(torch.cat([v.flatten() for v in clipped(generator, codes[:1], fixed[:1], 0.5)[0].values()]).norm())}
    assert one == pytest.approx(0.5, rel=1e-4), "no row says more than this"


def test_steps_add_the_noise_that_is_accounted_for(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("xyz"), 2_000), b=RNG.integers(0, 9, 2_000)))
    training = started(dataset)
    start = training.trainer.warm_start
    before = {name: p.detach().clone() for name, p in training.trainer.generator.named_parameters()}
    silent: dict[str, Tensor] = {}
    counted = []

    def spied(found: np.ndarray, clip: float, rng: np.random.Generator) -> Any:
        counted.append(len(found))
        silent.update(training._clipped(found, clip, rng))
        return silent

    start.clipped = spied  # type: ignore[union-attr]
    start.step(training.trainer)  # type: ignore[union-attr]
    s = training.settings
    noise = torch.cat(
        [
            (p.grad * s.rate * s.samples - silent[name]).flatten()
            for name, p in training.trainer.generator.named_parameters()
            if p.grad is not None
        ]
    )
    assert float(noise.std()) == pytest.approx(s.sigma * s.clip, rel=0.03)
    assert counted[0] == pytest.approx(s.rate * s.samples, rel=0.4)
    assert any(not torch.equal(p, before[name]) for name, p in training.trainer.generator.named_parameters())


# -- whole models -------------------------------------------------------------------------------------------------


def everything(n: int = 4_000) -> pa.Table:
    start = np.datetime64("2021-03-01")
    days = start + RNG.integers(0, 700, n)
    times = days.astype("datetime64[s]") + RNG.integers(0, 86_400, n)
    lat = np.where(RNG.random(n) < 0.5, 48.1, 52.5) + 0.1 * RNG.normal(size=n)
    gone = RNG.random(n) < 0.3
    more = pa.table(
        {
            "day": pa.array(days),
            "time": pa.array(times),
            "latitude": pa.array(np.round(lat, 4)),
            "longitude": pa.array(np.round(11 + 0.1 * RNG.normal(size=n), 4)),
            "size": pa.array(np.round(RNG.lognormal(8, 1, n), 2), mask=gone),
            "group": pa.array([f"g{i}" for i in RNG.geometric(0.2, n)]),
        }
    )
    table = people(n)
    for name in more.column_names:
        table = table.append_column(name, more[name])
    return table


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, TableSampler, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("private")
    _, dataset = ingest(folder, "t.parquet", everything())
    sampler = exported(finished(started(dataset, privacy=SAME)), folder / "model")
    report = json.loads((folder / "model/report.json").read_text())
    return rows(dataset), sampler, report, "".join(p.read_text() for p in (folder / "model").glob("*.json"))


def test_a_private_model_of_every_kind_of_column_is_near_the_data(
    model: tuple[pa.Table, TableSampler, dict[str, Any], str],
) -> None:
    real, sampler, report, _ = model
    made = sampler.table(0, 4_000, 1, {})
    assert made.column_names == real.column_names
    for name in ("city", "windy"):
        shares = [dict(zip(*np.unique(t[name].to_numpy(), return_counts=True), strict=True)) for t in (real, made)]
        for level, count in shares[0].items():
            assert shares[1][level] / 4_000 == pytest.approx(count / real.num_rows, abs=0.06)
    cities = [t["city"].to_numpy() for t in (real, made)]
    countries = [t["country"].to_numpy() for t in (real, made)]
    together = [np.mean((a == "Oslo") == (b == "Norway")) for a, b in zip(cities, countries, strict=True)]
    assert together[0] == 1
    assert together[1] > 0.85, "the strongest relation is found in spite of the noise"
    assert abs(made["latitude"].to_numpy().mean() - real["latitude"].to_numpy().mean()) < 0.3
    assert abs(made["size"].null_count / 4_000 - 0.3) < 0.05
    days = [t["day"].to_numpy().astype("datetime64[D]").astype(int) for t in (real, made)]
    assert abs(np.median(days[0]) - np.median(days[1])) < 60
    assert report["shape"] > 0.85


def test_the_report_says_what_was_spent(model: tuple[pa.Table, TableSampler, dict[str, Any], str]) -> None:
    privacy = model[2]["privacy"]
    assert privacy["epsilon"] == 8
    assert 7.9 < privacy["epsilon_spent"] <= 8
    assert privacy["epsilon_of_statistics"] < privacy["epsilon_spent"]
    assert privacy["delta"] < 1 / model[2]["rows"]["trained_on"]
    assert privacy["steps"] == 20
    assert "report" in privacy["does_not_cover"]
    assert {"noise_multiplier", "clip", "sample_rate", "accountant", "mechanism", "covers"} <= privacy.keys()


def test_a_run_that_is_cut_short_spends_less(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("xyz"), 2_000), b=RNG.integers(0, 9, 2_000)))
    training = started(dataset)
    steps = training.trainer.run()
    for _ in range(5):
        assert set(next(steps).metrics or {}) <= {"lr_generator"}, "no figure about real rows"
    assert training.evaluate() == {}
    spent = training.spent()
    assert spent["steps"] == 5
    assert spent["epsilon_of_statistics"] < spent["epsilon_spent"] < 7.9


def test_values_of_few_rows_are_not_in_a_private_model(tmp_path: Path) -> None:
    """Neither levels that ingestion publishes, nor bounds, nor how often anything is missing."""
    n = 3_000
    level = np.where(np.arange(n) < 8, "rareword", RNG.choice(["a", "b"], n))
    x = np.where(np.arange(n) == 7, 987654.25, np.round(RNG.normal(50, 9, n), 2))
    _, dataset = ingest(
        tmp_path,
        "t.csv",
        csv(
            v=level, x=x, key=np.arange(n) + 55_001, note=[f"word {i} of {i % 37} and {i * 7 % 991}" for i in range(n)]
        ),
    )
    assert "rareword" in json.dumps(dataset.schema)
    assert "987654.25" in json.dumps(dataset.schema)
    training = finished(started(dataset, privacy={"epsilon": 1.0, "reproducible": True}))
    sampler = exported(training, tmp_path / "model")
    known = "".join(p.read_text() for p in (tmp_path / "model").glob("*.json"))
    for word in ("rareword", "987654", "58001", "58000", "different"):
        found = re.search(rf".{{0,20}}(?<![\d.]){word}\b.{{0,20}}", known)  # not as digits of another number
        assert found is None, found
    made = sampler.table(0, 2_000, 1, {})
    assert set(made["v"].to_pylist()) == {"a", "b"}
    assert max(made["x"].to_pylist()) < 1_000
    with pytest.raises(InvalidCondition, match="no level 'rareword'"):
        sampler.table(0, 10, 1, {"v": "rareword"})


def test_a_private_model_keeps_rules_and_conditions(tmp_path: Path) -> None:
    n = 4_000
    low = RNG.integers(0, 50, n)
    city = RNG.choice(["Rome", "Oslo", "Lima"], n)
    country = np.array([{"Rome": "Italy", "Oslo": "Norway", "Lima": "Peru"}[c] for c in city])
    parts = RNG.integers(1, 40, (2, n))
    content = csv(low=low, high=low + RNG.integers(0, 30, n), city=city, country=country, a=parts[0], b=parts[1],
                  total=parts.sum(0))  # fmt: skip
    _, dataset = ingest(tmp_path, "t.csv", content)
    rules = [
        {"kind": "inequality", "low": "low", "high": "high"},
        {"kind": "fixed_combinations", "columns": ["city", "country"]},
        {"kind": "sum", "total": "total", "parts": ["a", "b"]},
    ]
    sampler = exported(finished(started(dataset, constraints=rules)), tmp_path / "model")
    for conditions in ({}, {"city": "Oslo", "low": {"min": 20}}):
        made = {
            name: np.array(sampler.table(0, 1_000, 3, conditions)[name].to_pylist()) for name in dataset_names(dataset)
        }
        assert (made["low"] <= made["high"]).all()
        assert (made["a"] + made["b"] == made["total"]).all()
        pairs = set(zip(made["city"], made["country"], strict=True))
        assert pairs <= {("Rome", "Italy"), ("Oslo", "Norway"), ("Lima", "Peru")}
        if conditions:
            assert set(made["city"]) == {"Oslo"}
            assert made["low"].min() >= 20
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["structure"]
    assert not any("holds_in" in rule for rule in report["structure"])


def dataset_names(dataset: Dataset) -> list[str]:
    return [column["name"] for column in dataset.schema["columns"]]


# -- the same again -----------------------------------------------------------------------------------------------


def weights(training: Training) -> Tensor:
    return torch.cat([p.detach().flatten() for p in training.trainer.ema.parameters()])


def test_a_resumed_run_takes_up_its_own_noise(tmp_path: Path) -> None:
    """Though its statistics are from a secret that the second process did not have."""
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("wxyz"), 2_000), b=RNG.integers(0, 9, 2_000)))
    whole = started(dataset, privacy=SECRET)
    steps = whole.trainer.run()
    for _ in range(8):
        next(steps)
    whole.trainer.save(tmp_path / "checkpoint")
    for _ in steps:
        pass
    second = started(dataset, privacy=SECRET)
    assert second.fitted.start.shares[0].tolist() != whole.fitted.start.shares[0].tolist()
    second.trainer.load(tmp_path / "checkpoint")
    assert second.trainer.step == 8
    finished(second)
    assert torch.equal(weights(whole), weights(second))
    assert second.codec.to_json() == whole.codec.to_json()
    assert second.spent() == whole.spent()


def test_noise_is_secret_unless_it_is_asked_to_be_reproducible(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("wxyz"), 2_000), b=RNG.integers(0, 9, 2_000)))
    first, again = (weights(finished(started(dataset, privacy=SAME, steps=5))) for _ in range(2))
    assert torch.equal(first, again)
    one, other = (started(dataset, privacy=SECRET, steps=5).fitted.start.shares[0] for _ in range(2))
    assert not torch.equal(one, other)


def test_a_secret_has_more_to_guess_than_a_seed() -> None:
    states = [secret_rng(None).get_state() for _ in range(2)]
    assert (states[0] != states[1]).sum() > 2_000
    again = torch.Generator()
    again.set_state(states[0])
    assert torch.equal(again.get_state(), states[0])
    assert torch.equal(secret_rng(5).get_state(), secret_rng(5).get_state())
    noise = [stream(bytes(range(16)), STATISTICS, i).random(3) for i in (0, 0, 1)]
    assert noise[0].tolist() == noise[1].tolist() != noise[2].tolist()


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"privacy": {"epsilon": 0}},
        {"privacy": {"epsilon": -1}},
        {"privacy": {"epsilon": 101}},
        {"privacy": {"delta": 1e-5}},
        {"privacy": {"epsilon": 1, "delta": 0}},
        {"privacy": {"epsilon": 1, "delta": 0.5}},
        {"privacy": {"epsilon": 1, "patience": 3}},
        {"privacy": {"epsilon": 1}, "steps": 20_001},
    ],
)
def test_a_config_that_promises_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**fields)


def test_a_delta_that_gives_rows_away_is_refused(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("wxyz"), 500), b=RNG.integers(0, 9, 500)))
    with pytest.raises(Rejected, match="must be below") as refusal:
        started(dataset, privacy={"epsilon": 1.0, "delta": 0.01})
    assert refusal.value.code == "privacy_delta_too_large"


def test_too_few_rows_for_the_noise_are_refused_or_told_nothing_of(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("wxyz"), 60), b=RNG.choice(list("uv"), 60)))
    with pytest.raises(Rejected, match="hides every column") as refusal:
        started(dataset, privacy={"epsilon": 0.05, "reproducible": True})
    assert refusal.value.code == "privacy_leaves_nothing"


def test_a_table_that_has_nothing_to_learn_makes_a_model_all_the_same(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(id=np.arange(500) + 1, same=["x"] * 500))
    made = exported(finished(started(dataset, steps=2)), tmp_path / "model").table(0, 50, 0, {})
    assert set(made["same"].to_pylist()) == {"x"}
    assert len(set(made["id"].to_pylist())) == 50


def test_combinations_of_few_rows_are_refused(tmp_path: Path) -> None:
    values = csv(a=[f"a{i % 40}" for i in range(800)], b=[f"b{i % 40}" for i in range(800)], c=RNG.integers(0, 9, 800))
    _, dataset = ingest(tmp_path, "t.csv", values)
    rules = [{"kind": "fixed_combinations", "columns": ["a", "b"]}]
    with pytest.raises(Rejected):
        started(dataset, privacy={"epsilon": 0.5}, constraints=rules)
