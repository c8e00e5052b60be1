"""How far a row lies from the nearest of some real rows. Knows arrays; nothing of columns or models."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from workers.metrics.fidelity import Columns, is_number
from workers.modalities.scoring import Floats

BLOCK_CELLS = 1 << 24  # distances computed at a time
MOST, ROWS = 2_000_000, 2_000  # values and rows that each row is compared with: more rows hardly lie nearer


class Neighbours:
    """Distances add up over columns: the difference of ranks for numbers, 1 for categories that differ and for values
    that only one of two rows has."""

    def __init__(self, known: Columns, device: str) -> None:
        rows = max(1, min(ROWS, MOST // max(1, len(known))))
        self._known, self._device = [column[:rows] for column in known], device
        self._ordered = [np.sort(c[~np.isnan(c)]) if is_number(c) else c[:0] for c in self._known]
        self._numbers, self._codes = self._places(self._known)

    def distance(self, rows: Columns) -> Floats:
        """(n,) to the nearest."""
        if not rows or not len(self._known[0]):
            return np.zeros(len(rows[0]) if rows else 0)
        numbers, codes = self._places(rows)
        step, found = max(1, BLOCK_CELLS // len(self._numbers)), []
        for start in range(0, len(numbers), step):
            apart = torch.cdist(numbers[start : start + step], self._numbers, p=1)
            apart += torch.cdist(codes[start : start + step], self._codes, p=0)
            found.append(apart.min(1).values)
        out: Floats = torch.cat(found).double().cpu().numpy() if found else np.zeros(0)
        return out

    def _places(self, rows: Columns) -> tuple[Tensor, Tensor]:
        """Numbers as ranks among the known, and all else as codes."""
        n = len(rows[0])
        numbers, codes = [np.zeros(n, np.float32)], [np.zeros(n, np.float32)]
        for column, ordered, known in zip(rows, self._ordered, self._known, strict=True):
            if not is_number(known):
                codes.append(column.astype(np.float32))
                continue
            gone = np.isnan(column)
            rank = np.searchsorted(ordered, column) / max(1, len(ordered))
            numbers.append(np.where(gone, 0.5, rank).astype(np.float32))
            codes.append(gone.astype(np.float32))
        return tuple(torch.from_numpy(np.stack(one, 1)).to(self._device) for one in (numbers, codes))  # type: ignore[return-value]
