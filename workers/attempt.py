"""One attempt at one unit: tells its child what to do, passes on what it says, and settles how it ended."""

import queue
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.bootstrap import Context
from service.domain.states import JobKind
from service.usecases import units
from workers.heart import Heart
from workers.process import Child, Message

REPORT_SECONDS = 0.5
CANCEL_SECONDS = 1.0  # that a child has to stop by itself, if it is one of these
PATIENT = (JobKind.TRAIN, JobKind.PREVIEW)  # it may have processes of its own to end; it is kept. Others are killed
DRAIN_SECONDS = 22.0  # and, where it saves a checkpoint first
LAST_SECONDS = 4.0  # and in which the database must take what became of it, before the worker ends
STDERR_SECONDS = 0.2  # what a child wrote on stderr before its last word may still be on its way
LAST_WORDS = {"result", "failure", "drained", "cancelled"}
LOST: Message = {"type": "lost"}  # the lease is gone: nothing may be written
DIED: Message = {"type": "died"}
AWAY = (OperationalError, InterfaceError, PoolTimeout, OSError)  # the database does not answer, and may do so later
UNFIT = "What came out could not be stored; the operator's log has the details ({unit}, attempt {attempt})."
log = structlog.get_logger()


@dataclass
class Attempt:
    """`draining` tells whether this worker should end."""

    context: Context
    claimed: units.Claimed
    heart: Heart
    child: Child
    draining: Callable[[], bool]

    def run(self) -> bool:
        """Returns whether the child is still of use."""
        self._heard: list[Message] = []
        self._asked_at = 0.0
        self._told = ""
        claimed = self.claimed
        self.child.send(
            {
                "unit_id": claimed.unit_id,
                "attempt": claimed.attempt,
                "kind": claimed.kind,
                "payload": claimed.payload,
                "device": self.context.settings.device,
            }
        )
        end = self._watch()
        self._log(end)
        self._settle(end)
        return end["type"] in LAST_WORDS and end.get("code") != "internal_error" and self.child.alive()

    def _watch(self) -> Message:
        """The child's last word, or what stands for it."""
        limit = float(self.context.settings.ingest_seconds) if self.claimed.kind is JobKind.INGEST else float("inf")
        start = reported = time.monotonic()
        while True:
            with suppress(queue.Empty):
                message = self.child.next(0.1)
                if message is None:
                    return DIED
                if message["type"] in LAST_WORDS:
                    return message
                self.child.gpu_peak = max(self.child.gpu_peak, message.pop("gpu_bytes", 0))
                self._heard.append(message)
            now = time.monotonic()
            if self.heart.lost:
                return LOST
            if (end := self._asks(now)) is not None:
                return end
            if now - start > limit:
                sentence = f"Reading the file took longer than the {limit:.0f} s that are allowed."
                return {"type": "failure", "code": "ingest_timeout", "message": sentence, "kill": True}
            if now - reported >= REPORT_SECONDS:
                reported = now
                self.child.weigh()
                self._report()

    def _asks(self, now: float) -> Message | None:
        """Pass on a cancel or a drain; the end, once the child has had its time to stop by itself."""
        wanted = "cancel" if self.heart.cancel else "drain" if self.draining() else ""
        if wanted and wanted != self._told and self._told != "cancel":
            self._told, self._asked_at = wanted, now
            self.child.send({"type": wanted})
        patience = CANCEL_SECONDS if self.claimed.kind in PATIENT else 0.0
        if self._told == "cancel" and now - self._asked_at >= patience:
            return {"type": "cancelled", "kill": True}
        if self._told == "drain" and now - self._asked_at > DRAIN_SECONDS:
            return {"type": "drained", "kill": True}
        return None

    def _report(self) -> None:
        """Send on what was heard; it is kept for the next time if the database does not answer."""
        if not self._heard:
            return
        others = [message for message in self._heard if message["type"] != "progress"]
        progress = [message for message in self._heard if message["type"] == "progress"][-1:]
        self._heard = others[-1_000:] + progress
        with suppress(*AWAY):
            if not self._taken(self._heard):
                for message in self._heard:  # one that the database refuses must not take the others with it
                    self._taken([message])
            self._heard = []

    def _taken(self, messages: Sequence[Message]) -> bool:
        """Whether the database took them; False if it never will. Raises AWAY."""
        try:
            units.report(self.context, self.claimed.unit_id, self.claimed.attempt, messages)
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001  # a child may say anything, a NUL in a text for one
            self._refused("report", error)
            return False
        return True

    def _refused(self, what: str, error: Exception) -> None:
        unit_id, attempt = self.claimed.unit_id, self.claimed.attempt
        log.error("the database refused", what=what, unit=unit_id, attempt=attempt, error=str(error)[:2_000])

    def _settle(self, end: Message) -> None:
        """Write down how it ended, until the database takes it or the lease is over."""
        if end is LOST:
            self.child.kill()
            return
        how, reason = end["type"], ""
        if end is DIED:
            how, reason = self._post_mortem()
        if end.get("kill") or end is DIED:
            self.child.kill()
        self._report()
        unit_id, attempt = self.claimed.unit_id, self.claimed.attempt
        ways: dict[str, Callable[[], Any]] = {
            "result": lambda: units.finish(self.context, unit_id, attempt, end["value"]),
            "failure": lambda: units.fail(self.context, unit_id, attempt, end["code"], end["message"]),
            "drained": lambda: units.release(self.context, unit_id, attempt, drained=True),
            "cancelled": lambda: units.cancelled(self.context, unit_id, attempt),
            "died": lambda: units.release(self.context, unit_id, attempt, drained=False, reason=reason),
            "starved": lambda: units.starved(self.context, unit_id, attempt),
        }
        ways["unfit"] = lambda: units.fail(
            self.context, unit_id, attempt, "internal_error", UNFIT.format(unit=unit_id, attempt=attempt)
        )
        if not self._written(how, ways[how]):
            self._written("unfit", ways["unfit"])  # refused as well, the unit is the sweep's when its lease is over

    def _written(self, what: str, way: Callable[[], Any]) -> bool:
        """Whether the database took it, or it is too late: the sweep does it. False if it never will."""
        while not self.heart.lost and not self._too_late():
            try:
                way()
            except AWAY as error:
                log.warning("settling failed", unit=self.claimed.unit_id, error=type(error).__name__)
                time.sleep(0.5)
            except Exception as error:  # noqa: BLE001  # tried again, it would hold the slot for good
                self._refused(what, error)
                return False
            else:
                return True
        return True

    def _too_late(self) -> bool:
        """Whether this worker must be gone."""
        return self._told == "drain" and time.monotonic() - self._asked_at > DRAIN_SECONDS + LAST_SECONDS

    def _post_mortem(self) -> tuple[str, str]:
        """How the child died: a way to settle, and the reason for people."""
        with suppress(subprocess.TimeoutExpired, OSError):
            return "starved" if self.child.starved() else "died", self.child.reason()
        return "died", "its process stopped answering"

    def _log(self, end: Message) -> None:
        claimed = self.claimed
        say = log.bind(unit=claimed.unit_id, job=claimed.job_id, attempt=claimed.attempt, kind=claimed.kind.value)
        if end is DIED or end.get("code") == "internal_error":
            time.sleep(STDERR_SECONDS)
            say.error("attempt ended", how=end["type"], stderr=self.child.tail())
        else:
            say.info("attempt ended", how=end["type"], code=end.get("code"))
