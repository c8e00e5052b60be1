"""What happened to a job: as pages, as a stream that goes on where it was cut off; training curves."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse
from sqlalchemy import insert

from service.api import events as routes
from service.db.tables import Metric
from service.usecases import units
from tests.integration.api.conftest import Api, refused


def told(api: Api, job: units.Claimed, message: str) -> None:
    event = {"type": "event", "level": "info", "message": message}
    assert units.report(api.context, job.unit_id, job.attempt, [event])


def stream(api: Api, job_id: str, **headers: str) -> Iterator[ServerSentEvent]:
    with connect_sse(api.http, "GET", f"/v1/jobs/{job_id}/events", headers=headers) as source:
        yield from source.iter_sse()


def test_events_are_numbered_without_gaps_and_paged_oldest_first(api: Api) -> None:
    job_id = api.uploaded()["job_id"]
    claimed = api.claim(job_id)
    for number in range(5):
        told(api, claimed, f"line {number}")
    first = api.get(f"/v1/jobs/{job_id}/events?limit=4")
    assert [event["id"] for event in first["data"]] == [1, 2, 3, 4]
    assert [event["message"] for event in first["data"][:2]] == ["The job waits for a worker.", "The job runs."]
    assert (first["next_cursor"], first["ended"]) == ("4", False)
    rest = api.get(f"/v1/jobs/{job_id}/events?after={first['next_cursor']}")
    assert [event["message"] for event in rest["data"]] == ["line 2", "line 3", "line 4"]
    assert rest["next_cursor"] is None


def test_a_stream_tells_each_event_as_it_comes_and_says_when_the_job_is_done(api: Api) -> None:
    job_id = api.uploaded()["job_id"]
    found: list[ServerSentEvent] = []
    reader = threading.Thread(target=lambda: found.extend(stream(api, job_id)))
    reader.start()
    claimed = api.claim(job_id)
    told(api, claimed, "half way")
    deadline = time.monotonic() + 10
    while not any("half way" in event.data for event in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert any("half way" in event.data for event in found), "an event must not wait for the job's end"
    units.finish(api.context, claimed.unit_id, claimed.attempt, api.result(claimed))
    reader.join(10)
    assert not reader.is_alive()
    assert [event.event for event in found] == ["state", "state", "message", "state", "done"]
    assert [event.id for event in found[:-1]] == ["1", "2", "3", "4"]
    assert [json.loads(event.data)["id"] for event in found[:-1]] == [1, 2, 3, 4]


def test_a_stream_goes_on_after_the_last_id_that_a_client_saw(api: Api) -> None:
    job_id = api.uploaded()["job_id"]
    api.work(job_id)
    assert [event.id for event in stream(api, job_id)][:3] == ["1", "2", "3"]
    again = list(stream(api, job_id, **{"Last-Event-ID": "2"}))
    assert [event.event for event in again] == ["state", "done"]
    assert [event.event for event in stream(api, job_id, **{"Last-Event-ID": "3"})] == ["done"]


def test_a_long_story_is_streamed_whole(lite: Api) -> None:
    job_id = lite.uploaded()["job_id"]
    claimed = lite.claim(job_id)
    lines = [{"type": "event", "level": "info", "message": f"line {number}"} for number in range(450)]
    units.report(lite.context, claimed.unit_id, claimed.attempt, lines)
    units.finish(lite.context, claimed.unit_id, claimed.attempt, lite.result(claimed))
    found = list(stream(lite, job_id))
    assert [event.id for event in found[:-1]] == [str(number) for number in range(1, 454)]


def test_a_quiet_stream_has_heartbeats(lite: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "HEARTBEAT_SECONDS", 0.2)
    job_id = lite.uploaded()["job_id"]
    headers = {"Accept": "text/event-stream"}
    with lite.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=10) as answer:
        assert answer.headers["cache-control"] == "no-cache"
        assert any(line.startswith(":") for line in answer.iter_lines())


def test_streams_end_when_the_server_is_told_to_stop(lite: Api) -> None:
    job_id = lite.uploaded()["job_id"]
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(stream(lite, job_id)))
    reader.start()
    while not found:
        time.sleep(0.02)
    app: Any = lite.server.config.app
    app.state.stopping.set()
    reader.join(5)
    assert not reader.is_alive()


def test_the_stream_of_an_unknown_job_is_a_problem_and_no_stream(lite: Api) -> None:
    answer = lite.http.get("/v1/jobs/job_x/events", headers={"Accept": "text/event-stream"})
    refused(answer, 404, "not_found")
    job_id = lite.uploaded()["job_id"]
    answer = lite.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "last"})
    assert refused(answer, 422, "invalid_request")["errors"][0]["path"] == "last-event-id"


def test_curves_are_those_of_the_worker(api: Api) -> None:
    job = api.submit(kind="train", dataset_id=api.ready())
    claimed = api.claim(job["id"])
    points = [{"type": "metrics", "step": step, "values": {"loss": 1 / step}} for step in (10, 20)]
    units.report(api.context, claimed.unit_id, claimed.attempt, points)
    data = api.get(f"/v1/jobs/{job['id']}/metrics")["data"]
    assert [(point["step"], point["values"]) for point in data] == [(10, {"loss": 0.1}), (20, {"loss": 0.05})]


def test_long_curves_are_thinned_and_keep_their_end(api: Api) -> None:
    job_id = api.uploaded()["job_id"]
    rows = [{"job_id": job_id, "step": step, "at": 0.0, "values": {"loss": 1.0}} for step in range(1, 5_004)]
    with api.context.database.begin() as session:
        session.execute(insert(Metric), rows)
    steps = [point["step"] for point in api.get(f"/v1/jobs/{job_id}/metrics")["data"]]
    assert 500 < len(steps) <= 1000
    assert steps == sorted(set(steps))
    assert steps[-1] == 5_003


def test_a_client_that_leaves_a_stream_is_let_go(lite: Api) -> None:
    job_id = lite.uploaded()["job_id"]
    for _ in range(5):
        with (
            httpx.Client(headers=dict(lite.http.headers)) as client,
            connect_sse(client, "GET", f"{lite.url}/v1/jobs/{job_id}/events") as source,
        ):
            next(source.iter_sse())
    deadline = time.monotonic() + 10
    while len(lite.server.server_state.tasks) > 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(lite.server.server_state.tasks) == 0
