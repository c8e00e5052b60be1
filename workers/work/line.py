"""The child's end of the conversation with its supervisor: JSON lines, and whether it was asked to stop."""

import json
import os
import queue
import sys
import threading
import time
from typing import Any, Literal, TextIO

from workers.modalities import Stop

PROGRESS_SECONDS = 0.5
GRACE = 0.6  # seconds in which work that was asked to stop can stop by itself; then the process ends
Asked = Literal["cancel", "drain"]
ANSWERS: dict[Asked, str] = {"cancel": "cancelled", "drain": "drained"}


class Line:
    """Requests come from `requests`; None means that there will be no more. Thread-safe."""

    def __init__(self, source: TextIO, sink: TextIO) -> None:
        self.requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.asked: Asked | None = None
        self.grace = GRACE  # work that saves something before it stops asks for more
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self._busy = False
        self._said = 0.0
        self._stage: str | None = None
        threading.Thread(target=self._listen, name="listen", daemon=True).start()

    def send(self, type: str, **fields: Any) -> None:
        with self._lock:
            self._sink.write(json.dumps({"type": type, **fields}) + "\n")
            self._sink.flush()

    def event(self, message: str, level: str = "info") -> None:
        self.send("event", level=level, message=message)

    def end(self, type: str, **fields: Any) -> None:
        """The last word on a request."""
        self._busy = False
        self.send(type, **fields)

    def check(self) -> None:
        """Raises Stop if the supervisor asked for it."""
        if self.asked:
            raise Stop

    def progress(self, done: float, total: float) -> None:
        """For modalities: how far they are, sent on twice a second. Raises Stop."""
        self.check()
        self.far(done / total if total else 0.0)

    def far(self, fraction: float, **fields: Any) -> None:
        """Send the progress, unless that was done just now and at the same stage."""
        if time.monotonic() - self._said >= PROGRESS_SECONDS or fields.get("stage") != self._stage:
            self._said, self._stage = time.monotonic(), fields.get("stage")
            self.send("progress", fraction=min(1.0, max(0.0, fraction)), **_gpu_memory(), **fields)

    def _listen(self) -> None:
        for text in self._source:
            message = json.loads(text)
            if message.get("type") in ANSWERS:
                self._ask(message["type"])
            else:  # busy from here on: to stop may be asked for before the work has begun
                self.asked, self.grace, self._busy, self._said = None, GRACE, True, 0.0
                self.requests.put(message)
        os._exit(0)  # end of file: the supervisor is gone, and nobody would hear what comes

    def _ask(self, what: Asked) -> None:
        if self._busy and self.asked is None:
            self.asked = what
            threading.Thread(target=self._insist, args=(what,), daemon=True).start()

    def _insist(self, what: Asked) -> None:
        """Work that does not look up has nothing to save: end it."""
        end = time.monotonic()
        while self._busy and self.asked == what:
            time.sleep(0.05)
            if time.monotonic() - end > self.grace:
                self.send(ANSWERS[what])
                sys.stderr.flush()
                os._exit(0)


def _gpu_memory() -> dict[str, int]:
    """The most bytes of a GPU that this process has held, where it uses one: what is known should it be killed."""
    torch = sys.modules.get("torch")  # not imported to find out
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"gpu_bytes": int(torch.cuda.max_memory_reserved())}
