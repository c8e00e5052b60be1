"""What a supervisor does beside its units."""

import ctypes
import os
import subprocess
import sys
import threading

from service.bootstrap import Context
from tests.integration.workers.conftest import environment
from tests.servers import wait_until
from workers.scratch import Scratch
from workers.supervisor import Supervisor


class Stumbling(Supervisor):
    """Fails for an unforeseen reason when it first looks for previews."""

    looks = 0

    def _next(self, least: int) -> bool:
        self.looks += 1
        if self.looks == 1:
            raise RuntimeError("unforeseen")
        looked_again.set()
        return super()._next(least)


looked_again = threading.Event()


def test_previews_are_looked_for_again_after_a_failure(sqlite_context: Context) -> None:
    stop = threading.Event()
    Stumbling(sqlite_context, ["gpu"], 0, lambda: False).watch(stop)  # no slot is ever free
    assert looked_again.wait(5.0)
    stop.set()


WORKER = """
import subprocess, sys
from celery import signals
from workers import celery_app

def peep():
    script = "import os; print('MINTAGE_DATABASE_URL' in open(f'/proc/{os.getppid()}/environ').read())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    print((done.stdout or done.stderr).strip().splitlines()[-1])

peep()
signals.worker_init.send(type("Sender", (), {"concurrency": 1, "pool_cls": object}))
peep()
"""


def without_privileges() -> None:
    for capability in range(64):
        ctypes.CDLL(None).prctl(24, capability)  # PR_CAPBSET_DROP: else root may read whatever it likes


def test_a_child_cannot_read_its_supervisors_environment(sqlite_context: Context) -> None:
    command = [sys.executable, "-c", WORKER]
    env = environment(sqlite_context)
    done = subprocess.run(command, env=env, preexec_fn=without_privileges, capture_output=True, text=True)
    before, after = done.stdout.splitlines() or [done.stderr, ""]
    assert before == "True"
    assert "Permission denied" in after


LIFE = "import sys; from pathlib import Path; from workers.scratch import Scratch; Scratch(Path(sys.argv[1])); input()"


def test_folders_left_by_another_life_go_and_those_in_use_stay(sqlite_context: Context) -> None:
    folder = sqlite_context.settings.work_dir
    own = Scratch(folder)
    with subprocess.Popen([sys.executable, "-c", LIFE, folder], stdin=subprocess.PIPE) as life:
        wait_until(lambda: len(list(folder.glob("child-*"))) == 2, "the other life")
        Supervisor(sqlite_context, ["gpu"], 1, lambda: False)
        assert len(list(folder.iterdir())) == 2
        life.kill()
    left = folder / f"child-{os.getpid()}-x"  # as those of a life with this very process id
    left.mkdir()
    Supervisor(sqlite_context, ["gpu"], 1, lambda: False)
    assert list(folder.iterdir()) == [own.path]
    own.remove()
    assert list(folder.iterdir()) == []
