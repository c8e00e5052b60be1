"""A table to codes and back: what must survive the way, and what must not be kept."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.unit.table.tables import ingest, people, rows
from workers.modalities.conditions import OneOf, Range
from workers.modalities.table import codec as codecs
from workers.modalities.table import relations
from workers.modalities.table.calendar import Moment
from workers.modalities.table.codec import Codec
from workers.modalities.table.fields import Field
from workers.modalities.table.levels import Levels
from workers.modalities.table.numbers import Number, Quantiles
from workers.modalities.table.places import Place

RNG = np.random.default_rng(2)


def number(values: np.ndarray, decimals: int | None = 0, **more: Any) -> tuple[Number, pa.Array]:
    kind = "integer" if decimals == 0 else "float"
    column = {"name": "x", "type": kind, "arrow": "int64" if kind == "integer" else "double", "decimals": decimals}
    array = pa.array(values.astype(np.int64) if kind == "integer" else values, from_pandas=True)
    return Number.fit(array, column | more), array


def there_and_back(field: Field, *arrays: pa.Array) -> list[pa.Array]:
    return field.decode(field.encode(arrays), np.random.default_rng(0))


@pytest.mark.parametrize("values", [RNG.integers(0, 90, 4000), RNG.integers(0, 40, 4000) * 50 - 300, np.full(50, 7)])
def test_short_numbers_on_a_grid_come_back_exactly(values: np.ndarray) -> None:
    field, array = number(values)
    assert there_and_back(field, array)[0].equals(array)


def test_decimals_come_back_as_written_and_within_the_bounds() -> None:
    values = np.round(RNG.gamma(2, 3, 5000), 2)
    field, array = number(values, 2)
    back = there_and_back(field, array)[0].to_numpy()
    assert np.quantile(np.abs(back - values), 0.95) < 0.5
    np.testing.assert_array_equal(back, np.round(back, 2))
    assert values.min() <= back.min()
    assert back.max() <= values.max()


def test_every_code_decodes_to_a_value_that_occurs_on_a_short_grid() -> None:
    field, _ = number(RNG.choice([10, 20, 20, 20, 50, 1000], 3000))
    codes = RNG.integers(0, 9, (500, len(field.sizes)))
    assert set(field.decode(codes, RNG)[0].to_pylist()) <= {10, 20, 50, 1000}


def test_spikes_and_sentinels_have_cells_of_their_own() -> None:
    values = np.where(RNG.random(20_000) < 0.3, 0, RNG.lognormal(8, 2, 20_000).round())
    values[:500] = -999
    field, array = number(values)
    back = there_and_back(field, array)[0].to_numpy()
    np.testing.assert_array_equal(back == 0, values == 0)
    np.testing.assert_array_equal(back == -999, values == -999)


def test_whole_numbers_beyond_2_to_the_53_stay_exact() -> None:
    values = 2**60 + RNG.integers(0, 40, 2_000) * 3
    field, array = number(values)
    assert there_and_back(field, array)[0].equals(array)


def test_no_rare_value_of_a_long_column_is_kept_in_the_table() -> None:
    values = RNG.normal(50_000, 9_000, 5_000).round(2)
    table = Quantiles.fit(values, 2)
    inner = {round((x * table.step + table.origin) / table.scale, 2) for x in (*table.low[1:-1], *table.high[1:-1])}
    assert len(inner & set(values.tolist())) < 0.5 * len(values)
    assert len(table.low) < len(values) / 4


@pytest.mark.parametrize("decimals", [0, 2])
def test_numbers_that_are_each_a_single_rows_own_are_not_repeated(decimals: int) -> None:
    values = np.unique(RNG.integers(10_000_000, 900_000_000, 600)) / 10.0**decimals
    drawn = Quantiles.fit(values, decimals).draw(np.random.default_rng(0).random(5_000))
    assert np.isin(drawn, values).mean() < 0.02, "only the bounds, which the schema states, may be met"


@pytest.mark.parametrize(("low", "high"), [(20, 30), (None, 5), (37, None), (25, 25)])
def test_a_range_of_numbers_is_met_exactly_and_evenly(low: Any, high: Any) -> None:
    values = RNG.integers(0, 1_000, 30_000) / 20
    field, _ = number(values, 2)
    left = field.allowed(Range(low, high))
    first = RNG.choice(len(left.share), 20_000, p=left.share / left.share.sum())
    second = np.array([RNG.choice(len(row), p=row / row.sum()) for row in left.tables[0][first]])
    made = field.decode(np.stack([first, second], 1), RNG, left.within)[0].to_numpy()
    assert (low or 0) <= made.min()
    assert made.max() <= (50 if high is None else high)
    within = values[(values >= (low or 0)) & (values <= (50 if high is None else high))]
    assert abs(made.mean() - within.mean()) < 0.1 * (np.ptp(within) + 0.01)


def test_rare_levels_are_neither_learned_nor_drawn() -> None:
    names = [f"l{i}" for i in range(50)]
    array = pa.array(np.repeat(names, [1000] * 5 + [20] * 44 + [1]))
    column = {"name": "x", "type": "category", "arrow": "string", "nullable": False, "levels": names}
    levels = Levels.fit(array, column, 300)
    assert levels.sizes == [49]
    assert "l49" not in set(there_and_back(levels, array)[0].to_pylist())


def test_a_long_list_of_levels_takes_two_short_codes() -> None:
    names = [f"level {i}" for i in range(10_000)]
    array = pa.array(np.repeat(names, 6))
    column = {"name": "x", "type": "category", "arrow": "string", "nullable": False, "levels": names}
    levels = Levels.fit(array, column, 256)
    assert sum(levels.sizes) < 500
    assert there_and_back(levels, array)[0].equals(array)
    wanted = OneOf(("level 3", "level 9000", "level 9001"))
    left = levels.allowed(wanted)
    codes = [(i, j) for i in np.flatnonzero(left.share) for j in np.flatnonzero(left.tables[0][i])]
    made = set(levels.decode(np.array([(i, j) for i, j in codes if i >= levels.alone or j == 0]), RNG)[0].to_pylist())
    assert made == set(wanted.values)


def test_times_are_learned_by_week_weekday_and_clock() -> None:
    start = dt.datetime(2020, 1, 1)
    days = RNG.integers(0, 700, 8_000)
    times = pa.array(
        [start + dt.timedelta(days=int(d), minutes=int(m) * 15) for d, m in zip(days, days % 60, strict=True)]
    )
    column = {"name": "x", "type": "datetime", "arrow": "timestamp[us]"}
    field = Moment.fit(times, column)
    back = there_and_back(field, times)[0]
    assert pc.day_of_week(back).equals(pc.day_of_week(times))
    assert pc.max(pc.abs(pc.days_between(times.cast(pa.date32()), back.cast(pa.date32())))).as_py() <= 14
    assert pc.min(back).as_py() >= pc.min(times).as_py()
    left = field.allowed(Range(dt.datetime(2020, 3, 1), dt.datetime(2020, 3, 31)))
    codes = field.encode([times])[left.share[field.encode([times])[:, 0]] > 0]
    made = field.decode(codes, RNG, left.within)[0]
    assert pc.min(made).as_py() >= dt.datetime(2020, 3, 1)
    assert pc.max(made).as_py() <= dt.datetime(2020, 3, 31)


def test_times_under_a_range_of_a_day_do_not_heap_at_its_ends() -> None:
    minutes = RNG.integers(0, 365 * 24 * 60, 6_000)
    times = pa.array([dt.datetime(2021, 1, 1) + dt.timedelta(minutes=int(m)) for m in minutes])
    field = Moment.fit(times, {"name": "x", "type": "datetime", "arrow": "timestamp[us]"})
    low, high = dt.datetime(2021, 6, 1, 6), dt.datetime(2021, 6, 2, 5)
    left = field.allowed(Range(low, high))
    codes = field.encode([times])
    codes = codes[left.share[codes[:, 0]] > 0]
    made = pa.concat_arrays([field.decode(codes, RNG, left.within)[0] for _ in range(20)])
    assert low <= pc.min(made).as_py() <= pc.max(made).as_py() <= high
    assert pc.max(pc.value_counts(made).field(1)).as_py() < 0.05 * len(made)
    whole = pa.concat_arrays([field.decode(field.encode([times]), RNG)[0] for _ in range(5)])
    ends = (pc.min(times).as_py(), pc.max(times).as_py())
    assert sum(pc.sum(pc.equal(whole, end)).as_py() for end in ends) < 20, "the first and the last are nobody's to tell"


def test_a_place_can_be_asked_for_both_its_columns() -> None:
    lat, lon = RNG.uniform(40, 50, 4_000).round(3), RNG.uniform(0, 10, 4_000).round(3)
    pair = tuple({"name": n, "type": "float", "arrow": "double", "decimals": 3} for n in ("lat", "lon"))
    field = Place.fit([pa.array(lat), pa.array(lon)], pair)  # type: ignore[arg-type]
    one, two = field.allowed(Range(44, 46), 0), field.allowed(Range(2, 3), 1)
    leaves = [(i, j) for i in range(field.sizes[0]) for j in range(field.sizes[1])]
    codes = np.array(
        [(i, j) for i, j in leaves if one.share[i] * two.share[i] * one.tables[0][i, j] * two.tables[0][i, j]]
    )
    made = field.decode(codes, RNG, (*one.within, *two.within))
    assert pc.min(made[0]).as_py() >= 44
    assert pc.max(made[1]).as_py() <= 3


def test_numbers_of_which_a_few_rows_alone_have_one_are_not_learned(tmp_path: Path) -> None:
    table = people(400).append_column("lone", pa.array([1.2345678, 2.3456789] + [None] * 398))
    codec, _, codes = fitted(tmp_path, table)
    made = codec.decode(codes, np.arange(len(codes), dtype=np.uint64), 0, RNG)
    assert made["lone"].null_count == len(codes)
    assert "1.2345678" not in json.dumps(codec.to_json()["fields"])


def test_a_number_far_from_all_others_is_not_repeated() -> None:
    values = np.append(RNG.integers(0, 100, 2_000), 987_654_321)
    field, array = number(values)
    made = there_and_back(field, *[array] * 1)[0].to_numpy()
    assert (
        np.array([field.decode(field.encode([array]), RNG)[0].to_numpy() for _ in range(5)]) == 987_654_321
    ).sum() < 3
    assert made.min() >= 0


def test_dates_that_are_missing_stay_missing() -> None:
    dates = pa.array([None if i % 5 == 0 else dt.date(2021, 1, 1) + dt.timedelta(days=i % 17) for i in range(3_000)])
    field = Moment.fit(dates, {"name": "x", "type": "date", "arrow": "date32[day]"})
    assert there_and_back(field, dates)[0].equals(dates)


def test_places_stay_where_places_are() -> None:
    """Two towns, far from each other: nobody lives between them."""
    town = RNG.integers(0, 2, 5_000)
    lat, lon = (np.round(c + RNG.normal(0, 0.02, 5_000), 4) for c in (45 + 10 * town, 5 + 20 * town))
    lat[:50] = np.nan
    pair = tuple({"name": n, "type": "float", "arrow": "double", "decimals": 4} for n in ("lat", "lon"))
    arrays = [pa.array(lat, from_pandas=True), pa.array(lon)]
    field = Place.fit(arrays, pair)  # type: ignore[arg-type]
    made = there_and_back(field, *arrays)
    assert made[0].is_null().equals(arrays[0].is_null())
    back = made[0].to_numpy(zero_copy_only=False)[50:]
    assert np.abs(back - lat[50:]).max() < 0.15
    real = set(zip(lat, lon, strict=True))
    copies = [pair in real for pair in zip(back, made[1].to_numpy()[50:], strict=True)]
    assert np.mean(copies) < 0.05, "where a row lies is its own business"


def fitted(folder: Path, table: pa.Table) -> tuple[Codec, pa.Table, np.ndarray]:
    _, dataset = ingest(folder, "t.parquet", table)
    stored = rows(dataset)
    codec, codes = codecs.fit(list(dataset.schema["columns"]), stored, np.random.default_rng(0))
    return codec, stored, codes


def test_a_whole_table_comes_back(tmp_path: Path) -> None:
    codec, stored, codes = fitted(tmp_path, people(2_000))
    back = codec.decode(codes, np.arange(2_000, dtype=np.uint64), 0, np.random.default_rng(1))
    assert back.column_names == stored.column_names
    apart = np.abs(back["visits"].to_numpy() - stored["visits"].to_numpy())
    assert np.quantile(apart, 0.9) <= 2
    for name in ("city", "country", "windy", "seven"):
        assert back[name].to_pylist() == stored[name].to_pylist()
    for name in ("wind", "gust"):
        assert back[name].is_null().to_pylist() == stored[name].is_null().to_pylist()


def test_levels_that_never_meet_are_known(tmp_path: Path) -> None:
    codec, _, codes = fitted(tmp_path, people(2_000))
    of = {name: start for start, one in zip(codec.starts, codec.fields, strict=True) for name in one.columns}
    ruled = {(i, j): table for i, j, table in codec.rules}
    i, j = sorted((of["wind"], of["gust"]))
    assert (i, j) in ruled, "what is missing together is missing together in every row"
    for (i, j), table in ruled.items():
        assert not table[codes[:, i], codes[:, j]].any()


def test_the_codec_survives_json(tmp_path: Path) -> None:
    codec, _, codes = fitted(tmp_path, people(800))
    again = Codec.from_json(json.loads(json.dumps(codec.to_json())))
    index = np.arange(800, dtype=np.uint64)
    first, second = (c.decode(codes, index, 5, np.random.default_rng(4)) for c in (codec, again))
    assert first.equals(second)
    assert again.sizes == codec.sizes


def test_the_drawing_order_follows_the_strongest_relations() -> None:
    strength = np.array([[0, 0.1, 0.9, 0], [0.1, 0, 0.5, 0.2], [0.9, 0.5, 0, 0.1], [0, 0.2, 0.1, 0]])
    assert relations.drawing_order(strength) == [2, 0, 1, 3]


def test_mutual_information_is_that_of_the_textbooks() -> None:
    a = RNG.integers(0, 4, 20_000)
    codes = np.stack([a, a, RNG.integers(0, 3, 20_000)], 1)
    found = relations.information(codes, [4, 4, 3])
    assert found[0, 1] == pytest.approx(np.log(4), abs=0.01)
    assert found[0, 2] == pytest.approx(0, abs=0.002)
