"""Distances by weights that an operator supplies: in the report where they fit, a warning where they do not."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.settings import Settings
from tests.unit.metrics.inception_weights import written
from workers.metrics import inception
from workers.modalities.images import fid, neighbours
from workers.modalities.images import judging as judging_of_pictures
from workers.modalities.images.modality import MODALITY
from workers.modalities.images.report import report
from workers.modalities.images.spec import ImageConfig
from workers.process import environment

from .helpers import ingested, pngs, zipped
from .test_judging import HOLDOUT, TRAIN, discs, fresh, judging, noisy

NAMES = {"FD-Inception", "KID-Inception"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("inception") / "inception.safetensors")


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is shown less, which costs a twentieth, and fewer pictures are enough for a distance."""
    monkeypatch.setattr(inception, "SIDE", 75)
    monkeypatch.setattr(inception, "PIECE", 60)
    monkeypatch.setattr(fid, "FEWEST_FOR_FD", 60)


@pytest.mark.usefixtures("_small")
def test_figures_tell_samples_as_good_as_real_pictures_from_noisy_ones(weights: Path) -> None:
    few = (HOLDOUT[0][:60], HOLDOUT[1][:60])
    good, bad = (fid.found(judging(TRAIN, few, sample, ["disc", "frame"]), weights) for sample in (fresh, noisy))
    assert set(good.figures) == set(good.ceiling) == set(fid.MEANING) == NAMES
    assert good.figures["FD-Inception"] < 1.3 * good.ceiling["FD-Inception"] < 0.7 * bad.figures["FD-Inception"]
    assert abs(good.figures["KID-Inception"]) < 0.1 * bad.figures["KID-Inception"]
    assert good.ceiling == bad.ceiling
    assert good.inception == {"judged": 60, "weights_sha256": inception.fingerprint(weights)}


@pytest.mark.usefixtures("_small")
def test_a_run_tells_them_where_the_setting_names_weights(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINTAGE_INCEPTION_WEIGHTS", str(weights))
    monkeypatch.setattr(neighbours, "ASKED", 20)
    monkeypatch.setattr(judging_of_pictures, "WATCHED", 20)
    _, dataset = ingested(tmp_path, zipped(pngs(20)))
    config = ImageConfig.model_validate({"preset": "draft", "network_width": 16, "batch": 4, "steps": 2})
    training = MODALITY.training(dataset, config, "cpu")
    for _ in training.trainer.run():
        pass
    (tmp_path / "model").mkdir()
    told = training.export(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "report.json").read_text()) == json.loads(json.dumps(told))
    figures, meaning = told["figures"], told["meaning"]
    assert isinstance(figures, dict)
    assert np.isfinite(figures["KID-Inception"])
    assert "FD-Inception" not in figures  # of twenty pictures it says nothing
    assert isinstance(meaning, dict)
    assert set(meaning) == set(figures)
    assert "warnings" not in told


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_weights_that_do_not_fit_are_a_warning_in_a_report_that_is_otherwise_whole(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "weights"
    if content:
        path.write_bytes(content)
    judged = judging(discs(40, 0), discs(0, 1), fresh, ["disc", "frame"])
    near = neighbours.Neighbours(40, 40, 1.0, 0.0, 0.0, b"")
    told, without = report(judged, near, {}, path), report(judged, near, {})
    [warning] = told["warnings"]  # type: ignore[misc]
    assert warning.startswith(f"Without distances as Inception sees pictures: {path} ")
    assert {name: part for name, part in told.items() if name != "warnings"} == without
    assert not NAMES & set(without["figures"])  # type: ignore[call-overload]


def test_a_workers_children_are_told_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_INCEPTION_WEIGHTS", "/models/inception.safetensors")
    settings = Settings(database_url="sqlite://", redis_url="")
    assert environment(settings, tmp_path)[fid.VARIABLE] == "/models/inception.safetensors"
    monkeypatch.delenv("MINTAGE_INCEPTION_WEIGHTS")
    assert fid.VARIABLE not in environment(Settings(database_url="sqlite://", redis_url=""), tmp_path)
