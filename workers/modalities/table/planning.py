"""Conditions and given rows, said in codes: which codes are fixed, which are left, which values are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workers.modalities.table.codec import AFRESH, Codec
from workers.modalities.table.conditions import Condition, OneOf, Range, Shares, Value, assign
from workers.modalities.table.fields import Bools, Column, Floats, Ints
from workers.modalities.table.networks import NEVER
from workers.modalities.table.sampling import Plan
from workers.modalities.table.structure import Translated
from workers.modalities.table.writing import storage_type


@dataclass
class Wishes:
    """What conditions ask of every row, made once for all chunks of an output."""

    asked: Translated
    shares: dict[int, Tensor] = field(default_factory=dict)
    chains: dict[int, Tensor] = field(default_factory=dict)
    within: dict[int, Any] = field(default_factory=dict)


@dataclass
class Drawing:
    """What one chunk of rows is drawn and decoded with."""

    plan: Plan
    within: Mapping[int, Any]
    pinned: Mapping[str, pa.Array]
    wanted: Mapping[str, Condition]


def wishes(codec: Codec, conditions: Mapping[str, Condition]) -> Wishes:
    """Raises InvalidCondition for conditions that no row can meet together with the table's rules."""
    fresh = {column["name"] for column in codec.columns if column["type"] in AFRESH}
    learned = {name: condition for name, condition in conditions.items() if name not in fresh}
    codec.structure.check(learned)
    out = Wishes(codec.structure.translate(learned))
    places = {name: i for i, one in enumerate(codec.fields) for name in one.columns}
    free = out.asked.free | {name: condition for name, condition in conditions.items() if name in fresh}
    for name, condition in free.items():
        left = _left(condition, len(codec.fields[places[name]].columns)) if name in places else None
        if left is not None:
            _limit(out, codec, places[name], name, left)
    return out


def drawing(
    codec: Codec, wish: Wishes, index: np.ndarray, seed: int, given: pa.Table | None, device: str = "cpu"
) -> Drawing:
    """For the rows with these global numbers (uint64). `given` holds storage values to keep, null where to be made."""
    n, asked = len(index), wish.asked
    pinned = {name: _always(value, codec.column(name), n) for name, value in asked.pinned.items()}
    shared = asked.dealt | {name: c for name, c in asked.free.items() if isinstance(c, Shares)}
    for name, dealt in shared.items():
        values = pa.array(list(dealt.values), storage_type(codec.free_column(name)))
        pinned[name] = values.take(pa.array(assign(dealt, index, seed)))
    known = {} if given is None else {name: given[name].combine_chunks() for name in given.column_names}
    for name, cells in known.items():
        pinned[name] = pc.coalesce(cells, pinned[name]) if name in pinned else cells
    free = dict(codec.structure.determined(pinned))
    for name, condition in asked.free.items():
        if isinstance(condition, Value) and condition.value is not None:
            always = _always(condition.value, codec.free_column(name), n)
            free[name] = pc.coalesce(free[name], always) if name in free else always
    fixed = _fixed(codec, free, {name for name in shared if name in free}, n)
    on = {key: value.to(device) for key, value in wish.shares.items()}
    chains = {key: value.to(device) for key, value in wish.chains.items()}
    return Drawing(Plan(fixed, on, chains), wish.within, pinned, asked.wanted)


def _left(condition: Condition, columns: int) -> OneOf | Range | None:
    """A condition that leaves a choice, or asks for a missing value; a value of one of several columns leaves one."""
    if isinstance(condition, Value):
        if condition.value is None:
            return OneOf((None,))
        return Range(condition.value, condition.value) if columns > 1 else None
    return condition if isinstance(condition, OneOf | Range) else None


def _limit(out: Wishes, codec: Codec, place: int, name: str, condition: OneOf | Range) -> None:
    one, start = codec.fields[place], codec.starts[place]
    left = one.allowed(condition, one.columns.index(name))
    _add(out.shares, start, _logits(left.share))
    for i, table in enumerate(left.tables):
        _add(out.chains, start + 1 + i, _logits(table))
    if left.within is not None:  # a place may be asked for both its columns
        out.within[place] = (*out.within[place], *left.within) if place in out.within else left.within


def _add(moves: dict[int, Tensor], j: int, logits: Tensor) -> None:
    moves[j] = moves[j] + logits if j in moves else logits


def _logits(share: Floats) -> Tensor:
    """What is impossible is ruled out; what is met in part is drawn as much less often."""
    return torch.from_numpy(np.where(share > 0, np.log(np.maximum(share, 1e-12)), 2 * NEVER)).float()


def _always(value: Any, column: Column, n: int) -> pa.Array:
    return pa.array([value], storage_type(column)).take(pa.array(np.zeros(n, np.int64)))


def _fixed(codec: Codec, free: Mapping[str, pa.Array], whole: set[str], n: int) -> Ints | None:
    """Codes (n, v) of what is prescribed, -1 where nothing is; in `whole` columns null is a value like any other."""
    out: Ints | None = None
    for start, one in zip(codec.starts, codec.fields, strict=True):
        if not all(name in free for name in one.columns):
            continue
        arrays = [free[name] for name in one.columns]
        there: Bools = np.ones(n, bool)
        for name, array in zip(one.columns, arrays, strict=True):
            there &= array.is_valid().to_numpy(zero_copy_only=False) | (name in whole)
        if not there.any():
            continue
        out = np.full((n, len(codec.sizes)), -1, np.int64) if out is None else out
        codes = one.encode(arrays)
        out[:, start : start + codes.shape[1]] = np.where(there[:, None], codes, -1)
    return out
