"""Downloads: verified, resumed, renewed, and never half there."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mintage import DownloadFailed
from mintage.download import download
from tests.unit.client.web import Asked, Said, Web, talking

DATA = bytes(range(256)) * 1200  # several reads of a socket
OTHER = b"other rows\n" * 1000


class Bucket:
    """An API with one finished job and the bucket that its URLs lead to. `unwilling` may
    answer in the bucket's place."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self.unwilling: Callable[[Asked, int], Said | None] = lambda asked, turn: None
        self.turns = 0
        self.signed = 0
        self.web: Web | None = None

    def __call__(self, asked: Asked) -> Said:
        if asked.path.endswith("/output"):
            self.signed += 1
            return Said(200, self._manifest(asked.headers["host"]))
        self.turns += 1
        return self.unwilling(asked, self.turns) or self._get(asked)

    def _manifest(self, host: str) -> dict[str, Any]:
        files = [
            {
                "name": name, "bytes": len(data), "sha256": self.digests[name], "rows": 3,
                "url": f"http://{host}/bucket/{name}?signature={self.signed}",
            }
            for name, data in self.files.items()
        ]  # fmt: skip
        cards = [files.pop() for file in files[-1:] if file["name"].endswith(".md")]
        return {"job_id": "job_1", "format": "csv", "count": 3, "expires_at": "soon", "files": files, "cards": cards}

    def _get(self, asked: Asked) -> Said:
        data = self.files[asked.path.rsplit("/", 1)[1]]
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        return Said(206 if start else 200, data[start:])


def test_all_files_arrive_whole_with_a_manifest_without_urls(tmp_path: Path) -> None:
    bucket = Bucket({"part-00000.csv": DATA, "part-00001.csv": OTHER, "empty.csv": b""})
    with talking(bucket) as (web, client):
        paths = download(client, "job_1", tmp_path / "new" / "folder")
    assert [path.read_bytes() for path in paths] == [DATA, OTHER, b""]
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == [
        "empty.csv", "manifest.json", "part-00000.csv", "part-00001.csv"
    ]  # fmt: skip
    written = (folder / "manifest.json").read_text()
    assert "signature" not in written
    assert json.loads(written)["files"][0]["sha256"] == bucket.digests["part-00000.csv"]
    assert all("authorization" not in one.headers for one in web.asked if one.path.startswith("/bucket"))


def test_cards_are_fetched_too_and_go_with_their_output(tmp_path: Path) -> None:
    with talking(Bucket({"a.csv": DATA, "card.md": OTHER})) as (_, client):
        (path,) = download(client, "job_1", tmp_path)  # the data files alone
    assert path.name == "a.csv"
    assert (tmp_path / "card.md").read_bytes() == OTHER
    written = (tmp_path / "manifest.json").read_text()
    assert "signature" not in written
    assert [card["name"] for card in json.loads(written)["cards"]] == ["card.md"]
    with talking(Bucket({"b.csv": DATA})) as (_, client):
        download(client, "job_2", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "manifest.json"]


def test_a_download_that_breaks_goes_on_where_it_broke(tmp_path: Path) -> None:
    bucket = Bucket({"a.csv": DATA})
    bucket.unwilling = lambda asked, turn: Said(200, DATA, cut=100_000) if turn == 1 else None
    with talking(bucket) as (web, client):
        (path,) = download(client, "job_1", tmp_path)
    assert path.read_bytes() == DATA
    ranges = [one.headers.get("range") for one in web.asked if one.path.startswith("/bucket")]
    assert ranges[0] is None
    assert ranges[1] is not None
    assert 0 < int(ranges[1][6:-1]) <= 100_000


def test_a_second_run_goes_on_with_what_the_first_left(tmp_path: Path) -> None:
    (tmp_path / ".a.csv.part").write_bytes(DATA[:70_000])
    with talking(Bucket({"a.csv": DATA})) as (web, client):
        (path,) = download(client, "job_1", tmp_path)
    assert path.read_bytes() == DATA
    assert web.asked[-1].headers["range"] == "bytes=70000-"
    assert not (tmp_path / ".a.csv.part").exists()


def test_leftovers_of_something_else_are_noticed_and_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.csv.part").write_bytes(b"?" * 70_000)
    with talking(Bucket({"a.csv": DATA})) as (_, client):
        (path,) = download(client, "job_1", tmp_path)
    assert path.read_bytes() == DATA


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(DATA)
    bucket = Bucket({"a.csv": DATA})
    with talking(bucket) as (_, client):
        download(client, "job_1", tmp_path)
    assert bucket.turns == 0


def test_a_file_with_another_checksum_is_not_kept(tmp_path: Path) -> None:
    bucket = Bucket({"a.csv": DATA})
    bucket.digests["a.csv"] = "0" * 64
    with talking(bucket) as (_, client), pytest.raises(DownloadFailed, match="another SHA-256"):
        download(client, "job_1", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert bucket.turns == 2


def test_a_file_longer_than_promised_is_refused(tmp_path: Path) -> None:
    bucket = Bucket({"a.csv": DATA})
    bucket.unwilling = lambda asked, turn: Said(200, DATA + b"more")
    with talking(bucket) as (_, client), pytest.raises(DownloadFailed, match="longer than"):
        download(client, "job_1", tmp_path)
    assert not (tmp_path / "a.csv").exists()


def test_an_expired_url_is_renewed(tmp_path: Path) -> None:
    bucket = Bucket({"a.csv": DATA})
    bucket.unwilling = lambda asked, turn: Said(403, b"<Code>ExpiredToken</Code>") if turn == 1 else None
    with talking(bucket) as (web, client):
        (path,) = download(client, "job_1", tmp_path)
    assert path.read_bytes() == DATA
    assert bucket.signed == 2
    assert web.asked[-1].query["signature"] == "2"


def test_a_store_that_knows_no_ranges_sends_it_all_again(tmp_path: Path) -> None:
    (tmp_path / ".a.csv.part").write_bytes(DATA[:70_000])
    bucket = Bucket({"a.csv": DATA})
    bucket.unwilling = lambda asked, turn: Said(200, DATA)
    with talking(bucket) as (_, client):
        (path,) = download(client, "job_1", tmp_path)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "a/b.csv", "..", "", "manifest.json", "a\\b.csv"])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    with talking(Bucket({name: DATA})) as (_, client), pytest.raises(DownloadFailed, match="no plain file name"):
        download(client, "job_1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_output_in_the_same_folder_replaces_the_first(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with talking(Bucket({"part-00000.csv": DATA, "part-00001.csv": OTHER})) as (_, client):
        download(client, "job_1", tmp_path)
    with talking(Bucket({"part-00000.csv": OTHER})) as (_, client):
        download(client, "job_1", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "mine.txt", "part-00000.csv"]
    assert (tmp_path / "part-00000.csv").read_bytes() == OTHER
