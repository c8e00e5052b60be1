"""Small tables whose answer is known, and the steps that every test of tables takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.modalities import Dataset, Ingested, Part, Split
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.sampler import TableSampler
from workers.modalities.table.spec import TableConfig


def no_progress(done: float, total: float) -> None:
    """Nobody waits."""


class Folder:
    """Parts in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: list[Part] = []
        self._number = 0

    @contextmanager
    def part(self, split: Split, suffix: str) -> Iterator[Path]:
        path = self.folder / f"part-{self._number}{suffix}"
        self._number += 1
        yield path
        self.parts.append(Part(path, pq.ParquetFile(path).metadata.num_rows, split))


def ingest(folder: Path, name: str, content: bytes | str | pa.Table, **options: Any) -> tuple[Ingested, Dataset]:
    """An upload of that name and content, ingested into `folder`."""
    source = folder / f"source-{name}"
    if isinstance(content, pa.Table):
        pq.write_table(content, source)
    else:
        source.write_bytes(content.encode() if isinstance(content, str) else content)
    sink = Folder(folder)
    found = MODALITY.ingest(source, name, options, 0, sink, no_progress)
    return found, Dataset(found.schema, found.rows, sink.parts)


def columns(found: Ingested) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in found.schema["columns"]}


def rows(dataset: Dataset) -> pa.Table:
    return pa.concat_tables(pq.read_table(part.path) for part in dataset.parts)


def config(**fields: Any) -> TableConfig:
    """Of a run that is over in seconds."""
    return TableConfig.model_validate({"preset": "draft", "steps": 40, "width": 32} | fields)


def trained(dataset: Dataset, folder: Path, **fields: Any) -> TableSampler:
    """A model trained for a few steps and loaded from its files."""
    training = MODALITY.training(dataset, config(**fields), "cpu")
    for _ in training.trainer.run():
        pass
    folder.mkdir(exist_ok=True)
    training.export(folder)
    sampler = MODALITY.sampler(folder, "cpu")
    assert isinstance(sampler, TableSampler)
    return sampler


def csv(**named: Any) -> str:
    """Columns as the text of a CSV file."""
    return "\n".join([",".join(named), *(",".join(map(str, row)) for row in zip(*named.values(), strict=True))]) + "\n"


def people(n: int = 600, seed: int = 0) -> pa.Table:
    """A table of everything: relations between categories, numbers, missing values, keys and constants."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Rome", "Oslo", "Lima"], n, p=[0.5, 0.3, 0.2])
    country = np.array([{"Rome": "Italy", "Oslo": "Norway", "Lima": "Peru"}[c] for c in city])
    warm = {"Rome": 20.0, "Oslo": 5.0, "Lima": 25.0}
    temperature = np.round([warm[c] + rng.normal() for c in city], 1)
    missing = rng.random(n) < 0.3
    return pa.table(
        {
            "key": pa.array(np.arange(n) + 1000),
            "city": pa.array(city),
            "country": pa.array(country),
            "temperature": pa.array(temperature),
            "wind": pa.array(np.round(rng.gamma(2, 3, n), 2), mask=missing),
            "gust": pa.array(np.round(rng.gamma(3, 4, n), 2), mask=missing),
            "windy": pa.array(rng.random(n) < 0.25),
            "visits": pa.array(rng.poisson(30, n)),
            "seven": pa.array(np.full(n, 7)),
            "note": pa.array([f"secret {i} said by person {i * 7 % 101} about {i * 13 % 997}" for i in range(n)]),
        }
    )
