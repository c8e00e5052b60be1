"""The output of a finished generation: its manifest, with a URL for each file."""

import json

from sqlalchemy import select

from service.bootstrap import Context
from service.db.database import Scope, now
from service.db.tables import Job
from service.domain.states import WITH_OUTPUT, State
from service.domain.views import CardFile, OutputFile, OutputView, moment
from service.errors import JobNotSucceeded, NotFound
from service.storage.objects import Missing
from service.usecases.finalize import manifest_key

LARGEST_MANIFEST = 128 * 2**20  # 100,000 files of some 300 bytes each take 30 MB


def get(context: Context, project_id: str, job_id: str) -> OutputView:
    """Raises NotFound for a job that makes no files, JobNotSucceeded before it has succeeded."""
    with context.database.read() as session:
        job = Scope(session, project_id).get(Job, job_id)
        at: float = session.scalar(select(now())) or 0.0
    if job.kind not in WITH_OUTPUT:
        raise NotFound(f"A job of kind {job.kind} has no output; only 'generate', 'augment' and 'score' have.")
    if job.state != State.SUCCEEDED:
        raise JobNotSucceeded(f"The job is {job.state}; there is an output once it has succeeded.")
    if job.expires_at is not None and job.expires_at <= at:
        raise NotFound("The output is not kept any more.")
    try:
        manifest = json.loads(context.storage.get(manifest_key(job), LARGEST_MANIFEST))
    except Missing:
        raise NotFound("The output is not kept any more.") from None
    seconds = context.settings.url_seconds
    files, cards = (
        [view(**file, url=context.storage.sign_get(file["key"], seconds, file["name"])) for file in listed]
        for view, listed in ((OutputFile, manifest["files"]), (CardFile, manifest.get("cards", [])))
    )
    return OutputView(**(manifest | {"files": files, "cards": cards, "expires_at": moment(at + seconds)}))
