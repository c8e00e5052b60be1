"""Which unit is due: the order of claims, their limits, and that a long line is no slower than a short one."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Job, Model, Project, Unit
from service.domain.ids import new_id
from service.domain.states import URGENT, JobKind, Priority, State
from service.usecases import due, jobs, quotas, sweep, units
from service.usecases.opening import open_job
from tests.contracts.test_units import ingest_job, let_expire, unit_of, with_settings

MADE = {"key": "k", "rows": 1, "bytes": 5, "sha256": "0"}
MANY = 100_000
BAR = 0.020  # seconds
TIMES = 20
WHOLE = re.compile(
    r"SCAN (units|jobs)\b(?! USING (COVERING )?INDEX ix_(units_running|jobs_asked))"  # which hold a few rows each
    r"|Seq Scan on (units|jobs).*\.\.\d{3,}\.|B-TREE FOR ORDER"
)


@pytest.fixture
def projects(context: Context) -> list[str]:
    return [add_project(context) for _ in range(3)]


def add_project(context: Context, id: str | None = None, **quotas: int) -> str:
    id = id or new_id("prj")
    with context.database.begin() as session:
        session.add(Project(id=id, name="test", created_at=0.0, **quotas))
        session.flush()
        session.add(
            Model(
                id=model_of(id), project_id=id, created_at=0.0, name="m", status="ready",
                modality="table", dataset_id="ds_x", job_id="job_x", schema={}, config={}, prefix="projects/p/m/a1/",
            )
        )  # fmt: skip
    return id


def model_of(project: str) -> str:
    return f"mdl_{project}"


def generation(
    context: Context, project: str, shards: int = 1, priority: Priority = Priority.NORMAL, kind: JobKind | None = None
) -> str:
    spec = {"count": shards, "seed": 3, "format": "csv", "conditions": {}}
    with context.database.begin() as session:
        job = open_job(
            session, project, kind or JobKind.GENERATE, spec, model_id=model_of(project), priority=priority,
            payloads=[{"start": i, "count": 1} for i in range(shards)], total=shards,
        )  # fmt: skip
    return job.id


def take(context: Context, *queues: str, least: int = due.LOWEST) -> units.Claimed | None:
    return due.claim_next(context, queues or ("cpu", "gpu"), "wrk_a", least)


def taken(context: Context, times: int) -> list[str]:
    """The jobs of the next claims."""
    return [one.job_id if one else "" for one in (take(context) for _ in range(times))]


def done(context: Context, claimed: units.Claimed) -> None:
    assert units.finish(context, claimed.unit_id, claimed.attempt, MADE)


def test_the_highest_priority_goes_first_and_then_the_oldest(context: Context, projects: list[str]) -> None:
    asked = (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.LOW, Priority.HIGH)
    jobs = [generation(context, projects[0], priority=priority) for priority in asked]
    assert taken(context, 6) == [jobs[2], jobs[4], jobs[1], jobs[0], jobs[3], ""]


def test_shards_are_taken_in_order(context: Context, projects: list[str]) -> None:
    job = generation(context, projects[0], 4)
    got = [take(context) for _ in range(4)]
    assert [one.payload["start"] for one in got if one] == [0, 1, 2, 3]
    assert {one.job_id for one in got if one} == {job}


def test_the_project_with_the_fewest_running_units_goes_first(context: Context, projects: list[str]) -> None:
    first, second, third = projects
    large, other = generation(context, first, 50), generation(context, first, 50)
    small, last = generation(context, second, 2), generation(context, third, 1)
    assert taken(context, 3) == [large, small, last]  # one each, oldest first
    assert taken(context, 1) == [other]  # of those with one each, the only job with none
    assert taken(context, 3) == [small, large, other]  # now the first project has two, of which each job has one


def test_of_one_project_the_job_with_the_fewest_running_units_goes_first(context: Context, projects: list[str]) -> None:
    large = generation(context, projects[0], 1_000)
    got = [take(context) for _ in range(5)]
    small = [generation(context, projects[0], 1) for _ in range(3)]
    assert taken(context, 4) == [*small, large]
    assert {one.job_id for one in got if one} == {large}


def test_a_slot_that_is_freed_goes_to_whoever_has_least(context: Context, projects: list[str]) -> None:
    large = generation(context, projects[0], 1_000)
    first, second = take(context), take(context)
    assert first
    assert second
    small = generation(context, projects[1], 1)
    done(context, first)
    assert taken(context, 1) == [small]
    done(context, second)
    assert taken(context, 1) == [large]


def test_a_single_slot_goes_round(context: Context, projects: list[str]) -> None:
    first, second = generation(context, projects[0], 9), generation(context, projects[0], 9)
    other = generation(context, projects[1], 3)
    served = []
    for _ in range(12):
        claimed = take(context)
        assert claimed
        served.append(claimed.job_id)
        done(context, claimed)
    assert served == [first, other, second, other, first, other, second, first, second, first, second, first]


def test_no_more_shards_of_a_job_run_than_are_allowed(context: Context, projects: list[str]) -> None:
    context = with_settings(context, shards_in_flight=2)
    large, small = generation(context, projects[0], 10), generation(context, projects[0], 3)
    assert sorted(taken(context, 5)) == sorted(["", large, large, small, small])
    with context.database.read() as session:
        running = session.scalars(select(Unit).where(Unit.job_id == large, Unit.state == State.RUNNING)).all()
    done(context, units.Claimed(running[0].id, large, 1, JobKind.GENERATE, {}))
    assert taken(context, 2) == [large, ""]


def test_units_of_a_project_wait_for_its_share_of_gpus(context: Context) -> None:
    context = with_settings(context, quota_gpu_units=3)
    one, three, none = (
        add_project(context, quota_gpu_units=1),
        add_project(context),
        add_project(context, quota_gpu_units=0),
    )
    mine = [generation(context, one, priority=Priority.HIGH) for _ in range(2)]
    theirs, never = generation(context, three, 5), generation(context, none)
    assert taken(context, 5) == [mine[0], theirs, theirs, theirs, ""]
    running = unit_of(context, mine[0])
    done(context, units.Claimed(running.id, mine[0], 1, JobKind.GENERATE, {}))
    assert taken(context, 2) == [mine[1], ""]
    assert unit_of(context, never).state == State.QUEUED
    upload = ingest_job(context, none)  # which takes no GPU
    preview = generation(context, none, kind=JobKind.PREVIEW)  # somebody waits for it, and it is over at once
    assert taken(context, 3) == [preview, upload, ""]


def test_a_worker_takes_from_its_own_queues_alone(context: Context, projects: list[str]) -> None:
    upload, made = ingest_job(context, projects[0]), generation(context, projects[0])
    only = take(context, "gpu")
    assert only
    assert only.job_id == made
    assert take(context, "gpu") is None
    only = take(context, "cpu")
    assert only
    assert only.job_id == upload


def test_a_preview_goes_before_all_and_can_be_asked_for_alone(context: Context, projects: list[str]) -> None:
    generation(context, projects[0], 3, priority=Priority.HIGH)
    assert take(context, least=URGENT) is None
    preview = generation(context, projects[0], kind=JobKind.PREVIEW)
    assert taken(context, 1) == [preview]
    assert take(context, least=URGENT) is None


def test_a_unit_that_is_held_off_is_passed_over(context: Context, projects: list[str]) -> None:
    held, other = generation(context, projects[0], 2), generation(context, projects[0], 1)
    first = take(context)
    assert first
    assert units.release(context, first.unit_id, first.attempt, drained=False)
    assert taken(context, 3) == [held, other, ""]
    with context.database.begin() as session:
        session.execute(update(Unit).where(Unit.id == first.unit_id).values(available_at=now()))
    assert taken(context, 1) == [held]


def test_a_lost_unit_is_due_as_soon_as_the_sweep_has_seen_it(context: Context, projects: list[str]) -> None:
    job = generation(context, projects[0])
    first = take(context)
    assert first
    assert taken(context, 1) == [""]
    let_expire(context, first.unit_id)
    sweep.reconcile(context)
    assert taken(context, 2) == [job, ""]


def test_what_is_not_wanted_any_more_does_not_block_the_line(context: Context, projects: list[str]) -> None:
    cancelled, gone, last = (generation(context, projects[0], 2) for _ in range(3))
    with context.database.begin() as session:
        session.execute(update(Job).where(Job.id == cancelled).values(cancel_requested_at=now()))
        session.execute(update(Job).where(Job.id == gone).values(model_id="mdl_x"))
    assert taken(context, 3) == [last, last, ""]
    assert unit_of(context, cancelled).state == State.CANCELLED
    with context.database.read() as session:
        assert (session.get_one(Job, gone).error or {})["code"] == "gone"


def test_many_that_claim_at_once_take_each_unit_once_and_keep_the_limits(context: Context, projects: list[str]) -> None:
    context = with_settings(context, shards_in_flight=5, quota_gpu_units=8)
    jobs = [generation(context, project, 6) for project in projects[:2] for _ in range(2)]
    with ThreadPoolExecutor(12) as pool:
        got = [one for one in pool.map(lambda _: take(context), range(30)) if one]
    assert len({(one.unit_id, one.attempt) for one in got}) == len(got) == 16
    assert sorted(Counter(one.job_id for one in got).values()) == [4, 4, 4, 4]
    assert {one.job_id for one in got} == set(jobs)


def test_a_sweep_wakes_no_more_workers_than_there_are_units_to_take(context: Context, projects: list[str]) -> None:
    context = with_settings(context, shards_in_flight=3)
    rung = broker(context)
    sweep.reconcile(context)
    assert rung() == 0
    generation(context, projects[0], 10)
    for _ in range(3):
        sweep.reconcile(context)
        assert rung() == 3
    context.doorbell.app.control.purge()  # lost
    assert len([one for one in taken(context, 4) if one]) == 3
    sweep.reconcile(context)
    assert rung() == 0  # as many run as may


def broker(context: Context) -> Callable[[], int | None]:
    context.doorbell.app.control.purge()
    return lambda: context.doorbell.waiting("gpu")


JOBS = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :jobs - 1)
INSERT INTO jobs (id, project_id, model_id, units_total, created_at, kind, state, spec, units_done, event_count)
SELECT 'job_' || (1000000 + i), 'prj_' || (1000000 + i % :owners), 'mdl_prj_' || (1000000 + i % :owners), :shards, 0,
  'generate', 'queued', '{"count": 1, "seed": 1, "format": "csv"}', 0, 0 FROM n"""
