"""Ends a job whose files are all there: cards, then the manifest as the last object, then the job flips.

Any process may do this at any time, and several at once: the manifest's bytes depend on the rows alone."""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from service.bootstrap import Context
from service.db.tables import Job, Model, Unit
from service.domain.states import JobKind, State
from service.usecases import cards, moves, payloads

TOLD = {JobKind.AUGMENT: "augmented", JobKind.SCORE: "scored"}  # whose last unit says more: its name in the manifest


def finalize(context: Context, job_id: str) -> bool:
    """Write the manifest and let the job succeed. False if it is not ready for that, or has ended."""
    with context.database.read() as session:
        job = session.get(Job, job_id)
        if job is None or job.state != State.RUNNING or job.units_done < job.units_total:
            return False
        units = list(session.scalars(select(Unit).where(Unit.job_id == job_id).order_by(Unit.index)))
        if any(unit.state != State.SUCCEEDED for unit in units):
            return False
        model = session.get(Model, job.model_id)
        made = cards.of(model)
        written = manifest(job, made.modality, units)
    written["cards"] = cards.put(context, job, made, written)
    body = json.dumps(written, indent=1).encode()
    context.storage.put(manifest_key(job), body, "application/json")
    files = written["files"]
    output = {
        "files": len(files),
        "rows": sum(file["rows"] for file in files),
        "bytes": sum(file["bytes"] for file in files),
    }
    result = {"output": output}
    if job.kind in TOLD:
        result = {"model_id": job.model_id} | result | written[TOLD[JobKind(job.kind)]]
    with context.database.begin() as session:
        held = moves.hold(session, job_id)
        if held is None or not moves.move(session, held, State.SUCCEEDED, result=result):
            return False
        held.stored_bytes = output["bytes"]
        return True


def manifest_key(job: Job) -> str:
    return cards.prefix(job) + "manifest.json"


def manifest(job: Job, modality: str, units: list[Unit]) -> dict[str, Any]:
    """What the output holds, and how it was asked for. Whoever has the manifest has the whole output."""
    ended = max(unit.finished_at or 0.0 for unit in units)
    last = units[-1].result or {}
    told = TOLD.get(JobKind(job.kind))
    made = last["files"] if told else [unit.result or {} for unit in units]
    return {
        "job_id": job.id,
        "model_id": job.model_id,
        "modality": modality,
        "format": job.spec["format"],
        "count": sum(file["rows"] for file in made) if told else job.spec["count"],
        "seed": job.spec["seed"],
        "conditions": job.spec.get("conditions") or {},
        **{name: job.spec[name] for name in ("given", "copies", "options", "gate") if name in job.spec},
        "created_at": datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **({told: last["told"]} if told else {}),
        "files": [
            {"name": payloads.shard_name(index, job.spec["format"])}
            | {name: file[name] for name in ("key", "bytes", "sha256", "rows")}
            for index, file in enumerate(made)
        ],
    }
