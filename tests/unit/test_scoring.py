"""Scores are shares of real samples: uniform on real ones, small on what no real one is like."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.errors import Rejected
from workers.modalities import Progress, Stop
from workers.modalities.scoring import LEAST, Calibration, Floats, Measured, auc, judged, useful


def measured(views: Floats, names: list[str] | None = None) -> Measured:
    return Measured(views, np.abs(views[:, 0]), names)


def normal(n: int, shift: float = 0.0, views: int = 2, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(shift, 1.0, (n, views))


class Toy:
    """Two views of numbers: the second knows nothing."""

    views, calibrated_on = ("size", "dice"), "held-out rows"

    def __init__(self, pieces: list[Floats], real: int = 500) -> None:
        self.pieces, self.count, self.warnings = pieces, real, ["Mind the gap."]

    def real(self, progress: Progress) -> Measured:
        progress(0, 1)
        return measured(normal(self.count))

    def planted(self, progress: Progress) -> Iterator[tuple[str, Measured]]:
        yield "far off", measured(normal(300, seed=1) + np.array([4.0, 0.0]))
        yield "the same", measured(normal(300, seed=2))

    def uploaded(self, progress: Progress) -> Iterator[Measured]:
        for piece in self.pieces:
            progress(0, 1)
            yield measured(piece, [f"{i}.png" for i in range(len(piece))])


def run(toy: Toy, path: Path) -> tuple[int, dict[str, object]]:
    rows, told = judged(toy, path, lambda done, total: None)
    return rows, json.loads(json.dumps(told, allow_nan=False))


def test_fresh_real_samples_score_uniformly_so_false_alarms_come_at_the_rates_that_are_promised() -> None:
    calibration = Calibration(measured(normal(2_000, views=3)), [0, 1, 2])
    scores = calibration.score(calibration.oddness(normal(20_000, views=3, seed=1)))
    for rate in (0.01, 0.05, 0.3, 0.8):
        assert (scores <= rate).mean() == pytest.approx(rate, abs=0.25 * rate + 0.003)


def test_scores_lie_between_one_in_all_and_one_and_fall_as_samples_grow_odder() -> None:
    calibration = Calibration(measured(normal(99, views=1)), [0])
    scores = calibration.score(calibration.oddness(np.array([[-9.0], [0.0], [1.0], [9.0]])))
    assert scores.tolist() == sorted(scores, reverse=True)
    assert (scores[0], scores[-1]) == (1.0, 0.01)


def test_auc_counts_pairs_and_ties_half() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([3.0, 2.0, 0.0])) == pytest.approx((2 + 1.5 + 0) / 6)


def test_a_view_that_tells_nothing_is_left_out_and_the_best_one_stays() -> None:
    real, same = measured(normal(500)), measured(normal(500, seed=1))
    assert useful(real, {"far": measured(normal(300, seed=2) + np.array([2.0, 0.0])), "same": same}) == [0]
    assert len(useful(real, {"same": same})) == 1
    rare = np.zeros((500, 1))
    assert useful(measured(np.append(normal(500), rare, 1)), {"same": measured(np.append(normal(500), rare, 1))}) == [2]


def test_each_sample_has_a_line_and_the_figures_are_those_of_all(tmp_path: Path) -> None:
    rows, told = run(Toy([normal(30, seed=3), normal(30, seed=4) + np.array([6.0, 0.0])]), tmp_path / "out.parquet")
    lines = pq.read_table(tmp_path / "out.parquet")
    assert lines.column_names == ["index", "name", "score", "distance", "at_5_percent", "at_1_percent"]
    assert (rows, lines["index"].to_pylist()) == (60, list(range(60)))
    verdicts = np.array(lines["at_1_percent"].to_pylist())
    assert (verdicts[30:] == "counterfeit").all()
    assert (verdicts[:30] == "real-looking").mean() > 0.9
    share = float((np.array(lines["at_5_percent"].to_pylist()) == "counterfeit").mean())
    assert told["counterfeit"]["at_5_percent"] == pytest.approx(share, abs=1e-4)  # type: ignore[index]
    assert 0.65 < told["roc_auc"] < 0.85  # type: ignore[operator]
    assert sum(told["histogram"]["counts"]) == 60  # type: ignore[index]
    far, same = told["planted"]  # type: ignore[misc]
    assert far["roc_auc"] > 0.95
    assert same["roc_auc"] < 0.6
    assert told["views"] == ["size"]
    assert "the same" in str(told["verdict"])
    assert told["warnings"] == ["Mind the gap."]


def test_the_same_samples_in_other_pieces_get_the_same_lines(tmp_path: Path) -> None:
    whole, other = normal(50, seed=5), tmp_path / "b"
    run(Toy([whole]), tmp_path / "a")
    run(Toy([whole[:20], whole[20:]]), other)
    a, b = (pq.read_table(path).drop_columns(["name"]) for path in (tmp_path / "a", other))
    assert a.equals(b)


def test_too_few_real_samples_for_a_rate_are_told(tmp_path: Path) -> None:
    _, told = run(Toy([normal(5) + 9.0], real=LEAST), tmp_path / "out")
    assert told["counterfeit"] == {"at_5_percent": 1.0, "at_1_percent": 0.0}
    assert any("99" in str(warning) for warning in told["warnings"])  # type: ignore[attr-defined]


def test_an_upload_of_which_nothing_can_be_judged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        run(Toy([]), tmp_path / "out")
    assert refused.value.code == "nothing_to_score"


def test_it_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    def stop(done: float, total: float) -> None:
        if done > 0.3:
            raise Stop

    with pytest.raises(Stop):
        judged(Toy([normal(5)] * 3), tmp_path / "out", stop)
