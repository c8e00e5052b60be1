"""The registry of modalities: one line each. Loads only the torch-free `spec` of each folder."""

from functools import cache
from importlib import import_module

from service.domain.modality import ModalitySpec

MODALITIES = {
    "table": "workers.modalities.table",
    "images": "workers.modalities.images",
}


@cache
def spec(name: str) -> ModalitySpec:
    """The spec of one modality. Raises KeyError for an unknown name."""
    found: ModalitySpec = import_module(f"{MODALITIES[name]}.spec").SPEC
    return found


def specs() -> list[ModalitySpec]:
    return [spec(name) for name in MODALITIES]
