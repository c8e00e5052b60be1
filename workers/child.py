"""The child process of a supervisor: JSON requests in, work, JSON answers out. Its environment knows no database.

Protocol: docs/architecture.md. Here is the one `except Exception`: no stack trace ever reaches a user."""

import ctypes
import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def stay() -> None:
    """A machine that goes down tells every process at once. What this one has to do then, its supervisor says, who was
    told too. A handler, since one that ignores the signal would be handed down to ranks."""
    signal.signal(signal.SIGTERM, lambda *_: None)


def go_first() -> None:
    """Where memory runs out, the kernel ends this process, whose unit goes on elsewhere, and not its supervisor."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def die_with_parent() -> None:
    """Have the kernel kill this process when the supervisor's spawning thread ends, and see that it has not yet."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(os.environ.get("MINTAGE_SUPERVISOR_PID") or os.getppid()):
        os._exit(0)


if __name__ == "__main__":
    die_with_parent()  # before the imports, which take a second
    stay()
    go_first()

import traceback  # noqa: E402
from typing import Any  # noqa: E402

from service.domain.states import JobKind  # noqa: E402
from service.errors import MintageError  # noqa: E402
from service.settings import Settings  # noqa: E402
from service.storage.objects import object_store  # noqa: E402
from workers.modalities import Stop  # noqa: E402
from workers.work import STORAGE_LOST  # noqa: E402
from workers.work.bench import STORAGE_ERRORS, Bench  # noqa: E402
from workers.work.line import ANSWERS, Line  # noqa: E402
from workers.work.sample import Samplers, generate, preview  # noqa: E402

UNKNOWN_HERE: dict[str, Any] = {"database_url": "", "redis_url": ""}  # the rest comes from the environment
UNEXPECTED = "Something unexpected went wrong; the operator's log has the details ({unit}, attempt {attempt})."
MEMORY = {
    JobKind.INGEST: ("ingest_out_of_memory", "Reading the file took more memory than is allowed; split it into parts."),
}
DISK_FULL = ("disk_full", "The worker's disk is full. Once there is room in its work_dir, retry the job.")
NO_MEMORY = ("out_of_memory", "The memory did not suffice; a smaller batch or a smaller preset takes less.")


def work(request: dict[str, Any], bench: Bench, samplers: Samplers) -> dict[str, Any]:
    """The result of one request."""
    payload = request["payload"]
    match JobKind(request["kind"]):
        case JobKind.INGEST:
            from workers.work.ingest import ingest

            return ingest(payload, bench)
        case JobKind.TRAIN:
            return _train(request, bench)
        case JobKind.AUGMENT:
            from workers.work.augment import augment

            return augment(payload, request["attempt"], bench)
        case JobKind.SCORE:
            from workers.work.score import score

            return score(payload, bench)
        case JobKind.GENERATE:
            return generate(payload, bench, samplers)
        case JobKind.PREVIEW:
            return preview(payload, bench, samplers)


def _train(request: dict[str, Any], bench: Bench) -> dict[str, Any]:
    payload = request["payload"]
    if payload["config"].get("gpus", 1) > 1:
        from workers.work import together

        ranks = together.wanted(payload["config"], bench)
        if ranks > 1:
            return together.conduct(request, bench, ranks)
    from workers.work.train import train

    return train(payload, request["attempt"], bench)


def answer(request: dict[str, Any], bench: Bench, samplers: Samplers) -> None:
    """Work on one request and say how it ended; whatever goes wrong has a code and a sentence."""
    line = bench.line
    try:
        line.check()
        line.end("result", value=work(request, bench, samplers))
    except Stop:
        line.end(ANSWERS[line.asked or "cancel"])
    except MintageError as error:
        line.end("failure", code=error.code, message=error.detail)
    except STORAGE_ERRORS:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(STORAGE_LOST)
    except Exception as error:  # noqa: BLE001  # the one place where everything ends
        traceback.print_exc()
        sys.stderr.flush()
        code, message = failure(error, request)
        line.end("failure", code=code, message=message)


def failure(error: Exception, request: dict[str, Any]) -> tuple[str, str]:
    """The code and the sentence for users. torch is not asked for its classes: it may not have been imported."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return MEMORY.get(request["kind"], NO_MEMORY)
    if _no_room(error):
        return DISK_FULL
    if name == "OutOfMemory":  # the engine's: no smaller piece of a batch would do
        return NO_MEMORY[0], f"{error} A smaller batch or a smaller preset takes less."
    if name == "Diverged":
        return "training_diverged", f"{error} A smaller learning rate or other data may help."
    return "internal_error", UNEXPECTED.format(unit=request["unit_id"], attempt=request["attempt"])


def _no_room(error: Exception) -> bool:
    """Whether a file could not be written because the disk is full; some libraries wrap the error in one of theirs."""
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not garble the protocol
    line = Line(sys.stdin, answers)
    settings = Settings(**UNKNOWN_HERE)
    store = object_store(settings)
    samplers = Samplers()
    while (request := line.requests.get()) is not None:
        bench = Bench(
            store,
            line,
            Path(os.environ["MINTAGE_SCRATCH"]),
            request["device"],
            settings.checkpoint_seconds,
            settings.ingest_memory_bytes,
        )
        answer(request, bench, samplers)


if __name__ == "__main__":
    main()
