"""What calls return: frozen values with the API's own names. Fields that this version does not know stay in `raw`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from mintage.client import Mintage

ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Value:
    """Built from a JSON object: known fields by name, the whole of it in `raw`."""

    @classmethod
    def read(cls, item: Mapping[str, Any], **more: Any) -> Self:
        known = {f.name for f in fields(cls)} - {"raw"}
        # an absent field and a null one read alike: the field's default
        values = {name: item[name] for name in known if item.get(name) is not None}
        return cls(**{**values, **more})


@dataclass(frozen=True)
class Problem(Value):
    """Why a job failed or a dataset was rejected."""

    code: str = "unknown"
    message: str = "The server gives no reason."


@dataclass(frozen=True)
class StoppedEarly(Value):
    """Why a training ended before its last step (`time_limit` or `diverged`), with the best that it had by then."""

    reason: str = ""
    step: int = 0
    steps: int = 0
    message: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> StoppedEarly | None:
        found = item.get("stopped_early")
        return cls.read(found) if found else None


@dataclass(frozen=True)
class Progress(Value):
    fraction: float = 0.0
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    stage: str | None = None


@dataclass(frozen=True)
class Event(Value):
    """Something that happened to a job; `id` counts 1, 2, 3 ... within it."""

    id: int = 0
    at: str = ""
    type: str = ""
    level: str = "info"
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricPoint(Value):
    """A point of the training curves."""

    step: int = 0
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame(Value):
    """A picture of a training's samples at one step; `url` works for a while."""

    step: int = 0
    url: str = ""


@dataclass(frozen=True)
class OutputFile(Value):
    name: str = ""
    bytes: int = 0
    sha256: str = ""
    rows: int = 0
    url: str = ""


@dataclass(frozen=True)
class Output(Value):
    """The manifest of a finished generation; each file with a URL that works for a while."""

    files: tuple[OutputFile, ...] = ()
    cards: tuple[OutputFile, ...] = ()  # what tells of the files: card.md and croissant.json
    count: int = 0
    format: str = ""
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, item: dict[str, Any]) -> Output:
        files, cards = (tuple(OutputFile.read(one) for one in item.get(name, [])) for name in ("files", "cards"))
        return cls.read(item, files=files, cards=cards, raw=item)

    @property
    def beside(self) -> tuple[OutputFile, ...]:
        """All that a download fetches."""
        return (*self.files, *self.cards)


@dataclass(frozen=True)
class Amount(Value):
    """How much there is, and how much there may be; None: no limit."""

    used: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class Usage(Value):
    """What a project has: jobs that wait or run, bytes that are kept, units that run on GPUs."""

    jobs: Amount = Amount()
    bytes: Amount = Amount()
    gpu_units: Amount = Amount()
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, item: dict[str, Any]) -> Usage:
        return cls.read(
            item, raw=item, **{name: Amount.read(item.get(name) or {}) for name in ("jobs", "bytes", "gpu_units")}
        )


@dataclass(frozen=True)
class Dataset(Value):
    id: str = ""
    name: str = ""
    status: str = "empty"
    modality: str | None = None
    filename: str | None = None
    rows: int | None = None
    bytes: int = 0
    schema: dict[str, Any] | None = None
    profile: dict[str, Any] | None = None
    warnings: tuple[Any, ...] = ()
    error: Problem | None = None
    job_id: str | None = None
    created_at: str = ""
    expires_at: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, item: dict[str, Any]) -> Dataset:
        error = Problem.read(item["error"]) if item.get("error") else None
        return cls.read(item, error=error, warnings=tuple(item.get("warnings") or ()), raw=item)


@dataclass(frozen=True)
class Model(Value):
    id: str = ""
    name: str = ""
    status: str = ""
    modality: str = ""
    dataset_id: str = ""
    job_id: str = ""
    schema: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    created_at: str = ""
    stopped_early: StoppedEarly | None = None
    gate: dict[str, Any] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, item: dict[str, Any]) -> Model:
        return cls.read(item, stopped_early=StoppedEarly.of(item), raw=item)


@dataclass(frozen=True)
class Job(Value):
    """A job as it was when it was read; `refresh()` and `wait()` give newer readings of it."""

    id: str = ""
    kind: str = ""
    state: str = "queued"
    priority: str = "normal"
    name: str | None = None
    dataset_id: str | None = None
    model_id: str | None = None
    attempt: int = 0
    progress: Progress = Progress()
    error: Problem | None = None
    result: dict[str, Any] = field(default_factory=dict)
    created_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    stopped_early: StoppedEarly | None = None
    retry_until: str | None = None
    expires_at: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    client: Mintage | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, item: dict[str, Any], client: Mintage) -> Job:
        result = dict(item.get("result") or {})
        return cls.read(
            item,
            progress=Progress.read(item.get("progress") or {}),
            error=Problem.read(item["error"]) if item.get("error") else None,
            result=result,
            stopped_early=StoppedEarly.of(item),
            model_id=item.get("model_id") or result.get("model_id"),
            raw=item,
            client=client,
        )

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def model(self) -> Model:
        """The model that a training made or a generation samples, as it is now."""
        return self._client.models.get(self.model_id or "")

    def refresh(self) -> Job:
        """The job as it is now."""
        return self._client.jobs.get(self.id)

    def wait(self, progress: bool = False, timeout: float | None = None) -> Job:
        """The job when it has succeeded; `progress=True` shows a live bar. Raises JobFailed, WaitTimedOut."""
        from mintage.waiting import wait

        return wait(self, progress=progress, timeout=timeout)

    def cancel(self) -> Job:
        """Ask the job to stop, which takes a worker a second or two; what has ended stays as it is."""
        return self._client.jobs.cancel(self.id)

    def retry(self) -> Job:
        """Have a failed job go on: a training from its checkpoint, other work with what is missing; until
        `retry_until`. Raises ApiError with code not_retryable."""
        return self._client.jobs.retry(self.id)

    def delete(self) -> None:
        """Delete the job, which must have ended, and its output; a model that it made stays."""
        self._client.jobs.delete(self.id)

    def events(self) -> Iterator[Event]:
        """What has happened to the job so far, oldest first."""
        return self._client.jobs.events(self.id)

    def metrics(self) -> list[MetricPoint]:
        """The training curves so far."""
        return self._client.jobs.metrics(self.id)

    def latest_metrics(self) -> dict[str, float]:
        """The newest values of the training curves; empty before the first."""
        return self._client.jobs.latest_metrics(self.id)

    def film(self) -> list[Frame]:
        """Pictures of samples from the same noise at several steps of a training so far; none of a table's."""
        return self._client.jobs.film(self.id)

    def output(self) -> Output:
        """The manifest of a finished generation. Raises ApiError with code job_not_succeeded before that."""
        return self._client.jobs.output(self.id)

    def download(self, directory: str | Path, progress: bool = False) -> list[Path]:
        """All files of a finished generation, each verified against its SHA-256; what is there already is kept.

        Raises DownloadFailed."""
        from mintage.download import download

        return download(self._client, self.id, Path(directory), progress=progress)

    @property
    def _client(self) -> Mintage:
        if self.client is None:
            raise ValueError("this job was not read from a server")
        return self.client
