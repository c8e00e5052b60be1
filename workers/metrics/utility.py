"""What more rows are worth to whoever trains on them: boosted trees without and with them, and how sure one can be.

Pure functions of arrays. Classes are codes 0, 1, 2 ...; figures come with those of resampled rows: so chance shows."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

Floats = NDArray[np.floating]
Figures = dict[str, Floats]
TIMES = 200  # resamples of the holdout: the ends of a 95 % interval rest on five of them each
TREES = 1_000  # in all classes together, with a floor a class: a forest of 100 for each of 50 takes minutes
WORDS = {"balanced_accuracy": "balanced accuracy", "f1_macro": "F1", "roc_auc": "ROC AUC", "r2": "R2"}


def probabilities(
    x: Floats, y: NDArray[np.int64], unseen: Floats, classes: int, categories: NDArray[np.bool_], seed: int,
    weights: Floats | None = None,
) -> Floats:  # fmt: skip
    """Boosted trees trained on (x, y), asked about other rows: (n, classes). NaN is a missing value; columns that are
    `categories` hold codes below 255."""
    out = np.zeros((len(unseen), classes))
    found = np.unique(y)
    if len(found) == 1:
        out[:, found] = 1.0
        return out
    trees = HistGradientBoostingClassifier(
        max_iter=min(100, max(20, TREES // classes)),
        categorical_features=categories,
        early_stopping=False,
        random_state=seed,
    )
    out[:, found] = trees.fit(x, y, sample_weight=weights).predict_proba(unseen)
    return out


def predictions(x: Floats, y: Floats, unseen: Floats, categories: NDArray[np.bool_], seed: int) -> Floats:
    """The same for a number: (n,)."""
    trees = HistGradientBoostingRegressor(categorical_features=categories, early_stopping=False, random_state=seed)
    found: Floats = trees.fit(x, y).predict(unseen)
    return found


def balancing(y: NDArray[np.int64]) -> Floats:
    """Weights of rows by which all classes that occur weigh the same (n,)."""
    counts = np.bincount(y)
    found: Floats = len(y) / (np.count_nonzero(counts) * counts[y])
    return found


def resamples(n: int, seed: int, times: int = TIMES) -> Floats:
    """How often each row counts (times + 1, n): once, then as in bootstraps (Poisson's; Hanley and MacGibbon 2006)."""
    drawn = np.random.default_rng([seed, 21]).poisson(1.0, (times, n))
    return np.concatenate([np.ones((1, n)), drawn]).astype(np.float32)


def classification(y: NDArray[np.int64], guess: Floats, weights: Floats) -> Figures:
    """Figures of predicted probabilities (n, k) for each weighting (b, n): roc_auc, balanced_accuracy, f1_macro (b,),
    and recall (b, k). Classes of which the holdout has no row count in none of them, and their recall is NaN."""
    k = guess.shape[1]
    truth, said = (np.eye(k, dtype=np.float32)[codes] for codes in (y, guess.argmax(1)))
    there, claimed, right = (weights @ which for which in (truth, said, truth * said))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / there
        f1 = np.where(there > 0, 2 * right / (there + claimed), np.nan)
    aucs = [area(guess[:, c], y == c, weights) for c in range(k)]
    return {
        "roc_auc": _mean(np.stack(aucs[1:] if k == 2 else aucs, 1)),  # of two classes both have the same
        "balanced_accuracy": _mean(recall),
        "f1_macro": _mean(f1),
        "recall": recall,
    }


def area(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Area under the ROC curve for each weighting of the rows (b,); ties count half, NaN without rows of both kinds."""
    order = np.argsort(scores, kind="stable")
    groups = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))
    up = np.add.reduceat(weights[:, order] * positive[order], groups, axis=1, dtype=np.float64)
    down = np.add.reduceat(weights[:, order] * ~positive[order], groups, axis=1, dtype=np.float64)
    below = np.cumsum(down, axis=1) - down / 2
    with np.errstate(invalid="ignore"):
        found: Floats = (up * below).sum(1) / (up.sum(1) * down.sum(1))
    return found


def regression(y: Floats, guess: Floats, weights: Floats) -> Figures:
    """The share of a number's variance that is explained, for each weighting (b,)."""
    y, guess = y - y.mean(), guess - y.mean()  # else times, large and close together, lose their digits
    total = weights.sum(1)
    mean = (weights @ y) / total
    spread = weights @ y**2 - total * mean**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"r2": np.where(spread > 0, 1 - weights @ (y - guess) ** 2 / spread, np.nan)}


def _mean(of_classes: Floats) -> Floats:
    """Over the classes that are there; NaN for none."""
    there = ~np.isnan(of_classes)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(there, of_classes, 0.0).sum(1) / there.sum(1)
    return found


def changes(before: Figures, after: Figures) -> dict[str, tuple[float, float]]:
    """Between which ends each figure's change lies in 95 of 100 resampled holdouts; those that can be said alone."""
    out = {}
    for name in WORDS.keys() & before.keys():
        differences = (after[name] - before[name])[1:]
        differences = differences[np.isfinite(differences)]
        if len(differences):
            low, high = np.quantile(differences, [0.025, 0.975])
            out[name] = (float(low), float(high))
    return dict(sorted(out.items()))


def verdict(
    before: Mapping[str, float],
    after: Mapping[str, float],
    change: Mapping[str, Sequence[float]],
    weighted: Mapping[str, float] | None,
) -> str:
    """A sentence or three for people, on what has changed by more than chance, and whether there is a cheaper way."""
    if not change:
        return "The held-out rows are all alike in this column, so nothing can be said of how well it is predicted."
    rose = [name for name in WORDS if name in change and change[name][0] > 0]
    fell = [name for name in WORDS if name in change and change[name][1] < 0]
    same = [name for name in WORDS if name in change and name not in rose + fell]

    def moved(names: list[str], verb: str) -> list[str]:
        told = [f"from {before[name]:.3f} to {after[name]:.3f}" for name in names]
        words = [WORDS[name] + (f" {verb} " if i == 0 else " ") for i, name in enumerate(names)]
        return [_listed([word + ends for word, ends in zip(words, told, strict=True)])] if names else []

    kept = _listed([f"{WORDS[name]} ({before[name]:.3f}, {after[name]:.3f})" for name in same]) if same else ""
    parts = moved(rose, "rose") + moved(fell, "fell") + ([f"no change beyond chance in {kept}"] if same else [])
    help = "helped in part" if rose and fell else "helped" if rose else "did harm" if fell else "did not help"
    text = f"The synthetic rows {help}: {'; '.join(parts)}."
    if weighted and "balanced_accuracy" in weighted:
        reached = weighted["balanced_accuracy"]
        text += f" The real rows alone, with their classes weighted alike, reach a balanced accuracy of {reached:.3f}"
        text += ", so weights do as well or better." if reached >= after["balanced_accuracy"] else "."
    return text


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
