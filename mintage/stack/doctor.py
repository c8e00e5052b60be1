"""`mintage doctor`: looks at this machine and at the running stack, and says in sentences what is wrong."""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from mintage.address import default_data_dir, find
from mintage.client import Mintage
from mintage.errors import ApiError, MintageError, NoServer
from mintage.stack import parts
from mintage.stack.ports import is_free

LEAST_DISK = 2 << 30
LEAST_MEMORY = 2 << 30


@dataclass(frozen=True)
class Check:
    name: str
    state: Literal["ok", "note", "wrong"]
    sentence: str


def examine(data_dir: Path | None) -> Iterator[Check]:
    yield _python()
    yield _packages()
    yield _disk(data_dir or default_data_dir())
    yield from _memory()
    yield _gpu()
    yield from _server(data_dir)


def _python() -> Check:
    version = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    fits = sys.version_info >= (3, 11)
    return Check("python", "ok" if fits else "wrong", version if fits else f"{version}; 3.11 or newer is needed")


def _packages() -> Check:
    absent = parts.missing_packages()
    if absent:
        sentence = (
            f"{', '.join(absent)} missing: pip install 'mintage[embedded]' (not needed to use a server elsewhere)"
        )
        return Check("packages", "note", sentence)
    return Check("packages", "ok", "all that the local stack needs is installed")


def _disk(root: Path) -> Check:
    there = next(folder for folder in [root, *root.absolute().parents] if folder.exists())
    free = shutil.disk_usage(there).free
    sentence = f"{free / 1e9:.1f} GB free at {root}"
    if not os.access(there, os.W_OK):
        return Check("disk", "wrong", f"{there} cannot be written to; choose another place with --data-dir")
    if free < LEAST_DISK:
        return Check("disk", "wrong", f"only {sentence}; free some space or choose another place with --data-dir")
    return Check("disk", "ok", sentence)


def _memory() -> Iterator[Check]:
    with contextlib.suppress(ModuleNotFoundError):
        import psutil

        free, cores = psutil.virtual_memory().available, os.cpu_count() or 1
        state: Literal["ok", "note"] = "ok" if free >= LEAST_MEMORY else "note"
        yield Check("machine", state, f"{cores} cores, {free / 1e9:.1f} GB of memory free")


def _gpu() -> Check:
    tool = shutil.which("nvidia-smi")
    if tool:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
            found = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
            if found.returncode == 0 and found.stdout.strip():
                return Check("gpu", "ok", "; ".join(found.stdout.strip().splitlines()))
    return Check("gpu", "note", "no NVIDIA GPU was found: training runs on the CPU, which draft presets are made for")


def _server(data_dir: Path | None) -> Iterator[Check]:
    try:
        found = find(data_dir=data_dir)
    except NoServer:
        state: Literal["ok", "note"] = "ok" if is_free(parts.USUAL_PORT) else "note"
        free = "free" if state == "ok" else "taken; 'mintage up' will choose another"
        yield Check("port", state, f"{parts.USUAL_PORT} is {free}")
        yield Check("server", "note", "none runs here; start one with 'mintage up'")
        return
    try:
        ready = httpx.get(f"{found.url}/readyz", timeout=10)
    except httpx.TransportError:
        yield Check("server", "wrong", f"{found.url} does not answer; see 'mintage status', or 'mintage up'")
        return
    if ready.status_code != 200:
        yield Check("server", "wrong", f"{found.url} is up but not ready: {_why(ready)}")
        return
    yield Check("server", "ok", f"{found.url} is ready: database, broker and bucket answer")
    with Mintage(found.url, found.api_key) as client:
        yield _key(client)
        yield _round_trip(client)


def _why(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return f"status {answer.status_code}"
    return str(body.get("detail") or body) if isinstance(body, dict) else str(body)


def _key(client: Mintage) -> Check:
    try:
        names = ", ".join(one["name"] for one in client.modalities())
    except ApiError as error:
        return Check("api key", "wrong", f"{error.detail} [{error.code}]")
    return Check("api key", "ok", f"accepted; this server trains {names}")


def _round_trip(client: Mintage) -> Check:
    """A presigned URL has the bucket's public address in it: only a try from outside shows that it leads there."""
    start = time.monotonic()
    try:
        made = client.transport.post("/v1/datasets", {"name": "doctor"})
        try:
            url = f"/v1/datasets/{made['id']}/uploads"
            ticket = client.transport.post(url, {"filename": "doctor.csv", "size_bytes": 4})
            stored = client.transport.storage.put(ticket["parts"][0]["url"], content=b"a\n1\n")
        finally:
            client.datasets.delete(made["id"])
    except httpx.TransportError:
        return Check(
            "bucket", "wrong", "the presigned URL leads nowhere from here: look at MINTAGE_S3_PUBLIC_ENDPOINT_URL"
        )
    except MintageError as error:
        return Check("bucket", "wrong", f"{error} [{error.code}]")
    if stored.is_error:
        return Check("bucket", "wrong", f"a presigned upload was refused with status {stored.status_code}")
    return Check("bucket", "ok", f"a presigned upload arrived in {time.monotonic() - start:.2f} s")
