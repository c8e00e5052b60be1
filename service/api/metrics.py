"""What Prometheus reads: requests as they are answered, jobs as the database has them at that moment."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import func, select

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Job, Unit
from service.domain.states import ENDED, State

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)


class Meters:
    """The meters of one application. Never a project's or a job's id as a label."""

    def __init__(self, context: Context) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self._requests = Counter("mintage_http_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "mintage_http_request_duration_seconds",
            "Time to answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._uploaded = Counter("mintage_uploaded_bytes", "Bytes uploaded through the API.", registry=self.registry)
        self.registry.register(JobsNow(context))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def uploaded(self, size: int) -> None:
        self._uploaded.inc(size)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class JobsNow:
    """Gauges read from the database when Prometheus asks: every replica says the same."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def describe(self) -> Iterable[Metric]:
        """Nothing is read from the database while the application starts."""
        return []

    def collect(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily("mintage_jobs", "Jobs by kind and state.", labels=["kind", "state"])
        units = GaugeMetricFamily("mintage_units_waiting", "Units that wait for a worker.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "mintage_oldest_queued_unit_seconds", "How long the oldest waiting unit has waited.", labels=["queue"]
        )
        with self.context.database.read() as session:
            for kind, state, count in session.execute(
                select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
            ):
                jobs.add_metric([kind, state], count)
            waiting = (
                select(Unit.queue, func.count(), now() - func.min(Unit.available_at))
                .join(Job, Job.id == Unit.job_id)
                .where(Unit.state == State.QUEUED, Job.state.not_in(ENDED))
                .group_by(Unit.queue)
            )
            found = {queue: (count, age) for queue, count, age in session.execute(waiting)}
        for queue in ("cpu", "gpu"):
            count, age = found.get(queue, (0, 0.0))
            units.add_metric([queue], count)
            oldest.add_metric([queue], max(0.0, age))
        return [jobs, units, oldest]
