"""One run: peace, in which each order is filled once; then faults and clients; then peace again, and the audit."""

import random
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mintage.transport import Transport
from tests.chaos import orders
from tests.chaos.audit import Fingerprint, Found, audit, fingerprint
from tests.chaos.clients import Accepted, Books, Client, submit, wait
from tests.chaos.faults import Faults
from tests.chaos.orders import Order
from tests.chaos.world import World, running

LEASE = 6.0
SETTINGS = {
    "MINTAGE_LEASE_SECONDS": str(LEASE),
    "MINTAGE_HEARTBEAT_SECONDS": "0.5",
    "MINTAGE_SWEEP_SECONDS": "1",
    "MINTAGE_CHECKPOINT_SECONDS": "2",
    "MINTAGE_MAX_ATTEMPTS": "10",  # a fault every few seconds hits the same unit far more often than life does
    "MINTAGE_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
}
PEACE = 300.0  # seconds in which an order must be filled
SETTLING = 600.0  # and in which all that is open must end


@dataclass
class Storm:
    """What to do to a service, and for how long."""

    kind: str  # of the world: embedded, servers
    seconds: float
    seed: int
    every: float = 6.0  # seconds between two faults, on average
    clients: int = 3
    pictures: bool = True


@dataclass
class Outcome:
    storm: Storm
    found: Found
    books: Books
    faults: Faults
    orphans: list[str]
    logs: str

    @property
    def wrong(self) -> dict[str, list[str]]:
        more = {"violations": self.books.violations, "orphan processes": self.orphans}
        return self.found.wrong | {name: value for name, value in more.items() if value}

    def summary(self) -> str:
        faults, jobs = sum(self.faults.counts.values()), len(self.books.jobs)
        by_kind = ", ".join(f"{n} {name}" for name, n in sorted(self.faults.counts.items()))
        lines = [
            f"{self.storm.kind}, seed {self.storm.seed}: {jobs} jobs accepted, {faults} faults in"
            f" {self.storm.seconds:.0f} s ({by_kind})",
            "  " + ", ".join(f"{n} {name}" for name, n in sorted(self.found.counts.items())),
            "  "
            + ", ".join(
                f"{len(getattr(self.found, name))} {name}"
                for name in ("lost", "duplicated", "corrupt", "stuck", "impossible", "leaked")
            )
            + f", {len(self.orphans)} orphan processes, {len(self.books.violations)} bad answers",
        ]
        lines += [f"  {name}: {sentence}" for name, some in self.wrong.items() for sentence in some[:20]]
        return "\n".join(lines)


def run(storm: Storm) -> Outcome:
    """Start a service, break it for so long, let it settle and look at what is left."""
    with tempfile.TemporaryDirectory(prefix="mintage-chaos-") as name:
        folder = Path(name)
        books = Books()
        with running(storm.kind, folder, SETTINGS) as world:
            known, wanted = _peace(world, folder, books, storm.pictures)
            faults = Faults(world, storm.seed, storm.every, LEASE)
            _storm(world, storm, wanted, books, faults)
            _settle(world, books)
            context = world.context()
            found = audit(context, books.jobs, known)
            context.database.dispose()
            logs = world.logs()
        orphans = [f"{one.pid}: {' '.join(one.cmdline())[:200]}" for one in world.family()]
    return Outcome(storm, found, books, faults, orphans, logs)


def _peace(world: World, folder: Path, books: Books, pictures: bool) -> tuple[dict[str, Fingerprint], list[Order]]:
    """Fill each order once; returns what came out, and the orders."""
    transport = Transport(world.address.url, world.address.api_key)
    context = world.context()
    known: dict[str, Fingerprint] = {}
    wanted: list[Order] = []

    def fill(order: Order) -> Accepted:
        one = submit(transport, order, books)
        job = wait(transport, one.job_id, PEACE)
        made = job["state"] == "succeeded"
        if made == order.fails:
            raise AssertionError(f"{order.name}, in peace: {job['error']}\n{world.logs()}")
        known[order.name] = fingerprint(context, one, set(context.storage.keys("projects/"))) if made else None
        wanted.append(order)
        return one

    files = orders.files(folder)
    if not pictures:
        del files["shapes"]
    datasets = {order.name.removeprefix("ingest "): fill(order).dataset_id or "" for order in orders.uploads(files)}
    models: dict[str, str] = {}
    for order in orders.trainings(datasets):
        models[order.name] = transport.get(f"/v1/jobs/{fill(order).job_id}")["result"]["model_id"]
    for order in orders.makings(datasets, models):
        fill(order)
    transport.close()
    context.database.dispose()
    return known, wanted


def _storm(world: World, storm: Storm, wanted: list[Order], books: Books, faults: Faults) -> None:
    """The main thread keeps the world alive: its parts hang on the thread that starts them."""
    stop = threading.Event()
    clients = [Client(world.address, wanted, books, storm.seed * 1000 + n) for n in range(storm.clients)]
    threads = [threading.Thread(target=client.run, args=(stop,), daemon=True) for client in clients]
    calm = threading.Event()
    breaker = threading.Thread(target=faults.run, args=(calm,), daemon=True)
    end = time.monotonic() + storm.seconds
    for thread in (*threads, breaker):
        thread.start()
    while time.monotonic() < end:
        world.tend()
        time.sleep(0.1)
    calm.set()
    stop.set()
    while any(thread.is_alive() for thread in (*threads, breaker)):  # a client's last request may wait for the API
        world.tend()
        time.sleep(0.1)


def _settle(world: World, books: Books) -> None:
    """Until everything has ended; what has not by then is stuck."""
    transport = Transport(world.address.url, world.address.api_key, tries=1000)
    left = {job.job_id for job in books.jobs}
    end = time.monotonic() + SETTLING
    while left and time.monotonic() < end:
        world.tend()
        some = random.Random(0).sample(sorted(left), min(10, len(left)))
        for job_id in some:
            try:
                if transport.get(f"/v1/jobs/{job_id}")["state"] in ("succeeded", "failed", "cancelled"):
                    left.discard(job_id)
            except Exception:  # the audit tells
                left.discard(job_id)
        time.sleep(0.1 if len(some) == 10 else 0.5)
    transport.close()
