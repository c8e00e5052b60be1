"""The queue: a Celery message is a doorbell and says nothing but "look". The database owns the work; a lost message is
harmless, and so is one too many."""

from celery import Celery
from kombu import Exchange, Queue  # type: ignore[attr-defined]
from kombu.exceptions import OperationalError

MOST_WAITING = 64  # doorbells in a queue that nobody has taken: there are no more idle slots than these wake
TASKS = {"cpu": "workers.tasks.run_cpu", "gpu": "workers.tasks.run_gpu"}


def celery(redis_url: str) -> Celery:
    """The Celery application as both sides use it. Why: docs/decisions/0002-doorbells.md."""
    app = Celery("mintage", broker=redis_url)
    app.conf.update(
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,  # early: a message that outlives its unit would start it again
        task_reject_on_worker_lost=False,
        task_publish_retry=False,  # the sweep rings again; a request must not hang on a dead broker
        # an exchange each: queues without one share the default queue's, and each message reaches them all
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in TASKS],  # type: ignore[no-untyped-call]
        task_default_queue="cpu",
        task_create_missing_queues=False,
        task_routes={task: {"queue": queue} for queue, task in TASKS.items()},
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_timeout=2,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=10,
        broker_transport_options={
            "visibility_timeout": 43_200,
            "socket_timeout": 15,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "retry_on_timeout": True,
            "health_check_interval": 10,
            "global_keyprefix": "mintage:",
        },
        timezone="UTC",
        enable_utc=True,
    )
    return app


class Doorbell:
    """Wakes workers. A broker that does not answer is no error: the units wait, and the sweep rings again."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def ring(self, queue: str, times: int = 1) -> bool:
        """Wake up to so many workers of `queue`; False if the broker does not take it."""
        waiting = self.waiting(queue)
        if waiting is None:
            return False
        try:
            for _ in range(min(times, MOST_WAITING - waiting)):
                self.app.send_task(TASKS[queue], queue=queue, retry=False)
        except (OperationalError, OSError):  # kombu's name for whatever the broker's client raises
            return False
        return True

    def waiting(self, queue: str) -> int | None:
        """How many doorbells of `queue` nobody has taken; None if the broker does not say."""
        try:
            with self.app.pool.acquire(block=True) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)  # no request waits for long
                size: int = connection.default_channel._size(queue)
        except Exception:  # noqa: BLE001  # whatever the transport raises, it means that we do not know
            return None
        return size

    def reachable(self) -> bool:
        """Does the broker answer?"""
        try:
            with self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except Exception:  # noqa: BLE001  # whatever the transport raises, it means no
            return False
        return True
