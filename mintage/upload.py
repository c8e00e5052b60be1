"""Uploads: small files through the API, large ones straight to the bucket in parallel parts that survive a restart."""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.progress import Progress

from mintage.errors import ApiError, MintageError, ServerUnreachable
from mintage.results import Dataset
from mintage.transport import Repeated, pause

if TYPE_CHECKING:
    from mintage.client import Mintage

CHUNK = 1 << 20
IN_PARTS_FROM = 64 << 20  # below this, one request is quicker
THREADS = 4
TRIES = 6
Count = Callable[[int], None]


def upload(
    client: "Mintage",
    path: Path,
    name: str | None,
    modality: str | None,
    options: dict[str, Any] | None,
    retention_seconds: int | None = None,
    progress: bool = False,
    in_parts_from: int = IN_PARTS_FROM,
) -> Dataset:
    """The dataset, with its bytes on the server and its ingest job on the way."""
    if not path.is_file():
        raise MintageError(f"There is no file {path}." if not path.exists() else f"{path} is no file.")
    size = path.stat().st_size
    wanted = _body(name or path.stem, modality, options, retention_seconds)
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as live:
        task = live.add_task("uploading", total=size)

        def count(n: int) -> None:
            live.advance(task, n)

        if size >= in_parts_from:
            return _in_parts(client, path, wanted, count)
        made = Dataset.of(client.transport.post("/v1/datasets", wanted))
        return _whole(client, made, path, size, count)


def _body(
    name: str, modality: str | None, options: dict[str, Any] | None, retention_seconds: int | None
) -> dict[str, Any]:
    asked = {"modality": modality, "options": options, "retention_seconds": retention_seconds}
    return {"name": name} | {field: value for field, value in asked.items() if value}


def _whole(client: "Mintage", made: Dataset, path: Path, size: int, count: Count) -> Dataset:
    def body() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
                count(len(chunk))

    try:
        item = client.transport.put_stream(f"/v1/datasets/{made.id}/content", {"filename": path.name}, body, size)
        return Dataset.of(item)
    except Repeated:
        # the answer to an earlier try was lost: if that one went through, all is well
        now = client.datasets.get(made.id)
        if now.status == "empty":
            raise
        return now


def _in_parts(client: "Mintage", path: Path, body: dict[str, Any], count: Count) -> Dataset:
    note = _Note(client.url, path, body)
    ticket = note.ticket(client) or _open(client, path, body, note)
    url = f"/v1/datasets/{ticket['dataset_id']}/uploads/{ticket['id']}"
    missing = [part for part in ticket["parts"] if not part["uploaded"]]
    count(sum(part["size_bytes"] for part in ticket["parts"] if part["uploaded"]))
    fresh = _Fresh(client, url, ticket)
    with ThreadPoolExecutor(THREADS) as pool:
        starts = {part["number"]: (part["number"] - 1) * ticket["part_bytes"] for part in missing}
        jobs = [
            pool.submit(_part, client.transport.storage, fresh, path, part, starts[part["number"]]) for part in missing
        ]
        try:
            for job, part in zip(jobs, missing, strict=True):
                job.result()
                count(part["size_bytes"])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    client.transport.post(f"{url}/complete")
    note.forget()
    return client.datasets.get(ticket["dataset_id"])


def _open(client: "Mintage", path: Path, body: dict[str, Any], note: "_Note") -> dict[str, Any]:
    made = Dataset.of(client.transport.post("/v1/datasets", body))
    asked = {"filename": path.name, "size_bytes": path.stat().st_size}
    ticket: dict[str, Any] = client.transport.post(f"/v1/datasets/{made.id}/uploads", asked)
    note.write(ticket)
    return ticket


class _Fresh:
    """The parts' URLs, renewed together when they have expired."""

    def __init__(self, client: "Mintage", path: str, ticket: dict[str, Any]) -> None:
        self._client = client
        self._path = path
        self._lock = threading.Lock()
        self._urls = self._read(ticket)

    def url(self, number: int, refused: str | None = None) -> str:
        with self._lock:
            if refused is not None and self._urls[number] == refused:
                self._urls = self._read(self._client.transport.get(self._path))
            return self._urls[number]

    def _read(self, ticket: dict[str, Any]) -> dict[int, str]:
        return {part["number"]: part["url"] for part in ticket["parts"]}


def _part(http: httpx.Client, fresh: _Fresh, path: Path, part: dict[str, Any], start: int) -> None:
    """PUT one part; a part that broke is sent again from its beginning."""
    size, number = part["size_bytes"], part["number"]
    reason, url = "", fresh.url(number)
    for attempt in range(1, TRIES + 1):
        try:
            with path.open("rb") as file:
                file.seek(start)
                body = _slice(file, size)
                response = http.put(url, content=body, headers={"Content-Length": str(size)}, timeout=600.0)
        except httpx.TransportError as error:
            reason = type(error).__name__
        else:
            if response.is_success:
                return
            reason = f"status {response.status_code}"
            if response.status_code in (400, 401, 403):
                url = fresh.url(number, refused=url)
        time.sleep(pause(attempt))
    raise ServerUnreachable(f"Part {number} of {path.name} could not be stored: {reason}. Upload again to go on there.")


def _slice(file: IO[bytes], left: int) -> Iterator[bytes]:
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise MintageError("The file became shorter while it was uploaded.")
        left -= len(chunk)
        yield chunk


class _Note:
    """A note in the cache of which upload a file belongs to, so that the next run goes on with it."""

    def __init__(self, server: str, path: Path, body: dict[str, Any]) -> None:
        stat = path.stat()
        what = [server, str(path.resolve()), stat.st_size, stat.st_mtime_ns, body]
        name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._path = base / "mintage" / "uploads" / f"{name}.json"

    def write(self, ticket: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # without a note the upload works, and starts anew after a restart
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"id": ticket["id"], "dataset_id": ticket["dataset_id"]}))

    def ticket(self, client: "Mintage") -> dict[str, Any] | None:
        """The upload that an earlier run began, if the server still waits for its parts."""
        try:
            noted = json.loads(self._path.read_text())
            ticket: dict[str, Any] = client.transport.get(f"/v1/datasets/{noted['dataset_id']}/uploads/{noted['id']}")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        except ApiError as error:
            if error.status in (404, 409, 410):
                self.forget()
                return None
            raise
        return None if ticket.get("completed_at") else ticket

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
