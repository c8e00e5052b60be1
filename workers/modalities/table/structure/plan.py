"""What the searches for rules share: a sample of rows, the columns still to be had, and no column made from itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.modalities.table.infer import Column
from workers.modalities.table.structure.build import Table, depends
from workers.modalities.table.structure.grids import Floats, Ints
from workers.modalities.table.structure.steps import Frame, Step

SAMPLE, CELLS = 30_000, 6_000_000  # rows on which rules are looked for, and cells: all rows then have a say
ENOUGH = 100  # rows without which no rule is believed


@dataclass
class Plan:
    table: Table
    steps: list[Step]
    fixed: set[str]  # columns that are made in another way
    at: Ints = field(init=False)  # the sample
    sample: Frame = field(init=False)
    _natural: dict[str, Floats] = field(default_factory=dict, init=False)
    _codes: dict[str, tuple[Ints, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        rows = min(SAMPLE, max(2_000, CELLS // max(1, len(self.table.columns))))
        step = max(1, -(-self.table.rows // rows))
        self.at = np.arange(0, self.table.rows, step)
        take = pa.array(self.at)
        self.sample = {name: array.take(take) for name, array in self.table.frame.items()}

    @property
    def n(self) -> int:
        return len(self.at)

    @property
    def columns(self) -> dict[str, Column]:
        return self.table.columns

    def add(self, step: Step) -> None:
        self.steps.append(step)

    def free(self, name: str) -> bool:
        """Whether the column may still be made from others."""
        return name not in self.fixed and not any(name in step.makes for step in self.steps)

    def possible(self, target: str, needs: Sequence[str]) -> bool:
        return self.free(target) and not any(depends(name, target, self.steps) for name in needs)

    def natural(self, name: str) -> Floats:
        """Of the sample, NaN where missing."""
        if name not in self._natural:
            self._natural[name] = self.table.grids[name].natural(self.sample[name])
        return self._natural[name]

    def codes(self, name: str) -> tuple[Ints, int]:
        """Of the sample: each value's code, and how many there are; missing is a value too."""
        if name not in self._codes:
            coded = pc.dictionary_encode(self.sample[name], null_encoding="encode")
            self._codes[name] = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), len(coded.dictionary)
        return self._codes[name]

    def counted(self, levels: bool) -> list[str]:
        """Numbers and times that are worth a look: with levels too, or only those without. Places on a map are not."""
        return [
            name
            for name, column in self.columns.items()
            if name in self.table.grids
            and "geo" not in column
            and (levels or "levels" not in column)
            and self.sample[name].null_count < self.n - ENOUGH
            and self.codes(name)[1] > 2 + (self.sample[name].null_count > 0)
        ]


def few(n: int, most: int) -> NDArray[np.int64]:
    """At most so many of n rows, spread evenly."""
    return np.arange(0, n, max(1, -(-n // most)))
