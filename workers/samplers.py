"""Sampler children that are kept, each with the model loaded that it served last."""

import threading
import time
from collections.abc import Callable, Collection

from workers.process import Child


class Pool:
    """Hands out a child that has the model loaded where there is one. Holds `size` idle children at most."""

    def __init__(self, start: Callable[[], Child], size: int, idle_seconds: float) -> None:
        self._start, self._size, self._idle_seconds = start, size, idle_seconds
        self._idle: list[tuple[Child, float]] = []  # since when; the last used comes last
        self._lock = threading.Lock()

    def take(self, model: str) -> Child:
        """A child for this model; it is the caller's until it is given back or killed."""
        with self._lock:
            self._idle = [(child, since) for child, since in self._idle if child.alive()]
            best = next((one for one in reversed(self._idle) if one[0].model == model), None)
            if best is None and len(self._idle) >= self._size:
                best = self._idle[0]  # the one idle for longest changes its model
            if best is not None:
                self._idle.remove(best)
        child = best[0] if best is not None else self._start()
        child.model = model
        return child

    def give_back(self, child: Child) -> None:
        with self._lock:
            self._idle.append((child, time.monotonic()))
            spare = self._idle[: -self._size]
            self._idle = self._idle[-self._size :]
        for old, _ in spare:
            old.kill()

    def reap(self) -> None:
        """End those that were idle for too long."""
        with self._lock:
            now = time.monotonic()
            old = [one for one in self._idle if now - one[1] > self._idle_seconds or not one[0].alive()]
            self._idle = [one for one in self._idle if one not in old]
        for child, _ in old:
            child.kill()

    def models(self) -> set[str]:
        """Those that idle children have loaded."""
        with self._lock:
            return {child.model for child, _ in self._idle if child.model}

    def drop(self, models: Collection[str]) -> None:
        """End the idle children that have loaded one of these."""
        with self._lock:
            dropped = [child for child, _ in self._idle if child.model in models]
            self._idle = [one for one in self._idle if one[0] not in dropped]
        for child in dropped:
            child.kill()

    def close(self) -> None:
        with self._lock:
            children, self._idle = self._idle, []
        for child, _ in children:
            child.kill()
