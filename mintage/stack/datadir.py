"""The folder that holds all of a local stack: its data, its secrets, its logs, and who runs it. One `up` at a time."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mintage.address import SERVER_FILE
from mintage.errors import StackError

SECRETS_FILE, RUNNING_FILE, LOCK_FILE = "secrets.json", "running.json", "lock"


@dataclass(frozen=True)
class Secrets:
    """Made once for a data directory, kept in it with mode 0600."""

    api_key: str
    redis_password: str
    s3_access_key: str
    s3_secret_key: str


@dataclass(frozen=True)
class DataDir:
    root: Path

    @property
    def server(self) -> Path:
        return self.root / SERVER_FILE

    @property
    def running(self) -> Path:
        return self.root / RUNNING_FILE

    @property
    def database(self) -> Path:
        return self.root / "mintage.db"

    def folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        return self.folder("logs") / f"{name}.log"

    def secrets(self) -> Secrets:
        """The secrets of this stack, made now if it has none."""
        path = self.root / SECRETS_FILE
        known = read_json(path)
        if known is None:
            known = {
                "api_key": f"mint_{secrets.token_urlsafe(32)}",
                "redis_password": secrets.token_hex(24),
                "s3_access_key": secrets.token_hex(10),
                "s3_secret_key": secrets.token_hex(24),
            }
            write_json(path, known)
        try:
            return Secrets(**known)
        except TypeError as error:
            raise StackError(
                f"{path} is not as this version writes it; move {self.root} away to begin anew."
            ) from error


def open_data_dir(root: Path) -> DataDir:
    """The data directory, made if absent and proven writable. Raises StackError."""
    root = root.expanduser().absolute()
    if any(sign in str(root) for sign in "?#%\n"):  # it becomes part of the database's URL
        raise StackError(f"The data directory's name may hold no '?', '#' or '%': {root}")
    with sentences(root):
        root.mkdir(parents=True, exist_ok=True)
        if not any(root.iterdir()):  # a folder that holds other things is not ours to close, such as /tmp
            root.chmod(0o700)
        probe = root / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 65_536)
        probe.unlink()
    return DataDir(root)


@contextlib.contextmanager
def sentences(root: Path) -> Iterator[None]:
    """Turns what the file system refuses into what its user can do. Raises StackError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "the disk is full; free some space"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = "it cannot be written to"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            why = "there is a file of that name"
        else:
            why = error.strerror or str(error)
        raise StackError(f"{root} cannot hold Mintage's data: {why}, or choose another with --data-dir.") from error


@contextlib.contextmanager
def locked(data: DataDir) -> Iterator[None]:
    """Holds the directory for this process; the system lets go when it ends, however it ends. Raises StackError."""
    with (data.root / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"Mintage runs already from {data.root}: see 'mintage status', stop it with 'mintage down', "
                "or choose another --data-dir."
            ) from None
        yield


def is_locked(data: DataDir) -> bool:
    """Whether an `up` is alive on this directory."""
    try:
        with (data.root / LOCK_FILE).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def write_json(path: Path, value: Any) -> None:
    """Replace the file whole, readable by its owner alone."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    os.replace(part, path)


def read_json(path: Path) -> Any:
    """What was written; None where there is nothing that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