UNITS = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :shards - 1)
INSERT INTO units (id, project_id, job_id, "index", created_at, available_at, kind, state, queue, attempt, failures,
  payload)
SELECT 'unit_' || jobs.id || i, project_id, jobs.id, i, 0, 0, 'generate', 'queued', 'gpu', 0, 0,
  '{"start": 0, "count": 1}' FROM jobs, n WHERE jobs.id >= 'job_1'"""


def long_line(context: Context, jobs: int, shards: int, owners: int) -> None:
    """So many queued jobs of so many projects in turn, of so many units each."""
    for i in range(owners):
        add_project(context, f"prj_{1_000_000 + i}")
    with context.database.begin() as session:
        for rows in (JOBS, UNITS):
            session.execute(text(rows.replace('": ', '"\\: ')), {"jobs": jobs, "shards": shards, "owners": owners})
    if context.database.engine.dialect.name == "postgresql":
        with context.database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")


LINES = {"a job each": (MANY, 1, 10), "a job of all": (1, MANY, 1), "many projects": (MANY // 10, 10, 200)}


@pytest.mark.parametrize("line", LINES)
def test_in_a_long_line_a_claim_is_as_quick_and_reads_no_table(context: Context, line: str) -> None:
    generation(context, add_project(context), TIMES)
    short = quickest(context)
    long_line(context, *LINES[line])
    with statements(context) as seen, context.database.read() as session:
        assert due.pick(session, context.settings, ["cpu", "gpu"])
    with statements(context) as claiming:
        assert take(context)
    for statement, parameters in seen + claiming:
        assert not reads_all(context, statement, parameters)
    assert quickest(context) < max(BAR, 3 * short)  # on cores that others keep busy, even a short line takes its time


def test_with_a_long_line_a_sweep_and_a_list_are_quick_and_read_no_table(context: Context) -> None:
    long_line(context, *LINES["a job each"])
    project = f"prj_{1_000_000}"
    with statements(context) as seen:
        sweep.reconcile(context)
        for kind, state in ((None, None), (JobKind.TRAIN, None), (None, State.FAILED), (JobKind.TRAIN, State.QUEUED)):
            jobs.page(context, project, 20, None, kind, state)
        quotas.usage(context, project)
    for statement, parameters in seen:
        assert not reads_all(context, statement, parameters), statement


def quickest(context: Context) -> float:
    """Seconds of a claim; where the database is part of this process, of its CPU."""
    clock = time.thread_time if context.database.engine.dialect.name == "sqlite" else time.perf_counter
    spent = []
    for _ in range(TIMES):
        start = clock()
        assert take(context)
        spent.append(clock() - start)
    return min(spent)


@contextmanager
def statements(context: Context) -> Iterator[list[tuple[str, Any]]]:
    """What the database is asked meanwhile."""
    seen: list[tuple[str, Any]] = []

    def remember(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(context.database.engine, "before_cursor_execute", remember)
    try:
        yield seen
    finally:
        event.remove(context.database.engine, "before_cursor_execute", remember)


def reads_all(context: Context, statement: str, parameters: Any) -> list[str]:
    """The steps of the database's plan that read a whole table of units or jobs, or a whole index of them."""
    explain = "EXPLAIN QUERY PLAN " if context.database.engine.dialect.name == "sqlite" else "EXPLAIN "
    if not statement.lstrip().startswith(("SELECT", "WITH", "UPDATE")):
        return []
    with context.database.engine.connect() as connection:
        plan = [" ".join(map(str, row)) for row in connection.exec_driver_sql(explain + statement, parameters)]
        connection.rollback()
    return [step for step in plan if WHOLE.search(step)]
