"""A trained table model on the disk, as rows: any shard of any stream, with memory that does not grow with its rows."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import load_file
from torch import Tensor

from workers.modalities import Json, Progress
from workers.modalities.table import writing
from workers.modalities.table.codec import Codec
from workers.modalities.table.infer import Column
from workers.modalities.table.networks import Generator, Shape
from workers.modalities.table.sampling import FastGenerator, Fixed
from workers.modalities.table.spec import check_conditions

CHUNK = 65_536  # rows made at a time; each chunk has randomness of its own, so that any can be made alone


class TableSampler:
    def __init__(self, directory: Path, device: str) -> None:
        self.codec = Codec.from_json(json.loads((directory / "codec.json").read_text(encoding="utf-8")))
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self.schema = {"columns": self.codec.columns, "layout": config["layout"]}
        tensors = load_file(directory / "generator.safetensors", device=device)
        forbidden = tensors.pop("forbidden").float()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            network = Generator(Shape(**config["shape"])).to(device).eval()
        network.load_state_dict(tensors)
        self.fast = FastGenerator(network, forbidden, device)
        self._biases: dict[tuple[tuple[int, int], ...], Tensor] = {}

    def write(
        self, path: Path, start: int, count: int, seed: int, format: str, conditions: Json, progress: Progress
    ) -> int:
        check_conditions(self.schema, conditions)

        def chunks() -> Iterator[pa.Table]:
            for done in range(0, count, CHUNK):
                yield self._chunk(start, done, min(CHUNK, count - done), seed, conditions)
                progress(min(done + CHUNK, count), count)

        return writing.write_file(path, format, self.schema, chunks())

    def preview(self, count: int, seed: int) -> bytes:
        rows = rows_as_json(self.table(0, min(count, 1000), seed, {}), self.codec.columns)
        return json.dumps(rows, ensure_ascii=False).encode()

    def table(self, start: int, count: int, seed: int, conditions: Mapping[str, Any]) -> pa.Table:
        """Rows in storage types, all in memory."""
        return pa.concat_tables(
            self._chunk(start, done, min(CHUNK, count - done), seed, conditions) for done in range(0, count, CHUNK)
        )  # fmt: skip

    def _chunk(self, start: int, done: int, n: int, seed: int, conditions: Mapping[str, Any]) -> pa.Table:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, start, done // CHUNK])))
        fixed = self.codec.fixed(conditions)
        codes, g = self.fast.draw(n, rng, fixed, self._bias(fixed))
        index = np.arange(start + done, start + done + n, dtype=np.uint64)
        return self.codec.enforced(self.codec.decode(codes, g, index, seed, rng), conditions)

    def _bias(self, fixed: Fixed) -> Tensor | None:
        """Found once for each condition, whatever chunk asks first."""
        if not fixed:
            return None
        key = tuple(sorted(fixed.items()))
        if key not in self._biases:
            if len(self._biases) >= 64:
                self._biases.clear()
            self._biases[key] = self.fast.bias_given(fixed)
        return self._biases[key]


def rows_as_json(table: pa.Table, columns: list[Column]) -> dict[str, Any]:
    """{"columns": [...], "rows": [[...], ...]} with dates as they are written."""
    plain = []
    for column, array in zip(columns, table.columns, strict=True):
        array = array.combine_chunks()
        times = column["type"] in ("date", "datetime") or column["arrow"].startswith("time")
        plain.append((writing.as_text(array, column) if times else array).to_pylist())
    return {"columns": [column["name"] for column in columns], "rows": [list(row) for row in zip(*plain, strict=True)]}
