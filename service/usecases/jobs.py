"""Jobs as their users see them: submitted, looked at, listed, cancelled."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from service import modalities
from service.bootstrap import Context
from service.db.database import Scope, now
from service.db.tables import Dataset, Job, Model, Unit
from service.domain.gate import Require
from service.domain.ids import new_id
from service.domain.modality import ModalitySpec
from service.domain.states import ENDED, DatasetStatus, JobKind, ModelStatus, Priority, State
from service.domain.views import ErrorView, JobView, Page, ProgressView, StoppedEarlyView, moment, moment_or_none
from service.errors import Conflict, DatasetNotReady, InvalidRequest, ModelNotReady, NotFound
from service.usecases import events, gating, moves, quotas
from service.usecases.idempotency import Answer, Once, answer
from service.usecases.invalid import from_validation, refuse
from service.usecases.opening import open_job, ring

LISTED = 2_000  # characters of one part of a job's spec, up to which it is shown in lists
RANDOM_SEEDS = 2**53  # a seed that we draw survives every JSON parser
TRAINING_SHARE = 0.8  # of an augmentation that trains first, as its progress counts it


def train(
    context: Context,
    once: Once,
    dataset_id: str,
    config: Mapping[str, Any],
    name: str | None,
    priority: Priority = Priority.NORMAL,
    require: Require | None = None,
) -> Answer:
    """A training, and the model that it will make. Raises NotFound, DatasetNotReady, InvalidRequest for a config that
    the dataset's modality does not take, and for required figures that its reports do not have."""

    fit = fitting(context, once.project_id, dataset_id, config)

    def work(session: Session) -> JobView:
        quotas.admit(session, context.settings, once.project_id)
        dataset = Scope(session, once.project_id).get(Dataset, dataset_id, lock=True)
        if dataset.status != DatasetStatus.READY or dataset.modality is None:
            raise DatasetNotReady(f"The dataset is {dataset.status}; it can be trained on once it is ready.")
        resolved = fit(dataset)
        gating.refuse_unknown(modalities.spec(dataset.modality), require or {})
        spec = {"modality": dataset.modality, "config": resolved} | ({"require": require} if require else {})
        model_id, job_id = new_id("mdl"), new_id("job")
        own = gating.with_gate(resolved, require or {})
        session.add(new_model(session, once.project_id, dataset, model_id, job_id, name, own))
        job = open_job(
            session,
            once.project_id,
            JobKind.TRAIN,
            spec,
            id=job_id,
            name=name,
            dataset_id=dataset_id,
            model_id=model_id,
            priority=priority,
        )
        return view(session, job)

    return and_ring(context, answer(context, once, 201, work))


def get(context: Context, project_id: str, id: str) -> JobView:
    with context.database.read() as session:
        return view(session, Scope(session, project_id).get(Job, id))


def page(
    context: Context, project_id: str, limit: int, before: str | None, kind: JobKind | None, state: State | None
) -> Page[JobView]:
    """Previews are answered in their request and never listed."""
    where: list[ColumnElement[bool]] = [Job.kind != JobKind.PREVIEW]
    if kind is not None:
        where.append(Job.kind == kind)
    if state is not None:
        where.append(Job.state == state)
    with context.database.read() as session:
        rows, cursor = Scope(session, project_id).page(Job, *where, limit=limit, before=before)
        views = _views(session, rows)
        return Page[JobView](data=[_listed(one) for one in views], next_cursor=cursor)


def cancel(context: Context, project_id: str, id: str) -> JobView:
    """Ask a job to end: what waits is cancelled now, what runs at its worker's next heartbeat. To ask again changes
    nothing. Raises Conflict for a job that ended in another way."""
    with context.database.begin() as session:
        Scope(session, project_id).get(Job, id)
        job = moves.hold(session, id)
        if job is None:  # deleted just now
            raise NotFound()
        if job.state in (State.SUCCEEDED, State.FAILED):
            raise Conflict(f"The job has {job.state} already.")
        if job.state != State.CANCELLED and job.cancel_requested_at is None:
            job.cancel_requested_at = session.scalar(select(now()))
            session.flush()
            events.append(session, id, "message", "Cancelling was asked for.")
            _cancel_waiting(session, id)
            moves.cancel_if_idle(session, job)
    return get(context, project_id, id)


