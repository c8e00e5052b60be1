"""Breaks parts of a service at random times, by a seed: killed, frozen longer than a lease, or told to go."""

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import psutil

from tests.chaos.world import World

# how likely each part is the next victim; a part that a world does not have is never drawn
VICTIMS = {"worker-1": 5.0, "worker-2": 5.0, "child": 4.0, "api": 2.0, "valkey": 1.5, "seaweedfs": 1.0,
           "postgresql": 1.5, "up": 0.7}  # fmt: skip
WAYS = {"kill": 5.0, "freeze": 2.0, "term": 2.0}
FROZEN = {"api": 3.0, "valkey": 3.0, "seaweedfs": 3.0, "postgresql": 3.0}  # seconds; workers for more than a lease


@dataclass
class Faults:
    """Injects one fault after the other until stopped."""

    world: World
    seed: int
    every: float  # seconds between two, on average
    lease: float  # seconds
    counts: Counter[str] = field(default_factory=Counter)
    _frozen: list[tuple[float, psutil.Process]] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        rng = random.Random(self.seed)
        while not stop.wait(min(rng.expovariate(1 / self.every), 4 * self.every)):
            self._thaw(time.monotonic())
            with contextlib.suppress(psutil.Error):  # it went by itself a moment ago
                self._break(rng)
        self._thaw(float("inf"))

    def _break(self, rng: random.Random) -> None:
        victims = self._victims()
        names = [name for name in VICTIMS if victims.get(name)]
        if not names:
            return
        name = rng.choices(names, [VICTIMS[one] for one in names])[0]
        way = rng.choices(list(WAYS), list(WAYS.values()))[0]
        process = rng.choice(victims[name])
        if name in ("child", "up") or (name == "postgresql" and way == "term"):
            way = "kill"  # a child has no manners of its own; `up` hands a SIGTERM on as an end of everything
        if way == "freeze":
            seconds = FROZEN.get(name, self.lease * rng.uniform(1.2, 2.0))
            self._frozen.append((time.monotonic() + seconds, process))
            process.suspend()
        else:
            process.send_signal(signal.SIGKILL if way == "kill" else signal.SIGTERM)
        self.counts[f"{way} {name.split('-')[0]}"] += 1

    def _victims(self) -> dict[str, list[psutil.Process]]:
        found: dict[str, list[psutil.Process]] = {"child": []}
        for name, pid in self.world.pids().items():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                found[name] = [process]
                if name.startswith("worker"):
                    found["child"] += [one for one in process.children(recursive=True) if _is_child(one)]
        return found

    def _thaw(self, now: float) -> None:
        for one in [one for one in self._frozen if one[0] <= now]:
            self._frozen.remove(one)
            with contextlib.suppress(psutil.Error):
                one[1].resume()


def _is_child(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "workers.child" in process.cmdline()
    return False
