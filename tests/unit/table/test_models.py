"""Whole models: trained briefly on small tables of every kind, sampled, and asked for conditions."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from service.errors import InvalidCondition, Rejected
from tests.unit.table.tables import config, csv, ingest, no_progress, people, trained
from workers.modalities import Dataset, Stop
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.sampler import TableSampler
from workers.modalities.table.sampling import FastGenerator, Plan, rule_tables
from workers.modalities.table.spec import check_conditions

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, Dataset, TableSampler, Path]:
    folder = tmp_path_factory.mktemp("world")
    table = people(3_000)
    _, dataset = ingest(folder, "t.parquet", table)
    return table, dataset, trained(dataset, folder / "model", steps=150), folder / "model"


def test_output_has_the_inputs_names_order_types_and_bounds(world: Any) -> None:
    table, _, sampler, folder = world
    sampler.write(folder / "out.parquet", 0, 5_000, 1, "parquet", {}, no_progress)
    out = pq.read_table(folder / "out.parquet")
    assert out.num_rows == 5_000
    assert [(f.name, f.type) for f in out.schema] == [(f.name, f.type) for f in table.schema]
    for name in ("temperature", "wind", "visits"):
        real, made = pc.min_max(table[name]).as_py(), pc.min_max(out[name]).as_py()
        assert real["min"] <= made["min"]
        assert made["max"] <= real["max"]
    assert all(x == round(x, 1) for x in out["temperature"].to_pylist())


def test_a_column_that_is_always_seven_stays_seven(world: Any) -> None:
    _, _, sampler, _ = world
    assert set(sampler.table(0, 500, 1, {})["seven"].to_pylist()) == {7}


def test_shares_of_levels_and_of_missing_values_are_reproduced_jointly(world: Any) -> None:
    table, _, sampler, _ = world
    made = sampler.table(0, 20_000, 1, {})
    for city in ("Rome", "Oslo", "Lima"):
        real = pc.mean(pc.equal(table["city"], city).cast(pa.float64())).as_py()
        assert pc.mean(pc.equal(made["city"], city).cast(pa.float64())).as_py() == pytest.approx(real, abs=0.02)
    assert made["wind"].null_count / 20_000 == pytest.approx(table["wind"].null_count / 3_000, abs=0.02)
    assert made["wind"].is_null().equals(made["gust"].is_null())


def test_what_determines_another_column_still_does(world: Any) -> None:
    _, _, sampler, _ = world
    made = sampler.table(0, 5_000, 1, {})
    assert len(set(zip(made["city"].to_pylist(), made["country"].to_pylist(), strict=True))) == 3


def test_numbers_follow_their_category(world: Any) -> None:
    _, _, sampler, _ = world
    for city, degrees in {"Rome": 20, "Oslo": 5, "Lima": 25}.items():
        made = sampler.table(0, 2_000, 4, {"city": city})
        assert pc.mean(made["temperature"]).as_py() == pytest.approx(degrees, abs=2.5)


def test_keys_are_new_and_unique_across_shards(world: Any) -> None:
    table, _, sampler, _ = world
    keys = [key for start in (0, 1_000_000) for key in sampler.table(start, 3_000, 1, {})["key"].to_pylist()]
    assert len(set(keys)) == 6_000
    assert not set(keys) & set(table["key"].to_pylist())


def test_no_text_of_the_training_data_is_in_the_model_or_its_rows(world: Any) -> None:
    _, _, sampler, folder = world
    assert not any("secret" in note for note in sampler.table(0, 2_000, 1, {})["note"].to_pylist())
    for path in folder.iterdir():
        assert b"secret" not in path.read_bytes(), path.name


def test_the_model_is_safetensors_and_json_alone(world: Any) -> None:
    folder = world[3]
    names = {path.name for path in folder.iterdir() if not path.name.startswith("out")}
    assert names == {
        *("generator.safetensors", "discriminator.safetensors"),
        *("codec.json", "config.json", "report.json", "samples.json"),
    }  # fmt: skip
    for name in names - {"generator.safetensors", "discriminator.safetensors"}:
        json.loads((folder / name).read_text())


def test_the_report_puts_its_figures_between_a_floor_and_a_ceiling(world: Any) -> None:
    report = json.loads((world[3] / "report.json").read_text())
    assert report["independent_columns"]["c2st_auc"] > report["c2st_auc"] >= 0.4
    assert report["real_rows"]["trend"] + 0.01 > report["trend"] > report["independent_columns"]["trend"]
    assert 0.4 < report["dcr_share"] < 0.6
    assert report["rows"] == {
        "available": 2_700,
        "drawn": 2_700,
        "trained_on": 2_430,
        "set_aside": 270,
        "holdout": 300,
        "synthetic_judged": 20_000,
    }
    assert report["verdict"].endswith(".")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(world: Any) -> None:
    _, _, sampler, folder = world
    again = MODALITY.sampler(folder, "cpu")
    files = []
    for number, (model, seed) in enumerate([(sampler, 1), (again, 1), (sampler, 2)]):
        path = folder / f"out-{number}.csv"
        model.write(path, 1_000_000, 700, seed, "csv", {}, no_progress)
        files.append(path.read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


@pytest.mark.parametrize("conditions", [{}, {"city": {"Oslo": 0.5, "Rome": 0.5}}])
def test_bytes_do_not_depend_on_the_number_of_threads(
    world: Any, monkeypatch: pytest.MonkeyPatch, conditions: dict[str, Any]
) -> None:
    import torch

    folder, before = world[3], torch.get_num_threads()
    files = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        sampler = MODALITY.sampler(folder, "cpu")
        monkeypatch.setattr(sampler, "chunk", 4_000)
        sampler.write(folder / "out.parquet", 0, 30_500, 7, "parquet", conditions, no_progress)
        files.append((folder / "out.parquet").read_bytes())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert files[0] == files[1]


def test_an_output_that_nobody_wants_any_more_ends_at_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, sampler, folder = world
    monkeypatch.setattr(sampler, "chunk", 2_000)
    told: list[float] = []

    def cancelled(done: float, total: float) -> None:
        told.append(done)
        if done >= 4_000:
            raise Stop

    with pytest.raises(Stop):
        sampler.write(folder / "out.parquet", 0, 1_000_000, 7, "parquet", {}, cancelled)
    assert told[0] == 0
    assert told[-1] < 20_000


def test_the_first_rows_of_a_shard_do_not_depend_on_its_length(world: Any) -> None:
    _, _, sampler, _ = world
    short, long = sampler.table(0, sampler.chunk + 500, 1, {}), sampler.table(0, sampler.chunk + 9_000, 1, {})
    assert long.slice(0, sampler.chunk).equals(short.slice(0, sampler.chunk))


def test_shards_of_one_stream_differ(world: Any) -> None:
    _, _, sampler, _ = world
    first, second = (sampler.table(start, 500, 1, {})["temperature"].to_pylist() for start in (0, 1_000_000))
    assert first != second


@pytest.mark.parametrize(
    "conditions",
    [{"city": "Oslo"}, {"country": "Peru"}, {"windy": True}, {"windy": "true"}, {"city": "Lima", "windy": False}],
)
def test_conditions_are_met_in_every_row(world: Any, conditions: dict[str, Any]) -> None:
    _, _, sampler, folder = world
    sampler.write(folder / "out.parquet", 0, 1_000, 1, "parquet", conditions, no_progress)
    out = pq.read_table(folder / "out.parquet")
    for name, value in conditions.items():
        assert {str(x).lower() for x in out[name].to_pylist()} == {str(value).lower()}
    assert len(set(zip(out["city"].to_pylist(), out["country"].to_pylist(), strict=True))) <= 3


@pytest.mark.parametrize(
    ("conditions", "path"),
    [
        ({"nowhere": 1}, "conditions.nowhere"),
        ({"city": "Paris"}, "conditions.city"),
        ({"wind": -3.0}, "conditions.wind"),
        ({"city": None}, "conditions.city"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_met_is_refused(world: Any, conditions: dict[str, Any], path: str) -> None:
    _, dataset, sampler, folder = world
    with pytest.raises(InvalidCondition) as refused:
        check_conditions(dataset.schema, conditions, {})
    assert refused.value.errors[0]["path"] == path
    with pytest.raises(InvalidCondition):
        sampler.write(folder / "out.csv", 0, 5, 0, "csv", conditions, no_progress)


def test_csv_and_json_lines_say_the_same_as_parquet(world: Any) -> None:
    _, _, sampler, folder = world
    for format in ("parquet", "csv", "jsonl"):
        assert sampler.write(folder / f"out.{format}", 0, 300, 9, format, {}, no_progress) == 300
    rows = pq.read_table(folder / "out.parquet").to_pylist()
    assert [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()] == rows
    assert pacsv.read_csv(folder / "out.csv")["wind"].to_pylist() == [row["wind"] for row in rows]


def test_a_preview_is_json_rows(world: Any) -> None:
    shown = json.loads(world[2].preview(7, 3))
    assert len(shown["rows"]) == 7
    assert shown["columns"][:2] == ["key", "city"]


def test_the_fast_sampler_draws_from_the_generators_distribution(world: Any) -> None:
    """Look-ups and uniform numbers against the network's own forward pass, with and without a condition."""
    import torch

    _, dataset, _, _ = world
    training = MODALITY.training(dataset, config(steps=60, seed=1), "cpu")
    for _ in training.trainer.run():
        pass
    network, codec = training.trainer.ema, training.codec  # type: ignore[attr-defined]
    fast = FastGenerator(network, rule_tables(codec.rules))
    last, n = len(codec.sizes) - 1, 40_000
    for fixed in (None, last):
        plan, condition = None, None
        if fixed is not None:
            plan = Plan(np.full((n, last + 1), -1) + np.eye(last + 1, dtype=int)[last])
            condition = torch.zeros(n, sum(codec.sizes))
            condition[:, network.slices[last].start] = 1
        with torch.no_grad():
            rows = network(network.latent(n, torch.Generator().manual_seed(0)), condition)
        codes = fast.draw(n, np.random.default_rng(0), plan)
        for part, column in list(zip(network.slices, codes.T, strict=True))[: None if fixed is None else 3]:
            slow = rows[:, part].mean(0).numpy()
            tolerance = 0.015 if fixed is None else 0.05
            np.testing.assert_allclose(np.bincount(column, minlength=len(slow)) / n, slow, atol=tolerance)


