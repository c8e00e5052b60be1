"""Figures of classifiers, on arrays whose answer is known or that scikit-learn judges as well."""

import math

import numpy as np
import pytest
from sklearn import metrics

from workers.metrics import utility

ONES = np.ones((1, 4))


def once(n: int) -> np.ndarray:
    return np.ones((1, n))


def some(k: int = 3, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and probabilities that have something to do with them, with ties."""
    rng = np.random.default_rng(1)
    y = rng.choice(k, n, p=[0.6, 0.3, 0.1][:k] if k == 3 else [0.8, 0.2])
    raw = np.round(rng.random((n, k)) + 0.4 * np.eye(k)[y], 1) + 1e-3
    return y, raw / raw.sum(1, keepdims=True)


def test_the_area_under_the_curve_of_known_rankings() -> None:
    positive = np.array([False, False, True, True])
    for scores, wanted in [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([1, 1, 1, 1], 0.5), ([1, 3, 2, 4], 0.75)]:
        assert utility.area(np.array(scores, float), positive, ONES) == pytest.approx(wanted)
    assert math.isnan(utility.area(np.arange(4.0), np.zeros(4, bool), ONES)[0])


def test_the_area_of_weighted_rows_is_that_of_rows_repeated_so_often() -> None:
    rng = np.random.default_rng(0)
    scores, positive, weights = np.round(rng.random(200), 1), rng.random(200) < 0.3, rng.integers(0, 4, (5, 200))
    found = utility.area(scores, positive, weights.astype(float))
    for b in range(5):
        repeated = np.repeat(np.arange(200), weights[b])
        assert found[b] == pytest.approx(metrics.roc_auc_score(positive[repeated], scores[repeated]))


@pytest.mark.parametrize("k", [2, 3])
def test_figures_of_classes_are_scikit_learns(k: int) -> None:
    y, guess = some(k)
    found = utility.classification(y, guess, once(len(y)))
    said = guess.argmax(1)
    auc = metrics.roc_auc_score(y, guess, multi_class="ovr") if k > 2 else metrics.roc_auc_score(y, guess[:, 1])
    assert found["roc_auc"][0] == pytest.approx(auc)
    assert found["balanced_accuracy"][0] == pytest.approx(metrics.balanced_accuracy_score(y, said))
    assert found["f1_macro"][0] == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert found["recall"][0] == pytest.approx(metrics.recall_score(y, said, average=None))


def test_a_class_without_a_row_counts_in_no_figure() -> None:
    y, guess = np.array([0, 0, 1, 1]), np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    found = utility.classification(y, guess, ONES)
    assert found["balanced_accuracy"][0] == pytest.approx(0.75)
    assert found["f1_macro"][0] == pytest.approx((2 / 3 + 1) / 2)
    assert math.isnan(found["recall"][0, 2])


def test_the_share_of_variance_that_is_explained_is_scikit_learns_also_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    for far in (0.0, 1.7e15):
        y = far + rng.normal(0, 1e3, 300)
        guess = y + rng.normal(0, 300, 300)
        assert utility.regression(y, guess, once(300))["r2"][0] == pytest.approx(metrics.r2_score(y, guess), abs=1e-6)
    assert utility.regression(y, np.full(300, y.mean()), once(300))["r2"][0] == pytest.approx(0.0, abs=1e-6)
    assert math.isnan(utility.regression(np.ones(4), np.ones(4), ONES)["r2"][0])


def test_resamples_count_each_row_once_on_average_and_follow_the_seed() -> None:
    weights = utility.resamples(1_000, 3)
    assert weights.shape == (utility.TIMES + 1, 1_000)
    assert (weights[0] == 1).all()
    assert weights[1:].mean() == pytest.approx(1.0, abs=0.02)
    assert (utility.resamples(1_000, 3) == weights).all()
    assert (utility.resamples(1_000, 4) != weights).any()


def test_a_change_is_told_from_chance() -> None:
    rng, weights = np.random.default_rng(0), utility.resamples(2_000, 0)
    y = (rng.random(2_000) < 0.3).astype(np.int64)

    def guess(strength: float) -> np.ndarray:
        p = np.clip(0.5 + strength * (y - 0.5) + rng.normal(0, 0.3, len(y)), 0, 1)
        return np.stack([1 - p, p], 1)

    weak, strong, alike = (utility.classification(y, guess(strength), weights) for strength in (0.2, 0.4, 0.2))
    up, same = utility.changes(weak, strong), utility.changes(weak, alike)
    assert set(up) == {"roc_auc", "balanced_accuracy", "f1_macro"}
    assert all(low > 0 for low, _ in up.values())
    assert all(low < 0 < high for low, high in same.values())
    assert all(high < 0 for _, high in utility.changes(strong, weak).values())


def test_the_verdict_says_what_rose_what_fell_and_what_a_cheaper_way_does() -> None:
    before = {"balanced_accuracy": 0.7, "f1_macro": 0.72, "roc_auc": 0.9}
    after = {"balanced_accuracy": 0.8, "f1_macro": 0.721, "roc_auc": 0.85}
    rise, fall, none = [0.05, 0.15], [-0.1, -0.01], [-0.02, 0.02]
    mixed = {"balanced_accuracy": rise, "f1_macro": none, "roc_auc": fall}
    said = utility.verdict(before, after, mixed, {"balanced_accuracy": 0.82})
    assert said == (
        "The synthetic rows helped in part: balanced accuracy rose from 0.700 to 0.800; ROC AUC fell from 0.900 to "
        "0.850; no change beyond chance in F1 (0.720, 0.721). The real rows alone, with their classes weighted alike, "
        "reach a balanced accuracy of 0.820, so weights do as well or better."
    )
    both = utility.verdict(before, after, {"balanced_accuracy": rise, "roc_auc": rise}, None)
    assert "balanced accuracy rose from 0.700 to 0.800 and ROC AUC from 0.900 to 0.850." in both
    assert utility.verdict(before, after, mixed, {"balanced_accuracy": 0.75}).endswith("0.750.")
    for change, word in [(rise, "helped:"), (fall, "did harm:"), (none, "did not help:")]:
        assert word in utility.verdict(before, after, {"roc_auc": change}, None)
    assert "nothing can be said" in utility.verdict({}, {}, {}, None)


def test_trees_learn_classes_and_numbers_from_numbers_categories_and_gaps() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=2_000), rng.integers(0, 5, 2_000)], 1).astype(float)
    y = ((x[:, 0] > 0) ^ (x[:, 1] == 2)).astype(np.int64)
    x[rng.random(2_000) < 0.05, 0] = np.nan
    categories = np.array([False, True])
    guess = utility.probabilities(x[:1500], y[:1500], x[1500:], 3, categories, 0)
    assert guess.shape == (500, 3)
    assert guess.sum(1) == pytest.approx(1.0)
    assert not guess[:, 2].any()  # a class of which there is no row
    assert (guess.argmax(1) == y[1500:]).mean() > 0.9
    alone = utility.probabilities(x[:9], np.full(9, 2), x[1500:], 3, categories, 0)
    assert (alone == [0, 0, 1]).all()
    number = 3 * np.nan_to_num(x[:, 0]) + x[:, 1]
    told = utility.predictions(x[:1500], number[:1500], x[1500:], categories, 0)
    assert utility.regression(number[1500:], told, once(500))["r2"][0] > 0.9


def test_balancing_weights_make_all_classes_weigh_alike() -> None:
    y = np.array([0] * 6 + [2] * 2)
    weights = utility.balancing(y)
    assert weights.sum() == pytest.approx(8)
    assert weights[y == 0].sum() == pytest.approx(weights[y == 2].sum())
