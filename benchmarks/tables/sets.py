"""The real sets: where each comes from, what is asked of it, and the one split that every model gets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

SPLIT_SEED = 20261122
TRAIN_SHARE = (4, 5)


@dataclass(frozen=True)
class Set:
    file: str  # a Parquet file of this name, as fetch.py writes it
    target: str
    threshold: float | None = None  # of a numeric target that is judged as above or below
    rows: int | None = None  # drawn at random where the file has more
    columns: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()


# Ten columns of nycflights13: when, who, from where to where, and how it went; what was cancelled lacks the last three.
FLIGHTS = (
    "month", "day", "hour", "carrier", "origin", "dest", "distance", "dep_delay", "arr_delay", "air_time",
)  # fmt: skip

SETS = {
    "adult": Set("adult", "income"),
    "diamonds": Set("diamonds", "price"),
    "credit_default": Set("credit_default", "DEFAULT"),
    "flights": Set("flights", "arr_delay", threshold=15, rows=50_000, columns=FLIGHTS),
    "census_kdd": Set("census_kdd", "income_gt_50k", rows=60_000),
    "loans_wide": Set("loans_wide", "interest_rate", without=("emp_title",)),  # free text: the judge cannot read it
    "islp_bikeshare": Set("islp_bikeshare", "bikers"),
}


def found(file: str, folder: Path) -> Path | None:
    """The Parquet file of that name, anywhere below `folder`."""
    return next(iter(sorted(folder.rglob(f"{file}.parquet"))), None)


def split(name: str, source: Path, folder: Path) -> tuple[int, int, int]:
    """Writes train.parquet and holdout.parquet, the same rows every time; returns their rows, and the columns."""
    wanted = SETS[name]
    table = pq.read_table(source)
    kept = wanted.columns or [c for c in table.column_names if c not in wanted.without]
    table = table.select(list(kept)).replace_schema_metadata(None)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(table))[: wanted.rows]
    cut = len(order) * TRAIN_SHARE[0] // TRAIN_SHARE[1]
    pq.write_table(table.take(order[:cut]), folder / "train.parquet")
    pq.write_table(table.take(order[cut:]), folder / "holdout.parquet")
    return cut, len(order) - cut, table.num_columns
