"""/v1/modalities: what can be trained, read from each modality's spec."""

from fastapi import APIRouter

from service import modalities
from service.api.dependencies import Who
from service.api.problems import documented
from service.domain.modality import ModalitySpec
from service.domain.views import Modalities, ModalityView

router = APIRouter(prefix="/v1/modalities", tags=["modalities"])


@router.get("", operation_id="list_modalities", summary="What can be trained, and how", responses=documented())
def list_modalities(who: Who) -> Modalities:
    return Modalities(data=[_view(spec) for spec in modalities.specs()])


def _view(spec: ModalitySpec) -> ModalityView:
    return ModalityView(
        name=spec.name,
        title=spec.title,
        summary=spec.summary,
        extensions=list(spec.extensions),
        formats=list(spec.formats),
        preview=spec.preview,
        augments=spec.check_target is not None,
        scores=spec.check_scored is not None,
        completes=spec.check_given is not None,
        figures=sorted(spec.figures),
        config=spec.train_config.model_json_schema(),
        options=spec.dataset_options.model_json_schema(),
        generate_options=spec.generate_options.model_json_schema(),
    )
