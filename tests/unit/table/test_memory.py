"""What a pass over an upload, a model and its report hold is bounded, however long or wide the table is."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.unit.table.tables import csv, ingest, rows
from workers.metrics.fidelity import binned, trend
from workers.modalities.table import codec as codecs
from workers.modalities.table.files import Spread
from workers.modalities.table.levels import Levels
from workers.modalities.table.observe import LEVEL_BYTES, WORDS, Observed

RNG = np.random.default_rng(5)


def seen(chunks: list[pa.Array], columns: int = 1) -> Observed:
    column = Observed("x", chunks[0].type, tokens=True, columns=columns)
    for chunk in chunks:
        column.add(chunk)
    return column


def test_the_length_of_values_is_remembered_of_so_many_alone() -> None:
    texts = seen([pa.array([f"said {j} of {i}" for j in range(3_000)]) for i in range(40)])
    assert 0 < sum(map(len, texts.words)) <= WORDS
    numbers = seen([pa.array(list(map(str, range(3_000)))) for _ in range(3)])
    assert not numbers.words


def test_long_levels_and_levels_of_many_columns_are_not_all_remembered() -> None:
    long = [pa.array([f"{i}-{j} " + "x" * 6_000 for j in range(200)]) for i in range(10)]
    assert sum(chunk.nbytes for chunk in long) > LEVEL_BYTES
    assert seen(long).levels is None
    some = [pa.array([f"w{j}" for j in range(2_000)])]
    assert seen(some, columns=100).levels is not None
    wide = seen(some, columns=1_000)
    assert wide.levels is None


def test_the_beginnings_of_many_columns_share_their_memory() -> None:
    chunk = pa.array([f"{j:0100d}" for j in range(20_000)])
    assert seen([chunk]).head().nbytes > 1_000_000
    assert seen([chunk], columns=2_000).head().nbytes < 300_000


def test_a_wide_sample_is_thinned_by_its_bytes() -> None:
    spread = Spread()
    wide = pa.table({f"c{i}": RNG.normal(size=2_000) for i in range(600)})
    for _ in range(12):
        spread.add(wide)
    held = sum(part.nbytes for part in spread.chunks)
    assert Spread.BYTES // 4 < held <= Spread.BYTES


def test_pairs_of_columns_with_many_levels_are_compared_in_small_tables() -> None:
    one = [RNG.integers(0, 30_000, 5_000) for _ in range(2)]
    left, _ = binned(one, one)
    assert max(int(column.max()) for column in left) <= 250
    assert trend(one, one) == 1


def test_many_columns_of_many_levels_have_a_bounded_number_of_codes(tmp_path: Path) -> None:
    content = csv(**{f"c{i}": [f"w{(j + i) % 60}" for j in range(360)] for i in range(300)})
    _, dataset = ingest(tmp_path, "t.csv", content)
    columns = list(dataset.schema["columns"])
    assert sum(len(column["levels"]) for column in columns) > 2 * codecs.MOST_CODES
    limit = codecs._level_limit(columns, 256)
    table = rows(dataset)
    sizes = [sum(Levels.fit(table[c["name"]].combine_chunks(), c, limit).sizes) for c in columns]
    assert sum(sizes) <= 1.1 * codecs.MOST_CODES
