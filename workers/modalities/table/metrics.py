"""How good generated rows are: what goes into a model's report. Turns tables into the arrays that the metrics know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.metrics.detection import classifier_auc
from workers.metrics.fidelity import Columns, shapes, trend
from workers.metrics.privacy import nearer_to_training
from workers.modalities.table.codec import Codec
from workers.modalities.table.fields import Ints
from workers.modalities.table.infer import Column
from workers.modalities.table.numbers import as_floats

JUDGED = ("integer", "float", "date", "datetime", "boolean", "category", "time", "duration")
ENOUGH = 200  # holdout rows from which they, not the training rows, are what synthetic rows are compared with


def judged(columns: list[Column]) -> list[Column]:
    """The columns that say something of quality: keys, texts and constants are made afresh."""
    return [column for column in columns if column["type"] in JUDGED]


def arrays(table: pa.Table, columns: list[Column]) -> Columns:
    """Numbers as floats with NaN, categories as codes of the schema's levels, a missing value being one more."""
    return [_array(table[column["name"]].combine_chunks(), column) for column in judged(columns)]


def _array(array: pa.Array, column: Column) -> np.ndarray:
    if "levels" not in column:
        return as_floats(array)
    levels = pa.array(column["levels"]).cast(array.type)
    out: np.ndarray = pc.index_in(array, levels).fill_null(len(levels)).to_numpy().astype(np.int64)
    return out


def codes_auc(real: Ints, synthetic: Ints, codec: Codec) -> float:
    """How well boosted trees tell rows of codes (n, v) apart: AUC, .5 is chance. Much cheaper than decoding them."""
    sides = []
    for codes in (real, synthetic):
        columns: list[Any] = []
        for start, one in zip(codec.starts, codec.fields, strict=True):
            own = codes[:, start : start + len(one.sizes)]
            whole = own[:, 0] if len(one.sizes) == 1 else own[:, 0] * one.sizes[1] + own[:, 1]
            columns.append(whole.astype(float) if one.views() else whole)
            columns += [own[:, i].astype(float) for i in range(2, len(one.sizes))]
        sides.append(columns)
    return classifier_auc(sides[0], sides[1], folds=2)


def quick(real: pa.Table, synthetic: pa.Table, columns: list[Column]) -> dict[str, float]:
    """A few figures that cost about a second."""
    if not judged(columns):
        return {}
    r, s = arrays(real, columns), arrays(synthetic, columns)
    return {
        "shape": float(np.mean(shapes(r, s))),
        "trend": trend(r, s, 100),
        "c2st_auc": classifier_auc(r, s, rows=2_000, folds=2),
    }


def report(
    train: pa.Table, holdout: pa.Table | None, synthetic: pa.Table, columns: list[Column], seed: int
) -> dict[str, Any]:
    """Figures against held-out rows (against training rows where there are too few), with a ceiling and a floor beside
    them: what fresh real rows reach, and what columns drawn independently of each other reach."""
    names = [column["name"] for column in judged(columns)]
    if not names:
        return {"columns": {}, "verdict": "Keys, texts and constants were made afresh; there was nothing to learn."}
    rng = np.random.default_rng([seed, 11])
    t, s = arrays(train, columns), arrays(synthetic, columns)
    h = arrays(holdout, columns) if holdout is not None and holdout.num_rows >= ENOUGH else None
    against = t if h is None else h
    n = min(len(s[0]), len(t[0]), max(len(against[0]), 5_000))  # as many of each kind: more rows look more alike
    out = _figures(against, [column[:n] for column in s], seed)
    out["c2st_auc"] = round(classifier_auc(t, s, seed), 4)  # against training rows: there are more to learn from
    out["compared_with"] = "training rows" if h is None else "holdout rows"
    if h is not None:
        real = rng.permutation(len(t[0]))[:n]
        out["dcr_share"] = round(nearer_to_training(s, t, h, seed), 4)
        out["real_rows"] = _figures(h, [column[real] for column in t], seed)
    shuffled = [column[rng.permutation(len(column))[:n]] for column in t]
    out["independent_columns"] = _figures(against, shuffled, seed)
    out["columns"] = dict(zip(names, (round(x, 4) for x in shapes(against, s)), strict=True))
    out["verdict"] = verdict(out)
    return out


def _figures(real: Columns, other: Columns, seed: int) -> dict[str, Any]:
    n = min(len(real[0]), len(other[0]))
    return {
        "shape": round(float(np.mean(shapes(real, other))), 4),
        "trend": round(trend(real, other), 4),
        "c2st_auc": round(classifier_auc(real, other, seed, rows=min(n, 4_000), folds=2), 4),
    }


def verdict(figures: dict[str, Any]) -> str:
    """One sentence for people."""
    auc = figures["c2st_auc"]
    grade = "hardly" if auc < 0.6 else "sometimes" if auc < 0.75 else "often" if auc < 0.9 else "nearly always"
    text = f"A classifier can {grade} tell these rows from real ones (AUC {auc:.2f}; .50 is chance)"
    share = figures.get("dcr_share")
    if share is None:
        return text + "; the table is too small to keep enough rows aside, so privacy was not measured."
    closeness = "they lie no nearer to the training rows than to rows never seen" if share < 0.55 else (
        "they lie nearer to the training rows than they should: look before you share them")  # fmt: skip
    return f"{text}; {closeness} ({share:.0%} nearer to training rows, 50% is ideal)."
