"""Objects in the bucket that nothing in the database knows: left by a restored backup, a lost row, an old defect.

Reads the bucket a page at a time and asks the database about each page, so that memory does not grow with the bucket.
What is not named as this version names its objects is left alone: a newer one may have put it there."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.tables import Dataset, Job, Model, Trash, Unit, Upload
from service.domain.states import ENDED, DatasetStatus, JobKind, ModelStatus, State
from service.usecases import cards
from service.usecases.finalize import manifest_key

GRACE_SECONDS = 86_400.0  # an object is there before the row that names it; and no copy of a database is so much older
KEY = re.compile(r"(projects/[^/]+/)(datasets|models|jobs|outputs)/([^/]+)/(.+)")
SHARD = re.compile(r"part-(\d+)-a\d+\..+")


@dataclass(frozen=True)
class Orphan:
    key: str
    bytes: int
    written: float  # seconds since 1970


@dataclass(frozen=True)
class Named:
    """An object whose key says what it belongs to."""

    orphan: Orphan
    project: str  # a prefix
    place: str  # datasets, models, jobs, outputs
    owner: str  # an id
    rest: str


def find(context: Context, older: float = GRACE_SECONDS, *, delete: bool = False) -> Iterator[Orphan]:
    """Each orphan that was written more than `older` seconds ago; with `delete` it is gone when it is told."""
    for page in context.storage.pages("projects/"):
        latest = time.time() - older
        named = list(_named(Orphan(*item) for item in page if item[2] < latest))
        if not named:
            continue
        with context.database.read() as session:
            known = _known(session, named)
        for one in named:
            if one.orphan.key not in known:
                if delete:
                    context.storage.delete_one(one.orphan.key)
                yield one.orphan


def _named(objects: Iterable[Orphan]) -> Iterator[Named]:
    for found in objects:
        if match := KEY.fullmatch(found.key):
            yield Named(found, match[1], match[2], match[3], match[4])


def _known(session: Session, named: list[Named]) -> set[str]:
    """The keys of those objects that a row names, or that are in the trash and so will go by themselves."""
    by_place: dict[str, dict[str, list[Named]]] = defaultdict(lambda: defaultdict(list))
    for one in named:
        by_place[one.place][one.owner].append(one)
    known = set(_in_trash(session, named))
    known |= _of_datasets(session, by_place["datasets"])
    known |= _of_models(session, by_place["models"])
    known |= _of_jobs(session, by_place["jobs"])
    return known | _of_outputs(session, by_place["outputs"])


def _in_trash(session: Session, named: list[Named]) -> Iterator[str]:
    """Prefixes in the trash are folders of ours, beginnings of parts, or whole keys: each is looked up as such."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for one in named:
        key = one.orphan.key
        cuts = [i + 1 for i, letter in enumerate(key) if letter in "/-"]
        for prefix in {key, *(key[:cut] for cut in cuts)}:
            wanted[prefix].append(key)
    prefixes = list(wanted)
    for start in range(0, len(prefixes), 500):
        for prefix in session.scalars(select(Trash.prefix).where(Trash.prefix.in_(prefixes[start : start + 500]))):
            yield from wanted[prefix]


def _of_datasets(session: Session, owners: dict[str, list[Named]]) -> set[str]:
    known = set()
    for row in _rows(session, Dataset, owners):
        uploads = select(Upload.key).where(Upload.dataset_id == row.id)
        keys = {row.source_key, *(part["key"] for part in row.parts), *session.scalars(uploads)}
        moving = row.status in (DatasetStatus.EMPTY, DatasetStatus.INGESTING)
        known |= {one.orphan.key for one in owners[row.id] if moving or one.orphan.key in keys}
    return known


def _of_models(session: Session, owners: dict[str, list[Named]]) -> set[str]:
    known = set()
    for row in _rows(session, Model, owners):
        prefix = f"projects/{row.project_id}/models/{row.id}/" if row.status == ModelStatus.TRAINING else row.prefix
        known |= {one.orphan.key for one in owners[row.id] if prefix and one.orphan.key.startswith(prefix)}
    return known


def _of_jobs(session: Session, owners: dict[str, list[Named]]) -> set[str]:
    """Whatever a job needs that has not ended; of a training that has, its film; of a preview, its samples. What a
    failed job left, as long as it can be retried, is in the trash."""
    known = set()
    for row in _rows(session, Job, owners):
        ended = row.state in ENDED
        for one in owners[row.id]:
            if not ended or row.kind == JobKind.PREVIEW or one.rest.startswith("film/"):
                known.add(one.orphan.key)
    return known


def _of_outputs(session: Session, owners: dict[str, list[Named]]) -> set[str]:
    known = set()
    for row in _rows(session, Job, owners):
        keys = {one.orphan.key for one in owners[row.id]}
        if row.state in (State.QUEUED, State.RUNNING):
            known |= keys
        elif row.state == State.SUCCEEDED and not ((row.result or {}).get("output") or {}).get("deleted"):
            known |= keys & {manifest_key(row), *cards.keys(row), *_files(session, row, owners[row.id])}
    return known


def _files(session: Session, job: Job, among: list[Named]) -> Iterator[str]:
    """The keys of the output's files, of a generation only those that are asked about."""
    results = select(Unit.result).where(Unit.job_id == job.id, Unit.state == State.SUCCEEDED)
    if job.kind == JobKind.GENERATE:
        results = results.where(
            Unit.index.in_([int(match[1]) for one in among if (match := SHARD.fullmatch(one.rest))])
        )
    for result in session.scalars(results):
        yield from (str(file["key"]) for file in (result or {}).get("files") or [result or {}] if "key" in file)


def _rows(session: Session, table: type[Any], owners: dict[str, list[Named]]) -> list[Any]:
    """The rows of these ids, each in the project that the keys say."""
    rows = session.scalars(select(table).where(table.id.in_(list(owners)))).all() if owners else []
    return [row for row in rows if owners[row.id][0].project == f"projects/{row.project_id}/"]
