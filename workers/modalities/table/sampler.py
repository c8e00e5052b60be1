"""A trained table model on the disk, as rows: any shard of any stream, with memory that does not grow with its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import load_file

from workers.modalities import Given, Json, Progress
from workers.modalities.table import given as given_rows
from workers.modalities.table import networks, threads, writing
from workers.modalities.table.codec import Codec
from workers.modalities.table.conditions import parse
from workers.modalities.table.ensemble import Ensemble
from workers.modalities.table.infer import Column
from workers.modalities.table.planning import Wishes, drawing, wishes
from workers.modalities.table.sampling import FastGenerator, rule_tables
from workers.modalities.table.tilting import Tilted

CHUNK, CHUNK_CODES = 131_072, 1 << 23  # rows made at a time, and codes: wide tables have shorter chunks


class TableSampler:
    def __init__(self, directory: Path, device: str) -> None:
        self.codec = Codec.from_json(json.loads((directory / "codec.json").read_text(encoding="utf-8")))
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self.schema = {"columns": self.codec.columns, "layout": config["layout"]}
        self.device, rules = device, rule_tables(self.codec.rules)
        members = []
        for number in range(config["members"]):
            network = networks.Generator(networks.Shape(**config["shape"])).to(device).eval()
            network.load_state_dict(load_file(directory / generator_file(number), device=device))
            members.append(Tilted(FastGenerator(network, rules, device), self.codec.sizes))
        self.members = Ensemble(members)
        self.chunk = min(CHUNK, 1 << (CHUNK_CODES // len(self.codec.sizes)).bit_length() - 1)

    def write(
        self,
        path: Path,
        start: int,
        count: int,
        seed: int,
        format: str,
        conditions: Json,
        progress: Progress,
        given: Given | None = None,
        options: Json | None = None,
    ) -> int:
        self.refuse_beyond(start + count)
        wish = self._wish(conditions)
        if given:
            given_rows.refuse_repeated(given, self.schema, start + count, self.codec.structure.unique)
        known = given_rows.chunks(given, self.schema, start, count, self.chunk) if given else None
        with closing(self._chunks(start, count, seed, wish, known, progress)) as chunks:
            return writing.write_file(path, format, self.schema, chunks)

    def preview(self, count: int, seed: int) -> bytes:
        rows = rows_as_json(self.table(0, self.at_most(min(count, 1000)), seed, {}), self.codec.columns)
        return json.dumps(rows, ensure_ascii=False).encode()

    def table(self, start: int, count: int, seed: int, conditions: Mapping[str, Any]) -> pa.Table:
        """Rows in storage types, all in memory. Raises Rejected for more of them than can be told apart."""
        self.refuse_beyond(start + count)
        wish = self._wish(conditions)
        return pa.concat_tables(self._chunks(start, count, seed, wish, None, lambda done, total: None))

    def refuse_beyond(self, count: int) -> None:
        """Raises Rejected for an output of more rows than can have different values where a rule wants them."""
        self.codec.structure.refuse_beyond(count)

    def at_most(self, count: int) -> int:
        """So many rows, or as many as can be told apart."""
        capacity = self.codec.structure.capacity
        return count if capacity is None else min(count, capacity)

    def _wish(self, conditions: Mapping[str, Any]) -> Wishes:
        """Raises InvalidCondition."""
        return wishes(self.codec, parse(self.schema, conditions))

    def _chunks(
        self, start: int, count: int, seed: int, wish: Wishes, known: Iterator[pa.Table] | None, progress: Progress
    ) -> Generator[pa.Table, None, None]:
        """All rows in order, a chunk at a time; several are made side by side. Raises Stop."""
        done = 0

        def makers() -> Iterator[Callable[[], pa.Table]]:
            for first in range(0, count, self.chunk):
                cells = next(known) if known else None
                yield partial(self._chunk, start, first, min(self.chunk, count - first), seed, wish, cells)

        with closing(threads.in_order(makers(), lambda: progress(done, count))) as chunks:
            for chunk in chunks:
                yield chunk
                done += chunk.num_rows
        progress(count, count)

    def _chunk(self, start: int, done: int, n: int, seed: int, wish: Wishes, known: pa.Table | None = None) -> pa.Table:
        """Each chunk has randomness of its own, so that any can be made alone, or beside others."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, start, done // self.chunk])))
        index = np.arange(start + done, start + done + n, dtype=np.uint64)
        order = drawing(self.codec, wish, index, seed, known, self.device)
        asked = order if known is None else drawing(self.codec, wish, index, seed, None, self.device)
        codes = self.members.draw(n, rng, order.plan, asked.plan.fixed)
        made = self.codec.decode(codes, index, seed, rng, order.within, order.pinned, order.wanted)
        return made if known is None else given_rows.kept(made, known)


def generator_file(number: int) -> str:
    """The name of the weights of one of a model's generators."""
    return f"generator-{number + 1}.safetensors" if number else "generator.safetensors"


def rows_as_json(table: pa.Table, columns: list[Column]) -> dict[str, Any]:
    """{"columns": [...], "rows": [[...], ...]} with dates as they are written."""
    plain = []
    for column, array in zip(columns, table.columns, strict=True):
        array = array.combine_chunks()
        plain.append((writing.as_text(array, column) if writing.spoken(column) else array).to_pylist())
    return {"columns": [column["name"] for column in columns], "rows": [list(row) for row in zip(*plain, strict=True)]}
