"""Both ways of upload against a real bucket: streamed through the API, and in parts straight to it."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.api import streaming
from service.bootstrap import Context
from service.storage.objects import PART
from service.usecases.uploads import MEBIBYTE, MOST_PARTS, part_bytes, sizes
from tests import servers
from tests.integration.api.conftest import Api, refused

Serve = Callable[[Context], AbstractContextManager[Api]]


def objects(api: Api) -> list[str]:
    return list(api.context.storage.keys(f"projects/{api.project}/"))


def chunks(size: int, chunk: int = 2**20) -> Iterator[bytes]:
    block = b"0,1\n" * (chunk // 4)
    for start in range(0, size, chunk):
        yield block[: min(chunk, size - start)]


@pytest.fixture
def small(sqlite_context: Context, serve: Serve) -> Iterator[Api]:
    """A server that takes uploads of up to 100,000 bytes."""
    settings = sqlite_context.settings.model_copy(update={"max_upload_bytes": 100_000})
    with serve(replace(sqlite_context, settings=settings)) as api:
        yield api


def test_a_large_upload_does_not_grow_the_servers_memory(lite: Api) -> None:
    size = 12 * PART + 5
    dataset_id = lite.dataset()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    headers = {"Content-Length": str(size)}
    answer = lite.http.put(f"/v1/datasets/{dataset_id}/content", content=chunks(size), headers=headers, timeout=120)
    assert answer.status_code == 202, answer.text
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 128 * 2**20 < size
    [key] = objects(lite)
    assert lite.context.storage.size(key) == answer.json()["bytes"] == size


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1])
def test_an_upload_around_the_size_of_a_part_arrives_whole(lite: Api, size: int) -> None:
    answer = lite.http.put(f"/v1/datasets/{lite.dataset()}/content", content=chunks(size))
    assert answer.json()["bytes"] == size
    [key] = objects(lite)
    assert lite.context.storage.size(key) == size


@pytest.mark.parametrize("body", ["declared", "chunked"])
def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(small: Api, body: str) -> None:
    dataset_id = small.dataset()
    content: Any = b"x" * 100_001 if body == "declared" else chunks(100_001, 1000)
    refused(small.http.put(f"/v1/datasets/{dataset_id}/content", content=content), 413, "body_too_large")
    assert objects(small) == []
    assert small.get(f"/v1/datasets/{dataset_id}")["status"] == "empty"
    assert small.http.put(f"/v1/datasets/{dataset_id}/content", content=b"x" * 100_000).status_code == 202


@pytest.mark.parametrize("sent", [1_000, 2 * PART])
def test_an_upload_that_is_cut_off_leaves_nothing_and_can_be_sent_again(lite: Api, sent: int) -> None:
    dataset_id = lite.dataset()
    host, port = lite.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"PUT /v1/datasets/{dataset_id}/content HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {lite.key}\r\n"
        line.sendall(f"{head}Content-Length: {sent + 10}\r\n\r\n".encode())
        for chunk in chunks(sent):
            line.sendall(chunk)
    waited_for = 'status="400"'
    for _ in range(100):
        if f'route="/v1/datasets/{{id}}/content",{waited_for}' in lite.http.get("/metrics").text:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the server did not notice")
    assert objects(lite) == []
    bucket = lite.context.storage
    left = bucket.client.list_multipart_uploads(Bucket=bucket.bucket, Prefix=f"projects/{lite.project}/")
    assert left.get("Uploads", []) == []
    assert lite.get(f"/v1/datasets/{dataset_id}")["status"] == "empty"
    assert lite.http.put(f"/v1/datasets/{dataset_id}/content", content=b"a\n1\n").status_code == 202


@pytest.mark.parametrize("content", [b"", iter([b""])], ids=["declared", "chunked"])
def test_an_empty_upload_is_refused_at_once(lite: Api, content: Any) -> None:
    dataset_id = lite.dataset()
    refused(lite.http.put(f"/v1/datasets/{dataset_id}/content", content=content), 422, "empty_file")
    assert objects(lite) == []
    assert lite.get(f"/v1/datasets/{dataset_id}")["status"] == "empty"


def test_a_dataset_takes_one_upload(api: Api) -> None:
    dataset = api.uploaded()
    url = f"/v1/datasets/{dataset['id']}"
    refused(api.http.put(f"{url}/content", content=b"b\n2\n"), 409, "conflict")
    refused(api.http.post(f"{url}/uploads", json={"filename": "b.csv", "size_bytes": 4}), 409, "conflict")


def test_of_two_uploads_at_once_one_wins_and_the_other_leaves_nothing(api: Api) -> None:
    dataset_id = api.dataset()
    together, statuses = threading.Barrier(2), []

    def body() -> Iterator[bytes]:
        yield b"a\n"
        together.wait(10)
        yield b"1\n"

    def send() -> None:
        statuses.append(api.client(api.key).put(f"/v1/datasets/{dataset_id}/content", content=body()).status_code)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [202, 409]
    assert len(objects(api)) == 1


NAMES = {
    "../../etc/passwd": "passwd",
    "C:\\data\\a.csv": "a.csv",
    "a\x00\r\nb.csv": "ab.csv",
    "...": "people",
    "x" * 300 + ".csv": "x" * 196 + ".csv",
    "größe 表.csv": "größe 表.csv",
}


def test_a_file_name_is_only_ever_shown_and_never_a_path(lite: Api) -> None:
    for given, shown in NAMES.items():
        answer = lite.http.put(f"/v1/datasets/{lite.dataset()}/content", params={"filename": given}, content=b"a\n1\n")
        assert answer.json()["filename"] == shown
    for key in objects(lite):
        assert key.count("/") == 5
        assert key.rsplit("/", 1)[1].startswith("up_")


def test_parts_are_few_and_cover_the_file() -> None:
    for size in (1, 16 * MEBIBYTE, 16 * MEBIBYTE + 1, 50 * 2**30, 10 * 2**40):
        parts = sizes(size, part_bytes(size))
        assert sum(parts) == size
        assert len(parts) <= MOST_PARTS
        assert all(part >= 5 * MEBIBYTE for part in parts[:-1])


def opened(api: Api, size: int) -> dict[str, Any]:
    dataset_id = api.dataset()
    asked = {"filename": "people.csv", "size_bytes": size}
    answer = api.http.post(f"/v1/datasets/{dataset_id}/uploads", json=asked)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def send(part: dict[str, Any], body: bytes | None = None) -> httpx.Response:
    return httpx.put(part["url"], content=body or b"x" * part["size_bytes"], timeout=60)


def test_an_upload_in_parts_goes_on_after_an_interruption(api: Api) -> None:
    size = 2 * 16 * MEBIBYTE + 7
    upload = opened(api, size)
    url = f"/v1/datasets/{upload['dataset_id']}/uploads/{upload['id']}"
    assert [part["size_bytes"] for part in upload["parts"]] == [16 * MEBIBYTE, 16 * MEBIBYTE, 7]
    send(upload["parts"][2])
    send(upload["parts"][0])
    problem = refused(api.http.post(f"{url}/complete"), 400, "upload_incomplete")
    assert [error["path"] for error in problem["errors"]] == ["parts.2"]
    again = api.get(url)  # a client that was restarted knows no more than the ids
    assert [part["uploaded"] for part in again["parts"]] == [True, False, True]
    send(again["parts"][1])
    done = api.http.post(f"{url}/complete")
    assert done.status_code == 202, done.text
    assert (done.json()["status"], done.json()["bytes"], done.json()["filename"]) == ("ingesting", size, "people.csv")
    assert api.http.post(f"{url}/complete").json() == done.json()  # the answer was lost: asked again
    assert api.get(url)["completed_at"] is not None
    api.work(done.json()["job_id"])
    assert api.get(f"/v1/datasets/{upload['dataset_id']}")["status"] == "ready"
    assert len([key for key in objects(api) if "/source/" in key]) == 1


def test_a_part_of_another_size_is_refused_by_the_bucket(lite: Api) -> None:
    [part] = opened(lite, 100)["parts"]
    assert send(part, b"x" * 99).status_code == 403
    assert send(part, b"x" * 101).status_code == 403


def test_an_upload_that_was_given_up_leaves_nothing(lite: Api) -> None:
    upload = opened(lite, 100)
    send(upload["parts"][0])
    url = f"/v1/datasets/{upload['dataset_id']}/uploads/{upload['id']}"
    assert lite.http.delete(url).status_code == 204
    refused(lite.http.get(url), 404, "not_found")
    assert objects(lite) == []
    assert lite.http.put(f"/v1/datasets/{upload['dataset_id']}/content", content=b"a\n1\n").status_code == 202


def test_the_first_of_two_ways_of_upload_wins(lite: Api) -> None:
    upload = opened(lite, 100)
    send(upload["parts"][0])
    assert lite.http.put(f"/v1/datasets/{upload['dataset_id']}/content", content=b"a\n1\n").status_code == 202
    url = f"/v1/datasets/{upload['dataset_id']}/uploads/{upload['id']}"
    refused(lite.http.post(f"{url}/complete"), 409, "conflict")
    assert lite.get(f"/v1/datasets/{upload['dataset_id']}")["bytes"] == 4


def test_an_upload_in_parts_over_the_limit_is_refused(small: Api) -> None:
    url = f"/v1/datasets/{small.dataset()}/uploads"
    refused(small.http.post(url, json={"filename": "a", "size_bytes": 100_001}), 413, "body_too_large")
    refused(small.http.post(url, json={"filename": "a", "size_bytes": 0}), 422, "invalid_request")
    assert objects(small) == []


def test_an_upload_is_found_only_below_its_own_dataset(lite: Api) -> None:
    upload = opened(lite, 100)
    refused(lite.http.get(f"/v1/datasets/{lite.dataset()}/uploads/{upload['id']}"), 404, "not_found")


def slow_upload(api: Api, client: httpx.Client | None = None) -> socket.socket:
    """An upload that has begun, and of which no more arrives."""
    client = client or api.http
    id = client.post("/v1/datasets", json={"name": "slow"}).json()["id"]
    url = httpx.URL(api.url)
    connection = socket.create_connection((url.host, url.port), timeout=30)
    lines = [
        f"PUT /v1/datasets/{id}/content HTTP/1.1", f"Host: {url.host}",
        f"Authorization: {client.headers['authorization']}", "Content-Length: 1000", "", "a,b",
    ]  # fmt: skip
    connection.sendall("\r\n".join(lines).encode())
    return connection


def test_an_upload_that_falls_silent_is_given_up(lite: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SILENCE_SECONDS", 0.3)
    with slow_upload(lite) as connection:
        answer = connection.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 400")
    assert objects(lite) == []


def test_one_projects_slow_uploads_leave_room_for_the_others(lite: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SLOT_SECONDS", 0.5)
    slow = [slow_upload(lite) for _ in range(streaming.UPLOADS_AT_ONCE + 2)]
    try:
        taken = lite.server.config.app.state.uploads.threads  # type: ignore[union-attr]
        servers.wait_until(lambda: taken.borrowed_tokens == streaming.A_PROJECTS_UPLOADS, "the slow uploads")
        refused(lite.http.put(f"/v1/datasets/{lite.dataset()}/content", content=b"a\n1\n"), 503, "unavailable")
        stranger = lite.stranger()
        id = stranger.post("/v1/datasets", json={"name": "quick"}).json()["id"]
        assert stranger.put(f"/v1/datasets/{id}/content", content=b"a\n1\n").status_code == 202
    finally:
        for connection in slow:
            connection.close()


def test_a_slot_is_free_again_after_each_upload(lite: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SLOT_SECONDS", 2.0)
    for _ in range(streaming.UPLOADS_AT_ONCE + 2):
        lite.uploaded()
