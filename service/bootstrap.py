"""Puts the parts together once a process: settings, database, storage, queue."""

from dataclasses import dataclass

from service.db.database import Database
from service.queue.doorbell import Doorbell, celery
from service.settings import Settings
from service.storage.objects import ObjectStore, object_store

__all__ = ["Context", "bootstrap", "object_store"]


@dataclass(frozen=True)
class Context:
    """What every use case is given."""

    settings: Settings
    database: Database
    storage: ObjectStore
    doorbell: Doorbell


def bootstrap(settings: Settings | None = None) -> Context:
    """The context of this process; nothing is connected to yet."""
    settings = settings or Settings()  # type: ignore[call-arg]  # from the environment
    database = Database(settings.database_url.get_secret_value(), settings.database_pool)
    return Context(settings, database, object_store(settings), Doorbell(celery(settings.redis_url.get_secret_value())))
