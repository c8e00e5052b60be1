"""What a job costs beside its training: heartbeats, progress, curves, film, checkpoints, against the bare engine loop
with the same evaluations. Digits, one thread; loop, job, loop, so that a machine that slows down counts for both.

    python -m benchmarks.service.overhead [--steps 3000] [--checkpoint-seconds 60]"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks.images.trained import on_threads
from benchmarks.tables.models import own
from mintage import Mintage
from service.db.tables import Metric
from service.modalities import spec
from tests.chaos.world import World, running
from workers.modalities import Dataset, Part, modality
from workers.work.train import EVALUATIONS

DIGITS = Path(__file__).parents[2] / "examples" / "data" / "mnist_5k.zip"
FROM = 200  # steps that are not timed: the first ones prepare what all later ones use


def looped(folder: Path, config: dict[str, Any]) -> float:
    """Seconds a step of the engine's loop."""
    told = json.loads((folder / "dataset.json").read_text())
    parts = [Part(folder / part["key"], part["rows"], part["split"]) for part in told["parts"]]
    dataset = Dataset(told["schema"], told["rows"], parts)
    training = modality("images").training(dataset, spec("images").train_config.model_validate(config), "cpu")
    stride, begin, step = max(1, training.trainer.steps // EVALUATIONS), 0.0, 0
    for progress in training.trainer.run():
        step = progress.step
        if step == FROM:
            begin = time.monotonic()
        if step % stride == 0:
            training.evaluate()
            training.picture()
    return (time.monotonic() - begin) / (step - FROM)


def job(world: World, config: dict[str, Any]) -> float:
    """The same of a job, by the times at which its curve's points were stored."""
    with Mintage(world.address.url, world.address.api_key) as server:
        dataset = server.datasets.upload(DIGITS)
        done = server.train(dataset, **config).wait()
    context = world.context()
    with context.database.read() as session:
        query = select(Metric.step, Metric.at).where(Metric.job_id == done.id, Metric.step >= FROM)
        points = session.execute(query.order_by(Metric.step)).all()
    context.database.dispose()
    (first, begun), (last, ended) = points[0], points[-1]
    return (ended - begun) / (last - first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    args = parser.parse_args()
    on_threads(1)
    config = {"preset": "draft", "seed": 0, "steps": args.steps}
    settings = {
        "MINTAGE_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "MINTAGE_CHECKPOINT_SECONDS": str(args.checkpoint_seconds),
    }
    with tempfile.TemporaryDirectory(prefix="mintage-bench-") as name:
        folder = Path(name) / "digits"
        folder.mkdir()
        (folder / "upload.zip").write_bytes(DIGITS.read_bytes())
        own.ingest(folder, "upload.zip", "images")
        with running("servers", Path(name), settings) as world:
            seconds = [looped(folder, config), job(world, config), looped(folder, config)]
    loop = (seconds[0] + seconds[2]) / 2
    told = {"loop_ms": [round(1e3 * seconds[0], 2), round(1e3 * seconds[2], 2)], "job_ms": round(1e3 * seconds[1], 2)}
    print(json.dumps(told | {"overhead": round(seconds[1] / loop - 1, 4)}, indent=1))


if __name__ == "__main__":
    main()
