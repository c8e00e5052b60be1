"""Generations: samples of a model in shards, made freely, under conditions, or out of given rows that are completed."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service import modalities
from service.bootstrap import Context
from service.db.database import Scope
from service.db.tables import Dataset, Model
from service.domain.modality import Asked, GenerateOptions, ModalitySpec
from service.domain.states import DatasetStatus, JobKind, Priority
from service.domain.views import JobView
from service.errors import DatasetNotReady
from service.usecases import gating, jobs, quotas
from service.usecases.gating import Demand
from service.usecases.idempotency import Answer, Once, answer
from service.usecases.invalid import from_validation, refuse
from service.usecases.opening import open_job


@dataclass(frozen=True)
class Wish:
    """What is asked for. `given` is a dataset, each of whose rows is completed `copies` times."""

    model_id: str
    count: int | None
    seed: int | None
    format: str | None
    conditions: Mapping[str, Any]
    given: str | None
    copies: int | None
    name: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    retention_seconds: int | None = None  # of the output
    demand: Demand = field(default_factory=Demand)


def generate(context: Context, once: Once, wish: Wish) -> Answer:
    """A generation in shards. Raises NotFound, ModelNotReady, DatasetNotReady, InvalidRequest, InvalidCondition,
    GateFailed.

    Without a seed one is drawn, so that two generations differ; the job's spec tells it."""

    def work(session: Session) -> JobView:
        quotas.admit(session, context.settings, once.project_id)
        scope = Scope(session, once.project_id)
        dataset = scope.get(Dataset, wish.given, lock=True) if wish.given is not None else None
        model = scope.get(Model, wish.model_id, lock=True)
        jobs.refuse_unless_ready(model)
        spec = modalities.spec(model.modality)
        if dataset is not None:
            _refuse_unfit(dataset, model, spec)
        options = _options(spec, wish)
        spec.check_conditions(model.schema, wish.conditions, model.config)
        asked = _arranged(wish, options, dataset, model, spec)
        count = _count(asked, dataset, context.settings.max_count)
        resolved = {
            "modality": model.modality,
            "count": count,
            "seed": secrets.randbelow(jobs.RANDOM_SEEDS) if wish.seed is None else wish.seed,
            "format": jobs.chosen_format(spec, asked.format),
            "conditions": dict(wish.conditions),
        }
        if dataset is not None:
            resolved |= {"given": dataset.id, "copies": wish.copies or 1}
        if found := options.model_dump(mode="json"):
            resolved |= {"options": found}
        resolved |= gating.admit(session, model, wish.demand)
        job = open_job(
            session,
            once.project_id,
            JobKind.GENERATE,
            resolved,
            name=wish.name,
            retention_seconds=wish.retention_seconds or context.settings.retention_seconds,
            dataset_id=wish.given,  # which is thereby in use until the job has ended
            model_id=model.id,
            priority=wish.priority,
            payloads=jobs.shards(count, spec.shard_samples),
            total=-(-count // spec.shard_samples),
        )
        gating.note(session, job)
        return jobs.view(session, job)

    return jobs.and_ring(context, answer(context, once, 201, work))


def _options(spec: ModalitySpec, wish: Wish) -> GenerateOptions:
    """Raises InvalidRequest."""
    try:
        return spec.generate_options.model_validate(dict(wish.options), strict=True)
    except ValidationError as error:
        raise from_validation(error, "options") from None


def _arranged(wish: Wish, options: GenerateOptions, dataset: Dataset | None, model: Model, spec: ModalitySpec) -> Wish:
    """The wish with the count and format that follow from its options. Raises InvalidRequest."""
    given = None if dataset is None else (dataset.rows or 0) * (wish.copies or 1)
    if spec.arranged is not None:
        asked = spec.arranged(model.schema, options, Asked(wish.count, wish.format, wish.conditions, given))
        wish = replace(wish, count=asked.count, format=asked.format)
    if dataset is None:
        _refuse_unless_counted(wish)
    return wish


def _refuse_unless_counted(wish: Wish) -> None:
    if wish.count is None:
        raise refuse("count", "This field is required, unless 'given' names rows to complete.")
    if wish.copies is not None:
        raise refuse(
            "copies", "Only rows that are given can be completed several times; 'count' says how many samples."
        )


def _refuse_unfit(dataset: Dataset, model: Model, spec: ModalitySpec) -> None:
    """Raises DatasetNotReady, InvalidRequest for rows that the model cannot complete."""
    if spec.check_given is None:
        able = ", ".join(one.title.lower() for one in modalities.specs() if one.check_given)
        raise refuse("given", f"{spec.title} cannot be completed; that goes with {able}.")
    if dataset.status != DatasetStatus.READY:
        raise DatasetNotReady(f"The dataset of given rows is {dataset.status}; they can be completed once it is ready.")
    if dataset.modality != model.modality:
        raise refuse("given", f"The dataset holds no {spec.title.lower()}, which is what the model makes.")
    spec.check_given(model.schema, dataset.schema or {})


def _count(wish: Wish, dataset: Dataset | None, most: int) -> int:
    """How many samples. Raises InvalidRequest."""
    count, path = wish.count or 0, "count"
    if dataset is not None:
        rows, copies = dataset.rows or 0, wish.copies or 1
        if count > rows * copies:
            times = f", {copies} times each" if copies > 1 else ""
            raise refuse("count", f"There are {rows} given rows{times}; raise 'copies' to have more samples.")
        if wish.count is None:
            count, path = rows * copies, "copies" if copies > 1 else "given"
    if count > most:
        raise refuse(path, f"This makes {count} samples; a job may generate up to {most}.")
    return count
