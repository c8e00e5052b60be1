"""The heartbeat of one attempt, in a thread of its own: it renews the lease and learns of cancels."""

import threading
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.bootstrap import Context
from service.usecases import units

log = structlog.get_logger()


class Heart(threading.Thread):
    """Beats until stopped. A database that does not answer is not a lost lease, until the lease must have ended."""

    def __init__(self, context: Context, claimed: units.Claimed, claimed_at: float) -> None:
        super().__init__(name=f"heart {claimed.unit_id}", daemon=True)
        self._context, self._claimed = context, claimed
        self._renewed = claimed_at  # by the monotonic clock, taken before the database was asked
        self._stopped, self._lost, self._cancel = threading.Event(), threading.Event(), threading.Event()

    @property
    def lost(self) -> bool:
        """The attempt is not ours any more: end it and write nothing."""
        return self._lost.is_set() or time.monotonic() - self._renewed > self._context.settings.lease_seconds

    @property
    def cancel(self) -> bool:
        """The job should end."""
        return self._cancel.is_set()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        while not self._stopped.wait(self._context.settings.heartbeat_seconds):
            asked = time.monotonic()
            try:
                beat = units.heartbeat(self._context, self._claimed.unit_id, self._claimed.attempt)
            except (SQLAlchemyError, OSError) as error:
                log.warning("heartbeat failed", unit=self._claimed.unit_id, error=type(error).__name__)
                continue
            if beat.lost:
                self._lost.set()
                return
            self._renewed = asked
            if beat.cancel:
                self._cancel.set()
