"""A bucket that is full or away for a while ends no job."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from service.db.tables import Dataset
from service.domain.states import State
from tests.integration.workers.conftest import Yard


class Gate:
    """Stands before a bucket; while it is `full`, whatever is put is answered as by a bucket that has no more space."""

    def __init__(self, target: str) -> None:
        self.full = False
        address = urlsplit(target)
        self._target = (str(address.hostname), int(address.port or 80))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
                threading.Thread(target=self._up, args=(near, far), daemon=True).start()
                threading.Thread(target=self._down, args=(far, near), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(65_536):
                if self.full and data.startswith(b"PUT "):
                    near.sendall(b"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    near.shutdown(socket.SHUT_WR)
                    while near.recv(65_536):  # a connection that is closed on unread bytes loses the answer
                        pass
                    break
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _down(self, far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(65_536):
                near.sendall(data)
            near.shutdown(socket.SHUT_WR)


@pytest.fixture
def gate(yard: Yard) -> Iterator[Gate]:
    """Workers of this yard reach the bucket through it."""
    gate = Gate(str(yard.context.settings.s3_endpoint_url))
    yard.with_settings(s3_endpoint_url=gate.url)
    yield gate
    gate.close()


def test_an_ingest_waits_for_a_full_bucket_and_no_worker_counts_as_lost(yard: Yard, gate: Gate) -> None:
    gate.full = True
    yard.worker()
    job_id = yard.ingest("TINY 1.0 2.0")
    yard.until(lambda: any("storage could not be reached" in message for message in yard.messages(job_id)))
    gate.full = False
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).failures == 0


def test_a_training_outlives_a_checkpoint_that_could_not_be_stored(yard: Yard, gate: Gate) -> None:
    yard.worker()
    job_id = yard.train(steps=300, pause=0.02)
    yard.until(lambda: yard.unit(job_id).checkpoint)
    gate.full = True
    yard.until(lambda: any("could not be stored" in message for message in yard.messages(job_id)))
    gate.full = False
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert (yard.unit(job_id).attempt, yard.unit(job_id).failures) == (1, 0)
    said = yard.messages(job_id)
    failed = next(i for i, message in enumerate(said) if "could not be stored" in message)
    assert any("Checkpoint at step" in message for message in said[failed:])


def test_a_training_outlives_a_picture_that_could_not_be_stored(yard: Yard, gate: Gate) -> None:
    yard.worker()
    job_id = yard.train(steps=300, pause=0.02, draws=True)
    yard.until(lambda: yard.unit(job_id).checkpoint)
    gate.full = True
    yard.until(lambda: any("picture of the film" in message for message in yard.messages(job_id)))
    gate.full = False
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).attempt == 1
    frames = list(yard.context.storage.keys(f"projects/{yard.project}/jobs/{job_id}/film/"))
    assert 0 < len(frames) < 5


@pytest.mark.parametrize("damage", ["torn", "altered", "gone"])
def test_a_damaged_part_of_the_dataset_fails_a_training_with_a_code(yard: Yard, damage: str) -> None:
    yard.worker()
    dataset_id = yard.dataset()
    key = yard.row(Dataset, dataset_id).parts[0]["key"]
    body = yard.context.storage.get(key)
    if damage == "gone":
        yard.context.storage.delete(key)
    else:  # of the same length, as a bucket's bad disk leaves it, or cut short
        yard.context.storage.put(key, body[:-9] if damage == "torn" else body[:-9] + b"\xff" + body[-8:])
    job = yard.wait(yard.train(dataset_id, steps=5))
    error = job.error or {}
    assert (job.state, error["code"]) == (State.FAILED, "dataset_damaged")
    assert "upload the dataset again" in error["message"]
    assert yard.wait(yard.train(steps=5)).state == State.SUCCEEDED
