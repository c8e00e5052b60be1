"""What is said of a run that ended before its last step."""

import json
from pathlib import Path

from tests.unit.engine.test_warmstart import WARM, broken, finish, warmed
from workers.work import early


def test_a_run_that_went_wrong_and_kept_what_it_had_says_so(tmp_path: Path) -> None:
    run = broken(warmed(adversarial=60), WARM.steps + 20)
    assert (early.stopped(run, 9.0) or {})["reason"] == "time_limit"  # as it is before its last step
    finish(run)
    told = early.stopped(run, None)
    assert told is not None
    assert (told["reason"], told["steps"]) == ("diverged", run.steps)
    assert "3 times" in told["message"]
    (tmp_path / "report.json").write_text('{"a": 1, "warnings": ["b"]}')
    report = early.told({"a": 1, "warnings": ["b"]}, told, tmp_path)
    assert report == {"a": 1, "warnings": ["b", told["message"]], "stopped_early": told}
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_what_the_modality_has_said_is_not_said_again(tmp_path: Path) -> None:
    told = {"reason": "diverged", "step": 1, "steps": 2, "message": "It went wrong: training stopped at step 1 of 2."}
    said = {"warnings": ["It went wrong. The model is what had been learned before."]}
    assert early.told(said, told, tmp_path)["warnings"] == said["warnings"]


def test_a_whole_run_says_nothing(tmp_path: Path) -> None:
    run = warmed(adversarial=5)
    finish(run)
    assert early.stopped(run, 9.0) is None
    assert early.told({"a": 1}, None, tmp_path) == {"a": 1}
