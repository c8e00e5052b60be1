"""Registers the tests' modality in every process of a worker that has this folder on its PYTHONPATH."""

from service.modalities import MODALITIES

MODALITIES["tiny"] = "tests.integration.workers.tiny"
