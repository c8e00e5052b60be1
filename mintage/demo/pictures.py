"""Pictures for a terminal and for a file. Pillow comes with what the local stack needs, and is imported only here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

LARGEST = 28  # pixels across on a terminal; two of them share a character's height
SHADES = " .:-=+*#%@"  # for terminals without colour
GAP = 1
LEAST_SIDE, RIM = 64, 4  # pixels in a file


def grid(columns: Sequence[Sequence[Path]], target: Path) -> None:
    """One PNG of all pictures, a column each, enlarged so that small ones can be seen."""
    from PIL import Image

    with Image.open(columns[0][0]) as first:
        scale = max(1, LEAST_SIDE // max(first.size))
        width, height = first.size[0] * scale, first.size[1] * scale
    size = (len(columns) * (width + RIM) + RIM, max(map(len, columns)) * (height + RIM) + RIM)
    sheet = Image.new("RGB", size, "white")
    for x, column in enumerate(columns):
        for y, path in enumerate(column):
            with Image.open(path) as picture:
                large = picture.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(large, (RIM + x * (width + RIM), RIM + y * (height + RIM)))
    sheet.save(target)


def row_of_pictures(paths: Sequence[Path], console: Console) -> None:
    """The pictures beside each other, in as many rows as the terminal's width asks for."""
    a_row = max(1, min(len(paths), (console.width + GAP) // (14 + GAP)))
    a_row = a_row if a_row >= len(paths) else max(1, -(-len(paths) // 2))
    across = max(4, min(LARGEST, (console.width + GAP) // a_row - GAP))
    for start in range(0, len(paths), a_row):
        pictures = [_small(path, across) for path in paths[start : start + a_row]]
        coloured = console.color_system in ("truecolor", "256")
        lines = _blocks(pictures) if coloured else _shades(pictures)
        for line in lines:
            console.print(line, no_wrap=True, crop=False)
        console.print()


def _small(path: Path, across: int) -> Any:
    from PIL import Image

    with Image.open(path) as picture:
        down = max(2, round(across * picture.size[1] / picture.size[0]))
        return picture.convert("RGB").resize((across, down + down % 2), Image.Resampling.LANCZOS)


def _blocks(pictures: Sequence[Any]) -> list[Text]:
    """Half blocks: the upper pixel in the foreground's colour, the lower in the background's."""
    lines = []
    for y in range(0, pictures[0].size[1], 2):
        line = Text()
        for picture in pictures:
            for x in range(picture.size[0]):
                upper, lower = picture.getpixel((x, y)), picture.getpixel((x, y + 1))
                line.append("▀", f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")
            line.append(" " * GAP)
        lines.append(line)
    return lines


def _shades(pictures: Sequence[Any]) -> list[Text]:
    lines = []
    for y in range(0, pictures[0].size[1], 2):
        line = ""
        for picture in pictures:
            grey = picture.convert("L")
            pair = ((grey.getpixel((x, y)) + grey.getpixel((x, y + 1))) / 2 for x in range(grey.size[0]))
            line += "".join(SHADES[min(len(SHADES) - 1, int(value / 256 * len(SHADES)))] for value in pair) + " " * GAP
        lines.append(Text(line))
    return lines
