"""The client: `Mintage()` and what hangs on it. Thin: a method is a request and a typed answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from mintage import address
from mintage.errors import JobFailed, WaitTimedOut
from mintage.results import Dataset, Event, Frame, Job, MetricPoint, Model, Output, Usage
from mintage.transport import Transport

Points = list[MetricPoint]  # outside the classes, whose own `list` would hide the type
Frames = list[Frame]
Rows = list[dict[str, Any]]
Require = dict[str, dict[str, float]]


class Mintage:
    """A connection to a Mintage server.

    `url` and `api_key` come from the arguments, from MINTAGE_URL and MINTAGE_API_KEY, or from the stack that
    `mintage up` runs here. Threads may share one. Raises NoServer."""

    def __init__(self, url: str | None = None, api_key: str | None = None, data_dir: str | Path | None = None) -> None:
        found = address.find(url, api_key, Path(data_dir).expanduser() if data_dir else None)
        self.url = found.url
        self.transport = Transport(found.url, found.api_key)
        self.datasets = Datasets(self)
        self.jobs = Jobs(self)
        self.models = Models(self)

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def train(
        self,
        dataset: str | Dataset,
        preset: str | None = None,
        steps: int | None = None,
        seed: int | None = None,
        name: str | None = None,
        priority: str | None = None,
        require: Require | None = None,
        **config: Any,
    ) -> Job:
        """Start to train a model on a dataset that is ready; `config` takes the modality's own settings as well.

        `require` are bounds on figures of its report, such as {"c2st_auc": {"max": 0.7}}: a model that fails them is
        kept, marked in `gate`, and makes no output unless a job overrides that."""
        chosen = {"preset": preset, "steps": steps, "seed": seed, **config}
        body = {
            "kind": "train",
            "dataset_id": dataset if isinstance(dataset, str) else dataset.id,
            "name": name,
            "priority": priority,
            "require": require or None,
            "config": {key: value for key, value in chosen.items() if value is not None},
        }
        return self.jobs.create(body)

    def generate(
        self,
        model: str | Model | Job,
        count: int | None = None,
        seed: int | None = None,
        format: str | None = None,
        conditions: dict[str, Any] | None = None,
        name: str | None = None,
        given: str | Dataset | Path | None = None,
        copies: int | None = None,
        options: dict[str, Any] | None = None,
        priority: str | None = None,
        retention_seconds: int | None = None,
        require: Require | None = None,
        override_gate: bool = False,
        reason: str | None = None,
    ) -> Job:
        """Start to generate `count` samples; `model` may be a finished training job. A seed repeats a result.

        A condition is a value, {"in": [...]}, {"min": ..., "max": ...}, or {a value: its share, ...}. `given` are rows
        whose empty cells are made, `copies` times each: a dataset, or the path of a file, which is uploaded first; of
        pictures, those that are projected. `options` are the modality's own, such as {"truncation": 0.7}. The output
        is deleted `retention_seconds` after it is there, if that is given. `require` is held against the model's report
        beside what its training required; `override_gate` goes on all the same, which job and output tell."""
        if isinstance(given, Path):
            given = self.datasets.upload(given)
        model_id = model if isinstance(model, str) else model.model_id if isinstance(model, Job) else model.id
        body = {
            "kind": "generate",
            "model_id": model_id,
            "count": count,
            "seed": seed,
            "format": format,
            "conditions": conditions or None,
            "name": name,
            "given": given.id if isinstance(given, Dataset) else given,
            "copies": copies,
            "options": options or None,
            "priority": priority,
            "retention_seconds": retention_seconds,
            "require": require or None,
            "override_gate": override_gate or None,
            "reason": reason,
        }
        return self.jobs.create(body)

    def augment(
        self,
        dataset: str | Dataset,
        target: str | None = None,
        model: str | Model | Job | None = None,
        method: str | None = None,
        factor: float | None = None,
        count: int | None = None,
        seed: int | None = None,
        format: str | None = None,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        priority: str | None = None,
        require: Require | None = None,
        override_gate: bool = False,
        reason: str | None = None,
    ) -> Job:
        """Start to add synthetic rows to a dataset's own: as many as fill each class of `target` up to the largest, or,
        with the method 'enlarge', as many as make it `factor` times as large. Without a model one is trained first,
        with `config`. The finished job's result has `before` and `after`: how well a classifier does with them."""
        body = {
            "kind": "augment",
            "dataset_id": dataset if isinstance(dataset, str) else dataset.id,
            "target": target,
            "model_id": model.model_id if isinstance(model, Job) else model.id if isinstance(model, Model) else model,
            "method": method,
            "factor": factor,
            "count": count,
            "seed": seed,
            "format": format,
            "name": name,
            "config": config or None,
            "priority": priority,
            "require": require or None,
            "override_gate": override_gate or None,
            "reason": reason,
        }
        return self.jobs.create(body)

    def score(
        self,
        model: str | Model | Job,
        dataset: str | Dataset | Path,
        name: str | None = None,
        priority: str | None = None,
    ) -> Job:
        """Start to judge a dataset's samples one by one: how many real ones look as odd to the model. `dataset` may be
        the path of a file, which is uploaded first. The finished job's result has the shares, and its output a line for
        each sample: index, score, distance and verdicts."""
        if isinstance(dataset, Path):
            dataset = self.datasets.upload(dataset)
        body = {
            "kind": "score",
            "model_id": model if isinstance(model, str) else model.model_id if isinstance(model, Job) else model.id,
            "dataset_id": dataset if isinstance(dataset, str) else dataset.id,
            "name": name,
            "priority": priority,
        }
        return self.jobs.create(body)

    def usage(self) -> Usage:
        """What the project has, and what it may have."""
        return Usage.of(self.transport.get("/v1/usage"))

    def modalities(self) -> list[dict[str, Any]]:
        """What can be trained here, with the JSON schema of each one's settings."""
        answer = self.transport.get("/v1/modalities")
        return list(answer["data"])


