"""One dial, the rest derived: networks and training settings from preset, data and device. Pure functions.

Constants for drafts were measured on 28-pixel digits; resolutions' gammas are those of R3GAN's paper."""

import math
from dataclasses import dataclass
from itertools import pairwise

from service.domain.modality import Preset
from workers.engine.trainer import Settings
from workers.modalities.images.codec import Codec
from workers.modalities.images.networks import Architecture, stages
from workers.modalities.images.spec import ImageConfig


@dataclass(frozen=True)
class Effort:
    """What a preset may spend."""

    width: int  # of the stage of 16 pixels or less; higher ones are narrower, lower ones wider up to `widest`
    widest: int
    blocks: int
    batch: int
    passes: float  # multiplications of forward passes over the run: steps follow from what a picture costs
    steps: tuple[int, int]  # at least, at most


# A draft of 1.15e12 is 7,200 steps of 16 digits: less than four minutes on two idle cores.
ON_CPU: dict[Preset, Effort] = {
    "draft": Effort(64, 128, 1, 16, 1.15e12, (500, 10_000)),
    "standard": Effort(64, 128, 1, 16, 6e12, (2_000, 60_000)),
    "best": Effort(128, 256, 1, 32, 6e13, (10_000, 200_000)),
}
ON_CUDA: dict[Preset, Effort] = {
    "draft": ON_CPU["draft"],
    "standard": Effort(128, 384, 1, 64, 2e15, (10_000, 60_000)),
    "best": Effort(256, 768, 2, 128, 6e16, (30_000, 300_000)),
}
ON_CPU_SECONDS, ON_CUDA_SECONDS = 2.5e-10, 2e-12  # per multiplication of a forward pass; the latter is a guess
GAMMAS = ((32, 0.5), (64, 2.0), (128, 20.0), (256, 150.0), (512, 600.0))  # by side
REIN = 0.4  # D's loss; see docs/LOG.md
BLIND = 0.3  # share of pictures augmented where none are held out: these are few, and D would learn them by heart
JUDGEMENTS, JUDGED_FROM = 12, 0.5  # in a whole run; those before that share of it are left out


def architecture(codec: Codec, config: ImageConfig, device: str) -> Architecture:
    """The form of the networks for these pictures."""
    effort = _effort(config, device)
    count = stages(codec.height, codec.width)
    top = math.sqrt(codec.height * codec.width) / 2
    widths: list[int] = []
    for stage in range(count):
        side = top / 2**stage  # from the highest resolution down
        base = config.network_width or effort.width
        width = base / 2 if side > 20 else base * 1.5 ** max(0.0, math.log2(16 / side) // 1)
        widths.append(max(16, min(round(width / 16) * 16, max(effort.widest, base))))
    return Architecture(
        codec.height,
        codec.width,
        codec.channels,
        len(codec.classes or ()),
        tuple(widths[::-1]),
        effort.blocks,
        codec.alpha,
    )


def settings(form: Architecture, config: ImageConfig, device: str, held_out: bool) -> Settings:
    """The trainer's settings for networks of that form. Where pictures are held out, how many are augmented follows
    from how well D knows those that it learns from."""
    effort = _effort(config, device)
    batch = config.batch or effort.batch
    low, high = effort.steps
    steps = config.steps or min(max(round(effort.passes / form.multiplications / batch, -2), low), high)
    gamma = config.gamma or _gamma(math.sqrt(form.height * form.width))
    rate = 3e-3 * min(1.0, 64 / max(form.widths[len(form.widths) // 2 :]))  # wide networks take smaller steps
    return Settings(
        steps=int(steps),
        batch=batch,
        lr_generator=(rate, rate / 10),
        lr_discriminator=(rate, rate / 10),
        gamma=(gamma, gamma / 10),
        rein=REIN,
        beta2=(0.9, 0.99),
        ema_half_life=max(1.0, 0.05 * steps),
        warmup=min(200, int(steps) // 10),
        penalty_every=4,
        augmented=0.0 if held_out else BLIND,
        judge_every=max(1, int(steps) // JUDGEMENTS),
        judge_from=JUDGED_FROM,
    )


def seconds(form: Architecture, settings: Settings, device: str) -> float:
    """About what a run takes, before any step could be timed."""
    passes = form.multiplications * settings.batch * settings.steps
    return passes * (ON_CUDA_SECONDS if device.startswith("cuda") else ON_CPU_SECONDS)


def _effort(config: ImageConfig, device: str) -> Effort:
    return (ON_CUDA if device.startswith("cuda") else ON_CPU)[config.preset]


def _gamma(side: float) -> float:
    """Between the known sides along a straight line of logarithms."""
    for (a, low), (b, high) in pairwise(GAMMAS):
        if side <= b:
            share = max(0.0, math.log(side / a) / math.log(b / a))
            return float(low * (high / low) ** share)
    return GAMMAS[-1][1]
