"""Both networks take any size and number of channels, and can be differentiated twice."""

import pytest
import torch

from workers.engine.losses import exact_penalty
from workers.modalities.images import presets
from workers.modalities.images.augment import augmentation
from workers.modalities.images.codec import Codec
from workers.modalities.images.networks import LEAK, Architecture, Discriminator, Generator, _reachable_tanh
from workers.modalities.images.spec import ImageConfig


def config(**fields: object) -> ImageConfig:
    return ImageConfig.model_validate(fields)


def form(high: int, wide: int, channels: int = 1, classes: int = 0, width: int = 16) -> Architecture:
    codec = Codec(high, wide, channels, [str(i) for i in range(classes)] or None, None)
    return presets.architecture(codec, config(network_width=width, preset="draft"), "cpu")


def pair(shape: Architecture) -> tuple[Generator, Discriminator]:
    rng = torch.Generator().manual_seed(0)
    return Generator(shape, rng), Discriminator(shape, rng)


@pytest.mark.parametrize(
    ("high", "wide"), [(16, 16), (17, 16), (28, 28), (31, 45), (32, 32), (64, 48), (100, 16), (127, 129), (16, 512)]
)
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (4, 3)])
def test_any_size_and_number_of_channels_works(high: int, wide: int, channels: int, classes: int) -> None:
    generator, discriminator = pair(form(high, wide, channels, classes))
    condition = torch.tensor([[0], [2]]) if classes else None
    fake = generator(generator.latent(2, torch.Generator().manual_seed(1)), condition)
    assert fake.shape == (2, channels, high, wide)
    assert float(fake.detach().abs().max()) <= 1.0
    assert 0.2 < float(fake.detach().std()) < 0.95
    fake = fake.detach().requires_grad_()
    scores = discriminator(fake, condition)
    assert scores.shape == (2,)
    exact_penalty(scores, fake, torch.arange(2)).backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in discriminator.parameters() if p.grad is not None)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in discriminator.parameters())


def test_digits_get_the_measured_form_and_a_512_pixel_draft_stays_affordable() -> None:
    digits = Codec(28, 28, 1, list("0123456789"), None)
    shape = presets.architecture(digits, config(preset="draft"), "cpu")
    assert (shape.widths, shape.basis, shape.padded) == ((96, 64), (7, 7), (28, 28))
    assert presets.settings(shape, config(preset="draft"), "cpu", True).steps == 7_200
    large = presets.architecture(Codec(512, 512, 3, None, None), config(preset="draft"), "cpu")
    assert presets.settings(large, config(preset="draft"), "cpu", True).steps == 500


def test_steps_batch_and_gamma_can_be_overridden() -> None:
    found = presets.settings(form(28, 28), config(steps=7, batch=5, gamma=3.0), "cpu", True)
    assert (found.steps, found.batch, found.gamma[0]) == (7, 5, 3.0)


def test_gamma_grows_with_the_resolution() -> None:
    gammas = [
        presets.settings(form(side, side), config(), "cpu", True).gamma[0] for side in (16, 32, 48, 64, 128, 256, 512)
    ]
    assert gammas[:2] == [0.5, 0.5]
    assert gammas[3:6] == pytest.approx([2.0, 20.0, 150.0])
    assert gammas == sorted(gammas)


def test_the_discriminator_sees_every_pixel() -> None:
    shape = form(31, 45, 3)
    _, discriminator = pair(shape)
    x = torch.randn(1, 3, 31, 45, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(x, None).sum(), x)
    assert (slope.abs().amax(1) > 0).all()


def test_a_class_changes_the_picture_and_its_score() -> None:
    generator, discriminator = pair(form(16, 16, 1, 2))
    latent = generator.latent(1, torch.Generator().manual_seed(0))
    zero, one = torch.tensor([[0]]), torch.tensor([[1]])
    assert not torch.equal(generator(latent, zero), generator(latent, one))
    x = generator(latent, zero).detach()
    with torch.no_grad():
        assert float(discriminator(x, zero)) != float(discriminator(x, one))


def test_the_same_seed_gives_the_same_networks_whatever_the_global_state() -> None:
    first = pair(form(28, 28, 1, 3))[1].state_dict()
    torch.rand(10)
    second = pair(form(28, 28, 1, 3))[1].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_augmentation_changes_that_share_and_can_be_learned_through() -> None:
    x = torch.rand(400, 3, 20, 33, generator=torch.Generator().manual_seed(0)) * 2 - 1
    change = augmentation(alpha=False, mirror=True)
    torch.testing.assert_close(change(x, 0.0, torch.Generator()), x, atol=1e-5, rtol=0)
    changed = (change(x, 0.1, torch.Generator().manual_seed(1)) - x).abs().flatten(1).amax(1) > 1e-3
    assert 0.4 < float(changed.float().mean()) < 0.65, "eight changes, each made to a tenth"
    small = x[:2, :, :6, :6].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: change(y, 1.0, torch.Generator().manual_seed(3)), small)


def test_augmentation_paints_no_colour_where_there_is_nothing_to_see() -> None:
    clear = torch.full((64, 4, 16, 16), -1.0)
    seen = augmentation(alpha=True, mirror=False)(clear, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen[:, :3][:, :, 0], seen[:, 3:].expand(-1, 3, -1, -1)[:, :, 0], atol=1e-5, rtol=0)


def test_pictures_that_must_not_be_mirrored_are_not() -> None:
    ramp = torch.linspace(-1, 1, 24).expand(200, 1, 24, 24)
    for mirror in (False, True):
        seen = augmentation(alpha=False, mirror=mirror)(ramp, 0.8, torch.Generator().manual_seed(0))
        falls = seen[:, 0, :, 18].mean(1) < seen[:, 0, :, 5].mean(1)
        assert bool(falls.any()) == mirror


def test_no_colour_is_painted_where_there_is_nothing_to_see() -> None:
    generator, _ = pair(form(16, 16, 4))
    with torch.no_grad():
        colour, alpha = generator(generator.latent(8, torch.Generator().manual_seed(0)), None).split([3, 1], 1)
    assert bool((colour <= alpha + 1e-6).all())


def test_a_generator_that_painted_all_black_can_come_back() -> None:
    """The gradient towards the middle stays where tanh is flat; the one away from it does not grow."""
    x = torch.tensor([-30.0, -30.0, 30.0, 0.3], requires_grad=True)
    y = _reachable_tanh(x)
    torch.testing.assert_close(y.detach(), torch.tanh(x.detach()))
    (slope,) = torch.autograd.grad(y, x, torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    assert slope.tolist() == pytest.approx([-LEAK, 0.0, LEAK, 1 - float(torch.tanh(torch.tensor(0.3))) ** 2])
