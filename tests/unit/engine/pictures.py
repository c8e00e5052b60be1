"""A training of pictures in double precision, small enough for a test."""

import torch

from workers.engine.batch import Batch
from workers.engine.trainer import Settings, Trainer
from workers.modalities.images.augment import augmentation
from workers.modalities.images.networks import Architecture, Discriminator, Generator


def pictures(seed: int) -> Trainer:
    """With the networks and the augmentation of images, of three classes."""
    form = Architecture(16, 16, 3, 3, (16, 16), 1, False)
    rng = torch.Generator().manual_seed(seed)
    generator, discriminator = Generator(form, rng), Discriminator(form, rng)
    generator.inside = discriminator.inside = torch.float64

    def squares(n: int, rng: torch.Generator) -> Batch:
        return Batch(2 * torch.rand(n, 3, 16, 16, generator=rng).double() - 1, torch.randint(3, (n, 1), generator=rng))

    settings = Settings(steps=6, batch=11, report_every=3, penalty_every=2, augmented=0.5, gamma=(0.3, 0.03))
    augment = augmentation(alpha=False, mirror=True)
    return Trainer(generator.double(), discriminator.double(), squares, settings, seed=seed, augment=augment)
