"""A picture is the same to the last bit, however many are painted with it, and whatever the device was told before."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workers.engine.blocks import precision
from workers.modalities.images import presets
from workers.modalities.images.codec import Codec
from workers.modalities.images.modality import CHUNK, ImageSampler
from workers.modalities.images.networks import Generator
from workers.modalities.images.painting import blocks, drawn, painted
from workers.modalities.images.spec import ImageConfig

FLAGS = ("benchmark", "deterministic", "allow_tf32")


@pytest.fixture(scope="module")
def sampler() -> ImageSampler:
    codec, rng = Codec(64, 64, 4, list("0123456789"), [0.1] * 10), torch.Generator().manual_seed(0)
    generator = Generator(presets.architecture(codec, ImageConfig.model_validate({}), "cpu"), rng)
    with torch.no_grad():
        for weight in generator.parameters():  # blocks of a new generator add nothing
            weight.add_(0.05 * torch.randn(weight.shape, generator=rng))
    return ImageSampler(generator, codec, "cpu")


@pytest.mark.parametrize(("side", "n", "size"), [(28, 60, 25), (28, 1, 25), (256, 4, 3), (512, 2, 1)])
def test_blocks_are_all_of_one_size_and_hold_every_place_in_order(side: int, n: int, size: int) -> None:
    found = list(blocks(n, Codec(side, side, 3, None, None), "cpu"))
    assert {len(block) for block in found} == {size}
    assert torch.cat(found)[:n].tolist() == list(range(n))
    assert int(torch.cat(found).max()) == n - 1


@pytest.mark.parametrize("options", [{}, {"truncation": 0.7}, {"mix": {"coarse": 3}}])
def test_a_sample_is_the_same_whatever_the_number_of_samples(options: dict[str, Any], sampler: ImageSampler) -> None:
    tools = sampler.tools(options, {})
    pixels, _ = sampler.chunk(0, CHUNK, 1, None, tools)
    for n in (1, 10, 60):
        assert (sampler.chunk(0, n, 1, None, tools)[0] == pixels[:n]).all()


@pytest.mark.parametrize(
    "options", [{}, {"truncation": 0.7}, {"interpolate": {"seeds": [3, 9], "frames": 60}}, {"sheet": {"directions": 4}}]
)
def test_latents_are_worked_on_in_the_blocks_that_are_painted(
    options: dict[str, Any], sampler: ImageSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked, begin = list[int](), sampler.generator.begin

    def counted(latent: Tensor, condition: Tensor | None) -> Tensor:
        worked.append(len(latent))
        return begin(latent, condition)

    monkeypatch.setattr(sampler.generator, "begin", counted)
    for n in (1, 12, 30):
        sampler.chunk(0, n, 1, None, sampler.tools(options, {}))
    assert set(worked) == {25}


class Asking(nn.Module):
    """A generator that notes what the device is told while it paints."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[bool, ...]] = []

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        self.told.append(tuple(bool(getattr(torch.backends.cudnn, flag)) for flag in FLAGS))
        return latent[:, :1, None, None].expand(-1, 1, 16, 16).tanh()


def test_a_gpu_is_told_to_paint_repeatably_and_then_what_it_was_told_before() -> None:
    codec, latent, labels = Codec(16, 16, 1, None, None), torch.randn(30, 64), np.full(30, -1)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        network = Asking()
        floats, pixels = (make(network, codec, latent, labels, "cpu") for make in (painted, drawn))
        assert [getattr(torch.backends.cudnn, flag) for flag in FLAGS] == [True, False, True]
    assert network.told == [(False, True, False)] * 4
    assert (codec.decode(floats) == pixels).all()


def test_a_gpu_that_only_emulates_sixteen_bits_trains_in_thirty_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert precision("cuda") == torch.float32
