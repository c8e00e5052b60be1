"""Text files: unpacking them, finding their encoding and proving it. Knows bytes; nothing of columns."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from service.errors import Rejected
from workers.modalities.table.source import BLOCK
from workers.modalities.table.spec import UTF16_MARKS

SAMPLE = 1 << 18  # bytes looked at to find delimiter and header


def binary(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def blocks(path: Path) -> Iterator[bytes]:
    try:
        with binary(path) as file:
            while block := file.read(BLOCK):
                yield block
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise Rejected("corrupt_file", "The compressed file is damaged or was cut short; send it again.") from error


def encoding_of(path: Path, wanted: str | None) -> str:
    """The encoding of a text file, proven by decoding all of it. Raises Rejected if it is no text."""
    if wanted:
        return _proven(path, wanted)
    head = next(blocks(path), b"")
    if head.startswith(UTF16_MARKS):
        return _proven(path, "utf-16")
    if 0 in head:
        return _proven(path, _zero_pattern(head))
    if _decodes(path, "utf-8"):
        return "utf-8"
    return _proven(path, "cp1252")


def _zero_pattern(head: bytes) -> str:
    even, odd, half = head[0::2].count(0), head[1::2].count(0), len(head) // 2
    if odd > 0.4 * half and even < 0.02 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.02 * half:
        return "utf-16-be"
    raise Rejected("unsupported_format", "The file is binary, not text; send CSV, TSV, JSON Lines or Parquet.")


def _proven(path: Path, encoding: str) -> str:
    try:
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError(encoding)
    except (LookupError, ValueError) as error:
        raise Rejected("wrong_encoding", f"There is no text encoding named {encoding!r}.") from error
    if not _decodes(path, encoding):
        raise Rejected(
            "wrong_encoding",
            f"The file is not text in {encoding}; save it as UTF-8, or name its encoding in the options.",
        )
    return encoding


def _decodes(path: Path, encoding: str) -> bool:
    decoder, controls, length = codecs.getincrementaldecoder(encoding)(), 0, 0
    try:
        for block in blocks(path):
            text = decoder.decode(block)
            if "\0" in text:
                raise Rejected("unsupported_format", "The file holds zero bytes; it is binary, not text.")
            if encoding != "utf-8":
                controls += sum(text.count(chr(code)) for code in (*range(1, 9), *range(14, 32), *range(127, 160)))
                length += len(text)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return controls <= 0.001 * length  # a legacy encoding decodes nearly anything: control characters betray noise


def sample_of(path: Path, encoding: str) -> str:
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    with binary(path) as file:
        return decoder.decode(file.read(SAMPLE))
