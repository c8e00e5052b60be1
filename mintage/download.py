"""Downloads that can be trusted: parallel, resumed where they broke, and renamed only once every byte is verified."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from rich.console import Console
from rich.progress import Progress

from mintage.errors import DownloadFailed, ServerUnreachable
from mintage.results import Output, OutputFile
from mintage.transport import pause

if TYPE_CHECKING:
    from mintage.client import Mintage

CHUNK = 1 << 20
THREADS = 4
TRIES = 6  # in a row without a byte of progress
MANIFEST = "manifest.json"
EXPIRED = frozenset({400, 401, 403})  # how stores answer a presigned URL that is too old


def download(client: "Mintage", job_id: str, directory: Path, progress: bool = False) -> list[Path]:
    """Every file of the job's output into `directory`, which then holds this output, its cards and no part of an
    earlier one. Returns the paths of the files."""
    manifest = client.jobs.output(job_id)
    for file in manifest.beside:
        _check_name(file.name)
    directory.mkdir(parents=True, exist_ok=True)
    urls = _Urls(client, job_id, manifest)
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as live:
        task = live.add_task("downloading", total=sum(file.bytes for file in manifest.beside))

        stopped = threading.Event()

        def count(n: int) -> None:
            if stopped.is_set():
                raise DownloadFailed("The download was stopped; what has arrived is kept for the next try.")
            live.advance(task, n)

        def one(file: OutputFile) -> Path:
            return _file(client.transport.storage, urls, file, directory, count)

        with ThreadPoolExecutor(THREADS) as pool:
            try:
                paths = list(pool.map(one, manifest.beside))[: len(manifest.files)]
            except BaseException:  # Ctrl-C as well: the other files stop where they are
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    _replace_manifest(directory, job_id, manifest)
    return paths


class _Urls:
    """The URLs of the manifest, all renewed together when one has expired."""

    def __init__(self, client: "Mintage", job_id: str, manifest: Output) -> None:
        self._client = client
        self._job_id = job_id
        self._lock = threading.Lock()
        self._urls = {file.name: file.url for file in manifest.beside}

    def get(self, name: str) -> str:
        with self._lock:
            return self._urls[name]

    def renew(self, name: str, old: str) -> None:
        with self._lock:
            if self._urls[name] == old:  # else another thread was here first
                self._urls = {file.name: file.url for file in self._client.jobs.output(self._job_id).beside}


def _file(http: httpx.Client, urls: _Urls, file: OutputFile, directory: Path, count: Callable[[int], None]) -> Path:
    path, part = directory / file.name, directory / f".{file.name}.part"
    if path.is_file() and path.stat().st_size == file.bytes and _digest(path).hexdigest() == file.sha256:
        count(file.bytes)
        return path
    for _ in range(2):  # a part that a broken run left may be of something else: then once more from nothing
        _fetch(http, urls, file, part, count)
        if _digest(part).hexdigest() == file.sha256:
            os.replace(part, path)
            return path
        part.unlink()
        count(-file.bytes)
    raise DownloadFailed(f"{file.name} arrived twice with another SHA-256 than the manifest's; it was not kept.")


def _fetch(http: httpx.Client, urls: _Urls, file: OutputFile, part: Path, count: Callable[[int], None]) -> None:
    """Bytes into `part` until there are as many as promised, going on where the last connection broke."""
    idle = 0
    have = part.stat().st_size if part.is_file() else 0
    if have > file.bytes:
        part.unlink()
        have = 0
    count(have)
    if not file.bytes:
        part.touch()
    while have < file.bytes:
        url = urls.get(file.name)
        try:
            before, (have, status) = have, _stream(http, url, file, part, have, count)
        except httpx.TransportError as error:
            before, have, status = have, part.stat().st_size if part.is_file() else 0, 0
            reason = type(error).__name__
        else:
            reason = f"status {status}"
        idle = 0 if have > before else idle + 1
        if idle >= TRIES:
            raise ServerUnreachable(f"{file.name} could not be downloaded: {reason} from {httpx.URL(url).host}.")
        if status in EXPIRED:
            urls.renew(file.name, url)
        if idle > 1 or (idle and status not in EXPIRED):
            time.sleep(pause(idle))


def _stream(
    http: httpx.Client, url: str, file: OutputFile, part: Path, have: int, count: Callable[[int], None]
) -> tuple[int, int]:
    """One request; returns how many bytes `part` has now, and the status."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with http.stream("GET", url, headers=headers) as response:
        if response.is_error:
            return have, response.status_code
        if have and response.status_code != 206:  # a store without ranges sends it all again
            count(-have)
            have = 0
        with part.open("ab" if have else "wb", buffering=CHUNK) as out:
            for chunk in response.iter_raw():
                if have + len(chunk) > file.bytes:
                    raise DownloadFailed(f"{file.name} is longer than the {file.bytes} bytes of the manifest.")
                out.write(chunk)
                have += len(chunk)
                count(len(chunk))
        return have, response.status_code


def _digest(path: Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _check_name(name: str) -> None:
    """The manifest names files, not paths: nothing is ever written outside the directory."""
    if not name or name != Path(name).name or "\\" in name or name in (".", "..", MANIFEST):
        raise DownloadFailed(f"The manifest names a file {name!r}, which is no plain file name; nothing was written.")


def _replace_manifest(directory: Path, job_id: str, manifest: Output) -> None:
    """Note what lies here, and remove the files of an output that was downloaded here before, so that two never mix."""
    path = directory / MANIFEST
    names = {file.name for file in manifest.beside}
    for name in _names_before(path) - names:
        (directory / name).unlink(missing_ok=True)
    files = [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256, "rows": f.rows} for f in manifest.files]
    rest = {
        key: value for key, value in manifest.raw.items() if key not in ("files", "cards", "expires_at")
    }  # URLs are secrets that expire
    part = directory / f".{MANIFEST}.part"
    cards = [{"name": card.name, "bytes": card.bytes, "sha256": card.sha256} for card in manifest.cards]
    part.write_text(
        json.dumps({"job_id": job_id, **rest, "cards": cards, "files": files}, indent=2) + "\n", encoding="utf-8"
    )
    os.replace(part, path)


def _names_before(path: Path) -> set[str]:
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        if "job_id" not in written:
            return set()
        names = {str(file["name"]) for file in [*written["files"], *written.get("cards", [])]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if name == Path(name).name and name not in ("", ".", "..")}
