"""Puts the parts together once a process: settings, database, storage, queue."""

from dataclasses import dataclass

from service.db.database import Database
from service.queue.doorbell import Doorbell, celery
from service.settings import Settings
from service.storage.objects import ObjectStore


@dataclass(frozen=True)
class Context:
    """What every use case is given."""

    settings: Settings
    database: Database
    storage: ObjectStore
    doorbell: Doorbell


def object_store(settings: Settings) -> ObjectStore:
    key, secret = settings.s3_access_key, settings.s3_secret_key
    return ObjectStore(
        settings.s3_bucket,
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        access_key=key.get_secret_value() if key else None,
        secret_key=secret.get_secret_value() if secret else None,
        checksums=settings.s3_checksums,
    )


def bootstrap(settings: Settings | None = None) -> Context:
    """The context of this process; nothing is connected to yet."""
    settings = settings or Settings()  # type: ignore[call-arg]  # from the environment
    database = Database(settings.database_url.get_secret_value(), settings.database_pool)
    return Context(settings, database, object_store(settings), Doorbell(celery(settings.redis_url.get_secret_value())))