class Datasets:
    def __init__(self, client: Mintage) -> None:
        self._client = client

    def upload(
        self,
        path: str | Path,
        name: str | None = None,
        modality: str | None = None,
        options: dict[str, Any] | None = None,
        wait: bool = True,
        progress: bool = False,
        retention_seconds: int | None = None,
    ) -> Dataset:
        """Upload a file and, unless told otherwise, wait until it is read. Large files go straight to the bucket, in
        parts at a time. Raises JobFailed with the reason when the file is rejected. The dataset is deleted
        `retention_seconds` after its making, if that is given."""
        from mintage.upload import upload

        dataset = upload(self._client, Path(path), name, modality, options, retention_seconds, progress=progress)
        return self.wait(dataset.id) if wait else dataset

    def list(self, limit: int | None = None) -> Iterator[Dataset]:
        """All datasets, newest first."""
        return map(Dataset.of, self._client.transport.pages("/v1/datasets", limit=limit))

    def get(self, dataset: str | Dataset) -> Dataset:
        return Dataset.of(self._client.transport.get(f"/v1/datasets/{_id(dataset)}"))

    def delete(self, dataset: str | Dataset) -> None:
        self._client.transport.delete(f"/v1/datasets/{_id(dataset)}")

    def wait(self, dataset: str | Dataset, timeout: float | None = None) -> Dataset:
        """The dataset when it is ready. Raises JobFailed when it is rejected, WaitTimedOut."""
        end = time.monotonic() + timeout if timeout is not None else None
        pause = 0.1
        while True:
            found = self.get(dataset)
            if found.status == "ready":
                return found
            if found.status == "rejected":
                problem = found.error
                code, message = (problem.code, problem.message) if problem else ("rejected", "The file was rejected.")
                raise JobFailed(found.job_id or "", "failed", code, message)
            if end is not None and time.monotonic() > end:
                raise WaitTimedOut(f"{found.id} is still {found.status} after {timeout:g} seconds.")
            time.sleep(pause)
            pause = min(pause * 1.3, 1.0)


