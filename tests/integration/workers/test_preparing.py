"""A training before its first step: what is told of it, how it is cancelled, and what its time limit means."""

import time
from typing import Any

from service.domain.states import State
from tests.integration.workers.conftest import Yard


def preparing(yard: Yard, job_id: str) -> dict[str, Any]:
    """The job's progress once it is told of a stage before the first step."""

    def told() -> bool:
        return (yard.unit(job_id).progress or {}).get("stage") == "fitting"

    yard.until(told)
    return dict(yard.unit(job_id).progress or {})


def test_a_job_that_prepares_tells_its_stage_and_how_long_all_will_take(yard: Yard) -> None:
    yard.worker()
    job_id = yard.train(steps=20, fit_pause=3.0)
    progress = preparing(yard, job_id)
    assert 0 <= progress["fraction"] < 0.75  # the steps are yet to come
    assert 0.5 < progress["eta_seconds"] < 30
    before = progress["fraction"]
    assert yard.wait(job_id).state == State.SUCCEEDED
    assert yard.unit(job_id).progress["fraction"] >= before  # type: ignore[index]


def test_a_job_that_prepares_is_cancelled_at_once(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.train(steps=20, fit_pause=60.0)
    preparing(yard, job_id)
    start = time.monotonic()
    yard.cancel(job_id)
    assert yard.wait(job_id).state == State.CANCELLED
    assert time.monotonic() - start < 2
    assert worker.process.is_running()


def test_a_time_limit_that_ends_before_the_first_step_is_told_as_such(yard: Yard) -> None:
    yard.worker()
    job = yard.wait(yard.train(steps=20, fit_pause=60.0, time_limit_seconds=1), 20.0)
    error = job.error or {}
    assert (job.state, error["code"]) == (State.FAILED, "time_limit_too_short")
    assert "1 s" in error["message"]
    assert "fitting" in error["message"]


def test_the_time_that_preparing_takes_counts(yard: Yard) -> None:
    yard.worker()
    job_id = yard.train(steps=10_000, pause=0.05, fit_pause=1.5, time_limit_seconds=3)
    job = yard.wait(job_id, 20.0)
    assert job.state == State.SUCCEEDED, job.error
    assert any("time limit of 3 s" in message for message in yard.messages(job_id))
    assert 0 < (yard.unit(job_id).progress or {})["step"] < 40  # of 60 that 3 s have room for
