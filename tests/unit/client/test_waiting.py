"""Jobs: read, waited for, failed."""

import io

import pytest
from rich.console import Console

from mintage import JobFailed
from mintage.errors import WaitTimedOut
from mintage.results import Job
from mintage.waiting import clock, key_metric, wait
from tests.unit.client.web import Said, in_turn, talking

QUEUED = {"id": "job_1", "kind": "train", "state": "queued", "progress": {"fraction": 0}, "from_the_future": {}}
RUNNING = QUEUED | {
    "state": "running",
    "progress": {"fraction": 0.5, "step": 50, "steps": 100, "eta_seconds": 12, "mood": "good"},
}
DONE = QUEUED | {"state": "succeeded", "result": {"model_id": "mdl_1"}, "progress": {"fraction": 1.0}}
FAILED = QUEUED | {"state": "failed", "error": {"code": "too_few_rows", "message": "Ten rows are needed."}}


def test_fields_that_this_version_does_not_know_are_ignored_and_kept() -> None:
    with talking(in_turn(Said(200, RUNNING))) as (_, client):
        job = client.jobs.get("job_1")
    assert job.progress.step == 50
    assert job.raw == RUNNING


def test_a_wait_ends_when_the_job_has_succeeded() -> None:
    answers = in_turn(Said(200, QUEUED), Said(200, RUNNING), Said(200, DONE))
    with talking(answers) as (web, client):
        job = client.jobs.get("job_1").wait(timeout=20)
    assert job.state == "succeeded"
    assert job.model_id == "mdl_1"
    assert len(web.asked) == 3


def test_a_failed_job_raises_its_code_and_sentence() -> None:
    with (
        talking(in_turn(Said(200, QUEUED), Said(200, FAILED))) as (_, client),
        pytest.raises(JobFailed, match="Ten rows are needed") as failed,
    ):
        client.jobs.get("job_1").wait()
    assert (failed.value.code, failed.value.state, failed.value.job_id) == ("too_few_rows", "failed", "job_1")


def test_a_cancelled_job_raises_too() -> None:
    with (
        talking(in_turn(Said(200, QUEUED | {"state": "cancelled"}))) as (_, client),
        pytest.raises(JobFailed, match="was cancelled"),
    ):
        client.jobs.get("job_1").wait()


def test_a_wait_with_a_limit_gives_up_and_the_job_goes_on() -> None:
    with talking(in_turn(Said(200, RUNNING))) as (web, client), pytest.raises(WaitTimedOut, match="goes on"):
        client.jobs.get("job_1").wait(timeout=0.2)
    assert web.paths("POST") == []


def test_a_wait_outlives_a_restart_of_the_server() -> None:
    answers = in_turn(Said(200, QUEUED), Said(cut=0), Said(502, {}), Said(200, DONE))
    with talking(answers) as (_, client):
        assert client.jobs.get("job_1").wait().state == "succeeded"


def test_the_bar_shows_fraction_step_time_left_and_a_metric() -> None:
    def answer(asked: object) -> Said:
        if asked.path.endswith("/metrics"):  # type: ignore[attr-defined]
            return Said(200, {"data": [{"step": 50, "values": {"loss_generator": 1.0, "lead": 0.62}}]})
        return jobs(asked)  # type: ignore[arg-type]

    jobs = in_turn(Said(200, RUNNING), Said(200, DONE))
    screen = Console(file=io.StringIO(), force_terminal=True, width=140)
    with talking(answer) as (_, client):
        wait(Job.of(RUNNING, client), progress=True, console=screen)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("training", "50%", "50/100", "12 s left", "discriminator right 62%", "100%"):
        assert expected in shown


def test_a_log_gets_plain_lines_instead_of_a_bar() -> None:
    log = Console(file=io.StringIO(), force_terminal=False)
    with talking(in_turn(Said(200, RUNNING), Said(200, RUNNING), Said(200, DONE))) as (_, client):
        wait(Job.of(QUEUED, client), progress=True, console=log)
    assert log.file.getvalue().splitlines() == ["training  50%", "training 100%"]  # type: ignore[attr-defined]


def test_times_are_said_as_people_say_them() -> None:
    assert [clock(4.4), clock(185), clock(3723)] == ["4 s", "3:05", "1:02:03"]


def test_the_judgement_of_samples_comes_before_the_discriminators() -> None:
    assert key_metric({"lead": 0.6, "c2st_auc": 0.71}) == "told apart 71%"
    assert key_metric({"penalty": 0.1}) == ""
