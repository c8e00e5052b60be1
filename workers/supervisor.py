"""Claims what is due, gives it to a child, watches over it. Imports no torch; docs/architecture.md has the protocol."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from service.bootstrap import Context
from service.domain.ids import new_id
from service.domain.states import URGENT, JobKind
from service.usecases import due, models, units
from workers.attempt import Attempt
from workers.devices import Devices
from workers.heart import Heart
from workers.process import Child, Spawner
from workers.samplers import Pool
from workers.scratch import clean

SAMPLED = (JobKind.GENERATE, JobKind.PREVIEW)
AWAY_SECONDS = 1.0  # to the next look when the database did not answer
PREVIEW_LOOK_SECONDS = 0.04  # a short query, and only while all slots are taken: somebody waits for a picture
TURN_SECONDS = 10.0  # a slot goes on for so long before it hears its doorbell again: Celery renews its processes then
DELETED_LOOK_SECONDS = 5.0  # a model that was deleted is not kept loaded
log = structlog.get_logger()


class Supervisor:
    """One a process. `slots` units of these queues run at a time, each called by a thread of its own; previews may come
    on top."""

    def __init__(self, context: Context, queues: Sequence[str], slots: int, draining: Callable[[], bool]) -> None:
        self.context, self.queues, self.slots, self.draining = context, queues, slots, draining
        self.worker_id = new_id("wrk")
        clean(context.settings.work_dir)
        self._spawner, self._devices = Spawner(), Devices()
        self._samplers = Pool(self._child, slots + 1, context.settings.idle_sampler_seconds)
        self._busy, self._lock = 0, threading.Lock()

    def run(self, queue: str) -> None:
        """Answer a doorbell of this queue: run what is due, one after the other, until nothing is."""
        start = time.monotonic()
        with self._counted():
            while not self.draining() and self._next(due.LOWEST):
                over = time.monotonic() - start > TURN_SECONDS
                if over and self.context.doorbell.ring(queue):  # this one, or another, goes on
                    return

    def _next(self, least: int) -> bool:
        """Run the unit that is due; False where nothing is."""
        claimed_at = time.monotonic()
        claimed = due.claim_next(self.context, self.queues, self.worker_id, least)
        if claimed is None:
            return False
        heart = Heart(self.context, claimed, claimed_at)
        heart.start()
        try:
            self._attempt(claimed, heart)
        finally:
            heart.stop()
        return True

    def _attempt(self, claimed: units.Claimed, heart: Heart) -> None:
        """Samplers are kept for the next request on their model; everything else gets a fresh process."""
        model = claimed.payload["model"]["prefix"] if claimed.kind in SAMPLED else None
        gpus = int(claimed.payload["config"].get("gpus") or 1) if claimed.kind is JobKind.TRAIN else 1
        child = self._samplers.take(model) if model else self._child(gpus)
        keep = False
        try:
            useful = Attempt(self.context, claimed, heart, child, self.draining).run()
            keep = useful and model is not None and not self.draining()
        finally:
            if keep:
                self._samplers.give_back(child)
            else:
                child.kill()

    def _child(self, gpus: int = 1) -> Child:
        share = self._devices.share(gpus)
        try:
            return Child(self.context.settings, self._spawner, share)
        except BaseException:
            share.give_back()
            raise

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def watch(self, stop: threading.Event) -> None:
        """In the background: previews that find all slots taken, and samplers that nobody uses any more."""
        if "gpu" in self.queues:
            threading.Thread(target=self._previews, args=(stop,), name="previews", daemon=True).start()

    def _previews(self, stop: threading.Event) -> None:
        """A preview does not wait behind a training: where no slot is free to hear its doorbell, it is looked for."""
        looked = 0.0
        while not stop.wait(PREVIEW_LOOK_SECONDS):
            try:
                self._samplers.reap()
                if time.monotonic() - looked > DELETED_LOOK_SECONDS:
                    looked = time.monotonic()
                    self._samplers.drop(models.deleted(self.context, self._samplers.models()))
                while self._busy >= self.slots and not self.draining() and self._next(URGENT):
                    pass
            except Exception as error:  # noqa: BLE001  # a thread that ended would let previews wait for ever
                log.warning("looking for previews failed", error=f"{type(error).__name__}: {error}")
                stop.wait(AWAY_SECONDS)

    def close(self) -> None:
        self._samplers.close()
