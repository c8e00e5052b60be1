"""Numbers that look like people's and are nobody's: telephones, cards, accounts, insurance numbers, addresses of hosts.

They come out of ranges that are set aside for tests and films, or that are not given out; check digits are right."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.modalities.table.locales import CALLING
from workers.modalities.table.people import Numbers, again, digits, joined, scattered

CODES = {locale: code for code, locale in CALLING.items()} | {"en_CA": "1", "fr_CA": "1", "it_CH": "41", "fr_CH": "41",
                                                             "fr_BE": "32"}  # fmt: skip
# National numbers without the zero before them: the first of each range, and how many it has. North America: 555-0100
# to 0199 in any area; the others are for drama: Ofcom, Bundesnetzagentur, ARCEP, ACMA, ComReg, PTS.
AMERICA = tuple(area * 10**7 + 555_0100 for area in range(200, 1000)), 100
FICTITIOUS: dict[str, tuple[tuple[int, ...], int]] = {
    "1": AMERICA,
    "33": (tuple(prefix * 10**4 for prefix in (19900, 26191, 35301, 46571, 53649, 63998)), 10_000),
    "44": (tuple(area * 10**3 for area in (7700900, 2079460, *(area * 1000 + 4960 for area in (
        113, 114, 115, 116, 117, 118, 121, 131, 141, 151)))), 1_000),
    "46": ((846500400, 313900600, 406280400), 100),
    "49": (tuple(prefix * 10**3 for prefix in (3023125, 6990009, 4066969, 2214710, 8999998)), 1_000),
    "61": (tuple(area * 10**8 + 5550_0000 for area in (2, 3, 7, 8)), 10_000),
    "353": ((20_910_0000,), 100_000),
}  # fmt: skip
NO_TRUNK = ("1", "34", "39", "30", "45", "47", "48", "351", "420", "371", "372")  # dialled without a zero at home
IBANS = {  # letters of the bank, digits after them
    "AT": (0, 16), "BE": (0, 12), "BG": (4, 14), "CH": (0, 17), "CY": (0, 24), "CZ": (0, 20), "DE": (0, 18),
    "DK": (0, 14), "EE": (0, 16), "ES": (0, 20), "FI": (0, 14), "FR": (0, 23), "GB": (4, 14), "GR": (0, 23),
    "HR": (0, 17), "HU": (0, 24), "IE": (4, 14), "IL": (0, 19), "IT": (1, 22), "LT": (0, 16), "LU": (0, 16),
    "LV": (4, 13), "MT": (4, 23), "NL": (4, 10), "NO": (0, 11), "PL": (0, 24), "PT": (0, 21), "RO": (4, 16),
    "SE": (0, 20), "SI": (0, 15), "SK": (0, 20), "TR": (0, 22),
}  # fmt: skip
FREE = 10**9  # account numbers before the second round
OCTETS = pa.array([str(i) for i in range(256)])
GROUPS = pa.array([f"{i:x}" for i in range(65_536)])


def phones(numbers: Numbers, locale: str, seed: int, salt: int, mask: str | None) -> pa.Array:
    """In the upload's own arrangement where the digits fit it."""
    code = CODES.get(locale, "1")
    trunk = "" if code in NO_TRUNK else "0"
    begins, each = FICTITIOUS.get(code) or ((5 * 10**8 + 55 * 10**6,), 10**6)
    place, rounds = scattered(numbers, len(begins) * each, seed, salt)
    at = (place // np.uint64(each)).astype(np.int64)
    national = digits(np.array(begins, np.uint64)[at] + place % np.uint64(each))
    wanted, long = (mask or "").count("#"), int(pc.max(pc.utf8_length(national)).as_py() or 0)
    if mask and mask.startswith("+"):
        found, whole = joined(code, national), long + len(code)
    elif mask and wanted == long + len(code) and code == "1":
        found, whole = joined(code, national), wanted
    else:
        found, whole = (joined(trunk, national), long + len(trunk)) if wanted != long else (national, long)
    if mask and whole == wanted:
        text = filled(mask, found)
    else:
        text = joined("+" if mask and mask.startswith("+") else "", found)
    return joined(text, again(rounds, before="" if mask and set(mask) == {"#"} else " x"))


def filled(mask: str, found: pa.Array) -> pa.Array:
    """Digits put where the mask has a '#'."""
    parts, at, run = [], 0, 0
    for letter in [*mask, ""]:
        if letter == "#":
            run += 1
            continue
        if run:
            parts.append(pc.utf8_slice_codeunits(found, at, at + run))
            at, run = at + run, 0
        parts.append(letter)
    return joined(*parts)


def cards(numbers: Numbers, seed: int, salt: int, mask: str | None) -> pa.Array:
    """Sixteen digits that begin with 400000, which payment services take for tests, and end in Luhn's check digit."""
    place, _ = scattered(numbers, FREE, seed, salt)
    body = place + np.uint64(400_000 * FREE)
    check = _luhn(body, 15)
    found = digits(body * np.uint64(10) + check, 16)
    return filled(mask, found) if mask and mask.count("#") == 16 else found


def _luhn(body: Numbers, width: int) -> Numbers:
    total, left = np.zeros(len(body), np.uint64), body.copy()
    for i in range(width):
        digit = left % np.uint64(10) * np.uint64(2 - i % 2)
        total += digit - np.uint64(9) * (digit > 9).astype(np.uint64)
        left //= np.uint64(10)
    out: Numbers = (np.uint64(10) - total % np.uint64(10)) % np.uint64(10)
    return out


def ibans(numbers: Numbers, seed: int, salt: int, country: str, spaced: bool) -> pa.Array:
    """Of a bank that does not exist: its number is all zeros, its letters are X."""
    letters, long = IBANS.get(country, IBANS["DE"])
    country = country if country in IBANS else "DE"
    free = min(FREE, 10 ** (long - 1))
    place, rounds = scattered(numbers, free, seed, salt)
    account = place + rounds * np.uint64(free)
    bank = "X" * letters
    bank_rest = int("33" * letters or "0") % 97
    rest = (np.uint64(bank_rest * pow(10, long, 97) % 97) + account % np.uint64(97)) % np.uint64(97)
    home = int("".join(str(int(letter, 36)) for letter in country + "00"))
    check = np.uint64(98) - (rest * np.uint64(10**6 % 97) + np.uint64(home % 97)) % np.uint64(97)
    text = joined(country, digits(check, 2), bank, digits(account, long))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(text, r"(.{4})", r"\1 ")) if spaced else text


