"""What a model with differential privacy knows, as an attacker would ask: of the schema, of rare rows, of its noise."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from tests.unit.table.tables import config, csv, ingest
from tests.unit.table.test_differential_privacy import everything, exported, finished, network, started
from workers.engine.private import GRID, stream
from workers.modalities import Dataset, Training
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.private import training as private
from workers.modalities.table.private.counting import Counter, Histogram
from workers.modalities.table.private.gradients import clipped

RNG = np.random.default_rng(9)

# -- what ingestion knows -----------------------------------------------------------------------------------------


def otherwise(column: dict[str, Any]) -> dict[str, Any]:
    """The entry as it would be if single rows were others: which levels are shared, how far values go, what is missing
    at all. The type and the way that values are written are the same."""
    out = copy.deepcopy(column) | {"nullable": True, "missing": 0.5, "reason": "Another."}
    if out.get("distinct"):
        out["distinct"] += 1
    if "levels" in out:
        out |= {"levels": out["levels"][::-1][:1], "pooled": {"levels": 9, "rows": 99}}
    for end in ("minimum", "maximum"):
        if end in out:
            out[end] = 12
    if "pattern" in out and "next" in out["pattern"]:
        out["pattern"]["next"] = 4321
    return out


def test_a_private_codec_follows_from_noisy_counts_not_from_what_the_schema_tells(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", everything(2_000))
    schema = {**dataset.schema, "columns": [otherwise(one) for one in dataset.schema["columns"]]}
    other = Dataset(schema, dataset.rows, dataset.parts)
    (first, second) = (started(one, steps=1) for one in (dataset, other))
    assert first.codec.to_json() == second.codec.to_json()
    assert torch.equal(first.codes, second.codes)


def test_a_level_counts_by_its_rows_whether_or_not_the_schema_shows_it(tmp_path: Path) -> None:
    """One row less, and ingestion drops a level of `min_level_rows`: that must not be seen."""
    values = np.where(np.arange(2_000) % 4 == 0, "c", "a")
    found = []
    for least in (100, 600):
        folder = tmp_path / str(least)
        folder.mkdir()
        _, dataset = ingest(folder, "t.csv", csv(v=values, x=RNG.integers(0, 9, 2_000)), min_level_rows=least)
        found.append((dataset.schema["columns"][0]["levels"], started(dataset, steps=1)))
    assert [levels for levels, _ in found] == [["a", "c"], ["a"]]
    assert [len(training.fitted.codec.column("v")["levels"]) for _, training in found] == [2, 1], "noisy counts decide"
    held = [training.fitted.codec.column("v")["missing"] for _, training in found]
    assert held == [0, 0]


def test_a_constant_of_few_rows_is_not_told(tmp_path: Path) -> None:
    n = 3_000
    few = np.where(np.arange(n) % 1_000 == 0, "onlyone", "")
    _, dataset = ingest(tmp_path, "t.csv", csv(few=few, all=["everyone"] * n, x=RNG.integers(0, 9, n)))
    assert dataset.schema["columns"][0]["value"] == "onlyone"
    sampler = exported(finished(started(dataset, steps=2)), tmp_path / "model")
    known = "".join(path.read_text() for path in (tmp_path / "model").glob("*.json"))
    assert "onlyone" not in known
    made = sampler.table(0, 100, 0, {})
    assert made["few"].null_count == 100
    assert set(made["all"].to_pylist()) == {"everyone"}


def test_a_single_gap_is_not_told(tmp_path: Path) -> None:
    n = 2_000
    content = csv(x=["" if i == 5 else str(i % 37) for i in range(n)],
                  b=["" if i == 7 else "yn"[i % 2] for i in range(n)],
                  key=["" if i == 9 else f"k-{i * 7919 % 100003:06d}" for i in range(n)])  # fmt: skip
    _, dataset = ingest(tmp_path, "t.csv", content)
    assert all(column["nullable"] for column in dataset.schema["columns"])
    codec = started(dataset, steps=1).codec
    assert not any(column["nullable"] for column in codec.columns)


def test_the_report_looks_at_no_training_row(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", everything(4_000))
    training = finished(started(dataset, steps=2))
    sampler = exported(training, tmp_path / "model")
    before = training._report(sampler)  # type: ignore[attr-defined]
    n = training.train.num_rows  # type: ignore[attr-defined]
    training.train = pa.table({"other": pa.nulls(n)})  # type: ignore[attr-defined]
    assert training._report(sampler) == before  # type: ignore[attr-defined]
    assert before["compared_with"] == "holdout rows"
    assert "dcr_share" not in before


def test_too_few_rows_aside_to_judge_are_said_so(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("xyz"), 900), b=RNG.integers(0, 9, 900)))
    exported(finished(started(dataset, steps=2)), tmp_path / "model")
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert "not judged" in report["verdict"]
    assert "shape" not in report


# -- noise ----------------------------------------------------------------------------------------------------------


def test_noisy_counts_are_whole() -> None:
    counter = Counter(np.random.default_rng(0), 1e-6, 0)
    (found,) = counter.ask([Histogram(np.arange(50), np.full(50, 100.0))], 3.3)
    assert (found.counts == np.round(found.counts)).all()
    measured = counter.measure(np.full(50, 0.37), 2.2)
    assert (measured == np.round(measured)).all()


def test_statistics_stop_at_what_they_may_spend() -> None:
    counter = Counter(np.random.default_rng(0), 1e-6, 0, sigma=2.0)
    for _ in range(4):
        counter.measure(np.zeros(3), 4.0)
    with pytest.raises(RuntimeError, match="spend"):
        counter.measure(np.zeros(3), 40.0)


def test_all_that_statistics_may_spend_is_charged(tmp_path: Path) -> None:
    """Though less is asked: how much is asked depends on answers."""
    _, dataset = ingest(tmp_path, "t.csv", csv(id=np.arange(500) + 1, same=["x"] * 500))
    training = started(dataset, steps=1)
    assert [one.sigma for one in training.rounds] == [training.budget.statistics]


def test_noisy_gradients_lie_on_a_grid(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("xyz"), 2_000), b=RNG.integers(0, 9, 2_000)))
    training = started(dataset)
    training.trainer.warm_start.step(training.trainer)  # type: ignore[union-attr]
    s = training.settings
    for parameter in training.trainer.generator.parameters():
        assert parameter.grad is not None
        units = parameter.grad.double() * s.rate * s.samples / (GRID * s.sigma * s.clip)
        assert float((units - units.round()).abs().max()) < 0.02


def test_a_batch_may_be_empty_or_worked_out_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=RNG.choice(list("xyz"), 2_000), b=RNG.integers(0, 9, 2_000)))
    training = started(dataset)
    none = training._clipped(np.zeros(0, np.int64), 1.0, stream(bytes(16), 3))
    assert all(not value.any() for value in none.values())
    assert set(none) == {name for name, _ in training.trainer.generator.named_parameters()}
    whole = training._clipped(np.arange(300), 1.0, stream(bytes(16), 3))
    monkeypatch.setattr(private, "AT_ONCE", 100)
    parts = training._clipped(np.arange(300), 1.0, stream(bytes(16), 3))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)


def test_a_row_whose_gradient_is_no_number_says_nothing() -> None:
    generator, codes, fixed = network()
    with torch.no_grad():
        generator.embedding[int(codes[0, 0])] = float("inf")
    sums, norms = clipped(generator, codes, fixed, 1.0)
    assert not norms.isfinite().all()
    assert all(value.isfinite().all() for name, value in sums.items() if name.endswith("bias"))


# -- an attacker --------------------------------------------------------------------------------------------------


def attack(training: Training, members: Tensor, others: Tensor) -> float:
    """AUC of telling members by how likely the model finds them."""
    with torch.no_grad():
        a, b = (training.trainer.generator.likelihood(codes).sum(1) for codes in (members, others))  # type: ignore[operator]
    return float((a[:, None] < b[None]).float().mean() + 0.5 * (a[:, None] == b[None]).float().mean())


def test_an_attacker_tells_members_of_a_model_but_hardly_of_a_private_one(tmp_path: Path) -> None:
    n, rng = 600, np.random.default_rng(11)  # of its own: whatever tests ran before, the same rows
    columns = {f"c{i}": rng.choice(list("abcdef"), 2 * n) for i in range(12)}
    _, dataset = ingest(tmp_path, "t.csv", csv(**{name: values[:n] for name, values in columns.items()}))
    unseen = pa.table({name: pa.array(values[n:]) for name, values in columns.items()})
    found = {}
    for kind, privacy in (("open", None), ("private", {"epsilon": 1.0, "reproducible": True})):
        fields = (
            {"steps": 800, "width": 64, "privacy": privacy} if privacy is None else {"steps": 200, "privacy": privacy}
        )
        training = MODALITY.training(dataset, config(**fields), "cpu")
        training.trainer.judge = None  # nothing stops it from knowing rows by heart
        finished(training)
        codec = training.codec  # type: ignore[attr-defined]
        members, others = (
            torch.from_numpy(codec.encode(table, np.random.default_rng(0)))
            for table in (training.train, unseen)  # type: ignore[attr-defined]
        )
        found[kind] = attack(training, members, others)
    assert found["open"] > 0.7, found
    assert abs(found["private"] - 0.5) < 0.06, found
