"""Values that must never be learned: keys are made afresh after their pattern, free text out of neutral words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Pattern = Mapping[str, Any]
ALPHABETS = {"d": "0123456789", "h": "0123456789abcdef", "H": "0123456789ABCDEF",
             "l": "abcdefghijklmnopqrstuvwxyz", "u": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
             "a": "0123456789abcdefghijklmnopqrstuvwxyz", "A": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
             "m": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}  # fmt: skip
KEY_NAME = re.compile(
    r"(^|[^a-z])(id|ids|uuid|guid|key|nr|no|number|code|pk)$|^(id|uuid|key)([^a-z]|$)|[a-z](Id|ID)$|^(rownames|index)$"
)
SPARSE = 10_000  # a pattern has room if it holds this many times more keys than the table had rows
NEUTRAL = [
    "the", "a", "this", "that", "each", "some", "more", "less", "first", "next", "other", "such", "same", "new",
    "whole", "short", "long", "clear", "plain", "common", "usual", "note", "item", "part", "case", "point", "text",
    "word", "line", "value", "entry", "detail", "subject", "matter", "remark", "topic", "section", "example",
    "and", "or", "but", "with", "from", "into", "about", "over", "under", "after", "before", "between", "for",
    "of", "to", "in", "on", "at", "by", "is", "was", "has", "had", "may", "can", "will", "does", "shows", "keeps",
    "holds", "gives", "takes", "makes", "finds", "adds", "follows",
]  # fmt: skip


def named_like_key(name: str) -> bool:
    return bool(KEY_NAME.search(name) or KEY_NAME.search(name.lower()))


def fit(text: pa.Array, rows: int, maximum: int | None) -> dict[str, Any]:
    """The pattern of a key column: none of its values is kept, but the largest number where keys are counted up."""
    if maximum is not None and maximum < 2**62:
        return {"kind": "count", "prefix": "", "suffix": "", "width": 0, "next": int(maximum) + 1}
    if maximum is not None or not len(text):
        return _room([["d"]] * 8, rows)
    counted = _counted(text)
    if counted:
        return counted
    return _room(_places(text), rows)


def shape(text: pa.Array) -> dict[str, Any]:
    """The pattern of values that must keep their length, however crowded it is."""
    return {"kind": "places", "places": _places(text)}


def _places(text: pa.Array) -> list[list[str]]:
    lengths = pc.utf8_length(text)
    length = int(pc.mode(lengths)[0].as_py()["mode"])
    same = text.filter(pc.equal(lengths, length))
    letters = np.array([list(value) for value in same[:5_000].to_pylist()])
    return [_alphabet(np.unique(letters[:, i])) for i in range(length)]


def _counted(text: pa.Array) -> dict[str, Any] | None:
    """A fixed beginning and end around a number that fills its range."""
    found = pc.extract_regex(text, r"^(?P<p>\D*)(?P<n>\d{1,15})(?P<s>\D*)$")
    if found.null_count:
        return None
    prefixes, suffixes = pc.unique(pc.struct_field(found, "p")), pc.unique(pc.struct_field(found, "s"))
    if len(prefixes) > 1 or len(suffixes) > 1:
        return None
    digits = pc.struct_field(found, "n")
    numbers, widths = pc.cast(digits, pa.int64()), pc.unique(pc.utf8_length(digits))
    ends = pc.min_max(numbers).as_py()
    if ends["max"] - ends["min"] > 3 * len(text):
        return None
    return {"kind": "count", "prefix": prefixes[0].as_py(), "suffix": suffixes[0].as_py(),
            "width": widths[0].as_py() if len(widths) == 1 else 0, "next": ends["max"] + 1}  # fmt: skip


def _alphabet(letters: np.ndarray) -> list[str]:
    """["=", letter] where it is always the same, else the name of the smallest alphabet that holds all letters."""
    if len(letters) == 1:
        return ["=", str(letters[0])]
    for name, alphabet in ALPHABETS.items():
        if set(letters) <= set(alphabet):
            return [name]
    return ["m"]


def _room(places: list[list[str]], rows: int) -> dict[str, Any]:
    """Longer than the original where its pattern is so crowded that a fresh key might be a real one."""
    capacity = _capacity(places)
    while capacity < SPARSE * max(rows, 1):
        places = [*places, ["d"]]
        capacity *= 10
    return {"kind": "places", "places": places}


def _capacity(places: list[list[str]]) -> int:
    return math.prod(len(ALPHABETS[place[0]]) for place in places if place[0] != "=")


def capacity(pattern: Pattern) -> int:
    """How many different keys there are; those that are counted up have no end."""
    return 2**62 if pattern["kind"] == "count" else _capacity(pattern["places"])


def make(pattern: Pattern, index: np.ndarray, seed: int) -> pa.Array:
    """Keys of the rows with these global numbers (uint64): a bijection of the number, so no two rows share one."""
    if pattern["kind"] == "count":
        numbers = pa.array(index.astype(np.int64) + pattern["next"])
        if not pattern["prefix"] and not pattern["suffix"] and not pattern["width"]:
            return numbers
        digits = pc.utf8_lpad(pc.cast(numbers, pa.string()), max(1, pattern["width"]), "0")
        return pc.binary_join_element_wise(pattern["prefix"], digits, pattern["suffix"], "")
    return _placed(pattern["places"], index, seed)


def _placed(places: list[list[str]], index: np.ndarray, seed: int) -> pa.Array:
    free = [ALPHABETS[place[0]] for place in places if place[0] != "="]
    modulus, used = 1, 0
    while used < len(free) and modulus * len(free[-1 - used]) < 2**62:
        modulus *= len(free[-1 - used])
        used += 1
    rng = np.random.default_rng([seed, 7])
    factor = int(rng.integers(2**20, 2**31)) | 1
    while math.gcd(factor, modulus) > 1:
        factor += 2
    number = (index * np.uint64(factor) % np.uint64(modulus) + np.uint64(rng.integers(0, 2**61))) % np.uint64(modulus)
    noise = mixed(index ^ np.uint64(rng.integers(0, 2**62)))
    letters: list[np.ndarray | bytes] = []  # from the last to the first: of each row, or always the same
    left = len(free)
    for place in reversed(places):
        if place[0] == "=":
            letters.append(place[1].encode())
            continue
        left -= 1
        alphabet = np.frombuffer(free[left].encode(), np.uint8)
        source = number if left >= len(free) - used else noise
        size = np.uint64(len(alphabet))
        whole = source // size
        letters.append(alphabet[(source - whole * size).astype(np.int64)])
        source[:] = whole
    return _texts(letters[::-1], len(index))


def _texts(letters: list[np.ndarray | bytes], rows: int) -> pa.Array:
    """Texts of one length, written as bytes side by side."""
    width = sum(len(part) if isinstance(part, bytes) else 1 for part in letters)
    out, at = np.empty((rows, width), np.uint8), 0
    for part in letters:
        size = len(part) if isinstance(part, bytes) else 1
        out[:, at : at + size] = np.frombuffer(part, np.uint8) if isinstance(part, bytes) else part[:, None]
        at += size
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    return pa.LargeStringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(out)).cast(pa.string())


def mixed(x: np.ndarray) -> np.ndarray:
    """A well-mixed 64-bit number of each (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: np.ndarray = x ^ (x >> np.uint64(31))
    return out


def text(words: list[int], rows: int, rng: np.random.Generator) -> pa.Array:
    """Neutral sentences with as many words as the real texts had; `words` are quantiles of that number."""
    counts = np.maximum(1, np.round(np.interp(rng.random(rows), np.linspace(0, 1, len(words)), words))).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    drawn = pa.array(NEUTRAL).take(pa.array(rng.integers(0, len(NEUTRAL), int(offsets[-1]))))
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), drawn), " ")