def social(numbers: Numbers, seed: int, salt: int, mask: str | None) -> pa.Array:
    """American numbers that begin with 9 and go on with 01 to 49: neither Social Security nor the tax office gives
    those. There are 49 million; then they come again."""
    place, _ = scattered(numbers, 100 * 49 * 9_999, seed, salt)
    serial, rest = place % np.uint64(9_999) + np.uint64(1), place // np.uint64(9_999)
    found = joined(digits(rest // np.uint64(49) + np.uint64(900)), digits(rest % np.uint64(49) + np.uint64(1), 2),
                   digits(serial, 4))  # fmt: skip
    usual = "#########" if mask and set(mask) == {"#"} else "###-##-####"
    return filled(mask if mask and mask.count("#") == 9 else usual, found)


def hosts(numbers: Numbers, seed: int, salt: int, version: int) -> pa.Array:
    """Addresses that lead nowhere: 10.0.0.0/8 and then 240.0.0.0/4; 2001:db8::/32, which is for documentation."""
    place, rounds = scattered(numbers, 2**24 if version == 4 else 2**32, seed, salt)

    def part(shift: int, table: pa.Array) -> pa.Array:
        bits: NDArray[np.int64] = ((place >> np.uint64(shift)) % np.uint64(len(table))).astype(np.int64)
        return table.take(pa.array(bits))

    if version == 6:
        net = GROUPS.take(pa.array((rounds % np.uint64(65_536)).astype(np.int64)))
        return joined("2001:db8:", net, ":", part(16, GROUPS), "::", part(0, GROUPS))
    first = np.where(
        rounds == 0, np.uint64(10), np.uint64(239) + (rounds - np.uint64(1)) % np.uint64(15) + np.uint64(1)
    )
    return joined(OCTETS.take(pa.array(first.astype(np.int64))), ".", part(16, OCTETS), ".", part(8, OCTETS), ".",
                  part(0, OCTETS))  # fmt: skip
