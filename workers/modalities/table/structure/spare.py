"""Rows for where no other is in order: values that enough training rows share, put together at random until all rules
are met. None of them is a training row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected
from workers.modalities.table.structure.settle import Asked, Settling
from workers.modalities.table.structure.steps import SHARED, Frame

KEPT = 200
TRIES = (2_000, 20_000, 100_000)
QUANTILES = 101


def spare_rows(settling: Settling, free: pa.Table, rng: np.random.Generator) -> Frame:
    """Free columns of at most KEPT rows. Raises Rejected where no try meets all rules."""
    pools = {name: _pool(free[name].combine_chunks()) for name in free.column_names}
    for n in TRIES:
        drawn = {name: pool.take(pa.array(rng.integers(0, len(pool), n))) for name, pool in pools.items()}
        if not drawn:
            return {}
        frame, bad = settling.attempt(drawn, Asked({}, {}), rng)
        good = pa.array(np.flatnonzero(~bad)[:KEPT])
        if len(good):
            return {name: frame[name].take(good) for name in drawn}
    raise Rejected(
        "constraint_unmeetable",
        "The rules leave hardly any combination of values that several training rows share; "
        "loosen some, or give more rows.",
    )


def _pool(array: pa.Array) -> pa.Array:
    """Values to draw from: as they are shared, or the middle of many."""
    counted = pc.value_counts(array)
    counts = counted.field(1).to_numpy()
    shared = np.flatnonzero(counts >= SHARED)
    if len(shared) and counts[shared].sum() >= 0.5 * len(array):
        places = np.repeat(shared, np.maximum(1, counts[shared] * 2_000 // max(1, len(array))))
        return counted.field(0).take(pa.array(places))
    if pa.types.is_string(array.type) or pa.types.is_boolean(array.type):
        return counted.field(0).take(pa.array(np.argsort(-counts, kind="stable")[:QUANTILES]))
    filled = array.drop_null()
    if not len(filled):
        return pa.nulls(1, array.type)
    return _blurred(filled)


def _blurred(filled: pa.Array) -> pa.Array:
    """Halfway between neighbouring quantiles, so that none is a row's own value."""
    whole = filled.cast(pa.int32()) if pa.types.is_date32(filled.type) else filled
    whole = whole if pa.types.is_floating(whole.type) else whole.cast(pa.int64())
    values = whole.to_numpy(zero_copy_only=False)
    points = np.quantile(values.astype(float), np.linspace(0, 1, QUANTILES))
    middle = (points[1:] + points[:-1]) / 2
    if pa.types.is_floating(filled.type):
        return pa.array(middle)
    back = pa.array(np.rint(middle).astype(np.int64))
    return back.cast(pa.int32()).cast(filled.type) if pa.types.is_date32(filled.type) else back.cast(filled.type)
