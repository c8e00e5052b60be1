"""Whether a classifier can tell synthetic rows from real ones. Pure functions of arrays."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from workers.metrics.fidelity import LEVELS, Columns, is_number


def classifier_auc(real: Columns, synthetic: Columns, seed: int = 0, rows: int = 20_000, folds: int = 3) -> float:
    """Classifier two-sample test: ROC-AUC of boosted trees, cross-validated on as many real as synthetic rows.

    0.5 cannot be told apart, 1.0 always (Lopez-Paz and Oquab 2017)."""
    rng = np.random.default_rng(seed)
    n = min(len(real[0]), len(synthetic[0]), rows)
    if n < 2 * folds:
        return 0.5
    halves = [
        np.stack([_feature(c) for c in t], axis=1)[rng.choice(len(t[0]), n, replace=False)] for t in (real, synthetic)
    ]
    x, y = np.concatenate(halves), np.repeat([0, 1], n)
    categories = np.array([not is_number(column) for column in real])
    scores = np.zeros(len(y))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        trees = HistGradientBoostingClassifier(
            max_iter=80,
            learning_rate=0.1,
            max_leaf_nodes=31,
            categorical_features=categories,
            early_stopping=False,
            random_state=seed,
        )
        known = ~np.isnan(x[train]).all(0)  # trees cannot bin a column of which the fold has no value
        seen = np.where(known, x, 0.0)
        scores[test] = trees.fit(seen[train], y[train]).predict_proba(seen[test])[:, 1]
    return float(roc_auc_score(y, scores))


def _feature(column: np.ndarray) -> np.ndarray:
    return (
        column.astype(np.float64)
        if is_number(column)
        else np.minimum(column.astype(np.int64), LEVELS).astype(np.float64)
    )