class Jobs:
    def __init__(self, client: Mintage) -> None:
        self._client = client

    def create(self, body: dict[str, Any]) -> Job:
        """Submit a job in the API's own words."""
        given = {key: value for key, value in body.items() if value is not None}
        return Job.of(self._client.transport.post("/v1/jobs", given), self._client)

    def list(self, kind: str | None = None, state: str | None = None, limit: int | None = None) -> Iterator[Job]:
        """Jobs, newest first."""
        found = self._client.transport.pages("/v1/jobs", {"kind": kind, "state": state}, limit)
        return (Job.of(item, self._client) for item in found)

    def get(self, job: str | Job) -> Job:
        return Job.of(self._client.transport.get(f"/v1/jobs/{_id(job)}"), self._client)

    def cancel(self, job: str | Job) -> Job:
        return Job.of(self._client.transport.post(f"/v1/jobs/{_id(job)}/cancel"), self._client)

    def retry(self, job: str | Job) -> Job:
        """Have a failed job go on from where it was. Raises ApiError with code not_retryable."""
        return Job.of(self._client.transport.post(f"/v1/jobs/{_id(job)}/retry"), self._client)

    def delete(self, job: str | Job) -> None:
        """Delete a job that has ended, and its output; a model that it made stays."""
        self._client.transport.delete(f"/v1/jobs/{_id(job)}")

    def events(self, job: str | Job) -> Iterator[Event]:
        path = f"/v1/jobs/{_id(job)}/events"
        return map(Event.read, self._client.transport.pages(path, cursor_name="after"))

    def metrics(self, job: str | Job) -> Points:
        return [MetricPoint.read(item) for item in self._client.transport.get(f"/v1/jobs/{_id(job)}/metrics")["data"]]

    def latest_metrics(self, job: str | Job) -> dict[str, float]:
        points = self.metrics(job)
        return points[-1].values if points else {}

    def film(self, job: str | Job) -> Frames:
        """Pictures of a training's samples from the same noise, in order of steps; empty where samples are rows."""
        return [Frame.read(item) for item in self._client.transport.get(f"/v1/jobs/{_id(job)}/film")["data"]]

    def frame(self, job: str | Job, step: int) -> bytes:
        """One picture of the film, as a PNG."""
        return self._client.transport.read(f"/v1/jobs/{_id(job)}/film/{step}").content

    def output(self, job: str | Job) -> Output:
        return Output.of(self._client.transport.get(f"/v1/jobs/{_id(job)}/output"))


class Models:
    def __init__(self, client: Mintage) -> None:
        self._client = client

    def list(self, limit: int | None = None) -> Iterator[Model]:
        """All models, newest first."""
        return map(Model.of, self._client.transport.pages("/v1/models", limit=limit))

    def get(self, model: str | Model) -> Model:
        return Model.of(self._client.transport.get(f"/v1/models/{_id(model)}"))

    def report(self, model: str | Model) -> dict[str, Any]:
        """How good and how private the model's samples are, measured when it was trained."""
        return dict(self._client.transport.get(f"/v1/models/{_id(model)}/report"))

    def report_html(self, model: str | Model) -> str:
        """The same as a page."""
        return self._client.transport.read(f"/v1/models/{_id(model)}/report.html").text

    def samples(self, model: str | Model, count: int = 10, seed: int | None = None) -> Rows | bytes:
        """A few fresh samples in the answer itself: rows as objects, or a PNG's bytes for images."""
        asked: dict[str, Any] = {"count": count} | ({"seed": seed} if seed is not None else {})
        answer = self._client.transport.read(f"/v1/models/{_id(model)}/samples", asked)
        if "json" not in answer.headers.get("Content-Type", ""):
            return answer.content
        body = answer.json()
        return [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]

    def delete(self, model: str | Model) -> None:
        self._client.transport.delete(f"/v1/models/{_id(model)}")


def _id(thing: str | Dataset | Model | Job) -> str:
    """The id of a thing that may be given as such or as its id. An empty id would name the whole list."""
    found = thing if isinstance(thing, str) else thing.id
    if not found:
        raise ValueError("an id is wanted here")
    return quote(found, safe="")
