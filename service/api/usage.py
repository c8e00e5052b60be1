"""/v1/usage: what the caller's project has, and what it may have."""

from fastapi import APIRouter

from service.api.dependencies import Parts, Who
from service.api.problems import documented
from service.domain.views import UsageView
from service.usecases import quotas

router = APIRouter(prefix="/v1/usage", tags=["usage"])


@router.get("", operation_id="get_usage", summary="What the project has, and what it may have", responses=documented())
def get_usage(parts: Parts, who: Who) -> UsageView:
    return quotas.usage(parts, who.project_id)
