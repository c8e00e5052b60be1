"""Augmentations: a dataset's own rows and as many synthetic ones as fill its classes up or enlarge it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from service import modalities
from service.bootstrap import Context
from service.db.database import Scope
from service.db.tables import Dataset, Model
from service.domain.ids import new_id
from service.domain.modality import Method, ModalitySpec
from service.domain.states import DatasetStatus, JobKind, Priority
from service.domain.views import JobView
from service.errors import DatasetNotReady
from service.usecases import gating, jobs, quotas
from service.usecases.gating import Demand
from service.usecases.idempotency import Answer, Once, answer
from service.usecases.invalid import refuse
from service.usecases.opening import open_job

FACTOR = 2.0  # times the real rows that an enlarged dataset has, if nothing else is asked for


@dataclass(frozen=True)
class Wish:
    """What is asked for. `count` are the synthetic rows, `factor` what the whole has times the real rows."""

    dataset_id: str
    target: str | None
    model_id: str | None
    method: Method
    factor: float | None
    count: int | None
    seed: int | None
    format: str | None
    config: Mapping[str, Any]
    name: str | None
    priority: Priority = Priority.NORMAL
    retention_seconds: int | None = None  # of the output
    demand: Demand = field(default_factory=Demand)


def augment(context: Context, once: Once, wish: Wish) -> Answer:
    """An augmentation by a model that there is, or by one that the job trains first and that stays.

    Raises NotFound, DatasetNotReady, ModelNotReady, GateFailed, and InvalidRequest for what cannot be augmented so."""

    fit = jobs.fitting(context, once.project_id, wish.dataset_id, wish.config)

    def work(session: Session) -> JobView:
        quotas.admit(session, context.settings, once.project_id)
        scope = Scope(session, once.project_id)
        dataset = scope.get(Dataset, wish.dataset_id, lock=True)
        spec, check_target = _augmentable(dataset)
        resolved: dict[str, Any] = {
            "modality": spec.name,
            "target": wish.target,
            "method": wish.method,
            "count": _count(wish, dataset, context.settings.max_count),
            "max_count": context.settings.max_count,
            "seed": secrets.randbelow(jobs.RANDOM_SEEDS) if wish.seed is None else wish.seed,
            "format": jobs.chosen_format(spec, wish.format),
        }
        id = new_id("job")
        if wish.model_id is not None:
            model, total, first = scope.get(Model, wish.model_id, lock=True), 1, JobKind.AUGMENT
            _refuse_unfit(model, dataset, wish)
            check_target(dataset.schema or {}, wish.target, wish.method, model.config)
            resolved |= gating.admit(session, model, wish.demand)
        else:
            config = fit(dataset)
            check_target(dataset.schema or {}, wish.target, wish.method, config)
            gating.refuse_unknown(spec, wish.demand.require)
            own = gating.with_gate(config, wish.demand.require)
            model = jobs.new_model(session, once.project_id, dataset, new_id("mdl"), id, wish.name, own)
            session.add(model)
            resolved |= {"config": config} | gating.awaited(session, wish.demand)
            total, first = 2, JobKind.TRAIN
        job = open_job(
            session,
            once.project_id,
            JobKind.AUGMENT,
            resolved,
            id=id,
            name=wish.name,
            retention_seconds=wish.retention_seconds or context.settings.retention_seconds,
            dataset_id=dataset.id,
            model_id=model.id,
            total=total,
            first=first,
            priority=wish.priority,
        )
        gating.note(session, job)
        return jobs.view(session, job)

    return jobs.and_ring(context, answer(context, once, 201, work))


def _augmentable(dataset: Dataset) -> tuple[ModalitySpec, Any]:
    """The spec of the dataset's modality, and its check of targets. Raises DatasetNotReady, InvalidRequest."""
    if dataset.status != DatasetStatus.READY or dataset.modality is None:
        raise DatasetNotReady(f"The dataset is {dataset.status}; it can be augmented once it is ready.")
    spec = modalities.spec(dataset.modality)
    if spec.check_target is None:
        able = ", ".join(one.title.lower() for one in modalities.specs() if one.check_target)
        raise refuse("dataset_id", f"{spec.title} cannot be augmented by a job of this kind; it takes {able}.")
    return spec, spec.check_target


def _count(wish: Wish, dataset: Dataset, most: int) -> int | None:
    """How many synthetic rows; None where the classes tell, which a worker counts. Raises InvalidRequest."""
    if wish.method == "balance" and wish.factor is not None:
        raise refuse("factor", "A factor goes with the method 'enlarge'; 'balance' takes a count, or finds its own.")
    count, path = wish.count, "count"
    if count is None and wish.method == "enlarge":
        real = sum(part["rows"] for part in dataset.parts if part["split"] == "train")
        factor = FACTOR if wish.factor is None else wish.factor
        count, path = max(1, round((factor - 1) * real)), "factor"
    if count is not None and count > most:
        raise refuse(path, f"This asks for {count} synthetic rows; a job may make up to {most}.")
    return count


def _refuse_unfit(model: Model, dataset: Dataset, wish: Wish) -> None:
    """Raises ModelNotReady, InvalidRequest for a model that knows nothing of this dataset."""
    jobs.refuse_unless_ready(model)
    if model.dataset_id != dataset.id:
        raise refuse("model_id", "The model was trained on another dataset; leave it out to have one trained on this.")
    if model.schema.get("columns") != (dataset.schema or {}).get("columns"):
        raise refuse("model_id", "The dataset was read again, with other columns or types, after this training.")
    if wish.config:
        raise refuse("config", "There is a model already, so nothing is trained; leave out either of the two.")
