"""Clients that submit, wait, look and cancel, and never give up on a request: what was accepted is in their books."""

import contextlib
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from mintage.address import Address
from mintage.errors import ApiError
from mintage.transport import Repeated, Transport
from tests.chaos.orders import Order

TRIES = 200  # of one request; with pauses of up to twenty seconds that outlasts every fault
AT_ONCE = 4  # unfinished jobs that a client has
CANCELLED = 0.001  # share of looks at an open job after which it is cancelled; it is looked at twice a second or so
RETRIED = 0.7  # share of looks at a failed job after which it is retried
ENDED = ("succeeded", "failed", "cancelled")
LOOKS = ("/v1/jobs?limit=20", "/v1/models?limit=20", "/v1/datasets?limit=20", "/v1/modalities")


@dataclass
class Accepted:
    """A job that the service has promised to end."""

    order: Order
    job_id: str
    dataset_id: str | None = None  # of an upload
    cancelled: bool = False  # whether we asked for that


@dataclass
class Books:
    """What all clients know, together."""

    jobs: list[Accepted] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, job: Accepted) -> None:
        with self.lock:
            self.jobs.append(job)

    def complain(self, sentence: str) -> None:
        with self.lock:
            self.violations.append(sentence)


class Client:
    """One thread of submissions, on a connection of its own."""

    def __init__(self, address: Address, orders: Sequence[Order], books: Books, seed: int) -> None:
        self.transport = Transport(address.url, address.api_key, tries=TRIES)
        self.orders, self.books, self.rng = orders, books, random.Random(seed)
        self.open: list[Accepted] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._turn()
            except ApiError as error:
                self.books.complain(f"an answer that nobody should get: {error}")
            stop.wait(self.rng.uniform(0.05, 0.6))

    def _turn(self) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self.transport.read(self.rng.choice(LOOKS))
        self.books.requests += 1
        for job in list(self.open):
            state = self.transport.get(f"/v1/jobs/{job.job_id}")["state"]
            if state == "failed" and not job.order.fails and self.rng.random() < RETRIED:
                self._retry(job)
            elif state in ENDED:
                self.open.remove(job)
            elif not job.cancelled and self.rng.random() < CANCELLED:
                self._cancel(job)
        if len(self.open) < AT_ONCE:
            order = self.rng.choices(self.orders, [order.weight for order in self.orders])[0]
            self.open.append(submit(self.transport, order, self.books))

    def _cancel(self, job: Accepted) -> None:
        job.cancelled = True
        with contextlib.suppress(ApiError):  # it has ended in between
            self.transport.post(f"/v1/jobs/{job.job_id}/cancel")

    def _retry(self, job: Accepted) -> None:
        with contextlib.suppress(ApiError):  # an earlier try, whose answer was lost, has queued it
            self.transport.post(f"/v1/jobs/{job.job_id}/retry")


def submit(transport: Transport, order: Order, books: Books) -> Accepted:
    """Ask until it is accepted. A repeat has the same idempotency key, so that it is accepted once."""
    if order.file is None:
        answer = _post(transport, "/v1/jobs", order.body)
        job = Accepted(order, answer["id"])
    else:
        dataset_id = _post(transport, "/v1/datasets", {"name": order.name})["id"]
        job = Accepted(order, _uploaded(transport, order, dataset_id), dataset_id)
    books.enter(job)
    return job


def _post(transport: Transport, path: str, body: dict[str, Any]) -> Any:
    answer = transport.send("POST", path, json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
    return answer.json()


def _uploaded(transport: Transport, order: Order, dataset_id: str) -> str:
    assert order.file is not None
    data = order.file.read_bytes()
    while True:
        try:
            put = transport.put_stream(
                f"/v1/datasets/{dataset_id}/content", {"filename": order.file.name}, lambda: iter([data]), len(data)
            )
            return str(put["job_id"])
        except Repeated:  # an earlier try may have gone through
            now = transport.get(f"/v1/datasets/{dataset_id}")
            if now["status"] != "empty":
                return str(now["job_id"])
            time.sleep(0.5)


def wait(transport: Transport, job_id: str, seconds: float) -> dict[str, Any]:
    """The job, once it has ended. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while (job := transport.get(f"/v1/jobs/{job_id}"))["state"] not in ENDED:
        if time.monotonic() > end:
            raise TimeoutError(f"{job_id} is {job['state']} after {seconds:.0f} s")
        time.sleep(0.3)
    found: dict[str, Any] = job
    return found
