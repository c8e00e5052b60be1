"""The film of a training: pictures from the same noise, one each time that the run was evaluated."""

from collections.abc import Mapping

from service.bootstrap import Context
from service.db.database import Scope
from service.db.tables import Job
from service.domain.film import latest
from service.domain.views import FilmView, Frame
from service.errors import NotFound
from service.storage.objects import Missing
from service.usecases import payloads


def get(context: Context, project_id: str, job_id: str) -> FilmView:
    """The frames so far, in order of steps; none of a job that makes no pictures."""
    seconds = context.settings.url_seconds
    frames = _frames(context, project_id, job_id).items()
    return FilmView(data=[Frame(step=step, url=context.storage.sign_get(key, seconds)) for step, key in frames])


def frame(context: Context, project_id: str, job_id: str, step: int) -> bytes:
    """The PNG of one step. Raises NotFound."""
    absent = NotFound("There is no picture of this step; the job's film lists those that there are.")
    key = _frames(context, project_id, job_id).get(step)
    if key is None:
        raise absent
    try:
        return context.storage.get(key)
    except Missing:  # deleted while we look
        raise absent from None


def _frames(context: Context, project_id: str, job_id: str) -> Mapping[int, str]:
    """As the bucket has them: a frame is there from its upload to the end of what it belongs to."""
    with context.database.read() as session:
        job = Scope(session, project_id).get(Job, job_id)
    return latest(context.storage.keys(payloads.film_prefix(project_id, job.id)))
