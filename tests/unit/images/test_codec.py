"""Pixels survive the way into tensors and back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from workers.modalities.images.codec import Codec

from .helpers import noise


def codec(channels: int, classes: list[str] | None = None, shares: list[float] | None = None) -> Codec:
    return Codec(16, 16, channels, classes, shares)


@pytest.mark.parametrize("channels", [1, 3])
def test_opaque_pixels_come_back_exactly(channels: int) -> None:
    pixels = np.stack([noise(i, channels=channels).reshape(16, 16, channels) for i in range(3)])
    x = codec(channels).encode(pixels)
    assert x.shape == (3, channels, 16, 16)
    assert float(x.min()) >= -1.0
    assert float(x.max()) <= 1.0
    assert (codec(channels).decode(x) == pixels).all()


@pytest.mark.parametrize("channels", [2, 4])
def test_colour_under_full_transparency_is_forgotten_and_all_other_kept(channels: int) -> None:
    pixels = np.stack([noise(i, channels=channels) for i in range(3)])
    pixels[:, :8, :, -1] = 0
    pixels[:, 8:, :, -1] |= 128
    back = codec(channels).decode(codec(channels).encode(pixels))
    assert (back[:, :8] == 0).all()
    assert np.abs(back[:, 8:].astype(int) - pixels[:, 8:]).max() <= 1
    assert (back[..., -1] == pixels[..., -1]).all()


def test_pictures_decoded_in_pieces_are_those_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.modalities.images.codec.AT_ONCE", 2 * 16 * 16)
    x = 2 * torch.rand((5, 4, 16, 16), generator=torch.Generator().manual_seed(0)) - 1
    single = np.concatenate([codec(4).decode(one[None]) for one in x])
    assert (codec(4).decode(x) == single).all()
    assert codec(4).decode(x[:0]).shape == (0, 16, 16, 4)


def test_what_a_generator_paints_outside_the_range_is_cut() -> None:
    assert codec(1).decode(torch.full((1, 1, 16, 16), 7.0)).max() == 255
    assert codec(4).decode(torch.full((1, 4, 16, 16), -7.0)).max() == 0


def test_labels_come_in_the_training_proportions() -> None:
    mine = codec(1, ["a", "b", "never"], [0.25, 0.75, 0.0])
    labels = mine.labels(10_000, np.random.default_rng(0))
    assert np.bincount(labels, minlength=3)[2] == 0
    assert abs(np.mean(labels == 1) - 0.75) < 0.02
    assert (labels == mine.labels(10_000, np.random.default_rng(0))).all()


def test_a_saved_codec_is_the_same(tmp_path: Path) -> None:
    mine = codec(4, ["a", "猫"], [0.5, 0.5])
    mine.save(tmp_path / "codec.json")
    assert Codec.load(tmp_path / "codec.json") == mine
