"""Which GPUs a child gets: those that the fewest others have. Asks the kernel, not CUDA: no torch here."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def visible() -> list[str]:
    """Names of the GPUs that this worker may use, as CUDA_VISIBLE_DEVICES wants them; none on a machine without."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    found = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(found.iterdir())))] if found.is_dir() else []


@dataclass(frozen=True)
class Share:
    """The GPUs of one child, until `give_back` is called; further calls do nothing."""

    environment: dict[str, str]
    give_back: Callable[[], None]


class Devices:
    """Deals the GPUs out, the least used ones first; where there is one or none, children see what the worker sees."""

    def __init__(self) -> None:
        self._users = dict.fromkeys(visible(), 0)
        self._lock = threading.Lock()

    def share(self, count: int = 1) -> Share:
        """That of the next child, which gets so many, or all where there are fewer."""
        if len(self._users) < 2:
            return Share({}, lambda: None)
        with self._lock:
            order = {name: place for place, name in enumerate(self._users)}
            chosen = sorted(self._users, key=lambda name: self._users[name])[:count]
            for name in chosen:
                self._users[name] += 1
        held = [sorted(chosen, key=lambda name: order[name])]

        def give_back() -> None:
            with self._lock:
                for name in held.pop() if held else ():
                    self._users[name] -= 1

        return Share({"CUDA_VISIBLE_DEVICES": ",".join(held[0])}, give_back)
