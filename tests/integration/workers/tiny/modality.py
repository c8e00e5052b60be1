"""Reads numbers, without torch; misbehaves at the words that an upload may begin with."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from service.domain.modality import TrainConfig
from service.errors import Rejected
from tests.integration.workers.tiny.spec import TinyConfig
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


class Tiny:
    def ingest(
        self, source: Path, filename: str, options: Json, seed: int, sink: PartSink, progress: Progress
    ) -> Ingested:
        name: object = "x"
        words = source.read_text().split()[1:]
        match words[:1]:
            case ["reject"]:
                raise Rejected("too_silly", "This file is too silly.")
            case ["bug"]:
                raise ZeroDivisionError("a secret of the operator's")
            case ["segfault"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["hog"]:
                np.ones(2**40, dtype=np.uint8)
            case ["deaf"]:
                time.sleep(60)
            case ["print"]:
                print("noise that is no JSON", flush=True)
                words = words[1:]
            case ["nul"]:
                words, name = words[1:], "x\0y"
            case ["unjson"]:
                words, name = words[1:], np.float32(1)
        numbers = np.array([float(word) for word in words], dtype=np.float32)
        with sink.part("train", ".safetensors") as path:
            save_file({"x": numbers}, path)
        progress(1, 1)
        return Ingested(len(numbers), {"modality": "tiny", "name": name}, {"mean": float(numbers.mean())})

    def training(self, dataset: Dataset, config: TrainConfig, device: str, preparing: Preparing = unheard) -> Training:
        from tests.integration.workers.tiny.training import TinyTraining

        assert isinstance(config, TinyConfig)
        for done in range(round(config.fit_pause / 0.05)):
            preparing("fitting", 0.05 * done, config.fit_pause + 1.0)
            time.sleep(0.05)
        return TinyTraining(dataset, config)

    def sampler(self, directory: Path, device: str) -> Sampler:
        from tests.integration.workers.tiny.training import TinySampler

        return TinySampler(directory)

    def augmenter(self, dataset: Dataset, directory: Path, device: str, wish: Json) -> Augmenter:
        from tests.integration.workers.tiny.augmenting import TinyAugmenter

        return TinyAugmenter(dataset, directory, wish)


MODALITY = Tiny()