def resolve_config(spec: ModalitySpec, config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every default filled in, fit for a dataset of this schema. Raises InvalidRequest."""
    try:
        resolved = spec.train_config.model_validate(dict(config), strict=True).model_dump(mode="json")
    except ValidationError as error:
        raise from_validation(error, "config") from None
    if resolved["gpus"] > 1 and not spec.several_gpus:
        raise refuse("config.gpus", f"A training of the modality '{spec.name}' uses one GPU; leave gpus out.")
    if spec.check_config is not None:
        spec.check_config(schema, resolved)
    return resolved


def fitting(
    context: Context, project_id: str, dataset_id: str, config: Mapping[str, Any]
) -> Callable[[Dataset], dict[str, Any]]:
    """`resolve_config` for a ready dataset. It is worked out now, before anything is locked, and holds if the dataset
    is still as it was; a refusal waits until the dataset is asked for, since a repeated request gets its answer."""

    def resolved(modality: str, schema: Mapping[str, Any]) -> dict[str, Any] | InvalidRequest:
        try:
            return resolve_config(modalities.spec(modality), config, schema)
        except InvalidRequest as refusal:
            return refusal

    with context.database.read() as session:
        where = (Dataset.project_id == project_id, Dataset.id == dataset_id, Dataset.status == DatasetStatus.READY)
        seen = session.execute(select(Dataset.modality, Dataset.schema).where(*where)).one_or_none()
    early = resolved(seen[0], seen[1] or {}) if seen and seen[0] else None

    def fit(dataset: Dataset) -> dict[str, Any]:
        found = early
        if found is None or seen is None or (seen[0], seen[1]) != (dataset.modality, dataset.schema):
            found = resolved(str(dataset.modality), dataset.schema or {})
        if isinstance(found, InvalidRequest):
            raise found
        return found

    return fit


def refuse_unless_ready(model: Model) -> None:
    """Raises ModelNotReady."""
    if model.status != ModelStatus.READY:
        sentence = "its training failed" if model.status == ModelStatus.FAILED else "it is still being trained"
        raise ModelNotReady(f"The model is not ready: {sentence}.")


def shards(count: int, size: int) -> Iterator[dict[str, Any]]:
    """What each unit of a generation makes."""
    return ({"start": start, "count": min(size, count - start)} for start in range(0, count, size))


def and_ring(context: Context, given: Answer) -> Answer:
    if not given.replayed:
        ring(context, given.body["id"])
    return given


def new_model(
    session: Session,
    project_id: str,
    dataset: Dataset,
    model_id: str,
    job_id: str,
    name: str | None,
    config: dict[str, Any],
) -> Model:
    return Model(
        id=model_id,
        project_id=project_id,
        created_at=session.scalar(select(now())),
        name=name or dataset.name,
        status=ModelStatus.TRAINING,
        modality=dataset.modality,
        dataset_id=dataset.id,
        job_id=job_id,
        schema=dataset.schema or {},
        config=config,
        files=[],
    )


def chosen_format(spec: ModalitySpec, format: str | None) -> str:
    if format is None:
        return spec.formats[0]
    if format not in spec.formats:
        raise refuse("format", f"There is no format {format!r} for {spec.name}; there are {', '.join(spec.formats)}.")
    return format


def _cancel_waiting(session: Session, job_id: str) -> None:
    session.execute(
        update(Unit)
        .where(Unit.job_id == job_id, Unit.state == State.QUEUED)
        .values(state=State.CANCELLED, finished_at=now())
        .execution_options(synchronize_session=False)
    )


def view(session: Session, job: Job) -> JobView:
    return _views(session, [job])[0]


def _views(session: Session, jobs: Sequence[Job]) -> list[JobView]:
    """With two queries for what their units say, however many jobs."""
    ids = [job.id for job in jobs]
    highest = select(Unit.job_id, func.max(Unit.attempt)).where(Unit.job_id.in_(ids)).group_by(Unit.job_id)
    attempts = {id: int(attempt) for id, attempt in session.execute(highest).all()}
    single = [job.id for job in jobs if job.units_total == 1]
    going = [job.id for job in jobs if job.units_total > 1 and job.state == State.RUNNING]
    told = select(Unit.job_id, Unit.progress).where(
        or_(Unit.job_id.in_(single), and_(Unit.job_id.in_(going), Unit.state == State.RUNNING))
    )
    progress: dict[str, list[dict[str, Any]]] = {}
    for id, report in session.execute(told):
        if report:
            progress.setdefault(id, []).append(report)
    return [_one(job, attempts.get(job.id, 0), progress.get(job.id, [])) for job in jobs]


def _one(job: Job, attempt: int, reports: list[dict[str, Any]]) -> JobView:
    return JobView(
        id=job.id,
        kind=JobKind(job.kind),
        state=State(job.state),
        priority=Priority(job.priority),
        name=job.name,
        dataset_id=job.dataset_id,
        model_id=job.model_id,
        spec=_shown(job),
        attempt=attempt,
        progress=_progress(job, reports),
        error=ErrorView(**job.error) if job.error else None,
        result=job.result,
        created_at=moment(job.created_at),
        started_at=moment_or_none(job.started_at),
        finished_at=moment_or_none(job.finished_at),
        cancel_requested_at=moment_or_none(job.cancel_requested_at),
        stopped_early=StoppedEarlyView(**job.stopped_early) if job.stopped_early else None,
        retry_until=moment_or_none(job.retry_until),
        expires_at=moment_or_none(job.expires_at),
    )


def _shown(job: Job) -> dict[str, Any]:
    """The spec without where in the bucket things lie."""
    if "source" not in job.spec:
        return job.spec
    return job.spec | {"source": {name: value for name, value in job.spec["source"].items() if name != "key"}}


def _listed(view: JobView) -> JobView:
    """In lists of jobs, without the parts of the spec that are long: conditions of many values, hundreds of rules."""
    long = sorted(name for name, value in view.spec.items() if len(json.dumps(value)) > LISTED)
    if not long:
        return view
    short = {name: value for name, value in view.spec.items() if name not in long}
    return view.model_copy(update={"spec": short | {"left_out": long}})


def _progress(job: Job, reports: list[dict[str, Any]]) -> ProgressView:
    if job.state == State.SUCCEEDED:
        fraction = 1.0
    else:
        parts = sum(float(report.get("fraction") or 0.0) for report in reports)
        fraction = min(1.0, _weighed(job, parts))
    count = None if job.kind == JobKind.AUGMENT else job.spec.get("count")
    step, steps = (int(fraction * count), count) if count else _steps(job, reports)
    eta = _eta(job, reports, fraction)
    return ProgressView(
        fraction=round(fraction, 6), step=step, steps=steps, eta_seconds=eta, stage=_stage(job, reports)
    )


def _stage(job: Job, reports: list[dict[str, Any]]) -> str | None:
    return reports[0].get("stage") if reports and job.state == State.RUNNING else None


def _weighed(job: Job, parts: float) -> float:
    """How far the units are, those that are done and `parts` of those that run; an augmentation that trains does that
    for most of its time."""
    if job.kind == JobKind.AUGMENT and job.units_total == 2:
        return TRAINING_SHARE * parts if job.units_done == 0 else TRAINING_SHARE + (1 - TRAINING_SHARE) * parts
    return (job.units_done + parts) / max(1, job.units_total)


def _steps(job: Job, reports: list[dict[str, Any]]) -> tuple[int | None, int | None]:
    last = reports[0] if reports else {}
    steps = last.get("steps")
    return (steps if job.state == State.SUCCEEDED else last.get("step")), steps


def _eta(job: Job, reports: list[dict[str, Any]], fraction: float) -> float | None:
    """Seconds to go: a single unit's own estimate, else from how fast the job has been."""
    if job.state in ENDED or job.started_at is None:
        return 0.0 if job.state == State.SUCCEEDED else None
    if job.units_total == 1 and reports and reports[0].get("eta_seconds") is not None:
        return float(reports[0]["eta_seconds"])
    if fraction <= 0.0:
        return None
    return round(max(0.0, time.time() - job.started_at) * (1 - fraction) / fraction, 1)
