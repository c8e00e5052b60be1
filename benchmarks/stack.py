"""An embedded stack of its own for a benchmark, driven through the command line, and watched from outside."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MINTAGE = str(Path(sys.executable).parent / "mintage")
MIB = 2**20


@dataclass
class Stack:
    folder: Path

    def run(self, *arguments: str) -> dict[str, Any]:
        """One `mintage ... --json` command; its last line as an object. Raises CalledProcessError."""
        command = [MINTAGE, *arguments, "--data-dir", str(self.folder), "--json"]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(answer.stdout.strip().splitlines()[-1])
        return found

    def processes(self) -> dict[str, int]:
        return {p["name"]: p["pid"] for p in self.run("status")["processes"] if p["pid"]}


@contextmanager
def stack(*options: str) -> Iterator[Stack]:
    """`mintage up` in a temporary folder; `mintage down` at the end."""
    with tempfile.TemporaryDirectory(prefix="mintage-bench-") as folder:
        here = Stack(Path(folder))
        subprocess.run([MINTAGE, "up", "--detach", "--data-dir", folder, *options], check=True)
        try:
            yield here
        finally:
            subprocess.run([MINTAGE, "down", "--data-dir", folder], check=True)


@dataclass
class Peak:
    """The most resident memory that each part of a stack had, in MiB; a worker's children are counted apart."""

    stack: Stack
    mib: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Peak":
        self._pids = self.stack.processes()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            for name, pid in self._pids.items():
                try:
                    process = psutil.Process(pid)
                    self._note(name, process.memory_info().rss)
                    for child in process.children(recursive=True):
                        self._note(f"{name}, largest child", child.memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(0.1)

    def _note(self, name: str, rss: int) -> None:
        self.mib[name] = max(self.mib.get(name, 0.0), round(rss / MIB, 1))


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - start, 1)
