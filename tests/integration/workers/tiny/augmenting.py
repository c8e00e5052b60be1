"""The tests' augmented numbers. Its target is how it misbehaves: what it does, and from which row on."""

import os
import signal
import time
from pathlib import Path

from safetensors.torch import load_file

from service.errors import Rejected
from tests.integration.workers.tiny.training import TinySampler
from workers.modalities import Dataset, Json, Progress


class TinyAugmenter:
    def __init__(self, dataset: Dataset, directory: Path, wish: Json) -> None:
        self.numbers = [float(x) for part in dataset.parts for x in load_file(part.path)["x"]]
        self.sampler, self.wish = TinySampler(directory), wish
        self.rows = len(self.numbers) + wish["count"]
        what, _, where = (wish["target"] or "").partition(" ")
        self.what, self.where = what, int(where or 0)

    def write(self, path: Path, start: int, count: int, format: str, progress: Progress) -> int:
        if start >= self.where:
            self._misbehave(progress)
        made = self.sampler.numbers(self.wish["count"], self.wish["seed"], 0)
        lines = [f"{x},{i >= len(self.numbers)}\n" for i, x in enumerate([*self.numbers, *made])]
        path.write_text("x,is_synthetic\n" + "".join(lines[start : start + count]))
        progress(1, 1)
        return count

    def _misbehave(self, progress: Progress) -> None:
        match self.what:
            case "slow":
                for i in range(600):
                    progress(i, 1_000)
                    time.sleep(0.05)
            case "slower":  # so that its files can be seen to come
                time.sleep(0.5)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "bug":
                raise ZeroDivisionError("a secret of the operator's")
            case "reject":
                raise Rejected("too_silly", "These classes are too silly.")

    def judge(self, progress: Progress) -> Json:
        progress(1, 1)
        told = {"real_rows": len(self.numbers), "synthetic_rows": self.wish["count"], "flag": "is_synthetic"}
        return told | {"before": {"r2": 0.5}, "after": {"r2": 0.6}, "verdict": "Good."}
