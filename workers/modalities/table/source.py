"""An upload as chunks of Arrow columns: what each format's reader gives. Knows no format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

CHUNK_ROWS = 65_536
BLOCK = 4 << 20  # bytes of text parsed at a time; also the longest line that is read
MAX_COLUMNS = 2_000


@dataclass
class Source:
    """An upload that can be read again and again: `chunks()` yields tables of bounded size with the same columns."""

    kind: str
    names: list[str]
    chunks: Callable[[], Iterator[pa.Table]]
    total_bytes: int
    done_bytes: Callable[[], int]
    tokens: bool = False  # all columns are raw text, in which words such as NA stand for missing
    layout: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ragged: int = 0
    enter: Callable[[int], tuple[int, Iterator[pa.Table]]] | None = None  # in files that can be entered in the middle

    def chunks_near(self, row: int) -> tuple[int, Iterator[pa.Table]]:
        """The number of a row that is not after this one, and the chunks from it on."""
        return self.enter(row) if self.enter else (0, self.chunks())
