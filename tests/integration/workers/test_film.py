"""The film of a training: there while it runs, for its own project alone, kept beside the model."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from sqlalchemy import select

from mintage import Mintage
from service.db.tables import Model, Trash
from service.domain.states import State
from tests.integration.api.conftest import Api, refused, serving
from tests.integration.workers.conftest import Yard

STEPS = [20, 40, 60, 80, 100]
RUN: dict[str, Any] = {"steps": 100, "pause": 0.02, "draws": True}


@pytest.fixture
def api(yard: Yard) -> Iterator[Api]:
    """The API to the jobs of this yard."""
    with serving(yard.context) as api:
        yard.project = api.project
        yield api


def frames(api: Api, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/v1/jobs/{job_id}/film")["data"]
    return found


def kept(yard: Yard, model_id: str | None) -> bytes | None:
    """The film among the model's files."""
    keys = [file["key"] for file in yard.row(Model, model_id).files if file["name"] == "film.webp"]
    return yard.context.storage.get(keys[0]) if keys else None


def test_frames_arrive_while_a_training_runs_and_stay_beside_its_model(yard: Yard, api: Api) -> None:
    yard.worker()
    job_id = yard.train(**RUN)
    assert frames(api, job_id) == []
    yard.until(lambda: frames(api, job_id))
    assert yard.job(job_id).state == State.RUNNING
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    with Mintage(api.url, api.key) as client:
        film = client.jobs.get(job_id).film()
        assert [frame.step for frame in film] == STEPS
        pictures = [client.jobs.frame(job_id, frame.step) for frame in film]
    assert [httpx.get(frame.url).content for frame in film] == pictures
    assert {Image.open(io.BytesIO(picture)).size for picture in pictures} == {(16, 1)}
    assert len(set(pictures)) == len(pictures), "the generator learns, so the same noise looks other each time"
    assert Image.open(io.BytesIO(kept(yard, job.model_id) or b"")).n_frames == len(STEPS)  # type: ignore[attr-defined]


def test_a_film_is_its_own_projects_and_goes_with_its_model(yard: Yard, api: Api) -> None:
    yard.worker()
    job = yard.wait(yard.train(steps=11, draws=True))
    path = f"/v1/jobs/{job.id}/film"
    assert [frame["step"] for frame in frames(api, job.id)] == [2, 4, 6, 8, 10, 11], "the last is of the model itself"
    answer = api.http.get(f"{path}/11")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    stranger = api.stranger()
    for hidden in (path, f"{path}/11"):
        refused(stranger.get(hidden), 404, "not_found")
        refused(api.client(None).get(hidden), 401, "unauthenticated")
    refused(api.http.get(f"{path}/9"), 404, "not_found")
    refused(api.http.get(f"{path}/last"), 422, "invalid_request")
    assert api.http.delete(f"/v1/models/{job.model_id}").status_code == 204
    with yard.context.database.read() as session:
        doomed = list(session.scalars(select(Trash.prefix)))
    assert any(f"projects/{yard.project}/jobs/{job.id}/film/11-a1.png".startswith(prefix) for prefix in doomed)


def test_a_training_without_pictures_has_an_empty_film(yard: Yard, api: Api) -> None:
    yard.worker()
    job = yard.wait(yard.train(steps=10))
    assert frames(api, job.id) == []
    refused(api.http.get(f"/v1/jobs/{job.id}/film/10"), 404, "not_found")
    assert kept(yard, job.model_id) is None


def test_a_resumed_training_has_each_step_once(yard: Yard, api: Api) -> None:
    worker = yard.worker()
    job_id = yard.train(**RUN)
    yard.until(lambda: len(frames(api, job_id)) >= 2)
    prefix = f"projects/{yard.project}/jobs/{job_id}/film/"
    yard.context.storage.put(prefix + "100-a1.png", b"of an attempt that was lost")
    [child] = worker.children()
    child.kill()
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).attempt == 2
    assert [frame["step"] for frame in frames(api, job_id)] == STEPS
    assert api.http.get(f"/v1/jobs/{job_id}/film/100").content == yard.context.storage.get(prefix + "100-a2.png")
    assert Image.open(io.BytesIO(kept(yard, job.model_id) or b"")).n_frames == len(STEPS)  # type: ignore[attr-defined]
