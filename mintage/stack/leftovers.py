"""What a killed `up` left running: found by number and start time, so that no stranger's process is ever touched."""

import contextlib
import time
from typing import Any

from mintage.stack import parts
from mintage.stack.children import descendants, find, kill, psutil_or_explain
from mintage.stack.datadir import DataDir, read_json


def recorded(data: DataDir) -> list[dict[str, Any]]:
    """The children that the last `up` noted."""
    running = read_json(data.running)
    children = running.get("children", []) if isinstance(running, dict) else []
    return [child for child in children if isinstance(child, dict) and child.get("pid")]


def stop_leftovers(data: DataDir) -> list[str]:
    """Stop what still runs of a stack whose `up` is gone; returns the names. Call it holding the lock."""
    psutil = psutil_or_explain()
    found = {
        child["name"]: process
        for child in recorded(data)
        if (process := find(child["pid"], child.get("create_time") or 0.0)) is not None
    }
    families = [one for process in found.values() for one in descendants(process.pid)]
    for process in found.values():
        try:
            process.terminate()
        except psutil.Error:
            continue
    psutil.wait_procs(list(found.values()), timeout=6)
    for process in [*found.values(), *families]:
        kill(process)
    _forget(data)
    return list(found)


def _forget(data: DataDir) -> None:
    running = read_json(data.running)
    if isinstance(running, dict) and isinstance(running.get("ports"), dict):
        with contextlib.suppress(TypeError):
            parts.forget_sockets(parts.Ports(**running["ports"]))
    data.running.unlink(missing_ok=True)
    data.server.unlink(missing_ok=True)


def wait_gone(data: DataDir, pid: int, started: float, seconds: float) -> bool:
    """Whether the process is gone by then."""
    end = time.monotonic() + seconds
    while find(pid, started) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
