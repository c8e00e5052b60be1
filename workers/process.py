"""A child process as its supervisor holds it: JSON lines in and out, a bounded tail of what it said on stderr, an end.

Imports no torch. Children are started by one thread that lives as long as the process: Linux ties PR_SET_PDEATHSIG to
the thread that forked, so a child started by a task's thread would die with that thread."""

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import structlog

from service.settings import Settings
from workers.devices import Share
from workers.scratch import Scratch
from workers.work import STORAGE_LOST

TAIL_LINES, LINE_CHARACTERS = 200, 2_000
SECRET = ("MINTAGE_", "DATABASE_URL", "REDIS_URL", "CELERY_", "PG", "POSTGRES_", "VALKEY_")
TOLD = (
    "s3_endpoint_url", "s3_region", "s3_bucket", "s3_access_key", "s3_secret_key", "s3_checksums",
    "checkpoint_seconds", "ingest_memory_bytes", "inception_weights",
)  # fmt: skip
GIB = 1 << 30
Message = dict[str, Any]
log = structlog.get_logger()


def environment(settings: Settings, scratch: Path) -> dict[str, str]:
    """What a child may know: the machine's variables, the bucket, its scratch folder; no database, no broker."""
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith(SECRET)}
    for name in TOLD:
        value = getattr(settings, name)
        if value is not None:
            env[f"MINTAGE_{name.upper()}"] = str(getattr(value, "get_secret_value", lambda v=value: v)())
    env["MINTAGE_SCRATCH"] = env["TMPDIR"] = str(scratch)
    env["MINTAGE_SUPERVISOR_PID"] = str(os.getpid())
    env["PYTHONUNBUFFERED"] = "1"
    # OpenMP's threads spin while they wait, and starve each other where something else wants a core: docs/LOG.md
    env.setdefault("GOMP_SPINCOUNT", "30000")
    return env


def hide() -> None:
    """Close this process's memory and environment, which holds the database's address, to its children: they run under
    the same user and read untrusted bytes. A fork keeps this."""
    ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE


class Spawner:
    """Starts children, all from one thread."""

    def __init__(self) -> None:
        self._orders: queue.Queue[tuple[dict[str, Any], Future[subprocess.Popen[str]]]] = queue.Queue()
        threading.Thread(target=self._serve, name="spawner", daemon=True).start()

    def start(self, **options: Any) -> "subprocess.Popen[str]":
        started: Future[subprocess.Popen[str]] = Future()
        self._orders.put((options, started))
        return started.result()

    def _serve(self) -> None:
        while True:
            options, started = self._orders.get()
            try:
                started.set_result(subprocess.Popen([sys.executable, "-m", "workers.child"], **options))
            except OSError as error:
                started.set_exception(error)


class Child:
    """One running child."""

    def __init__(self, settings: Settings, spawner: Spawner, share: Share) -> None:
        self._share = share
        self._scratch = Scratch(settings.work_dir)
        self.model: str | None = None  # that a sampler has loaded
        self.peak = self.gpu_peak = 0  # bytes, as far as they were seen
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._process = spawner.start(
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment(settings, self._scratch.path) | share.environment,
            start_new_session=True,  # a group of its own, so that what it starts can be killed with it
        )
        stdout, stderr = self._process.stdout, self._process.stderr
        if stdout is None or stderr is None:
            raise RuntimeError("a child needs its pipes")
        self._readers = [
            threading.Thread(target=self._read, args=(stdout,), daemon=True),
            threading.Thread(target=self._listen, args=(stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Mapping[str, Any]) -> None:
        """Tell the child something; if it is gone, the end of its messages says so."""
        stdin = self._process.stdin
        with suppress(OSError, ValueError):
            if stdin is not None:
                stdin.write(json.dumps(message) + "\n")
                stdin.flush()

    def next(self, seconds: float) -> Message | None:
        """The next message. Raises queue.Empty after so long; None: there will be no more."""
        message = self._messages.get(timeout=seconds)
        if message is None:
            self._messages.put(None)  # whoever asks again hears the same
        return message

    def tail(self) -> str:
        """The last lines that it wrote on stderr, for operators."""
        return "\n".join(self._tail)

    def starved(self) -> bool:
        """Whether it ended because the bucket failed it. Raises TimeoutExpired."""
        return self._process.wait(5) == STORAGE_LOST

    def reason(self) -> str:
        """How it ended, for the sentence 'The worker was lost: ...'. Raises TimeoutExpired."""
        code = self._process.wait(5)
        used = f"; it had used {self.peak / GIB:.1f} GiB of memory" if self.peak else ""
        used += f" and {self.gpu_peak / GIB:.1f} GiB of the GPU's" if used and self.gpu_peak else ""
        if code >= 0:
            return f"its process ended with status {code}{used}"
        name = signal.Signals(-code).name if -code in signal.Signals.__members__.values() else "unknown"
        memory = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        return f"its process was killed by signal {-code} ({name}){memory}{used}"

    def weigh(self) -> None:
        """Look how much memory it has used: once it is gone, nobody can tell."""
        with suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii", errors="replace")
            self.peak = max(self.peak, int(status.split("VmHWM:")[1].split()[0]) << 10)

    def kill(self) -> None:
        """End it and all that it started, now; then clean up after it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._share.give_back()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError, ValueError):
                if pipe is self._process.stdin and pipe is not None:
                    pipe.close()
        self._scratch.remove()

    def _read(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                with suppress(ValueError):
                    self._messages.put(json.loads(line))
        self._messages.put(None)

    def _listen(self, stderr: IO[str]) -> None:
        with stderr:
            while line := stderr.readline(LINE_CHARACTERS):
                self._tail.append(line.rstrip("\n"))
