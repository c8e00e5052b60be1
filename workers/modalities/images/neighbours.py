"""Whether samples are copies: how near they come to training pictures, and a sheet of them beside the nearest ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from workers.metrics import effnet
from workers.metrics.manifold import nearest
from workers.modalities.images.files import Pictures
from workers.modalities.images.judging import Judging
from workers.modalities.images.outputs import on_chequers
from workers.modalities.images.pictures import encoded

ASKED = 500  # samples, and held-out pictures, whose nearest training pictures are sought
KNOWN = 5_000  # training pictures at 96 pixels in which they are sought: about twelve CPU seconds
COPIES = 0.5  # of the usual distance to the nearest training picture, under which samples are taken for copies (ours)
CLOSE = 0.5  # of the median distance of held-out pictures: what comes nearer is looked at as a copy
SHOWN, BESIDE = 5, 4  # samples in a group of the sheet, training pictures beside each
LEAST_TILE, MOST_TILE, GAP, EDGE, HEAD, MARGIN = 56, 112, 3, 2, 20, 10  # pixels
GROUND, INK, FRAME = 245, (40, 40, 40), (11, 87, 208)


@dataclass(frozen=True)
class Neighbours:
    """Distances to the nearest training picture, in features of EfficientNet-Lite0 or in pixels: see `neighbours`."""

    samples: int
    known: int  # training pictures that they were held against
    ratio: float  # median distance of samples over that of pictures never seen; NaN where that is 0
    close: float  # share of samples nearer than half that median
    close_unseen: float  # the same of the pictures never seen; NaN without any
    sheet: bytes  # PNG


def neighbours(judging: Judging) -> Neighbours:
    """Of the finished network's samples.

    EfficientNet judges what people would call alike, but faint noise on a copy is enough to mislead it; pixels see
    through noise, but find anything blurred near to everything. So pixels are heard only where they say: copies."""
    asked = judging.most(ASKED)
    fake = judging.fake.first(asked) if len(judging.fake) >= asked else judging.drawn(asked)
    rows, known, pixels = _known(judging)
    seen = judging.real.first(asked) if judging.held_out else None
    found = _nearest(fake.effnet, known, None if seen is None else seen.effnet)
    plain = _nearest(fake.small.flatten(1), pixels, None if seen is None else seen.small.flatten(1))
    if plain.ratio < COPIES and not found.ratio < plain.ratio:
        found = plain
    sheet = _sheet(fake.pixels, judging.train, rows[found.places.numpy()], found.distance)
    return Neighbours(len(fake), len(rows), found.ratio, found.close, found.close_unseen, sheet)


@dataclass(frozen=True)
class _Found:
    distance: Tensor  # (samples,) to the nearest
    places: Tensor  # (samples, BESIDE) among what is known
    ratio: float
    close: float
    close_unseen: float


def _nearest(fake: Tensor, known: Tensor, seen: Tensor | None) -> _Found:
    """Features of samples, of training pictures, and of held-out ones: without these, training pictures are held
    against the others."""
    distances, places = nearest(fake, known, BESIDE)
    unseen = nearest(known[: len(fake)], known, 2)[0][:, -1] if seen is None else nearest(seen, known)[0][:, 0]
    usual, mine = float(unseen.median()), distances[:, 0]
    return _Found(
        mine,
        places,
        float(mine.median()) / usual if usual > 1e-5 else math.nan,
        float((mine < CLOSE * usual).double().mean()),
        float((unseen < CLOSE * usual).double().mean()),
    )


def _known(judging: Judging) -> tuple[NDArray[np.int64], Tensor, Tensor]:
    """(rows, features, small pixels) of training pictures, of fewer where each costs more."""
    height, width, _ = judging.train.shape
    most = int(KNOWN * (effnet.LEAST / effnet.side(height, width)) ** 2)
    rows = np.random.default_rng(3).permutation(len(judging.train))[:most]
    once = judging.codec.at_once
    lots = (judging.lot(judging.train, rows[at : at + once]) for at in range(0, len(rows), once))
    features, pixels = zip(*((lot.effnet, lot.small.flatten(1)) for lot in lots), strict=True)
    return rows, torch.cat(features), torch.cat(pixels)


def _sheet(pixels: NDArray[np.uint8], train: Pictures, near: NDArray[np.int64], distance: Tensor) -> bytes:
    """Two groups: samples that come nearest of all, and typical ones from nearest to farthest."""
    order = distance.argsort().numpy()
    spread = np.linspace(0, len(order) - 1, SHOWN + 2).round().astype(int)[1:-1]
    columns = [order[:SHOWN], order[spread]]
    titles = [f"the closest of {len(order):,} samples", "others, from near to far"]
    groups = [
        _group(_tiles(pixels[some]), _tiles(train.take(near[some].ravel())), title)
        for some, title in zip(columns, titles, strict=True)
    ]
    gap = np.full((groups[0].shape[0], 2 * MARGIN, 3), GROUND, np.uint8)
    sheet = np.concatenate([groups[0], gap, groups[1]], 1)
    return encoded(np.pad(sheet, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=GROUND))


def _tiles(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures as people see them: in colour, alpha on squares, neither tiny nor huge."""
    shown = on_chequers(pixels)
    longest = max(shown.shape[1:3])
    shown = shown.repeat(3, 3) if shown.shape[3] == 1 else shown
    if longest < LEAST_TILE:
        scale = -(-LEAST_TILE // longest)
        return shown.repeat(scale, 1).repeat(scale, 2)
    if longest <= MOST_TILE:
        return shown
    size = [max(1, round(length * MOST_TILE / longest)) for length in shown.shape[1:3]]
    x = F.interpolate(torch.from_numpy(shown).permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
    return np.asarray(x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())


def _group(samples: NDArray[np.uint8], beside: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """Rows of a framed sample and the training pictures nearest to it."""
    rows, (high, wide) = len(samples), samples.shape[1:3]
    columns = len(beside) // rows
    first = wide + 4 * GAP + EDGE  # where the training pictures begin
    shape = (2 * HEAD + rows * (high + 2 * GAP), first + columns * (wide + GAP), 3)
    sheet = np.full((shape[0], max(shape[1], 260), 3), GROUND, np.uint8)
    for index, sample in enumerate(samples):
        top = 2 * HEAD + index * (high + 2 * GAP)
        sheet[top : top + high + 2 * EDGE, : wide + 2 * EDGE] = FRAME
        sheet[top + EDGE : top + EDGE + high, EDGE : EDGE + wide] = sample
        for place, picture in enumerate(beside[index * columns : (index + 1) * columns]):
            left = first + place * (wide + GAP)
            sheet[top + EDGE : top + EDGE + high, left : left + wide] = picture
    image = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((0, 0), title, INK, font)
    draw.text((0, HEAD), "sample", INK, font)
    draw.text((max(first, 56), HEAD), "nearest training pictures", INK, font)
    return np.asarray(image)
