"""A JSON document that is an array of objects, as JSON Lines: block by block, without a loop over its characters."""

from __future__ import annotations

import numpy as np

from service.errors import Rejected

QUOTE, COMMA, BACKSLASH, SPACE, NEWLINE = b'",\\ \n'
OPENING, CLOSING, ENDS = list(b"{["), list(b"}]"), list(b"\r\n")


class Unwrapped:
    """`feed` takes the document's bytes in order and gives lines for them: the array's own brackets and the commas
    between its elements are gone, an end of line stands after each element and nowhere else."""

    def __init__(self) -> None:
        self._depth, self._inside, self._escaped = 0, False, False

    def feed(self, block: bytes) -> bytes:
        if not block:
            return block
        letters = np.frombuffer(block, np.uint8)
        quotes = (letters == QUOTE) & ~self._escapes(letters)
        before = np.cumsum(quotes) - quotes + self._inside
        outside = before % 2 == 0
        self._inside = bool((before[-1] + quotes[-1]) % 2)
        steps = np.isin(letters, OPENING).astype(np.int64) - np.isin(letters, CLOSING)
        steps[~outside] = 0
        depth = self._depth + np.cumsum(steps)
        out = letters.copy()
        out[outside & np.isin(letters, ENDS)] = SPACE
        out[(steps == 1) & (depth == 1)] = SPACE
        out[(steps == -1) & (depth == 0)] = SPACE
        out[outside & (letters == COMMA) & (depth == 1)] = NEWLINE
        self._depth = int(depth[-1])
        return out.tobytes()

    def end(self) -> None:
        """Raises Rejected if the document was cut short."""
        if self._depth or self._inside:
            raise Rejected("malformed_json", "The JSON array ends before its closing bracket; send the file again.")

    def _escapes(self, letters: np.ndarray) -> np.ndarray:
        """Which letters follow a backslash that is not itself escaped."""
        out = np.zeros(len(letters) + 1, bool)
        out[0] = self._escaped
        at = np.flatnonzero(letters == BACKSLASH)
        if len(at):
            begins = np.concatenate([[True], np.diff(at) > 1])
            first = at[begins][np.cumsum(begins) - 1]
            odd = (at - first + ((first == 0) & self._escaped)) % 2 == 0
            out[at[odd] + 1] = True
        self._escaped = bool(out[-1])
        return out[:-1]
