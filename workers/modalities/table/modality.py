"""Tables, tied together: what the job system calls. Torch is imported when a network is needed, not to read files."""

from __future__ import annotations

from pathlib import Path

from service.domain.modality import TrainConfig
from workers.modalities import (
    Augmenter,
    Dataset,
    Ingested,
    Json,
    PartSink,
    Preparing,
    Progress,
    Sampler,
    Training,
    unheard,
)
from workers.modalities.scoring import Scorer, Upload
from workers.modalities.table import files
from workers.modalities.table.spec import TableConfig


class Table:
    def ingest(
        self, source: Path, filename: str, options: Json, seed: int, sink: PartSink, progress: Progress
    ) -> Ingested:
        return files.ingest(source, options, seed, sink, progress)

    def training(self, dataset: Dataset, config: TrainConfig, device: str, preparing: Preparing = unheard) -> Training:
        own = config if isinstance(config, TableConfig) else TableConfig.model_validate(config.model_dump())
        if own.privacy is not None:
            from workers.modalities.table.private.training import PrivateTraining

            return PrivateTraining(dataset, own, own.privacy, device, preparing)
        from workers.modalities.table.training import TableTraining

        return TableTraining(dataset, own, device, preparing)

    def sampler(self, directory: Path, device: str) -> Sampler:
        from workers.modalities.table.sampler import TableSampler

        return TableSampler(directory, device)

    def augmenter(self, dataset: Dataset, directory: Path, device: str, wish: Json) -> Augmenter:
        from workers.modalities.table.augment import TableAugmenter
        from workers.modalities.table.sampler import TableSampler

        return TableAugmenter(dataset, TableSampler(directory, device), wish)

    def scorer(self, reference: Dataset | None, upload: Upload, directory: Path, device: str, seed: int) -> Scorer:
        from workers.modalities.table.scoring import TableScorer

        return TableScorer(reference, upload, directory, device, seed)


MODALITY = Table()
