"""Augmented tables: the real rows as they were, and as many synthetic ones of each class as are asked for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from service.errors import Rejected
from tests.unit.table.tables import ingest, no_progress, people, trained
from workers.modalities import Dataset, Part, Stop
from workers.modalities.table import apart, augment, writing
from workers.modalities.table.augment import TableAugmenter, filled, flag_name, read
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.sampler import TableSampler
from workers.modalities.table.spec import SPEC

WISH = {"target": "city", "method": "balance", "count": None, "seed": 3, "max_count": 10**6}


def towns(n: int = 600) -> pa.Table:
    """People with a few cities missing, and one city of a single row."""
    table = people(n)
    city = table["city"].to_pylist()
    city[:7], city[7] = [None] * 7, "Atlantis"
    return table.set_column(1, "city", pa.array(city))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, TableSampler, Path]:
    folder = tmp_path_factory.mktemp("augment")
    _, dataset = ingest(folder, "people.parquet", towns())
    return dataset, trained(dataset, folder / "model"), folder


def augmenter(made: tuple[Dataset, TableSampler, Path], **wish: Any) -> TableAugmenter:
    return TableAugmenter(made[0], made[1], WISH | wish)


def written(found: TableAugmenter, folder: Path, format: str = "parquet", **span: int) -> Path:
    path = folder / f"out.{format}"
    start, count = span.get("start", 0), span.get("count", found.rows)
    assert found.write(path, start, count, format, no_progress) == count
    return path


def split(made: tuple[Dataset, TableSampler, Path], name: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(part.path) for part in made[0].parts if part.split == name)


def counts(column: pa.ChunkedArray) -> dict[Any, int]:
    return {one["values"]: one["counts"] for one in column.value_counts().to_pylist()}


@pytest.mark.parametrize(
    ("have", "wanted", "most", "added"),
    [
        ([5, 3, 1], None, 99, [0, 2, 4]),
        ([1, 5, 3], None, 99, [4, 0, 2]),
        ([5, 3, 1], None, 4, [0, 1, 3]),
        ([5, 3, 1], 1, 99, [0, 0, 1]),
        ([5, 3, 1], 2, 99, [0, 0, 2]),
        ([5, 3, 1], 9, 99, [1, 3, 5]),
        ([5, 3, 1], 11, 99, [2, 4, 5]),
        ([4, 4], None, 99, [0, 0]),
        ([4, 4], 3, 99, [2, 1]),
        ([7, 0], None, 99, [0, 7]),
        ([7], 2, 99, [2]),
        ([10**9, 1], None, 10**9, [0, 10**9 - 1]),
    ],
)
def test_the_smallest_classes_come_level_first(
    have: list[int], wanted: int | None, most: int, added: list[int]
) -> None:
    assert filled(np.array(have), wanted, most).tolist() == added


def test_classes_of_any_sizes_get_what_was_asked_for_and_end_as_level_as_can_be() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        have = rng.integers(0, 60, rng.integers(1, 9))
        wanted = int(rng.integers(0, 200))
        added = filled(have, wanted, 10**6)
        assert added.sum() == wanted
        assert (added >= 0).all()
        ends = (have + added)[added > 0]
        assert not len(ends) or ends.max() <= (have + added).min() + 1


def test_every_class_is_as_large_as_the_largest_and_real_rows_are_as_they_were(
    made: tuple[Dataset, TableSampler, Path],
) -> None:
    found = augmenter(made)
    real, out = split(made, "train"), pq.read_table(written(found, made[2]))
    before = counts(real["city"])
    assert before["Rome"] > before["Oslo"] > before["Lima"] > 20
    assert out.schema.names == [*real.schema.names, "is_synthetic"]
    assert out["is_synthetic"].to_pylist() == [False] * real.num_rows + [True] * (found.rows - real.num_rows)
    assert out.drop_columns(["is_synthetic"]).slice(0, real.num_rows).equals(real)
    after, made_rows = counts(out["city"]), out.filter(out["is_synthetic"])
    assert after["Rome"] == after["Oslo"] == after["Lima"] == before["Rome"]
    assert set(counts(made_rows["city"])) == {"Oslo", "Lima"}
    assert (after[None], after.get("Atlantis")) == (before[None], before.get("Atlantis"))
    assert out["key"].null_count == 0
    assert len(pc.unique(out["key"])) == out.num_rows  # keys stay keys
    assert not set(split(made, "holdout")["key"].to_pylist()) & set(out.slice(0, real.num_rows)["key"].to_pylist())


def test_the_other_columns_follow_the_class(made: tuple[Dataset, TableSampler, Path]) -> None:
    out = pq.read_table(written(augmenter(made, count=600), made[2]))
    rows = out.filter(out["is_synthetic"]).select(["city", "country"]).to_pylist()
    assert {(row["city"], row["country"]) for row in rows} <= {("Rome", "Italy"), ("Oslo", "Norway"), ("Lima", "Peru")}


def test_every_format_has_the_uploads_types_and_the_flag(made: tuple[Dataset, TableSampler, Path]) -> None:
    found = augmenter(made)
    out = pq.read_table(written(found, made[2]))
    assert out.schema.field("is_synthetic").type == pa.bool_()
    assert out.schema.remove(out.schema.get_field_index("is_synthetic")) == pq.read_schema(
        made[2] / "source-people.parquet"
    )
    lines = pyarrow.json.read_json(written(found, made[2], "jsonl"))
    text = pyarrow.csv.read_csv(
        written(found, made[2], "csv"), convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    )
    for other in (lines, text):
        for name in ("city", "visits", "temperature", "is_synthetic", "windy"):
            assert other[name].to_pylist() == out[name].to_pylist(), name


def test_any_file_can_be_written_alone_and_nothing_depends_on_how_many_there_are(
    made: tuple[Dataset, TableSampler, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "BLOCK", 100)
    found = augmenter(made)
    whole = pq.read_table(written(found, made[2]))
    for size in (200, 500):
        parts = [
            pq.read_table(written(augmenter(made), made[2], start=start, count=min(size, found.rows - start)))
            for start in range(0, found.rows, size)
        ]
        assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())
    other = pq.read_table(written(augmenter(made, seed=4), made[2]))
    assert other.slice(0, found.real).equals(whole.slice(0, found.real))
    assert not other.equals(whole)
    assert SPEC.shard_samples % 62_500 == 0  # files end where blocks do


class Watched:
    """A model that notes how many rows were asked for at a time."""

    def __init__(self, model: TableSampler) -> None:
        self.model, self.codec, self.asked = model, model.codec, list[int]()

    def table(self, start: int, count: int, seed: int, conditions: Mapping[str, Any]) -> pa.Table:
        self.asked.append(count)
        return self.model.table(start, count, seed, conditions)

    def refuse_beyond(self, count: int) -> None:
        self.model.refuse_beyond(count)


def test_memory_does_not_grow_with_the_rows(
    made: tuple[Dataset, TableSampler, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "BLOCK", 2_000)
    monkeypatch.setattr(writing, "GROUP_ROWS", 2_000)  # or chunks are held until there are enough for a row group
    watched, held = Watched(made[1]), list[int]()
    found = TableAugmenter(made[0], watched, WISH | {"method": "enlarge", "count": 60_000})

    def note(done: float, total: float) -> None:
        held.append(pa.total_allocated_bytes())

    assert found.write(made[2] / "out.parquet", 0, found.rows, "parquet", note) == found.rows
    assert max(watched.asked) <= 2_000
    assert sum(watched.asked) == 60_000
    assert len(held) >= 30
    assert max(held[10:]) < 1.3 * max(held[:10])


def test_writing_stops_when_it_should(
    made: tuple[Dataset, TableSampler, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "BLOCK", 100)

    def stop(done: float, total: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        augmenter(made).write(made[2] / "out.parquet", 0, 500, "parquet", stop)


def test_enlarging_needs_no_target_and_keeps_the_classes_shares(made: tuple[Dataset, TableSampler, Path]) -> None:
    found = augmenter(made, target=None, method="enlarge", count=3_000)
    assert found.rows == found.real + 3_000
    told = found.judge(no_progress)
    assert (told["before"], told["after"], told["synthetic_rows"]) == (None, None, 3_000)
    assert "No target" in told["verdict"]
    assert "classes" not in told


def test_what_is_left_alone_is_said(made: tuple[Dataset, TableSampler, Path]) -> None:
    real = split(made, "train")
    warnings = augmenter(made).warnings
    assert any(f"{real['city'].null_count} real rows have no class" in warning for warning in warnings)
    atlantis = counts(real["city"]).get("Atlantis", 0)
    assert any("too rare" in warning for warning in warnings) == bool(atlantis)
    capped = augmenter(made, max_count=10)
    assert capped.made == 10
    assert any("one job makes 10" in warning for warning in capped.warnings)


def test_a_column_of_the_flags_name_is_kept_and_another_name_is_told(tmp_path: Path) -> None:
    assert flag_name(["a"]) == "is_synthetic"
    assert flag_name(["is_synthetic", "is_synthetic_2"]) == "is_synthetic_3"
    table = pa.table({"is_synthetic": ["yes", "no", "no"] * 40, "x": np.arange(120.0) % 7})
    _, dataset = ingest(tmp_path, "t.parquet", table)
    model = trained(dataset, tmp_path / "model")
    found = TableAugmenter(dataset, model, WISH | {"target": "is_synthetic"})
    out = pq.read_table(written(found, tmp_path))
    assert out.schema.names == ["is_synthetic", "x", "is_synthetic_2"]
    assert counts(out["is_synthetic"])["yes"] == counts(out["is_synthetic"])["no"]
    told = found.judge(no_progress)
    assert told["flag"] == "is_synthetic_2"
    assert any("is_synthetic_2" in warning for warning in told["warnings"])


def test_rows_with_objects_in_them_stay_so_and_the_flag_lies_beside_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = [{"is_synthetic": {"no": float(i % 9)}, "kind": str(rng.choice(["a", "a", "b"]))} for i in range(200)]
    _, dataset = ingest(tmp_path, "t.jsonl", "\n".join(map(json.dumps, source)))
    model = trained(dataset, tmp_path / "model")
    found = TableAugmenter(dataset, model, WISH | {"target": "kind"})
    lines = [json.loads(line) for line in written(found, tmp_path, "jsonl").read_text().splitlines()]
    assert {tuple(line) for line in lines} == {("is_synthetic", "kind", "is_synthetic_2")}
    assert all({k: v for k, v in line.items() if k != "is_synthetic_2"} in source for line in lines[: found.real])


@pytest.mark.parametrize("target", ["windy", "visits"])
def test_booleans_and_numbers_with_levels_are_classes_too(
    made: tuple[Dataset, TableSampler, Path], tmp_path: Path, target: str
) -> None:
    table = people(400).set_column(
        7, "visits", pa.array(np.random.default_rng(0).choice([1, 2, 5], 400, p=[0.7, 0.2, 0.1]))
    )
    _, dataset = ingest(tmp_path, "t.parquet", table)
    found = TableAugmenter(dataset, trained(dataset, tmp_path / "model"), WISH | {"target": target})
    out = pq.read_table(written(found, tmp_path))
    assert len(set(counts(out[target]).values())) == 1
    recall = found.judge(no_progress)["after"]["recall"]
    assert set(recall) == ({"true", "false"} if target == "windy" else {"1", "2", "5"})


def test_a_dataset_whose_training_rows_have_no_public_class_is_refused(
    made: tuple[Dataset, TableSampler, Path],
) -> None:
    none = Dataset(made[0].schema, 0, [part for part in made[0].parts if part.split == "holdout"])
    with pytest.raises(Rejected, match="no classes"):
        TableAugmenter(none, made[1], WISH)


def test_the_job_tells_what_was_made_and_what_it_is_worth(made: tuple[Dataset, TableSampler, Path]) -> None:
    found, steps = augmenter(made), list[float]()
    told = found.judge(lambda done, total: steps.append(done / total))
    real = split(made, "train")
    assert (told["real_rows"], told["synthetic_rows"]) == (real.num_rows, found.made)
    assert told["holdout_rows"] == split(made, "holdout").num_rows
    assert {one["level"]: one["real"] + one["synthetic"] for one in told["classes"]} == dict.fromkeys(
        ["Rome", "Oslo", "Lima"], counts(real["city"])["Rome"]
    )
    for side in ("before", "after", "weighted"):
        assert 0.9 < told[side]["balanced_accuracy"] <= 1  # the country tells the city
    assert told["before"]["trained_on"] == real["city"].length() - real["city"].null_count - counts(real["city"]).get(
        "Atlantis", 0
    )
    assert told["after"]["trained_on"] == told["before"]["trained_on"] + found.made
    assert set(told["change"]) == {"roc_auc", "balanced_accuracy", "f1_macro"}
    assert told["verdict"].startswith("The synthetic rows ")
    assert len(steps) > 3
    assert found.judge(no_progress) == told


def test_the_score_is_of_the_rows_that_the_files_hold(
    made: tuple[Dataset, TableSampler, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "BLOCK", 100)
    found = augmenter(made)
    out = pa.concat_tables([found.block(at, min(at + 100, found.rows)) for at in range(0, found.rows, 100)])
    made_rows = out.filter(out["is_synthetic"]).drop_columns(["is_synthetic"]).combine_chunks()
    assert found._some_made(1.0, found.columns, no_progress).combine_chunks().equals(made_rows)
    tenth = found._some_made(0.1, found.columns, no_progress)
    sizes = counts(tenth["city"])
    assert {name: pytest.approx(0.1 * n, abs=1) for name, n in counts(made_rows["city"]).items()} == sizes
    keys = set(made_rows["key"].to_pylist())
    assert set(tenth["key"].to_pylist()) <= keys
    some = found._some_real(50, found.columns, np.random.default_rng(0))
    assert some.num_rows == 50
    assert set(some["key"].to_pylist()) <= set(split(made, "train")["key"].to_pylist())


def test_any_rows_of_the_parts_can_be_read(tmp_path: Path) -> None:
    table, parts = pa.table({"a": np.arange(1_000), "b": np.arange(1_000) * 2.0}), []
    for i, (start, rows) in enumerate([(0, 300), (300, 5), (305, 695)]):
        path = tmp_path / f"{i}.parquet"
        pq.write_table(table.slice(start, rows), path, row_group_size=128)
        parts.append(Part(path, rows, "train"))
    for start, stop in [(0, 1_000), (0, 1), (299, 306), (427, 428), (999, 1_000), (5, 5), (1_000, 2_000)]:
        found = list(read(parts, start, stop, [{"name": "b"}]))
        assert [row for _, t in found for row in t["b"].to_pylist()] == table["b"].to_pylist()[start:stop]
        assert all(t["b"][0].as_py() == 2.0 * at for at, t in found)


def test_the_door_loads_a_model_from_its_files(made: tuple[Dataset, TableSampler, Path]) -> None:
    found = MODALITY.augmenter(made[0], made[2] / "model", "cpu", WISH)
    assert found.rows == augmenter(made).rows


def test_more_rows_than_can_be_told_apart_are_refused_before_any_is_made(tmp_path: Path) -> None:
    table = people(400).append_column("seat", pa.array(np.random.default_rng(2).permutation(2_000)[:400]))
    _, dataset = ingest(tmp_path, "seats.parquet", table, types={"seat": "integer"})
    model = trained(dataset, tmp_path / "model", constraints=[{"kind": "unique", "columns": ["seat"]}])
    most = model.codec.structure.capacity
    assert most is not None
    wish = WISH | {"method": "enlarge", "target": None}
    real = set(table["seat"].to_pylist())
    left = most - len(real)  # those that real rows have are theirs alone
    found = TableAugmenter(dataset, model, wish | {"count": left})
    seats = found.block(found.real, found.rows)["seat"].to_pylist()
    assert len(set(seats)) == len(seats) == left
    assert not real & set(seats)
    for count in (left + 1, most + 1):
        with pytest.raises(Rejected) as refused:
            TableAugmenter(dataset, model, wish | {"count": count})
        assert refused.value.code == "too_many_unique_rows"


@pytest.mark.parametrize("exact", [True, False])
def test_keys_of_synthetic_rows_are_no_real_rows_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    """Of a pattern that the real rows fill to a third, in any order of drawing."""
    monkeypatch.setattr(apart, "EXACT", 10**6 if exact else 0)
    taken = np.random.default_rng(0).choice(9_000, 600, replace=False)
    table = people(600).append_column("code", pa.array([f"K{number:04d}x" for number in taken]))
    _, dataset = ingest(tmp_path, "codes.parquet", table, types={"code": "identifier"})
    for column in dataset.schema["columns"]:
        if column["name"] == "code":
            column["pattern"] = {"kind": "places", "places": [["=", "K"], ["d"], ["d"], ["d"], ["d"], ["=", "x"]]}
    found = TableAugmenter(
        dataset, trained(dataset, tmp_path / "model"), WISH | {"method": "enlarge", "target": None, "count": 4_000}
    )
    codes = found.block(0, found.rows)["code"].to_pylist()
    assert len(set(codes)) == len(codes)
    assert not set(codes[found.real :]) & set(table["code"].to_pylist())
    again = found.block(found.real + 1_000, found.real + 1_010)["code"].to_pylist()
    assert again == codes[found.real + 1_000 : found.real + 1_010]


def test_values_have_the_same_hash_wherever_they_lie() -> None:
    texts = pa.array(["", "a", "ab", "ä", "a" * 70, None, "a"])
    whole = apart.hashed([texts, pa.array(range(7))])
    assert np.array_equal(whole[2:5], apart.hashed([texts.slice(2, 3), pa.array([2, 3, 4])]))
    alone = apart.hashed([texts])
    assert alone[1] == alone[6]
    assert len(set(alone.tolist())) == 5  # null counts as the empty text
    assert len(set(apart.hashed([pa.array([0.0, -0.0, 1.5, 1e-300])]).tolist())) == 3
