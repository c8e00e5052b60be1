"""Whether synthetic rows lie closer to the training rows than they should. Pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray

from workers.metrics.fidelity import Columns, is_number

BLOCK = 128


def nearer_to_training(
    synthetic: Columns, training: Columns, holdout: Columns, seed: int = 0, rows: int = 2_000, against: int = 5_000
) -> float:
    """DCR share: of the synthetic rows, how many lie nearer to the training rows than to as many holdout rows.

    0.5 is ideal; well above it the model remembers rows. Distances are sums over columns: the difference of ranks for
    numbers, 1 for a category that differs or a value that only one of the two has."""
    rng = np.random.default_rng(seed)
    n = min(len(training[0]), len(holdout[0]), against)
    a, b = _some(training, n, rng), _some(holdout, n, rng)
    c = _some(synthetic, min(len(synthetic[0]), rows), rng)
    here = _coordinates(c, training)
    to_training, to_holdout = (_nearest(here, _coordinates(rows_, training)) for rows_ in (a, b))
    return float((to_training < to_holdout).mean() + 0.5 * (to_training == to_holdout).mean())


def _some(table: Columns, n: int, rng: np.random.Generator) -> list[NDArray[np.generic]]:
    rows = rng.choice(len(table[0]), n, replace=False)
    return [column[rows] for column in table]


Coordinates = tuple[NDArray[np.float32], NDArray[np.int64]]


def _coordinates(table: Columns, reference: Columns) -> Coordinates:
    """Numbers as their rank in the reference (missing far off), categories as codes."""
    numbers, codes = [np.zeros(len(table[0]))], [np.zeros(len(table[0]), int)]
    for column, known in zip(table, reference, strict=True):
        if is_number(column):
            ordered = np.sort(known[~np.isnan(known.astype(float))])
            rank = np.searchsorted(ordered, column) / max(1, len(ordered))
            numbers.append(np.where(np.isnan(column.astype(float)), -1.0, rank))
        else:
            codes.append(column.astype(int))
    return np.stack(numbers, 1).astype(np.float32), np.stack(codes, 1)


def _nearest(rows: Coordinates, others: Coordinates) -> NDArray[np.float64]:
    out = []
    for start in range(0, len(rows[0]), BLOCK):
        distance = np.zeros((min(BLOCK, len(rows[0]) - start), len(others[0])), np.float32)
        for i in range(rows[0].shape[1]):
            distance += np.minimum(1, np.abs(rows[0][start : start + BLOCK, i, None] - others[0][None, :, i]))
        for i in range(rows[1].shape[1]):
            distance += rows[1][start : start + BLOCK, i, None] != others[1][None, :, i]
        out.append(np.round(distance.min(1), 5))
    return np.concatenate(out)
