"""Uploads: through the API, and in parts straight to the bucket."""

from pathlib import Path
from typing import Any

import pytest

from mintage import MintageError
from mintage.errors import ServerUnreachable
from mintage.upload import upload
from tests.unit.client.web import Asked, Said, talking

DATA = b"".join(b"%06d\n" % i for i in range(30_000))  # 210,000 bytes
PART = 50_000


class Store:
    """An API that takes datasets both ways. `troubles` are answers that come first, by path."""

    def __init__(self) -> None:
        self.troubles: dict[str, list[Said]] = {}
        self.content: bytes | None = None
        self.parts: dict[int, bytes] = {}
        self.completed = False
        self.opened = 0

    def __call__(self, asked: Asked) -> Said:
        left = self.troubles.get(asked.path)
        if left:
            said = left.pop(0)
            if said.status == 299:  # carried out, and the answer gets lost
                self._do(asked)
            return said
        return self._do(asked)

    def _do(self, asked: Asked) -> Said:
        match asked.method, asked.path.split("/")[2:]:
            case "POST", ["datasets"]:
                return Said(201, self._dataset())
            case "PUT", ["datasets", "ds_1", "content"]:
                if self.content is not None:
                    return Said(409, {"code": "conflict", "detail": "There is content already."})
                self.content = asked.body
                return Said(202, self._dataset())
            case "POST", ["datasets", "ds_1", "uploads"]:
                self.opened += 1
                return Said(201, self._ticket(asked))
            case "GET", ["datasets", "ds_1", "uploads", "up_1"]:
                return Said(200, self._ticket(asked))
            case "POST", [*_, "complete"]:
                self.completed = True
                return Said(202, self._dataset())
            case "PUT", ["bucket", number]:
                self.parts[int(number)] = asked.body
                return Said(200, b"")
            case "GET", ["datasets", "ds_1"]:
                return Said(200, self._dataset())
        return Said(404, {})

    def _dataset(self) -> dict[str, Any]:
        full = self.content is not None or self.completed
        return {"id": "ds_1", "name": "x", "status": "ingesting" if full else "empty", "job_id": "job_1"}

    def _ticket(self, asked: Asked) -> dict[str, Any]:
        sizes = [min(PART, len(DATA) - start) for start in range(0, len(DATA), PART)]
        parts = [
            {
                "number": n, "size_bytes": size, "uploaded": n in self.parts,
                "url": f"http://{asked.headers['host']}/v1/bucket/{n}",
            }
            for n, size in enumerate(sizes, 1)
        ]  # fmt: skip
        return {"id": "up_1", "dataset_id": "ds_1", "part_bytes": PART, "parts": parts, "completed_at": None}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "numbers.csv"
    path.write_bytes(DATA)
    return path


def test_a_small_file_goes_through_the_api(file: Path) -> None:
    with talking(store := Store()) as (web, client):
        assert upload(client, file, None, "table", {"delimiter": ","}).status == "ingesting"
    assert store.content == DATA
    assert web.asked[0].json == {"name": "numbers", "modality": "table", "options": {"delimiter": ","}}
    assert web.asked[1].query == {"filename": "numbers.csv"}


def test_a_broken_upload_is_sent_again_from_its_beginning(file: Path) -> None:
    store = Store()
    store.troubles["/v1/datasets/ds_1/content"] = [Said(cut=0), Said(503, {}, {"Retry-After": "0"})]
    with talking(store) as (_, client):
        upload(client, file, None, None, None)
    assert store.content == DATA


def test_an_upload_whose_answer_was_lost_counts(file: Path) -> None:
    store = Store()
    store.troubles["/v1/datasets/ds_1/content"] = [Said(299, cut=0)]
    with talking(store) as (_, client):
        assert upload(client, file, None, None, None).status == "ingesting"


def test_a_large_file_goes_to_the_bucket_in_parts(file: Path) -> None:
    with talking(store := Store()) as (web, client):
        assert upload(client, file, None, None, None, in_parts_from=1).status == "ingesting"
    assert b"".join(store.parts[number] for number in sorted(store.parts)) == DATA
    assert store.content is None
    assert all("authorization" not in one.headers for one in web.asked if "/bucket/" in one.path)


def test_a_part_that_broke_is_sent_again_alone(file: Path) -> None:
    store = Store()
    store.troubles["/v1/bucket/3"] = [Said(cut=0)]
    with talking(store) as (web, client):
        upload(client, file, None, None, None, in_parts_from=1)
    assert sorted(web.paths("PUT")) == [f"/v1/bucket/{n}" for n in (1, 2, 3, 3, 4, 5)]


def test_an_expired_part_url_is_renewed(file: Path) -> None:
    store = Store()
    store.troubles["/v1/bucket/2"] = [Said(403, b"expired")]
    with talking(store) as (web, client):
        upload(client, file, None, None, None, in_parts_from=1)
    assert web.paths("GET").count("/v1/datasets/ds_1/uploads/up_1") == 1
    assert store.completed


def test_the_next_run_sends_only_the_parts_that_are_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mintage.upload.TRIES", 1)
    store = Store()
    store.troubles["/v1/bucket/5"] = [Said(500, b"")] * 9
    with talking(store) as (web, client):
        with pytest.raises(ServerUnreachable, match="Upload again to go on"):
            upload(client, file, None, None, None, in_parts_from=1)
        store.troubles.clear()
        before = set(store.parts)
        web.asked.clear()
        upload(client, file, None, None, None, in_parts_from=1)
        sent = {int(path.rsplit("/", 1)[1]) for path in web.paths("PUT")}
    assert before
    assert sent == {1, 2, 3, 4, 5} - before
    assert store.opened == 1
    assert b"".join(store.parts[number] for number in sorted(store.parts)) == DATA


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with talking(Store()) as (web, client):
        with pytest.raises(MintageError, match=r"There is no file .*nowhere\.csv"):
            upload(client, tmp_path / "nowhere.csv", None, None, None)
        with pytest.raises(MintageError, match="is no file"):
            upload(client, tmp_path, None, None, None)
        assert web.asked == []
