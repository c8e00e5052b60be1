"""Samples while a user waits: drawn by a worker, never listed, nothing left behind."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import httpx
from sqlalchemy import func, select

from service.bootstrap import Context
from service.db.tables import Job, Unit
from service.usecases import previews, units
from tests.integration.api.conftest import Api, refused


def preview_job(api: Api) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with api.context.database.read() as session:
            found = session.scalar(select(Job.id).where(Job.kind == "preview"))
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("no preview was asked for")


def previews_left(context: Context) -> int:
    with context.database.read() as session:
        return session.scalar(select(func.count()).select_from(Unit).where(Unit.kind == "preview")) or 0


def until(true: Callable[[], bool]) -> None:
    """What is done after the answer takes a moment."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(api: Api, query: str) -> tuple[threading.Thread, list[httpx.Response]]:
    model_id, answers = api.model(), []
    thread = threading.Thread(target=lambda: answers.append(api.http.get(f"/v1/models/{model_id}/samples{query}")))
    thread.start()
    return thread, answers


def test_samples_are_answered_in_the_request_and_leave_nothing(api: Api) -> None:
    thread, answers = ask(api, "?count=1&seed=7")
    job_id = preview_job(api)
    claimed = api.claim(job_id)
    assert (claimed.payload["count"], claimed.payload["seed"]) == (1, 7)
    assert [job["kind"] for job in api.get("/v1/jobs")["data"]] == ["train", "ingest"]
    units.finish(api.context, claimed.unit_id, claimed.attempt, api.result(claimed))
    thread.join(10)
    [answer] = answers
    assert (answer.status_code, answer.json()) == (200, {"columns": ["age"], "rows": [[39]]})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-seed"] == "7"
    until(lambda: previews_left(api.context) == 0)
    assert list(api.context.storage.keys(f"projects/{api.project}/jobs/{job_id}/")) == []


def test_the_next_samples_are_drawn_ahead_and_given_once(api: Api) -> None:
    thread, answers = ask(api, "?count=1")
    first = api.claim(preview_job(api))
    units.finish(api.context, first.unit_id, first.attempt, api.result(first))
    thread.join(10)
    [answer] = answers
    model_id = answer.url.path.split("/")[3]
    until(lambda: preview_job(api) != first.job_id)
    ahead = api.claim(preview_job(api))
    units.finish(api.context, ahead.unit_id, ahead.attempt, api.result(ahead))
    begun = time.monotonic()
    again = api.http.get(f"/v1/models/{model_id}/samples?count=1")  # no worker draws now
    assert (again.status_code, again.headers["x-seed"]) == (200, str(ahead.payload["seed"]))
    assert answer.headers["x-seed"] != again.headers["x-seed"]
    assert time.monotonic() - begun < 5
    until(lambda: preview_job(api) != ahead.job_id)
    assert previews_left(api.context) == 1


def test_samples_drawn_ahead_are_not_for_another_count_or_for_a_seed(api: Api) -> None:
    thread, answers = ask(api, "?count=1")
    first = api.claim(preview_job(api))
    units.finish(api.context, first.unit_id, first.attempt, api.result(first))
    thread.join(10)
    model_id, project = answers[0].url.path.split("/")[3], api.project
    until(lambda: previews_left(api.context) == 1 and preview_job(api) != first.job_id)
    ahead = preview_job(api)
    for count, seed in ((2, None), (1, 5)):
        assert previews.ask(api.context, project, model_id, count, seed).job_id != ahead
    assert previews.ask(api.context, project, model_id, 1, None).job_id == ahead
    assert previews.ask(api.context, project, model_id, 1, None).job_id != ahead


def test_samples_that_no_worker_draws_in_time_are_given_up(
    context: Context, serve: Callable[[Context], AbstractContextManager[Api]]
) -> None:
    settings = context.settings.model_copy(update={"preview_seconds": 0.5})
    with serve(replace(context, settings=settings)) as api:
        answer = api.http.get(f"/v1/models/{api.model()}/samples")
        refused(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert previews_left(context) == 0


def test_samples_that_cannot_be_drawn_say_why(api: Api) -> None:
    thread, answers = ask(api, "")
    claimed = api.claim(preview_job(api))
    units.fail(api.context, claimed.unit_id, claimed.attempt, "model_damaged", "The model's files are damaged.")
    thread.join(10)
    refused(answers[0], 422, "model_damaged")


def test_too_many_samples_are_refused(lite: Api) -> None:
    model_id = lite.model()
    for query in ("count=0", "count=257", "count=x", "seed=-1", f"seed={2**63}"):
        problem = refused(lite.http.get(f"/v1/models/{model_id}/samples?{query}"), 422, "invalid_request")
        assert problem["errors"][0]["path"] == query.split("=")[0]
