"""The rows that a training holds: any set as likely as any other, the same for a seed, in bounded memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.table.tables import config, csv, ingest, trained
from workers.modalities import Dataset, Part
from workers.modalities.table import rows as held
from workers.modalities.table.rows import affordable, chosen, read_rows

COLUMN = {"name": "x", "type": "integer", "nullable": False}


def numbered(folder: Path, sizes: list[int], groups: int) -> Dataset:
    """Parts in which each row holds its own number."""
    parts, start = [], 0
    for index, size in enumerate(sizes):
        path = folder / f"part-{index}-{groups}.parquet"
        pq.write_table(pa.table({"x": np.arange(start, start + size)}), path, row_group_size=groups)
        parts.append(Part(path, size, "train"))
        start += size
    return Dataset({"columns": [COLUMN]}, start, parts)


def test_every_row_is_as_likely_as_any_other() -> None:
    counts = np.zeros(40)
    for seed in range(4_000):
        places = chosen(40, 10, seed)
        assert len(set(places.tolist())) == 10
        counts[places] += 1
    assert abs(counts - 1_000).max() < 5 * (4_000 * 0.25 * 0.75) ** 0.5


def test_rows_of_all_blocks_are_as_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "BLOCK", 1_000)
    places = chosen(50_500, 10_000, 3)
    assert len(np.unique(places)) == 10_000
    assert (np.diff(places) > 0).all()
    share = np.histogram(places, bins=10, range=(0, 50_500))[0] / 1_000
    assert abs(share - 1).max() < 0.15


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    one = read_rows(numbered(tmp_path, [700, 1_300], 100), "train", 300, [COLUMN], 1)
    same = read_rows(numbered(tmp_path, [2_000], 333), "train", 300, [COLUMN], 1)
    other = read_rows(numbered(tmp_path, [2_000], 333), "train", 300, [COLUMN], 2)
    assert one.equals(same)
    assert not one.equals(other)
    assert one["x"].to_pylist() == chosen(2_000, 300, 1).tolist()


def test_to_choose_among_a_hundred_million_rows_takes_little_memory() -> None:
    tracemalloc.start()
    places = chosen(100_000_000, 10_000, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6
    assert len(places) == 10_000
    assert abs(places.mean() / 5e7 - 1) < 0.05


def test_reading_tells_how_far_it_is_and_holds_no_more_than_is_kept(tmp_path: Path) -> None:
    dataset, heard = numbered(tmp_path, [800_000, 800_000], 50_000), list[float]()
    before = pa.total_allocated_bytes()
    most = [0]

    def told(done: float, total: float) -> None:
        heard.append(done / total)
        most[0] = max(most[0], pa.total_allocated_bytes() - before)

    table = read_rows(dataset, "train", 5_000, [COLUMN], 0, told)
    assert table.num_rows == 5_000
    assert heard == sorted(heard)
    assert heard[0] == 0
    assert len(heard) == 32
    assert most[0] < 3e6  # of 12.8 MB in the files


def test_wide_tables_are_learned_from_fewer_rows() -> None:
    assert affordable(20) > 1_000_000
    assert affordable(1_000) == 50_000


def test_a_report_tells_how_many_rows_there_were_and_how_many_were_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    _, dataset = ingest(tmp_path, "t.csv", csv(a=rng.integers(0, 50, 900), b=rng.choice(["x", "y"], 900)))
    there = sum(part.rows for part in dataset.parts if part.split == "train")
    trained(dataset, tmp_path / "model", max_rows=200, steps=4)
    report = (tmp_path / "model" / "report.json").read_text()
    assert f'"available": {there}, "drawn": 200, "trained_on": 160, "set_aside": 40' in report
    assert config().max_rows == 500_000
