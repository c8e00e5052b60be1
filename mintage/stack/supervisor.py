"""`mintage up`: starts the parts in order, keeps them running, stops them in order. The main thread does it all."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

from mintage.address import Address
from mintage.errors import StackError
from mintage.stack import parts
from mintage.stack.children import MISSING, Child, Program, create_time
from mintage.stack.datadir import DataDir, locked, sentences, write_json
from mintage.stack.leftovers import stop_leftovers
from mintage.stack.ports import api_port, is_free

Say = Callable[[str], None]
LOOK_EVERY = 0.2  # seconds


class Stack:
    """A running stack. Use it through `running`."""

    def __init__(self, data: DataDir, port: int | None, say: Say, stopping: threading.Event) -> None:
        self.data = data
        self.ports = parts.choose_ports(port)
        self.secrets = data.secrets()
        self.stopping = stopping
        self._port_asked_for = port
        self._say = say
        self._children: list[Child] = []
        self._env = parts.environment(data, self.secrets, self.ports)

    @property
    def address(self) -> Address:
        return Address(f"http://{parts.LOOPBACK}:{self.ports.api}", self.secrets.api_key)

    def start(self, workers: int) -> None:
        """Until everything answers. Raises StackError."""
        data, ports, env = self.data, self.ports, self._env
        valkey = self._launch(parts.valkey(data, self.secrets, ports))
        seaweedfs = self._launch(parts.seaweedfs(data, self.secrets, ports))
        parts.run_once("Preparing the database", ["migrations", "upgrade"], env, data)
        api = self._launch(parts.api(data, env, ports))  # it loads while the next lines run
        parts.run_once("Making the API key", ["service.admin", "ensure-key"], env, data)
        self._await(valkey, lambda: parts.valkey_answers(ports.valkey, self.secrets.redis_password), 20)
        self._await(seaweedfs, lambda: parts.s3_answers(ports.s3), 60)
        for number in range(1, workers + 1):
            self._launch(parts.worker(data, env, number, workers))
        self._await_api(api)
        write_json(data.server, asdict(self.address))

    def tend(self) -> None:
        """Restart what died; returns after a moment."""
        said = [sentence for child in self._children if (sentence := child.tend())]
        for sentence in said:
            self._say(sentence)
        if said:
            self._record()
        self.stopping.wait(LOOK_EVERY)

    def stop(self) -> None:
        """Workers first, so that they can put back what they hold; then the API; then what those two lean on."""
        self.data.server.unlink(missing_ok=True)
        ranks = {"worker": 0, "api": 1}
        for rank in range(3):
            group = [c for c in self._children if ranks.get(c.program.name.partition("-")[0], 2) == rank]
            for child in group:
                child.ask_to_stop()
            now = time.monotonic()
            for child in group:
                child.see_it_gone(now + child.program.grace)
        parts.forget_sockets(self.ports)
        self.data.running.unlink(missing_ok=True)

    def _launch(self, program: Program) -> Child:
        child = Child(program)
        self._children.append(child)
        child.start()
        self._record()
        return child

    def _await_api(self, api: Child) -> None:
        """Until it answers; elsewhere, if another program has taken the port since it was found free."""
        try:
            self._await(api, lambda: parts.api_ready(self.address), 60)
        except StackError:
            if api.alive or is_free(self.ports.api):
                raise
            self.ports = replace(self.ports, api=api_port(self._port_asked_for, self.ports.api))
            self._children.remove(api)
            again = self._launch(parts.api(self.data, self._env, self.ports))
            self._await(again, lambda: parts.api_ready(self.address), 60)

    def _await(self, child: Child, ready: Callable[[], bool], seconds: float) -> None:
        def alive() -> bool:
            if self.stopping.is_set():
                raise KeyboardInterrupt
            return child.alive

        parts.wait_until(ready, alive, child.program.name, child.program.log, seconds)

    def _record(self) -> None:
        up = {"name": "up", "pid": os.getpid(), "create_time": create_time(os.getpid())}
        children = [child.record() for child in self._children]
        write_json(self.data.running, {"up": up, "children": children, "ports": asdict(self.ports)})


@contextlib.contextmanager
def running(
    data: DataDir, port: int | None, workers: int, say: Say, stopping: threading.Event | None = None
) -> Iterator[Stack]:
    """A stack that answers; stopped on the way out, whatever happens. Raises StackError, or KeyboardInterrupt when
    `stopping` was set before all was up. Call it from the main thread."""
    absent = parts.missing_packages()
    if absent:
        raise StackError(MISSING.format(", ".join(absent)))
    with locked(data), sentences(data.root):
        for name in stop_leftovers(data):
            say(f"stopped {name}, left over from a run that was killed")
        stack = Stack(data, port, say, stopping or threading.Event())
        try:
            stack.start(workers)
            yield stack
        finally:
            with signals(threading.Event()):  # a second Ctrl-C does not break off the stopping
                stack.stop()


@contextlib.contextmanager
def signals(stopping: threading.Event) -> Iterator[None]:
    """SIGTERM, SIGINT, and SIGHUP of a closed terminal set the event instead of breaking in anywhere."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
