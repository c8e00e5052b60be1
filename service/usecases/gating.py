"""Gates: what is required of a model's figures is stored with it, and held against its report before files are made.

A gate that fails marks the model, refuses jobs that would make files of it, and ends an augmentation after its
training. To go on all the same is a wish of its own, which the job's events, its spec and the manifest tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from service import modalities
from service.db.tables import ApiKey, Job, Model
from service.domain import gate
from service.domain.modality import ModalitySpec
from service.domain.states import JobKind, ModelStatus
from service.errors import GateFailed, InvalidRequest
from service.usecases import events, moves

KEY = "require"  # in the config of a model's row: its own gate, beside what it was trained with
TOLD = 3  # figures in the sentence of a refusal; `errors` has them all


@dataclass(frozen=True)
class Demand:
    """What a job requires of the figures, or that it does not matter, says the key of this id, and why."""

    require: gate.Require = field(default_factory=dict)
    override: bool = False
    reason: str | None = None
    key_id: str | None = None


def refuse_unknown(spec: ModalitySpec, require: gate.Require) -> None:
    """Raises InvalidRequest for figures that no report of this modality has."""
    known = ", ".join(sorted(spec.figures)) or "no figures"
    errors = [
        {"path": f"{KEY}.{name}", "message": f"There is no figure {name[:60]!r}; reports of {spec.name} have {known}."}
        for name in require
        if name not in spec.figures
    ]
    if errors:
        raise InvalidRequest(errors[0]["message"], errors=errors)


def with_gate(config: Mapping[str, Any], require: gate.Require) -> dict[str, Any]:
    """The config for a model's row, which holds what is required of its figures as well."""
    return {**config, **({KEY: require} if require else {})}


def without_gate(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the model was trained with."""
    return {name: value for name, value in config.items() if name != KEY}


def shown(model: Model) -> dict[str, Any] | None:
    """How the model stands against its own gate; `passed` is null where there is no report yet. None without a gate."""
    require = model.config.get(KEY)
    if not require:
        return None
    if model.status != ModelStatus.READY:
        return gate.Outcome(require).to_json() | {"passed": None}
    return _held(model, require).to_json()


def admit(session: Session, model: Model, demand: Demand) -> dict[str, Any]:
    """What a job that makes files of this ready model has in its spec about gates: the model's own and the job's.

    Raises InvalidRequest for unknown figures, GateFailed with the figures unless the job overrides that."""
    refuse_unknown(modalities.spec(model.modality), demand.require)
    require = gate.both(model.config.get(KEY) or {}, demand.require)
    if not require:
        return {}
    outcome = _held(model, require)
    if not outcome.passed and not demand.override:
        found = outcome.sentences()
        raise GateFailed(
            f"The model fails its gate: {' '.join(sentence for _, sentence in found[:TOLD])}",
            errors=[{"path": f"{KEY}.{name}", "message": sentence} for name, sentence in found],
        )
    return {"gate": outcome.to_json() | _override(session, demand)}


def awaited(session: Session, demand: Demand) -> dict[str, Any]:
    """The same of a job that is to train its model first: the outcome follows."""
    if not demand.require:
        return {}
    waits = gate.Outcome(gate.both({}, demand.require)).to_json() | {"passed": None}
    return {"gate": waits | _override(session, demand)}


def note(session: Session, job: Job) -> None:
    """Say in the job's events that a gate was overridden, if it was."""
    told = job.spec.get("gate") or {}
    if told.get("passed") is not False or "override" not in told:
        return
    key, reason = told["override"]["key"], told["override"]["reason"]
    why = f": {reason.rstrip('.')}" if reason else ""
    outcome = gate.read(told)
    sentences = " ".join(sentence for _, sentence in outcome.sentences())
    text = f"The gate was overridden by key {key}{why}. {sentences}"
    events.append(session, job.id, "message", text, "warning", {"gate": outcome.to_json()})


def trained(session: Session, job: Job) -> bool:
    """The job's model is ready: hold it against its gate, and say where it fails. Whether the job may go on; one that
    may not has failed with it, and the model stays."""
    model = session.get(Model, job.model_id, populate_existing=True)
    if model is None or not model.config.get(KEY):
        return True
    outcome = _held(model, model.config[KEY])
    if job.kind == JobKind.AUGMENT:
        job.spec = {**job.spec, "gate": {**(job.spec.get("gate") or {}), **outcome.to_json()}}
        session.flush()
    if outcome.passed:
        return True
    sentences = " ".join(sentence for _, sentence in outcome.sentences())
    if job.kind != JobKind.AUGMENT:
        text = f"The model is kept and fails its gate. {sentences}"
        events.append(session, job.id, "message", text, "warning", {"gate": outcome.to_json()})
        return True
    if "override" in job.spec["gate"]:
        note(session, job)
        return True
    if job.cancel_requested_at is not None:  # what comes next is cancelled, and the job with it
        return True
    text = f"The model that was trained fails its gate, so no rows were made of it; it is kept. {sentences}"
    moves.fail(session, job, GateFailed.code, text, 0.0)
    job.retry_until = None  # a retry would meet the same gate
    return False


def _held(model: Model, require: gate.Require) -> gate.Outcome:
    return gate.held(model.report, require, modalities.spec(model.modality).figures)


def _override(session: Session, demand: Demand) -> dict[str, Any]:
    """Who says that the gate does not matter, and why, if anybody does."""
    if not demand.override:
        return {}
    key = session.get(ApiKey, demand.key_id) if demand.key_id else None
    return {"override": {"key": key.name if key else None, "reason": demand.reason}}
