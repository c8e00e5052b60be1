"""Whatever is killed, frozen or lost: the work goes on, once, and ends in the same result."""

import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from service.domain.states import State
from service.queue.doorbell import celery
from service.usecases import opening
from tests import servers
from tests.integration.workers.conftest import Yard

LONG: dict[str, Any] = {"steps": 120, "pause": 0.02, "seed": 3}


def weights(yard: Yard, model_id: str | None, attempt: int) -> bytes:
    prefix = f"projects/{yard.project}/models/{model_id}/a{attempt}/"
    return yard.context.storage.get(prefix + "generator.safetensors")


def trains(yard: Yard, job_id: str, step: int = 1) -> bool:
    return ((yard.unit(job_id).progress or {}).get("step") or 0) >= step


def has_checkpoint(yard: Yard, job_id: str) -> bool:
    return yard.unit(job_id).checkpoint is not None


def gone(processes: list[psutil.Process]) -> bool:
    return not any(map(_lives, processes))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # ended between the two questions
        return False


def cut(body: bytes) -> bytes:
    return body[:-9]


def one_bit_flipped(body: bytes) -> bytes:
    """In the last tensor, where nothing but a checksum sees it."""
    return body[:-6] + bytes([body[-6] ^ 1]) + body[-5:]


@pytest.mark.parametrize("damage", [cut, one_bit_flipped])
def test_a_killed_training_goes_on_past_a_damaged_checkpoint_to_the_same_weights(
    yard: Yard, damage: Callable[[bytes], bytes]
) -> None:
    worker = yard.worker()
    dataset = yard.dataset()
    whole = yard.wait(yard.train(dataset, **LONG))
    assert whole.state == State.SUCCEEDED, whole.error
    job_id = yard.train(dataset, **LONG)
    yard.until(lambda: (yard.unit(job_id).checkpoint or {}).get("before"))
    [child] = worker.children()
    child.suspend()
    time.sleep(0.8)  # what it said until now is written down
    known = yard.unit(job_id).checkpoint or {}
    yard.context.storage.put(known["key"], damage(yard.context.storage.get(known["key"])))
    before = int(known["before"].rpartition("/")[2].split("-")[1])
    child.kill()
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    unit = yard.unit(job_id)
    assert unit.attempt == 2
    said = " ".join(yard.messages(job_id))
    assert "SIGKILL" in said
    assert "going on from an earlier one" in said
    assert f"Training goes on from step {before}." in said
    assert weights(yard, job.model_id, 2) == weights(yard, whole.model_id, 1)


def test_a_killed_worker_leaves_no_process_and_another_finishes_its_training(either_yard: Yard) -> None:
    yard = either_yard
    first = yard.worker()
    job_id = yard.train(**LONG)
    yard.until(lambda: has_checkpoint(yard, job_id))
    children = first.children()
    assert children
    first.process.kill()
    assert yard.until(lambda: gone(children), 5.0) < 2.0
    yard.worker()
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).attempt == 2
    assert any("goes on from step" in message for message in yard.messages(job_id))


def test_a_frozen_worker_that_thaws_changes_nothing(yard: Yard) -> None:
    first = yard.worker(slots=1)
    job_id = yard.train(**LONG)
    yard.until(lambda: has_checkpoint(yard, job_id))
    frozen = [first.process, *first.children()]
    for process in frozen:
        process.suspend()
    yard.worker(slots=1)
    yard.until(lambda: yard.unit(job_id).attempt == 2 and trains(yard, job_id))
    for process in reversed(frozen):
        process.resume()
    yard.until(lambda: gone(frozen[1:]), 5.0)
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).attempt == 2


def test_a_training_whose_supervisor_hangs_deletes_no_checkpoint_that_is_known(yard: Yard) -> None:
    worker = yard.worker(slots=1)
    job_id = yard.train(steps=1_000, pause=0.02)
    yard.until(lambda: (yard.unit(job_id).checkpoint or {}).get("before"))
    worker.process.suspend()
    known = yard.unit(job_id).checkpoint or {}
    folder = known["key"].rpartition("/")[0] + "/"
    there = set(yard.context.storage.keys(folder))
    yard.until(lambda: len(set(yard.context.storage.keys(folder)) - there) > 2)  # its child trains on
    assert {known["key"], known["before"]} <= set(yard.context.storage.keys(folder))


def test_sigterm_drains_a_training_in_five_seconds_and_counts_as_no_failure(yard: Yard) -> None:
    yard.with_settings(checkpoint_seconds=60.0)
    worker = yard.worker()
    job_id = yard.train(**LONG)
    yard.until(lambda: trains(yard, job_id, 10))
    start = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(10)
    assert time.monotonic() - start < 5.0
    unit = yard.unit(job_id)
    assert (unit.state, unit.failures) == (State.QUEUED, 0)
    assert (unit.checkpoint or {})["step"] >= 10
    yard.worker()
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).failures == 0


