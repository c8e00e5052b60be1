"""A whole service for a measurement: real processes, with a dataset and a model in it."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from mintage import Mintage
from mintage.address import Address
from tests.chaos.world import World, running

TABLE = Path(__file__).parents[2] / "examples" / "data" / "adult.parquet"


@dataclass
class Stand:
    world: World
    dataset: str
    model: str

    @property
    def address(self) -> Address:
        return self.world.address

    def stop_workers(self, keep: int = 0) -> None:
        """Freeze all workers but the first ones: the part that restarts them sees nothing amiss."""
        for name, pid in sorted(self.world.pids().items()):
            if name.startswith("worker-") and int(name.removeprefix("worker-")) > keep:
                psutil.Process(pid).suspend()


@contextlib.contextmanager
def stand(kind: str, folder: Path, slots: int = 2, rows: int = 2_000) -> Iterator[Stand]:
    """A model of that many rows of the adult table, after a short training."""
    with running(kind, folder, {"MINTAGE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}, slots) as world:
        excerpt = folder / "adult.parquet"
        pq.write_table(pq.read_table(TABLE).slice(0, rows), excerpt)
        with Mintage(world.address.url, world.address.api_key) as server:
            dataset = server.datasets.upload(excerpt)
            training = server.train(dataset, preset="draft", steps=30).wait()
        assert training.model_id is not None
        time.sleep(1.0)
        yield Stand(world, dataset.id, training.model_id)
