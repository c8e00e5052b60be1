"""A picture is the same to the last bit, however many are painted with it."""

import pytest
import torch

from workers.modalities.images import presets
from workers.modalities.images.codec import Codec
from workers.modalities.images.modality import CHUNK, ImageSampler
from workers.modalities.images.networks import Generator
from workers.modalities.images.painting import blocks
from workers.modalities.images.spec import ImageConfig


@pytest.mark.parametrize(("side", "n", "size"), [(28, 60, 25), (28, 1, 25), (256, 4, 3), (512, 2, 1)])
def test_blocks_are_all_of_one_size_and_hold_every_place_in_order(side: int, n: int, size: int) -> None:
    found = list(blocks(n, Codec(side, side, 3, None, None), "cpu"))
    assert {len(block) for block in found} == {size}
    assert torch.cat(found)[:n].tolist() == list(range(n))
    assert int(torch.cat(found).max()) == n - 1


def test_a_sample_is_the_same_whatever_the_number_of_samples() -> None:
    codec, rng = Codec(64, 64, 4, list("0123456789"), [0.1] * 10), torch.Generator().manual_seed(0)
    generator = Generator(presets.architecture(codec, ImageConfig.model_validate({}), "cpu"), rng)
    with torch.no_grad():
        for weight in generator.parameters():  # blocks of a new generator add nothing
            weight.add_(0.05 * torch.randn(weight.shape, generator=rng))
    sampler = ImageSampler(generator, codec, "cpu")
    pixels, _ = sampler.chunk(0, CHUNK, 1, None)
    for n in (1, 5, 10, 60):
        assert (sampler.chunk(0, n, 1, None)[0] == pixels[:n]).all()
