"""A training that is killed again and again makes the very model that it makes undisturbed: each byte of each file."""

import io
import os
import random
import signal
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from service.db.database import now
from service.db.tables import Unit
from service.domain.states import State
from service.usecases import opening
from tests.integration.workers.conftest import Yard
from tests.integration.workers.test_faults import trains

KILLS = 3
LONG = 300.0  # seconds for one training: half a minute in all on two idle cores, and many times that on busy ones


def table() -> bytes:
    rng = np.random.default_rng(1)
    colours = rng.choice(["red", "green", "blue"], 400)
    sizes = rng.normal(10.0, 3.0, 400) + 5.0 * (colours == "red")
    return ("colour,size\n" + "".join(f"{a},{b:.2f}\n" for a, b in zip(colours, sizes, strict=True))).encode()


def pictures() -> bytes:
    """Bright squares on dark ground."""
    rng = np.random.default_rng(1)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i, (top, left) in enumerate(rng.integers(0, 9, (80, 2))):
            pixels = np.full((16, 16), 30, np.uint8)
            pixels[top : top + 7, left : left + 7] = 220
            one = io.BytesIO()
            Image.fromarray(pixels).save(one, "PNG")
            archive.writestr(f"{i:03d}.png", one.getvalue())
    return out.getvalue()


def model_files(yard: Yard, job_id: str) -> dict[str, bytes]:
    job, unit, store = yard.job(job_id), yard.unit(job_id), yard.context.storage
    prefix = f"projects/{yard.project}/models/{job.model_id}/a{unit.attempt}/"
    return {key.removeprefix(prefix): store.get(key) for key in store.keys(prefix)}


def hurry(yard: Yard, job_id: str) -> None:
    """Do not wait for as long as a unit waits whose worker was lost again and again."""
    yard.until(lambda: yard.unit(job_id).state == State.QUEUED)
    with yard.context.database.begin() as session:
        session.execute(update(Unit).where(Unit.job_id == job_id).values(available_at=now()))
    opening.ring(yard.context, job_id)


def resumed(yard: Yard, job_id: str) -> int:
    """How often it went on from a checkpoint."""
    return sum("Training goes on from step" in message for message in yard.messages(job_id))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("modality", "upload", "config"),
    [
        ("table", table, {"preset": "draft", "steps": 500, "batch": 128}),
        ("images", pictures, {"preset": "draft", "steps": 100, "network_width": 16, "batch": 4}),
    ],
)
def test_a_model_does_not_show_how_often_its_training_was_killed(
    yard: Yard, modality: str, upload: Any, config: dict[str, Any]
) -> None:
    yard.with_settings(max_attempts=KILLS + 5, lease_seconds=10.0)
    worker = yard.worker(slots=1)
    dataset = yard.job(yard.wait(yard.ingest(upload(), modality), LONG).id).dataset_id
    killed = yard.train(dataset, modality=modality, seed=5, **config)
    steps = sorted(random.Random(modality).sample(range(config["steps"] // 10, config["steps"] * 6 // 10), KILLS))
    for attempt, step in enumerate(steps, 1):
        yard.until(lambda attempt=attempt: resumed(yard, killed) == attempt - 1, LONG)
        yard.until(lambda step=step: trains(yard, killed, step) and yard.unit(killed).checkpoint, LONG)
        assert yard.unit(killed).attempt == attempt
        for child in worker.children():
            os.kill(child.pid, signal.SIGKILL)
        hurry(yard, killed)
    whole = yard.train(dataset, modality=modality, seed=5, **config)
    for job_id in (killed, whole):
        job = yard.wait(job_id, LONG)
        assert job.state == State.SUCCEEDED, job.error
    assert (yard.unit(killed).attempt, yard.unit(whole).attempt) == (KILLS + 1, 1)
    assert resumed(yard, killed) == KILLS
    mine, its = model_files(yard, killed), model_files(yard, whole)
    assert len(mine) >= 5
    assert {name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name)} == set()
