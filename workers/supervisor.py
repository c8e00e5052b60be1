"""Claims a unit, gives it to a child, watches over it. Imports no torch; docs/architecture.md has the protocol."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import ColumnElement, select

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Unit
from service.domain.ids import new_id
from service.domain.states import JobKind, State
from service.usecases import sweep, units
from workers.attempt import Attempt
from workers.devices import Devices
from workers.heart import Heart
from workers.process import Child, Spawner
from workers.samplers import Pool
from workers.scratch import clean

SAMPLED = (JobKind.GENERATE, JobKind.PREVIEW)
FOLLOWED = (JobKind.GENERATE, JobKind.TRAIN)  # by more units of the same job, perhaps
PREVIEW_LOOK_SECONDS = 0.04  # a short query, and only while all slots are taken: somebody waits for a picture
SAME_JOB_SECONDS = 10.0  # a slot goes on with the units of one job for so long without hearing the doorbell again
log = structlog.get_logger()


class Supervisor:
    """One a process. `slots` units run at a time, each called by a thread of its own; previews may come on top."""

    def __init__(self, context: Context, slots: int, draining: Callable[[], bool]) -> None:
        self.context, self.slots, self.draining = context, slots, draining
        self.worker_id = new_id("wrk")
        clean(context.settings.work_dir)
        self._spawner, self._devices = Spawner(), Devices()
        self._samplers = Pool(self._child, slots + 1, context.settings.idle_sampler_seconds)
        self._busy, self._lock = 0, threading.Lock()

    def run(self, unit_id: str) -> None:
        """Answer a doorbell."""
        if self.draining():
            units.unring(self.context, unit_id)  # another worker is rung for by the next sweep
            return
        with self._counted():
            job_id, start = self._run(unit_id), time.monotonic()
            while job_id and time.monotonic() - start < SAME_JOB_SECONDS and not self.draining():
                following = self._waiting(Unit.job_id == job_id)
                if not following:
                    break
                self._run(following[0])

    def _run(self, unit_id: str) -> str | None:
        """Returns the job of which more units may wait."""
        claimed_at = time.monotonic()
        claimed = units.claim(self.context, unit_id, self.worker_id)
        if claimed is None:
            return None
        heart = Heart(self.context, claimed, claimed_at)
        heart.start()
        try:
            self._attempt(claimed, heart)
        finally:
            heart.stop()
        if claimed.kind not in FOLLOWED or self.draining():
            return None
        sweep.ring_job(self.context, claimed.job_id)  # others need not wait for the sweep to hear of the next units
        return claimed.job_id

    def _attempt(self, claimed: units.Claimed, heart: Heart) -> None:
        """Samplers are kept for the next request on their model; everything else gets a fresh process."""
        model = claimed.payload["model"]["prefix"] if claimed.kind in SAMPLED else None
        child = self._samplers.take(model) if model else self._child()
        keep = False
        try:
            useful = Attempt(self.context, claimed, heart, child, self.draining).run()
            keep = useful and model is not None and not self.draining()
        finally:
            if keep:
                self._samplers.give_back(child)
            else:
                child.kill()

    def _child(self) -> Child:
        return Child(self.context.settings, self._spawner, self._devices.environment())

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def watch(self, stop: threading.Event, previews: bool) -> None:
        """In the background: previews that find all slots taken, and samplers that nobody uses any more."""
        if previews:
            threading.Thread(target=self._previews, args=(stop,), name="previews", daemon=True).start()

    def _previews(self, stop: threading.Event) -> None:
        """A preview does not wait behind a training: where no slot is free to hear its doorbell, it is looked for."""
        while not stop.wait(PREVIEW_LOOK_SECONDS):
            try:
                self._samplers.reap()
                if self._busy >= self.slots and not self.draining():
                    for unit_id in self._waiting(Unit.kind == JobKind.PREVIEW):
                        self._run(unit_id)
            except Exception as error:  # noqa: BLE001  # a thread that ended would let previews wait for ever
                log.warning("looking for previews failed", error=f"{type(error).__name__}: {error}")

    def _waiting(self, which: ColumnElement[bool]) -> list[str]:
        """The first few units that could be claimed now."""
        with self.context.database.read() as session:
            query = select(Unit.id).where(Unit.state == State.QUEUED, Unit.available_at <= now(), which)
            return list(session.scalars(query.order_by(Unit.index, Unit.id).limit(4)))

    def close(self) -> None:
        self._samplers.close()
