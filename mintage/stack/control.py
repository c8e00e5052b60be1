"""What the command line does with a local stack: run it here, run it in the background, look at it, stop it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mintage import address
from mintage.address import Address
from mintage.errors import StackError
from mintage.stack import parts
from mintage.stack.children import MISSING, find
from mintage.stack.datadir import DataDir, is_locked, open_data_dir, read_json
from mintage.stack.leftovers import recorded, stop_leftovers, wait_gone
from mintage.stack.supervisor import Say, running, signals

READY_WITHIN = 150.0  # seconds: a cold disk reads half a gigabyte of libraries first
STOPPED_WITHIN = 25.0


def up(root: Path, port: int | None, workers: int, say: Say, ready: Callable[[Address, DataDir], None]) -> None:
    """Run the stack until Ctrl-C, SIGTERM or `mintage down`. Raises StackError."""
    data = open_data_dir(root)
    stopping = threading.Event()
    with (
        signals(stopping),
        contextlib.suppress(KeyboardInterrupt),
        running(data, port, workers, say, stopping) as stack,
    ):
        ready(stack.address, data)
        while not stopping.is_set():
            stack.tend()
        say("stopping")


def up_detached(root: Path, port: int | None, workers: int) -> tuple[Address, DataDir]:
    """The same in the background; returns once it answers. Raises StackError."""
    data = open_data_dir(root)
    absent = parts.missing_packages()
    if absent:
        raise StackError(MISSING.format(", ".join(absent)))
    if is_locked(data):
        raise StackError(
            f"Mintage runs already from {data.root}: see 'mintage status', or stop it with 'mintage down'."
        )
    log = data.log("up")
    command = [sys.executable, "-m", "mintage", "up", "--data-dir", str(data.root), "--workers", str(workers)]
    command += ["--port", str(port)] if port is not None else []
    data.server.unlink(missing_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=data.root
        )
    try:
        return _ready(process, data, log), data
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOPPED_WITHIN)
        raise


def _ready(process: "subprocess.Popen[bytes]", data: DataDir, log: Path) -> Address:
    end = time.monotonic() + READY_WITHIN
    while (found := address.read(data.root)) is None:
        if process.poll() is not None:
            raise StackError(parts.last_line(log).removeprefix("Error: "))
        if time.monotonic() > end:
            raise StackError(f"Mintage was not ready within {READY_WITHIN:.0f} seconds; {log} may say why.")
        time.sleep(0.05)
    return found


def down(root: Path) -> list[str]:
    """Stop the stack of this directory, or what is left of it; returns what was stopped. Raises StackError."""
    if not root.expanduser().is_dir():
        return []
    data = DataDir(root.expanduser().absolute())
    names = [child["name"] for child in recorded(data) if find(child["pid"], child.get("create_time") or 0.0)]
    written = read_json(data.running)
    chief = written.get("up") if isinstance(written, dict) else None
    process = find(chief["pid"], chief["create_time"] or 0.0) if chief else None
    if chief and process is not None:
        os.kill(process.pid, signal.SIGTERM)
        if not wait_gone(data, process.pid, chief["create_time"], STOPPED_WITHIN):
            process.kill()
            wait_gone(data, process.pid, chief["create_time"], 5.0)
    elif is_locked(data):
        raise StackError(f"Mintage is just starting from {data.root}; try again in a moment.")
    left = stop_leftovers(data)  # of an `up` that was killed, here or before
    return names or left


def status(root: Path) -> dict[str, Any]:
    """The processes of the stack of this directory, and where it answers."""
    data = DataDir(root.expanduser().absolute())
    written = read_json(data.running)
    if not isinstance(written, dict):
        return {"processes": [], "url": None, "data_dir": str(data.root)}
    processes = [_process(one) for one in [written["up"], *recorded(data)]]
    processes = processes if any(one["state"] == "running" for one in processes) else []
    found = address.read(data.root) if processes else None
    return {"processes": processes, "url": found.url if found else None, "data_dir": str(data.root)}


def _process(noted: dict[str, Any]) -> dict[str, Any]:
    alive = find(noted["pid"], noted.get("create_time") or 0.0) is not None
    state = "running" if alive else "stopped"
    return {"name": noted["name"], "pid": noted["pid"], "port": noted.get("port"), "state": state}
