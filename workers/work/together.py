"""One training by several processes of one machine, its ranks: torchrun's elastic agent starts and watches them, in the
child that would train alone. Rank 0 does a child's whole work and speaks through it; the others only share the steps.

No port is opened for them to meet: the agent is the only one, and ranks find each other by a file. Messages go through
named pipes, which have no such limit to the length of their path as sockets have."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from torch import cuda, distributed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from workers.work import STORAGE_LOST
from workers.work.bench import Bench
from workers.work.line import Line

MEETING = "mintage"  # the name of our rendezvous
SHUTDOWN_SECONDS = 3  # that ranks have to end when one of them died
LISTEN_SECONDS = 0.05
OUTLASTS = 3600.0  # rank 0 knows how long it needs to stop; the supervisor's patience is shorter than this
OVER = ""  # a line of the child's own: there will be no more of a rank's


def wanted(config: dict[str, Any], bench: Bench) -> int:
    """How many processes train, given the config: not more than there are GPUs, where they need one each."""
    asked = int(config.get("gpus") or 1)
    if asked == 1 or not bench.torch_device().startswith("cuda"):
        return asked
    there = max(1, cuda.device_count())
    if there < asked:
        bench.line.event(f"{asked} GPUs were asked for, and this worker has {there}: it trains on these.", "warning")
    return min(asked, there)


class Alone(RendezvousHandler):
    """The meeting of the one agent there is."""

    def __init__(self, parameters: RendezvousParameters) -> None:
        self._run_id, self._closed = parameters.run_id, False

    def get_backend(self) -> str:
        return MEETING

    def next_rendezvous(self) -> RendezvousInfo:
        store = distributed.HashStore()  # type: ignore[attr-defined]
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo("127.0.0.1", 0))

    def is_closed(self) -> bool:
        return self._closed

    def set_closed(self) -> None:
        self._closed = True

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True


rendezvous_handler_registry.register(MEETING, Alone)


def pipes(folder: Path, rank: int) -> tuple[Path, Path]:
    """What a rank hears, and what it says."""
    return folder / f"to-{rank}", folder / f"from-{rank}"


class Relay:
    """Passes on what ranks say to the supervisor, and what it asks for to them. Their last word is the child's, and
    ends it and them, but for a result."""

    def __init__(self, request: dict[str, Any], line: Line, folder: Path, ranks: int) -> None:
        self.line = line
        self.result: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._to: list[IO[str]] = []
        self._from: list[IO[str]] = []
        for rank in range(ranks):
            hears, says = pipes(folder, rank)
            for pipe in (hears, says):
                os.mkfifo(pipe, 0o600)
            # open at both ends, so that neither waits for the other; a rank hears the end of it when this process ends
            self._to.append(os.fdopen(os.open(hears, os.O_RDWR), "w", encoding="utf-8"))
            self._from.append(os.fdopen(os.open(says, os.O_RDWR), encoding="utf-8"))
        self._readers = [threading.Thread(target=self._read, args=(source,), daemon=True) for source in self._from]
        for thread in (*self._readers, threading.Thread(target=self._ask, args=(request,), daemon=True)):
            thread.start()

    def _read(self, source: IO[str]) -> None:
        for text in iter(source.readline, f"{OVER}\n"):
            self._heard(json.loads(text))

    def _heard(self, message: dict[str, Any]) -> None:
        kind = message.pop("type")
        with self._lock:
            if kind == "result":
                self.result = message["value"]
            elif kind in ("failure", "drained", "cancelled"):
                self.line.end(kind, **message)
                sys.stderr.flush()
                os._exit(0)  # the kernel ends the ranks, which are tied to this process
            else:
                self.line.send(kind, **message)

    def _ask(self, request: dict[str, Any]) -> None:
        self._tell(request)
        while not self.line.asked:
            time.sleep(LISTEN_SECONDS)
        self._tell({"type": self.line.asked})

    def _tell(self, message: dict[str, Any]) -> None:
        for sink in self._to:
            sink.write(json.dumps(message) + "\n")
            sink.flush()

    def close(self, folder: Path) -> None:
        """Return when all that was said is passed on."""
        for rank in range(len(self._from)):
            with pipes(folder, rank)[1].open("w") as end:
                end.write(f"{OVER}\n")
        for reader in self._readers:
            reader.join()


def conduct(request: dict[str, Any], bench: Bench, ranks: int) -> dict[str, Any]:
    """The result of a training by so many ranks. Ends this process as a rank's ended, where one died."""
    with bench.folder() as folder:
        bench.line.grace = OUTLASTS
        relay = Relay(request | {"device": bench.torch_device()}, bench.line, folder, ranks)
        with _environment(ranks):
            try:
                elastic_launch(_config(ranks, bench), sys.executable)("-m", "workers.rank", str(folder))
            except ChildFailedError as error:
                relay.close(folder)
                _die_as({failure.exitcode for failure in error.failures.values()})
        relay.close(folder)
    if relay.result is None:
        raise RuntimeError("all ranks ended, and none said how")
    return dict(relay.result)


def _config(ranks: int, bench: Bench) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=bench.scratch.name,
        rdzv_backend=MEETING,
        max_restarts=0,  # whoever owns the job counts attempts: the database
        shutdown_timeout=SHUTDOWN_SECONDS,
    )


@contextmanager
def _environment(ranks: int) -> Iterator[None]:
    """What ranks find: who is to outlive them, their share of the cores, and that they are neighbours."""
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    told = {
        "MINTAGE_SUPERVISOR_PID": str(os.getpid()),
        "OMP_NUM_THREADS": str(max(1, cores // ranks)),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _die_as(codes: set[int]) -> NoReturn:
    """End as the rank that died did, so that the supervisor settles it as it settles a child's death."""
    sys.stderr.flush()
    if STORAGE_LOST in codes:
        os._exit(STORAGE_LOST)
    signals = {-code for code in codes if code < 0}
    if not signals:
        raise RuntimeError(f"ranks ended with status {codes}")
    found = signal.SIGKILL if signal.SIGKILL in signals else min(signals)  # others abort when one is killed
    with suppress(OSError):
        signal.signal(found, signal.SIG_DFL)
    os.kill(os.getpid(), found)
    os._exit(128 + found)
