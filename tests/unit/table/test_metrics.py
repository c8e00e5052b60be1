"""The metrics on tables whose answer is known."""

import numpy as np
import pytest

from workers.metrics.detection import classifier_auc
from workers.metrics.fidelity import shapes, total_variation, trend
from workers.metrics.privacy import nearer_to_training


def table(n: int, seed: int) -> list[np.ndarray]:
    """A number with missing values, another that follows it, and a category that follows both."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = x + 0.3 * rng.normal(size=n)
    kind = (x + y > 0).astype(int) + (x > 1)
    return [np.where(rng.random(n) < 0.1, np.nan, x), y, kind]


def shuffled(columns: list[np.ndarray]) -> list[np.ndarray]:
    rng = np.random.default_rng(9)
    return [rng.permutation(column) for column in columns]


def test_shape_is_one_for_the_same_rows_and_low_for_others() -> None:
    one = table(2_000, 0)
    assert shapes(one, one) == [1, 1, 1]
    assert min(shapes(one, table(2_000, 1))) > 0.95
    assert shapes(one, [one[0] + 5, one[1], 2 - one[2]])[0] < 0.1


def test_shape_sees_missing_values() -> None:
    one = table(2_000, 0)
    assert shapes(one, [np.nan_to_num(one[0]), one[1], one[2]])[0] == pytest.approx(0.9, abs=0.02)
    assert shapes([one[0]], [np.full(2_000, np.nan)]) == [0]


def test_trend_and_detection_see_what_shape_cannot() -> None:
    one, other = table(4_000, 0), table(4_000, 1)
    mixed = shuffled(other)
    assert np.mean(shapes(one, mixed)) > 0.97
    assert trend(one, other) > 0.95
    assert trend(one, mixed) < 0.75
    assert classifier_auc(one, other) == pytest.approx(0.5, abs=0.04)
    assert classifier_auc(one, mixed) > 0.85


def test_total_variation_counts_what_only_one_side_has() -> None:
    assert total_variation(np.array([0, 0, 1, 1]), np.array([0, 0, 2, 2])) == 0.5


def test_copies_of_training_rows_are_found() -> None:
    training, holdout, fresh = table(2_000, 0), table(2_000, 1), table(1_000, 2)
    assert nearer_to_training(fresh, training, holdout) == pytest.approx(0.5, abs=0.05)
    assert nearer_to_training([column[:1_000] for column in training], training, holdout) > 0.95
