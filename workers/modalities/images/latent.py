"""Tools on a generator's latents. Knows tensors and the generator's beginning; nothing of files, seeds or jobs.

A picture follows from v = A z + B e(y), which lays down the maps of the basis (networks.py). Since v is linear in z and
z is standard normal, what other generators have to estimate is known here: the mean of a class is B e(y), and the
directions that change v most are the right singular vectors of A (as in SeFa, Shen & Zhou, CVPR 2021)."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from workers.modalities.images.networks import LATENT, Generator


def mean(generator: Generator, condition: Tensor | None, n: int = 1) -> Tensor:
    """(n, width): the mean of v over latents, of these classes (n, 1)."""
    device = generator.start.weight.device
    rows = n if condition is None else len(condition)
    return generator.begin(torch.zeros(rows, LATENT, device=device), condition)


def truncated(generator: Generator, begun: Tensor, condition: Tensor | None, truncation: float) -> Tensor:
    """v drawn towards its class's mean: all of it at 0, not at all at 1."""
    return torch.lerp(mean(generator, condition, len(begun)).expand_as(begun), begun, truncation)


def by_latent(generator: Generator) -> Tensor:
    """A (width, 64): how v follows the latent."""
    return generator.start.weight[:, :LATENT]


def directions(generator: Generator) -> tuple[Tensor, Tensor]:
    """(unit directions of the latent (64, 64), a row each, strongest first; how much v changes along each (64,)).

    A singular vector has no sign: the largest part of each is made positive. Worked out on the CPU in double, so that
    the same weights give the same directions everywhere."""
    matrix = by_latent(generator).detach().double().cpu()
    if len(matrix) < LATENT:  # a narrow generator cannot see all of the latent: those directions change nothing
        matrix = torch.cat([matrix, matrix.new_zeros(LATENT - len(matrix), LATENT)])
    _, strengths, rows = torch.linalg.svd(matrix, full_matrices=False)
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return (rows * largest.sign()).float(), strengths.float()


def moved(generator: Generator, begun: Tensor, direction: Tensor, strength: Tensor | float) -> Tensor:
    """v with its latent moved by `strength` (a number, or one for each (n, 1)) along a direction (64,)."""
    step = by_latent(generator) @ direction.to(begun.device)
    return begun + strength * step


def into_class(generator: Generator, begun: Tensor, source: Tensor, target: Tensor, strength: float) -> Tensor:
    """v moved from the mean of its class (n, 1) to that of another, wholly at a strength of 1; the rest is kept."""
    return begun + strength * (mean(generator, target) - mean(generator, source))


def mixed(coarse: Tensor, fine: Tensor, rows: Tensor, split: int) -> Tensor:
    """Latents with their part along the first `split` directions from one, and the rest from the other.

    The directions are orthonormal, so the mix of two independent normal latents is one as well: no picture that comes
    of it is any stranger to the generator than its own samples."""
    kept = rows[:split].to(coarse.device)
    along = (coarse - fine) @ kept.T @ kept
    return fine + along


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Latents (n, k) between a and b at t (n, 1) in [0, 1]: along the great circle, lengths between theirs.

    A straight line would pass nearer to the origin than any sample lies. Exactly a at 0 and b at 1."""
    long_a, long_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    cosine = ((a / long_a) * (b / long_b)).sum(1, keepdim=True).clamp(-1.0, 1.0)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    straight = sine < 1e-4  # the same latent, or its opposite: there is no one great circle
    safe = torch.where(straight, torch.ones_like(sine), sine)
    unit = torch.sin((1 - t) * angle) / safe * (a / long_a) + torch.sin(t * angle) / safe * (b / long_b)
    between = torch.where(straight, torch.lerp(a, b, t), unit * torch.lerp(long_a, long_b, t))
    return torch.where(t <= 0, a, torch.where(t >= 1, b, between))


def schedule(keys: int, frames: int, loop: bool) -> list[tuple[int, int, float]]:
    """For each frame: (key before it, key after it, how far it is on its way). Each key has a frame of its own.

    Without a loop the first frame is the first key and the last the last; with one the film goes on to the first key,
    which is not shown twice."""
    if keys == 1:
        return [(0, 0, 0.0)] * frames
    ways = keys if loop else keys - 1
    last = frames if loop else frames - 1
    at = [math.floor(way * last / ways + 0.5) for way in range(ways + 1)]
    out = []
    for way, (start, end) in enumerate(pairwise(at)):
        out += [(way, (way + 1) % keys, (frame - start) / (end - start)) for frame in range(start, end)]
    return out if loop else [*out, (keys - 2, keys - 1, 1.0)]
