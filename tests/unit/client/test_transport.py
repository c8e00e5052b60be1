"""Requests: what is sent again, what never, and what a refusal looks like."""

import time

import pytest

from mintage import ApiError, Mintage, ServerUnreachable
from mintage.transport import pause
from tests.servers import free_ports
from tests.unit.client.web import Said, in_turn, talking

JOB = {"id": "job_1", "kind": "train", "state": "queued", "shoe_size": 44}
BUSY = Said(503, {"code": "unavailable", "detail": "Busy."}, {"Retry-After": "0.05"})


def test_a_job_is_submitted_once_though_the_server_was_busy_twice() -> None:
    with talking(in_turn(BUSY, BUSY, Said(201, JOB))) as (web, client):
        assert client.train("ds_1", preset="draft").id == "job_1"
        keys = {one.headers["idempotency-key"] for one in web.asked}
        assert len(web.asked) == 3
        assert len(keys) == 1


def test_two_submissions_have_different_keys() -> None:
    with talking(in_turn(Said(201, JOB))) as (web, client):
        client.train("ds_1")
        client.train("ds_1")
        assert len({one.headers["idempotency-key"] for one in web.asked}) == 2


def test_a_broken_connection_is_tried_again_with_the_same_key() -> None:
    with talking(in_turn(Said(cut=0), Said(201, JOB))) as (web, client):
        client.generate("mdl_1", 5, conditions={"label": "3"})
        first, second = web.asked
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert first.json == {"kind": "generate", "model_id": "mdl_1", "count": 5, "conditions": {"label": "3"}}


def test_retry_after_is_honoured() -> None:
    answers = in_turn(Said(429, {}, {"Retry-After": "0.4"}), Said(200, {"data": []}))
    with talking(answers) as (web, client):
        start = time.monotonic()
        assert client.modalities() == []
        assert time.monotonic() - start >= 0.4
        assert len(web.asked) == 2


def test_retry_after_may_be_a_date_and_nonsense_is_ignored() -> None:
    assert pause(1, "Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    assert pause(1, "12") == 12.0
    assert 0 < pause(1, "soon") <= 0.25


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 500])
def test_a_refusal_is_not_repeated_and_says_everything(status: int) -> None:
    problem = {
        "status": status, "code": "invalid_condition", "detail": "No such column.", "request_id": "req_1",
        "errors": [{"path": "conditions.x", "message": "No such column."}],
    }  # fmt: skip
    with talking(in_turn(Said(status, problem))) as (web, client), pytest.raises(ApiError) as refused:
        client.generate("mdl_1", 5)
    assert len(web.asked) == 1
    error = refused.value
    assert (error.status, error.code, error.request_id) == (status, "invalid_condition", "req_1")
    assert str(error) == "No such column. (conditions.x)"
    assert error.errors == problem["errors"]


def test_an_answer_that_is_no_json_still_gives_a_sentence() -> None:
    with (
        talking(in_turn(Said(418, b"<html>"))) as (_, client),
        pytest.raises(ApiError, match="The server answered 418"),
    ):
        client.jobs.get("job_1")


@pytest.mark.parametrize("body", [b"<html>Welcome to nginx</html>", b'"ok"', b""])
def test_a_page_that_is_none_of_ours_is_a_sentence(body: bytes) -> None:
    with talking(in_turn(Said(200, body))) as (_, client), pytest.raises(ApiError, match="a Mintage server") as error:
        client.jobs.get("job_1")
    assert error.value.code == "not_json"


def test_a_redirect_is_a_sentence_that_says_where_to() -> None:
    moved = Said(308, b"", {"Location": "https://mint.example/v1/jobs"})
    with (
        talking(in_turn(moved)) as (web, client),
        pytest.raises(ApiError, match=r"points to https://mint\.example/v1/jobs"),
    ):
        client.train("ds_1")
    assert len(web.asked) == 1


def test_no_server_at_all_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mintage.transport.FIRST_PAUSE", 0.001)
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Mintage(url, "key") as client, pytest.raises(ServerUnreachable, match="the connection was refused"):
        client.modalities()


def test_the_api_key_is_sent_to_the_api() -> None:
    with talking(in_turn(Said(200, {"data": []}))) as (web, client):
        client.modalities()
        assert web.asked[0].headers["authorization"] == "Bearer key"


def test_a_deletion_whose_answer_was_lost_is_no_error() -> None:
    with talking(in_turn(Said(cut=0), Said(404, {"code": "not_found"}))) as (web, client):
        client.datasets.delete("ds_1")
        assert len(web.asked) == 2


def test_deleting_what_never_was_is_an_error() -> None:
    with talking(in_turn(Said(404, {"code": "not_found"}))) as (_, client), pytest.raises(ApiError):
        client.datasets.delete("ds_1")


def test_an_empty_id_never_reaches_the_server() -> None:
    with talking(in_turn(Said(200, {}))) as (web, client), pytest.raises(ValueError, match="an id is wanted"):
        client.datasets.delete("")
    assert web.asked == []


def test_an_id_cannot_lead_to_another_path() -> None:
    with talking(in_turn(Said(404, {}))) as (web, client), pytest.raises(ApiError):
        client.datasets.get("../jobs?x=")
    assert web.asked[0].path == "/v1/datasets/..%2Fjobs%3Fx%3D"


def test_lists_are_read_page_by_page_and_only_as_far_as_wanted() -> None:
    pages = {None: (["ds_3", "ds_2"], "more"), "more": (["ds_1"], None)}

    def answer(asked: object) -> Said:
        ids, following = pages[asked.query.get("cursor")]  # type: ignore[attr-defined]
        return Said(200, {"data": [{"id": one} for one in ids], "next_cursor": following})

    with talking(answer) as (web, client):
        assert [one.id for one in client.datasets.list()] == ["ds_3", "ds_2", "ds_1"]
        web.asked.clear()
        assert [one.id for one in client.datasets.list(limit=2)] == ["ds_3", "ds_2"]
        assert len(web.asked) == 1
