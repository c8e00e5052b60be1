"""The doorbells: a message says nothing but "look". Those of older versions name a unit, which may be any by now."""

from service.queue.doorbell import TASKS
from workers.celery_app import app, supervisor


@app.task(name=TASKS["gpu"])  # type: ignore[untyped-decorator]
def run_gpu(unit_id: str | None = None) -> None:
    supervisor().run("gpu")


@app.task(name=TASKS["cpu"])  # type: ignore[untyped-decorator]
def run_cpu(unit_id: str | None = None) -> None:
    supervisor().run("cpu")
