"""Numbers of any scale keep it: read, learned, generated and written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tests.unit.table.tables import columns, ingest, no_progress, rows, trained

SCALES = [1e-300, 1e-12, 1e12, 1e300]
N = 400


def measured(scale: float, decimals: int | None = None) -> np.ndarray:
    """Gamma-distributed, in units of `scale`."""
    values = np.random.default_rng(3).gamma(3, 1, N) + 0.01
    return scale * (values if decimals is None else np.round(values, decimals))


def table() -> pa.Table:
    named = {f"x{scale:g}": measured(scale) for scale in SCALES}
    return pa.table(named | {"single": pa.array(measured(1e-12).astype(np.float32))})


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_measured_values_of_any_scale_are_read_learned_and_written(tmp_path: Path, form: str) -> None:
    real = table()
    content: pa.Table | str = real
    if form == "csv":
        lines = [",".join(map(repr, row.values())) for row in real.to_pylist()]
        content = "\n".join([",".join(real.column_names), *lines])
    found, dataset = ingest(tmp_path, f"t.{form}", content)
    assert {column["type"] for column in columns(found).values()} == {"float"}
    assert [name for name, column in columns(found).items() if column["decimals"] is not None] in ([], ["x1e+12"])
    stored = rows(dataset)
    for name in real.column_names:
        assert np.allclose(np.sort(stored[name].to_numpy()), np.sort(real[name].to_numpy()), rtol=1e-6, atol=0)
    sampler = trained(dataset, tmp_path / "model")
    out = tmp_path / f"out.{form}"
    assert sampler.write(out, 0, N, 1, form, {}, no_progress) == N
    made = pq.read_table(out) if form == "parquet" else pacsv.read_csv(out)
    for name in real.column_names:
        before, after = real[name].to_numpy(), made[name].to_numpy().astype(float)
        assert before.min() * (1 - 1e-6) <= after.min() <= after.max() <= before.max() * (1 + 1e-6)
        at_first, at_last = (np.quantile(values.astype(float), [0.2, 0.5, 0.8]) for values in (before, after))
        assert np.allclose(at_first, at_last, rtol=0.4, atol=0), name


def test_tiny_values_beside_ordinary_ones_are_no_zeros(tmp_path: Path) -> None:
    values = np.where(np.arange(N) % 3 == 0, measured(1e-12), np.round(measured(1.0), 2))
    found, dataset = ingest(tmp_path, "t.parquet", pa.table({"x": values}))
    assert columns(found)["x"]["decimals"] is None
    made = trained(dataset, tmp_path / "model").table(0, 300, 1, {})["x"].to_numpy()
    assert (made > 0).all()
    assert 0.1 < (made < 1e-9).mean() < 0.6


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        (np.round(np.random.default_rng(0).gamma(2, 10, N), 2), 2),
        (np.round(np.random.default_rng(0).gamma(2, 10, N), 2) * 1.1, 3),  # computed: some units off
        (np.cumsum(np.full(N, 0.1)) - 20.0, 1),  # what should be 0 is 1e-14
        (np.round(np.random.default_rng(0).gamma(2, 1e10, N), 2), 2),
        (np.arange(N) * 1.0, 0),
        (np.concatenate([np.arange(N - 5) * 1.0, [1e300] * 5]), 0),
        (np.random.default_rng(0).gamma(2, 1e-9, N), None),
        (np.random.default_rng(0).gamma(2, 1e17, N), None),
    ],
    ids=["money", "computed", "cancelled", "large", "whole", "sentinel", "tiny", "huge"],
)
def test_decimals_are_counted_relative_to_the_values(tmp_path: Path, values: np.ndarray, decimals: int | None) -> None:
    found, _ = ingest(tmp_path, "t.parquet", pa.table({"x": values, "y": np.arange(len(values))}))
    assert columns(found)["x"].get("decimals") == decimals
