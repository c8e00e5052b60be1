"""Waiting for a job, with a bar that shows how far it is, when it ends, and how well it goes."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from mintage.errors import ApiError, JobFailed, ServerUnreachable, WaitTimedOut
from mintage.results import Job

VERBS = {
    "ingest": "reading",
    "train": "training",
    "generate": "generating",
    "augment": "augmenting",
    "score": "scoring",
    "evaluate": "evaluating",
}
FIRST_PAUSE, LONGEST_PAUSE = 0.15, 1.0
METRICS_EVERY = 3.0  # seconds between two looks at the curves
Show = Callable[[Job], None]


def wait(job: Job, progress: bool = False, timeout: float | None = None, console: Console | None = None) -> Job:
    """Poll the job until it ends. Raises JobFailed, WaitTimedOut."""
    end = time.monotonic() + timeout if timeout is not None else None
    with bar(job, console or Console(stderr=True)) if progress else contextlib.nullcontext(_silent) as show:
        pause = FIRST_PAUSE
        while not job.ended:
            if end is not None and time.monotonic() > end:
                raise WaitTimedOut(f"{job.id} is still {job.state} after {timeout:g} seconds; it goes on.")
            time.sleep(pause)
            pause = min(pause * 1.2, LONGEST_PAUSE)
            job = job.refresh()
            show(job)
    return succeeded(job)


def succeeded(job: Job) -> Job:
    """The job, if it ended well. Raises JobFailed."""
    if job.state == "succeeded":
        return job
    if job.state == "cancelled":
        raise JobFailed(job.id, job.state, "cancelled", "The job was cancelled.")
    code, message = (job.error.code, job.error.message) if job.error else ("unknown", "The server gives no reason.")
    raise JobFailed(job.id, job.state, code, message)


def _silent(job: Job) -> None:
    """Shows nothing."""


@contextlib.contextmanager
def bar(job: Job, console: Console) -> Iterator[Show]:
    """A live line on a terminal; on anything else a line a tenth, so that a log can be read."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(None), _Percent(), _Steps(), _Eta())
    with Progress(*columns, _Metric(), console=console, expand=True) as live:
        task = live.add_task(_title(job), total=1.0, eta=None, step=None, steps=None, metric="")
        glance = _Glance()

        def show(now: Job) -> None:
            seen = now.progress
            done = 1.0 if now.state == "succeeded" else seen.fraction
            eta = None if now.ended else seen.eta_seconds
            live.update(
                task,
                description=_title(now),
                completed=done,
                eta=eta,
                step=seen.step,
                steps=seen.steps,
                metric=glance(now),
            )

        show(job)
        yield show


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""

    def show(self, job: Job) -> None:
        fraction = 1.0 if job.state == "succeeded" else int(job.progress.fraction * 10) / 10
        now = f"{_title(job)} {fraction:4.0%}"
        if now != self._said:
            self._said = now
            self._console.print(now, highlight=False)


class _Glance:
    """The newest point of the curves, looked at now and then."""

    def __init__(self) -> None:
        self._next = 0.0
        self._text = ""

    def __call__(self, job: Job) -> str:
        if job.kind not in ("train", "augment") or job.state != "running" or time.monotonic() < self._next:
            return self._text
        self._next = time.monotonic() + METRICS_EVERY
        with contextlib.suppress(ApiError, ServerUnreachable):  # an ornament: the wait goes on without it
            values = job.latest_metrics()
            self._text = key_metric(values) if values else self._text
        return self._text


def key_metric(values: dict[str, float]) -> str:
    """The one figure worth a glance: how often the discriminator tells real from fake, or what samples were judged."""
    for name, sentence in (
        ("c2st_auc", "told apart {:.0%}"), ("label_accuracy", "labels read {:.0%}"), ("coverage", "coverage {:.0%}"),
        ("lead", "discriminator right {:.0%}"),
    ):  # fmt: skip
        if isinstance(values.get(name), int | float):
            return sentence.format(values[name])
    return ""


def _title(job: Job) -> str:
    verb = job.progress.stage or VERBS.get(job.kind, job.kind)
    return f"{verb}, waits for a worker" if job.state == "queued" else verb


class _Percent(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:3.0f}%", style="progress.percentage")


class _Steps(ProgressColumn):
    def render(self, task: Task) -> Text:
        steps = task.fields["steps"]
        return Text(f"{task.fields['step'] or 0:,}/{steps:,}" if steps else "", style="progress.download")


class _Eta(ProgressColumn):
    def render(self, task: Task) -> Text:
        eta = task.fields["eta"]
        return Text(f"{clock(eta)} left" if eta is not None else "", style="progress.remaining")


class _Metric(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields["metric"]), style="dim")


def clock(seconds: float) -> str:
    """Seconds as people read them: 42 s, 3:05, 1:02:03."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
