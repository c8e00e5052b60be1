"""What every kind of work needs: the bucket, a scratch folder, the line to the supervisor, the device."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from service.storage.objects import ObjectStore
from workers.work.line import Line

STORAGE_ERRORS = (BotoCoreError, ClientError, Boto3Error)  # whole files come and go through boto3, with its own errors


@dataclass(frozen=True)
class Bench:
    store: ObjectStore
    line: Line
    scratch: Path
    device: str  # as the settings say it: auto, cpu, cuda, cuda:0
    checkpoint_seconds: float
    memory_bytes: int  # address space that reading an upload may take

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder that is gone afterwards."""
        path = Path(mkdtemp(dir=self.scratch))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def torch_device(self) -> str:
        """The device to compute on; sets torch's threads to the cores that this process may use."""
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device
