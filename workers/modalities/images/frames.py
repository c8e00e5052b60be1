"""Pictures to look at in one file: films as animated WebP, sheets as PNG. The same pictures give the same bytes."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from workers.modalities.images.outputs import Samples, on_chequers
from workers.modalities.images.pictures import encoded

MILLISECONDS = 80  # that a frame is shown
FILM_SIDE, CELL_SIDE = 192, 64  # smaller pictures are enlarged by a whole factor, up to about this
GAP = 2
GROUND = 255
INK = 60


def _enlarged(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = max(1, round(side / max(pixels.shape[1:3])))
    return pixels.repeat(scale, 1).repeat(scale, 2)


def write_film(path: Path, samples: Samples) -> None:
    """An endless animated WebP without loss, a frame a picture."""
    frames = (
        Image.fromarray(frame.repeat(3, 2) if frame.shape[2] == 1 else frame, "RGB")
        for _, pixels, _ in samples
        for frame in _enlarged(on_chequers(pixels), FILM_SIDE)
    )
    first = next(frames)
    first.save(
        path, "WEBP", save_all=True, append_images=frames, duration=MILLISECONDS, loop=0, lossless=True, quality=50
    )


def write_sheet(path: Path, samples: Samples, columns: int, heads: list[str], sides: list[str]) -> None:
    """A PNG with `columns` pictures in a row; words above the columns and left of the rows, where there are any."""
    path.write_bytes(encoded(sheet(np.concatenate([pixels for _, pixels, _ in samples]), columns, heads, sides)))


def sheet(pixels: NDArray[np.uint8], columns: int, heads: list[str], sides: list[str]) -> NDArray[np.uint8]:
    """The pictures (n, h, w, c) laid out in rows: (high, wide, 1 or 3)."""
    cells = _enlarged(on_chequers(pixels), CELL_SIDE)
    n, high, wide, channels = cells.shape
    rows = -(-n // columns)
    spare = np.full((rows * columns - n, high, wide, channels), GROUND, np.uint8)
    table = np.concatenate([cells, spare]).reshape(rows, columns, high, wide, channels)
    framed = np.pad(table, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=GROUND)
    laid = framed.transpose(0, 2, 1, 3, 4).reshape(rows * (high + GAP), columns * (wide + GAP), channels)
    letters = max(10, min(high // 5, 28))
    font = ImageFont.load_default(letters)
    top = 2 * letters if heads else GAP
    left = GAP + max((math.ceil(font.getlength(word)) + 12 for word in sides), default=0)
    laid = np.pad(laid, ((top, 0), (left, 0), (0, 0)), constant_values=GROUND)
    if not heads and not sides:
        return laid
    image = Image.fromarray(laid[..., 0] if channels == 1 else laid)
    draw, ink = ImageDraw.Draw(image), INK if channels == 1 else (INK, INK, INK)
    for column, word in enumerate(heads):
        draw.text((left + column * (wide + GAP) + wide / 2, top / 2), word, ink, font, anchor="mm")
    for row, word in enumerate(sides):
        draw.text((left - 6, top + row * (high + GAP) + high / 2), word, ink, font, anchor="rm")
    return np.asarray(image).reshape(*laid.shape)
