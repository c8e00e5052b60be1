"""What both demos share: a stack on a temporary folder and free port, stages with their times, the data that ship."""

import contextlib
import json
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from mintage.client import Mintage
from mintage.errors import StackError
from mintage.results import Job
from mintage.stack.datadir import open_data_dir
from mintage.stack.ports import free_pairs
from mintage.stack.supervisor import running
from mintage.waiting import wait

HERE = Path(__file__).parent


class Show:
    """Tells on the terminal what is done and how long it took."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str, sentence: str) -> Iterator[list[str]]:
        """A stage: `sentence` while it runs, then what the body appended, and its time."""
        said: list[str] = []
        start = time.monotonic()
        live = self.console.is_terminal
        with self.console.status(f"{escape(sentence)} ...") if live and name != "train" else contextlib.nullcontext():
            yield said
        self.seconds[name] = round(time.monotonic() - start, 1)
        text = escape(said[-1] if said else sentence)
        self.console.print(f"[green]✓[/green] {text} [dim]{self.seconds[name]:.1f} s[/dim]")

    def done(self, job: Job) -> Job:
        return wait(job, progress=True, console=self.console)

    def farewell(self, out: Path, files: list[str], yours: str) -> None:
        """How long it took, where everything lies, and what to do next."""
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.seconds.items())
        self.console.print(f"\n[bold]{sum(self.seconds.values()):.0f} s in all[/bold] [dim]({stages})[/dim]")
        self.console.print(f"Saved in [bold]{escape(str(out))}[/bold]: {', '.join(files)}")
        self.console.print(
            f"Next, your own data: [bold]mintage up[/bold], then [bold]mintage datasets upload {yours}[/bold]"
        )


def data_file(name: str) -> Path:
    """A file of examples/data: in the checkout, or packed into this package. Raises StackError."""
    for folder in (HERE / "data", HERE.parent.parent / "examples" / "data"):
        if (folder / name).is_file():
            return folder / name
    raise StackError(f"The demo's data are not installed: run it in a clone of the repository, which has {name}.")


@contextlib.contextmanager
def session(show: Show) -> Iterator[Mintage]:
    """A client of a stack of its own; gone at the end, data and all, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="mintage-demo-"))
    try:
        with contextlib.ExitStack() as exits:
            _stop_like_ctrl_c(exits)
            with show.stage("start", "Starting database, queue, bucket, API and a worker") as said:
                data = open_data_dir(folder)
                stopping = threading.Event()
                stack = exits.enter_context(running(data, free_pairs(1)[0], 1, show.console.print, stopping))
                said.append(f"Database, queue, bucket, API and a worker run at {stack.address.url}")
            client = Mintage(stack.address.url, stack.address.api_key)
            exits.callback(client.close)
            yield client
            client.close()
            with show.stage("stop", "Everything is stopped; no process is left"):
                exits.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stop_like_ctrl_c(exits: contextlib.ExitStack) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    exits.callback(signal.signal, signal.SIGTERM, before)


def save_report(client: Mintage, model_id: str, out: Path) -> dict[str, Any]:
    """report.json and report.html of the model; returns the report."""
    report = client.models.report(model_id)
    (out / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "report.html").write_text(client.models.report_html(model_id), encoding="utf-8")
    return report
