"""The frames of a training's film: how their keys are made, and which of them count. Knows no bucket."""

import re
from collections.abc import Iterable

FRAME = re.compile(r".*/(\d+)-a(\d+)\.png")


def frame_key(prefix: str, step: int, attempt: int) -> str:
    return f"{prefix}{step}-a{attempt}.png"


def latest(keys: Iterable[str]) -> dict[int, str]:
    """The key of each step's frame, in order of steps; the later attempt's where a resumed training made one anew."""
    found = sorted((int(match[1]), int(match[2]), match[0]) for key in keys if (match := FRAME.fullmatch(key)))
    return {step: key for step, _, key in found}
