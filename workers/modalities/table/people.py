"""Made-up people and what belongs to them: names, addresses and the like, out of Faker.

Everything follows from a person's number, so that the columns of one row agree and no two numbers give the same value.
Pools are drawn once for a locale; a row costs a few look-ups in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]
DRAWS = 3_000  # of Faker for a pool
HOUSES = 200  # house numbers of a street before its second round
FAMILY_FIRST = {"ja_JP": " ", "zh_CN": "", "zh_TW": "", "ko_KR": "", "hu_HU": " "}  # and what stands between
SPELLED = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "Ae", "đ": "d", "Đ": "D",
                         "ı": "i", "œ": "oe", "þ": "th", "ð": "d"})  # fmt: skip
DOMAINS = pa.array(["example.com", "example.org", "example.net"])  # set aside for examples by RFC 2606
PATHS = pa.array(["about", "page", "item", "post", "story", "note", "view", "list", "shop", "team", "help", "news"])


def scattered(numbers: Numbers, room: int, seed: int, salt: int) -> tuple[Numbers, Numbers]:
    """Each number's place in a room of so many, and its round: a bijection, so that no two numbers share both."""
    rng = np.random.default_rng([seed, salt, 13])
    factor = int(rng.integers(2**29, 2**30)) | 1
    while np.gcd(factor, room) > 1:
        factor += 2
    size = np.uint64(room)
    place = (numbers % size * np.uint64(factor % room) + np.uint64(rng.integers(0, 2**30))) % size
    return place, numbers // size


