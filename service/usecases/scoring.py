"""Scorings: the samples of a dataset judged one by one, as real-looking or counterfeit, by a model's own view."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service import modalities
from service.bootstrap import Context
from service.db.database import Scope
from service.db.tables import Dataset, Model
from service.domain.modality import ModalitySpec
from service.domain.states import DatasetStatus, JobKind, Priority
from service.domain.views import JobView
from service.errors import DatasetNotReady
from service.usecases import jobs, quotas
from service.usecases.idempotency import Answer, Once, answer
from service.usecases.invalid import refuse
from service.usecases.opening import open_job

FORMAT = "parquet"  # one line a sample, whatever the modality
SEED = 0  # of the planted counterfeits: the same dataset and model give the same scores


@dataclass(frozen=True)
class Wish:
    """What is asked for: the dataset whose samples are judged, and the model that judges."""

    model_id: str
    dataset_id: str
    name: str | None
    priority: Priority = Priority.NORMAL
    retention_seconds: int | None = None  # of the output


def score(context: Context, once: Once, wish: Wish) -> Answer:
    """Raises NotFound, DatasetNotReady, ModelNotReady, and InvalidRequest for samples that the model cannot judge.

    The scores are calibrated on held-out samples of the model's own dataset, where these are still there. A private
    model is calibrated on its own samples: held-out rows beside it would say what privacy promises not to."""

    def work(session: Session) -> JobView:
        quotas.admit(session, context.settings, once.project_id)
        scope = Scope(session, once.project_id)
        dataset = scope.get(Dataset, wish.dataset_id, lock=True)
        model = scope.get(Model, wish.model_id, lock=True)
        jobs.refuse_unless_ready(model)
        _refuse_unfit(dataset, model, modalities.spec(model.modality))
        private = bool(model.config.get("privacy"))
        resolved: dict[str, Any] = {
            "modality": model.modality,
            "calibration": "model_samples" if private else "held_out",
            "seed": SEED,
            "format": FORMAT,
        }
        job = open_job(
            session,
            once.project_id,
            JobKind.SCORE,
            resolved,
            name=wish.name,
            retention_seconds=wish.retention_seconds or context.settings.retention_seconds,
            dataset_id=dataset.id,  # which is thereby in use until the job has ended
            model_id=model.id,
            priority=wish.priority,
        )
        return jobs.view(session, job)

    return jobs.and_ring(context, answer(context, once, 201, work))


def _refuse_unfit(dataset: Dataset, model: Model, spec: ModalitySpec) -> None:
    """Raises DatasetNotReady, InvalidRequest."""
    if dataset.status != DatasetStatus.READY:
        raise DatasetNotReady(f"The dataset is {dataset.status}; it can be scored once it is ready.")
    if spec.check_scored is None:
        able = ", ".join(one.title.lower() for one in modalities.specs() if one.check_scored)
        raise refuse("model_id", f"{spec.title} cannot be scored; that goes with {able}.")
    if dataset.modality != model.modality:
        raise refuse("dataset_id", f"The dataset holds no {spec.title.lower()}, which is what the model knows.")
    spec.check_scored(model.schema, dataset.schema or {})
