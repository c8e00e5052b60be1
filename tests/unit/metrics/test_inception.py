"""Inception as the FID uses it: by the names of the converted weights, and only by those of the right network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from tests.unit.metrics.inception_weights import written
from workers.metrics import inception


def pictures(n: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("inception") / "inception.safetensors")


@pytest.fixture(scope="module")
def network(weights: Path) -> inception.Inception:
    return inception.load(weights)


def test_features_are_2048_a_picture_and_the_same_each_time_in_any_piece(network: inception.Inception) -> None:
    many = pictures(5, 20, 31, 3)
    many[4] = many[0]
    found = network.features(many)
    assert found.shape == (5, 2048)
    assert torch.equal(found, network.features(many))
    assert torch.allclose(found[4], found[0], atol=1e-4)
    assert torch.cdist(found[:4], found[:4]).fill_diagonal_(9).min() > 0.1
    assert network.features(many[:0]).shape == (0, 2048)


def test_grey_is_three_equal_channels_and_what_is_clear_is_white(network: inception.Inception) -> None:
    grey = pictures(1, 8, 8, 1)
    clear = np.concatenate([pictures(1, 8, 8, 3), np.zeros_like(grey)], 3)
    shown = [grey, grey.repeat(3, 3), clear, np.full((1, 8, 8, 1), 255, np.uint8)]
    found = [network.features(one) for one in shown]
    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert torch.allclose(found[2], found[3], atol=1e-4)


def convolved(weights: dict[str, Tensor], name: str, x: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """By the formulas: a convolution, its normalisation by what was counted in training, a rectifier."""
    raw = F.conv2d(x, weights[f"{name}.conv.weight"], padding=padding)
    mean, variance, gain, bias = (
        weights[f"{name}.bn.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.relu((raw - mean) / torch.sqrt(variance + 0.001) * gain + bias)


@pytest.mark.parametrize("block", ["Mixed_7b", "Mixed_7c"])
def test_a_block_with_every_kind_of_part_does_what_the_formulas_say(
    network: inception.Inception, weights: Path, block: str
) -> None:
    """The last two differ in the pooling alone. A mean over what is there is a sum over a sum of ones."""
    held = load_file(weights)
    x = torch.randn(2, {"Mixed_7b": 1280, "Mixed_7c": 2048}[block], 5, 5, generator=torch.Generator().manual_seed(1))

    def at(name: str, x: Tensor, *padding: int) -> Tensor:
        return convolved(held, f"{block}.{name}", x, (padding or (0, 0)))  # type: ignore[arg-type]

    middle = at("branch3x3_1", x)
    double = at("branch3x3dbl_2", at("branch3x3dbl_1", x), 1, 1)
    windows = F.unfold(F.pad(x, (1, 1, 1, 1), value=-1e9), 3).unflatten(1, (x.shape[1], 9))
    there = windows > -1e8
    pooled = (windows * there).sum(2) / there.sum(2) if block == "Mixed_7b" else windows.amax(2)
    expected = [
        at("branch1x1", x),
        at("branch3x3_2a", middle, 0, 1),
        at("branch3x3_2b", middle, 1, 0),
        at("branch3x3dbl_3a", double, 0, 1),
        at("branch3x3dbl_3b", double, 1, 0),
        at("branch_pool", pooled.unflatten(2, (5, 5))),
    ]
    with torch.no_grad():
        found = network.get_submodule(block)(x)
    assert found.shape[1] == 2048
    assert torch.allclose(found, torch.cat(expected, 1), atol=1e-3)


def test_a_picture_is_scaled_to_299_pixels_between_minus_one_and_one(
    network: inception.Inception, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros(len(x), 2048)

    monkeypatch.setattr(network, "forward", forward)
    ramp = np.array([0, 255], np.uint8)[None, None, :, None].repeat(2, 1)
    network.features(ramp)
    [x] = seen
    assert x.shape == (1, 3, 299, 299)
    columns = (np.arange(299) + 0.5) * 2 / 299 - 0.5  # between two columns whose centres are at 0 and 1
    assert torch.allclose(x[0, 1, 7], torch.from_numpy(2 * np.clip(columns, 0, 1) - 1).float(), atol=1e-5)


def wrong(folder: Path, held: dict[str, Tensor], how: str) -> Path:
    path = folder / "wrong.safetensors"
    if how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        path.write_bytes(b"PK\x03\x04" + b"archive/data.pkl" * 20)
    elif how == "folder":
        path.mkdir()
    elif how == "other network":
        save_file({"stem.weight": torch.zeros(3, 3)}, path)
    elif how == "less":
        save_file({name: value for name, value in held.items() if "Mixed_7c.branch1x1" not in name}, path)
    elif how == "other classes":
        save_file(held | {"fc.weight": torch.zeros(1000, 2048)}, path)
    elif how == "not finite":
        save_file(held | {"Conv2d_1a_3x3.bn.bias": torch.full((32,), torch.nan)}, path)
    return path


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("absent", "cannot be read"),
        ("empty", "is no safetensors file"),
        ("pickle", "is no safetensors file"),
        ("folder", "cannot be read"),
        ("other network", "471 weights differ, as Conv2d_1a_3x3.conv.weight absent (not 32x3x3x3)"),
        ("less", "5 weights differ, as Mixed_7c.branch1x1.conv.weight absent"),
        ("other classes", "1 weights differ, as fc.weight 1000x2048 (not 1008x2048)"),
        ("not finite", "not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_a_sentence(
    tmp_path: Path, weights: Path, how: str, says: str
) -> None:
    path = wrong(tmp_path, load_file(weights), how)
    with pytest.raises(inception.Unfit) as refused:
        inception.load(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)
