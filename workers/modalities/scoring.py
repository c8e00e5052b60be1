"""Scores of samples from what a modality measures of them: how odd each looks, beside real ones that nobody trained on.

A view is one number a sample, larger where it looks odder: a discriminator's doubt, a distance. Views have units of
their own, so each is turned into the share of real samples that are as odd; a sample's oddness adds the logarithms up
(Fisher's method), and its score is again the share of real samples as odd as it: a conformal p-value. So of real
samples 5 % score below .05, whatever the views are worth; what they are worth is told by counterfeits that are planted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities import Dataset, Json, Modality, Progress, modality

Floats = NDArray[np.float64]
RATES = {"at_5_percent": 0.05, "at_1_percent": 0.01}  # of false alarms: a verdict, and a column, for each
COUNTERFEIT, REAL = "counterfeit", "real-looking"
BINS = 20  # of the histogram of scores
LEAST = 40  # held-out samples, below which a model's own samples are taken in their place
ALIKE = 0.5  # share of real samples: a view in which more are alike, and best, never speaks against them
LOUD = 4.0  # times that such a view counts: with it, what it speaks against is odder than nearly all else
TELLS = 0.6  # AUC that a view must reach on some kind of counterfeit: one that is no better than dice only adds noise
PLACES = 4


@dataclass(frozen=True)
class Upload:
    """The samples to judge, as they were sent."""

    path: Path
    options: Json  # how to read it
    rows: int  # as counted when it was read first
    schema: Json  # as found then; the model's may differ


@dataclass(frozen=True)
class Measured:
    """What is seen of n samples."""

    views: Floats  # (n, views), larger is odder
    distance: Floats  # (n,) to the nearest real sample
    names: Sequence[str] | None = None  # of files, where samples have names


class Scorer(Protocol):
    """A model's view of samples. Depends on (model, reference, upload, seed) alone; raises service.errors.Rejected."""

    views: tuple[str, ...]
    calibrated_on: str  # words for people: "held-out rows"
    warnings: list[str]

    def real(self, progress: Progress) -> Measured:
        """Samples that stand for real ones; LEAST or more."""

    def planted(self, progress: Progress) -> Iterator[tuple[str, Measured]]:
        """Counterfeits by kind, made to know what the views can see."""

    def uploaded(self, progress: Progress) -> Iterator[Measured]:
        """The upload's samples in their order, a piece at a time. Memory does not grow with their number."""


class Scoring(Modality, Protocol):
    """A modality whose spec has `check_scored`."""

    def scorer(self, reference: Dataset | None, upload: Upload, directory: Path, device: str, seed: int) -> Scorer:
        """What `export` wrote to `directory`, and the dataset that it was trained on, where that may be looked at."""


def scoring(name: str) -> Scoring:
    """The modality of that name, which must be one that scores. Raises KeyError for an unknown name."""
    return cast(Scoring, modality(name))


class Calibration:
    """Turns views into scores, by n real samples; `used` are the views that count."""

    def __init__(self, real: Measured, used: Sequence[int]) -> None:
        self.used = list(used)
        self._views = [np.sort(real.views[:, j]) for j in self.used]
        self._weights = np.where(_silent(real), LOUD, 1.0)[self.used]
        self._typical = max(float(np.median(real.distance)), 1e-12)
        self.real = np.sort(self._add_up(real.views, own=True))

    def oddness(self, views: Floats) -> Floats:
        """(n,) of views (n, all views)."""
        return self._add_up(views, own=False)

    def _add_up(self, views: Floats, own: bool) -> Floats:
        shares = [_share(known, views[:, j], own) for known, j in zip(self._views, self.used, strict=True)]
        out: Floats = -np.log(np.stack(shares, 1)) @ self._weights
        return out

    def score(self, oddness: Floats) -> Floats:
        """(n,) in (0, 1]: the share of real samples, this one among them, that look as odd or odder."""
        return _share(self.real, oddness, own=False)

    def relative(self, distance: Floats) -> Floats:
        """Distances over the median of real samples'."""
        return distance / self._typical

    def auc(self, oddness: Floats) -> float:
        """How well these are told from real samples: .5 not at all, 1 always."""
        return auc(self.real, oddness)


def _share(known: Floats, values: Floats, own: bool) -> Floats:
    """Of the sorted `known` and each value itself, which may be one of them, the share that is as large or larger."""
    as_large = len(known) - np.searchsorted(known, values, side="left")
    out: Floats = (as_large + (not own)) / (len(known) + (not own))
    return out


def auc(known: Floats, values: Floats) -> float:
    """The chance that a value is larger than one of the sorted `known`, ties counted half (Mann and Whitney)."""
    below = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    return float(below.mean() / 2 / len(known))


def useful(real: Measured, planted: Mapping[str, Measured]) -> list[int]:
    """The views that tell some kind of counterfeit from real samples, and those that speak of few real ones at all; the
    best one where none does."""
    known, silent = np.sort(real.views, axis=0), _silent(real)
    best = [max(auc(known[:, j], one.views[:, j]) for one in planted.values()) for j in range(known.shape[1])]
    return [j for j, value in enumerate(best) if silent[j] or value >= TELLS] or [int(np.argmax(best))]


