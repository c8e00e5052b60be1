"""The tests' networks, training and sampler: the real engine on single numbers."""

import io
import json
import math
import os
import signal
import time
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.integration.workers.tiny.spec import TinyConfig
from workers.engine.batch import Batch
from workers.engine.trainer import Settings, Trainer
from workers.modalities import Dataset, Given, Json, Progress


class Generator(nn.Module):
    def __init__(self, room: int | None = None) -> None:
        super().__init__()
        self.room = room
        self.body = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn((n, 4), generator=rng)

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        if self.room is not None and self.training and len(latent) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        out: Tensor = self.body(latent)
        return out


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        scores: Tensor = self.body(x).squeeze(1)
        return scores


class TinyTraining:
    def __init__(self, dataset: Dataset, config: TinyConfig) -> None:
        self.config, self.dataset = config, dataset
        self.numbers = torch.cat([load_file(part.path)["x"] for part in dataset.parts if part.split == "train"])
        torch.manual_seed(config.seed)
        settings = Settings(steps=config.steps or 60, batch=16, ema_half_life=5.0)
        self.trainer = Trainer(
            Generator(config.room), Discriminator(), self.draw, settings, seed=config.seed, device="cpu"
        )

    def draw(self, n: int, rng: torch.Generator) -> Batch:
        time.sleep(self.config.pause)
        if self.trainer.step == self.config.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trainer.step == self.config.memory_error_at:
            raise MemoryError
        real = self.numbers[torch.randint(len(self.numbers), (n,), generator=rng)].unsqueeze(1)
        return Batch(real * math.nan if self.config.nan else real)

    def evaluate(self) -> dict[str, float]:
        return {"a\0b": 0.5} if self.config.odd else {"quality": 0.5}

    def picture(self) -> bytes | None:
        """A row of 16 grey squares, where pictures are asked for."""
        if not self.config.draws:
            return None
        with torch.no_grad():
            made = self.trainer.ema(self.trainer.ema.latent(16, torch.Generator().manual_seed(0)), None)  # type: ignore[operator]
        out = io.BytesIO()
        Image.fromarray((made.T.clamp(0, 5) * 51).byte().numpy()).save(out, "PNG")
        return out.getvalue()

    def export(self, directory: Path) -> Json:
        time.sleep(self.config.export_pause)
        save_file(self.trainer.ema.state_dict(), directory / "generator.safetensors")
        save_file(self.trainer.discriminator.state_dict(), directory / "discriminator.safetensors")
        for name in ("codec.json", "config.json"):
            (directory / name).write_text("{}")
        report = {"steps": self.trainer.step}
        (directory / "report.json").write_text(json.dumps(report))
        (directory / "samples.csv").write_text("x\n1\n")
        return report


class TinySampler:
    def __init__(self, directory: Path) -> None:
        self.generator = Generator().eval()
        self.generator.load_state_dict(load_file(directory / "generator.safetensors"))

    def numbers(self, count: int, seed: int, start: int) -> list[float]:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + start)
        with torch.no_grad():
            out: Tensor = self.generator(self.generator.latent(count, rng), None)
        return [float(x) for x in out[:, 0]]

    def write(
        self,
        path: Path,
        start: int,
        count: int,
        seed: int,
        format: str,
        conditions: Json,
        progress: Progress,
        given: Given | None = None,
        options: Json | None = None,
    ) -> int:
        for i in range(int(conditions.get("seconds", 0) / 0.05)):
            progress(i, count)
            time.sleep(0.05)
        told = [given.path.read_text()] * given.copies if given else []
        path.write_text("x\n" + "".join(f"{x}\n" for x in [*told, *self.numbers(count - len(told), seed, start)]))
        return count

    def preview(self, count: int, seed: int) -> bytes:
        rows = [[x] for x in self.numbers(count, seed, 0)]
        return json.dumps({"columns": ["x"], "rows": rows}).encode()
