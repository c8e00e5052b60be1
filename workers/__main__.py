"""python -m workers --queues gpu,cpu --slots 2: becomes a Celery worker with the options that this design needs."""

import argparse
import os
import sys

from service.queue.doorbell import TASKS

THREADS = ["-P", "threads"]  # the signal handler and the supervisors share a process
PREFORK = ["-P", "prefork", "--max-tasks-per-child", "50"]  # untrusted bytes alone: processes that are renewed


def command(queues: list[str], slots: int, log_level: str) -> list[str]:
    return [
        sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker",
        "-Q", ",".join(queues), *(PREFORK if queues == ["cpu"] else THREADS), "-c", str(slots),
        "-n", f"{'-'.join(queues)}-{os.getpid()}@%h", "-l", log_level,
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip


def queues(text: str) -> list[str]:
    names = sorted(set(text.split(",")))
    if not set(names) <= set(TASKS):
        raise argparse.ArgumentTypeError(f"queues are {', '.join(TASKS)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m workers", description="A worker.")
    parser.add_argument("--queues", type=queues, default=list(TASKS), help="gpu, cpu or both; both by default")
    parser.add_argument("--slots", type=int, default=2, help="units that run at a time")
    parser.add_argument("--log-level", default="warning", help="of Celery's own messages")
    asked = parser.parse_args()
    line = command(asked.queues, asked.slots, asked.log_level)
    os.execv(line[0], line)  # noqa: S606


if __name__ == "__main__":
    main()
