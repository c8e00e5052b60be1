"""One training by two processes of a real worker: it ends as that of one does, and no process outlives it."""

import os
import signal
import time
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load

from service.db.tables import Job
from service.domain.states import State
from tests.integration.workers.conftest import Worker, Yard
from tests.integration.workers.test_bit_for_bit import LONG, model_files, pictures
from tests.integration.workers.test_faults import gone, has_checkpoint, trains, weights

SLOW: dict[str, Any] = {"steps": 120, "pause": 0.02, "seed": 3}
START = 60.0  # seconds that three processes may take to start on a busy machine


def ranks(worker: Worker) -> list[psutil.Process]:
    """In order."""
    found = []
    for one in worker.process.children(recursive=True):
        try:
            if "workers.rank" in one.cmdline():
                found.append((int(one.environ()["RANK"]), one))
        except psutil.Error:
            continue
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def assert_like(yard: Yard, job: Job, other: Job) -> None:
    """Both ended in the same weights but for rounding, which Adam magnifies where gradients are next to nothing."""
    mine, its = (load(weights(yard, one.model_id, yard.unit(one.id).attempt)) for one in (job, other))
    for name, value in mine.items():
        torch.testing.assert_close(value, its[name], rtol=0.0, atol=5e-3)


def test_a_model_of_two_processes_is_that_of_one_and_they_end_with_it(yard: Yard) -> None:
    worker = yard.worker()
    dataset = yard.dataset()
    one, two = yard.train(dataset, steps=40, seed=3), yard.train(dataset, steps=40, seed=3, gpus=2)
    yard.until(lambda: len(ranks(worker)) == 2, START)
    both = [*ranks(worker), *worker.children()]
    alone, shared = yard.wait(one, START), yard.wait(two, START)
    assert (alone.state, shared.state) == (State.SUCCEEDED, State.SUCCEEDED), (alone.error, shared.error)
    assert_like(yard, shared, alone)
    yard.until(lambda: gone(both), 5.0)
    late = yard.wait(yard.train(dataset, steps=10_000, pause=0.02, gpus=2, time_limit_seconds=1), START)
    assert late.state == State.SUCCEEDED, late.error
    failed = yard.wait(yard.train(dataset, steps=50, room=0, gpus=2), START)
    assert (failed.error or {})["code"] == "out_of_memory"
    yard.until(lambda: not ranks(worker), 5.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pictures_are_learned_by_two(yard: Yard) -> None:
    yard.worker(slots=1)
    dataset = yard.job(yard.wait(yard.ingest(pictures(), "images"), LONG).id).dataset_id
    config: dict[str, Any] = {"preset": "draft", "steps": 3, "network_width": 16, "batch": 9, "seed": 5}
    job = yard.wait(yard.train(dataset, modality="images", gpus=2, **config), LONG)
    assert job.state == State.SUCCEEDED, job.error
    assert {"generator.safetensors", "report.json", "samples.png"} <= model_files(yard, job.id).keys()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_takes_the_others_with_it_and_the_job_goes_on(yard: Yard, victim: int) -> None:
    worker = yard.worker()
    job_id = yard.train(**SLOW, gpus=2)
    yard.until(lambda: has_checkpoint(yard, job_id), START)
    all_of_it = [*ranks(worker), *worker.children()]
    assert len(all_of_it) == 3
    os.kill(ranks(worker)[victim].pid, signal.SIGKILL)
    assert yard.until(lambda: gone(all_of_it), 20.0) < 10.0
    job = yard.wait(job_id, 2 * START)
    assert job.state == State.SUCCEEDED, job.error
    assert yard.unit(job_id).attempt == 2
    said = " ".join(yard.messages(job_id))
    assert "SIGKILL" in said
    assert "Training goes on from step" in said


def test_a_cancel_reaches_all_processes(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.train(steps=10_000, pause=0.02, gpus=2)
    yard.until(lambda: trains(yard, job_id), START)
    all_of_it = [*ranks(worker), *worker.children()]
    yard.cancel(job_id)
    assert yard.until(lambda: yard.job(job_id).state == State.CANCELLED, 10.0) < 3.0
    assert yard.until(lambda: gone(all_of_it), 10.0) < 3.0


def test_no_process_outlives_its_worker(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.train(steps=10_000, pause=0.02, gpus=2)
    yard.until(lambda: trains(yard, job_id), START)
    all_of_it = [*ranks(worker), *worker.children()]
    worker.process.kill()
    assert yard.until(lambda: gone(all_of_it), 10.0) < 3.0


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_training_goes_on_with_another_number_of_processes(yard: Yard, first: int, then: int) -> None:
    yard.with_settings(checkpoint_seconds=60.0)  # the only checkpoint is that of the drain
    worker = yard.worker()
    dataset = yard.dataset()
    whole = yard.wait(yard.train(dataset, **SLOW), START)
    job_id = yard.train(dataset, **SLOW, gpus=first)
    yard.until(lambda: trains(yard, job_id, 30), START)
    all_of_it = [*ranks(worker), *worker.children()]
    start = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(30)
    assert time.monotonic() - start < 10.0
    assert gone(all_of_it)
    unit = yard.unit(job_id)
    assert (unit.state, unit.failures) == (State.QUEUED, 0)
    assert 30 <= (unit.checkpoint or {})["step"] < 120
    with yard.context.database.begin() as session:
        job = session.get_one(Job, job_id)
        job.spec = {**job.spec, "config": {**job.spec["config"], "gpus": then}}
    yard.worker()
    ended = yard.wait(job_id, START)
    assert ended.state == State.SUCCEEDED, ended.error
    assert yard.unit(job_id).failures == 0
    assert_like(yard, ended, whole)
