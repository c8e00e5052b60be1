"""One untrusted picture: its header, its pixels, its fit to a size. Knows nothing of archives or data sets."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from workers.modalities.images.spec import looks_like_picture

Pixels = NDArray[np.uint8]  # (height, width, channels)
Fit = Literal["crop", "pad", "stretch"]
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # the only decoders that a stranger's bytes may reach
MAXIMUM_PIXELS = 25_000_000
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# What Pillow raises on damaged bytes, beside its own UnidentifiedImageError (an OSError).
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip


class Damaged(Exception):
    """These bytes are no picture, or a broken one."""


class TooLarge(Damaged):
    """A picture of too many pixels: it is left out as a broken one is, and never decoded."""


@dataclass(frozen=True)
class Header:
    width: int  # as displayed, so after the EXIF orientation where that is cheap to know
    height: int


def _open(data: bytes) -> Image.Image:
    """The picture's header; pixels are not decoded yet. Raises Damaged, TooLarge for one of too many pixels."""
    if not looks_like_picture(data):
        raise Damaged
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge from error
    except (*DAMAGE, Warning) as error:
        raise Damaged from error
    if image.width * image.height > MAXIMUM_PIXELS:
        raise TooLarge
    return image


def header(data: bytes) -> Header:
    """Size of a picture, without decoding it. Raises Damaged."""
    image = _open(data)
    width, height = image.size
    try:
        # A PNG may keep its EXIF behind the pixels: reading it would decode them, for a median that hardly moves.
        if image.format != "PNG" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
    except DAMAGE as error:
        raise Damaged from error
    return Header(width, height)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Deep grey (16 bits, which Pillow gives as I;16 or I) brought to 8 bits; all else unchanged."""
    if image.mode == "I" or image.mode.startswith("I;"):
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(deep, 0, 65_535) // 257).astype(np.uint8), "L")
    return image


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """The picture in the mode of that many channels; transparency is kept, or laid on white where there is no alpha."""
    image = _eight_bit(image)
    transparent = "A" in image.getbands() or "transparency" in image.info
    if transparent and channels in (1, 3):
        straight = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", straight.size, (255, 255, 255, 255)), straight)
    elif transparent:
        image = image.convert("RGBA")
    if image.mode != MODES[channels] and channels in (1, 2):
        image = image.convert("LA" if "A" in image.getbands() else "RGB")
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def _fitted(image: Image.Image, width: int, height: int, fit: Fit) -> Image.Image:
    if image.size == (width, height):
        return image
    smaller = image.width >= width and image.height >= height
    method = Image.Resampling.LANCZOS if smaller else Image.Resampling.BICUBIC
    if fit == "stretch":
        return image.resize((width, height), method)
    if fit == "pad":
        return ImageOps.pad(image, (width, height), method)
    return ImageOps.fit(image, (width, height), method)


def pixels(data: bytes, width: int, height: int, channels: int, fit: Fit) -> Pixels:
    """The picture as it is displayed (EXIF orientation), fitted. Raises Damaged."""
    image = _open(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.draft(None, (2 * width, 2 * height))  # JPEG: skip detail that the fit would throw away
            image.load()
            image = ImageOps.exif_transpose(image)
            out = np.asarray(_fitted(_flat(image, channels), width, height, fit), dtype=np.uint8)
    except DAMAGE as error:
        raise Damaged from error
    return out.reshape(height, width, channels)


def traits(data: bytes) -> tuple[bool, bool]:
    """(has colour, has transparency), judged by the pixels of a thumbnail. Raises Damaged."""
    image = _open(data)
    sample = pixels(data, min(64, image.width), min(64, image.height), 4, "stretch").astype(np.int16)
    colour, alpha = sample[..., :3], sample[..., 3]
    seen = alpha > 8
    spread = (colour.max(2) - colour.min(2))[seen]
    return bool(spread.size and np.quantile(spread, 0.98) > 12), bool((alpha < 250).mean() > 0.002)


def encoded(picture: Pixels) -> bytes:
    """A PNG of (height, width, channels); the same pixels always give the same bytes."""
    channels = picture.shape[2]
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if channels == 1 else picture, MODES[channels]).save(
        buffer, "PNG", compress_level=6
    )
    return buffer.getvalue()