def joined(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def digits(numbers: Numbers, width: int = 1) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")


def again(rounds: Numbers, before: str = "") -> pa.Array:
    """What sets the second round apart from the first: nothing, 2, 3, ..."""
    if not rounds.any():
        return pa.scalar("")
    return pc.if_else(pa.array(rounds > 0), joined(before, digits(rounds + np.uint64(1))), "")


# -- pools --------------------------------------------------------------------------------------------------------


@lru_cache(256)
def pool(locale: str, kind: str) -> pa.Array:
    """Different values of one kind, in a single line each; the same ones, whatever was asked for before."""
    from faker import Faker

    fake = Faker(locale)
    fake.seed_instance(kind)
    draw: Callable[[], str] = getattr(fake, kind)
    values = dict.fromkeys(re.sub(r"\s*\n\s*", ", ", str(draw())) for _ in range(DRAWS))
    return pa.array(list(values), pa.string())


@dataclass(frozen=True)
class Names:
    """First and last names, and each in plain small letters for addresses; no two are the same in those."""

    first: pa.Array
    last: pa.Array
    plain_first: pa.Array
    plain_last: pa.Array

    @property
    def room(self) -> int:
        return len(self.first) * len(self.last)


@lru_cache(64)
def names(locale: str) -> Names:
    first, last = (pool(locale, kind).to_pylist() for kind in ("first_name", "last_name"))
    if not plain(first[0]):  # another script: addresses take their letters from English names
        english = names("en_US")
        first, last = first[: len(english.first)], last[: len(english.last)]
        return Names(
            pa.array(first), pa.array(last), english.plain_first[: len(first)], english.plain_last[: len(last)]
        )
    firsts, lasts = ({plain(name): name for name in reversed(some)} for some in (first, last))
    return Names(*(pa.array(list(some)) for some in (firsts.values(), lasts.values(), firsts, lasts)))


def plain(name: str) -> str:
    text = unicodedata.normalize("NFKD", name.translate(SPELLED)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z]", "", text.lower())


@lru_cache(64)
def streets(locale: str, kind: str) -> tuple[pa.Array, pa.Array]:
    """What stands before and after the house number."""
    parts = [re.match(r"(?s)^(\D*)\d+(.*)$", value) for value in pool(locale, kind).to_pylist()]
    pairs = dict.fromkeys((part[1], part[2]) for part in parts if part)
    before, after = zip(*(pairs or {("", " Main Street"): None}), strict=True)
    return pa.array(before), pa.array(after)


# -- people -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class People:
    """Those of some rows: where their names stand in the pools."""

    locale: str
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    rounds: Numbers

    @classmethod
    def of(cls, numbers: Numbers, locale: str, seed: int, salt: int) -> People:
        known = names(locale)
        place, rounds = scattered(numbers, known.room, seed, salt)
        last = np.uint64(len(known.last))
        return cls(locale, (place // last).astype(np.int64), (place % last).astype(np.int64), rounds)

    def first_names(self) -> pa.Array:
        return names(self.locale).first.take(pa.array(self.first))

    def last_names(self) -> pa.Array:
        return names(self.locale).last.take(pa.array(self.last))

    def full_names(self, family_first: bool) -> pa.Array:
        first, last = self.first_names(), self.last_names()
        if self.rounds.any():  # all pairs of names are taken: a middle initial tells the next from the first
            first = joined(first, _initials(self.rounds))
        if family_first:
            return joined(last, ", ", first)
        if self.locale in FAMILY_FIRST:
            return joined(last, FAMILY_FIRST[self.locale], first)
        return joined(first, " ", last)

    def emails(self) -> pa.Array:
        at = DOMAINS.take(pa.array((self.first + self.last) % len(DOMAINS)))
        first, last = self._plain()
        return joined(first, ".", last, again(self.rounds), "@", at)

    def usernames(self) -> pa.Array:
        """An initial, the family name, and the first name's number: together they tell everyone apart."""
        first, last = self._plain()
        number = self.first.astype(np.uint64) + self.rounds * np.uint64(len(names(self.locale).first))
        return joined(pc.utf8_slice_codeunits(first, 0, 1), last, digits(number))

    def _plain(self) -> tuple[pa.Array, pa.Array]:
        known = names(self.locale)
        return known.plain_first.take(pa.array(self.first)), known.plain_last.take(pa.array(self.last))


def _initials(rounds: Numbers) -> pa.Array:
    """' B.' for the second round, ' C.' for the third, ' AB.' once the alphabet is through."""
    letters = pa.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    text = letters.take(pa.array((rounds % np.uint64(26)).astype(np.int64)))
    left = rounds // np.uint64(26)
    while left.any():
        more = letters.take(pa.array(((left - np.uint64(1)) % np.uint64(26)).astype(np.int64), mask=left == 0))
        text = joined(more.fill_null(""), text)
        left = np.where(left > 0, (left - np.uint64(1)) // np.uint64(26), left).astype(np.uint64)
    return pc.if_else(pa.array(rounds > 0), joined(" ", text, "."), "")


# -- what belongs to them -----------------------------------------------------------------------------------------


def addresses(numbers: Numbers, locale: str, seed: int, salt: int, whole: bool) -> pa.Array:
    kind = "address" if whole or locale in FAMILY_FIRST else "street_address"
    before, after = streets(locale, kind)
    place, rounds = scattered(numbers, len(before) * HOUSES, seed, salt)
    street = pa.array((place // np.uint64(HOUSES)).astype(np.int64))
    house = place % np.uint64(HOUSES) + np.uint64(1) + rounds * np.uint64(HOUSES)
    return joined(before.take(street), digits(house), after.take(street))


def drawn(numbers: Numbers, locale: str, seed: int, salt: int, kind: str) -> pa.Array:
    """Values out of a pool: cities, postcodes, companies. They repeat."""
    values = pool(locale, kind)
    place, _ = scattered(numbers, len(values), seed, salt)
    return values.take(pa.array(place.astype(np.int64)))


def urls(numbers: Numbers, seed: int, salt: int) -> pa.Array:
    place, rounds = scattered(numbers, 10**6, seed, salt)
    at, path = (options.take(pa.array((place % np.uint64(len(options))).astype(np.int64)))
                for options in (DOMAINS, PATHS))  # fmt: skip
    return joined("https://www.", at, "/", path, "/", digits(place + rounds * np.uint64(10**6)))