# -- tables of every kind -----------------------------------------------------------------------------------------

SMALL = {
    "ten rows": csv(a=[i * 7 % 11 for i in range(10)], b=["xyz"[i % 3] for i in range(10)]),
    "one number": csv(x=np.round(RNG.normal(size=300), 3)),
    "one category": csv(x=["ab"[i % 2] for i in range(60)]),
    "one key": csv(x=range(200)),
    "one column with holes": csv(x=["" if i % 3 else i for i in range(200)]),
    "numbers only": csv(a=np.round(RNG.normal(size=200), 2), b=RNG.integers(0, 900, 200)),
    "categories only": csv(a=RNG.choice(list("abc"), 200), b=RNG.choice(list("de"), 200), c=list("fg" * 100)),
    "keys and texts only": csv(id=range(100), t=[f"said {i} by {i * 7} to {i * 3} again" for i in range(100)]),
    "a column without values": csv(a=RNG.integers(0, 900, 100), b=[""] * 100),
    "many levels": csv(a=[f"c{int(abs(x) * 400)}" for x in RNG.normal(size=4_000)], b=RNG.integers(0, 9, 4_000)),
    "many columns": csv(**{f"c{i}": RNG.integers(0, 3 if i % 2 else 400, 80) for i in range(120)}),
    "dates": csv(
        day=[f"{1 + i % 28:02d}.{1 + i % 12:02d}.2020" for i in range(90)],
        at=[f"2020-01-{1 + i % 28:02d} 1{i % 10}:00" for i in range(90)],
    ),
    "nearly all missing": csv(
        a=["5.5" if i == 40 else "" for i in range(100)],
        b=["x" if i == 50 else "" for i in range(100)],
        c=RNG.integers(0, 90, 100),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_tables_of_every_kind_train_and_sample(tmp_path: Path, name: str) -> None:
    found, dataset = ingest(tmp_path, "t.csv", SMALL[name])
    sampler = trained(dataset, tmp_path / "model", steps=8)
    for format in ("parquet", "csv", "jsonl"):
        path = tmp_path / f"out.{format}"
        assert sampler.write(path, 0, 150, 0, format, {}, no_progress) == 150
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.column_names == [column["name"] for column in found.schema["columns"]]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 151


def test_constants_texts_and_keys_are_missing_where_other_columns_say_so(tmp_path: Path) -> None:
    group = RNG.integers(0, 2, 1_500)
    number = np.where(group == 1, RNG.normal(size=1_500).round(3).astype(str), "")
    content = csv(
        group=group,
        sure=np.where(group == 1, "Y", ""),
        note=[f"a note {i} of some {i * 31} words" if g else "" for i, g in enumerate(group)],
        key=["" if g else f"K{i * 7919 % 100_003:05d}x" for i, g in enumerate(group)],
        number=number,
    )
    found, dataset = ingest(tmp_path, "t.csv", content)
    assert [c["type"] for c in found.schema["columns"]] == ["integer", "constant", "text", "identifier", "float"]
    made = trained(dataset, tmp_path / "model", steps=20).table(0, 4_000, 0, {})
    one = np.array(made["group"]) == 1
    assert 0.4 < one.mean() < 0.6
    for name, there in {"sure": one, "note": one, "key": ~one, "number": one}.items():
        np.testing.assert_array_equal(np.array(made[name].is_valid()), there, err_msg=name)


def test_integers_at_the_edges_of_their_types_stay_within_them(tmp_path: Path) -> None:
    last, n = 2**63 - 1, 400
    table = pa.table(
        {
            "sentinel": pa.array([last if i % 3 == 0 else int(x) for i, x in enumerate(RNG.integers(0, 10**6, n))]),
            "lowest": pa.array([-(2**63) if i % 3 == 0 else int(x) for i, x in enumerate(RNG.integers(0, 10**6, n))]),
            "short_id": pa.array(np.arange(n), pa.int16()),
            "negative_id": pa.array(np.arange(n) - 1000, pa.int64()),
            "large_id": pa.array(np.arange(n) + last - n, pa.int64()),
            "unsigned": pa.array(np.arange(n) * 37 % 211, pa.uint64()),
        }
    )
    found, dataset = ingest(tmp_path, "t.parquet", table)
    kinds = [column["type"] for column in found.schema["columns"]]
    assert kinds == ["integer", "integer", *["identifier"] * 3, "integer"]
    sampler = trained(dataset, tmp_path / "model", steps=5)
    sampler.write(tmp_path / "out.parquet", 0, 40_000, 0, "parquet", {}, no_progress)
    out = pq.read_table(tmp_path / "out.parquet")
    for name in ("sentinel", "lowest", "unsigned"):
        made, real = pc.min_max(out[name]).as_py(), pc.min_max(table[name]).as_py()
        assert real["min"] <= made["min"] < made["max"] <= real["max"]
    assert pc.max(out["sentinel"]).as_py() == last
    assert pc.min(out["lowest"]).as_py() == -(2**63)
    assert out["short_id"].to_pylist() == list(range(400, 40_400))
    assert out["negative_id"].to_pylist()[:3] == [-600, -599, -598]
    assert pc.count_distinct(out["large_id"]).as_py() == 40_000


@pytest.mark.parametrize("distinct", [1, 7, 300])
def test_every_type_of_a_parquet_file_comes_back(tmp_path: Path, distinct: int) -> None:
    n = 300
    some = np.arange(n) % distinct * 1_001 + 43_080_000
    numbers = {
        **{f"time32[{unit}]": pa.array(some % 86_400, pa.int32()).cast(pa.time32(unit)) for unit in ("s", "ms")},
        **{f"time64[{unit}]": pa.array(some).cast(pa.time64(unit)) for unit in ("us", "ns")},
        **{f"duration[{unit}]": pa.array(some).cast(pa.duration(unit)) for unit in ("s", "ns")},
        "timestamp[ns]": pa.array(some * 10**9 + 7).cast(pa.timestamp("ns", "UTC")),
        "date64": pa.array(some // 1000 * 86_400_000).cast(pa.date64()),
        "decimal32": pa.array([Decimal(i % distinct) for i in range(n)], pa.decimal32(7, 2)),
        "decimal256": pa.array([Decimal(i % distinct) for i in range(n)], pa.decimal256(60, 2)),
        "json": pa.array([f'{{"a": {i % 7}}}' for i in range(n)], pa.json_()),
        "other": pa.array(RNG.normal(size=n)),
    }
    _, dataset = ingest(tmp_path, "t.parquet", pa.table(numbers))
    sampler = trained(dataset, tmp_path / "model", steps=2)
    for format in ("parquet", "csv", "jsonl"):
        sampler.write(tmp_path / f"out.{format}", 0, 50, 0, format, {}, no_progress)
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.schema.field("time64[ns]").type == pa.time64("us")
    assert {t.hour for t in out["time32[s]"].to_pylist()} <= set(range(24))
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert re.fullmatch(r"00:00:43[.]\d{6}", first["time64[us]"]), first
    assert first["time64[us]"] in (tmp_path / "out.csv").read_text().splitlines()[1]
    shown = json.loads(sampler.preview(1, 0))
    assert shown["rows"][0][shown["columns"].index("time32[s]")].count(":") == 2


def test_values_are_written_to_csv_as_the_upload_wrote_them(tmp_path: Path) -> None:
    def line(i: int) -> str:
        gone = "n/a" if i % 2 else i * 11 % 47
        return f'{1 + i % 28}.{1 + i % 12}.2019;{i * 37 % 91},{i % 10}0;{["TRUE", "FALSE"][i % 2]};"a;{i % 3}";{gone}\n'

    text = "day;price;on;odd;gone\n" + "".join(map(line, range(200)))
    _, dataset = ingest(tmp_path, "t.csv", text)
    sampler = trained(dataset, tmp_path / "model", steps=8)
    sampler.write(tmp_path / "out.csv", 0, 100, 0, "csv", {}, no_progress)
    header, *lines = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "day;price;on;odd;gone"
    pattern = re.compile(r'[1-9]\d?\.[1-9]\d?\.2019;\d+,\d\d;(TRUE|FALSE);"a;[012]";(n/a|\d+)')
    assert all(pattern.fullmatch(line) for line in lines), lines[:3]


def test_rules_go_to_another_device_with_the_generator(tmp_path: Path) -> None:
    import torch

    _, dataset = ingest(tmp_path, "t.parquet", people(400))
    generator = MODALITY.training(dataset, config(), "cpu").trainer.generator
    assert generator.rules.tables  # type: ignore[union-attr]
    latent = torch.zeros(4, generator.shape.levels, device="meta")  # type: ignore[union-attr]
    assert generator.to("meta")(latent).device.type == "meta"


def test_a_small_table_is_not_learned_by_heart(tmp_path: Path) -> None:
    rows_ = {f"c{i}": RNG.choice(list("abcde"), 90) for i in range(10)}
    _, dataset = ingest(tmp_path, "t.csv", csv(**rows_))
    made = trained(dataset, tmp_path / "model", steps=1_500).table(0, 2_000, 0, {})
    real = set(zip(*rows_.values(), strict=True))
    assert np.mean([row in real for row in zip(*(c.to_pylist() for c in made.columns), strict=True)]) < 0.1


def test_fewer_than_ten_rows_cannot_be_trained_on(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.csv", csv(a=range(9), b=range(9)))
    with pytest.raises(Rejected) as refused:
        MODALITY.training(dataset, config(), "cpu")
    assert refused.value.code == "too_few_rows"


def test_the_same_data_and_seed_give_the_same_model(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", people(400))
    models = []
    for name in ("one", "two"):
        trained(dataset, tmp_path / name, steps=10, seed=5)
        models.append(
            (tmp_path / name / "generator.safetensors").read_bytes() + (tmp_path / name / "codec.json").read_bytes()
        )
    assert models[0] == models[1]


def test_a_run_that_is_resumed_from_a_checkpoint_ends_in_the_same_model(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", people(400))
    whole = MODALITY.training(dataset, config(steps=20), "cpu")
    for progress in whole.trainer.run():
        if progress.step == 10:
            whole.trainer.save(tmp_path / "checkpoint.safetensors")
    resumed = MODALITY.training(dataset, config(steps=20), "cpu")
    resumed.trainer.load(tmp_path / "checkpoint.safetensors")
    for _ in resumed.trainer.run():
        pass
    for name, training in (("whole", whole), ("resumed", resumed)):
        (tmp_path / name).mkdir()
        training.export(tmp_path / name)
    a, b = ((tmp_path / name / "generator.safetensors").read_bytes() for name in ("whole", "resumed"))
    assert a == b


def test_the_best_preset_trains_several_generators_that_share_the_drawing(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", people(400))
    training = MODALITY.training(dataset, config(preset="best", steps=1_000), "cpu")
    aside = []
    for progress in training.trainer.run():
        aside.append(training.rows.first)
        assert progress.step <= 1_000
    assert set(aside) == {0, training.rows.aside}, "each round sets other rows aside"
    model = tmp_path / "model"
    model.mkdir()
    report = training.export(model)
    assert [one["stage"] for one in report["kept"]] == ["likelihood"] * 2
    assert (model / "generator-2.safetensors").read_bytes() != (model / "generator.safetensors").read_bytes()
    sampler = MODALITY.sampler(model, "cpu")
    both = sampler.table(0, 2_000, 7, {})
    assert both.equals(sampler.table(0, 2_000, 7, {}))
    (model / "generator-2.safetensors").write_bytes((model / "generator.safetensors").read_bytes())
    assert not both.equals(MODALITY.sampler(model, "cpu").table(0, 2_000, 7, {}))
    for rows in (500, 3, 2, 1):
        assert set(sampler.table(0, rows, 7, {"city": "Lima"})["country"].to_pylist()) == {"Peru"}


def test_a_run_can_be_judged_half_way(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", people(2_500))
    training = MODALITY.training(dataset, config(steps=10), "cpu")
    assert set(training.evaluate()) == {"shape", "trend", "c2st_auc"}
    assert training.picture() is None
