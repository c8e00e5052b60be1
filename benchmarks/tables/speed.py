"""The bars of speed and memory: rows decoded to Arrow, a whole generate job, and the memory of a large training."""

import json
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.stack import stack
from benchmarks.tables.models.cost import cpu_seconds
from benchmarks.tables.running import Desk, Usage, circumstances, measured
from benchmarks.tables.sets import SETS, split
from benchmarks.tables.wide import widened

Result = dict[str, Any]
STEPS = 200  # enough for a model of the right size; nothing here depends on what it has learned
LARGE_ROWS, SLICE = 10_000_000, 500_000
JOB_ROWS = 10_000_000
MANY_ROWS = 100_000_000
WIDE = ((5_000, 1_000), (20_000, 300))  # rows, columns
WIDE_FROM = ("adult", "credit_default", "census_kdd", "loans_wide", "diamonds", "islp_bikeshare")


def piece(what: str, folder: Path, desk: Desk, *options: str) -> tuple[Usage, Result]:
    command = [sys.executable, "-m", "benchmarks.tables.models.pieces", what, str(folder), *options]
    usage = measured(command, folder / f"{what}.log", desk.threads, desk.limit)
    cost: Result = json.loads((folder / "cost.json").read_text())
    return usage, cost


def rows(desk: Desk, preset: str) -> Result:
    """CPU seconds for a million rows of diamonds, decoded to Arrow, in memory."""
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        folder = Path(name)
        split("diamonds", desk.source(SETS["diamonds"].file), folder)
        piece("ingest", folder, desk)
        piece("train", folder, desk, "--preset", preset, "--steps", str(STEPS))
        usage, cost = piece("rows", folder, desk)
    return cost | {"preset": preset, "rows": 1_000_000, "peak_mib": usage.peak_mib} | circumstances(desk)


def job(desk: Desk, preset: str) -> Result:
    """Rows a second of a whole generate job of adult: from the request to the manifest in the bucket."""
    with TemporaryDirectory(prefix="mintage-bench-") as name, stack() as service:
        upload = Path(name) / "adult.parquet"
        shutil.copyfile(desk.source("adult"), upload)
        dataset = service.run("datasets", "upload", str(upload))
        trained = service.run("train", dataset["id"], "--preset", preset, "--steps", str(STEPS))
        model = trained["result"]["model_id"]
        service.run("generate", model, "--count", "1000", "--out", str(Path(name) / "warm"))
        before = sum(map(cpu_seconds, service.processes().values()))
        asked = service.run("generate", model, "--count", str(JOB_ROWS), "--no-wait")
        ended = service.run("jobs", "watch", asked["id"])
        cpu = round(sum(map(cpu_seconds, service.processes().values())) - before, 1)
    assert ended["state"] == "succeeded", ended
    begin, end = (datetime.fromisoformat(ended[one]) for one in ("created_at", "finished_at"))
    seconds = (end - begin).total_seconds()
    told = {"preset": preset, "rows": JOB_ROWS, "wall_seconds": seconds, "rows_per_second": round(JOB_ROWS / seconds)}
    told |= {"cpu_seconds": cpu}  # of the API, the worker, its children, the bucket and the queue
    return told | circumstances(desk)


def memory(desk: Desk, preset: str) -> Result:
    """The most that reading and training on ten million rows of twenty columns hold, each in a process of its own."""
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        folder = Path(name)
        large(folder / "train.parquet")
        size = (folder / "train.parquet").stat().st_size
        ingest, ingest_cost = piece("ingest", folder, desk)
        train, train_cost = piece("train", folder, desk, "--preset", preset, "--steps", str(STEPS))
    peaks = {"ingest": ingest.peak_mib, "train": train.peak_mib}
    cpu = ingest_cost["cpu_seconds"] | train_cost["cpu_seconds"]
    told = {"preset": preset, "rows": LARGE_ROWS, "columns": 20, "bytes": size, "peak_mib": peaks, "cpu_seconds": cpu}
    return told | circumstances(desk)


def reading(desk: Desk, preset: str) -> Result:
    """What it takes to draw a training's rows from a hundred million of twenty columns: the same parts many times."""
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        folder = Path(name)
        pq.write_table(some(np.random.default_rng(0), SLICE), folder / "train.parquet")
        piece("ingest", folder, desk)
        usage, cost = piece("read", folder, desk, "--rows", str(MANY_ROWS))
    return cost | {"rows": MANY_ROWS, "columns": 20, "peak_mib": usage.peak_mib} | circumstances(desk)


def wide(desk: Desk, preset: str) -> Result:
    """What tables of hundreds of columns cost, each step in a process of its own."""
    sources = [pq.read_table(desk.source(name)) for name in WIDE_FROM]
    return {f"{n} x {columns}": _wide(sources, n, columns, desk, preset) for n, columns in WIDE} | circumstances(desk)


def _wide(sources: list[pa.Table], n: int, columns: int, desk: Desk, preset: str) -> Result:
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        folder = Path(name)
        pq.write_table(widened(sources, n, columns), folder / "train.parquet")
        steps = {"ingest": piece("ingest", folder, desk), "train": piece("train", folder, desk, "--preset", preset)}
        steps["rows"] = piece("rows", folder, desk, "--rows", str(n))
    return {what: {"cpu": usage.cpu, "wall": usage.wall, "mib": usage.peak_mib} for what, (usage, _) in steps.items()}


def large(path: Path) -> None:
    """Ten million rows of numbers, categories, dates and missing values that depend on each other."""
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, some(rng, 10).schema, compression="zstd") as file:
        for _ in range(LARGE_ROWS // SLICE):
            file.write_table(some(rng, SLICE))


def some(rng: np.random.Generator, n: int) -> pa.Table:
    hidden = rng.normal(size=(n, 3))
    columns: dict[str, pa.Array] = {}
    for i in range(8):
        noisy = hidden[:, i % 3] + 0.5 * rng.normal(size=n)
        values = np.exp(2 + noisy).round(2) if i % 2 else noisy
        columns[f"number_{i}"] = pa.array(values, mask=rng.random(n) < 0.05 * (i % 3))
    for i in range(4):
        columns[f"count_{i}"] = pa.array(rng.poisson(np.exp(hidden[:, i % 3] + i / 2)))
    for i, levels in enumerate((3, 10, 50, 200, 1_000)):
        level = (np.abs(hidden[:, i % 3] + rng.normal(size=n)) * levels / 4).astype(np.int64) % levels
        columns[f"category_{i}"] = pa.DictionaryArray.from_arrays(
            level.astype(np.int32), [f"level {k}" for k in range(levels)]
        ).cast(pa.string())
    columns["flag"] = pa.array(hidden[:, 0] + rng.normal(size=n) > 1)
    days = rng.integers(0, 2_000, n).astype("timedelta64[D]")
    columns["day"] = pa.array(np.datetime64("2020-01-01") + days)
    columns["at"] = pa.array(np.datetime64("2020-01-01T00:00:00") + rng.integers(0, 10**8, n).astype("timedelta64[s]"))
    return pa.table(columns)


BARS: dict[str, Callable[[Desk, str], Result]] = {
    "rows": rows,
    "job": job,
    "memory": memory,
    "reading": reading,
    "wide": wide,
}
