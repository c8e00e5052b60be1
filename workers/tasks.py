"""The doorbells: each message is one unit id."""

from service.queue.doorbell import TASKS
from workers.celery_app import app, supervisor


@app.task(name=TASKS["gpu"])  # type: ignore[untyped-decorator]
def run_gpu(unit_id: str) -> None:
    supervisor().run(unit_id)


@app.task(name=TASKS["cpu"])  # type: ignore[untyped-decorator]
def run_cpu(unit_id: str) -> None:
    supervisor().run(unit_id)
