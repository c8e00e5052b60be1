"""Batches are the same wherever pictures are held."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workers.modalities.images import feed as module
from workers.modalities.images.codec import Codec
from workers.modalities.images.feed import Feed, home
from workers.modalities.images.files import Pictures

from .helpers import encoded, ingested, noise, zipped

GIB = 1 << 30


@pytest.fixture
def split(tmp_path: Path) -> Pictures:
    members = {f"{'ab'[i % 2]}/{i:03d}.png": encoded(noise(i, channels=3)) for i in range(40)}
    return Pictures(ingested(tmp_path, zipped(members))[1], "train")


def test_a_batch_is_the_same_from_memory_and_from_the_disk(split: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(16, 16, 3, ["a", "b"], [0.5, 0.5])
    monkeypatch.setattr(module, "READ_AT_ONCE", 7)
    held = Feed(split, codec, "cpu")
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    read = Feed(split, codec, "cpu")
    assert held.pixels is not None
    assert held.pixels.dtype == torch.uint8
    assert read.pixels is None
    rows = torch.tensor([39, 0, 7, 7])
    expected = codec.encode(split.take(rows.numpy()))
    for feed in (held, read):
        batch = feed.batch(rows)
        assert torch.equal(batch.real, expected)
        assert batch.condition is not None
        assert batch.condition[:, 0].tolist() == split.labels[rows.numpy()].tolist()
        drawn = feed.drawn(5, torch.Generator().manual_seed(1))
        assert torch.equal(drawn.real, held.drawn(5, torch.Generator().manual_seed(1)).real)
    assert Feed(split, Codec(16, 16, 3, None, None), "cpu").batch(rows).condition is None


@pytest.mark.parametrize(
    ("size", "device", "place"),
    [
        (GIB, "cpu", "cpu"),
        (3 * GIB, "cpu", None),
        (GIB, "cuda", "cuda"),
        (10 * GIB, "cuda:1", "cuda:1"),
        (10 * GIB + 1, "cuda:1", None),
    ],
)
def test_pictures_are_held_where_they_fit(
    size: int, device: str, place: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(asked: Any) -> tuple[int, int]:
        assert asked == torch.device(device)
        return 40 * GIB, 80 * GIB

    monkeypatch.setattr(torch.cuda, "mem_get_info", told)
    assert home(size, device) == place


def test_few_free_bytes_on_a_gpu_leave_pictures_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (GIB, 80 * GIB))
    assert home(GIB, "cuda") == "cpu"


def test_reading_can_be_stopped_and_tells_how_far_it_is(split: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_AT_ONCE", 10)
    told = list[int]()
    Feed(split, Codec(16, 16, 3, ["a", "b"], [0.5, 0.5]), "cpu", told.append)
    assert told == [rows * 16 * 16 * 3 for rows in (0, 10, 20, 30)]
    assert np.ptp(split.labels) == 1
