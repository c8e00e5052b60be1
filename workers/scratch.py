"""Folders of children, each locked by its supervisor's life, so that whoever comes later knows which are left over.

A process id does not tell: in a container, each life of a worker has the same one."""

import fcntl
import os
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp


class Scratch:
    """An empty folder below `work_dir`, until `remove`."""

    def __init__(self, work_dir: Path) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        unlocked = Path(mkdtemp(prefix="new-", dir=work_dir))
        self._lock: int | None = os.open(unlocked, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # the kernel lets go of it when this process ends, however that happens
        self.path = unlocked.rename(unlocked.with_name(unlocked.name.replace("new-", "child-", 1)))

    def remove(self) -> None:
        """May be called more than once."""
        lock, self._lock = self._lock, None
        if lock is not None:
            rmtree(self.path, ignore_errors=True)
            os.close(lock)


def clean(work_dir: Path) -> None:
    """Remove the folders of supervisors that are gone."""
    for folder in work_dir.glob("child-*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:  # another was faster
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
