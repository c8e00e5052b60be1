"""Augmentations through real workers: trained first, written in files, killed, drained and cancelled on the way."""

import json
import signal
import time
from typing import Any

import pytest

from service.db.tables import Model
from service.domain.states import State
from service.storage.objects import Missing
from tests.integration.workers.conftest import Yard

LONG = 100.0  # seconds: three processes one after the other, on a machine that has other things to do
SLOW: dict[str, Any] = {"steps": 120, "pause": 0.02, "seed": 3}


def manifest(yard: Yard, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        yard.context.storage.get(f"projects/{yard.project}/outputs/{job_id}/manifest.json")
    )
    return found


def content(yard: Yard, job_id: str) -> list[bytes]:
    return [yard.context.storage.get(file["key"]) for file in manifest(yard, job_id)["files"]]


def files_noted(yard: Yard, job_id: str, index: int = 0) -> int:
    return ((yard.unit(job_id, index).checkpoint or {}).get("step") or 0) // 100


def test_a_dataset_is_augmented_from_nothing_but_its_rows(either_yard: Yard) -> None:
    yard = either_yard
    yard.worker()
    job = yard.wait(yard.augment(246, steps=20), LONG)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.row(Model, job.model_id).status == "ready"
    size = sum(file["bytes"] for file in manifest(yard, job.id)["files"])
    assert job.result == {
        "model_id": job.model_id, "output": {"files": 3, "rows": 250, "bytes": size},
        "real_rows": 4, "synthetic_rows": 246, "flag": "is_synthetic", "before": {"r2": 0.5}, "after": {"r2": 0.6},
        "verdict": "Good.",
    }  # fmt: skip
    assert [file["rows"] for file in manifest(yard, job.id)["files"]] == [100, 100, 50]
    lines = content(yard, job.id)[0].decode().splitlines()
    assert lines[:6] == ["x,is_synthetic", "1.0,False", "2.0,False", "3.0,False", "4.0,False", lines[5]]
    assert lines[5].endswith("True")
    assert yard.wait(yard.generate(job.model_id or "", 5), LONG).state == State.SUCCEEDED  # the model stays usable


def test_the_rest_follows_the_training_at_once(yard: Yard) -> None:
    yard.with_settings(sweep_seconds=600.0)  # nobody else rings
    yard.worker()
    job = yard.wait(yard.augment(5, steps=20), LONG)
    assert job.state == State.SUCCEEDED, job.error


def test_a_killed_training_goes_on_and_the_files_are_the_same(yard: Yard) -> None:
    worker = yard.worker()
    whole = yard.wait(yard.augment(**SLOW), LONG)
    assert whole.state == State.SUCCEEDED, whole.error
    job_id = yard.augment(**SLOW)
    yard.until(lambda: yard.unit(job_id).checkpoint)
    [child] = worker.children()
    child.kill()
    job = yard.wait(job_id, LONG)
    assert job.state == State.SUCCEEDED, job.error
    assert any("goes on from step" in message for message in yard.messages(job_id))
    assert (yard.unit(job_id).attempt, yard.unit(job_id, 1).attempt) == (2, 1)
    assert content(yard, job_id) == content(yard, whole.id)


def test_a_killed_child_goes_on_after_the_files_that_were_written(yard: Yard) -> None:
    worker = yard.worker()
    model_id = yard.model()
    whole = yard.wait(yard.augment(496, model_id=model_id), LONG)
    job_id = yard.augment(496, "slower", model_id)
    yard.until(lambda: files_noted(yard, job_id) >= 2)
    [child] = worker.children()
    child.kill()
    job = yard.wait(job_id, LONG)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).attempt == 2
    attempts = [file["key"].rpartition("-a")[2] for file in manifest(yard, job_id)["files"]]
    assert attempts[:2] == ["1.csv", "1.csv"]
    assert attempts[-1] == "2.csv"
    assert content(yard, job_id) == content(yard, whole.id)


@pytest.mark.parametrize("damage", ["lost", "altered"])
def test_a_list_of_files_that_was_lost_or_altered_is_made_again(yard: Yard, damage: str) -> None:
    worker = yard.worker()
    model_id = yard.model()
    job_id = yard.augment(296, "slower", model_id)
    yard.until(lambda: files_noted(yard, job_id) >= 1)
    [child] = worker.children()
    child.suspend()
    time.sleep(0.8)  # what it said until now is written down
    key = (yard.unit(job_id).checkpoint or {})["key"]
    body = yard.context.storage.get(key)
    yard.context.storage.delete(key)
    if damage == "altered":  # still a list, of a file with other bytes
        yard.context.storage.put(key, body.replace(b'"rows": 100', b'"rows": 101'))
    child.kill()
    job = yard.wait(job_id, LONG)
    assert job.state == State.SUCCEEDED, job.error
    assert [file["rows"] for file in manifest(yard, job_id)["files"]] == [100, 100, 100]


def test_a_drain_gives_the_rest_to_the_next_worker(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.augment(496, "slow 100", yard.model())
    yard.until(lambda: files_noted(yard, job_id) == 1)
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(15)
    unit = yard.unit(job_id)
    assert (unit.state, unit.failures, (unit.checkpoint or {})["step"]) == (State.QUEUED, 0, 100)
    assert any("goes on from step 100" in message for message in yard.messages(job_id))


def test_a_cancelled_augmentation_stops_and_leaves_its_model(yard: Yard) -> None:
    yard.worker()
    job_id = yard.augment(246, "slow", steps=10)
    yard.until(lambda: yard.job(job_id).units_done == 1 and yard.unit(job_id, 1).state == State.RUNNING)
    yard.cancel(job_id)
    assert yard.until(lambda: yard.job(job_id).state == State.CANCELLED, 10.0) < 3.0
    assert yard.row(Model, yard.job(job_id).model_id).status == "ready"
    try:
        manifest(yard, job_id)
    except Missing:
        return
    raise AssertionError("a cancelled job has no manifest")


def test_rows_that_kill_every_worker_fail_the_job_and_cost_no_model(yard: Yard) -> None:
    yard.with_settings(max_attempts=2)
    yard.worker()
    job = yard.wait(yard.augment(246, "die 100", steps=10), LONG)
    assert (job.state, (job.error or {})["code"]) == (State.FAILED, "worker_lost")
    assert yard.row(Model, job.model_id).status == "ready"
    assert yard.wait(yard.augment(5, model_id=job.model_id), LONG).state == State.SUCCEEDED


def test_a_refusal_is_a_sentence_and_a_bug_is_no_stack_trace(yard: Yard) -> None:
    yard.worker()
    model_id = yard.model()
    refused = yard.wait(yard.augment(5, "reject", model_id), LONG)
    assert refused.error == {"code": "too_silly", "message": "These classes are too silly."}
    broken = yard.wait(yard.augment(5, "bug", model_id), LONG)
    assert (broken.error or {})["code"] == "internal_error"
    assert "secret" not in (broken.error or {})["message"]
    gone = yard.wait(yard.augment(5, model_id=yard.model()), LONG)
    assert gone.state == State.SUCCEEDED