def test_what_a_stopped_worker_gives_back_goes_on_elsewhere_at_once(yard: Yard) -> None:
    yard.with_settings(sweep_seconds=2.0, checkpoint_seconds=60.0)  # as they are by default
    workers = [yard.worker(slots=1), yard.worker(slots=1)]
    short, long = yard.train(steps=100, pause=0.02), yard.train(steps=1_000, pause=0.02)
    yard.until(lambda: all(worker.children() for worker in workers))
    yard.wait(short)
    yard.until(lambda: trains(yard, long, 10) and any(not worker.children() for worker in workers))
    [busy] = [worker for worker in workers if worker.children()]
    busy.process.send_signal(signal.SIGTERM)
    assert yard.until(lambda: yard.unit(long).attempt == 2, 10.0) < 5.0
    busy.process.wait(10)
    yard.until(lambda: any("Training goes on from step" in message for message in yard.messages(long)))
    assert yard.unit(long).failures == 0


def test_a_drain_during_the_export_loses_no_step(yard: Yard) -> None:
    yard.with_settings(checkpoint_seconds=60.0)
    worker = yard.worker()
    job_id = yard.train(steps=20, export_pause=3.0, seed=3)
    yard.until(lambda: has_checkpoint(yard, job_id), 20.0)
    start = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(10)
    assert time.monotonic() - start < 2.9
    unit = yard.unit(job_id)
    assert (unit.state, unit.failures, (unit.checkpoint or {})["step"]) == (State.QUEUED, 0, 20)
    yard.worker()
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert "Training goes on from step 20." in yard.messages(job_id)


def test_a_cancelled_training_stops_within_two_seconds(yard: Yard) -> None:
    yard.with_settings(heartbeat_seconds=0.8)  # as it is by default
    worker = yard.worker()
    job_id = yard.train(steps=10_000, pause=0.02)
    yard.until(lambda: trains(yard, job_id))
    yard.cancel(job_id)
    assert yard.until(lambda: yard.job(job_id).state == State.CANCELLED, 10.0) < 2.0
    assert yard.until(lambda: not worker.children(), 10.0) < 2.0
    assert yard.wait(yard.train(steps=5)).state == State.SUCCEEDED


def test_a_deaf_ingest_is_killed_when_it_is_cancelled(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.ingest("TINY deaf")
    yard.until(lambda: worker.children())
    yard.cancel(job_id)
    assert yard.until(lambda: yard.job(job_id).state == State.CANCELLED, 10.0) < 2.0


def test_a_unit_that_kills_every_worker_fails_with_worker_lost(yard: Yard) -> None:
    yard.with_settings(max_attempts=2)
    yard.worker()
    job = yard.wait(yard.train(steps=50, die_at=3))
    assert job.state == State.FAILED
    assert (job.error or {})["code"] == "worker_lost"
    assert re.search(r"SIGKILL.*it had used \d+\.\d GiB of memory", (job.error or {})["message"])
    assert yard.wait(yard.train(steps=5)).state == State.SUCCEEDED


def test_a_broker_that_comes_back_empty_loses_no_job(yard: Yard, tmp_path: Path) -> None:
    [port] = servers.free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    yard.with_settings(redis_url=type(yard.context.settings.redis_url)(url))
    object.__setattr__(yard.context, "doorbell", type(yard.context.doorbell)(celery(url)))
    with servers.valkey(tmp_path, port):
        yard.worker()
        yard.wait(yard.train(steps=5))
        job_id = yard.train(steps=5, ring=False)
    opening.ring(yard.context, job_id)  # nobody hears it
    with servers.valkey(tmp_path, port):
        assert yard.wait(job_id).state == State.SUCCEEDED


class Gate:
    """Stands before a server's socket; can be shut and opened."""

    def __init__(self, folder: Path, target: str) -> None:
        self.shut = False
        self._target, self._open = target, list[socket.socket]()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / Path(target).name))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut all connections, and each new one."""
        self.shut = True
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            if self.shut:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


def test_a_database_that_is_away_for_less_than_the_lease_disturbs_nothing(
    postgres_yard: tuple[Yard, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    yard, socket_folder = postgres_yard
    folder = tmp_path_factory.mktemp("g")
    gate = Gate(folder, f"{socket_folder}/.s.PGSQL.5432")
    direct = yard.context.settings.database_url.get_secret_value()
    through = make_url(direct).update_query_dict({"host": str(folder)}).render_as_string(hide_password=False)
    yard.with_settings(database_url=SecretStr(through), lease_seconds=8.0)
    worker = yard.worker()
    job_id = yard.train(**LONG)
    yard.until(lambda: trains(yard, job_id))
    gate.close()
    time.sleep(4.0)  # it ends its steps meanwhile, and cannot say so
    assert worker.children()
    assert yard.job(job_id).state == State.RUNNING
    gate.shut = False
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert (yard.unit(job_id).attempt, yard.unit(job_id).failures) == (1, 0)


def test_sigterm_gives_a_long_ingest_back(yard: Yard) -> None:
    worker = yard.worker("cpu")
    job_id = yard.ingest("TINY deaf")
    yard.until(lambda: worker.children())
    start = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(15)
    assert time.monotonic() - start < 10.0
    unit = yard.unit(job_id)
    assert (unit.state, unit.failures) == (State.QUEUED, 0)
