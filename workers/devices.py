"""Which GPUs a child gets: each in turn. Asks the kernel, not CUDA: no torch here."""

import os
import threading
from pathlib import Path


def visible() -> list[str]:
    """Names of the GPUs that this worker may use, as CUDA_VISIBLE_DEVICES wants them; none on a machine without."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    found = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(found.iterdir())))] if found.is_dir() else []


class Devices:
    """Deals the GPUs out in turn; where there is one or none, children see what the worker sees."""

    def __init__(self) -> None:
        self._names = visible()
        self._next = 0
        self._lock = threading.Lock()

    def environment(self, count: int = 1) -> dict[str, str]:
        """The variables of the next child, which gets so many, or all where there are fewer."""
        if len(self._names) < 2:
            return {}
        count = min(count, len(self._names))
        with self._lock:
            names = [self._names[(self._next + i) % len(self._names)] for i in range(count)]
            self._next += count
        return {"CUDA_VISIBLE_DEVICES": ",".join(names)}
