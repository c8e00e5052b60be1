"""Pictures judged one by one, by a model of a few steps: what is far off is seen, what is real is let pass."""

import json
import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.unit.images.helpers import encoded, ingested, noise, on, zipped
from workers.metrics import effnet
from workers.modalities import Dataset, Part
from workers.modalities.images import presets
from workers.modalities.images.codec import Codec
from workers.modalities.images.modality import MODALITY
from workers.modalities.images.networks import Discriminator, Generator
from workers.modalities.images.scoring import ImageScorer
from workers.modalities.images.spec import ImageConfig
from workers.modalities.images.training import _save as save
from workers.modalities.scoring import Upload, judged

pytestmark = pytest.mark.slow
SIZE = 16


def stripes(seed: int, standing: bool) -> NDArray[np.uint8]:
    """Soft stripes at a random place: upright ones or lying ones."""
    rng = np.random.default_rng(seed)
    wave = 127 + 100 * np.sin(np.arange(SIZE) * rng.uniform(0.7, 0.9) + rng.uniform(0, 6.3))
    picture = np.broadcast_to(wave[None, :] if standing else wave[:, None], (SIZE, SIZE))
    return np.clip(picture + rng.normal(0, 3, (SIZE, SIZE)), 0, 255).astype(np.uint8)


def pack(start: int, count: int) -> dict[str, bytes]:
    return {
        f"{'up' if i % 2 else 'flat'}/{i:04d}.png": encoded(stripes(i, bool(i % 2)))
        for i in range(start, start + count)
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    folder = tmp_path_factory.mktemp("scored")
    _, dataset = ingested(folder / "data", zipped(pack(0, 700)))
    training = MODALITY.training(dataset, ImageConfig(preset="draft", steps=6, network_width=16, batch=8), "cpu")
    for _ in training.trainer.run():
        pass
    (folder / "model").mkdir()
    training.export(folder / "model")
    return dataset, folder / "model"


def score(
    trained: tuple[Dataset, Path],
    folder: Path,
    members: dict[str, bytes],
    reference: bool = True,
    labelled: bool = True,
) -> tuple[dict[str, Any], Any]:
    """(what the job tells, the lines of its output)."""
    (folder / "up.zip").write_bytes(zipped(members))
    schema = {"classes": ["flat", "up"] if labelled else None}
    upload = Upload(folder / "up.zip", {}, len(members), schema)
    scorer = MODALITY.scorer(trained[0] if reference else None, upload, trained[1], "cpu", 0)
    rows, told = judged(scorer, folder / "out.parquet", on)
    lines = pq.read_table(folder / "out.parquet")
    assert lines.num_rows == rows
    return json.loads(json.dumps(told, allow_nan=False)), lines


def test_fresh_pictures_pass_at_the_promised_rate_and_planted_counterfeits_do_not(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    told, lines = score(trained, tmp_path, pack(1_000, 100))
    assert lines["name"].to_pylist()[:2] == ["flat/1000.png", "up/1001.png"]
    assert told["calibrated_on"] == "held-out pictures"
    assert told["counterfeit"]["at_5_percent"] < 0.17  # 5 of 100 expected, of 70 that it was calibrated on
    assert 0.3 < told["roc_auc"] < 0.7
    planted = {one["what"]: one["roc_auc"] for one in told["planted"]}
    assert planted["noise"] > 0.95
    assert planted["pixels shuffled"] > 0.95
    assert planted["label of another class"] > 0.9
    assert planted["the model's own samples"] > 0.9  # after six steps


def test_counterfeits_are_made_of_all_classes_though_uploads_come_class_by_class(
    trained: tuple[Dataset, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.modalities.images.scoring.PLANTED", 20)
    _, reference = ingested(tmp_path, zipped(dict(sorted(pack(0, 600).items()))))
    upload = Upload(tmp_path / "source", {}, 600, {"classes": ["flat", "up"]})
    scorer = MODALITY.scorer(reference, upload, trained[1], "cpu", 0)
    assert isinstance(scorer, ImageScorer)
    lot = scorer.altered()
    assert (len(lot.take(np.arange(20))), set(lot.labels.tolist())) == (20, {0, 1})


@pytest.mark.parametrize("looked_at", [True, False])
def test_large_pictures_are_held_a_piece_at_a_time(
    looked_at: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, held = 128, 60  # 49 kB a picture
    for name, value in {"KNOWN": 200, "CALIBRATED": held, "PLANTED": 30, "PIECE_BYTES": 1 << 19}.items():
        monkeypatch.setattr(f"workers.modalities.images.scoring.{name}", value)
    rng = np.random.default_rng(0)
    parts = []
    for split, n in (("train", 200), ("holdout", held)):
        pixels = rng.integers(0, 256, (n, side, side, 3), np.uint8)
        save_file({"pixels": pixels, "labels": np.full(n, -1, np.int64)}, tmp_path / f"{split}.safetensors")
        parts.append(Part(tmp_path / f"{split}.safetensors", n, split))
    schema = {"modality": "images", "height": side, "width": side, "channels": 3, "classes": None}
    reference = Dataset(schema, 200 + held, parts)
    codec, weights = Codec(side, side, 3, None, None), torch.Generator().manual_seed(0)
    form = presets.architecture(codec, ImageConfig(network_width=16), "cpu")
    save(Generator(form, weights), tmp_path / "generator.safetensors", form)
    save(Discriminator(form, weights), tmp_path / "discriminator.safetensors", form)
    codec.save(tmp_path / "codec.json")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": asdict(form)}))
    (tmp_path / "up.zip").write_bytes(zipped({f"{i}.png": encoded(pixels[i]) for i in range(8)}))
    effnet.features(pixels[:1])  # loaded
    tracemalloc.start()
    scorer = MODALITY.scorer(
        reference if looked_at else None, Upload(tmp_path / "up.zip", {}, 8, {}), tmp_path, "cpu", 0
    )
    rows, _ = judged(scorer, tmp_path / "out.parquet", on)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 8
    assert peak < held * pixels[0].nbytes  # those that it is calibrated on, by themselves


def test_noise_is_called_counterfeit_whatever_its_size_and_what_is_damaged_is_left_out(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    members = {f"{i}.png": encoded(noise(i, 40, 30, 3)) for i in range(20)}
    good = {f"real/{i}.png": encoded(stripes(2_000 + i, True)) for i in range(20)}
    told, lines = score(trained, tmp_path, members | good | {"broken.png": b"\x89PNG\r\n\x1a\nno"}, labelled=False)
    assert lines.num_rows == 40
    verdicts = dict(zip(lines["name"].to_pylist(), lines["at_5_percent"].to_pylist(), strict=True))
    assert [verdicts[name] for name in members] == ["counterfeit"] * 20
    assert [verdicts[name] for name in good].count("real-looking") > 14
    distance = np.array(lines["distance"].to_pylist())
    assert np.median(distance[:20]) > 2 * np.median(distance[20:])
    assert "label of another class" not in {one["what"] for one in told["planted"]}


def test_a_model_whose_pictures_may_not_be_looked_at_is_calibrated_on_its_own_samples(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    told, again = (score(trained, tmp_path, pack(3_000, 10), reference=False)[0] for _ in range(2))
    assert told == again
    assert told["calibrated_on"] == "the model's own samples"
    assert "own samples" in told["warnings"][0]