def _silent(real: Measured) -> NDArray[np.bool_]:
    """The views that most real samples have at their least: they count what should not be."""
    out: NDArray[np.bool_] = (real.views == real.views.min(0)).mean(0) > ALIKE
    return out


def judged(scorer: Scorer, path: Path, progress: Progress) -> tuple[int, dict[str, Any]]:
    """Write a line for each sample to a Parquet file; returns their number and what the job's result tells."""
    real = scorer.real(_within(progress, 0.0, 0.2))
    planted = dict(scorer.planted(_within(progress, 0.2, 0.4)))
    calibration = Calibration(real, useful(real, planted))
    table = [_seen(name, one, scorer.views, real, calibration) for name, one in planted.items()]
    counted = Counted(calibration)
    writer: pq.ParquetWriter | None = None
    try:
        for piece in scorer.uploaded(_within(progress, 0.4, 1.0)):
            lines = counted.lines(piece)
            writer = writer or pq.ParquetWriter(path, lines.schema, compression="zstd")
            writer.write_table(lines)
    finally:
        if writer is not None:
            writer.close()
    if not counted.rows:
        raise Rejected("nothing_to_score", "None of the samples could be read as the model needs them.")
    progress(1, 1)
    told = counted.told() | {
        "calibrated_on": scorer.calibrated_on,
        "calibration_samples": len(real.distance),
        "views": [scorer.views[j] for j in calibration.used],
        "planted": table,
    }
    return counted.rows, told | {"verdict": verdict(told), "warnings": _warnings(scorer, len(real.distance))}


class Counted:
    """The lines of the output, and the figures over all of them, without holding any."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration, self.rows, self._larger = calibration, 0, 0.0
        self.bins = np.zeros(BINS, np.int64)
        self.caught = dict.fromkeys(RATES, 0)

    def lines(self, piece: Measured) -> pa.Table:
        oddness = self.calibration.oddness(piece.views)
        score, n = self.calibration.score(oddness), len(oddness)
        named = {} if piece.names is None else {"name": pa.array(piece.names, pa.string())}
        verdicts = {}
        for name, rate in RATES.items():
            odd = score <= rate
            self.caught[name] += int(odd.sum())
            verdicts[name] = pa.array(np.where(odd, COUNTERFEIT, REAL))
        columns = {"index": pa.array(np.arange(self.rows, self.rows + n))} | named
        columns |= {"score": pa.array(np.round(score, 6))}
        columns |= {"distance": pa.array(np.round(self.calibration.relative(piece.distance), PLACES))}
        self.bins += np.bincount(np.minimum((score * BINS).astype(np.int64), BINS - 1), minlength=BINS)
        self._larger += self.calibration.auc(oddness) * n
        self.rows += n
        return pa.table(columns | verdicts)

    def told(self) -> dict[str, Any]:
        n = max(1, self.rows)
        return {
            "counterfeit": {name: round(count / n, PLACES) for name, count in self.caught.items()},
            "roc_auc": round(self._larger / n, PLACES),
            "histogram": {"edges": np.linspace(0, 1, BINS + 1).round(2).tolist(), "counts": self.bins.tolist()},
        }


def _seen(name: str, one: Measured, views: Sequence[str], real: Measured, calibration: Calibration) -> dict[str, Any]:
    oddness = calibration.oddness(one.views)
    score = calibration.score(oddness)
    by = {view: round(auc(np.sort(real.views[:, j]), one.views[:, j]), PLACES) for j, view in enumerate(views)}
    caught = {rate: round(float((score <= share).mean()), PLACES) for rate, share in RATES.items()}
    return {"what": name, "roc_auc": round(calibration.auc(oddness), PLACES)} | caught | {"by": by}


def verdict(told: Mapping[str, Any]) -> str:
    """One sentence for people."""
    share, seen = told["counterfeit"]["at_5_percent"], told["roc_auc"]
    if share > 0.5:
        text = f"Most samples look counterfeit: {share:.0%} at a false-alarm rate of 5%"
    elif share > 0.1:
        text = f"More samples look counterfeit than chance explains: {share:.0%} at a false-alarm rate of 5%"
    else:
        text = f"The samples look like real ones: {share:.0%} are called counterfeit, where 5% of real ones are"
    blind = [one["what"] for one in told["planted"] if one["roc_auc"] < 0.6]
    text += f" (AUC {seen:.2f} against {told['calibrated_on']}; .50 is chance)."
    return text + (f" This score hardly sees {', '.join(blind)}." if blind else "")


def _warnings(scorer: Scorer, n: int) -> list[str]:
    few = f"Only {n} samples stand for real ones: with fewer than 99 none can be called counterfeit at 1%."
    return scorer.warnings + ([few] if n < 99 else [])


def _within(progress: Progress, start: float, stop: float) -> Progress:
    """The part of the whole from `start` to `stop`."""

    def far(done: float, total: float) -> None:
        progress(start + (stop - start) * min(1.0, done / total if total else 1.0), 1.0)

    return far
