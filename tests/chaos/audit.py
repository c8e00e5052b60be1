"""After the storm: was every accepted job ended once, with the right bytes or a reason, and is nothing left lying?"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, text, update

from service.bootstrap import Context
from service.db.tables import Dataset, Event, Job, Model, Trash, Unit, Upload
from service.domain.machine import impossible
from service.domain.states import ENDED, WITH_OUTPUT, JobKind, ModelStatus, State
from service.usecases import sweep
from tests.chaos.clients import Accepted

# A reason that someone who is told it can act on. A unit whose worker was killed max_attempts times ends so.
REASONS = {"worker_lost", "storage_unavailable"}

Fingerprint = Any


@dataclass
class Found:
    """The counts that are printed, and sentences on what is wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, list[str]]:
        return {name: value for name, value in vars(self).items() if isinstance(value, list) and value}


def audit(context: Context, accepted: list[Accepted], known: dict[str, Fingerprint]) -> Found:
    """Holds the database and the bucket against the clients' books; `known` has each order's fingerprint in peace."""
    found = Found()
    _settle(context)
    keys = set(context.storage.keys("projects/"))
    with context.database.read() as session:
        rows = {job.id: job for job in session.scalars(select(Job))}
        for one in accepted:
            job = rows.get(one.job_id)
            if job is None:
                found.lost.append(f"{one.job_id} ({one.order.name}) is not there")
                continue
            found.counts[f"{one.order.kind} {job.state}"] += 1
            _ended(session, found, one, job)
            if job.state == State.SUCCEEDED and one.order.fails:
                found.impossible.append(f"{job.id} ({one.order.name}) succeeded")
            elif job.state == State.SUCCEEDED:
                made = fingerprint(context, one, keys)
                if made != known[one.order.name]:
                    found.corrupt.append(f"{one.job_id} ({one.order.name}): {made} is not {known[one.order.name]}")
        asked = Counter(one.job_id for one in accepted)
        found.duplicated += [f"{id} was accepted {n} times" for id, n in asked.items() if n > 1]
        unknown = [job for job in rows.values() if job.id not in asked and job.kind != JobKind.PREVIEW]
        found.duplicated += [f"nobody knows {job.id} ({job.kind}, {job.state})" for job in unknown]
        expected = set(_expected(context, session))
    found.leaked += sorted(keys - expected)
    found.lost += sorted(key for key in expected - keys)
    _whole_database(context, found)
    return found


def _settle(context: Context) -> None:
    """What is to be deleted some day is deleted now."""
    for _ in range(3):
        with context.database.begin() as session:
            session.execute(update(Trash).values(due_at=0.0))
        sweep.sweep(context)


def _ended(session: Any, found: Found, one: Accepted, job: Job) -> None:
    """One end, a reason for a failure, and a history that the states allow."""
    if job.state not in ENDED:
        found.stuck.append(f"{job.id} ({one.order.name}) is {job.state}")
        return
    units = list(session.scalars(select(Unit).where(Unit.job_id == job.id)))
    open_units = [unit.id for unit in units if unit.state not in ENDED]
    if open_units:
        found.stuck.append(f"{job.id} has ended, and {open_units} have not")
    code = (job.error or {}).get("code")
    if job.state == State.FAILED and code not in REASONS and not one.order.fails:
        found.impossible.append(f"{job.id} ({one.order.name}) failed: {job.error}")
    if job.state == State.FAILED:
        found.counts[f"failed: {code}"] += 1
    if job.state == State.CANCELLED and not one.cancelled:
        found.impossible.append(f"{job.id} was cancelled by nobody")
    events = list(session.scalars(select(Event).where(Event.job_id == job.id).order_by(Event.seq)))
    if [event.seq for event in events] != list(range(1, job.event_count + 1)):
        found.impossible.append(f"{job.id} has gaps in its events")
    states = [event.data["state"] for event in events if event.type == "state"]
    states = states if states[:1] == [State.QUEUED] else [State.QUEUED, *states]
    why = impossible(states) or (None if states[-1] == job.state else f"it is {job.state}")
    if why:
        found.impossible.append(f"{job.id} went {' > '.join(states)}: {why}")
    found.counts["attempts"] += sum(unit.attempt for unit in units)
    found.counts["attempts broken off"] += sum(max(0, unit.attempt - 1) for unit in units)


def fingerprint(context: Context, one: Accepted, keys: set[str]) -> Fingerprint:
    """What a successful job made, in hashes of the bytes that lie in the bucket; None where they are not what the
    service says that they are."""
    with context.database.read() as session:
        job = session.get_one(Job, one.job_id)
        if job.kind == JobKind.INGEST:
            dataset = session.get_one(Dataset, job.dataset_id)
            files = [(part["key"], part["rows"], part["sha256"]) for part in dataset.parts]
        elif job.kind == JobKind.TRAIN:
            model = session.get_one(Model, job.model_id)
            files = [(file["key"], file["name"], file["sha256"]) for file in model.files]
        else:
            manifest = json.loads(context.storage.get(f"projects/{job.project_id}/outputs/{job.id}/manifest.json"))
            files = [(file["key"], file["rows"], file["sha256"]) for file in manifest["files"]]
            if not all(hashed(context, card["key"]) == card["sha256"] for card in manifest["cards"]):
                return None
            beside = {key for key in keys if key.startswith(f"projects/{job.project_id}/outputs/{job.id}/part-")}
            told = (job.result or {})["output"]["rows"]
            if beside != {key for key, _, _ in files} or sum(rows for _, rows, _ in files) != told:
                return None
    with ThreadPoolExecutor(4) as pool:
        hashes = list(pool.map(lambda file: hashed(context, file[0]), files))
    if hashes != [sha for _, _, sha in files]:
        return None
    return [(name, sha) for _, name, sha in files]


def hashed(context: Context, key: str) -> str:
    return hashlib.sha256(context.storage.get(key, 1 << 30)).hexdigest()


def _expected(context: Context, session: Any) -> Iterator[str]:
    """The keys that rows point to."""
    for dataset in session.scalars(select(Dataset)):
        yield from (part["key"] for part in dataset.parts)
        if dataset.source_key:
            yield dataset.source_key
    for upload in session.scalars(select(Upload).where(Upload.completed_at.is_not(None))):
        yield upload.key
    for model in session.scalars(select(Model).where(Model.status == ModelStatus.READY)):
        yield from (file["key"] for file in model.files)
        yield from context.storage.keys(f"projects/{model.project_id}/jobs/{model.job_id}/film/")
    for job in session.scalars(select(Job).where(Job.state == State.SUCCEEDED, Job.kind.in_(WITH_OUTPUT))):
        manifest = f"projects/{job.project_id}/outputs/{job.id}/manifest.json"
        yield manifest
        written = json.loads(context.storage.get(manifest))
        yield from (file["key"] for file in [*written["files"], *written["cards"]])
    for job in session.scalars(select(Job).where(Job.kind == JobKind.PREVIEW, Job.state == State.SUCCEEDED)):
        if job.result:
            yield job.result["key"]


def _whole_database(context: Context, found: Found) -> None:
    if context.database.engine.dialect.name == "sqlite":
        with context.database.read() as session:
            said = session.execute(text("PRAGMA integrity_check")).scalars().all()
        if said != ["ok"]:
            found.corrupt += [f"the database: {line}" for line in said]
