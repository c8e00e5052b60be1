"""A table to codes and Gaussians and back: what must survive the way, and what must not be kept."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.table.tables import ingest, people, rows
from workers.modalities.table import codec as codecs
from workers.modalities.table import relations, whitening
from workers.modalities.table.codec import Codec
from workers.modalities.table.columns import Levels, Quantiles

RNG = np.random.default_rng(2)


def round_trip(values: np.ndarray, decimals: int | None) -> np.ndarray:
    table = Quantiles.fit(values, decimals)
    return table.decode(table.encode(values, np.random.default_rng(0)))


@pytest.mark.parametrize("values", [RNG.integers(0, 90, 4000), RNG.integers(0, 40, 4000) * 50 - 300, np.full(50, 7)])
def test_numbers_on_a_grid_come_back_exactly(values: np.ndarray) -> None:
    np.testing.assert_array_equal(round_trip(values.astype(float), 0), values)


def test_decimals_come_back_as_written() -> None:
    values = np.round(RNG.gamma(2, 3, 5000), 2)
    back = round_trip(values, 2)
    assert np.quantile(np.abs(back - values), 0.99) < 0.2
    np.testing.assert_array_equal(back, np.round(back, 2))
    assert values.min() <= back.min()
    assert back.max() <= values.max()


def test_any_gaussian_decodes_within_the_bounds_and_on_the_grid() -> None:
    values = RNG.choice([10, 20, 20, 20, 50, 1000], 3000).astype(float)
    table = Quantiles.fit(values, 0)
    assert set(table.decode(np.linspace(-9, 9, 5001).astype(np.float32))) <= {10, 20, 50, 1000}


def test_the_encoded_column_is_a_standard_gaussian() -> None:
    values = np.where(RNG.random(20_000) < 0.6, 0, RNG.lognormal(8, 2, 20_000).round())
    g = Quantiles.fit(values, 0).encode(values, RNG)
    assert abs(g.mean()) < 0.03
    assert abs(g.std() - 1) < 0.03
    np.testing.assert_allclose(np.quantile(g, [0.1, 0.5, 0.9]), [-1.2816, 0, 1.2816], atol=0.05)


def test_no_rare_value_of_a_long_column_is_kept_in_the_table() -> None:
    values = RNG.normal(50_000, 9_000, 5_000).round(2)
    table = Quantiles.fit(values, 2)
    inner = {round((x * table.step + table.origin) / table.scale, 2) for x in (*table.low[1:-1], *table.high[1:-1])}
    assert len(inner & set(values.tolist())) < 0.5 * len(values)
    assert len(table.low) < len(values) / 4


@pytest.mark.parametrize("decimals", [0, 2])
def test_numbers_that_are_each_a_single_rows_own_are_not_repeated(decimals: int) -> None:
    values = np.unique(RNG.integers(10_000_000, 900_000_000, 600)) / 10.0**decimals
    drawn = Quantiles.fit(values, decimals).draw(5_000, np.random.default_rng(0))
    assert np.isin(drawn, values).mean() < 0.02, "only the bounds, which the schema states, may be met"


def test_calibration_brings_a_drifted_generator_back_to_the_datas_distribution() -> None:
    values = RNG.gamma(2, 3, 30_000)
    table = Quantiles.fit(values, None)
    drifted = (RNG.standard_normal(100_000) * 0.8 + 0.3).astype(np.float32)
    before = np.quantile(table.decode(drifted), [0.1, 0.5, 0.9])
    table.calibrate(drifted)
    after = np.quantile(table.decode(drifted), [0.1, 0.5, 0.9])
    goal = np.quantile(values, [0.1, 0.5, 0.9])
    assert np.abs(before - goal).max() > 0.5
    np.testing.assert_allclose(after, goal, rtol=0.03)


def test_rare_levels_are_pooled_and_drawn_as_often_as_they_occurred() -> None:
    names = [f"l{i}" for i in range(50)]
    array = pa.array(np.repeat(names, [1000] * 5 + [20] * 44 + [1]))
    column = {"name": "x", "type": "category", "arrow": "string", "nullable": False, "levels": names}
    levels = Levels.fit(array, column, 6)
    assert levels.size == 6
    drawn = levels.decode(np.full(50_000, 5), np.random.default_rng(0)).to_pylist()
    assert set(drawn) == {f"l{i}" for i in range(5, 49)}, "the level that occurred once is nobody else's business"


def fitted(folder: Path, table: pa.Table) -> tuple[Codec, pa.Table, np.ndarray]:
    _, dataset = ingest(folder, "t.parquet", table)
    stored = rows(dataset)
    codec, codes = codecs.fit(list(dataset.schema["columns"]), stored, 300)
    return codec, stored, codes


def test_a_whole_table_comes_back(tmp_path: Path) -> None:
    codec, stored, _ = fitted(tmp_path, people(2_000))
    codes, g, valid = codec.encode(stored, np.random.default_rng(0))
    back = codec.decode(codes, g, np.arange(2_000, dtype=np.uint64), 0, np.random.default_rng(1))
    assert back.column_names == stored.column_names
    for name in ("city", "country", "windy", "visits", "seven"):
        assert back[name].to_pylist() == stored[name].to_pylist()
    assert back["wind"].is_null().to_pylist() == stored["wind"].is_null().to_pylist()
    assert not valid[stored["wind"].is_null().to_numpy()][:, [n.column == "wind" for n in codec.numbers]].any()


def test_columns_that_are_one_to_one_are_learned_once(tmp_path: Path) -> None:
    codec, _, _ = fitted(tmp_path, people(2_000))
    names = {variable.column for variable in codec.variables} | {alias.column for alias in codec.aliases}
    assert {"city", "country"} <= names
    assert [alias.column in ("city", "country") for alias in codec.aliases] == [True]


def test_columns_missing_together_share_one_mask(tmp_path: Path) -> None:
    codec, _, _ = fitted(tmp_path, people(2_000))
    assert [variable.hole for variable in codec.variables if variable.hole] == [["wind", "gust"]]


def test_a_number_that_two_categories_determine_is_looked_up(tmp_path: Path) -> None:
    a, b = RNG.integers(0, 6, 4000), RNG.integers(0, 7, 4000)
    distances = RNG.permutation(5000)[:42]
    table = pa.table(
        {"a": pa.array([f"a{i}" for i in a]), "b": pa.array([f"b{i}" for i in b]), "d": distances[a * 7 + b]}
    )
    codec, stored, codes = fitted(tmp_path, table)
    assert [lookup.column for lookup in codec.lookups] == ["d"]
    back = codec.decode(codes, np.zeros((4000, 0), np.float32), np.arange(4000, dtype=np.uint64), 0, RNG)
    assert back["d"].to_pylist() == stored["d"].to_pylist()


def test_the_codec_survives_json(tmp_path: Path) -> None:
    codec, _, codes = fitted(tmp_path, people(800))
    again = Codec.from_json(json.loads(json.dumps(codec.to_json())))
    g = np.random.default_rng(3).standard_normal((800, len(codec.numbers))).astype(np.float32)
    index = np.arange(800, dtype=np.uint64)
    first, second = (c.decode(codes, g, index, 5, np.random.default_rng(4)) for c in (codec, again))
    assert first.equals(second)


def test_the_drawing_order_follows_the_strongest_relations() -> None:
    strength = np.array([[0, 0.1, 0.9], [0.1, 0, 0.5], [0.9, 0.5, 0]])
    order, parents = relations.drawing_order(strength)
    assert order[0] == 2
    assert [(order[i], order[p]) for i, p in enumerate(parents) if p >= 0] == [(0, 2), (1, 2)]


def test_whitening_takes_out_what_categories_and_other_numbers_say() -> None:
    codes = RNG.integers(0, 3, (5000, 1))
    noise = RNG.standard_normal((5000, 2)) @ np.array([[1, 0.8], [0, 0.6]])
    g = (noise + codes * [1.0, -2.0]).astype(np.float32)
    white = whitening.fit(codes, np.zeros(1, np.int64), 3, g, np.ones_like(g, bool))
    h = (g - white.mean[codes[:, 0]]) @ white.inverse
    np.testing.assert_allclose(np.cov(h.T), np.eye(2), atol=0.05)
    np.testing.assert_allclose(h @ white.root + white.mean[codes[:, 0]], g, atol=1e-3)
