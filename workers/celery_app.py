"""The Celery worker: listens for doorbells, sweeps, says that it is alive, drains on SIGTERM.

`python -m workers` starts it with the right options."""

import logging
import os
import threading
from pathlib import Path
from typing import Any

from celery import signals

from service import logs
from service.bootstrap import bootstrap
from service.queue.doorbell import celery
from service.settings import Settings
from service.usecases import sweep
from workers.process import hide
from workers.supervisor import Supervisor

ALIVE_SECONDS = 5.0
settings = Settings()  # type: ignore[call-arg]  # from the environment
app = celery(settings.redis_url.get_secret_value())
app.conf.update(include=["workers.tasks"], worker_proc_alive_timeout=60.0)
_main = os.getpid()  # of the worker; a prefork pool's processes keep this number
_slots = 1
_stop = threading.Event()
_supervisor: Supervisor | None = None
_making = threading.Lock()


def _drain_flag() -> Path:
    """A file, since the processes of a prefork pool do not hear the signal that the worker hears."""
    return settings.work_dir / f"draining-{_main}"


def draining() -> bool:
    return _stop.is_set() or _drain_flag().exists()


def supervisor() -> Supervisor:
    """Of this process: threads and connections do not survive a fork."""
    global _supervisor
    with _making:
        if _supervisor is None:
            queues = sorted(app.amqp.queues.consume_from)
            _supervisor = Supervisor(bootstrap(settings), queues, _slots, draining)
            _supervisor.watch(_stop)
        return _supervisor


def _on_logging(loglevel: int | str | None = None, **_: Any) -> None:
    """In Celery's stead: our lines in full, its own from the level that it was started with."""
    logs.configure(settings.log_format)
    for name in ("celery", "kombu"):
        logging.getLogger(name).setLevel(loglevel or logging.WARNING)


def _on_init(sender: Any, **_: Any) -> None:
    global _main, _slots
    hide()
    _main, _slots = os.getpid(), sender.concurrency if sender.pool_cls.__module__.endswith("thread") else 1
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    _drain_flag().unlink(missing_ok=True)


def _in_pool_process(**_: Any) -> None:
    global _supervisor, _making
    _supervisor, _making = None, threading.Lock()


def _on_ready(**_: Any) -> None:
    sweep.loop(bootstrap(settings), _stop)
    threading.Thread(target=_live, name="alive", daemon=True).start()


def _live() -> None:
    """Touch the file whose age a liveness probe looks at."""
    while not _stop.is_set():
        (settings.work_dir / "worker-alive").touch()
        _stop.wait(ALIVE_SECONDS)


def _on_shutting_down(**_: Any) -> None:
    _drain_flag().touch()
    _stop.set()


def _on_shutdown(**_: Any) -> None:
    _drain_flag().unlink(missing_ok=True)
    if _supervisor is not None:
        _supervisor.close()


signals.setup_logging.connect(_on_logging, weak=False)
signals.worker_init.connect(_on_init, weak=False)
signals.worker_process_init.connect(_in_pool_process, weak=False)
signals.worker_ready.connect(_on_ready, weak=False)
signals.worker_shutting_down.connect(_on_shutting_down, weak=False)
signals.worker_shutdown.connect(_on_shutdown, weak=False)
